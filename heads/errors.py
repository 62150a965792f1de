"""The errors of `heads`: each says what was expected, what came, and what to do next."""

from collections.abc import Iterable
from typing import Any

from hamcache.data.nearest import unknown_name


class HeadError(Exception):
    """Base of every error raised by `heads`. It comes out of another process as it went in."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _with_message, (type(self), str(self))


def _with_message(kind: type[HeadError], message: str) -> HeadError:
    """An error of a class that may make its message of other arguments."""
    error = kind.__new__(kind, message)
    Exception.__init__(error, message)
    return error


class UnknownNameError(HeadError, ValueError):
    """A name that is not registered; the message offers the nearest one."""

    kind = "name"

    def __init__(self, name: object, valid: Iterable[str], kind: str | None = None):
        message = unknown_name(kind or self.kind, name, valid)
        super().__init__(f"{message[0].upper()}{message[1:]}.")


class UnknownHeadError(UnknownNameError):
    """A head that is not in the zoo."""

    kind = "head"


class UnknownNetError(UnknownNameError):
    """A network that is not in `heads.nets.net_params.NETS`."""

    kind = "net"


class UnknownLossError(UnknownNameError):
    """A loss that is not in `heads.loss_params.LOSSES`."""

    kind = "loss"


class MetricError(HeadError, ValueError):
    """Labels and probabilities that cannot be scored, or a metric that nobody has defined."""


class HeadParamsError(HeadError, ValueError):
    """Parameters that a head or a loss does not accept."""


class OwnHeadError(HeadError, ValueError):
    """A class of one's own that is not there, can't be used as a head, be named exactly, or be kept."""


class BlockError(HeadError, ValueError):
    """Blocks that do not fit together, or an unknown block transform."""


class ViewPolicyError(HeadError, ValueError):
    """A view policy that the given features cannot serve."""


class FeatureShapeError(HeadError, ValueError):
    """Features or labels of the wrong shape."""


class NotFiniteFeaturesError(HeadError, ValueError):
    """NaN or infinite features."""


class ClassAbsentError(HeadError, ValueError):
    """A class without a training image: its probability could not be learned."""

    def __init__(self, absent: Iterable[str]):
        names = ", ".join(map(str, absent))
        super().__init__(
            f"Expected every class in the training data, got no image of: {names}. "
            "Give the class more images, drop it from the table's classes, or use another split seed."
        )


class TooFewImagesError(HeadError, ValueError):
    """Too few images (or groups) of a class for the inner cross-validation a head needs."""


class ModelFailedError(HeadError, RuntimeError):
    """A head or a net that cannot be trained, or cannot predict, for a reason of arithmetic or memory."""


class TrainingDivergedError(HeadError, ArithmeticError):
    """The training loss became NaN or infinite."""


class HeadFileError(HeadError, ValueError):
    """A saved head that is missing, damaged or holds types that are not ours."""


class NetShapeError(HeadError, ValueError):
    """Layers that do not fit the size of the images."""


class WarmStartError(HeadError, ValueError):
    """A head, or features, that a network's last layer cannot start from."""


class CheckpointError(HeadError, ValueError):
    """A checkpoint that is damaged or belongs to another network."""
