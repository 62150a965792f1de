"""Scores of a run on a set of images, with intervals over lesions: metrics, calibration, coverage, likeness."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hamcache.heads.metrics import METRICS, compute_metrics
from hamcache.pipeline.evaluate.calibration import Temperature
from hamcache.pipeline.evaluate.class_map import ClassMap
from hamcache.pipeline.evaluate.conformal import PredictionSets
from hamcache.pipeline.evaluate.intervals import (
    RESAMPLES,
    Interval,
    MetricLike,
    difference,
    group_weights,
    interval,
    resampled,
)

CALIBRATION = ("ece", "nll", "brier")
"""Metrics that the temperature changes."""


@dataclass(frozen=True, eq=False)
class Answered:
    """Images with their labels, and what a run answered.

    Attributes:
        y: int64 `[n]`, codes of `ClassMap.classes`.
        proba: float64 `[n, C]`, the run's own probabilities of its own classes.
        groups: str `[n]`, lesions.
    """

    y: np.ndarray
    proba: np.ndarray
    groups: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "Answered":
        return Answered(self.y[rows], self.proba[rows], self.groups[rows])


@dataclass(frozen=True, eq=False)
class Judge:
    """All that turns a run's answers into scores.

    Attributes:
        classes: The classes that are scored.
        temperature: The run's own.
        sets: The run's own prediction sets, made from calibrated probabilities.
        positive: Class of the run that is scored at fixed specificities; None without one.
        thresholds: Its thresholds, from the run's validation part.
        resamples: Resamples of the bootstraps.
    """

    classes: ClassMap
    temperature: Temperature
    sets: PredictionSets
    positive: str | None = None
    thresholds: Mapping[float, float] | None = None
    resamples: int = RESAMPLES

    def metrics(self, images: Answered) -> dict[str, MetricLike]:
        """Metrics that these images can give, those at fixed thresholds as functions."""
        names, positive = self.classes.classes, self.positive if self.positive in self.classes.classes else None
        proba = self.classes.merged(images.proba)
        given = compute_metrics(images.y, proba, names, positive=positive, thresholds=self.thresholds)
        wanted: dict[str, MetricLike] = {name: name for name in given if "_at_" not in name}
        if positive is not None:
            code = names.index(positive)
            for specificity, threshold in (self.thresholds or {}).items():
                per_cent = round(100 * specificity)
                for kind, is_sick in (("sensitivity", True), ("specificity", False)):
                    name = f"{positive}_{kind}_at_{per_cent}"
                    if name in given:
                        wanted[name] = _at(code, threshold, is_sick)
        return wanted

    def compared(
        self, theirs: Answered, ours: Answered, paired: bool
    ) -> tuple[dict[str, Interval], dict[str, Interval], dict[str, Interval]]:
        """Scores of the data set's images, of the run's own, and the first less the second.

        Args:
            theirs: Images of the data set.
            ours: The run's own, of the same classes.
            paired: Whether groups of the same name are the same: then they are resampled together.
        """
        metrics = self.metrics(theirs)
        own = self.metrics(ours)
        sides = [(images.y, self.classes.merged(images.proba), images.groups) for images in (theirs, ours)]
        if paired:
            both = self._rows(sides, metrics, seed=0)
        else:
            apart = [self._rows([side], metrics, seed) for seed, side in enumerate(sides)]
            both = {name: np.concatenate([rows[name] for rows in apart]) for name in metrics}
        n = [len(np.unique(images.groups)) for images in (theirs, ours)]
        scores = {name: interval(rows[0], n[0]) for name, rows in both.items()}
        others = {name: interval(rows[1], n[1]) for name, rows in both.items() if name in own}
        gaps: dict[str, Interval] = {name: difference(both[name][0], both[name][1], min(n)) for name in others}
        return scores, others, gaps

    def scores(self, images: Answered, metrics: Sequence[str]) -> dict[str, Interval]:
        """Some scores of some images."""
        side = (images.y, self.classes.merged(images.proba), images.groups)
        rows = self._rows([side], {name: name for name in metrics}, seed=0)
        n = len(np.unique(images.groups))
        return {name: interval(values[0], n) for name, values in rows.items()}

    def calibrated(self, images: Answered) -> dict[str, Interval]:
        """Scores of the calibrated probabilities."""
        return self.scores(Answered(images.y, self.temperature(images.proba), images.groups), CALIBRATION)

    def covered(self, images: Answered) -> np.ndarray:
        """bool `[n]`: True where the true class is in the prediction set."""
        inside = self.classes.merged(self.inside(images))
        return inside[np.arange(len(images.y)), images.y]

    def inside(self, images: Answered) -> np.ndarray:
        """bool `[n, C]`: the classes of the run in each prediction set."""
        return self.sets(self.temperature(images.proba))

    def coverage(self, images: Answered) -> dict[str, Any]:
        """Share of the prediction sets that hold the true class: of all images, and of each class; and their size."""
        covered = self.covered(images)
        names = self.classes.classes
        by_class = {
            name: {"share": float(covered[images.y == code].mean()), "images": int((images.y == code).sum())}
            for code, name in enumerate(names)
            if (images.y == code).any()
        }
        sizes = self.inside(images).sum(axis=1).astype(np.float64)
        return {
            "share": share(covered, images.groups, self.resamples),
            "size": share(sizes, images.groups, self.resamples),
            "by_class": by_class,
        }

    def _rows(
        self, sides: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], metrics: Mapping[str, MetricLike], seed: int
    ) -> dict[str, np.ndarray]:
        rows = resampled(sides, list(metrics.values()), self.classes.classes, self.resamples, seed)
        return dict(zip(metrics, rows, strict=True))


def share(values: np.ndarray, groups: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """The mean of one value an image, with its interval over lesions."""
    numbers = np.asarray(values, dtype=np.float64)
    drawn = [weights @ numbers / weights.sum(axis=1) for weights in group_weights(groups, resamples, seed)]
    return interval(np.concatenate([[numbers.mean()], *drawn]), len(np.unique(groups)))


def plain_metrics(objective: str) -> list[str]:
    """Scores of a curve: the objective first."""
    names = dict.fromkeys((objective, "mcc", "weighted_f1", "balanced_accuracy", "accuracy", "ece"))
    return [name for name in names if name in METRICS]


def _at(code: int, threshold: float, is_sick: bool) -> MetricLike:
    def at(y: np.ndarray, proba: np.ndarray) -> float:
        called = proba[(y == code) == is_sick, code] > threshold
        return float((called == is_sick).mean()) if len(called) else np.nan

    return at
