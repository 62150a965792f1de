"""The errors of `data`: each also subclasses the built-in exception that fits it."""

from collections.abc import Sequence


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


class SynthesisError(DataError, ValueError):
    """A made-up data set that cannot be drawn as asked, or not in that folder."""


class DownloadError(DataError, OSError):
    """The data could not be fetched, or what was fetched is not whole."""


class CredentialsError(DownloadError, PermissionError):
    """A server wants credentials, and there are none, only a part of them, or ones that it refuses."""


class ArchiveError(DownloadError, ValueError):
    """An archive is damaged, is no archive, or holds what no such archive should."""


def some_of(items: Sequence[object], limit: int = 5) -> str:
    """The first few of `items` and how many more there are.

    >>> some_of(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    shown = ", ".join(str(item) for item in items[:limit])
    rest = len(items) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown
