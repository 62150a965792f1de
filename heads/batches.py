"""Batches cut from arrays in memory, for skorch in place of a DataLoader."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor


class BatchIterator:
    """Shuffled batches of rows and codes (or mixed targets), the same ones for the same seed.

    The features stay where they are, as [n, views, d]; each batch gathers its rows by index. The last batch is not a
    small rest: all batches have nearly the same size, at most `batch_size`.

    Args:
        dataset: skorch's data set: `dataset.X` float32 tensor [n, views, d], `dataset.y` int64 tensor [n].
        batch_size: rows a batch at most.
        seed: with the number of the epoch, decides order, views and mixing.
        random_view: one random view of each image an epoch, instead of every view.
        mixup: alpha of the Beta distribution that a batch's mixing share is drawn from; 0 mixes nothing
            (Zhang et al., ICLR 2018, on features).
        targets: float32 [C, C], the target of each class; mixup mixes these.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        seed: int,
        random_view: bool = False,
        mixup: float = 0.0,
        targets: Tensor | None = None,
    ):
        self.X: Tensor = dataset.X
        self.y: Tensor = dataset.y
        self.batch_size = batch_size
        self.seed = seed
        self.random_view = random_view
        self.mixup = mixup
        self.targets = targets
        self.epoch = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        rows, views = self.X.flatten(0, 1), self.X.shape[1]
        for numbers in self._batches(rng):
            X, y = rows.index_select(0, numbers), self.y[numbers // views]
            if self.mixup:
                yield self._mixed(X, y, rng)
            else:
                yield X, y

    def __len__(self) -> int:
        rows = len(self.X) * (1 if self.random_view else self.X.shape[1])
        return -(-rows // self.batch_size)

    def _batches(self, rng: np.random.Generator) -> tuple[Tensor, ...]:
        images, views = self.X.shape[:2]
        if self.random_view:
            numbers = np.arange(images) * views + rng.integers(views, size=images)
        else:
            numbers = np.arange(images * views)
        return torch.from_numpy(rng.permutation(numbers)).tensor_split(len(self))

    def _mixed(self, X: Tensor, y: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        share = float(rng.beta(self.mixup, self.mixup))
        partner = torch.from_numpy(rng.permutation(len(X)))
        assert self.targets is not None
        mixed = self.targets[y].lerp(self.targets[y[partner]], 1 - share)
        return X.lerp(X[partner], 1 - share), mixed
