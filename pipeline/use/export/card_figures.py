"""The figures of a model card: scores with intervals, calibration, and what prediction sets keep of their promise."""

from dataclasses import dataclass

import numpy as np

from hamcache.heads.metrics import METRICS
from hamcache.pipeline.evaluate.conformal import PredictionSets
from hamcache.pipeline.evaluate.intervals import RESAMPLES, Interval, bootstrap, group_weights, interval
from hamcache.pipeline.evaluate.subgroups import Subgroup, run_subgroups
from hamcache.pipeline.use.predict.predictor import Predictor

COVERAGES = (0.8, 0.9, 0.95)
KINDS = (("lac", False), ("lac", True), ("aps", False))
"""Sets that are tried out: score, and whether class-conditional."""


@dataclass(frozen=True, eq=False)
class PartFigures:
    """Worth of a run on one part, by the calibrated probabilities.

    Attributes:
        part: `validation` or `test`.
        images: Images in it.
        lesions: Lesions (groups) in it.
        class_images: Class -> images.
        scores: Name -> score and interval: all of `METRICS`, and `sensitivity_<class>`, `specificity_<class>`.
        baseline: Name -> score of the predictor that knows only the class frequencies of train.
        raw_ece: Expected calibration error without calibration.
        sets: The same of prediction sets, see `set_figures`.
        subgroups: Scores by age band, sex and body site, as far as the data set is here and tells.
    """

    part: str
    images: int
    lesions: int
    class_images: dict[str, int]
    scores: dict[str, Interval]
    baseline: dict[str, float]
    raw_ece: float
    sets: "list[SetFigures]"
    subgroups: list[Subgroup]


@dataclass(frozen=True, eq=False)
class SetFigures:
    """Share of sets that hold the true class, and their size.

    Attributes:
        sets: The sets.
        covered: Share of images whose set holds their class, over all images, by the bootstrap over lesions.
        class_covered: The same share in each class that has images.
        size: Mean number of classes in a set.
        single: Share of images whose set is one class.
    """

    sets: PredictionSets
    covered: Interval
    class_covered: dict[str, float]
    size: float
    single: float


def part_figures(predictor: Predictor, part: str, resamples: int = RESAMPLES) -> PartFigures:
    """All figures of one part of a run; intervals are 95 % bootstraps over lesions.

    Raises:
        RunError: The run has no such part.
    """
    run = predictor.run
    y, raw, groups = run.answers(part)
    proba = predictor.temperature(raw)
    present = [label for code, label in enumerate(run.classes) if (y == code).any()]
    names = [*METRICS, *(f"{kind}_{label}" for label in present for kind in ("sensitivity", "specificity"))]
    intervals = bootstrap(y, proba, groups, names, classes=run.classes, resamples=resamples)
    sets = [
        set_figures(predictor.sets(coverage, score, conditional), proba, y, groups, run.classes, resamples)
        for score, conditional in KINDS
        for coverage in COVERAGES
    ]
    subgroups = run_subgroups(run, predictor.workspace, part, proba=proba, resamples=resamples)
    return PartFigures(
        part=part,
        images=len(y),
        lesions=len(np.unique(groups)),
        class_images={label: int((y == code).sum()) for code, label in enumerate(run.classes)},
        scores=dict(zip(names, intervals, strict=True)),
        baseline=run.baseline(part),
        raw_ece=METRICS["ece"](y, raw),
        sets=sets,
        subgroups=[] if isinstance(subgroups, str) else subgroups,
    )


def set_figures(
    sets: PredictionSets,
    proba: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    classes: tuple[str, ...],
    resamples: int = RESAMPLES,
) -> SetFigures:
    """Figures of `sets` on images with probabilities `[n, C]`, codes `[n]` and lesions `[n]`."""
    inside = sets(proba)
    covered = inside[np.arange(len(y)), y]
    return SetFigures(
        sets=sets,
        covered=_share(covered, groups, resamples),
        class_covered={
            label: float(covered[y == code].mean()) for code, label in enumerate(classes) if (y == code).any()
        },
        size=float(inside.sum(axis=1).mean()),
        single=float((inside.sum(axis=1) == 1).mean()),
    )


def _share(answers: np.ndarray, groups: np.ndarray, resamples: int) -> Interval:
    drawn = [weights @ answers / weights.sum(axis=1) for weights in group_weights(groups, resamples, seed=0)]
    return interval(np.concatenate([[answers.mean()], *drawn]), len(np.unique(groups)))
