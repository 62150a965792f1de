"""A sweep's folder: settings, one row a trial, scores by epoch, the summary; found, read and added to.

Every file is replaced whole, so a kill at any moment leaves the trials that were finished before it.
"""

from __future__ import annotations

import csv
import json
import logging
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from hamcache.data.workspace import Workspace
from hamcache.heads.metrics import get_metric
from hamcache.pipeline.config.renamed import renamed
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.errors import PipelineError
from hamcache.pipeline.studies.sweeps.search import Known
from hamcache.pipeline.studies.sweeps.space import Point, Space, label
from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig, read_sweep_yaml

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"
SETTINGS, TRIALS, EPOCHS, SUMMARY, LOG = "sweep.yaml", "trials.csv", "epochs.csv", "summary.json", "log.txt"
_log = logging.getLogger(__name__)


class SweepError(PipelineError, ValueError):
    """A sweep that cannot be run, gone on with or read as it is."""


class SweepNotFoundError(PipelineError, FileNotFoundError):
    """No sweep has this id, or several begin with it."""


@dataclass(frozen=True)
class Trial:
    """One trial that has ended.

    Attributes:
        number: Its name, from 0.
        point: The values that were tried.
        state: `finished`, `stopped` (early, by the scheduler) or `failed`.
        score: The objective on validation as its metric gives it; None if the trial failed.
        epochs: Epochs it has trained; 0 for heads without epochs.
        seconds: What its own training took.
        overhead: What it took beyond: from the end of the trial before it on the same worker, less `seconds`; None for
            the first trial of a worker.
        error: Why it failed, in one line.
    """

    number: int
    point: Point
    state: str
    score: float | None
    epochs: int
    seconds: float
    overhead: float | None
    error: str = ""


