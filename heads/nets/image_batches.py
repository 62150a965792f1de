"""Batches of views, made from decoded images while the network works on the batches before."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hamcache.extract.augmentations import Augmentation
from hamcache.extract.draws import draw_view
from hamcache.extract.kernels import ImageViews
from hamcache.extract.preprocess import Preprocessing
from hamcache.heads.nets.decoded import DecodedImages, ahead, default_threads

PREDICT_IMAGES = 64
"""Images a forward pass when predicting."""
REPEAT_STRIDE = 10_007
"""Views between two draws of one image in the same epoch (odd, so that symmetries differ too)."""


@dataclass(frozen=True, eq=False)
class ViewSource:
    """Views of images, fitted to a network's input; a draw depends only on names and numbers.

    Attributes:
        images: the decoded images.
        ids: image ids by row.
        augmentation: what views are drawn with.
        preprocessing: resizes to the network's input.
        seed: of the views.
    """

    images: DecodedImages
    ids: Sequence[str]
    augmentation: Augmentation
    preprocessing: Preprocessing
    seed: int

    def view(self, row: int, number: int) -> Tensor:
        """View `number` of one row's image, uint8 `[3, *preprocessing.size]`."""
        draw = draw_view(self.augmentation, self.seed, self.ids[row], number)
        return ImageViews(self.images[self.ids[row]]).fitted(draw, self.preprocessing.frame)

    def epoch_view(self, row: int, epoch: int, repeat: int = 0) -> Tensor:
        """The view of one epoch. Each image counts through its views from a start of its own: symmetries mix."""
        start = hashlib.blake2b(self.ids[row].encode(), digest_size=2).digest()
        return self.view(row, int.from_bytes(start, "little") + epoch + repeat * REPEAT_STRIDE)


def stacked(source: ViewSource, rows: NDArray[np.int64], views: int) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Views 0 to `views` - 1 of these rows, image by image: rows and uint8 `[rows x views, 3, h, w]` a batch."""
    numbers = [(int(row), view) for row in rows for view in range(views)]
    made = ahead(lambda item: source.view(*item), numbers, default_threads(), waiting=2 * PREDICT_IMAGES)
    images = max(1, PREDICT_IMAGES // views)
    for start in range(0, len(rows), images):
        batch = rows[start : start + images]
        yield batch, torch.stack(list(islice(made, len(batch) * views)))


class TrainingBatches:
    """Shuffled batches of views and codes for skorch, the same for the same seed and epoch.

    The last batch is no small rest: all batches of an epoch have nearly the same size.

    Args:
        dataset: skorch's data set: `dataset.X` int64 rows into `source.ids`, `dataset.y` int64 codes.
        source: makes the views.
        batch_size: images a batch at most.
        seed: with the number of the epoch, decides order and sampling.
        sampler: `shuffle` or `balanced` (see `heads.nets.net_params`).
        epoch: number of the first epoch.
    """

    def __init__(self, dataset: Any, source: ViewSource, batch_size: int, seed: int, sampler: str, epoch: int = 0):
        self.rows = np.asarray(dataset.X)
        self.y = torch.tensor(dataset.y)
        self.source = source
        self.batch_size = batch_size
        self.seed = seed
        self.sampler = sampler
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        order = self.order(epoch)
        repeats = repeat_numbers(order)
        items = list(zip(order.tolist(), repeats.tolist(), strict=True))

        def make(item: tuple[int, int]) -> Tensor:
            return self.source.epoch_view(int(self.rows[item[0]]), epoch, item[1])

        made = ahead(make, items, default_threads(), waiting=2 * self.batch_size)
        for batch in np.array_split(order, len(self)):
            yield torch.stack(list(islice(made, len(batch)))), self.y[torch.from_numpy(batch)]

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Positions of the training images in the order in which an epoch shows them."""
        rng = np.random.default_rng([self.seed, epoch])
        if self.sampler == "shuffle":
            return rng.permutation(len(self.rows))
        codes = self.y.numpy()
        shares = 1.0 / np.bincount(codes)[codes]
        return rng.choice(len(codes), size=len(codes), p=shares / shares.sum())


def repeat_numbers(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of times that each entry stood in `order` before.

    >>> repeat_numbers(np.array([5, 3, 5, 5])).tolist()
    [0, 0, 1, 2]
    """
    by_value = np.argsort(order, kind="stable")
    same = order[by_value]
    starts = np.searchsorted(same, same)
    repeats = np.empty_like(order)
    repeats[by_value] = np.arange(len(order)) - starts
    return repeats
