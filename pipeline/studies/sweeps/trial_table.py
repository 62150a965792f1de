"""The trials of a sweep that is being run: kept on disk as they end.

Every file is replaced whole, so a kill at any moment leaves the trials that were finished before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import pandas as pd

from hamcache.data.files import write_csv
from hamcache.heads.metrics import get_metric
from hamcache.pipeline.studies.sweeps.results import EPOCHS, STOPPED, TRIALS, Sweep, columns_of
from hamcache.pipeline.studies.sweeps.search import Known
from hamcache.pipeline.studies.sweeps.space import Point, label


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
        self._write(EPOCHS, ["trial", "epoch", "score"], self.epochs)
        self._write(TRIALS, columns_of(self._settings), [self._row(trial) for trial in self.trials])

    def _write(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        write_csv(self._folder / name, pd.DataFrame(rows, columns=list(columns), dtype=object))

    def _row(self, trial: Trial) -> list[Any]:
        values = [label(trial.point[key]) if key in trial.point else "" for key in self._settings.space]
        overhead = "" if trial.overhead is None else round(trial.overhead, 4)
        score = "" if trial.score is None else trial.score
        return [
            *(trial.number, trial.state, score, trial.epochs, round(trial.seconds, 4), overhead, trial.error),
            *values,
        ]

    def known(self) -> list[Known]:
        """Results of the trials so far, as a search learns from them."""
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
        taken = {trial.number for trial in self.trials}
        return (number for number in count() if number not in taken)
