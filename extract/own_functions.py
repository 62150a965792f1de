"""Functions of one's own as steps of an augmentation: `function(image, rng) -> image`, uint8 `[height, width, 3]`.

The digest of the code beside the libraries is in the key, so a changed function makes other features. A function draws
from the generator that it is given, which is keyed by the view's name, and from nothing else: so its views are the same
in every process.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType

import numpy as np

from hamcache.data.errors import CodeError, CodeNotFoundError
from hamcache.data.named_code import named_code
from hamcache.data.source_digest import SourceTeller
from hamcache.extract.augmentations import OwnFunction
from hamcache.extract.errors import AugmentationError

Function = Callable[[np.ndarray, np.random.Generator], np.ndarray]
SIZES = ((48, 64), (40, 40))
"""Heights and widths of the images that a function is tried on."""
_loading = threading.Lock()


def digested(function: OwnFunction) -> OwnFunction:
    """A function with the digest of its code.

    Raises:
        AugmentationError: there is no such function, it can't be named exactly, or it gives no image.
    """
    return function.model_copy(update={"code": _tried(function.call, function.place)[1]})


def applied(function: OwnFunction, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image that a function makes of one, uint8 `[height, width, 3]`, which is left as it was.

    Raises:
        AugmentationError: its code is not the one that its key names, it fails, or it gives no image of that size.
    """
    with _loading:
        code = _verified(function.call, function.place, function.code)
    return _result(code, function.call, image, rng)


@lru_cache(maxsize=64)
def _verified(call: str, place: str | None, code: str | None) -> Function:
    found, digest = _tried(call, place)
    if code != digest:
        raise AugmentationError(
            f"Expected the code of {call} that the features are named by ({str(code)[:10]}), got another "
            f"({digest[:10]}) in {place or call}. Bring the same file, or extract anew."
        )
    return found


def _tried(call: str, place: str | None) -> tuple[Function, str]:
    """A function and the digest of its code, tried on small images before it is used on any."""
    found = _found(call, place)
    teller = SourceTeller(found.__module__.partition(".")[0])
    try:
        lines = [teller.note(found), *teller.sources()]
    except CodeError as error:
        raise AugmentationError(f"The step {call} can't be used: {error}") from None
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    for number, (height, width) in enumerate(SIZES):
        image = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        first, again = (_result(found, call, image, np.random.default_rng(1)) for _ in range(2))
        if not np.array_equal(first, again):
            raise AugmentationError(
                f"Expected {call} to draw from the generator that it is given, got other results when it was called "
                "again with the same one. Take every random number from `rng`."
            )
    return found, digest


def _found(call: str, place: str | None) -> FunctionType:
    where, _, attribute = call.rpartition(":")
    try:
        found: FunctionType = named_code(
            f"{place or where}:{attribute}", (FunctionType,), "a function of (image, rng) called"
        )
    except CodeNotFoundError as error:
        raise AugmentationError(
            f"The step {call} can't be used: {error} Bring the file, or say --recipes FILE with the recipe that it "
            "belongs to."
        ) from error
    return found


def _result(function: Function, call: str, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    try:
        made = function(image.copy(), rng)
    except Exception as error:
        raise AugmentationError(
            f"Expected {call}(image, rng) to return an image, got {type(error).__name__}: {error} (the image was uint8 "
            f"{image.shape})."
        ) from error
    if not isinstance(made, np.ndarray) or made.dtype != np.uint8 or made.shape != image.shape:
        got = f"{made.dtype} {made.shape}" if isinstance(made, np.ndarray) else f"a {type(made).__name__}"
        raise AugmentationError(
            f"Expected {call}(image, rng) to return a NumPy array uint8 {image.shape}, as the image is, got {got}. Do "
            "`return made.astype(numpy.uint8)`, in the size that it came in."
        )
    return np.ascontiguousarray(made)
