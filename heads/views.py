"""View policies: the cached views of an image that a head is trained on and predicts from, by indexing alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from hamcache.data.large_arrays import large_array
from hamcache.heads.errors import BlockError, ViewPolicyError


class ViewPolicy(BaseModel):
    """The views that are used; a part of an experiment's configuration.

    - `train`: `plain` (the image without augmentation), `all` (every view is a row of weight 1/views) or
      `random` (another view per image and epoch; heads without epochs take `all`, whose loss is the
      expectation of it).
    - `predict`: `plain`, `first` (view 0 of each block's own augmentation) or `mean` (probabilities
      averaged over all views).
    - `pairing`: which views of a hybrid's blocks meet in one training row. `shared`: the same view index, so
      that all backbones look at the same pixels; `independent`: another view per block.

    Raises:
        pydantic.ValidationError: an unknown word.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: Literal["plain", "all", "random"] = Field(
        default="all", description="plain image only, all views as rows, or another view per image and epoch"
    )
    predict: Literal["plain", "first", "mean"] = Field(
        default="mean", description="plain image, the store's first view, or probabilities averaged over the views"
    )
    pairing: Literal["shared", "independent"] = Field(
        default="shared", description="whether all blocks show the same view of an image, or each another one"
    )

    @property
    def needs_plain(self) -> bool:
        """True where the plain images' features must be given beside the views."""
        return "plain" in (self.train, self.predict)


ALL_VIEWS = ViewPolicy()
"""The policy of an experiment that says nothing of views."""


@dataclass(frozen=True, eq=False)
class BlockArrays:
    """One block's features for the images of one part.

    `views` is float32 [n, v, dim]; `plain` is float32 [n, 1, dim], the features of the plain images, and may
    be None where the policy does not need them.
    """

    views: NDArray[np.float32]
    plain: NDArray[np.float32] | None = None


def training_views(blocks: Sequence[BlockArrays], policy: ViewPolicy, seed: int) -> NDArray[np.float32]:
    """Join the blocks of the training images: float32 [n, v, sum of dims], what `head.fit` takes.

    With `shared` pairing all blocks must have the same number of views (or one, which is repeated). With
    `independent` pairing row k of an image holds another view of each block, paired by a seeded permutation
    per image; every view appears once per block, and blocks with fewer views go round again.

    Raises:
        BlockError: no block, or blocks of different images.
        ViewPolicyError: plain features are asked for and not given, or view counts that cannot be shared.
    """
    arrays = _chosen(blocks, "plain" if policy.train == "plain" else "views")
    if policy.pairing == "independent":
        arrays = _paired_independently(arrays, np.random.default_rng(seed))
    return _joined(arrays)


def prediction_views(blocks: Sequence[BlockArrays], policy: ViewPolicy) -> NDArray[np.float32]:
    """Join the blocks of images to predict: float32 [n, v, sum of dims], for `head.predict_proba` to average.

    Nothing is drawn here: blocks always meet in the same view index, and blocks with fewer views go round
    again where the pairing is `independent`. Raises like `training_views`.
    """
    arrays = _chosen(blocks, "plain" if policy.predict == "plain" else "views")
    if policy.predict == "first":
        arrays = [array[:, :1] for array in arrays]
    if policy.pairing == "independent":
        arrays = [_cycled(array, _most_views(arrays)) for array in arrays]
    return _joined(arrays)


def _chosen(blocks: Sequence[BlockArrays], which: str) -> list[NDArray[np.float32]]:
    if not blocks:
        raise BlockError("Expected at least one block, got an empty hybrid. Name one backbone or more.")
    arrays = [getattr(block, which) for block in blocks]
    if any(array is None for array in arrays):
        raise ViewPolicyError(
            "Expected the plain images' features for the view policy 'plain', got only augmented views. "
            "Extract the augmentation 'none' as well, or choose another policy."
        )
    if len({len(array) for array in arrays}) > 1:
        raise BlockError(
            f"Expected blocks of the same images, got {[len(array) for array in arrays]} images. "
            "Read every block with the same list of image ids."
        )
    return arrays


def _most_views(arrays: Sequence[NDArray[np.float32]]) -> int:
    return max(array.shape[1] for array in arrays)


def _cycled(array: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    views = array.shape[1]
    return array if views == count else array[:, np.arange(count) % views]


def _paired_independently(arrays: Sequence[NDArray[np.float32]], rng: np.random.Generator) -> list[NDArray[np.float32]]:
    """Row k holds view order[k] of the first block, order[k + 1] of the second, and so on."""
    count = _most_views(arrays)
    order = rng.permuted(np.tile(np.arange(count), (len(arrays[0]), 1)), axis=1)
    return [
        np.take_along_axis(array, (np.roll(order, -shift, axis=1) % array.shape[1])[:, :, None], axis=1)
        for shift, array in enumerate(arrays)
    ]


def _joined(arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    counts = [array.shape[1] for array in arrays]
    count = max(counts)
    if any(views not in (1, count) for views in counts):
        raise ViewPolicyError(
            f"Expected the same number of views in every block for shared pairing, got {counts}. "
            "Extract as many of each, or choose pairing 'independent'."
        )
    if len(arrays) == 1:
        return np.asarray(arrays[0], dtype=np.float32)
    same_count = [np.broadcast_to(array, (len(array), count, array.shape[2])) for array in arrays]
    joined = large_array((len(arrays[0]), count, sum(array.shape[2] for array in arrays)))
    return np.concatenate(same_count, axis=2, out=joined)
