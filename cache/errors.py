"""Errors of a feature cache, each with the way out in its message."""

from __future__ import annotations

import shlex
from collections.abc import Mapping


class CacheError(Exception):
    """Base of every error of the feature cache."""


class MissingFeaturesError(CacheError, LookupError):
    """Features were asked for that the cache does not hold; the message names the command that makes them."""


class StaleFeaturesError(CacheError, ValueError):
    """Features are there, but were made from other bytes than the image file has now."""


class CorruptChunkError(CacheError, OSError):
    """A chunk's bytes are not those that were written in its place."""


class CorruptStoreError(CacheError, OSError):
    """A store's own description (its key, its array or its rows) can't be read, or is another store's."""


class OldStoreError(CacheError, ValueError):
    """A store has the layout of another version of this package; the message says how to bring it to this one's."""


class AmbiguousStoreError(CacheError, LookupError):
    """More than one store fits what was asked for."""


class StorageError(CacheError, OverflowError):
    """Features are larger than the numbers that their store keeps."""


class CacheInUseError(CacheError, RuntimeError):
    """Another process is extracting into the same data set's stores."""


class FeatureArchiveError(CacheError, ValueError):
    """A file is no archive of feature stores, or one that is damaged, cut off or not to be trusted."""


class StoreConflictError(CacheError, ValueError):
    """A store to be imported and the one that is here were made from other versions of the same images."""


class RootUnreachableError(CacheError, ConnectionError):
    """A remote features root does not answer, and was waited for in vain."""


class RootRefusedError(CacheError, PermissionError):
    """A features root can't be opened: unknown address, no access, wrong credentials, no such bucket."""


def extract_command(
    dataset: str, backbone: str, augmentation: str, views: int, further: Mapping[str, object] | None = None
) -> str:
    """The shell command that fills what a reader found missing.

    Args:
        dataset, backbone, augmentation, views: the words of its first options.
        further: other options, by their names without dashes; those of None are left out.
    """
    named = {
        "dataset": dataset,
        "backbones": backbone,
        "augmentations": augmentation,
        "views": views,
        **(further or {}),
    }
    options = [(f"--{name}", str(value)) for name, value in named.items() if value is not None]
    return shlex.join(["hamcache", "extract", *(word for option in options for word in option)])
