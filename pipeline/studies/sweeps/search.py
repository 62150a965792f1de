"""The next point of a sweep: a searcher for Ray Tune on Optuna's samplers, or on a list of points."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from ray.tune.search import Searcher

from hamcache.pipeline.studies.sweeps.space import Point, Space, label
from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig

SCORE = "score"
"""The key of a trial's score: the gain of the objective, so more is better."""
LAST = "last"
"""Whether a report is a trial's last one; a trial without it was stopped early."""
TRIES = 20


@dataclass(frozen=True)
class Known:
    """The fate of a point that was tried.

    Attributes:
        point: The point.
        score: Higher is better; None if the trial failed.
        stopped: The epoch after which it was stopped early, if it was.
    """

    point: Point
    score: float | None
    stopped: int | None = None


@dataclass(eq=False)
class Ticket:
    """A point that was given out, with Optuna's trial of it where Optuna gave it."""

    point: Point
    trial: Any = None


class OptunaSource:
    """Points from an Optuna sampler; one that was tried before is answered from memory and not tried again."""

    def __init__(self, space: Space, sampler: optuna.samplers.BaseSampler, known: Iterable[Known] = ()) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = space
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._known: dict[str, Known] = {}
        self._left = space.grid() if space.is_countable else None
        for outcome in known:
            self.tell(self._enqueued(outcome.point), outcome)

    def ask(self) -> Ticket | None:
        """A point that was not tried; None once there are no more of them."""
        asked = self._sampled()
        for _ in range(TRIES):
            known = self._known.get(label(asked.point))
            if known is None:
                break
            self.tell(asked, known)
            asked = self._sampled()
        else:
            if self._left is not None:  # a small space: what the sampler misses is counted through
                self._study.tell(asked.trial, state=optuna.trial.TrialState.FAIL)
                point = next((point for point in self._left if label(point) not in self._known), None)
                if point is None:
                    return None
                asked = self._enqueued(point)
        self._known.setdefault(label(asked.point), Known(asked.point, None))
        return asked

    def tell(self, ticket: Ticket, outcome: Known) -> None:
        """Hand a score to the sampler. Trials that were stopped early rank below all that were not."""
        self._known[label(outcome.point)] = outcome
        if outcome.score is None:
            self._study.tell(ticket.trial, state=optuna.trial.TrialState.FAIL)
        elif outcome.stopped is not None:
            ticket.trial.report(outcome.score, outcome.stopped)
            self._study.tell(ticket.trial, state=optuna.trial.TrialState.PRUNED)
        else:
            self._study.tell(ticket.trial, outcome.score)

    def _sampled(self) -> Ticket:
        trial = self._study.ask()
        return Ticket(self._space.suggest(trial), trial)

    def _enqueued(self, point: Point) -> Ticket:
        dimensions = self._space.dimensions
        self._study.enqueue_trial({k: label(v) if dimensions[k].is_choice else v for k, v in point.items()})
        asked = self._sampled()
        return Ticket(point, asked.trial)


class ListSource:
    """Points that are known beforehand, one after the other."""

    def __init__(self, points: Iterable[Point]) -> None:
        self._left = iter(points)

    def ask(self) -> Ticket | None:
        """The next point."""
        point = next(self._left, None)
        return None if point is None else Ticket(point)

    def tell(self, ticket: Ticket, outcome: Known) -> None:
        """Nothing: no point depends on a score."""


Source = OptunaSource | ListSource


class SweepSearch(Searcher):
    """Ray Tune's side of a source: gives trials their points and numbers, and the source their scores.

    Ray's own Optuna searcher takes no dimension that depends on another, and cannot go on from known results.
    """

    def __init__(self, source: Source, numbers: Iterator[int]) -> None:
        super().__init__(metric=SCORE, mode="max")
        self._source = source
        self._numbers = numbers
        self._open: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray keeps a copy of all it is given, to go on from; a sweep goes on from its own table

    def suggest(self, trial_id: str) -> Any:
        """The next trial's number and point; FINISHED once the source has no more."""
        ticket = self._source.ask()
        if ticket is None:
            return Searcher.FINISHED
        self._open[trial_id] = ticket
        return {"number": next(self._numbers), "point": ticket.point}

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Pass on what became of a trial."""
        ticket, result = self._open.pop(trial_id), result or {}
        failed = error or result.get("error") or SCORE not in result
        stopped = None if result.get(LAST) else int(result.get("epoch", 0))
        self._source.tell(ticket, Known(ticket.point, None if failed else float(result[SCORE]), stopped))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a sweep goes on from its table of trials."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a sweep goes on from its table of trials."""


def points_source(settings: SweepConfig, known: Sequence[Known] = ()) -> Source:
    """The source that a sweep's settings ask for; one that goes on draws other points than one that begins."""
    if settings.search == "grid":
        tried = {label(outcome.point) for outcome in known}
        return ListSource(point for point in settings.dimensions.grid() if label(point) not in tried)
    seed = settings.seed + 1_000_003 * len(known)
    if settings.search == "random":
        return OptunaSource(settings.dimensions, optuna.samplers.RandomSampler(seed=seed), known)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        # constant_liar: points under way count as bad, so that parallel trials do not all try the same place;
        # group: dimensions that depend on others are modelled together with those they appear with.
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
    return OptunaSource(settings.dimensions, sampler, known)
