"""Scores of class probabilities, each written once for any weights on the images.

A score is computed under `R` sets of image weights at a time: `R = 1` with all weights one is the plain score, and the
resamples of a bootstrap are weights that count how often an image was drawn (`evaluate.intervals`). So the number in a
table and its interval come from the same few lines.

Classes that have no image in the truth have no sensitivity and no AUC. They are left out of the result, and means
over classes (balanced accuracy, macro F1, macro AUC) run over the classes that are there; an F1 mean over them still
pays for images wrongly given to an absent class, because those are missed elsewhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hamcache.data.nearest import unknown_name
from hamcache.heads.errors import MetricError
from hamcache.heads.scored import Scored, divide, scored

ECE_BINS = 15
SPECIFICITIES = (0.90, 0.95)
_SMALLEST = 1e-15  # a probability of exactly 0 on the true class costs -log(1e-15) = 34.5, not infinity


@dataclass(frozen=True)
class Metric:
    """A named score: `compute` maps a `Scored` to float64 `[R]`."""

    name: str
    higher_is_better: bool
    description: str
    compute: Callable[[Scored], np.ndarray]

    def __call__(self, y_true: np.ndarray, proba: np.ndarray) -> float:
        """The score of `proba` `[n, C]` against codes `y_true` `[n]`."""
        return float(self.compute(scored(y_true, proba))[0])

    def better(self, this: float, that: float) -> bool:
        """Tell if `this` is a better score than `that`."""
        return self.gain(this) > self.gain(that)

    def gain(self, score: float) -> float:
        """The score, or its negative where lower is better: more gain is better. Twice applied, the score again."""
        return score if self.higher_is_better else -score


def _hits(confusion: np.ndarray) -> np.ndarray:
    return np.diagonal(confusion, axis1=1, axis2=2)


def _mcc(s: Scored) -> np.ndarray:
    """Gorodkin's multiclass correlation (2004); 0 where all truths or all predictions are of one class."""
    truth, guess = s.confusion.sum(axis=2), s.confusion.sum(axis=1)
    covariance = _hits(s.confusion).sum(axis=1) * s.total - (truth * guess).sum(axis=1)
    variance = (s.total**2 - (truth**2).sum(axis=1)) * (s.total**2 - (guess**2).sum(axis=1))
    return divide(covariance, np.sqrt(np.maximum(variance, 0)), otherwise=0.0)


def _sensitivities(s: Scored) -> np.ndarray:
    """`[R, C]`, NaN for classes without an image."""
    return divide(_hits(s.confusion), s.confusion.sum(axis=2), otherwise=np.nan)


def _specificities(s: Scored) -> np.ndarray:
    """`[R, C]`, NaN where every image is of that class."""
    truth, guess, hits = s.confusion.sum(axis=2), s.confusion.sum(axis=1), _hits(s.confusion)
    others = s.total[:, None] - truth
    return divide(others - (guess - hits), others, otherwise=np.nan)


def _f1(s: Scored) -> tuple[np.ndarray, np.ndarray]:
    """`[R, C]` F1 and true weight of each class; a class never predicted and never true has F1 0 and weight 0."""
    truth, guess = s.confusion.sum(axis=2), s.confusion.sum(axis=1)
    return divide(2 * _hits(s.confusion), truth + guess, otherwise=0.0), truth


def _mean_of_present(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Row means of `[R, C]` over the entries that are `present`; NaN where none is."""
    return divide(np.where(present, values, 0.0).sum(axis=1), present.sum(axis=1).astype(float), otherwise=np.nan)


def _balanced_accuracy(s: Scored) -> np.ndarray:
    values = _sensitivities(s)
    return _mean_of_present(values, ~np.isnan(values))


def _macro_f1(s: Scored) -> np.ndarray:
    values, truth = _f1(s)
    return _mean_of_present(values, truth > 0)


def _weighted_f1(s: Scored) -> np.ndarray:
    values, truth = _f1(s)
    return (values * truth).sum(axis=1) / s.total


def _macro_auc(s: Scored) -> np.ndarray:
    return _mean_of_present(s.class_auc, ~np.isnan(s.class_auc))


def _nll(s: Scored) -> np.ndarray:
    true = s.proba[np.arange(len(s.y)), s.y]
    return s.mean(-np.log(np.clip(true, _SMALLEST, None)))


def _brier(s: Scored) -> np.ndarray:
    """Sum over classes of squared error (Brier 1950): from 0 to 2."""
    return s.mean(((s.proba - np.eye(s.n_classes)[s.y]) ** 2).sum(axis=1))


def _ece(s: Scored) -> np.ndarray:
    """Guo et al. 2017: 15 equal bins (open, closed] of the top probability; weighted |accuracy - confidence|."""
    bins, confidence = confidence_bins(s.proba)
    gaps = np.eye(ECE_BINS)[bins] * ((s.predicted == s.y) - confidence)[:, None]
    return np.abs(s.weights @ gaps).sum(axis=1) / s.total


def confidence_bins(proba: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bin of each image, int64 `[n]` from 0, and its top probability, float64 `[n]`."""
    confidence = proba.max(axis=1)
    return np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1), confidence


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("mcc", True, "Matthews correlation: 1 perfect, 0 no better than chance", _mcc),
        Metric("accuracy", True, "share of images given their class", lambda s: s.mean(s.predicted == s.y)),
        Metric("balanced_accuracy", True, "mean sensitivity of the classes (the ISIC challenge's)", _balanced_accuracy),
        Metric("weighted_f1", True, "F1 of the classes, averaged by their number of images", _weighted_f1),
        Metric("macro_f1", True, "F1 of the classes, averaged alike", _macro_f1),
        Metric("macro_auc", True, "area under the ROC curve, one class against the rest, averaged alike", _macro_auc),
        Metric("nll", False, "mean negative log of the true class's probability", _nll),
        Metric("brier", False, "mean squared error of the probabilities, summed over classes (0 to 2)", _brier),
        Metric("ece", False, "expected calibration error, 15 bins: how far confidence is from accuracy", _ece),
    )
}
"""The scores of a whole set of images, by name."""


