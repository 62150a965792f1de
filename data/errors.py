"""The errors of `data`: each also subclasses the built-in exception that fits it."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class DataError(Exception):
    """Anything wrong with the data that was given: base of all errors of this package."""


class DatasetNotFoundError(DataError, FileNotFoundError):
    """What was named as a data set is not one, or is not there."""


class TableError(DataError, ValueError):
    """The metadata of a data set cannot make an image table; the message names the rows."""


class SplitError(DataError, ValueError):
    """A split was asked for that cannot be made, or a split file cannot be trusted."""


class SplitNotFoundError(SplitError, FileNotFoundError):
    """The split file is not there."""


class LeakError(SplitError):
    """A group has images in two parts of a split, so its scores would be too good."""


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> str:
    """Message for a name that is not one of `valid`: offers the nearest one and lists them all.

    >>> unknown_name("split policy", "groupd", ["grouped", "one_per_lesion"])
    "unknown split policy 'groupd': did you mean 'grouped'? Valid: grouped, one_per_lesion"
    """
    valid = list(valid)
    near = get_close_matches(name, valid, n=1)
    hint = f": did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {name!r}{hint} Valid: {', '.join(valid)}"


def some_of(items: Sequence[object], limit: int = 5) -> str:
    """The first few of `items` and how many more there are.

    >>> some_of(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    shown = ", ".join(str(item) for item in items[:limit])
    rest = len(items) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown
