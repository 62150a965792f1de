"""The errors of `data`: each also subclasses the built-in exception that fits it."""

from collections.abc import Sequence


class DataError(Exception):
    """Anything wrong with the data that was given: base of all errors of this package."""


class DocumentError(DataError, ValueError):
    """A file, or a YAML or JSON text, that is none, or goes beyond what such a thing may be."""


class DatasetNotFoundError(DataError, FileNotFoundError):
    """A name of a data set that is not one, or is not there."""


class NotWrittenError(DataError, OSError):
    """A file for which its disk has no room, or that it does not take at all."""


class NoMemoryError(DataError, MemoryError):
    """Features that fit neither memory nor the disk of temporary files."""


class TableError(DataError, ValueError):
    """Metadata that cannot make an image table; the message names the rows."""


class MetadataError(DataError, ValueError):
    """Columns of a table that cannot be features, or values that are none of theirs."""


class MetadataAbsentError(MetadataError, FileNotFoundError):
    """A run that was trained on metadata too, asked about images without theirs."""


class BadImageError(DataError, ValueError):
    """A file that is not a readable image; the message is the reason that quarantine records."""


class UnreadImageError(BadImageError):
    """An image whose bytes could not be had, or not be kept in memory: nothing against them, so it is tried again."""


class ImagesAbsentError(DataError, FileNotFoundError):
    """A need for image files of a data set that came with imported features, without its images."""


class SplitError(DataError, ValueError):
    """A split that cannot be made, or a split file that cannot be trusted."""


class SplitNotFoundError(SplitError, FileNotFoundError):
    """A split file that is not there."""


class LeakError(SplitError):
    """A group with images in two parts of a split, so that scores would be too good."""


class CurationError(DataError, ValueError):
    """A file of images to leave out, or of groups to merge, that does not fit the data set."""


class SynthesisError(DataError, ValueError):
    """A made-up data set that cannot be drawn as asked, or not in that folder."""


class DownloadError(DataError, OSError):
    """Data that could not be fetched, or did not come whole."""


class CredentialsError(DownloadError, PermissionError):
    """Credentials that a server wants and that are absent, incomplete or refused."""


class ArchiveError(DownloadError, ValueError):
    """An archive that is damaged, is none, or holds what no such archive should."""


class CodeError(DataError, ValueError):
    """Code of one's own that can't be named exactly, so that a result could not be found again by it."""


class CodeNotFoundError(DataError, LookupError):
    """A module, a file, or a thing in it, that is not there."""


def some_of(items: Sequence[object], limit: int = 5) -> str:
    """The first few of `items` and how many more there are.

    >>> some_of(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    shown = ", ".join(str(item) for item in items[:limit])
    rest = len(items) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown
