"""Events of a study, for whoever shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hamcache.pipeline.config.schema import ExperimentConfig
    from hamcache.pipeline.studies.experiments import Outcome


class StudyWatcher:
    """Is told of a study under way; every method may be left as it is."""

    def prepare(self, configs: Sequence[ExperimentConfig]) -> None:
        """Called with experiments before they are run: their features can be extracted here."""

    def ended(self, row: str, outcome: Outcome) -> None:
        """An experiment has ended, or was found."""

    def batch(self, progress: Any) -> None:
        """A net has trained a batch; takes its `heads.nets.job.Progress`."""

    def said(self, line: str) -> None:
        """A line on what goes on."""
