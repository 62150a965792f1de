"""One experiment from configuration to finished run: `train`, sweeps, grids and notebooks all come through here."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from hamcache.data.curation import Curation, read_curation
from hamcache.data.ham10000 import CLASS_NAMES
from hamcache.data.nearest import unknown_name
from hamcache.data.splits import Split, make_folds, make_split
from hamcache.data.table import ImageTable
from hamcache.data.workspace import Workspace
from hamcache.heads.errors import MetricError
from hamcache.heads.metrics import SPECIFICITIES, compute_metrics, specificity_threshold
from hamcache.heads.persist import save_head
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.errors import RunError
from hamcache.pipeline.experiment.inputs import Inputs, open_inputs
from hamcache.pipeline.experiment.learning import FitModel, Fitted, Log, Part, fit_head, parts_of
from hamcache.pipeline.experiment.tau import adjust_heads
from hamcache.pipeline.runs.provenance import fingerprint, net_identity, summary, versions
from hamcache.pipeline.runs.records import (
    Run,
    finish_run,
    new_run_folder,
    predictions_table,
    read_run,
    run_id,
    write_run,
)
from hamcache.pipeline.runs.run_index import find_run

MELANOMA = "mel"


def run_experiment(
    config: ExperimentConfig,
    workspace: Workspace,
    *,
    test: bool = False,
    force: bool = False,
    inputs: Inputs | None = None,
    table: ImageTable | None = None,
    on_progress: Log | None = None,
    on_batch: Callable[[Any], None] | None = None,
    callbacks: Sequence[Any] = (),
    plots: bool = True,
) -> Run:
    """Train, predict, score and save one experiment; the same experiment is not run twice.

    With `split.folds` one head is trained a fold: an image's validation prediction is that of the head that has not
    seen its lesion, its train prediction the mean of those that have, its test prediction the mean of all.

    Args:
        config: The experiment.
        workspace: Holds `features/`, and gets `runs/<run id>/`.
        test: Open the test set: predict it, score it, and say so in the log.
        force: Run even if the same experiment has a finished run.
        inputs: What `open_inputs` gave, to share the features in memory between many runs.
        table: The image table, if it was read before.
        on_progress: Takes the lines of the log as they are written.
        on_batch: Takes a `heads.nets.callbacks.Progress` after each batch of a net.
        callbacks: skorch callbacks for heads with epochs.
        plots: Draw the run's pictures, which takes about a second; `hamcache runs plot` does it later.

    Returns:
        The finished run; `reused` says whether it was there before.

    Raises:
        MissingFeaturesError: The cache lacks features; the message names the command that makes them.
    """
    workspace, started = workspace, perf_counter()
    inputs = open_inputs(config, workspace, table=table, inputs=inputs)
    if config.net is not None:
        from hamcache.pipeline.experiment.from_images import open_images  # imports torch and timm: only for nets

        inputs = open_images(config, inputs, workspace, on_progress=on_progress)
    splits = make_splits(config, inputs.table)
    names = ["train", "validation", "test"] if test else ["train", "validation"]
    folds = [parts_of(split, inputs.table, names, inputs.left_out) for split in splits]
    _check_parts(folds)
    positive = _positive_class(config, inputs.table.classes)
    identity = identify(config, inputs, splits)

    finished = None if force else find_run(workspace, identity["fingerprint"], test=test)
    if finished is not None:
        if on_progress:
            on_progress(f"the same experiment was run before: {finished.id}")
        return replace(finished, reused=True)

    checkpoints = workspace.checkpoints / identity["fingerprint"][:16]
    fit_model = fit_of(config, checkpoints, on_batch)
    with new_run_folder(workspace) as folder:
        log = RunLog(folder / "log.txt", on_progress)
        _log_start(log, config, inputs, folds, identity["left_out"], test)
        fitted, tau = fit_folds(config, inputs, folds, fit_model, log=log, callbacks=callbacks)
        predictions = pooled_predictions(folds, fitted, inputs.table.classes, names)
        metrics, thresholds = score(predictions, inputs.table.classes, positive)
        for part, values in metrics.items():
            log(f"{part}: {config.objective} {values[config.objective]:.4f}, accuracy {values['accuracy']:.4f}")
        for number, one in enumerate(fitted, start=1):
            save_head(one.head, folder if len(fitted) == 1 else folder / f"fold{number}")
        seconds = {name: sum(one.seconds[name] for one in fitted) for name in fitted[0].seconds}
        write_run(
            folder,
            config=config,
            metrics=metrics,
            predictions=predictions,
            history=_history(fitted),
            provenance={
                **identity,
                "summary": summary(config, inputs.table.name),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": {k: round(v, 3) for k, v in {**seconds, "total": perf_counter() - started}.items()},
                "images": {name: int((predictions["part"] == name).sum()) for name in names},
                "test_opened": test,
                "tau": tau,
                "positive": positive,
                "thresholds": {str(k): v for k, v in thresholds.items()},
                "versions": versions(),
            },
            classes={label: CLASS_NAMES.get(label, label) for label in inputs.table.classes},
        )
        if plots:
            draw(folder, log)
        log(f"finished in {perf_counter() - started:.1f} s")
        run = finish_run(folder, run_id(config))
    shutil.rmtree(checkpoints, ignore_errors=True)
    return run


def draw(folder: Path, log: Log) -> None:
    """Draw the pictures of the run that was written into `folder`; what goes wrong is logged and costs no run."""
    started = perf_counter()
    try:
        from hamcache.pipeline.show.plots.runs import plot_run  # imports matplotlib: only where something is drawn

        pictures = plot_run(read_run(folder))
    except Exception as error:
        log(f"warning: the plots were not drawn: {type(error).__name__}: {' '.join(str(error).split())}")
        return
    log(f"{len(pictures)} plots drawn in {perf_counter() - started:.1f} s")


def fit_folds(
    config: ExperimentConfig,
    inputs: Inputs,
    folds: Sequence[Mapping[str, Part]],
    fit_model: FitModel,
    *,
    log: Log,
    callbacks: Sequence[Any] = (),
    predict: Sequence[str] | None = None,
) -> tuple[list[Fitted], float | None]:
    """What training is, for runs and for the trials of a sweep: one head a fold, and one tau for all of them.

    Args:
        config: The experiment.
        inputs: What it is trained on.
        folds: The parts of each fold; one without cross-validation.
        fit_model: What `fit_of` gave.
        log: Takes one line at a time.
        callbacks: skorch callbacks.
        predict: The parts to predict; None: all that are given.

    Returns:
        The fitted heads, and the tau of the post-hoc logit adjustment, None without one.
    """
    fitted = []
    for number, parts in enumerate(folds, start=1):
        if len(folds) > 1:
            log(f"fold {number} of {len(folds)}")
        fitted.append(fit_model(config, inputs, parts, log=log, callbacks=callbacks, predict=predict))
    return fitted, adjust_heads(config, fitted, [parts["validation"].y for parts in folds], log)


def fit_of(
    config: ExperimentConfig, checkpoints: Path | None = None, on_batch: Callable[[Any], None] | None = None
) -> FitModel:
    """The function that trains the model of a configuration: a head on cached features, or a net on images.

    Args:
        config: The experiment.
        checkpoints: Where a net keeps what it needs to go on after a kill.
        on_batch: Takes a net's progress.
    """
    if config.net is None:
        return fit_head
    from hamcache.pipeline.experiment.from_images import fit_net  # imports timm: only for nets

    return partial(fit_net, checkpoints=checkpoints, on_batch=on_batch)


def make_splits(config: ExperimentConfig, table: ImageTable) -> list[Split]:
    """The split of a configuration, or one a fold.

    It is made of the whole table, quarantined images included, so that a file that breaks (or is mended) takes an image
    out of its part and moves no other. Images that are excluded and groups that are merged move no other either.
    """
    settings = config.split.model_dump(exclude={"folds", "validation_fraction", "exclude", "merge_groups"})
    settings |= {"seed": config.seed, "curation": curation_of(config, table)}
    if config.split.folds is not None:
        return make_folds(table, config.split.folds, **settings)
    return [make_split(table, validation_fraction=config.split.validation_fraction, **settings)]


def curation_of(config: ExperimentConfig, table: ImageTable) -> Curation:
    """What the files `split.exclude` and `split.merge_groups` of a configuration say."""
    return read_curation(table, config.split.exclude, config.split.merge_groups)


def pooled_predictions(
    folds: Sequence[Mapping[str, Part]], fitted: Sequence[Fitted], classes: Sequence[str], names: Sequence[str]
) -> pd.DataFrame:
    """The rows of `predictions.csv`: per part, each image once, its probabilities averaged over the folds it is in."""
    columns = [f"p_{label}" for label in classes]
    tables = []
    for name in names:
        rows = pd.concat(
            [
                predictions_table(parts[name].frame, one.proba[name], classes, name)
                for parts, one in zip(folds, fitted, strict=True)
            ]
        )
        if len(folds) > 1:
            rows = rows.groupby(["image_id", "group", "label", "part"], as_index=False)[columns].mean()
        tables.append(rows)
    return pd.concat(tables, ignore_index=True)


def score(
    predictions: pd.DataFrame, classes: Sequence[str], positive: str | None
) -> tuple[dict[str, dict[str, float]], dict[float, float]]:
    """All metrics of each part, and the thresholds for `positive`, which come from validation only."""
    sets = {}
    for name, rows in predictions.groupby("part", sort=False):
        codes = pd.Index(classes).get_indexer(pd.Index(rows["label"])).astype(np.int64)
        sets[str(name)] = codes, rows[[f"p_{label}" for label in classes]].to_numpy(np.float64)
    thresholds = {}
    if positive is not None:
        y, proba = sets["validation"]
        code = classes.index(positive)
        thresholds = {s: specificity_threshold(y == code, proba[:, code], s) for s in SPECIFICITIES}
    scores = {
        name: compute_metrics(y, proba, classes, positive=positive, thresholds=thresholds)
        for name, (y, proba) in sets.items()
    }
    return scores, thresholds


class RunLog:
    """A log file with the time before each line, which may echo the lines."""

    def __init__(self, path: Path, echo: Callable[[str], None] | None = None) -> None:
        self._path, self._echo = path, echo
        self._path.touch()

    def __call__(self, line: str) -> None:
        """Write one line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now().isoformat(sep=' ', timespec='seconds')}  {line}\n")
        if self._echo:
            self._echo(line)


