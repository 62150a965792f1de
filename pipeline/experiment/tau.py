"""Post-hoc logit adjustment of a run: one tau for all of its heads, given or chosen on the validation predictions."""

from collections.abc import Sequence

import numpy as np

from hamcache.heads.logit_adjustment import TAUS, LogitAdjusted, adjusted
from hamcache.heads.metrics import get_metric
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.experiment.learning import Fitted, Log


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
    tau = best_tau(config.objective, fitted, y_validation) if config.tau == "auto" else float(config.tau)
    reason = f", best {config.objective} on validation" if config.tau == "auto" else ""
    log(f"logit adjustment: tau {tau:g}{reason}")
    for model in fitted:
        model.head = LogitAdjusted.of_fitted(model.head, tau)
        model.proba = {part: adjusted(proba, model.prior, tau) for part, proba in model.proba.items()}
    return tau


def best_tau(objective: str, fitted: Sequence[Fitted], y_validation: Sequence[np.ndarray]) -> float:
    """The tau of `TAUS` with the best pooled validation score."""
    metric, y = get_metric(objective), np.concatenate(list(y_validation))
    gains = {}
    for tau in TAUS:
        proba = np.concatenate([adjusted(model.proba["validation"], model.prior, tau) for model in fitted])
        gains[tau] = metric.gain(metric(y, proba))
    return max(gains, key=lambda tau: (gains[tau], -abs(tau)))
