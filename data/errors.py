"""The errors of `data`: each also subclasses the built-in exception that fits it."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class DataError(Exception):
    """Anything wrong with the data that was given: base of all errors of this package."""


class DatasetNotFoundError(DataError, FileNotFoundError):
    """What was named as a data set is not one, or is not there."""


class TableError(DataError, ValueError):
    """The metadata of a data set cannot make an image table; the message names the rows."""


class ImagesAbsentError(DataError, FileNotFoundError):
    """Image files are needed of a data set that came with imported features, without its images."""


class SplitError(DataError, ValueError):
    """A split was asked for that cannot be made, or a split file cannot be trusted."""


class SplitNotFoundError(SplitError, FileNotFoundError):
    """The split file is not there."""


class LeakError(SplitError):
    """A group has images in two parts of a split, so its scores would be too good."""


class CurationError(DataError, ValueError):
    """A file of images to leave out, or of groups to merge, that does not fit the data set."""


class DownloadError(DataError, OSError):
    """The data could not be fetched, or what was fetched is not whole."""


class CredentialsError(DownloadError, PermissionError):
    """A server wants credentials, and there are none, only a part of them, or ones that it refuses."""


class ArchiveError(DownloadError, ValueError):
    """An archive is damaged, is no archive, or holds what no such archive should."""


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> str:
    """Message for a name that is not one of `valid`: offers the nearest one and lists them all.

    >>> unknown_name("split policy", "groupd", ["grouped", "one_per_lesion"])
    "unknown split policy 'groupd': did you mean 'grouped'? Valid: grouped, one_per_lesion"
    """
    valid = list(valid)
    near = nearest_name(name, valid)
    hint = f": did you mean {near!r}?" if near is not None else "."
    return f"unknown {kind} {name!r}{hint} Valid: {', '.join(valid)}"


def nearest_name(name: str, valid: Iterable[str]) -> str | None:
    """The one of `valid` that `name` was probably meant to be, in any case; None where none is like it.

    >>> nearest_name("NV", ["mel", "nv"])
    'nv'
    """
    by_lower_case = {candidate.lower(): candidate for candidate in valid}
    near = get_close_matches(name.lower(), by_lower_case, n=1)
    return by_lower_case[near[0]] if near else None


def some_of(items: Sequence[object], limit: int = 5) -> str:
    """The first few of `items` and how many more there are.

    >>> some_of(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    shown = ", ".join(str(item) for item in items[:limit])
    rest = len(items) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown
