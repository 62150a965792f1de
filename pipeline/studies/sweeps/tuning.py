"""Run a sweep: open what it reads, hand it to Ray's workers, keep every trial as it ends, go on after a kill."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import joblib
import numpy as np
import ray
from ray import tune

from hamcache.data.files import write_text
from hamcache.data.workspace import Workspace
from hamcache.pipeline.experiment.run_log import RunLog
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.runs.artefacts import held
from hamcache.pipeline.runs.records import Run, load_run
from hamcache.pipeline.studies.opened import Opened
from hamcache.pipeline.studies.parallel import workers_that_fit
from hamcache.pipeline.studies.sweeps.ray_cluster import ray_cluster
from hamcache.pipeline.studies.sweeps.recorder import Recorder
from hamcache.pipeline.studies.sweeps.results import (
    FAILED,
    FINISHED,
    LOG,
    SETTINGS,
    Sweep,
    SweepError,
    new_sweep,
    read_sweep,
    write_summary,
)
from hamcache.pipeline.studies.sweeps.resume import stopping_rule, sweep_like
from hamcache.pipeline.studies.sweeps.search import ListSource, SweepSearch, points_source
from hamcache.pipeline.studies.sweeps.shared import Shared, open_sweep, read_shared
from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig
from hamcache.pipeline.studies.sweeps.trial import ray_trial
from hamcache.pipeline.studies.sweeps.trial_table import TrialTable
from hamcache.pipeline.studies.sweeps.watch import Watcher


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
        sweep = sweep_like(settings, opened.fingerprint, workspace) or new_sweep(settings, workspace)
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
        write_summary(sweep, sweep.summary | {"final_run": run.id})
    return run


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

        def tune_all(name: str, search: SweepSearch, samples: int) -> None:
            tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    num_samples=samples,
                    search_alg=search,
                    scheduler=stopping_rule(settings, table),
                    max_concurrent_trials=workers if ray_address else None,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(name=name, storage_path=str(folder), callbacks=[recorder], verbose=0),
            ).fit()

        recorder.begin(workers)
        try:
            tune_all("trials", SweepSearch(points_source(settings, table.known()), table.free_numbers()), missing)
            # A worker can die of what is not its trial's fault. Ray's retries count one death of a reused worker twice.
            if dead := recorder.take_dead():
                watcher.said(f"the workers of trials {', '.join(map(str, dead))} died; they are begun once more")
                tune_all("again", SweepSearch(ListSource(dead.values()), iter(dead)), len(dead))
            recorder.keep_dead()
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
