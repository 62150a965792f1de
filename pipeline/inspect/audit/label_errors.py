"""Labels that are likely wrong: predictions of images that the head has not seen, against the labels they have.

Confident learning (Northcutt, Jiang and Chuang, Journal of Artificial Intelligence Research 70, 2021): an image counts
as one of another class where its probability of that class is at least the mean of the images that are labelled so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hamcache.heads.blocks import Block
from hamcache.heads.folds import image_folds
from hamcache.heads.metrics import METRICS
from hamcache.heads.zoo import build_head
from hamcache.pipeline.experiment.fitting import failing_as

FOLDS = 5
_COMPONENTS = 256  # principal components that the head sees, where there are more columns


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """Images that the predictions confidently count as another class, the surest first.

    Attributes:
        rows: int64 `[n]`: images.
        suggested: int64 `[n]`: codes of the other classes.
        given_probability: float64 `[n]`: probability of the label that is given.
        suggested_probability: float64 `[n]`.
        judged: Number of images that were judged: those whose class has two groups or more.
        mcc: Matthews correlation of the predictions; the lower it is, the more of these are the head's errors.
    """

    rows: np.ndarray
    suggested: np.ndarray
    given_probability: np.ndarray
    suggested_probability: np.ndarray
    judged: int
    mcc: float

    def __len__(self) -> int:
        return len(self.rows)


def find_label_errors(
    rows: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    classes: Sequence[str],
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> LabelErrors:
    """Predict every image by a head that has not seen its group, and list what disagrees confidently.

    Args:
        rows: Descriptors float32 `[n, dim]`.
        y: int64 `[n]`, class codes.
        groups: int `[n]`; images of one group are predicted together.
        classes: Names in code order.
        seed: Of the folds.
        on_progress: Called with the folds done and their number.
    """
    judged = np.flatnonzero(_judged(y, groups))
    present, codes = np.unique(y[judged], return_inverse=True)
    if len(present) < 2:
        empty = np.empty(0)
        return LabelErrors(empty.astype(np.int64), empty.astype(np.int64), empty, empty, 0, float("nan"))
    names = [classes[code] for code in present]
    probabilities = out_of_fold(rows[judged], codes, groups[judged], names, seed, on_progress)
    wrong, suggested = confident_errors(codes, probabilities)
    return LabelErrors(
        rows=judged[wrong],
        suggested=present[suggested],
        given_probability=probabilities[wrong, codes[wrong]],
        suggested_probability=probabilities[wrong, suggested],
        judged=len(judged),
        mcc=METRICS["mcc"](codes, probabilities),
    )


def _judged(y: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Images of the classes that have two groups or more, a group counting for the label of its first image."""
    judged = np.ones(len(y), bool)
    while True:
        _, first = np.unique(groups[judged], return_index=True)
        counts = np.bincount(y[judged][first], minlength=int(y.max(initial=0)) + 1)
        fewer = judged & (counts[y] >= 2)
        if fewer.sum() == judged.sum():
            return judged
        judged = fewer


def out_of_fold(
    rows: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    classes: Sequence[str],
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Probabilities float64 `[n, C]`, each image's by a logistic regression that has not seen its group."""
    width = rows.shape[1]
    folds = image_folds(y, groups, FOLDS, seed, classes)
    probabilities = np.empty((len(y), len(classes)))
    for number, (train, held_out) in enumerate(folds, start=1):
        components = min(_COMPONENTS, len(train) - 1)
        block = Block("all", width, f"pca:{components}" if width > components else "standardize")
        # Plain frequencies: the probabilities are compared with each other, so they should mean what they say.
        head = build_head("logreg", {"class_weight": "none"}, blocks=[block], classes=classes, seed=seed)
        with failing_as("the logistic regression of the audit"):
            head.fit(rows[train], y[train], groups=groups[train])
            probabilities[held_out] = head.predict_proba(rows[held_out])
        if on_progress:
            on_progress(number, len(folds))
    return probabilities


def confident_errors(y: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The off-diagonal of the confident joint whose label is the less probable one, ordered by the margin between them.

    Args:
        y: int64 `[n]`, class codes, of every class at least one.
        probabilities: float64 `[n, C]`, of heads that have not seen the image.

    Returns:
        Rows int64 `[m]`, and the code of the other class of each.
    """
    n, count = probabilities.shape
    given = probabilities[np.arange(n), y]
    thresholds = np.bincount(y, weights=given, minlength=count) / np.bincount(y, minlength=count)
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    suggested = confident.argmax(axis=1)
    # Where the given label is the more probable one after all, it is no error.
    rows = np.flatnonzero((confident.max(axis=1) > given) & (suggested != y))
    margin = given[rows] - probabilities[rows, suggested[rows]]
    rows = rows[np.argsort(margin, kind="stable")]
    return rows, suggested[rows]
