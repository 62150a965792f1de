"""Pictures of runs that a command has made, drawn when the runs are finished: a failure costs no run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hamcache.pipeline.cli.console import progress_bar, warn

if TYPE_CHECKING:
    from hamcache.pipeline.runs.records import Run
    from hamcache.pipeline.studies.experiments import Outcome


def draw_pictures(runs: Iterable[Run], workers: int | None = None) -> int:
    """Draw the runs that have no pictures, and print what goes wrong; returns the number of pictures drawn."""

    bare = [run for run in runs if not run.plots]
    if not bare:
        return 0
    from hamcache.pipeline.show.plots.runs import draw_runs  # imports matplotlib

    count = 0
    with progress_bar("drawing", len(bare), "runs") as advance_to:
        for done, (run, drawn) in enumerate(draw_runs(bare, workers), start=1):
            advance_to(done, None)
            if not isinstance(drawn, Exception):
                count += len(drawn)
            else:
                reason = f"{type(drawn).__name__}: {' '.join(str(drawn).split())}"
                warn(f"warning: the plots of {run.id} were not drawn: {reason}")
    return count


def runs_of(outcomes: Iterable[Outcome]) -> list[Run]:
    """The runs among the outcomes of experiments."""
    return [outcome.run for outcome in outcomes if outcome.run is not None]
