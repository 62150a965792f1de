"""Intervals of scores: bootstrap over lesions, paired comparison, Holm's correction.

Photographs of one lesion are not independent, so lesions are resampled, not images (a cluster bootstrap, Field and
Welsh 2007): each resample draws as many lesions as there are, with replacement, and an image counts as often as its
lesion was drawn. Those counts are weights, so a resample is one row of a matrix and a metric of all resamples is a few
matrix products.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hamcache.configs.defaults import RESAMPLES as RESAMPLES
from hamcache.heads.errors import MetricError
from hamcache.heads.metrics import Metric, get_metric
from hamcache.heads.scored import Scored, scored

LEVEL = 0.95
PERCENTILES = (50 * (1 - LEVEL), 50 * (1 + LEVEL))
"""Ends of an interval."""
_CELLS = 1_000_000  # weights made at a time: 8 MB, which stay in the processor's cache better than all at once

MetricLike = str | Metric | Callable[[np.ndarray, np.ndarray], float]
"""A metric or its name, or any function of (codes, probabilities), which is called once a resample: that is slow."""
Groups = Sequence[object] | np.ndarray
"""The lesion of each image."""


@dataclass(frozen=True)
class Interval:
    """A score and its 95 % percentile bootstrap interval.

    Attributes:
        value: The score of all images.
        low: Lower end of the interval.
        high: Upper end of the interval.
        resamples: Resamples used; those in which the metric is undefined are left out.
        groups: Number of lesions that were resampled.
    """

    value: float
    low: float
    high: float
    resamples: int
    groups: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Difference(Interval):
    """The score of run `a` minus that of run `b` on the same images, with its interval.

    Attributes:
        p_value: Two-sided, for "no difference": twice the smaller share of resamples on one side of zero, counting the
            observed sample itself, so never below 2 / (resamples + 1).
    """

    p_value: float


def bootstrap(
    y_true: np.ndarray,
    proba: np.ndarray,
    groups: Groups,
    metrics: Sequence[MetricLike] = ("mcc",),
    *,
    classes: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Interval]:
    """Percentile intervals of several metrics of one set of images, all from the same resamples.

    Args:
        y_true: `[n]` codes of the true classes.
        proba: `[n, C]` probabilities.
        groups: `[n]` lesion of each image.
        metrics: Names (also `sensitivity_<class>` and the like, given `classes`) or functions.
        classes: Class names in code order, for per-class metrics.
        resamples: Number of resamples drawn.
        seed: Seed of the resamples.
    """
    values = resampled([(y_true, proba, groups)], metrics, classes, resamples, seed)
    n_groups = len(np.unique(np.asarray(groups)))
    return [interval(of_metric[0], n_groups) for of_metric in values]


def paired_bootstrap(
    y_true: np.ndarray,
    proba_a: np.ndarray,
    proba_b: np.ndarray,
    groups: Groups,
    metric: MetricLike = "mcc",
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """The difference `a - b` of a metric of two sets of probabilities for the same images, resampled together.

    Pairing takes out what both share (hard and easy lesions), so the interval is that of the difference itself.
    """
    a, b = resampled_scores(y_true, [proba_a, proba_b], groups, metric, resamples=resamples, seed=seed)
    return difference(a, b, len(np.unique(np.asarray(groups))))


def resampled_scores(
    y_true: np.ndarray,
    probas: Sequence[np.ndarray],
    groups: Groups,
    metric: MetricLike,
    *,
    classes: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """float64 `[len(probas), 1 + resamples]`: the metric of all images, then of each resample, the same for all."""
    sets = [(y_true, proba, groups) for proba in probas]
    return resampled(sets, [metric], classes, resamples, seed)[0]


def resampled_together(
    sets: Sequence[tuple[np.ndarray, np.ndarray, Groups]],
    metric: MetricLike,
    *,
    classes: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """The metric of several sets of images, such as the validation images of several seeds, on common resamples.

    The lesions of all sets are resampled together, so a lesion counts as often in every set that has it. A mean over
    the sets, resample by resample, therefore varies as much as its lesions let it: sets that share lesions are not
    taken for independent ones. Where all sets are the same images this is `resampled_scores`.

    Args:
        sets: Codes `[n]`, probabilities `[n, C]` and lesions `[n]` of each.
        metric: A metric's name or function.
        classes: Class names in code order, for per-class metrics.
        resamples: Number of resamples drawn.
        seed: Seed of the resamples.

    Returns:
        float64 `[len(sets), 1 + resamples]`: the metric of all images, then of each resample; NaN where undefined.
    """
    return resampled(sets, [metric], classes, resamples, seed)[0]


def interval(values: np.ndarray, groups: int) -> Interval:
    """The percentile interval of one row `[1 + R]`: the score of all images, then of the resamples."""
    drawn = values[1:][~np.isnan(values[1:])]
    low, high = np.percentile(drawn, PERCENTILES) if len(drawn) else (np.nan, np.nan)
    return Interval(float(values[0]), float(low), float(high), len(drawn), groups)


def difference(a: np.ndarray, b: np.ndarray, groups: int) -> Difference:
    """Compare two rows of values on the same resamples (`[1 + R]`, the first is that of all images)."""
    gap = interval(a - b, groups)
    drawn = (a - b)[1:]
    one_side = min((drawn <= 0).sum(), (drawn >= 0).sum())  # NaN is on neither side
    return Difference(**vars(gap), p_value=float(min(1.0, 2 * (1 + one_side) / (1 + gap.resamples))))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's (1979) step-down adjustment: compare the result with 0.05 however many comparisons were made."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def group_weights(groups: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Image weights of the resamples, a few rows at a time: float64 `[rows, n]`, counts of each image's lesion."""
    lesions, codes = np.unique(np.asarray(groups), return_inverse=True)
    for counts in _lesion_counts(len(lesions), len(codes), resamples, seed):
        yield counts[:, codes].astype(np.float64)


