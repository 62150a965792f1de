"""One trial: train and score one point as a run would, tell the score of every epoch, and keep nothing on disk."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from heads.zoo import HEADS
from pipeline.config import ExperimentConfig
from pipeline.features import Inputs
from pipeline.learning import SCORERS, Learner, Part, fit_head
from pipeline.runner import fit_folds
from pipeline.sweeps.search import LAST, SCORE
from pipeline.sweeps.shared import Shared
from pipeline.sweeps.space import Point

Tell = Callable[[dict[str, Any]], None]
"""Takes one report; may not return, where a trial is stopped."""


class Clock:
    """What a trial spends on its own training, and what beside it; one a process, so that gaps between trials count."""

    def __init__(self) -> None:
        self._ended: float | None = None
        self._began = self._training = self._waited = 0.0
        self._train_began: float | None = None

    def begin(self) -> None:
        """A trial begins."""
        self._previous, self._began = self._ended, perf_counter()
        self._training = self._waited = 0.0
        self._train_began = None

    def train(self, on: bool) -> None:
        """Its own training begins or ends."""
        if on:
            self._train_began = perf_counter()
        elif self._train_began is not None:
            self._training += perf_counter() - self._train_began
            self._train_began = None

    def waited(self, seconds: float) -> None:
        """Training stood still for so long."""
        self._waited += seconds

    def stamp(self) -> dict[str, float | None]:
        """Seconds of training, and seconds beside it since the trial before ended (None: there was none)."""
        now = self._ended = perf_counter()
        running = 0.0 if self._train_began is None else now - self._train_began
        seconds = self._training + running - self._waited
        return {
            "seconds": seconds,
            "overhead": None if self._previous is None else now - self._previous - seconds,
        }


def train_point(
    config: ExperimentConfig, inputs: Inputs, folds: Sequence[Mapping[str, Part]], callbacks: Sequence[Any] = ()
) -> float:
    """Train and predict like `run_experiment`, without a run; the objective on validation, higher is better.

    Args:
        config: The experiment.
        inputs: Its features or images.
        folds: `train` and `validation` of each fold.
        callbacks: skorch callbacks.
    """
    learner: Learner = fit_head
    if config.net is not None:
        from pipeline.nets import fit_net as learner  # imports timm: only for nets

    fitted, _ = fit_folds(
        config, inputs, folds, learner, log=lambda line: None, callbacks=callbacks, predict=["validation"]
    )
    y = np.concatenate([parts["validation"].y for parts in folds])
    proba = np.concatenate([one.proba["validation"] for one in fitted])
    return float(SCORERS[config.objective](y, proba))


def run_trial(point: Point, shared: Shared, tell: Tell, clock: Clock) -> None:
    """Train one point and tell its scores; what goes wrong is told, not raised, so that the process lives on."""
    clock.begin()
    best: list[float] = []

    def on_epoch(score: float) -> None:
        best.append(max([score, *best[-1:]]))
        report = {SCORE: best[-1], "epoch": len(best), LAST: False, **clock.stamp()}
        began = perf_counter()
        tell(report)
        clock.waited(perf_counter() - began)

    try:
        config = shared.settings.config_at(point)
        inputs, folds = shared.inputs_of(config), shared.folds_of(config)
        callbacks = [epoch_teller(config.objective, on_epoch)] if len(folds) == 1 and _has_epochs(config) else []
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
    tell({"epoch": len(best), **outcome, LAST: True, "done": True, **clock.stamp()})


def _has_epochs(config: ExperimentConfig) -> bool:
    return config.net is not None or HEADS[config.head.name].has_epochs


def epoch_teller(objective: str, on_epoch: Callable[[float], None]) -> Any:
    """A skorch callback that hands over the objective's validation score after each epoch."""
    from skorch.callbacks import Callback  # imports torch: only for what is trained by epochs

    class EpochTeller(Callback):
        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            """Hand it over."""
            on_epoch(float(net.history[-1][f"valid_{objective}"]))

    return EpochTeller()


_CLOCK = Clock()
_SHARED: dict[str, Shared] = {}
"""What this process has opened, by the name of the object; a worker serves one sweep at a time."""


def ray_trial(config: dict[str, Any], held: list[Any]) -> None:
    """What Ray Tune calls, in a worker that is used again and again.

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
