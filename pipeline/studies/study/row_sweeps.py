"""The sweep of a study's row, run to its end with a line a trial. Imports Ray."""

from __future__ import annotations

from collections.abc import Callable

from hamcache.data.workspace import Workspace
from hamcache.pipeline.studies.sweeps.results import Sweep
from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig
from hamcache.pipeline.studies.sweeps.trial_table import Trial
from hamcache.pipeline.studies.sweeps.tuning import run_sweep
from hamcache.pipeline.studies.sweeps.watch import Watcher


class _Lines(Watcher):
    """Says of a sweep what goes on."""

    def __init__(self, row: str, say: Callable[[str], None]) -> None:
        self._row, self._say = row, say

    def said(self, line: str) -> None:
        """A line of the sweep's own."""
        self._say(f"{self._row}: {line}")

    def ended(self, trial: Trial) -> None:
        """A trial that has ended."""
        score = "" if trial.score is None else f", {trial.score:.3f}"
        self.said(f"trial {trial.number} {trial.state}{score}, {trial.seconds:.1f} s")


def swept(
    row: str, settings: SweepConfig, workspace: Workspace, workers: int | None, say: Callable[[str], None]
) -> Sweep:
    """Run the sweep of a row; trials that ended before are not run again."""
    return run_sweep(settings, workspace, workers=workers, watcher=_Lines(row, say))
