"""Sweeps on disk: settings, one row a trial, scores by epoch, the summary; made, read and found again."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

import pandas as pd

from hamcache.data.files import write_text
from hamcache.data.workspace import Workspace
from hamcache.heads.metrics import get_metric
from hamcache.pipeline.config.renamed import renamed
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.errors import PipelineError
from hamcache.pipeline.runs.artefacts import Artefact, Kind, give_name, new_folder
from hamcache.pipeline.studies.sweeps.space import Point, Space, label
from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig, read_sweep_yaml

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"
SETTINGS, TRIALS, EPOCHS, SUMMARY, LOG = "sweep.yaml", "trials.csv", "epochs.csv", "summary.json", "log.txt"


class SweepError(PipelineError, ValueError):
    """A sweep that cannot be run, gone on with or read as it is."""


@dataclass(frozen=True, eq=False)
class Sweep(Artefact):
    """A sweep, finished or not, as it is on disk.

    Attributes:
        settings: What was asked for.
        summary: State, counts, best trial, seconds, overhead; see `studies.sweeps.tuning`.
    """

    settings: SweepConfig
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def objective(self) -> str:
        """The metric that was searched for."""
        return self.settings.objective

    @property
    def final_run(self) -> str | None:
        """Id of the run that was trained from the best trial and scored on the test set."""
        run = self.summary.get("final_run")
        return None if run is None else str(run)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a trial, in the order they ended: `trial, state, <objective>, epochs, seconds, overhead, error`,
        then a column for each searched key, empty where it was not in use; choices as text."""
        keys = {key: "str" for key, dimension in self.settings.space.items() if dimension.is_choice}
        path = self.folder / TRIALS
        if not path.is_file():
            return pd.DataFrame(columns=columns_of(self.settings))
        with path.open(encoding="utf-8", newline="") as file:
            header = list(renamed(dict.fromkeys(next(csv.reader(file)))))
        return pd.read_csv(
            path,
            names=header,
            header=0,
            dtype={"state": "str", "error": "str", **keys},
            keep_default_na=False,
            na_values={name: [""] for name in columns_of(self.settings) if name not in ("state", "error")},
            float_precision="round_trip",
        )

    @property
    def ranking(self) -> pd.DataFrame:
        """The finished trials, best first; of equal ones the earlier."""
        rows = self.trials[self.trials["state"] == FINISHED]
        ascending = not get_metric(self.objective).higher_is_better
        return rows.sort_values([self.objective, "trial"], ascending=[ascending, True], ignore_index=True)

    @property
    def best(self) -> pd.Series:
        """The best trial's row.

        Raises:
            SweepError: No trial has finished.
        """
        if self.ranking.empty:
            raise SweepError(
                f"Expected a finished trial, but sweep {self.id} has no finished trial; go on with `hamcache sweep "
                f"--resume {self.id}`."
            )
        return self.ranking.iloc[0]

    @property
    def best_config(self) -> ExperimentConfig:
        """The experiment of the best trial."""
        return self.settings.config_at(self.point(self.best))

    def point(self, row: Mapping[str, Any] | pd.Series) -> Point:
        """The values that a row of `trials` stands for."""
        return point_of(self.settings.dimensions, row)

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """`trial, epoch, score`: the best score up to each epoch, higher is better."""
        path = self.folder / EPOCHS
        if not path.is_file():
            return pd.DataFrame({"trial": [], "epoch": [], "score": []})
        return pd.read_csv(path, float_precision="round_trip")


def columns_of(settings: SweepConfig) -> list[str]:
    """Columns of `trials.csv`."""
    return ["trial", "state", settings.objective, "epochs", "seconds", "overhead", "error", *settings.space]


def point_of(space: Space, row: Mapping[str, Any] | pd.Series) -> Point:
    """The point in a row of `trials.csv`."""
    point: Point = {}
    for key, dimension in space.dimensions.items():
        value = row[key]
        if value is None or (isinstance(value, float) and pd.isna(value)) or value == "":
            continue
        if dimension.is_choice:
            options = {label(option): option for option in dimension.values() or []}
            if value not in options:
                raise SweepError(
                    f"trial {row['trial']}: {key}: expected one of {', '.join(options)}, got {value!r}. Correct "
                    f"{TRIALS}, or begin a new sweep."
                )
            point[key] = options[value]
        else:
            point[key] = int(value) if dimension.int_ is not None else float(value)
    return point


def new_sweep(settings: SweepConfig, workspace: Workspace, when: datetime | None = None) -> Sweep:
    """An empty sweep with a folder of its own: `<name>-<yyyymmdd-hhmmss>-<4 hex digits of the settings>`."""
    stamp = (when or datetime.now()).strftime("%Y%m%d-%H%M%S")
    with new_folder(workspace.sweeps) as folder:
        write_text(folder / SETTINGS, settings.to_yaml())
        return Sweep(give_name(folder, f"{settings.name}-{stamp}-{settings.digest[:4]}"), settings)


def read_sweep(folder: Path) -> Sweep:
    """The sweep in one folder.

    Raises:
        SweepError: A file is missing or cannot be read.
    """
    try:
        settings = read_sweep_yaml(folder / SETTINGS)
        path = folder / SUMMARY
        summary = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise SweepError(
            f"Expected a sweep, but {folder} is not a sweep that can be read: {error}. `hamcache sweeps rm` removes it."
        ) from error
    return Sweep(folder, settings, summary)


def _by_age(sweep: Sweep) -> tuple[list[str], str]:
    return re.findall(r"\d{8}-\d{6}", sweep.id)[-1:], sweep.id


SWEEPS = Kind("sweep", attrgetter("sweeps"), SETTINGS, read_sweep, _by_age, "`hamcache sweeps` lists sweeps.")
all_sweeps, load_sweep = SWEEPS.all, SWEEPS.load
