"""One trial: train and score one point as a run would, report its score on the way, and keep nothing on disk."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from hamcache.heads.logit_adjustment import TAUS, adjusted
from hamcache.heads.metrics import METRICS
from hamcache.heads.zoo import head_spec
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.experiment.fitting import fit_folds, fit_of
from hamcache.pipeline.experiment.inputs import Inputs
from hamcache.pipeline.experiment.learning import Part
from hamcache.pipeline.studies.sweeps.search import LAST, SCORE
from hamcache.pipeline.studies.sweeps.shared import Shared
from hamcache.pipeline.studies.sweeps.space import Point

PAUSE = 20.0
"""Seconds between reports that only inform: each stops the training until it was taken."""
Tell = Callable[[dict[str, Any]], None]
"""Takes one report; may not return, where a trial is stopped."""


class Clock:
    """Seconds that a trial trains, and seconds beside; one clock per process, so that gaps between trials count."""

    def __init__(self) -> None:
        self._ended: float | None = None

    def begin(self) -> None:
        """Begin a trial."""
        self._previous, self._training = self._ended, 0.0
        self._train_began: float | None = None

    def train(self, on: bool) -> None:
        """Begin or end its own training."""
        if not on and self._train_began is not None:
            self._training += perf_counter() - self._train_began
        self._train_began = perf_counter() if on else None

    def waited(self, seconds: float) -> None:
        """Take off seconds in which training stood still."""
        self._training -= seconds

    def stamp(self, now: float | None = None) -> dict[str, float | None]:
        """Seconds of training, and seconds beside it since the trial before ended (None: there was none).

        Args:
            now: When the training stood still, if before this call.
        """
        self._ended = perf_counter()
        running = 0.0 if self._train_began is None else (now or self._ended) - self._train_began
        seconds = self._training + running
        overhead = None if self._previous is None else self._ended - self._previous - seconds
        return {"seconds": seconds, "overhead": overhead}


def train_point(
    config: ExperimentConfig, inputs: Inputs, folds: Sequence[Mapping[str, Part]], callbacks: Sequence[Any] = ()
) -> float:
    """Train and predict like `run_experiment`, without a run; the gain of the objective on validation.

    Args:
        config: The experiment.
        inputs: Its features or images.
        folds: `train` and `validation` of each fold.
        callbacks: skorch callbacks.
    """
    fitted, _ = fit_folds(
        config, inputs, folds, fit_of(config), log=lambda line: None, callbacks=callbacks, predict=["validation"]
    )
    y = np.concatenate([parts["validation"].y for parts in folds])
    proba = np.concatenate([model.proba["validation"] for model in fitted])
    metric = METRICS[config.objective]
    return metric.gain(metric(y, proba))


def run_trial(point: Point, shared: Shared, tell: Tell, clock: Clock) -> None:
    """Train one point and report its score on the way; errors are reported, not raised: the process lives on.

    Reported are the epochs at which trials are compared, and others where they take long.
    """
    clock.begin()
    epochs, told, at = 0, -np.inf, perf_counter()

    def on_epoch(number: int, best: float, score: Callable[[], float]) -> None:
        nonlocal epochs, told, at
        epochs, compared = number, shared.settings.is_rung(number)
        if not compared and perf_counter() - at < PAUSE:
            return
        began = perf_counter()
        told = max(told, score() if compared else best)
        tell({SCORE: told, "epoch": epochs, LAST: False, **clock.stamp(began)})
        at = perf_counter()
        clock.waited(at - began)

    try:
        config = shared.settings.config_at(point)
        inputs, folds = shared.inputs_of(config), shared.folds_of(config)
        callbacks = [epoch_teller(config, folds[0], on_epoch)] if len(folds) == 1 and _has_epochs(config) else []
        clock.train(True)
        score = train_point(config, inputs, folds, callbacks)
        clock.train(False)
        if not np.isfinite(score):
            raise FloatingPointError(f"{config.objective} on validation is {score}")
        outcome: dict[str, Any] = {SCORE: score}
    except Exception as error:
        clock.train(False)
        line = f"{type(error).__name__}: {' '.join(str(error).split())}"
        outcome = {"error": line, "traceback": traceback.format_exc()}
    tell({"epoch": epochs, **outcome, LAST: True, "done": True, **clock.stamp()})


def _has_epochs(config: ExperimentConfig) -> bool:
    return config.net is not None or head_spec(config.head.name).has_epochs


def epoch_teller(
    config: ExperimentConfig, parts: Mapping[str, Part], on_epoch: Callable[[int, float, Callable[[], float]], None]
) -> Any:
    """A skorch callback that reports each epoch's number, the best score so far, and what computes a fairer one.

    The fairer one is this epoch's, logit-adjusted as the end result will be, if there is a `tau` (heads only): without
    it, losses that correct the imbalance look worse than they are. A few values stand for `auto`.
    """
    from skorch.callbacks import Callback  # imports torch: only for what is trained by epochs

    from hamcache.heads.training import EpochRecord

    metric = METRICS[config.objective]
    prior = np.bincount(parts["train"].y) / len(parts["train"])
    y = parts["validation"].y

    class EpochTeller(Callback):
        def __init__(self) -> None:
            self.epochs, self.best = 0, -np.inf

        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            """Report this epoch's score."""
            self.epochs += 1
            self.best = max(self.best, float(net.history[-1][f"valid_{config.objective}"]))
            on_epoch(self.epochs, self.best, lambda: self._score(net))

        def _score(self, net: Any) -> float:
            records = [callback for _, callback in net.callbacks_ if isinstance(callback, EpochRecord)]
            proba = records[0].probabilities if records else None
            if config.tau is None or proba is None:
                return self.best
            taus = TAUS[4::8] if config.tau == "auto" else [config.tau]  # 0 among them
            return max(metric.gain(metric(y, adjusted(proba, prior, tau))) for tau in taus)

    return EpochTeller()


_CLOCK = Clock()
_SHARED: dict[str, Shared] = {}
"""Inputs that this process has opened, by the name of the object; a worker serves one sweep at a time."""


def ray_trial(config: dict[str, Any], held: list[Any]) -> None:
    """Run one trial for Ray Tune, in a worker that is used again and again.

    Args:
        config: `number` and `point`.
        held: The reference to a `Shared` in the object store, in a list so that Ray leaves it for us to open, once.
    """
    import ray
    from ray import tune

    name = held[0].hex()
    if name not in _SHARED:
        _SHARED.clear()
        _SHARED[name] = ray.get(held[0])
    run_trial(config["point"], _SHARED[name], tune.report, _CLOCK)
