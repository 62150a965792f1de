"""The transform of a metadata block: numbers standardised, words one column each, learned from training rows only."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from hamcache.data.metadata import ABSENT, NUMBER, WORD

PREFIX = "metadata:"
"""A block's transform is this, a letter a column (see `data.metadata.Metadata.kinds`), and its weight."""


def transform_of(kinds: str, weight: float) -> str:
    """The name of the transform of some columns, as `heads.blocks.Block` takes it.

    >>> transform_of("nww", 2.0)
    'metadata:nww:2.0'
    """
    return f"{PREFIX}{kinds}:{weight!r}"


def table_columns(transform: str) -> "TableColumns | None":
    """The transform of this name; None for the name of another one, or of none."""
    prefix, _, rest = transform.partition(":")
    kinds, _, weight = rest.partition(":")
    if f"{prefix}:" != PREFIX or not kinds or set(kinds) - {NUMBER, WORD}:
        return None
    return TableColumns(kinds, float(weight))


class TableColumns(TransformerMixin, BaseEstimator):
    """Columns of a table as features, all times one weight.

    A number is standardised, an absent one becomes the mean; where training rows lack some, a column says which. A word
    becomes one column for each word of the training rows, "absent" among them: a word that they don't have is 0
    everywhere.

    `kinds` has a letter a column, and `weight` makes them count more or less beside features, which are many.
    """

    def __init__(self, kinds: str, weight: float = 1.0):
        self.kinds = kinds
        self.weight = weight

    def fit(self, X: NDArray[np.float32], y: Any = None) -> Self:
        """Learn means, scales and words."""
        self.learned_ = []
        for kind, values in self._columns(X):
            if kind == NUMBER:
                known = values[values[:, 1] > 0, 0].astype(np.float64)
                mean, scale = (float(known.mean()), float(known.std())) if len(known) else (0.0, 1.0)
                self.learned_.append(np.array([mean, scale or 1.0, len(known) < len(values)]))
            else:
                codes = np.unique(values[:, 0]).astype(np.float64)
                self.learned_.append(codes[codes >= ABSENT])
        return self

    def transform(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows float32 [n, columns]."""
        parts = []
        for (kind, values), learned in zip(self._columns(X), self.learned_, strict=True):
            if kind == NUMBER:
                mean, scale, some_absent = learned
                there = values[:, 1] > 0
                parts.append(np.where(there, (values[:, 0] - mean) / scale, 0)[:, None])
                parts += [~there[:, None]] if some_absent else []
            else:
                parts.append(values == learned)
        return np.concatenate(parts, axis=1).astype(np.float32) * np.float32(self.weight)

    def _columns(self, X: NDArray[np.float32]) -> list[tuple[str, NDArray[np.float32]]]:
        widths = [2 if kind == NUMBER else 1 for kind in self.kinds]
        return list(zip(self.kinds, np.split(X, np.cumsum(widths)[:-1], axis=1), strict=True))