def identify(config: ExperimentConfig, inputs: Inputs, splits: Sequence[Split]) -> dict[str, Any]:
    """Origin of a run's numbers; two runs with the same fingerprint have the same numbers.

    The whole keys of the stores are recorded beside their digests, which alone are in the fingerprint.
    """
    stores = [store for block in inputs.blocks_of(config.features) for store in block.stores]
    in_splits = sorted(set().union(*(split.frame["image_id"] for split in splits)))
    prints = [split.fingerprint for split in splits]
    curation = curation_of(config, inputs.table)
    identity = {
        "table": inputs.table.fingerprint,
        "files": inputs.bytes_fingerprint(in_splits),
        "split": prints[0] if len(prints) == 1 else prints,
        "stores": {store.folder: store.key.digest for store in stores},
        "left_out": {image_id: inputs.left_out[image_id] for image_id in in_splits if image_id in inputs.left_out},
        **({"curation": curation.content} if curation else {}),
        **net_identity(config),
    }
    keys = {store.folder: store.key.to_dict() for store in stores}
    return {"fingerprint": fingerprint(config, **identity), **identity, "keys": keys}


def _check_parts(folds: Sequence[Mapping[str, Part]]) -> None:
    for parts in folds:
        for name, part in parts.items():
            if len(part) == 0:
                raise RunError(
                    f"expected images in the part {name!r}, got none; set split.{name}_fraction above 0"
                    if name != "train"
                    else "expected images to train on, got none; lower the other parts' fractions"
                )


