"""The pictures of one run, drawn from its predictions: confusion, ROC, precision and recall, calibration, epochs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from hamcache.heads.metrics import ECE_BINS, confidence_bins
from hamcache.heads.scored import scored
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.show.plots.epochs import monitored, unsigned_history
from hamcache.pipeline.show.plots.ranking import average_precision, ranked
from hamcache.pipeline.show.report.board import label
from hamcache.pipeline.show.report.charts import UNIT, Chart, linear
from hamcache.pipeline.show.report.markup import score

MOST_CLASSES = 20
"""Classes of a confusion matrix; with more of them only the most frequent confusions are listed."""
MOST_WATCHED = 3
MOST_CURVES = 8
"""Classes with a curve of their own, those with most images: there are no more colours to tell apart."""


@dataclass(frozen=True)
class ClassScores:
    """One class of one run: how many images are of it, how many were given it, and its scores (maybe NaN)."""

    name: str
    images: int
    given: int
    sensitivity: float
    specificity: float
    precision: float
    f1: float
    auc: float


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts of images by true class (row) and predicted class (column).

    Attributes:
        counts: int64 `[C, C]`.
        shares: float64 `[C, C]`: of the images of the true class.
        worst: The most frequent confusions: true class, predicted class, images, share.
        whole: Whether the matrix is small enough to be shown.
    """

    counts: np.ndarray
    shares: np.ndarray
    worst: list[tuple[str, str, int, float]]
    whole: bool


def confusion(run: Run, part: str) -> Confusion:
    """Which classes a run takes for which."""
    counts = scored(run.labels(part), run.probabilities(part)).confusion[0].astype(np.int64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:10]
    pairs = [(int(t), int(p)) for t, p in zip(*np.unravel_index(order, counts.shape), strict=True) if wrong[t, p]]
    worst = [(run.classes[t], run.classes[p], int(counts[t, p]), float(shares[t, p])) for t, p in pairs]
    return Confusion(counts, shares, worst, len(run.classes) <= MOST_CLASSES)


def class_scores(run: Run, part: str) -> list[ClassScores]:
    """One entry a class, in code order."""
    counts = scored(run.labels(part), run.probabilities(part)).confusion[0]
    scores = run.metrics[part]
    found = []
    for code, name in enumerate(run.classes):
        hits, images, given = counts[code, code], counts[code].sum(), counts[:, code].sum()
        found.append(
            ClassScores(
                name=name,
                images=int(images),
                given=int(given),
                sensitivity=scores.get(f"sensitivity_{name}", np.nan),
                specificity=scores.get(f"specificity_{name}", np.nan),
                precision=hits / given if given else np.nan,
                f1=2 * hits / (images + given) if images else np.nan,
                auc=scores.get(f"auc_{name}", np.nan),
            )
        )
    return found


def roc(run: Run, part: str) -> Markup:
    """One curve a class against the rest."""
    chart = Chart(UNIT, UNIT, "1 − specificity", "sensitivity", f"ROC curves of {run.id}, one a class", "square")
    chart.line([(0, 0), (1, 1)], "chance")
    y, proba = run.labels(part), run.probabilities(part)
    for place, code in enumerate(_with_most_images(y, proba.shape[1])):
        hits, misses = ranked(y == code, proba[:, code])
        name = run.classes[code]
        points = list(zip(misses / misses[-1], hits / hits[-1], strict=True))
        chart.line(points, f"c{place}", name=f"{name} {score(run.metrics[part].get(f'auc_{name}'), 2)}")
    return chart.render()


def precision_recall(run: Run, part: str) -> Markup:
    """One curve a class against the rest."""
    about = f"Precision and recall of {run.id}, one a class"
    chart = Chart(UNIT, UNIT, "sensitivity (recall)", "precision", about, "square")
    y, proba = run.labels(part), run.probabilities(part)
    for place, code in enumerate(_with_most_images(y, proba.shape[1])):
        hits, misses = ranked(y == code, proba[:, code])
        precision = hits[1:] / (hits[1:] + misses[1:])
        points = [(0.0, float(precision[0])), *zip(hits[1:] / hits[-1], precision, strict=True)]
        area = average_precision(hits, misses)
        chart.line(points, f"c{place}", name=f"{run.classes[code]} {score(area, 2)}")
    return chart.render()


def reliability(run: Run, part: str) -> Markup:
    """Confidence against accuracy, in the bins of the expected calibration error; pale bars: share of the images."""
    proba = run.probabilities(part)
    right = proba.argmax(axis=1) == run.labels(part)
    bins, confidence = confidence_bins(proba)
    images = np.bincount(bins, minlength=ECE_BINS)
    used = np.flatnonzero(images)
    chart = Chart(
        UNIT, UNIT, "confidence", "accuracy", f"Reliability of {run.id}: accuracy at each confidence", "square"
    )
    edges = [(n / ECE_BINS, (n + 1) / ECE_BINS) for n in range(ECE_BINS)]
    chart.bars(edges, list(images / images.sum()), "pale")
    chart.line([(0, 0), (1, 1)], "chance", name="perfectly calibrated")
    points = [(float(confidence[bins == n].mean()), float(right[bins == n].mean())) for n in used]
    chart.line(points, "c0")
    chart.marks(points, "c0", name=f"this run, ECE {score(run.metrics[part].get('ece'))}")
    chart.legend("share of images", "pale")
    return chart.render()


def epochs(run: Run) -> list[tuple[str, Markup]]:
    """Caption and chart of the loss, and of each score that was watched, by epoch; nothing for heads without epochs."""
    history = unsigned_history(run.history)
    if len(history) < 2:
        return []
    folds = [rows for _, rows in history.groupby("fold")] if "fold" in history else [history]
    found = {str(column).partition("_")[2] for column in history if str(column).startswith(("train_", "valid_"))}
    names = sorted(found, key=lambda name: (name != "loss", name != monitored(run), name))
    return [(f"{label(name)} by epoch", _by_epoch(run, folds, name)) for name in names[:MOST_WATCHED]]


def _by_epoch(run: Run, folds: Sequence[pd.DataFrame], name: str) -> Markup:
    """Train and validation, one line a fold."""
    columns = [(f"{part}_{name}", words) for part, words in (("train", "train"), ("valid", "validation"))]
    columns = [(column, words) for column, words in columns if column in folds[0]]
    chart = Chart(
        linear([0.0, *(float(len(rows)) for rows in folds)], margin=0.0),
        linear([value for rows in folds for column, _ in columns for value in rows[column]]),
        "epoch",
        label(name),
        f"{label(name)} of {run.id} by epoch",
        "square",
    )
    for column, words in columns:
        for number, rows in enumerate(folds):
            points = [(e, v) for e, v in enumerate(rows[column].astype(float), start=1) if np.isfinite(v)]
            look = "c0" if words == "train" else "c5"
            chart.line(points, look, name=words if number == 0 else None)
    return chart.render()


def _with_most_images(y: np.ndarray, n_classes: int) -> list[int]:
    """Classes that have curves: those that some image is of and some image is not of."""
    images = np.bincount(y, minlength=n_classes)
    some = [code for code in range(n_classes) if 0 < images[code] < len(y)]
    most = sorted(some, key=lambda code: (-images[code], code))[:MOST_CURVES]
    return sorted(most)
