"""One experiment from configuration to finished run: `train`, zoos, grids and notebooks all come through here."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter, process_time
from typing import Any

from hamcache.data.workspace import Workspace
from hamcache.heads.own_heads import is_own
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.experiment.finishing import write
from hamcache.pipeline.experiment.fitting import fit_folds, fit_of
from hamcache.pipeline.experiment.inputs import Inputs
from hamcache.pipeline.experiment.learning import Log
from hamcache.pipeline.experiment.preparation import Prepared, prepare, require_kept_heads
from hamcache.pipeline.experiment.run_log import RunLog, log_start
from hamcache.pipeline.runs.artefacts import give_name, held, new_folder
from hamcache.pipeline.runs.records import Run, read_run, run_id
from hamcache.pipeline.runs.run_index import find_run


def run_experiment(
    config: ExperimentConfig,
    workspace: Workspace,
    *,
    test: bool = False,
    force: bool = False,
    inputs: Inputs | None = None,
    on_progress: Log | None = None,
    on_batch: Callable[[Any], None] | None = None,
) -> Run:
    """Train, predict, score and save one experiment; the same experiment is not run twice, not even by two processes.

    With `split.folds` one head is trained a fold: an image's validation prediction is that of the head that has not
    seen its lesion, its train prediction the mean of those that have, its test prediction the mean of all.

    Args:
        config: The experiment.
        workspace: Holds `features/`, and gets `runs/<run id>/`.
        test: Open the test set: predict it, score it, and say so in the log.
        force: Run even if the same experiment has a finished run.
        inputs: What `open_inputs` gave, to share the features in memory between many runs.
        on_progress: Takes the lines of the log as they are written.
        on_batch: Takes a `heads.nets.job.Progress` after each batch of a net.

    Returns:
        The finished run; `reused` says whether it was there before.

    Raises:
        MissingFeaturesError: The cache lacks features; the message names the command that makes them.
    """
    began, began_processor = perf_counter(), process_time()
    prepared = prepare(config, workspace, test=test, inputs=inputs, on_progress=on_progress)
    say = on_progress or (lambda line: None)

    def found() -> Run | None:
        run = None if force else find_run(workspace, prepared.fingerprint, test=test)
        if run is not None:
            say(f"the same experiment was run before: {run.id}")
        return None if run is None else replace(run, reused=True)

    if (run := found()) is not None:
        return run
    require_kept_heads(config, prepared.inputs, say)
    workspace.runs.mkdir(parents=True, exist_ok=True)
    name = prepared.fingerprint[:16]
    with held(workspace.runs / name, on_wait=lambda: say("another process trains the same: waiting for its run")):
        if (run := found()) is not None:
            return run
        checkpoints = workspace.checkpoints / name
        with new_folder(workspace.runs) as folder:
            log = RunLog(folder / "log.txt", on_progress)
            log_start(log, prepared)
            trained = None if force else _trained(prepared, workspace)
            fit_model = fit_of(config, checkpoints, on_batch, trained)
            fitted, tau = fit_folds(config, prepared.inputs, prepared.folds, fit_model, log=log)
            spent = trained.provenance["seconds"] if trained else {}  # its cost is this run's cost
            start = began - spent.get("total", 0.0), began_processor - spent.get("processor", 0.0)
            write(folder, prepared, fitted, tau, log, start)
            log(f"finished in {perf_counter() - began:.1f} s")
            run = read_run(give_name(folder, run_id(config)))
        shutil.rmtree(checkpoints, ignore_errors=True)
    return run


def _trained(prepared: Prepared, workspace: Workspace) -> Run | None:
    """The run whose model can be taken where only the test set is to be opened.

    A head of one's own is trained again: loading it may run code.
    """
    config = prepared.config
    if config.split.folds is not None or not prepared.opens_test or (config.net is None and is_own(config.head.name)):
        return None
    run = find_run(workspace, prepared.fingerprint)
    return None if run is None or run.flaws() else run
