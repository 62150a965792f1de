"""One vector an image from all chosen backbones, such that a mirrored copy gets the vector of its original.

Each backbone's features are standardised per column, so that what all images share does not count, and scaled to length
1. The mean over the views of a symmetry group is the same for an image and its copy under that group: one comparison
finds what the largest of all comparisons of views would, and copies lie closer than by any one view.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.errors import MissingFeaturesError, extract_command
from hamcache.cache.keys import DEFAULT_KIND, DEFAULT_STORAGE
from hamcache.cache.store import FeatureStore
from hamcache.cache.survey import Survey
from hamcache.extract.augmentations import Augmentation
from hamcache.extract.names import full_name
from hamcache.pipeline.experiment.feature_blocks import read_checked
from hamcache.pipeline.inspect.neighbours import unit_rows

_GROUPS = (8, 4, 2, 1)
"""Numbers of first views that are a group of symmetries: all eight, the four mirrorings, left-right, none."""
REDUCED = 256
"""Principal components that neighbours are looked for in, where all columns would take too long."""
_FULL_WORK = 2e12  # multiplications; about a minute on two cores
_SAMPLE = 20_000  # rows that the components are computed from


@dataclass(frozen=True)
class Source:
    """A store and how many of its views are used."""

    store: FeatureStore
    views: int

    @property
    def words(self) -> str:
        """`backbone (augmentation x views)`."""
        return f"{self.store.key.features_name} ({self.store.key.augmentation_name} x{self.views})"


def choose_sources(
    catalogue: Catalogue,
    dataset: str,
    image_ids: Sequence[str],
    backbones: Sequence[str] = (),
    source: str | None = None,
) -> list[Source]:
    """For each backbone the store with the most symmetries of the plain images; float32 before bfloat16.

    Args:
        catalogue: Where the stores are.
        dataset: Name of the data set.
        image_ids: Images that a store must have, all of them.
        backbones: Names, as `hamcache extract` was given them; none: every one with features of the usual kind.
        source: What the user gave as `--dataset`, for the advice in the error.

    Raises:
        MissingFeaturesError: Of a backbone (or of any) there are no plain features of all images; names the command.
    """
    stores = [store for store in catalogue.stores(dataset) if Augmentation.of(store.key).starts_plain]
    if backbones:
        names = [full_name(name) for name in backbones]
    else:
        names = list(dict.fromkeys(s.key.features_name for s in stores if s.key.kind == DEFAULT_KIND))
    chosen = {}
    for name in names:
        for views, store in _ranked(store for store in stores if store.key.features_name == name):
            with Survey(store) as survey:
                complete = all(set(image_ids) <= survey.made_from(view).keys() for view in range(views))
            if complete:
                chosen[name] = Source(store, views)
                break
    absent = [name for name in names if name not in chosen] if backbones else []
    if absent or not chosen:
        command = extract_command(
            source or dataset, ",".join(absent or names) or "tf_efficientnet_lite0", "dihedral", 4
        )
        raise MissingFeaturesError(
            f"The cache has no features of the plain images of data set {dataset!r}, all {len(image_ids)} of them"
            f"{f', by {chr(44).join(absent)}' if absent else ''}. Make them with `{command}`."
        )
    return list(chosen.values())


def _ranked(stores: Iterable[FeatureStore]) -> list[tuple[int, FeatureStore]]:
    """Stores with numbers of views that are a group of symmetries, in the order in which they are to be tried."""
    most = {store: min(store.n_views, Augmentation.of(store.key).distinct_views) for store in stores}
    usable = [(views, store) for store in most for views in _GROUPS if views <= most[store]]
    rough = {store: (store.key.precision != "fp32", store.key.storage != DEFAULT_STORAGE) for store in most}
    return sorted(usable, key=lambda pair: (-pair[0], rough[pair[1]], pair[1].key.digest))


def describe(
    sources: Sequence[Source],
    image_ids: Sequence[str],
    digests: Mapping[str, str],
    on_progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Rows of length 1, float32 `[images, sum of widths]`.

    Args:
        sources: The stores.
        image_ids: The images.
        digests: sha256 of each image's file as it is now.
        on_progress: Called with the number of views read.

    Raises:
        StaleFeaturesError: An image's file has changed since its features were made.
    """
    rows = np.zeros((len(image_ids), sum(source.store.dim for source in sources)), np.float32)
    start = done = 0
    for source in sources:
        part = rows[:, start : start + source.store.dim]
        for view in range(source.views):
            features = read_checked(source.store, image_ids, [view], digests)[:, 0]
            if view == 0:
                mean, deviation = features.mean(axis=0), features.std(axis=0)
                scale = np.where(deviation > 1e-6 * np.abs(mean) + 1e-12, 1 / np.maximum(deviation, 1e-12), 0)
            part += unit_rows((features - mean) * scale.astype(np.float32))
            done += 1
            if on_progress:
                on_progress(done)
        part[:] = unit_rows(part)
        start += source.store.dim
    rows /= np.float32(np.sqrt(len(sources)))
    return rows


def searchable(rows: np.ndarray, seed: int) -> np.ndarray:
    """The rows that neighbours are looked for in: as they are, or `REDUCED` principal components of them.

    The components are computed from a sample; what they find is to be compared again in full width.
    """
    n, dim = rows.shape
    if dim <= REDUCED or n * n * dim <= _FULL_WORK:
        return rows
    sample = rows[np.sort(np.random.default_rng(seed).permutation(n)[:_SAMPLE])]
    _, vectors = np.linalg.eigh(sample.T @ sample)
    return rows @ vectors[:, -REDUCED:]
