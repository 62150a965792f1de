"""Errors of the heads package. Each says what was expected, what came and what to do next."""

from collections.abc import Iterable
from difflib import get_close_matches


class HeadError(Exception):
    """Base of every error raised by `heads`."""


class UnknownNameError(HeadError, ValueError):
    """A name that is not registered; the message offers the nearest one."""

    def __init__(self, kind: str, name: object, valid: Iterable[str]):
        valid = sorted(valid)
        near = get_close_matches(str(name), valid, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"Unknown {kind} {name!r}.{hint} Valid names: {', '.join(valid)}.")


class UnknownHeadError(UnknownNameError):
    """A head that is not in the zoo."""

    def __init__(self, name: object, valid: Iterable[str]):
        super().__init__("head", name, valid)


class UnknownNetError(UnknownNameError):
    """A network that is not in `heads.nets.net_params.NETS`."""

    def __init__(self, name: object, valid: Iterable[str]):
        super().__init__("net", name, valid)


class UnknownLossError(UnknownNameError):
    """A loss that is not in `heads.losses.LOSSES`."""

    def __init__(self, name: object, valid: Iterable[str]):
        super().__init__("loss", name, valid)


class UnknownMonitorError(UnknownNameError):
    """A metric for early stopping that nobody provides."""

    def __init__(self, name: object, valid: Iterable[str]):
        super().__init__("metric to monitor", name, valid)


class HeadParamsError(HeadError, ValueError):
    """Parameters that a head or a loss does not accept."""


class BlockError(HeadError, ValueError):
    """Blocks that do not fit together, or an unknown block transform."""


class ViewPolicyError(HeadError, ValueError):
    """A view policy that is unknown, or that the given features cannot serve."""


class FeatureShapeError(HeadError, ValueError):
    """Features or labels of the wrong shape."""


class NotFiniteFeaturesError(HeadError, ValueError):
    """NaN or infinite features."""


class ClassAbsentError(HeadError, ValueError):
    """A class without a training image: its probability could not be learned."""

    def __init__(self, absent: Iterable[str]):
        names = ", ".join(map(str, absent))
        super().__init__(
            f"Expected every class in the training data, but found no image of: {names}. "
            "Give the class more images, drop it from the table's classes, or use another split seed."
        )


class TooFewImagesError(HeadError, ValueError):
    """Too few images (or groups) of a class for the inner cross-validation a head needs."""


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
