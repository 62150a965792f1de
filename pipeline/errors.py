"""The errors this package raises: each says what was expected, what came, and what to do next."""


class PipelineError(Exception):
    """Base of every error raised by `pipeline`."""


class ConfigError(PipelineError, ValueError):
    """A configuration has an unknown key, a value of the wrong type, or parts that do not fit together."""


class ConfigNotFoundError(PipelineError, FileNotFoundError):
    """No configuration file has this path or this name."""


class RunError(PipelineError, ValueError):
    """A run that cannot be made, read or found again as it was written."""


class ArtefactNotFoundError(PipelineError, FileNotFoundError):
    """No run, sweep or grid has this id, or several begin with it."""


class DamagedError(PipelineError, ValueError):
    """A file of a run, sweep, grid or demonstration that is missing, damaged, or not the one that was written.

    Args:
        message: The whole sentence.
        file: The file, relative to its artefact's folder.
        what: The rest of a sentence that begins with the file.
    """

    def __init__(self, message: str, file: str | None = None, what: str | None = None) -> None:
        super().__init__(message)
        self.file, self.what = file, what


class ArtefactInUseError(PipelineError, BlockingIOError):
    """A run, sweep or grid that another process is writing."""


class ComparisonError(PipelineError, ValueError):
    """Runs that were not scored on the same images, so that their difference means nothing."""


class StudyError(PipelineError, ValueError):
    """A study whose rows cannot be run, or whose test set was opened for others."""


class FeaturesError(PipelineError, ValueError):
    """Cached features that do not fit the image table, each other, or a head (NaN, infinite, another order)."""


class LeakageError(PipelineError, ValueError):
    """A data set on which leakage cannot be shown, or a demonstration that is not whole."""


class NeighboursError(PipelineError, ValueError):
    """Features whose neighbours cannot be looked for."""


class AuditError(PipelineError, ValueError):
    """A data set that cannot be audited."""


class PredictionError(PipelineError, ValueError):
    """A run that cannot predict here, or a choice about its predictions that does not exist."""


class EvaluationError(PipelineError, ValueError):
    """A data set that a run cannot be evaluated on, or classes that do not fit together."""


class MapError(PipelineError, ValueError):
    """Features that cannot be laid out in the plane."""


class SuggestionError(PipelineError, ValueError):
    """A choice of images to label that cannot be made, or be tried."""


class ExportError(PipelineError, ValueError):
    """A run that cannot become one portable file, or a file that does not say what the run says."""


class ServingError(PipelineError, RuntimeError):
    """The local web page cannot be served, or cannot show what was asked for."""


class MissingExtraError(PipelineError, ImportError):
    """A command needs packages that are installed only on demand."""