def _positive_class(config: ExperimentConfig, classes: Sequence[str]) -> str | None:
    if config.positive is None:
        return MELANOMA if MELANOMA in classes else None
    if config.positive not in classes:
        raise MetricError(f"positive: {unknown_name('class', config.positive, classes)}")
    return config.positive


def _history(fitted: Sequence[Fitted]) -> list[dict[str, Any]]:
    if len(fitted) == 1:
        return fitted[0].history
    return [{"fold": number, **row} for number, one in enumerate(fitted, start=1) for row in one.history]


def _log_start(
    log: Log,
    config: ExperimentConfig,
    inputs: Inputs,
    folds: Sequence[Mapping[str, Part]],
    left_out: Mapping[str, str],
    test: bool,
) -> None:
    about = summary(config, inputs.table.name)
    log(f"{about['head']} on {about['features']}, data set {about['dataset']} ({len(inputs.table)} images)")
    sizes = ", ".join(f"{name} {len(part)}" for name, part in folds[0].items())
    log(f"split {about['policy']}, seed {config.seed}: {sizes} images" + (" in fold 1" if len(folds) > 1 else ""))
    if curation := curation_of(config, inputs.table):
        log(f"{len(curation.excluded)} images are excluded, {len(curation.merged)} groups are merged into others")
    if left_out:
        reasons = ", ".join(f"{image_id} ({reason})" for image_id, reason in list(left_out.items())[:5])
        log(f"{len(left_out)} quarantined images are left out: {reasons}{', ...' if len(left_out) > 5 else ''}")
    for name, part in folds[0].items():
        absent = [label for code, label in enumerate(inputs.table.classes) if not (part.y == code).any()]
        if absent:
            log(f"{name} has no image of {', '.join(absent)}: these classes are left out of its scores and means")
    if test:
        log("THE TEST SET IS OPENED: its scores must not be used to choose anything")
