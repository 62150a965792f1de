import hashlib
from dataclasses import replace

import numpy as np
import pytest

from hamcache.cache.description import CHUNK_ROWS
from hamcache.cache.keys import FeatureKey
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from hamcache.cache.survey import Survey

KEY = FeatureKey("toy", "net", "ab" * 32, {"size": [8, 8]}, {"name": "none"}, 0, "fp32")
DIM = 5


def digest_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def vectors_of(image_ids, view: int) -> np.ndarray:
    """Features that say which image and view they belong to."""
    rows = [[int(digest_of(image_id)[:6], 16), view, 1, 2, 3] for image_id in image_ids]
    return np.array(rows, dtype=np.float32)


def fill(store: FeatureStore, views=(0,), chunks=None, digests=None) -> None:
    for chunk in range(store.n_chunks) if chunks is None else chunks:
        ids = store.chunk_ids(chunk)
        found = [(digests or {}).get(i, digest_of(i)) for i in ids]
        for view in views:
            store.write_chunk(store.place(chunk, view), range(len(ids)), vectors_of(ids, view), found)
    store.set_views(max(store.n_views, *(view + 1 for view in views)))


def digests_in(store: FeatureStore, chunk: int, view: int) -> list[str]:
    """The digest behind each row of a chunk that a survey finds intact, "" for none."""
    digests = Survey(store).digests(chunk, view)
    if digests is None:
        return [""] * len(store.chunk_ids(chunk))
    return [digest.tobytes().hex() if digest.any() else "" for digest in digests]


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(tmp_path / "features")


@pytest.fixture
def ids() -> list[str]:
    return [f"img_{n:04d}" for n in range(150)]  # three chunks, the last one not full


@pytest.fixture
def make_store(root, ids):
    def make(views: int = 0, image_ids=None, chunk_rows=CHUNK_ROWS, **fields) -> FeatureStore:
        key = replace(KEY, **fields)
        store = FeatureStore.prepare(root, key, DIM, image_ids or ids, {"dataset": "some/folder"}, chunk_rows)
        store.set_views(views)
        return store

    return make
