"""How far a score can be trusted: bootstrap over lesions, paired comparison, Holm's correction.

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
_CELLS = 1_000_000  # weights made at a time: 8 MB, which stay in the processor's cache better than all at once

MetricLike = str | Callable[[np.ndarray, np.ndarray], float]
"""A metric's name, or any function of (codes, probabilities); the latter is called once a resample, which is slow."""


@dataclass(frozen=True)
class Interval:
    """A score and its percentile bootstrap interval.

    Attributes:
        value: The score of all images.
        low: Lower end of the interval.
        high: Upper end of the interval.
        level: Coverage asked for, e.g. 0.95.
        resamples: Resamples used; those in which the metric is undefined are left out.
        groups: Number of lesions that were resampled.
    """

    value: float
    low: float
    high: float
    level: float
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
    groups: Sequence[object] | np.ndarray,
    metrics: Sequence[MetricLike] = ("mcc",),
    *,
    classes: Sequence[str] = (),
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> list[Interval]:
    """Percentile intervals of several metrics of one set of images, all from the same resamples.

    Args:
        y_true: `[n]` codes of the true classes.
        proba: `[n, C]` probabilities.
        groups: `[n]` lesion of each image.
        metrics: Names (also `sensitivity_<class>` and the like, given `classes`) or functions.
        classes: Class names in code order, for per-class metrics.
        resamples: How many resamples are drawn.
        level: Coverage of the intervals.
        seed: Seed of the resamples.
    """
    values = _resampled(y_true, [proba], groups, metrics, classes, resamples, seed)
    n_groups = len(np.unique(np.asarray(groups)))
    return [interval(of_metric[0], n_groups, level) for of_metric in values]


def paired_bootstrap(
    y_true: np.ndarray,
    proba_a: np.ndarray,
    proba_b: np.ndarray,
    groups: Sequence[object] | np.ndarray,
    metric: MetricLike = "mcc",
    *,
    classes: Sequence[str] = (),
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Difference:
    """The difference `a - b` of a metric of two sets of probabilities for the same images, resampled together.

    Pairing takes out what both share (hard and easy lesions), so the interval is that of the difference itself.
    """
    (values,) = _resampled(y_true, [proba_a, proba_b], groups, [metric], classes, resamples, seed)
    return difference(values[0], values[1], len(np.unique(np.asarray(groups))), level)


def difference(a: np.ndarray, b: np.ndarray, groups: int, level: float = LEVEL) -> Difference:
    """Compare two rows of values on the same resamples (`[1 + R]`, the first is that of all images)."""
    gaps = a - b
    low, high, used = _percentiles(gaps[1:], level)
    drawn = gaps[1:][~np.isnan(gaps[1:])]
    one_side = min((drawn <= 0).sum(), (drawn >= 0).sum())
    p_value = min(1.0, 2 * (1 + one_side) / (1 + used))
    return Difference(float(gaps[0]), low, high, level, used, groups, float(p_value))


def resampled_scores(
    y_true: np.ndarray,
    probas: Sequence[np.ndarray],
    groups: Sequence[object] | np.ndarray,
    metric: MetricLike,
    *,
    classes: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """float64 `[len(probas), 1 + resamples]`: the metric of all images, then of each resample, the same for all."""
    return _resampled(y_true, probas, groups, [metric], classes, resamples, seed)[0]


def resampled_together(
    sets: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
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
        resamples: How many resamples are drawn.
        seed: Seed of the resamples.

    Returns:
        float64 `[len(sets), 1 + resamples]`: the metric of all images, then of each resample; NaN where undefined.
    """
    chosen = get_metric(metric, classes) if isinstance(metric, str) else _from_function(metric)
    every = [scored(y, proba) for y, proba, _ in sets]
    lesions = np.unique(np.concatenate([groups for _, _, groups in sets]))
    codes = [np.searchsorted(lesions, groups) for _, _, groups in sets]
    values = [[chosen.compute(one)] for one in every]
    with np.errstate(invalid="ignore"):  # a resample may leave nothing of a small set
        for counts in group_weights(lesions, resamples, seed):
            for drawn, one, code in zip(values, every, codes, strict=True):
                drawn.append(chosen.compute(Scored(one.y, one.proba, counts[:, code])))
    return np.stack([np.concatenate(drawn) for drawn in values])


def interval(values: np.ndarray, groups: int, level: float = LEVEL) -> Interval:
    """The percentile interval of one row `[1 + R]`: the score of all images, then of the resamples."""
    low, high, used = _percentiles(values[1:], level)
    return Interval(float(values[0]), low, high, level, used, groups)


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
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    n_groups, rng = int(codes.max()) + 1, np.random.default_rng(seed)
    rows = max(1, _CELLS // max(len(codes), n_groups))
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = rng.integers(0, n_groups, size=(size, n_groups)) + n_groups * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * n_groups).reshape(size, n_groups)
        yield counts[:, codes].astype(np.float64)


def _resampled(
    y_true: np.ndarray,
    probas: Sequence[np.ndarray],
    groups: Sequence[object] | np.ndarray,
    metrics: Sequence[MetricLike],
    classes: Sequence[str],
    resamples: int,
    seed: int,
) -> list[np.ndarray]:
    """One array `[len(probas), 1 + resamples]` a metric; column 0 is the score of all images."""
    sets = [scored(y_true, proba) for proba in probas]
    codes = np.asarray(groups)
    if codes.shape != (len(sets[0].y),):
        raise MetricError(f"expected the lesion of each of {len(sets[0].y)} images, got shape {codes.shape}")
    if resamples < 1:
        raise MetricError(f"expected 1 resample or more, got {resamples}")
    chosen = [get_metric(m, classes) if isinstance(m, str) else _from_function(m) for m in metrics]
    values = [[[metric.compute(one)] for one in sets] for metric in chosen]
    for weights in group_weights(codes, resamples, seed):
        for i, one in enumerate(sets):
            drawn = Scored(one.y, one.proba, weights)
            for m, metric in enumerate(chosen):
                values[m][i].append(metric.compute(drawn))
    return [np.stack([np.concatenate(parts) for parts in of_metric]) for of_metric in values]


def _from_function(function: Callable[[np.ndarray, np.ndarray], float]) -> Metric:
    """Any function of labels and probabilities, called with each image repeated as often as it was drawn."""

    def compute(s: Scored) -> np.ndarray:
        rows = (np.repeat(np.arange(len(s.y)), counts.astype(int)) for counts in s.weights)
        return np.array([function(s.y[row], s.proba[row]) for row in rows], dtype=np.float64)

    return Metric(getattr(function, "__name__", "metric"), True, "", compute)


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float, int]:
    drawn = values[~np.isnan(values)]
    if len(drawn) == 0:
        return float("nan"), float("nan"), 0
    tail = 50 * (1 - level)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return float(low), float(high), len(drawn)
