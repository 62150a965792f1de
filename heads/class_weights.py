"""Class weights, one mechanism for all heads: a factor per class, 1 on average over the training images."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hamcache.heads.errors import HeadParamsError

ClassWeight = Literal["none", "balanced"] | Mapping[str, float] | Sequence[float]


def class_weights(weight: ClassWeight, counts: NDArray[np.int64], classes: Sequence[str]) -> NDArray[np.float64]:
    """Factor [C] by which each class's images count; over the training images its mean is 1.

    `none`: all 1. `balanced`: inversely proportional to the class's count. Otherwise given per class name (all of
    them), or as a list in class order.

    Raises:
        HeadParamsError: other names or another number of weights, or weights that are not positive.
    """
    if isinstance(weight, str):
        if weight not in ("none", "balanced"):
            raise HeadParamsError(f"Expected class_weight none, balanced or one weight per class, got {weight!r}.")
        factors = np.ones(len(counts)) if weight == "none" else 1.0 / counts
    else:
        if isinstance(weight, Mapping):
            weight = {str(name): factor for name, factor in weight.items()}
        if isinstance(weight, Mapping) and set(weight) != set(classes):
            raise HeadParamsError(
                f"Expected a class weight for each of {', '.join(classes)}, got them for {', '.join(weight)}."
            )
        given = [weight[name] for name in classes] if isinstance(weight, Mapping) else list(weight)
        if len(given) != len(classes) or min(given) <= 0:
            raise HeadParamsError(f"Expected {len(classes)} positive class weights, got {given}.")
        factors = np.asarray(given, dtype=np.float64)
    return factors * counts.sum() / (factors * counts).sum()
