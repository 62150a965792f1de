"""The errors this package raises: each says what was expected, what came, and what to do next."""

from collections.abc import Iterable
from difflib import get_close_matches


class PipelineError(Exception):
    """Base of every error raised by `pipeline`."""


class ConfigError(PipelineError, ValueError):
    """A configuration has an unknown key, a value of the wrong type, or parts that do not fit together."""


class ConfigNotFoundError(PipelineError, FileNotFoundError):
    """No configuration file has this path or this name."""


class MetricError(PipelineError, ValueError):
    """Labels and probabilities that cannot be scored, or a metric nobody has defined."""


class RunError(PipelineError, ValueError):
    """A run that cannot be made, read or found again as it was written."""


class RunNotFoundError(PipelineError, FileNotFoundError):
    """No finished run has this id, or several begin with it."""


class GridError(PipelineError, ValueError):
    """A grid that cannot be read as it was written."""


class GridNotFoundError(PipelineError, FileNotFoundError):
    """No grid has this id, or several begin with it."""


class ComparisonError(PipelineError, ValueError):
    """Runs that were not scored on the same images, so that their difference means nothing."""


class FeaturesError(PipelineError, ValueError):
    """Cached features that do not fit the image table, each other, or a head (NaN, infinite, another order)."""


class NeighboursError(PipelineError, ValueError):
    """Features whose neighbours cannot be looked for."""


class PredictionError(PipelineError, ValueError):
    """A run that cannot predict here, or a choice about its predictions that does not exist."""


class ExportError(PipelineError, ValueError):
    """A run that cannot become one portable file, or a file that does not say what the run says."""


def unknown_name(kind: str, name: object, valid: Iterable[str]) -> str:
    """The sentence for a name nobody knows: the nearest valid one, then all of them.

    >>> unknown_name("metric", "mmc", ["mcc", "accuracy"])
    "unknown metric 'mmc'; did you mean 'mcc'? Valid: accuracy, mcc."
    """
    names = sorted(valid)
    near = get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {name!r}{hint} Valid: {', '.join(names)}."
