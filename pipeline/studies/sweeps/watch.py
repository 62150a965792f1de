"""Events of a sweep, for whoever shows them."""

from __future__ import annotations

from collections.abc import Sequence

from hamcache.pipeline.studies.sweeps.space import Point
from hamcache.pipeline.studies.sweeps.trial_table import Trial


class Watcher:
    """Is told of everything; does nothing with it. Subclasses show it."""

    def said(self, line: str) -> None:
        """Something worth a line."""

    def began(self, trials: Sequence[Trial], samples: int) -> None:
        """The search begins, or goes on after these trials."""

    def started(self, number: int, point: Point) -> None:
        """A trial has started."""

    def epoch(self, number: int, epoch: int, score: float) -> None:
        """A trial has its best score so far after an epoch; higher is better."""

    def ended(self, trial: Trial) -> None:
        """A trial has finished, was stopped, or has failed."""
