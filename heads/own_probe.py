"""A small trial of a head of one's own before anything is trained: can it be used, kept, and read back?"""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from hamcache.heads.base import BaseHead
from hamcache.heads.blocks import Block
from hamcache.heads.errors import OwnHeadError
from hamcache.heads.persist import loaded_bytes, own_bytes
from hamcache.heads.trusted_types import file_modules
from hamcache.heads.zoo import build_head

TRIALS = ((12, 24), (60, 1024))
"""Images a class and columns at most, of the first trial, and of one more where the first can't be fitted."""


def require_kept(
    name: str, params: Mapping[str, Any], classes: Collection[str], dim: int, trust: Collection[str] = ()
) -> str | None:
    """Fit a head of one's own on drawn features, save it and load it again.

    Args:
        name: of the head.
        params: its parameters.
        classes: names of the classes.
        dim: width of the features.
        trust: types that it may keep.

    Returns:
        Why it could not be fitted on drawn features, so that nothing is known yet; None where all is well.

    Raises:
        OwnHeadError: it can't be kept without pickle, holds types that are not trusted, or predicts otherwise when it
            was read again.
    """
    return _tried(name, json.dumps(params, sort_keys=True), tuple(classes), dim, tuple(trust))


@lru_cache(maxsize=256)
def _tried(name: str, params: str, classes: tuple[str, ...], dim: int, trust: tuple[str, ...]) -> str | None:
    reason = None
    for images, columns in TRIALS:
        width = min(columns, dim)
        codes = np.arange(images * len(classes)) % len(classes)
        rng = np.random.default_rng(0)
        means = rng.normal(size=(len(classes), width))
        X = (means[codes] + rng.normal(size=(len(codes), width))).astype(np.float32)
        head = build_head(name, json.loads(params), blocks=[Block("drawn", width)], classes=classes)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                head.fit(X, codes, validation=(X, codes))
                before = head.predict_proba(X)
        except OwnHeadError:
            raise
        except Exception as error:  # too few drawn images for what it does; that is not its fault
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            continue
        _require_same(name, head, X, before, trust)
        return None
    return reason


def _require_same(name: str, head: BaseHead, X: np.ndarray, before: np.ndarray, trust: tuple[str, ...]) -> None:
    content, trusted = own_bytes(head, [name], trust)
    try:
        after = loaded_bytes(content, file_modules([name]), trusted).predict_proba(X)
    except Exception as error:  # whatever a class of others makes the reader stumble over
        raise OwnHeadError(
            f"Expected {name} to be kept without pickle, but it can't be read again ({type(error).__name__}: {error}). "
            "Let it hold arrays, numbers, text, and estimators of these."
        ) from error
    if not np.array_equal(before, after):
        raise OwnHeadError(
            f"Expected {name} to predict the same when it was saved and read again, got other probabilities. Keep all "
            "that it learns in attributes that end in `_`."
        )
