"""The look of the command line: one console, tables and progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from math import isnan
from time import monotonic
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from hamcache.pipeline.cli.endings import INTERRUPTED
from hamcache.pipeline.cli.manner import manner
from hamcache.pipeline.cli.progress_lines import progress_lines

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 160
"""Columns when the output is not a terminal: files and pipes should not fold."""

KEPT = "Finished work is kept; give the same command again to go on."
"""Advice after Ctrl-C, for commands without a better one."""

console = Console()
if not console.is_terminal:
    console = Console(width=WIDTH)
errors = Console(stderr=True, width=None if Console(stderr=True).is_terminal else WIDTH)


def say(text: object) -> None:
    """Print a line as it is: never folded, and brackets are no markup. Nothing where the command is to be quiet."""
    lines_console().print(str(text), highlight=False, markup=False, soft_wrap=True)


def lines_console() -> Console:
    """The console that lines on work under way go to, as the command's manner wants it."""
    if manner.quiet:
        return Console(quiet=True)
    return console if manner.tables is None else errors


def warn(text: object) -> None:
    """Print a line like `say`, on standard error."""
    errors.print(str(text), highlight=False, markup=False, soft_wrap=True)


def confirm(question: str, yes: bool) -> None:
    """Ask, unless the answer is yes already; any other answer ends the command."""
    if not yes and not typer.confirm(question):
        raise typer.Exit(1)


@contextmanager
def interruptible(advice: str) -> Iterator[None]:
    """End the command on Ctrl-C with this advice."""
    try:
        yield
    except KeyboardInterrupt:
        warn(f"Interrupted. {advice}")
        raise typer.Exit(INTERRUPTED) from None


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], caption: str | None = None) -> None:
    """Print a table; text left, numbers right. The first column, which names the row, is the last to be folded.

    Where the output is no terminal: a line a row, its cells between tabs, and `# ` before the title and the caption.
    """
    if manner.tables is not None:
        manner.add(title, list(columns), [list(row) for row in rows], caption)
        return
    if not console.is_terminal and not console.is_jupyter:
        _print_plainly(title, columns, rows, caption)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for number, column in enumerate(columns):
        numeric = all(isinstance(row[number], (int, float)) for row in rows) if rows else False
        table.add_column(column, justify="right" if numeric else "left", overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text(_text(cell)) for cell in row))  # brackets in it are no markup
    # Not the table's own title and caption: those are folded to the table's width.
    console.print(title, style="bold", highlight=False)
    console.print(table)
    if caption:
        console.print(caption, style="italic", highlight=False)


def _print_plainly(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], caption: str | None = None
) -> None:
    """Print a table for other programs."""
    cells = [columns, *([str(cell) if isinstance(cell, int) else _text(cell) for cell in row] for row in rows)]
    lines = ["\t".join(" ".join(cell.split()) for cell in row) for row in cells]
    for line in [f"# {title}", *lines, *([f"# {caption}"] if caption else [])]:
        typer.echo(line)  # rich would make spaces of the tabs


def show_frame(title: str, frame: pd.DataFrame, caption: str | None = None) -> None:
    """Print a table of a frame."""
    rows = [[cell.item() if hasattr(cell, "item") else cell for cell in row] for row in frame.itertuples(index=False)]
    show_table(title, list(frame.columns), rows, caption)


def _text(cell: Any) -> str:
    if isinstance(cell, float):
        return "-" if isnan(cell) else f"{cell:.3f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


@contextmanager
def progress_bar(what: str, total: int | None, unit: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar with rate and time left on a terminal, a line in a notebook, elsewhere a line now and then.

    Yields `advance_to(done, total)`.

    The unit "B" counts bytes.
    """
    if console.is_jupyter:
        yield _notebook_line(what, total, unit)
        return
    if not console.is_terminal and not manner.quiet:

        def counted(done: int, rate: float) -> tuple[str, str]:
            if unit == "B":
                return human_bytes(done), f"{human_bytes(round(rate))}/s"
            return f"{done:,}", f"{rate:.1f} {unit}/s"

        with progress_lines(what, total, counted, warn) as advance:
            yield advance
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    first: int | None = None if unit == "B" else 0  # bytes of an earlier download come at once: no part of the rate
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn() if unit == "B" else MofNCompleteColumn(),
        TaskProgressColumn(show_speed=False),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=manner.quiet or not console.is_terminal,
    ) as bar:
        task = bar.add_task(what, total=total, rate="")

        def advance_to(done: int, total: int | None = None) -> None:
            nonlocal first
            if total is not None:
                bar.update(task, total=total)
            if first is None or done < first:
                first = done
                bar.reset(task, completed=done)
            bar.update(task, completed=done)
            elapsed = bar.tasks[0].elapsed or 0
            rate = (done - first) / elapsed if elapsed > 0 else 0.0
            shown = f"{human_bytes(round(rate))}/s" if unit == "B" else f"{rate:.1f} {unit}/s"
            bar.update(task, rate=shown if elapsed > 0 else "")

        yield advance_to


def _notebook_line(what: str, total: int | None, unit: str) -> Callable[[int, int | None], None]:
    """`advance_to`, which rewrites one line below a notebook's cell. (rich's bar would need ipywidgets.)"""
    from IPython.display import display

    started = monotonic()
    handle: Any = None

    def advance_to(done: int, new_total: int | None = None) -> None:
        nonlocal handle, total
        total = total if new_total is None else new_total
        rate = done / max(monotonic() - started, 1e-9)
        shown = [human_bytes(n) if unit == "B" else f"{n:,}" for n in (done, total or 0)]
        speed = f"{human_bytes(round(rate))}/s" if unit == "B" else f"{rate:.1f} {unit}/s"
        of_all = "" if total is None else f" of {shown[1]}"
        line = {"text/plain": f"{what}: {shown[0]}{of_all}, {speed}"}
        if handle is None:
            handle = display(line, raw=True, display_id=True)
        else:
            handle.update(line, raw=True)

    return advance_to


class ConsoleReport:
    """Sentences and bars of a download, on the console: see `data.fetch.reporting`."""

    def say(self, sentence: str) -> None:
        """Print one line."""
        say(sentence)

    def bar(self, what: str, total: int | None, unit: str) -> AbstractContextManager[Callable[[int, int | None], None]]:
        """A bar with rate and time left; one line where the output is not a terminal."""
        if not console.is_terminal:
            self.say(f"{what} ...")
        return progress_bar(what, total, unit)


def human_bytes(n: int) -> str:
    """`1536` as `1.5 KB`."""
    size = float(n)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
