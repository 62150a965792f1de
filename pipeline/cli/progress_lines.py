"""Progress where the output is no terminal: a line now and then, so that a batch's log shows that something goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from time import monotonic

EVERY = 30.0
"""Seconds between two lines."""


@contextmanager
def progress_lines(
    what: str, total: int | None, counted: Callable[[int, float], tuple[str, str]], write: Callable[[str], None]
) -> Iterator[Callable[[int, int | None], None]]:
    """Write a line each `EVERY` seconds, whether or not there was progress; yields `advance_to(done, total)`.

    Args:
        what: What goes on.
        total: How much there is to do, if that is known.
        counted: Words for so much done and for so much a second.
        write: Takes each line.
    """
    started, ended = monotonic(), Event()
    first: int | None = None
    now: int | None = None

    def line() -> str:
        elapsed = monotonic() - started
        if now is None or first is None:
            return f"{what}: for {elapsed:.0f} s"
        amount, rate = counted(now, (now - first) / elapsed)
        if not total:
            return f"{what}: {amount}, {rate}"
        left = f", {_time(elapsed * (total - now) / (now - first))} left" if now > first else ""
        return f"{what}: {amount} of {counted(total, 0.0)[0]} ({100 * now / total:.0f} %), {rate}{left}"

    def advance_to(done: int, new_total: int | None = None) -> None:
        nonlocal first, now, total
        total = total if new_total is None else new_total
        if first is None or done < first:
            first = done if now is None and done else 0  # what was there before is no part of the rate
        now = done

    def speak() -> None:
        with suppress(Exception):  # short of memory, say: a line that cannot be written must not fail what goes on
            while not ended.wait(EVERY):
                write(line())

    thread = Thread(target=speak, name="progress", daemon=True)
    thread.start()
    try:
        yield advance_to
    finally:
        ended.set()
        thread.join()


def _time(seconds: float) -> str:
    """`90 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
