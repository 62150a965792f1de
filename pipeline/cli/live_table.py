"""A sweep on the console: on a terminal a live table, elsewhere a line for each trial that ends, and now and then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from time import monotonic
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hamcache.heads.metrics import get_metric
from hamcache.pipeline.cli.console import progress_bar
from hamcache.pipeline.studies.sweeps.results import FAILED, FINISHED, STOPPED
from hamcache.pipeline.studies.sweeps.space import Point, words
from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig
from hamcache.pipeline.studies.sweeps.trial_table import Trial
from hamcache.pipeline.studies.sweeps.watch import Watcher

SHOWN = 6
"""Trials that are listed beside those that run."""


class LiveTable(Watcher):
    """Shows the trials that run and the best so far; a context, which leaves the console as it was."""

    def __init__(self, settings: SweepConfig, console: Console) -> None:
        self._settings, self._console = settings, console
        self._metric = get_metric(settings.objective)
        self._running: dict[int, tuple[Point, int, float | None]] = {}
        self._ended: list[Trial] = []
        self._samples, self._began = settings.samples, monotonic()
        self._live: Live | None = None
        self._lines = ExitStack()
        self._advance_to: Callable[[int, int | None], None] = lambda done, total: None

    def __enter__(self) -> LiveTable:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._lines.close()
        if self._live is not None:
            self._live.stop()

    def said(self, line: str) -> None:
        """Print a line, above the table."""
        self._console.print(line, highlight=False, markup=False)

    def began(self, trials: Sequence[Trial], samples: int) -> None:
        """Draw the table from here on."""
        self._ended, self._samples, self._began = list(trials), samples, monotonic()
        if self._console.is_terminal:
            self._live = Live(get_renderable=self.table, console=self._console, refresh_per_second=2, transient=True)
            self._live.start()
        else:
            self._advance_to = self._lines.enter_context(progress_bar("searching", samples, "trials"))
            self._advance_to(len(self._ended), None)

    def started(self, number: int, point: Point) -> None:
        """A row more."""
        self._running[number] = point, 0, None

    def epoch(self, number: int, epoch: int, score: float) -> None:
        """A row's numbers."""
        if number in self._running:
            self._running[number] = self._running[number][0], epoch, self._metric.gain(score)

    def ended(self, trial: Trial) -> None:
        """A line where there is no table, and always where a trial failed."""
        self._running.pop(trial.number, None)
        self._ended.append(trial)
        self._advance_to(len(self._ended), None)
        if self._live is None or trial.state == FAILED:
            self.said(self.line(trial))

    def line(self, trial: Trial) -> str:
        """A trial in one line."""
        score = trial.error if trial.score is None else f"{self._settings.objective} {trial.score:.4f}"
        epochs = f", {trial.epochs} epochs" if trial.epochs else ""
        state = "FAILED" if trial.state == FAILED else trial.state
        return f"[{len(self._ended)}/{self._samples}] trial {trial.number} {state}: {score}{epochs}, " + (
            f"{trial.seconds:.1f} s: {words(trial.point)}"
        )

    def table(self) -> Group:
        """The trials that run, then the best of those that have ended."""
        best = [one for one in self._ended if one.state == FINISHED and one.score is not None]
        best.sort(key=lambda one: (-self._metric.gain(one.score or 0.0), one.number))
        table = Table(expand=True)
        for name in ("trial", "state", self._settings.objective, "epochs", "seconds"):
            table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
        table.add_column("values", ratio=1, no_wrap=True, overflow="ellipsis")
        running = self._running.copy()  # it changes meanwhile: this is drawn by a thread of its own
        for number, (point, epoch, score) in sorted(running.items()):
            table.add_row(
                str(number), "running", _number(score), str(epoch or ""), "", Text(words(point)), style="bold"
            )
        for one in best[:SHOWN]:
            seconds = f"{one.seconds:.1f}"
            table.add_row(
                str(one.number), one.state, _number(one.score), str(one.epochs or ""), seconds, Text(words(one.point))
            )
        counts = {state: sum(one.state == state for one in self._ended) for state in (FINISHED, STOPPED, FAILED)}
        said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        head = f"{len(self._ended)} of {self._samples} trials ({said or 'none yet'}), {monotonic() - self._began:.0f} s"
        return Group(Text(head, style="bold"), table)


def _number(score: float | None) -> str:
    return "" if score is None else f"{score:.4f}"
