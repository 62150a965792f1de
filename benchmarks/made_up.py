"""Feature stores of random numbers, and a data set of small files behind them: caches without an extraction."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np

from hamcache.cache.keys import FeatureKey
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from hamcache.extract.augmentations import get_augmentation

CLASSES = "abcdefg"
SHARES = (0.67, 0.11, 0.11, 0.05, 0.03, 0.015, 0.015)
"""Of the classes in HAM10000, roughly."""


@contextmanager
def _no_waiting_for_the_disk() -> Iterator[None]:
    with mock.patch("os.fsync", lambda descriptor: None):
        yield


def write_dataset(folder: Path, images: int) -> tuple[Path, list[str], list[str], np.ndarray]:
    """A CSV and its "images", of a few bytes each; with the ids, the digests, and each image's class number."""
    (folder / "images").mkdir(parents=True)
    classes = np.random.default_rng(0).choice(len(CLASSES), images, p=SHARES)
    rows, ids, digests = ["image_id,path,label,group"], [], []
    for number, code in enumerate(classes):
        path = folder / "images" / f"{number:05d}.jpg"
        path.write_text(str(number))
        ids.append(f"i{number:05d}")
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
        rows.append(f"i{number:05d},{path},{CLASSES[code]},g{number}")
    (folder / "made_up.csv").write_text("\n".join(rows))
    return folder / "made_up.csv", ids, digests, classes


def write_store(
    root: Root,
    ids: Sequence[str],
    digests: Sequence[str],
    shape: int | tuple[int, int],
    *,
    classes: np.ndarray | None = None,
    backbone: str = "net",
    augmentation: str = "none",
) -> FeatureStore:
    """A full store of normal random numbers; with `classes` these are told apart a little.

    Args:
        root: features root.
        ids, digests: of the images.
        shape: numbers of a vector, and views where there are several.
        classes: class number of each image.
        backbone, augmentation: names.
    """
    dim, views = shape if isinstance(shape, tuple) else (shape, 1)
    key = FeatureKey("made_up", backbone, "0" * 64, {"size": 8}, get_augmentation(augmentation).to_dict(), 0, "fp32")
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(len(CLASSES), dim)) / 8
    with _no_waiting_for_the_disk():
        store = FeatureStore.prepare(root, key, dim, ids, {})
        for chunk in range(store.n_chunks):
            rows = slice(chunk * store.chunk_rows, (chunk + 1) * store.chunk_rows)
            for view in range(views):
                features = rng.standard_normal((len(ids[rows]), dim), dtype=np.float32)
                if classes is not None:
                    features += centres[classes[rows]].astype(np.float32)
                store.write_chunk(store.place(chunk, view), range(len(features)), features, digests[rows])
        store.set_views(views)
    return store


def rows_of(count: int) -> tuple[list[str], list[str]]:
    """Image ids and file digests of images that are not there."""
    return [f"i{number:08d}" for number in range(count)], [f"{number:064x}" for number in range(1, count + 1)]
