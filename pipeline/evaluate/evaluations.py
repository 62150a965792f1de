"""Evaluations on disk: scores of a run on a data set that it has never seen, written whole, found again and read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hamcache.data.files import write_csv, write_json
from hamcache.pipeline.errors import DamagedError
from hamcache.pipeline.evaluate.intervals import Interval
from hamcache.pipeline.runs.artefacts import Artefact, Kind, give_name
from hamcache.pipeline.runs.sealed import DIGESTS, Files, sealed
from hamcache.pipeline.runs.shapes import EVALUATION

RECORD, TABLE = "evaluation.json", "predictions.csv"
TEXT = ("image_id", "group", "label", "corruption", "prediction_set", "nearest")


@dataclass(frozen=True, eq=False)
class Evaluation(Artefact):
    """A finished evaluation: `evaluation.json` and `predictions.csv` in its folder.

    Attributes:
        record: Settings, scores with intervals, counts of what was left out, and where it all comes from.
        reused: Whether it was found finished.
    """

    record: dict[str, Any]
    reused: bool = False

    @property
    def files(self) -> Files:
        """Its files, to be read strictly."""
        return _files(self.folder, self.record.get(DIGESTS))

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row an image and corruption, with `image_id, group, label, corruption, severity, p_<class of the run>...,
        prediction_set, unlike_p, nearest, nearest_similarity`. Probabilities are the run's own, not calibrated;
        `label` is the class that it was scored by; the rows of the images as they are have severity 0.
        """
        numbers = [f"p_{label}" for label in self.record["run_classes"]]
        return self.files.table(
            TABLE,
            (*TEXT, "severity", *numbers),
            ("severity", *numbers),
            dtype=dict.fromkeys(TEXT, "str"),
            keep_default_na=False,
            na_values={"unlike_p": [""], "nearest_similarity": [""]},
        )

    def scored(self, names: Sequence[str]) -> list[str]:
        """The objective, then those of some scores that there are."""
        return [name for name in dict.fromkeys((self.record["objective"], *names)) if name in self.record["scores"]]

    @property
    def curves(self) -> dict[str, list[dict[str, Any]]]:
        """Corruption -> its rows of the record by severity, first that of the images as they are."""
        clean, *others = self.record["corrupted"] or [None]
        kinds = dict.fromkeys(row["corruption"] for row in others)
        return {kind: [clean, *(row for row in others if row["corruption"] == kind)] for kind in kinds}

    @property
    def picture(self) -> Path:
        """Path of its picture, which whoever asked for it draws (`show.plots.evaluation`)."""
        return self.folder / "evaluation.png"

    def flaws(self) -> list[DamagedError]:
        """Flaws of its files, one a file."""
        return self.files.flaws(lambda: self.predictions)


def save_evaluation(folder: Path, name: str, record: Mapping[str, Any], predictions: pd.DataFrame) -> Evaluation:
    """Write an evaluation into an `artefacts.new_folder` and name it, in the place of one of this name."""
    write_csv(folder / TABLE, predictions)
    content = sealed(record, folder, (TABLE,))
    write_json(folder / RECORD, content)
    return Evaluation(give_name(folder, name, replace=True), content)


def read_evaluation(folder: Path) -> Evaluation:
    """The evaluation in one folder.

    Raises:
        DamagedError: A file is missing, damaged, or not the one that was written.
    """
    record, _ = _files(folder).record(RECORD, EVALUATION)
    return Evaluation(folder, record)


def plain(bound: Interval) -> dict[str, Any]:
    """An interval as JSON: an end that is not a number is None."""
    return {name: None if value != value else value for name, value in vars(bound).items()}


def plain_all(bounds: Mapping[str, Interval]) -> dict[str, Any]:
    """Intervals by name as JSON, without the scores that are not numbers."""
    return {name: plain(bound) for name, bound in bounds.items() if np.isfinite(bound.value)}


def bound_of(entry: Mapping[str, Any] | None) -> Interval | None:
    """The interval of an entry of the record; None for none."""
    if entry is None:
        return None
    value, low, high = (np.nan if entry[name] is None else float(entry[name]) for name in ("value", "low", "high"))
    return Interval(value, low, high, int(entry["resamples"]), int(entry["groups"]))


def _files(folder: Path, digests: Mapping[str, str] | None = None) -> Files:
    advice = "`hamcache evaluations rm` removes it; `hamcache evaluate` makes it anew."
    return Files(folder, "evaluation", advice, digests)


def _age(evaluation: Evaluation) -> tuple[str, str]:
    return str(evaluation.record["finished"]), evaluation.id


EVALUATIONS = Kind(
    "evaluation",
    attrgetter("evaluations"),
    RECORD,
    read_evaluation,
    _age,
    "`hamcache evaluate RUN --dataset OTHER` makes one.",
)
all_evaluations = EVALUATIONS.all
