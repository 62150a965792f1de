"""Prediction sets: all classes that an image may plausibly have, with a stated chance that the true one is among them.

Split conformal prediction (Vovk et al. 2005; Angelopoulos and Bates, arXiv:2107.07511). Each validation image gets a
score that says how badly its true class fits its probabilities. With n of them the threshold is the
ceil((n + 1) x coverage)-th smallest: the + 1 is the new image itself, and it makes the promise hold at any n, on
average over draws of validation and new images. A set holds the classes whose score is not above the threshold.

The promise assumes that new images are drawn like the validation images. Here it is approximate: validation was also
looked at by early stopping, tau and the temperature, several images of one lesion are not independent, and in a
cross-validated run the scores are those of single heads while new images get the mean of all.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np

from hamcache.configs.defaults import SETS
from hamcache.data.nearest import unknown_name
from hamcache.pipeline.errors import PredictionError

SLACK = 1e-6
"""Scores may be above the threshold by this: the same image among others, or in another file, differs by rounding."""


@dataclass(frozen=True, eq=False)
class PredictionSets:
    """Sets of classes, made from probabilities.

    Attributes:
        coverage: The chance promised.
        score: A name of `configs.defaults.SETS`.
        class_conditional: Whether the promise is made for each class (Mondrian), not only for all images together.
        thresholds: float64 `[C]`; infinite where there are too few images to promise anything: such a class is in
            every set.
        images: int64 `[C]`: validation images behind each threshold.
    """

    coverage: float
    score: str
    class_conditional: bool
    thresholds: np.ndarray
    images: np.ndarray

    def __call__(self, proba: np.ndarray) -> np.ndarray:
        """bool `[n, C]`: True for the classes in the set of each image; the most probable one always is."""
        proba = np.asarray(proba, dtype=np.float64)
        inside = class_scores(proba, self.score) <= self.thresholds + SLACK
        inside[np.arange(len(proba)), proba.argmax(axis=1)] = True
        return inside

    @property
    def unlimited(self) -> np.ndarray:
        """bool `[C]`: classes with too few validation images for the coverage, which are therefore in every set."""
        return np.isinf(self.thresholds)


def fit_sets(
    proba: np.ndarray, y: np.ndarray, coverage: float = 0.9, score: str = "lac", class_conditional: bool = False
) -> PredictionSets:
    """Learn the thresholds from validation images.

    Args:
        proba: `[n, C]`, as they will be shown.
        y: int64 `[n]` codes.
        coverage: Between 0 and 1.
        score: `lac` (Sadinle et al. 2019): 1 - the class's probability; the smallest sets on average. `aps` (Romano et
            al. 2020, with 0 for its random number): the sum of the probabilities of all classes above this one; larger
            sets for hard images, smaller for easy ones. The most probable class scores 0: it is in every set anyway.
        class_conditional: A threshold for each class, from its own images only: rare classes get the coverage too, and
            sets grow.

    Raises:
        PredictionError: A coverage or a score that does not exist.
    """
    if not 0 < coverage < 1:
        raise PredictionError(f"Expected a coverage between 0 and 1, for example 0.9, got {coverage:g}.")
    if score not in SETS:
        raise PredictionError(unknown_name("score of prediction sets", score, SETS))
    scores = class_scores(np.asarray(proba, dtype=np.float64), score)
    true = scores[np.arange(len(y)), y]
    n_classes = scores.shape[1]
    parts = [true[y == code] if class_conditional else true for code in range(n_classes)]
    thresholds = np.array([_threshold(part, coverage) for part in parts])
    images = np.array([len(part) for part in parts], dtype=np.int64)
    return PredictionSets(coverage, score, class_conditional, thresholds, images)


def class_scores(proba: np.ndarray, score: str) -> np.ndarray:
    """Misfit of each class, float64 `[n, C]` of probabilities `[n, C]`: between 0 and 1, larger is worse."""
    if score == "lac":
        return 1.0 - proba
    order = np.argsort(-proba, axis=1, kind="stable")
    ordered = np.take_along_axis(proba, order, axis=1)
    scores = np.empty_like(ordered)
    np.put_along_axis(scores, order, np.cumsum(ordered, axis=1) - ordered, axis=1)
    return scores


def fewest_images(coverage: float) -> int:
    """Validation images without which no finite threshold keeps the promise.

    >>> fewest_images(0.9)
    9
    """
    return ceil(coverage / (1 - coverage) - 1e-9)


def _threshold(scores: np.ndarray, coverage: float) -> float:
    rank = ceil((len(scores) + 1) * coverage - 1e-9)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else np.inf
