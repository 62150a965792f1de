"""Scores of subgroups: images of one age band, sex or body site, or of one value of any column of the image table.

Each has its own bootstrap over lesions. Many groups are looked at, so one interval in twenty misses its value; and a
group is not the whole in small: other classes, in other shares.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from hamcache.data.errors import MetadataError
from hamcache.data.metadata import KNOWN, numbers_of, texts_of
from hamcache.data.nearest import unknown_name
from hamcache.data.table import ImageTable
from hamcache.data.workspace import Workspace
from hamcache.pipeline.evaluate.intervals import RESAMPLES, Interval, bootstrap
from hamcache.pipeline.runs.own_dataset import own_dataset
from hamcache.pipeline.runs.records import Run

COLUMNS = (*KNOWN, "dx_type")
"""Columns that are looked at where none are named."""
AGES = (30.0, 45.0, 60.0, 75.0)
"""Where an age band ends and the next begins."""
FEW, FEW_OF_CLASS = 30, 10
"""Lesions of a group, and images of the class that a score is about, below which a reader is cautioned."""
MOST_GROUPS, MOST_NUMBERS, QUARTILES = 50, 8, (0.25, 0.5, 0.75)
NOT_KNOWN = "not known"
OVER_CLASSES = ("balanced_accuracy", "macro_f1", "macro_auc")
"""Means over classes, which say something else where a class lacks."""
OF_ONE_CLASS = ("accuracy", "sensitivity_", "nll", "brier", "ece")
"""Scores that mean something where all images are of one class."""


@dataclass(frozen=True)
class Subgroup:
    """Images that have one value, or a number of one band, in a column.

    Attributes:
        column: The column.
        name: The value, or the band in words.
        images, lesions: How many there are.
        scores: Metric -> score with its interval; None where too few classes are there for it.
        note: Cautions: a small group, classes that lack, few images of the class that a score is about.
    """

    column: str
    name: str
    images: int
    lesions: int
    scores: dict[str, Interval | None]
    note: str = ""


def run_subgroups(
    run: Run,
    workspace: Workspace,
    part: str,
    columns: Sequence[str] | None = None,
    *,
    metrics: Sequence[str] = (),
    proba: np.ndarray | None = None,
    resamples: int = RESAMPLES,
) -> list[Subgroup] | str:
    """Scores of a run in subgroups; where its data set is not here, a sentence that says so.

    Args:
        run: A finished run.
        workspace: Where data sets that are named by a word lie.
        part: Part of the split.
        columns: Columns of the image table; None: those of `COLUMNS` that it has.
        metrics: What is scored (default: see `metrics_of`).
        proba: Probabilities `[n, C]` in place of the run's own, such as calibrated ones.
        resamples: Resamples of the bootstraps.

    Raises:
        MetadataError: There is no such column, or it has too many values.
        RunError: The run has no such part.
    """
    dataset = own_dataset(run, workspace)
    if isinstance(dataset, str):
        return dataset
    try:
        rows = columns_of(dataset.table, list(run.part(part)["image_id"]), columns)
    except KeyError:
        return f"the data set {dataset.name} is not the one that the run was trained on"
    y, own, lesions = run.answers(part)
    answers = (y, own if proba is None else proba, lesions)
    return subgroup_scores(answers, rows, run.classes, metrics or metrics_of(run), resamples)


def metrics_of(run: Run) -> list[str]:
    """Scores of a subgroup: the objective, accuracy, and the sensitivity for the positive class."""
    positive = run.provenance.get("positive")
    return list(dict.fromkeys([run.config.objective, "accuracy", *([f"sensitivity_{positive}"] if positive else [])]))


def columns_of(table: ImageTable, image_ids: Sequence[str], names: Sequence[str] | None = None) -> pd.DataFrame:
    """The columns that images are grouped by, in their order.

    Raises:
        KeyError: An image is not in the table.
        MetadataError: A column is not there.
    """
    frame = table.frame.set_index("image_id")
    for name in names or ():
        if name not in frame:
            raise MetadataError(f"--by: {unknown_name('column', name, map(str, frame.columns))}")
    asked = [name for name in COLUMNS if name in frame] if names is None else list(dict.fromkeys(names))
    return frame.loc[list(image_ids), asked]


def subgroup_scores(
    answers: tuple[np.ndarray, np.ndarray, np.ndarray],
    columns: pd.DataFrame,
    classes: Sequence[str],
    metrics: Sequence[str],
    resamples: int = RESAMPLES,
) -> list[Subgroup]:
    """One entry a group: column by column, numbers rising, words the most frequent first, the unknown last.

    Args:
        answers: Codes `[n]`, probabilities `[n, C]` and lesions `[n]`.
        columns: A row an image, in that order.
        classes: Class names in code order.
        metrics: Names of metrics.
        resamples: Resamples of the bootstraps.
    """
    y, proba, lesions = answers
    there = set(np.unique(y).tolist())
    found = []
    for column in columns:
        for name, inside in _groups(columns[column]).items():
            codes = set(np.unique(y[inside]).tolist())
            wanted = [metric for metric in metrics if _can_be(metric, codes, there, classes)]
            of_group = (y[inside], proba[inside], lesions[inside])
            bounds = bootstrap(*of_group, wanted, classes=classes, resamples=resamples) if wanted else []
            scores = dict.fromkeys(metrics) | dict(zip(wanted, bounds, strict=True))
            count = len(np.unique(lesions[inside]))
            note = _note(count, y[inside], there, classes, wanted)
            found.append(Subgroup(str(column), name, int(inside.sum()), count, scores, note))
    return found


def _note(lesions: int, y: np.ndarray, there: set[int], classes: Sequence[str], metrics: Sequence[str]) -> str:
    counts = np.bincount(y, minlength=len(classes))
    about = {metric.partition("_")[2] for metric in metrics} & set(classes)
    few = [f"{counts[c]} {label}" for c, label in enumerate(classes) if label in about and counts[c] < FEW_OF_CLASS]
    lacks = [classes[code] for code in sorted(there) if not counts[code]]
    return "; ".join(
        [
            *([f"few: {lesions} lesions"] if lesions < FEW else []),
            *([f"only {', '.join(few)}"] if few else []),
            *([f"no {', '.join(lacks)}"] if lacks else []),
        ]
    )


def _can_be(metric: str, codes: set[int], there: set[int], classes: Sequence[str]) -> bool:
    """True where a score says of images of these classes what it says of all."""
    kind, _, label = metric.partition("_")
    if kind in ("sensitivity", "specificity", "auc") and label in classes:
        others = codes - {classes.index(label)}
        return (kind == "specificity" or classes.index(label) in codes) and (kind == "sensitivity" or bool(others))
    if metric in OVER_CLASSES:
        return codes == there
    return len(codes) > 1 or metric.startswith(OF_ONE_CLASS)


def _groups(values: pd.Series) -> dict[str, np.ndarray]:
    """Name of each group -> bool `[n]`, True for its images."""
    texts = np.array(texts_of(values), dtype=object)
    numbers = numbers_of(values)
    if numbers is not None and np.isfinite(numbers).any():
        groups = _bands(str(values.name), numbers)
        unknown = np.isnan(numbers)
    else:
        unknown = texts == ""
        words = pd.Series(texts[~unknown]).value_counts()
        if len(words) > MOST_GROUPS:
            raise MetadataError(
                f"Expected a column of numbers, or of at most {MOST_GROUPS} different words, got {len(words):,} in "
                f"{values.name!r}. Name another one."
            )
        order = sorted(words.index, key=lambda word: (-words[word], word))
        groups = {str(word): texts == word for word in order}
    if unknown.any():
        groups[NOT_KNOWN] = groups.get(NOT_KNOWN, False) | unknown
    return groups


def _bands(name: str, numbers: np.ndarray) -> dict[str, np.ndarray]:
    """Bands of numbers, rising: an age by `AGES`, few different ones each for itself, else by quartiles."""
    known = numbers[np.isfinite(numbers)]
    different = np.unique(known)
    if not name.lower().startswith("age") and len(different) <= MOST_NUMBERS:
        return {f"{value:g}": numbers == value for value in different}
    ends = AGES if name.lower().startswith("age") else tuple(np.unique(np.quantile(known, QUARTILES)).tolist())
    edges = [-np.inf, *ends, np.inf]
    bands = {}
    for low, high in pairwise(edges):
        inside = (numbers >= low) & (numbers < high)
        if inside.any():
            bands[_band(low, high)] = inside
    return bands


def _band(low: float, high: float) -> str:
    if np.isinf(low):
        return f"below {high:g}"
    return f"{low:g} and above" if np.isinf(high) else f"{low:g} to below {high:g}"
