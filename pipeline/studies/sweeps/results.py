"""Sweeps on disk: settings, one row a trial, scores by epoch, the summary; made, read and found again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

import pandas as pd

from hamcache.data.files import write_json, write_text
from hamcache.data.workspace import Workspace
from hamcache.heads.metrics import get_metric
from hamcache.pipeline.config.renamed import renamed
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.errors import DamagedError, PipelineError
from hamcache.pipeline.runs.artefacts import Artefact, Kind, give_name, new_folder
from hamcache.pipeline.runs.sealed import CHANGED, DIGESTS, SEAL, Files, sealed
from hamcache.pipeline.runs.shapes import SWEEP
from hamcache.pipeline.studies.sweeps.space import Point, Space, label
from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig, kept_settings

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
        """One row a trial, in the order they ended, with `trial, state, <objective>, epochs, seconds, overhead, error`,
        then a column for each searched key, empty where it was not in use; choices as text."""
        if not (self.folder / TRIALS).exists() and TRIALS not in (self.files.digests or {}):
            return pd.DataFrame(columns=columns_of(self.settings))
        choices = [key for key, dimension in self.settings.space.items() if dimension.is_choice]
        text = ["state", "error", *choices]
        columns = columns_of(self.settings)
        rows = self.files.table(
            TRIALS,
            columns,
            [name for name in columns if name not in text],
            names=lambda header: list(renamed(dict.fromkeys(header))),
            dtype=dict.fromkeys(text, "str"),
            keep_default_na=False,
            na_values={name: [""] for name in columns if name not in ("state", "error")},
        )
        whole = rows[["trial", "epochs", "seconds"]].notna().all().all() and not rows["trial"].duplicated().any()
        scored = rows.loc[rows["state"] != FAILED, self.objective].notna().all()
        if not whole or not scored or not set(rows["state"]) <= {FINISHED, STOPPED, FAILED}:
            raise self.files.damaged(TRIALS, "holds rows that are no trials")
        return rows

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
        try:
            return point_of(self.settings.dimensions, row)
        except SweepError as error:
            raise self.files.damaged(TRIALS, f"holds {error}") from error

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """`trial, epoch, score`, the best score up to each epoch, higher is better."""
        columns = ("trial", "epoch", "score")
        if not (self.folder / EPOCHS).exists() and EPOCHS not in (self.files.digests or {}):
            return pd.DataFrame({name: [] for name in columns})
        rows = self.files.table(EPOCHS, columns, columns)[list(columns)]
        if rows.isna().any().any():
            raise self.files.damaged(EPOCHS, "holds rows that are no epochs")
        return rows

    @property
    def files(self) -> Files:
        """Its files, to be read strictly."""
        return _files(self.folder, self.summary.get(DIGESTS))

    def flaws(self) -> list[DamagedError]:
        """Flaws of its files, one a file."""
        return self.files.flaws(lambda: [self.point(row) for _, row in self.trials.iterrows()], lambda: self.epochs)


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
                raise SweepError(f"trial {row['trial']}: {key}: expected one of {', '.join(options)}, got {value!r}")
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
        DamagedError: A file is missing, damaged, or not the one that was written.
    """
    files = _files(folder)
    content = files.mapping(SETTINGS, ("name", "experiment", "space"))
    try:
        settings = kept_settings(content, SETTINGS)
    except (ValueError, TypeError, AttributeError) as error:  # its keys are renamed before they are checked
        raise files.damaged(SETTINGS, f"holds no sweep ({error})") from error
    if not (folder / SUMMARY).exists():
        return Sweep(folder, settings)
    summary, files = files.record(SUMMARY, SWEEP)
    if summary.get("settings", settings.digest) != settings.digest:
        raise files.damaged(SETTINGS, CHANGED)
    return Sweep(folder, settings, summary)


def write_summary(sweep: Sweep, summary: Mapping[str, Any]) -> None:
    """Keep a sweep's summary. Once the sweep is finished it holds the checksums of the tables.

    Before that a kill may leave a trial more in the tables than the summary knows of.
    """
    tables = [name for name in (TRIALS, EPOCHS) if (sweep.folder / name).is_file()]
    content = {key: value for key, value in summary.items() if key not in (DIGESTS, SEAL)}
    content |= {"settings": sweep.settings.digest}
    if summary["state"] == FINISHED:
        content = sealed(content, sweep.folder, tables)
    write_json(sweep.folder / SUMMARY, content)


def _files(folder: Path, digests: Mapping[str, str] | None = None) -> Files:
    return Files(folder, "sweep", "`hamcache sweeps rm` removes it.", digests)


def _by_age(sweep: Sweep) -> tuple[list[str], str]:
    return re.findall(r"\d{8}-\d{6}", sweep.id)[-1:], sweep.id


SWEEPS = Kind("sweep", attrgetter("sweeps"), SETTINGS, read_sweep, _by_age, "`hamcache sweeps` lists sweeps.")
all_sweeps, load_sweep = SWEEPS.all, SWEEPS.load
