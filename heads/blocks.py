"""Blocks: the columns of a hybrid's feature matrix that come from one backbone, each with its transform."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
from sklearn.utils.validation import validate_data

from hamcache.data.large_arrays import large_array
from hamcache.heads.errors import BlockError, FeatureShapeError, UnknownNameError
from hamcache.heads.table_columns import table_columns

ROWS = 1 << 17
"""Rows that are transformed at a time: what is made on the way must fit into memory, the rows themselves need not."""

TRANSFORMS = ("standardize", "l2", "power", "pca:<k>", "none", "drop")


@dataclass(frozen=True)
class Block:
    """One backbone's features inside a hybrid: a name, a width and a transform of its columns.

    `transform` is one of

    - `standardize`: mean 0 and variance 1 per column (the default);
    - `l2`: every row scaled to length 1 (directions only), then standardised;
    - `power`: signed square root, which tames long tails (power normalisation, Perronnin et al., ECCV 2010),
      then standardised;
    - `pca:<k>`: standardised, then the first k principal components, all divided by one number that makes
      their mean variance 1;
    - `none`: as they are;
    - `drop`: the head does not see this block;
    - what `heads.table_columns.transform_of` names: columns of a table.

    Raises:
        UnknownNameError: an unknown transform.
        BlockError: k of `pca:<k>` is not a number from 1 to `dim`.
    """

    name: str
    dim: int
    transform: str = "standardize"

    def __post_init__(self) -> None:
        pca_components(self.transform, self.dim)


def pca_components(transform: str, dim: int) -> int | None:
    """k of `pca:<k>`, None for the other transforms; raises like `Block`."""
    if not transform.startswith("pca:"):
        if transform not in TRANSFORMS and table_columns(transform) is None:
            raise UnknownNameError(transform, TRANSFORMS, "block transform")
        return None
    digits = transform.removeprefix("pca:")
    if not digits.isdecimal() or not 1 <= int(digits) <= dim:
        raise BlockError(f"Expected pca:<k> with k from 1 to {dim} (the block's width), got {transform!r}.")
    return int(digits)


class BlockTransformer(TransformerMixin, BaseEstimator):
    """Each block's columns transformed on their own, then concatenated; fit on training rows only.

    `dims` are the blocks' widths in column order (None: one block of all), `transforms` what is done to each (see
    `Block`); rows go in as float32 [n, sum(dims)] and come out as float32 [n, sum(output_dims_)].
    """

    def __init__(
        self, dims: tuple[int, ...] | None = None, transforms: tuple[str, ...] = ("standardize",), seed: int = 0
    ):
        self.dims = dims
        self.transforms = transforms
        self.seed = seed

    def fit(self, X: NDArray[np.float32], y: Any = None) -> Self:
        """Learn each block's means, scales or components from the rows of `X`."""
        if all(transform == "drop" for transform in self.transforms):
            raise BlockError("Expected at least one block, got an empty hybrid. Name one backbone or more.")
        if hasattr(X, "columns"):
            validate_data(self, X, skip_check_array=True)  # remembers the names of columns
        X = np.asarray(X, dtype=np.float32)
        self.n_features_in_ = X.shape[1]
        dims = self._dims
        if X.shape[1] != sum(dims):
            raise FeatureShapeError(f"Expected {sum(dims)} feature columns (blocks of {dims}), got {X.shape[1]}.")
        self.steps_ = [
            None if transform == "drop" else _fitted(self._step(transform, dim), X[:, columns])
            for transform, dim, columns in zip(self.transforms, dims, _columns(dims), strict=True)
        ]
        self.output_dims_ = tuple(
            0 if step is None else step.transform(X[:1, columns]).shape[1]
            for step, columns in zip(self.steps_, _columns(dims), strict=True)
        )
        return self

    def transform(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows as the head sees them, written block by block into one new float32 array."""
        X = np.asarray(X, dtype=np.float32)
        out = large_array((len(X), sum(self.output_dims_)))
        slices = zip(self.steps_, _columns(self._dims), _columns(self.output_dims_), strict=True)
        for step, source, target in slices:
            if step is None:
                continue
            for rows in _slices(len(X)):
                out[rows, target] = step.transform(X[rows, source])
        return out

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the columns that come out: `block0_0`, `block0_1`, ..."""
        blocks = [f"block{block}_{k}" for block, dim in enumerate(self.output_dims_) for k in range(dim)]
        return np.asarray(blocks, dtype=object)

    @property
    def _dims(self) -> tuple[int, ...]:
        return (self.n_features_in_,) if self.dims is None else self.dims

    def _step(self, transform: str, dim: int) -> Any:
        if (columns := table_columns(transform)) is not None:
            return columns
        components = pca_components(transform, dim)
        if components:
            return ScaledPCA(components, self.seed)
        if transform == "l2":
            return make_pipeline(Normalizer(), StandardScaler())
        if transform == "power":
            return make_pipeline(FunctionTransformer(signed_root), StandardScaler())
        return StandardScaler() if transform == "standardize" else FunctionTransformer()


def _slices(n_rows: int) -> list[slice]:
    return [slice(start, start + ROWS) for start in range(0, n_rows, ROWS)]


def _fitted(step: Any, X: NDArray[np.float32]) -> Any:
    """A step with what it learns from rows; of at most `ROWS` that is, to the bit, what its `fit` learns."""
    scaler = step[-1] if isinstance(step, Pipeline) else step
    if not isinstance(scaler, StandardScaler):
        return step.fit(X)
    for rows in _slices(len(X)):
        scaler.partial_fit(X[rows] if scaler is step else step[0].transform(X[rows]))
    return step


def _columns(dims: Sequence[int]) -> list[slice]:
    ends = np.cumsum(dims).tolist()
    return [slice(end - dim, end) for dim, end in zip(dims, ends, strict=True)]


def signed_root(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Square root of the size of each number, with its sign."""
    return np.sign(X) * np.sqrt(np.abs(X))


class ScaledPCA(TransformerMixin, BaseEstimator):
    """Standardised columns, then principal components divided by one number: their mean variance is 1.

    Penalties and distances of the heads behind it then mean about the same as on standardised columns, and
    the components keep their proportions (no whitening). With fewer rows than k, k is cut to the rows.
    """

    def __init__(self, n_components: int, seed: int = 0):
        self.n_components = n_components
        self.seed = seed

    def fit(self, X: NDArray[np.float32], y: Any = None) -> Self:
        """Learn the columns' scales and the components."""
        self.scaler_ = StandardScaler().fit(X)
        self.pca_ = PCA(min(self.n_components, *X.shape), random_state=self.seed)
        self.pca_.fit(self.scaler_.transform(X))
        self.scale_ = float(np.sqrt(self.pca_.explained_variance_.mean())) or 1.0
        return self

    def transform(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows [n, k]."""
        return self.pca_.transform(self.scaler_.transform(X)) / self.scale_
