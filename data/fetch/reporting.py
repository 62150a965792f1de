"""Reports of a download to the outside: sentences, and its progress."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int, int | None], None]
"""`advance(done, total)`: how much is done; the total where it was not known before, else None."""


class Report(Protocol):
    """The listener that a download tells what it does."""

    def say(self, sentence: str) -> None:
        """One line for the reader."""

    def bar(self, what: str, total: int | None, unit: str) -> AbstractContextManager[Advance]:
        """A bar for as long as the context is open. `unit` is "B" for bytes, else the word for what is counted."""


class Silence:
    """A report that nobody reads."""

    def say(self, sentence: str) -> None:
        """Nothing."""

    @contextmanager
    def bar(self, what: str, total: int | None, unit: str) -> Iterator[Advance]:
        """Nothing."""
        yield lambda done, total: None
