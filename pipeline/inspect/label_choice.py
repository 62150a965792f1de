"""The images to label next: those that a head is unsure of, those unlike all that is labelled, or both at once.

- `margin`: the least difference between the two most probable classes (Scheffer, Decomain and Wrobel, IDA 2001).
- `coverage`: greedy k-centre (Sener and Savarese, ICLR 2018): the farthest from all that is labelled or chosen before.
- `badge`: k-means++ among the gradients that a label would send into a linear head (Ash et al., ICLR 2020). They are
  long where the head is unsure, and far apart where images differ.
- `random`: what the others are measured by.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hamcache.configs.defaults import STRATEGIES
from hamcache.data.nearest import unknown_name
from hamcache.pipeline.errors import SuggestionError


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """Images that may be chosen, and those that are labelled.

    Attributes:
        proba: float64 `[n, C]`, a head's probabilities.
        places: float32 `[n, dim]`, rows of length 1 in the space of the features (`inspect.neighbours.JointSpace`).
        groups: `[n]`: of images of one group (lesion) one is chosen at most.
        labelled: float32 `[m, dim]`: the labelled images in the same space.
    """

    proba: np.ndarray
    places: np.ndarray
    groups: np.ndarray
    labelled: np.ndarray

    @property
    def margins(self) -> np.ndarray:
        """float64 `[n]`: difference between the two most probable classes."""
        return margins(self.proba)

    @property
    def distances(self) -> np.ndarray:
        """float32 `[n]`: distance to the nearest labelled image, from 0 to 2."""
        return np.sqrt(self._squares(self.labelled))

    def _squares(self, others: np.ndarray, at_a_time: int = 2048) -> np.ndarray:
        """Squared distance of each image to the nearest of some others."""
        nearest = np.full(len(self.places), 4, dtype=np.float32)
        for start in range(0, len(others), at_a_time):
            cosines = self.places @ others[start : start + at_a_time].T
            np.minimum(nearest, 2 - 2 * cosines.max(axis=1), out=nearest)
        return np.maximum(nearest, 0)


def margins(proba: np.ndarray) -> np.ndarray:
    """Difference between the two largest of each row's probabilities: float64 `[n]`."""
    if proba.shape[1] < 2:
        return np.ones(len(proba))
    second, first = np.partition(proba, -2, axis=1)[:, -2:].T
    return first - second


def choose(strategy: str, images: Unlabelled, n: int, seed: int = 0) -> np.ndarray:
    """Rows of `n` images to label, the most wanted first; fewer where there are not as many groups.

    Args:
        strategy: One of `STRATEGIES`.
        images: What there is.
        n: How many.
        seed: Of what is drawn; `margin` and `coverage` draw nothing.

    Raises:
        SuggestionError: No such strategy.
    """
    if strategy not in _STRATEGIES:
        raise SuggestionError(unknown_name("strategy", strategy, STRATEGIES))
    left = np.ones(len(images.places), dtype=bool)
    codes = np.unique(images.groups, return_inverse=True)[1]
    next_of = _STRATEGIES[strategy](images, np.random.default_rng(seed))
    chosen: list[int] = []
    while len(chosen) < n and left.any():
        row = next_of(left, chosen[-1] if chosen else None)
        chosen.append(row)
        left &= codes != codes[row]
    return np.array(chosen, dtype=np.int64)


Next = Callable[[np.ndarray, int | None], int]
"""Gives the row to choose, of those that are left, after the row that was chosen before."""


def _margin(images: Unlabelled, rng: np.random.Generator) -> Next:
    values = images.margins
    return lambda left, last: int(np.where(left, values, np.inf).argmin())


def _random(images: Unlabelled, rng: np.random.Generator) -> Next:
    order = rng.random(len(images.places))
    return lambda left, last: int(np.where(left, order, np.inf).argmin())


def _coverage(images: Unlabelled, rng: np.random.Generator) -> Next:
    squares = images._squares(images.labelled)

    def following(left: np.ndarray, last: int | None) -> int:
        if last is not None:
            np.minimum(squares, images._squares(images.places[[last]]), out=squares)
        return int(np.where(left, squares, -1).argmax())

    return following


def _badge(images: Unlabelled, rng: np.random.Generator) -> Next:
    """The gradient of an image is the outer product of `pulls` and `places`, which is never written out."""
    pulls = images.proba - np.eye(images.proba.shape[1])[images.proba.argmax(axis=1)]
    lengths = np.square(pulls).sum(axis=1) * np.square(images.places.astype(np.float64)).sum(axis=1)
    squares = np.full(len(pulls), np.inf)

    def following(left: np.ndarray, last: int | None) -> int:
        if last is None:
            return int(np.where(left, lengths, -1).argmax())
        products = (pulls @ pulls[last]) * (images.places @ images.places[last])
        np.minimum(squares, np.maximum(lengths + lengths[last] - 2 * products, 0), out=squares)
        weights = np.where(left, squares, 0)
        total = weights.sum()
        if not total > 0:  # a head that is sure of all that is left
            return int(left.argmax())
        return int(rng.choice(len(weights), p=weights / total))

    return following


_STRATEGIES: dict[str, Callable[[Unlabelled, np.random.Generator], Next]] = {
    "badge": _badge,
    "margin": _margin,
    "coverage": _coverage,
    "random": _random,
}
