"""One backbone's cached features in memory: read once, handed out by image id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hamcache.cache.store import FeatureStore
from hamcache.data.digests import MISSING
from hamcache.data.large_arrays import large_array, rows_of
from hamcache.heads.views import BlockArrays
from hamcache.pipeline.config.features_config import BlockConfig
from hamcache.pipeline.errors import FeaturesError


@dataclass(eq=False)
class FeatureBlock:
    """One backbone's features: its stores, and what has been read of them.

    Attributes:
        config: What was asked for.
        store: The store of the block's augmentation; None where the policy uses the plain image only.
        plain_store: The store whose view 0 is the plain image; None where the policy does not need it.
        n_views: Views that are read: those asked for, less those that would repeat (a symmetry has 4 or 8).
    """

    config: BlockConfig
    store: FeatureStore | None
    plain_store: FeatureStore | None
    n_views: int
    _row_of: dict[str, int] = field(default_factory=dict, repr=False)
    _views: np.ndarray | None = field(default=None, repr=False)
    _plain: np.ndarray | None = field(default=None, repr=False)

    @property
    def dim(self) -> int:
        """Length of one feature vector."""
        return self._some_store.dim

    @property
    def transform(self) -> str:
        """The name of its transform, see `heads.blocks.Block`."""
        return self.config.transform

    @property
    def stores(self) -> list[FeatureStore]:
        """The stores that are read."""
        return list({store.folder: store for store in (self.store, self.plain_store) if store is not None}.values())

    def load(self, image_ids: Sequence[str], digests: Mapping[str, str]) -> None:
        """Read these images into memory, unless they are there.

        Raises:
            MissingFeaturesError: The cache lacks some; names the command that makes them.
            StaleFeaturesError: An image's file has changed since its features were made.
        """
        if all(image_id in self._row_of for image_id in image_ids):
            return
        ids = sorted({*self._row_of, *image_ids})
        self._views = None if self.store is None else read_checked(self.store, ids, range(self.n_views), digests)
        if self.plain_store is not None:
            if self._views is not None and self.plain_store is self.store:
                self._plain = self._views[:, :1]
            else:
                self._plain = read_checked(self.plain_store, ids, [0], digests)
        self._row_of = {image_id: row for row, image_id in enumerate(ids)}

    def arrays(self, image_ids: Sequence[str]) -> BlockArrays:
        """The rows of these images, in this order, as `heads.views` joins them.

        Raises:
            FeaturesError: An image was not loaded, or its features are not finite.
        """
        absent = [image_id for image_id in image_ids if image_id not in self._row_of]
        if absent:
            raise FeaturesError(
                f"block {self.config.backbone}: expected features of {len(image_ids)} images, but {len(absent)} of "
                f"them ({', '.join(absent[:3])}) are not among those loaded: are these features of another table?"
            )
        rows = np.array([self._row_of[image_id] for image_id in image_ids], dtype=np.int64)
        plain = None if self._plain is None else self._finite(rows_of(self._plain, rows), image_ids)
        if self._views is None:
            assert plain is not None
            return BlockArrays(views=plain, plain=plain)
        return BlockArrays(views=self._finite(rows_of(self._views, rows), image_ids), plain=plain)

    def _finite(self, features: np.ndarray, image_ids: Sequence[str]) -> np.ndarray:
        if not np.isfinite(features.sum(dtype=np.float64)):  # one pass, without a mask as long as a quarter of them
            bad = np.flatnonzero(~np.isfinite(features).all(axis=(1, 2)))
            raise FeaturesError(
                f"block {self.config.backbone}: expected finite features, got NaN or infinity for {len(bad)} images "
                f"({', '.join(image_ids[n] for n in bad[:3])}); check the cache with `hamcache cache verify`"
            )
        return features

    @property
    def _some_store(self) -> FeatureStore:
        store = self.store or self.plain_store
        assert store is not None
        return store


def read_checked(
    store: FeatureStore, ids: Sequence[str], views: Sequence[int], digests: Mapping[str, str]
) -> np.ndarray:
    """Features of these images, made from the bytes their files have now; a file that is gone is not compared."""
    gone = [image_id for image_id in ids if digests.get(image_id, MISSING) == MISSING]
    if not gone:
        return store.read(ids, list(views), digests)
    kept = [image_id for image_id in ids if digests.get(image_id, MISSING) != MISSING]
    features = large_array((len(ids), len(views), store.dim))
    row_of = {image_id: row for row, image_id in enumerate(ids)}
    for asked, known in ((kept, digests), (gone, None)):
        if asked:
            features[[row_of[image_id] for image_id in asked]] = store.read(asked, list(views), known)
    return features
