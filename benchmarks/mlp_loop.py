"""Cost of the MLP head's training over a hand-written torch loop.

Both fit the same network to the same 6000 x 2560 features with the same batch size, in turn in one process; printed is
the ratio of the median times, and each round's own ratio. `OMP_NUM_THREADS=1 python benchmarks/mlp_loop.py`
"""

import argparse
import time

import numpy as np
import torch
from torch.nn import functional as F

from hamcache.heads.blocks import Block
from hamcache.heads.network import MLP
from hamcache.heads.zoo import build_head

CLASSES = tuple("abcdefg")


def raw_loop(X: np.ndarray, y: np.ndarray, hidden: int, epochs: int, batch_size: int) -> None:
    """The loop as written by hand: standardise, shuffle, slice, step."""
    features = torch.from_numpy(((X - X.mean(0)) / X.std(0)).astype(np.float32))
    codes = torch.from_numpy(y)
    network = MLP([X.shape[1]], len(CLASSES), [hidden], dropout=0.5)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    weight = torch.from_numpy(len(y) / np.bincount(y) / len(CLASSES)).float()
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(y), generator=generator).split(batch_size):
            optimizer.zero_grad()
            loss = F.cross_entropy(network(features[rows]), codes[rows], weight=weight)
            loss.backward()
            optimizer.step()


def head_fit(X: np.ndarray, y: np.ndarray, hidden: int, epochs: int, batch_size: int) -> None:
    """The same by the zoo's MLP."""
    params = {"hidden": [hidden], "max_epochs": epochs, "batch_size": batch_size}
    build_head("mlp", params, blocks=[Block("a", X.shape[1])], classes=CLASSES).fit(X, y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6000, 2560)).astype(np.float32)
    y = rng.integers(0, len(CLASSES), 6000)
    torch.set_num_threads(1)
    head_fit(X[:500], y[:500], 8, 1, 128)  # the first fit of a process imports and warms up
    for hidden in (64, 512):
        seconds: dict[str, list[float]] = {"raw loop": [], "mlp head": []}
        for _ in range(arguments.rounds):
            for name, fit in (("raw loop", raw_loop), ("mlp head", head_fit)):
                start = time.perf_counter()
                fit(X, y, hidden, arguments.epochs, arguments.batch_size)
                seconds[name].append(time.perf_counter() - start)
        raw, head = (np.array(times) for times in seconds.values())
        print(
            f"hidden {hidden}, {arguments.epochs} epochs of 6000 x 2560: raw loop {np.median(raw):.2f} s, mlp head "
            f"{np.median(head):.2f} s, ratio of medians {np.median(head) / np.median(raw):.2f} "
            f"(rounds {', '.join(f'{ratio:.2f}' for ratio in head / raw)})"
        )


if __name__ == "__main__":
    main()
