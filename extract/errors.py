"""Errors on the way from an image file to its features."""

from __future__ import annotations


class ExtractError(Exception):
    """Base of every error of feature extraction."""


class UnknownBackboneError(ExtractError, LookupError):
    """No network goes by this name."""


class UnknownKindError(ExtractError, ValueError):
    """No features of this kind, or not from this network."""


class WeightsError(ExtractError, ValueError):
    """A file of weights does not fit the network, key by key."""


class HubUnreachableError(ExtractError, ConnectionError):
    """Pretrained weights are not on this machine and the hub that has them does not answer."""


class AugmentationError(ExtractError, ValueError):
    """An augmentation is unknown, or its recipe ill-formed."""


class PrecisionError(ExtractError, ValueError):
    """The asked-for arithmetic is not one of `auto`, `fp32`, `bf16`, or this processor lacks it."""


class DeviceError(ExtractError, ValueError):
    """The device asked for is unknown, or this machine has none."""


class ExtractionFailedError(ExtractError, RuntimeError):
    """No image at all could be turned into features."""


class TooManyViewsError(ExtractError, ValueError):
    """More views were asked for than anybody means."""


class NoRoomError(ExtractError, OSError):
    """The disk can't hold the features that were asked for."""


class SchedulerError(ExtractError, ConnectionError):
    """The Dask scheduler at the given address does not answer, is lost, or has no workers."""


class WorkerError(ExtractError, RuntimeError):
    """A Dask worker can't run the tasks of an extraction: another hamcache, no images there, or it dies of them."""


class CorruptionError(ExtractError, ValueError):
    """A corruption or a severity that nobody has defined."""