def get_metric(name: str, classes: Sequence[str] = ()) -> Metric:
    """The metric of this name, or of one class: `sensitivity_mel`, `specificity_mel`, `auc_mel`.

    Raises:
        MetricError: Nobody has defined it; the nearest name is offered.
    """
    if name in METRICS:
        return METRICS[name]
    per_class = {
        f"{kind}_{label}": Metric(f"{kind}_{label}", True, f"{kind} of {label}", _of_class(values, code))
        for code, label in enumerate(classes)
        for kind, values in _PER_CLASS.items()
    }
    if name not in per_class:
        raise MetricError(unknown_name("metric", name, [*METRICS, *per_class]))
    return per_class[name]


def sensitivity_above(label: str, code: int, threshold: float) -> Metric:
    """The share of a class's images whose probability of that class is above a threshold, as a metric."""

    def compute(s: Scored) -> np.ndarray:
        there = (s.y == code).astype(np.float64)
        called = there * (s.proba[:, code] > threshold)
        return divide(s.weights @ called, s.weights @ there, otherwise=np.nan)

    return Metric(f"sensitivity_{label}_above", True, f"sensitivity of {label} above {threshold:g}", compute)


_PER_CLASS: dict[str, Callable[[Scored], np.ndarray]] = {
    "sensitivity": _sensitivities,
    "specificity": _specificities,
    "auc": lambda s: s.class_auc,
}


def _of_class(values: Callable[[Scored], np.ndarray], code: int) -> Callable[[Scored], np.ndarray]:
    return lambda s: values(s)[:, code]


def compute_metrics(
    y_true: np.ndarray,
    proba: np.ndarray,
    classes: Sequence[str],
    *,
    positive: str | None = None,
    thresholds: Mapping[float, float] | None = None,
) -> dict[str, float]:
    """Every score of one set of images; those the set cannot give (a class without images) are left out.

    Args:
        y_true: `[n]` codes into `classes`.
        proba: `[n, C]` probabilities.
        classes: Names of the classes, in code order.
        positive: The class whose sensitivity is wanted at fixed specificities (melanoma).
        thresholds: Specificity -> probability of `positive` above which an image is called, from the validation
            images (`specificity_threshold`); without them they are found on these images.

    Returns:
        The names of `METRICS`; `sensitivity_<class>`, `specificity_<class>`, `auc_<class>`; and for `positive`
        `<class>_sensitivity_at_90` and `<class>_specificity_at_90` (what the threshold for 90 % gives here).
    """
    s = scored(y_true, proba)
    if s.n_classes != len(classes):
        raise MetricError(f"Expected a probability for each of {len(classes)} classes, got {s.n_classes} columns.")
    values = {name: float(metric.compute(s)[0]) for name, metric in METRICS.items()}
    for kind, compute in _PER_CLASS.items():
        values |= {f"{kind}_{label}": float(v) for label, v in zip(classes, compute(s)[0], strict=True)}
    if positive is not None:
        if positive not in classes:
            raise MetricError(unknown_name("class", positive, classes))
        truth, score = s.y == classes.index(positive), s.proba[:, classes.index(positive)]
        for specificity in SPECIFICITIES:
            threshold = (thresholds or {}).get(specificity)
            if threshold is None:
                threshold = specificity_threshold(truth, score, specificity)
            called, per_cent = score > threshold, round(100 * specificity)
            values[f"{positive}_sensitivity_at_{per_cent}"] = _share(called[truth])
            values[f"{positive}_specificity_at_{per_cent}"] = _share(~called[~truth])
    return {name: value for name, value in values.items() if not np.isnan(value)}


def _share(answers: np.ndarray) -> float:
    return float(answers.mean()) if len(answers) else np.nan


def specificity_threshold(positive: np.ndarray, score: np.ndarray, specificity: float) -> float:
    """The lowest threshold at which at least this share of the negatives scores no higher than it.

    An image is called positive when its score is above the threshold. `positive` is bool `[n]`, `score` float `[n]`.
    Without negatives every threshold will do and 0 is returned.
    """
    negatives = np.sort(np.asarray(score, dtype=np.float64)[~np.asarray(positive, dtype=bool)])
    if len(negatives) == 0:
        return 0.0
    needed = max(int(np.ceil(specificity * len(negatives) - 1e-9)), 1)
    return float(negatives[needed - 1])


def majority_baseline(y_train: np.ndarray, y_true: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Scores of the predictor that knows only how frequent the classes are in train.

    It gives every image the train frequencies as probabilities, and so always predicts the most frequent class.
    """
    frequencies = np.bincount(y_train, minlength=len(classes)) / len(y_train)
    return compute_metrics(y_true, np.tile(frequencies, (len(y_true), 1)), classes)
