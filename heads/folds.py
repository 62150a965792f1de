"""Inner cross-validation of heads (calibration, stacking): folds of images that keep groups together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from hamcache.heads.errors import TooFewImagesError

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


def image_folds(
    y: NDArray[np.int64], groups: NDArray | None, n_folds: int, seed: int, classes: Sequence[str]
) -> list[Fold]:
    """Indices (train, held out) of stratified folds in which no group is on both sides.

    Where a class has fewer groups than `n_folds`, there are as many folds as it has groups.

    Raises:
        TooFewImagesError: a class has one group only, so no fold could train without it.
    """
    if groups is None:
        groups = np.arange(len(y))
    _, first, member = np.unique(groups, return_index=True, return_inverse=True)
    labels = y[first]
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() < 2:
        raise TooFewImagesError(
            "Expected at least 2 images (of different groups) of every class for out-of-fold predictions, got "
            f"{counts.min()} of {classes[int(counts.argmin())]}. Give it more images, or choose a head that needs "
            "neither calibration nor stacking."
        )
    splitter = StratifiedKFold(min(n_folds, counts.min()), shuffle=True, random_state=seed)
    fold_of_group = np.empty(len(first), dtype=np.intp)
    for number, (_, held_out) in enumerate(splitter.split(labels, labels)):
        fold_of_group[held_out] = number
    fold = fold_of_group[member]
    return [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in np.unique(fold)]
