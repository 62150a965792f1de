"""Run a sweep: open what it reads, hand it to Ray's workers, keep every trial as it ends, go on after a kill."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import joblib
import numpy as np
import ray
from ray import tune

from hamcache.data.files import write_json, write_text
from hamcache.data.workspace import Workspace
from hamcache.heads.metrics import get_metric
from hamcache.pipeline.errors import RunError
from hamcache.pipeline.experiment.run_log import RunLog
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.runs.artefacts import held
from hamcache.pipeline.runs.records import Run, load_run
from hamcache.pipeline.studies.opened import Opened
from hamcache.pipeline.studies.parallel import DIED, workers_that_fit
from hamcache.pipeline.studies.sweeps.ray_cluster import ray_cluster
from hamcache.pipeline.studies.sweeps.results import (
    FAILED,
    FINISHED,
    LOG,
    SETTINGS,
    STOPPED,
    SUMMARY,
    Sweep,
    SweepError,
    all_sweeps,
    new_sweep,
    read_sweep,
)
from hamcache.pipeline.studies.sweeps.search import LAST, SCORE, SweepSearch, points_source
from hamcache.pipeline.studies.sweeps.shared import Shared, open_sweep, read_shared
from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig
from hamcache.pipeline.studies.sweeps.trial import ray_trial
from hamcache.pipeline.studies.sweeps.trial_table import Trial, TrialTable
from hamcache.pipeline.studies.sweeps.watch import Watcher

FOREVER = 1_000_000
"""More epochs than any trial has."""


def run_sweep(
    settings: SweepConfig,
    workspace: Workspace,
    *,
    sweep: Sweep | None = None,
    workers: int | None = None,
    ray_address: str | None = None,
    watcher: Watcher | None = None,
) -> Sweep:
    """Run all trials of a sweep that have not been run, and return it.

    A sweep of the same settings on the same data is resumed: only trials that it lacks are run.

    Args:
        settings: The sweep.
        workspace: Holds `features/`, and gets `sweeps/<sweep id>/`.
        sweep: The sweep to go on with; None: the one of equal settings, or a new one.
        workers: Trials at a time; None: one per core, limited by free memory (of an existing cluster: its cores).
        ray_address: An existing Ray cluster, whose machines see the workspace if trials train on images.
        watcher: Is told of all that happens.

    Raises:
        MissingFeaturesError: The cache lacks features; names the commands that make them.
        SweepError: All trials failed; or the sweep is finalised, of other data, or being run.
    """
    watcher = watcher or Watcher()
    opened = open_sweep(settings, workspace)
    if sweep is None:
        sweep = _same(settings, opened, workspace) or new_sweep(settings, workspace)
    if sweep.summary and sweep.summary.get("data") != opened.fingerprint:
        raise SweepError(
            f"sweep {sweep.id} was begun on other images or features, so its trials cannot be compared with further "
            "ones; begin a new one with --config"
        )
    with held(sweep.folder):
        sweep = read_sweep(sweep.folder)  # another process may have gone on with it until just now
        table = TrialTable(sweep)
        missing = settings.samples - len(table.trials)
        if missing <= 0 or sweep.summary.get("exhausted"):
            if sweep.summary.get("state") != FINISHED:  # it was killed after its last trial
                Recorder(sweep, table, opened.fingerprint, watcher).summarize(FINISHED)
            return _checked(read_sweep(sweep.folder))
        if sweep.final_run is not None:
            raise SweepError(
                f"sweep {sweep.id} was finalised as run {sweep.final_run}: its test score must choose nothing any "
                "more; begin a new sweep, e.g. with another --seed"
            )
        if settings.samples != sweep.settings.samples:
            write_text(sweep.folder / SETTINGS, settings.to_yaml())
        return _search(replace(sweep, settings=settings), opened, table, workers, ray_address, watcher)


def finalize(sweep: Sweep, workspace: Workspace, *, watcher: Watcher | None = None) -> Run:
    """Train the best trial again as a run, score it on the test set, and note it in the sweep; done once.

    Raises:
        SweepError: No trial has finished, or trials are missing.
    """
    watcher = watcher or Watcher()
    if sweep.final_run is not None:
        return replace(load_run(sweep.final_run, workspace), reused=True)
    if sweep.summary.get("state") != FINISHED:
        raise SweepError(
            f"sweep {sweep.id} is not finished, so its best trial is not known; "
            f"first `hamcache sweep --resume {sweep.id}`"
        )
    with held(sweep.folder):
        best = sweep.best
        run = run_experiment(sweep.best_config, workspace, test=True, on_progress=watcher.said)
        score, expected = run.metrics["validation"][sweep.objective], float(best[sweep.objective])
        if not np.isclose(score, expected, atol=1e-3):
            watcher.said(
                f"warning: the run scores {sweep.objective} {score:.4f} on validation, its trial {expected:.4f}: "
                "were they computed on different machines?"
            )
        write_json(sweep.folder / SUMMARY, sweep.summary | {"final_run": run.id})
    return run


def _same(settings: SweepConfig, opened: Opened, workspace: Workspace) -> Sweep | None:
    """The latest sweep of the same settings on the same data."""
    for sweep in reversed(all_sweeps(workspace)):
        if sweep.settings.digest == settings.digest and sweep.summary.get("data") == opened.fingerprint:
            return sweep
    return None


def _search(
    sweep: Sweep, opened: Opened, table: TrialTable, workers: int | None, ray_address: str | None, watcher: Watcher
) -> Sweep:
    settings, missing = sweep.settings, sweep.settings.samples - len(table.trials)
    log = RunLog(sweep.folder / LOG)
    recorder = Recorder(sweep, table, opened.fingerprint, watcher)
    recorder.summarize("running")
    shared = read_shared(settings, opened, watcher.said)
    watcher.said(f"sweep {sweep.id}: {missing} of {settings.samples} trials to run")
    workers = min(workers or workers_that_fit(opened.bytes_each, settings.samples), missing)
    cpus = max(1, joblib.cpu_count() // workers) if opened.configs[0].net is not None else 1
    log(
        f"{missing} of {settings.samples} trials to run, {workers} at a time, objective {settings.objective}, "
        f"search {settings.search}, stopping {settings.stopping}"
    )
    with ray_cluster(workers * cpus, shared.bytes, ray_address) as folder:
        trainable = tune.with_resources(shared_trainable(shared), {"cpu": cpus})
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                num_samples=missing,
                search_alg=SweepSearch(points_source(settings, table.known()), table.free_numbers()),
                scheduler=_stopping(settings, table),
                max_concurrent_trials=workers if ray_address else None,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(name="trials", storage_path=str(folder), callbacks=[recorder], verbose=0),
        )
        recorder.begin(workers)
        try:
            tuner.fit()
        finally:
            recorder.summarize("interrupted")
    recorder.summarize(FINISHED, exhausted=len(table.trials) < settings.samples)
    return _checked(read_sweep(sweep.folder))


def _checked(sweep: Sweep) -> Sweep:
    """The sweep, unless all of its trials failed."""
    failed = sweep.trials[sweep.trials["state"] == FAILED]
    if len(failed) == len(sweep.trials):
        first = failed.iloc[0]
        raise SweepError(
            f"expected at least one of {len(failed)} trials to finish, all failed; trial {first['trial']}: "
            f"{first['error']} ({sweep.folder / LOG} has the whole of it)"
        )
    return sweep


def shared_trainable(shared: Shared) -> Any:
    """The trial with what all share, which goes into the object store once."""
    return tune.with_parameters(ray_trial, held=[ray.put(shared)])


def _stopping(settings: SweepConfig, table: TrialTable) -> Any:
    """ASHA that knows how earlier trials stood at its rungs; or none."""
    if settings.stopping == "none":
        return None
    asha = tune.schedulers.ASHAScheduler(
        time_attr="epoch",
        metric=SCORE,
        mode="max",
        max_t=FOREVER,
        grace_period=settings.grace,
        reduction_factor=settings.reduction,
    )
    controller: Any = None  # it is not asked for anything
    for number in dict.fromkeys(number for number, _, _ in table.epochs):
        before: Any = SimpleNamespace(trial_id=f"before-{number}")
        asha.on_trial_add(controller, before)
        for other, epoch, score in table.epochs:
            if other == number:
                asha.on_trial_result(controller, before, {"epoch": epoch, SCORE: score})
    return asha


class Recorder(tune.Callback):
    """Keeps every trial as it ends, and tells the watcher. Lives in the process that runs the sweep."""

    def __init__(self, sweep: Sweep, table: TrialTable, fingerprint: str, watcher: Watcher) -> None:
        self._sweep, self._table, self._fingerprint = sweep, table, fingerprint
        self._watcher, self._log = watcher, RunLog(sweep.folder / LOG)
        self._metric = get_metric(sweep.objective)
        self._epochs: dict[int, list[tuple[int, float]]] = {}
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
        """A worker has died (an exception in a trial is one of its results)."""
        error = trial.get_error() or RunError(DIED)
        text = "".join(traceback.format_exception(error))
        self._log(f"trial {trial.config['number']} failed:\n{text}")
        self._keep(
            trial, FAILED, trial.last_result or {}, f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
        )

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
        write_json(self._sweep.folder / SUMMARY, content)