@dataclass(frozen=True, eq=False)
class Sweep:
    """A sweep, finished or not, as it is on disk.

    Attributes:
        folder: `workspace/sweeps/<sweep id>`.
        settings: What was asked for.
        summary: State, counts, best trial, seconds, overhead; see `studies.sweeps.tuning`.
    """

    folder: Path
    settings: SweepConfig
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The sweep's name, which is its folder's."""
        return self.folder.name

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
        keys = {key: "str" for key, one in self.settings.space.items() if one.is_choice}
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
            raise SweepError(f"sweep {self.id} has no finished trial; go on with `hamcache sweep --resume {self.id}`")
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
                raise SweepError(f"trial {row['trial']}: {key}: expected one of {', '.join(options)}, got {value!r}")
            point[key] = options[value]
        else:
            point[key] = int(value) if dimension.int_ is not None else float(value)
    return point


class TrialTable:
    """The tables of a sweep that is being run; written after every trial."""

    def __init__(self, sweep: Sweep) -> None:
        self._folder, self._settings = sweep.folder, sweep.settings
        self._metric = get_metric(sweep.objective)
        self.trials = [self._trial(sweep, row) for _, row in sweep.trials.iterrows()]
        ended = {trial.number for trial in self.trials}
        self.epochs = [(int(n), int(e), float(s)) for n, e, s in sweep.epochs.itertuples(index=False) if n in ended]

    def _trial(self, sweep: Sweep, row: pd.Series) -> Trial:
        score, overhead = row[sweep.objective], row["overhead"]
        return Trial(
            int(row["trial"]),
            sweep.point(row),
            str(row["state"]),
            None if pd.isna(score) else float(score),
            int(row["epochs"]),
            float(row["seconds"]),
            None if pd.isna(overhead) else float(overhead),
            str(row["error"]),
        )

    def add(self, trial: Trial, epochs: Sequence[tuple[int, float]]) -> None:
        """Keep a trial that has ended, with its score at each epoch."""
        self.trials.append(trial)
        self.epochs += [(trial.number, epoch, score) for epoch, score in epochs]
        write_csv(self._folder / EPOCHS, ["trial", "epoch", "score"], self.epochs)
        write_csv(self._folder / TRIALS, columns_of(self._settings), [self._row(one) for one in self.trials])

    def _row(self, trial: Trial) -> list[Any]:
        values = [label(trial.point[key]) if key in trial.point else "" for key in self._settings.space]
        overhead = "" if trial.overhead is None else round(trial.overhead, 4)
        score = "" if trial.score is None else trial.score
        return [
            *(trial.number, trial.state, score, trial.epochs, round(trial.seconds, 4), overhead, trial.error),
            *values,
        ]

    def known(self) -> list[Known]:
        """What a search can learn from the trials so far."""
        return [
            Known(
                trial.point,
                None if trial.score is None else self._metric.gain(trial.score),
                trial.epochs if trial.state == STOPPED else None,
            )
            for trial in self.trials
        ]

    def free_numbers(self) -> Iterator[int]:
        """Numbers for trials to come: those that no trial has."""
        taken, number = {trial.number for trial in self.trials}, 0
        while True:
            if number not in taken:
                yield number
            number += 1


def new_sweep(settings: SweepConfig, workspace: Workspace, when: datetime | None = None) -> Sweep:
    """An empty sweep with a folder of its own: `<name>-<yyyymmdd-hhmmss>-<4 hex digits of the settings>`."""
    stamp = (when or datetime.now()).strftime("%Y%m%d-%H%M%S")
    for number in range(1, 1000):
        folder = workspace.sweeps / (
            f"{settings.name}-{stamp}-{settings.digest[:4]}" + (f"-{number}" if number > 1 else "")
        )
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        write_text(folder / SETTINGS, settings.to_yaml())
        return Sweep(folder, settings)
    raise SweepError(f"{workspace.sweeps} holds a thousand sweeps named {settings.name}; remove some")


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
        raise SweepError(f"{folder} is not a sweep that can be read: {error}") from error
    return Sweep(folder, settings, summary)


def all_sweeps(workspace: Workspace) -> list[Sweep]:
    """Every sweep, oldest first; folders that are none are passed over with a warning."""
    sweeps = []
    for folder in sorted(workspace.sweeps.glob("*/")):
        try:
            sweeps.append(read_sweep(folder))
        except SweepError as error:
            _log.warning("%s", error)
    return sorted(sweeps, key=lambda sweep: (re.findall(r"\d{8}-\d{6}", sweep.id)[-1:], sweep.id))


def load_sweep(name: str | Path, workspace: Workspace) -> Sweep:
    """The sweep with this id, with an id that begins like this, or in this folder.

    Raises:
        SweepNotFoundError: No sweep fits, or several do.
    """
    folders = {folder.name: folder for folder in sorted(workspace.sweeps.glob("*/"))}
    if str(name) in folders:
        return read_sweep(folders[str(name)])
    if (Path(name) / SETTINGS).is_file():
        return read_sweep(Path(name))
    fitting = [folder for folder in folders if str(name) and folder.startswith(str(name))]
    if len(fitting) == 1:
        return read_sweep(folders[fitting[0]])
    found = f"{len(fitting)} sweeps begin with it: {', '.join(fitting[:5])}" if fitting else "no sweep is named so"
    raise SweepNotFoundError(
        f"expected the id of one sweep in {workspace.sweeps}, or its folder, got {str(name)!r}: {found}. "
        f"There are: {', '.join(folders) or 'none'}"
    )


@contextmanager
def being_run(sweep: Sweep) -> Iterator[None]:
    """Holds the sweep's lock, which the operating system frees when the process dies.

    Raises:
        SweepError: Another process runs it.
    """
    lock = sweep.folder.with_name(f".{sweep.id}.lock")
    try:
        with FileLock(lock, timeout=0):
            yield
            lock.unlink(missing_ok=True)
    except Timeout:
        raise SweepError(f"sweep {sweep.id} is being run by another process; wait for it, or end that one") from None


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Replace a table at once."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file at once."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace a file at once: whoever reads it, and whenever this process dies, it is the old one or the new one."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
