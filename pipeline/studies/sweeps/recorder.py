"""The record of a sweep: every trial is kept as it ends, with a summary that a resumed session adds to."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import numpy as np
from ray import tune

from hamcache.heads.metrics import get_metric
from hamcache.pipeline.errors import RunError
from hamcache.pipeline.experiment.run_log import RunLog
from hamcache.pipeline.studies.parallel import DIED
from hamcache.pipeline.studies.sweeps.results import FAILED, FINISHED, LOG, STOPPED, Sweep, write_summary
from hamcache.pipeline.studies.sweeps.search import LAST, SCORE
from hamcache.pipeline.studies.sweeps.space import Point
from hamcache.pipeline.studies.sweeps.trial_table import Trial, TrialTable
from hamcache.pipeline.studies.sweeps.watch import Watcher


class Recorder(tune.Callback):
    """Keeps every trial as it ends, and tells the watcher. Lives in the process that runs the sweep."""

    def __init__(self, sweep: Sweep, table: TrialTable, fingerprint: str, watcher: Watcher) -> None:
        self._sweep, self._table, self._fingerprint = sweep, table, fingerprint
        self._watcher, self._log = watcher, RunLog(sweep.folder / LOG)
        self._metric = get_metric(sweep.objective)
        self._epochs: dict[int, list[tuple[int, float]]] = {}
        self._dead: list[tuple[Any, str]] = []
        self._sessions: list[dict[str, Any]] = list(sweep.summary.get("sessions", []))
        uncounted = len(table.trials) - sum(session["trials"] for session in self._sessions)
        if self._sessions and uncounted > 0:  # the last session was killed between a trial and its summary
            self._sessions[-1] = self._sessions[-1] | {"trials": self._sessions[-1]["trials"] + uncounted}
        self._workers: int | None = sweep.summary.get("jobs")
        self._began: float | None = None
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._trials = 0

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray's copy of it is not used

    def begin(self, workers: int) -> None:
        """The clock starts: all is read, and Ray is there."""
        self._began, self._workers = perf_counter(), workers
        self._watcher.began(self._table.trials, self._sweep.settings.samples)

    def on_trial_start(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """A worker has got a trial."""
        self._watcher.started(trial.config["number"], trial.config["point"])

    def on_trial_result(self, iteration: int, trials: Sequence[Any], trial: Any, result: Any, **info: Any) -> None:
        """Some epochs have ended, or the trial."""
        if not result.get(LAST) and SCORE in result:
            number, epoch, score = int(trial.config["number"]), int(result["epoch"]), float(result[SCORE])
            self._epochs.setdefault(number, []).append((epoch, score))
            self._watcher.epoch(number, epoch, score)

    def on_trial_complete(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """A trial has ended or was stopped."""
        result = trial.last_result
        failed = bool(result.get("error"))
        state = FAILED if failed else FINISHED if result.get(LAST) else STOPPED
        if failed:
            self._log(f"trial {trial.config['number']} failed:\n{result.get('traceback', '')}")
        self._keep(trial, state, result, str(result.get("error") or ""))

    def on_trial_error(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        """Its worker has died (an exception in a trial is one of its results)."""
        error = trial.get_error() or RunError(DIED)
        text = "".join(traceback.format_exception(error))
        self._log(f"trial {trial.config['number']} failed:\n{text}")
        self._dead.append((trial, f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]))

    def take_dead(self) -> dict[int, Point]:
        """The points of the trials whose workers died, by number; they are forgotten, to be begun once more."""
        dead = {int(trial.config["number"]): trial.config["point"] for trial, _ in self._dead}
        for number in dead:
            self._epochs.pop(number, None)
        self._dead.clear()
        return dead

    def keep_dead(self) -> None:
        """Keep the trials whose workers died as failed, once Ray has ended well: else it was Ray that failed them."""
        for trial, error in self._dead:
            self._keep(trial, FAILED, trial.last_result or {}, error)
        self._dead.clear()

    def _keep(self, trial: Any, state: str, result: dict[str, Any], error: str) -> None:
        number = int(trial.config["number"])
        kept = Trial(
            number,
            trial.config["point"],
            state,
            None if state == FAILED else self._metric.gain(float(result[SCORE])),
            int(result.get("epoch", 0)),
            float(result.get("seconds", 0.0)),
            result.get("overhead"),
            error,
        )
        self._table.add(kept, self._epochs.pop(number, []))
        self._trials += 1
        self.summarize("running")
        self._watcher.ended(kept)

    def summarize(self, state: str, exhausted: bool = False) -> None:
        """Write the summary: how far the sweep is, its best trial, and what it took."""
        session = {
            "started": self._started,
            "seconds": 0.0 if self._began is None else round(perf_counter() - self._began, 2),
            "trials": self._trials,
        }
        sessions = [*self._sessions, session]
        trials = self._table.trials
        finished = [trial for trial in trials if trial.state == FINISHED and trial.score is not None]
        best = max(finished, key=lambda trial: (self._metric.gain(trial.score or 0.0), -trial.number), default=None)
        ran = sum(session["trials"] for session in sessions)
        seconds = sum(session["seconds"] for session in sessions)
        beyond = [trial.overhead for trial in trials if trial.overhead is not None]
        content = {
            "state": state,
            "data": self._fingerprint,
            "objective": self._sweep.objective,
            "trials": len(trials),
            **{name: sum(trial.state == name for trial in trials) for name in (FINISHED, STOPPED, FAILED)},
            "exhausted": exhausted,
            "best": None if best is None else {"trial": best.number, self._sweep.objective: best.score},
            "jobs": self._workers,
            "sessions": sessions,
            "seconds": round(seconds, 2),
            "seconds_a_trial": round(seconds / ran, 3) if ran else None,
            "overhead": {
                "trials": len(beyond),
                "median": round(float(np.median(beyond)), 4),
                "mean": round(float(np.mean(beyond)), 4),
                "most": round(float(np.max(beyond)), 4),
            }
            if beyond
            else None,
            "final_run": self._sweep.final_run,
        }
        write_summary(self._sweep, content)
