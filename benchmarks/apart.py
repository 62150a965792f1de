"""Work in a process of its own, done whenever it is asked for: nothing that one side sets up serves the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.harness import wall

Work = Callable[[], object]
Timer = Callable[[Work], float]


@contextmanager
def apart(prepare: Callable[..., Work], *arguments: Any, timer: Timer = wall) -> Iterator[Callable[[], float]]:
    """Start a process that prepares some work and does it once; yields what has it done again and tells the seconds.

    Args:
        prepare: function of a module; gives the work.
        arguments: its arguments.
        timer: `wall` or `processor`.
    """
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_serve, args=(theirs, timer, prepare, arguments))
    process.start()
    theirs.close()
    try:
        ours.recv()

        def seconds() -> float:
            ours.send(None)
            return ours.recv()

        yield seconds
    except EOFError:
        raise RuntimeError(f"Expected a process to go on with {prepare.__name__}, but it ended.") from None
    finally:
        ours.close()  # tells it to end
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(connection: Connection, timer: Timer, prepare: Callable[..., Work], arguments: tuple[Any, ...]) -> None:
    work = prepare(*arguments)
    work()
    connection.send(None)
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        connection.send(timer(work))