def _lesion_counts(lesions: int, images: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Number of times each lesion is drawn: int64 `[rows, lesions]`, as many rows as suit that many images."""
    rng = np.random.default_rng(seed)
    rows = max(1, _CELLS // max(images, lesions))
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = rng.integers(0, lesions, size=(size, lesions)) + lesions * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * lesions).reshape(size, lesions)


def resampled(
    sets: Sequence[tuple[np.ndarray, np.ndarray, Groups]],
    metrics: Sequence[MetricLike],
    classes: Sequence[str],
    resamples: int,
    seed: int,
) -> list[np.ndarray]:
    """One array `[len(sets), 1 + resamples]` a metric, all from the same resamples; see `resampled_together`."""
    images, groups = [scored(y, proba) for y, proba, _ in sets], [np.asarray(of_set) for _, _, of_set in sets]
    for whole, of_set in zip(images, groups, strict=True):
        if of_set.shape != whole.y.shape:
            raise MetricError(f"Expected the lesion of each of {len(whole.y)} images, got shape {of_set.shape}.")
    if resamples < 1:
        raise MetricError(f"Expected 1 resample or more, got {resamples}.")
    chosen = [_as_metric(m, classes) for m in metrics]
    lesions = np.unique(np.concatenate(groups))
    codes = [np.searchsorted(lesions, of_set) for of_set in groups]
    values = [[[metric.compute(whole)] for whole in images] for metric in chosen]
    with np.errstate(invalid="ignore"):  # a resample may leave nothing of a small set
        for counts in _lesion_counts(len(lesions), max(map(len, codes)), resamples, seed):
            for i, (whole, code) in enumerate(zip(images, codes, strict=True)):
                drawn = Scored(whole.y, whole.proba, counts[:, code].astype(np.float64))
                for m, metric in enumerate(chosen):
                    values[m][i].append(metric.compute(drawn))
    return [np.stack([np.concatenate(rows) for rows in of_metric]) for of_metric in values]


def _as_metric(metric: MetricLike, classes: Sequence[str]) -> Metric:
    if isinstance(metric, str):
        return get_metric(metric, classes)
    return metric if isinstance(metric, Metric) else _from_function(metric)


def _from_function(function: Callable[[np.ndarray, np.ndarray], float]) -> Metric:
    """Any function of labels and probabilities, called with each image repeated as often as it was drawn."""

    def compute(s: Scored) -> np.ndarray:
        rows = (np.repeat(np.arange(len(s.y)), counts.astype(int)) for counts in s.weights)
        return np.array([function(s.y[row], s.proba[row]) for row in rows], dtype=np.float64)

    return Metric(getattr(function, "__name__", "metric"), True, "", compute)
