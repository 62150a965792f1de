"""Heads on cached features: the whole command beside a bare script, the MLP's loop beside one written by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path

from benchmarks.harness import Costs, Round, Setting, wall

# This module imports nothing heavy: a child's peak memory counts its parent's at the moment of its start.
C = 0.01
BARE = """
import json, sys
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import matthews_corrcoef
from sklearn.preprocessing import StandardScaler

folder = sys.argv[1]
X, y = np.load(f"{folder}/train_X.npy"), np.load(f"{folder}/train_y.npy")
scaler = StandardScaler().fit(X)
counts = np.bincount(y)
weight = (1 / counts * counts.sum() / len(counts))[y]
head = LogisticRegression(C=float(sys.argv[2]), max_iter=500).fit(scaler.transform(X), y, sample_weight=weight)
for part in ("train", "validation"):
    X, y = np.load(f"{folder}/{part}_X.npy"), np.load(f"{folder}/{part}_y.npy")
    proba = head.predict_proba(scaler.transform(X))
score = matthews_corrcoef(y, proba.argmax(1))
print(json.dumps({"mcc": score}))
"""
"""The same fit as of `hamcache train`, as one would write it: features from `.npy`, the score printed, nothing kept."""


def command(setting: Setting) -> Iterator[Round]:
    """`hamcache train` on cached features beside the bare script: wall and processor time, peak memory.

    The command also checks the data set's files against its digests, and writes a run that can be found, read and
    loaded again. Each is a process of its own, with one thread.
    """
    folder, workspace = setting.folder, setting.folder / "workspace"
    _apart(_prepare, folder, setting.of((6000, 1280), (3000, 640), (700, 8)))
    ours = [*HAMCACHE, "train", "--dataset", str(folder / "made_up.csv"), "--features", "net", "--force"]
    ours += ["--head", "logreg", "--set", f"head.C={C}", "--no-plots", "--workspace", str(workspace)]
    bare = [sys.executable, "-P", "-c", BARE, str(folder), str(C)]
    while True:
        base, own = _cost(bare, folder / "bare.txt"), _cost(ours, folder / "ours.txt")
        run = max((workspace / "runs").glob("*/metrics.json"))
        scores = json.loads((folder / "bare.txt").read_text()), json.loads(run.read_text())["validation"]
        if abs(scores[0]["mcc"] - scores[1]["mcc"]) > 0.01:
            raise AssertionError(f"Expected the same score, got {scores[0]['mcc']} (script) and {scores[1]['mcc']}.")
        yield {key: Costs(own[key], base[key]) for key in own}


HAMCACHE = (sys.executable, "-P", "-m", "hamcache")


def show_help(setting: Setting) -> Iterator[Round]:
    """Seconds of `hamcache --help`."""
    while True:
        yield {"help": Costs(_cost([*HAMCACHE, "--help"], setting.folder / "help.txt")["wall"])}


def _prepare(folder: Path, shape: tuple[int, int]) -> None:
    """A cache of random features that tell seven classes apart a little, and the rows of each part as `.npy`."""
    import numpy as np

    from benchmarks.made_up import write_dataset, write_store
    from hamcache.cache.storage import Root
    from hamcache.data.workspace import Workspace
    from hamcache.pipeline.config.schema import blocks_from, validate_config
    from hamcache.pipeline.experiment.inputs import open_inputs
    from hamcache.pipeline.experiment.learning import parts_of
    from hamcache.pipeline.experiment.preparation import make_splits

    dataset, ids, digests, classes = write_dataset(folder, shape[0])
    workspace = Workspace(folder / "workspace")
    write_store(Root(folder / "workspace" / "features"), ids, digests, shape[1], classes=classes)
    config = validate_config({"dataset": str(dataset), "features": {"blocks": blocks_from("net")}, "head": "logreg"})
    inputs = open_inputs(config, workspace)
    parts = parts_of(make_splits(config, inputs.table)[0], inputs.table, ("train", "validation"), inputs.left_out)
    for name, part in parts.items():
        (block,) = inputs.load(config.features, part.ids)
        np.save(folder / f"{name}_X.npy", block.arrays(part.ids).views[:, 0])
        np.save(folder / f"{name}_y.npy", part.y)


def _apart(function: object, *arguments: object) -> None:
    """Call a function in a process of its own."""
    process = get_context("spawn").Process(target=function, args=arguments)  # type: ignore[arg-type]
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"Expected a process to end well, got exit code {process.exitcode}.")


def _cost(command: Sequence[str], output: Path) -> dict[str, float]:
    """Wall seconds, processor seconds and peak MiB of a command with one thread."""
    began = time.perf_counter()
    with output.open("w") as file:
        process = subprocess.Popen(command, stdout=file, env={**os.environ, "OMP_NUM_THREADS": "1"})
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"Expected {' '.join(command[:6])} to end well, got exit code {process.returncode}.")
    return {"wall": seconds, "processor": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss / 1024}


def mlp(setting: Setting, hidden: int) -> Iterator[Round]:
    """Fits of the MLP head beside the same by a loop written by hand, both with one thread."""
    import numpy as np
    import torch
    from torch.nn import functional as F

    from hamcache.heads.blocks import Block
    from hamcache.heads.network import MLP
    from hamcache.heads.zoo import build_head

    rows, dim = setting.of((6000, 2560), (6000, 2560), (256, 16))
    epochs, classes = setting.of(3, 1, 1), tuple("abcdefg")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, dim), dtype=np.float32)
    y = rng.integers(0, len(classes), rows)

    def by_hand(X: np.ndarray, y: np.ndarray) -> None:
        features = torch.from_numpy(((X - X.mean(0)) / X.std(0)).astype(np.float32))
        codes = torch.from_numpy(y)
        network = MLP([X.shape[1]], len(classes), [hidden], dropout=0.5)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
        weight = torch.from_numpy(len(y) / np.bincount(y) / len(classes)).float()
        generator = torch.Generator().manual_seed(0)
        for _ in range(epochs):
            for batch in torch.randperm(len(y), generator=generator).split(128):
                optimizer.zero_grad()
                loss = F.cross_entropy(network(features[batch]), codes[batch], weight=weight)
                loss.backward()
                optimizer.step()

    def head(X: np.ndarray, y: np.ndarray) -> None:
        params = {"hidden": [hidden], "max_epochs": epochs, "batch_size": 128}
        build_head("mlp", params, blocks=[Block("a", X.shape[1])], classes=classes).fit(X, y)

    torch.set_num_threads(1)
    for fit in (by_hand, head):  # the first fit of a process imports and warms up
        fit(X[:256], y[:256])
    while True:
        base = wall(by_hand, X, y)
        yield {"epoch": Costs(wall(head, X, y), base)}


def penalties(setting: Setting) -> Iterator[Round]:
    """`logreg_path` beside `logreg` with each of its penalties in turn, on features as correlated as a network's."""
    import numpy as np

    from hamcache.heads.blocks import Block
    from hamcache.heads.params import LogregPathParams
    from hamcache.heads.zoo import build_head

    rows, dim = setting.of((6000, 1280), (3000, 640), (200, 16))
    classes, block, random = tuple("abcdefg"), Block("a", dim), np.random.default_rng(0)
    y = random.choice(len(classes), rows, p=(0.67, 0.11, 0.11, 0.05, 0.03, 0.02, 0.01))
    known = random.standard_normal((rows, dim)) + 0.1 * random.standard_normal((len(classes), dim))[y]
    spread = np.arange(1, dim + 1) ** -0.56  # of its axes: measured on features of lite0, as many steps as these take
    X = (known * spread @ np.linalg.qr(random.standard_normal((dim, dim)))[0]).astype(np.float32)
    held_out, X, codes, y = X[rows * 3 // 4 :], X[: rows * 3 // 4], y[rows * 3 // 4 :], y[: rows * 3 // 4]
    Cs = LogregPathParams.model_fields["Cs"].default

    def one_after_another() -> list[float]:
        heads = [build_head("logreg", {"C": C}, blocks=[block], classes=classes).fit(X, y) for C in Cs]
        return [float((head.predict(held_out) == codes).mean()) for head in heads]

    def together() -> list[float]:
        head = build_head("logreg_path", {"choose_by": "accuracy"}, blocks=[block], classes=classes)
        return [row["accuracy"] for row in head.fit(X, y, validation=(held_out, codes)).path_]

    if np.abs(np.subtract(one_after_another(), together())).max() > 0.05:
        raise AssertionError("Expected the same scores, got others.")
    while True:
        own = wall(together)
        yield {"fits": Costs(own, wall(one_after_another))}
