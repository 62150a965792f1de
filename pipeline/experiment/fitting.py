"""The second step of an experiment: train a model on each fold; also the whole of a sweep's trial."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.experiment.inputs import Inputs
from hamcache.pipeline.experiment.learning import FitModel, Fitted, Log, Part, fit_head
from hamcache.pipeline.experiment.tau import adjust_heads


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
    """Train as runs and the trials of a sweep do: one model a fold, and one tau for all of them.

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
    from hamcache.pipeline.experiment.from_images import FitNet  # imports timm: only for nets

    return FitNet(checkpoints, on_batch)
