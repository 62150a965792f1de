"""The second step of an experiment: train a model on each fold; also the whole of a sweep's trial."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hamcache.cache.errors import CacheError
from hamcache.data.errors import DataError
from hamcache.heads.errors import HeadError, ModelFailedError
from hamcache.heads.metrics import get_metric
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.errors import PipelineError
from hamcache.pipeline.experiment.inputs import Inputs
from hamcache.pipeline.experiment.learning import FitModel, Fitted, LoadedHead, Log, Part, fit_head
from hamcache.pipeline.runs.records import Run


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
        with failing_as(config.model_name):
            fitted.append(fit_model(config, inputs, parts, log=log, callbacks=callbacks, predict=predict))
    return fitted, adjust_heads(config, fitted, [parts["validation"].y for parts in folds], log)


@contextmanager
def failing_as(model: str) -> Iterator[None]:
    """Turn what a library raises about the numbers it was given into one line that names the model.

    Errors of ours pass, and so do those that only a mistake in code can raise.

    Raises:
        ModelFailedError: Arithmetic, values or memory did not suffice.
    """
    try:
        yield
    except (HeadError, PipelineError, CacheError, DataError, OSError):
        raise
    except (ArithmeticError, ValueError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:500] or "no reason given"
        raise ModelFailedError(
            f"Expected {model} to be trained, but it failed: {type(error).__name__}: {reason}. "
            "Change its parameters, or the features that it gets."
        ) from error


def fit_of(
    config: ExperimentConfig,
    checkpoints: Path | None = None,
    on_batch: Callable[[Any], None] | None = None,
    trained: Run | None = None,
) -> FitModel:
    """The function that trains the model of a configuration: a head on cached features, or a net on images.

    Args:
        config: The experiment.
        checkpoints: Where a net keeps what it needs to go on after a kill.
        on_batch: Takes a net's progress.
        trained: A run whose model is taken instead of training the same again.
    """
    if config.net is None:
        return fit_head if trained is None else LoadedHead(trained)
    from hamcache.pipeline.experiment.from_images import FitNet, LoadedNet  # imports timm: only for nets

    return FitNet(checkpoints, on_batch) if trained is None else LoadedNet(trained)


def adjust_heads(
    config: ExperimentConfig, fitted: Sequence[Fitted], y_validation: Sequence[np.ndarray], log: Log
) -> float | None:
    """Adjust heads and their predictions, in place; returns the tau that was used, None for no adjustment.

    With `tau: auto` it is the one whose validation predictions (of all folds together) score best by the objective, of
    equally good ones the smallest in size. The validation score is then that of the best of many, so slightly too good.

    Args:
        config: `tau` and `objective`.
        fitted: One head, or one a fold.
        y_validation: Codes of each one's validation images.
        log: Takes one line at a time.
    """
    if config.tau is None:
        return None
    from hamcache.heads.logit_adjustment import LogitAdjusted, adjusted  # imports scikit-learn

    tau = best_tau(config.objective, fitted, y_validation) if config.tau == "auto" else float(config.tau)
    reason = f", best {config.objective} on validation" if config.tau == "auto" else ""
    log(f"logit adjustment: tau {tau:g}{reason}")
    for model in fitted:
        model.head = LogitAdjusted.of_fitted(model.head, tau)
        model.proba = {part: adjusted(proba, model.prior, tau) for part, proba in model.proba.items()}
    return tau


def best_tau(objective: str, fitted: Sequence[Fitted], y_validation: Sequence[np.ndarray]) -> float:
    """The tau of `TAUS` with the best pooled validation score."""
    from hamcache.heads.logit_adjustment import TAUS, adjusted  # see `adjust_heads`

    metric, y = get_metric(objective), np.concatenate(list(y_validation))
    gains = {}
    for tau in TAUS:
        proba = np.concatenate([adjusted(model.proba["validation"], model.prior, tau) for model in fitted])
        gains[tau] = metric.gain(metric(y, proba))
    return max(gains, key=lambda tau: (gains[tau], -abs(tau)))
