"""Stores of larger chunks and of shorter numbers: what changes with them, and what does not."""

import hashlib
import shutil

import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.description import rows_for
from hamcache.cache.errors import StorageError
from hamcache.cache.plan import make_plan
from hamcache.cache.sharing.archive import Archive, write_archive
from hamcache.cache.sharing.importing import import_stores
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from hamcache.cache.verify import verify
from tests.cache.conftest import KEY, digest_of, fill


def small(ids) -> np.ndarray:
    return np.linspace(-3, 3, len(ids) * 5, dtype=np.float32).reshape(-1, 5)


def fill_small(store, ids) -> None:
    for chunk in range(store.n_chunks):
        of_chunk = store.chunk_ids(chunk)
        rows = [ids.index(i) for i in of_chunk]
        found = [digest_of(i) for i in of_chunk]
        store.write_chunk(store.place(chunk, 0), range(len(rows)), small(ids)[rows], found)
    store.set_views(1)


def test_a_key_that_says_nothing_of_storage_is_the_key_of_before(make_store) -> None:
    assert "storage" not in KEY.to_dict() and KEY.digest == hashlib.sha256(KEY.canonical_json().encode()).hexdigest()
    assert make_store(storage="float16").key.to_dict()["storage"] == "float16"


def test_float16_is_read_back_as_float32_and_by_zarr_and_takes_half(make_store, ids) -> None:
    short, exact = make_store(storage="float16"), make_store()
    for store in (short, exact):
        fill_small(store, ids)
    read = short.read(ids)[:, 0]
    assert read.dtype == np.float32 and np.array_equal(read, small(ids).astype(np.float16))
    assert np.abs(read / exact.read(ids)[:, 0] - 1).max() < 2**-11 and list(verify(short)) == []
    array = zarr.open_group(LocalStore(short.root.join(short.folder)), mode="r")["features"]
    assert array.dtype == np.float16 and np.array_equal(array[:, 0].astype(np.float32), read)


def test_a_vector_that_is_written_beside_others_leaves_their_bits(make_store, ids) -> None:
    store = make_store(storage="float16")
    fill_small(store, ids)
    before = store.read(ids)
    store.write_chunk(store.place(0, 0), [3], np.ones((1, 5), np.float32), [digest_of("new")])
    after = store.read(ids)
    assert (after[3] == 1).all() and np.array_equal(np.delete(after, 3, axis=0), np.delete(before, 3, axis=0))


def test_a_number_that_float16_does_not_reach_is_refused(make_store) -> None:
    store = make_store(storage="float16")
    with pytest.raises(StorageError, match=r"between -65,504 and 65,504 for storage float16, got 70,000.*float32"):
        store.write_chunk(store.place(0, 0), [0], np.full((1, 5), 7e4, np.float32), [digest_of("large")])
    assert make_plan([(store, 1)], {"img_0000": digest_of("img_0000")}).n_vectors == 1


def test_chunks_have_the_size_that_was_asked_for_in_whole_batches() -> None:
    assert rows_for(16 * 2**20, 1280 * 4) == 3264 and rows_for(1, 1280 * 4) == 64
    assert rows_for(0.5 * 2**20, 512 * 2) == 512


@pytest.mark.parametrize("name", ["zarr.json", "features/zarr.json", "rows.json"])
def test_larger_chunks_are_found_again_without_their_description(make_store, root, ids, name) -> None:
    store = make_store(chunk_rows=128)
    fill(store)
    assert store.n_chunks == 2 and len([path for path in root.files(store.folder) if "/c/" in path]) == 2
    before, digests = store.read(ids), {i: digest_of(i) for i in ids}
    root.remove(store.folder, name)
    again = make_store()
    assert again.chunk_rows == 128 and np.array_equal(again.read(ids, digests=digests), before)
    assert make_plan([(again, 1)], digests).tasks == ()


def test_a_new_store_takes_over_rows_and_chunks_of_the_data_sets_others(make_store, root, ids) -> None:
    make_store(chunk_rows=128)
    assert Catalogue(root).layout("toy", ids) == (ids, 128)


def test_larger_chunks_and_shorter_numbers_travel_in_archives(make_store, root, tmp_path, ids) -> None:
    store = make_store(chunk_rows=128, storage="float16")
    fill_small(store, ids)
    write_archive(tmp_path / "features.zip", [store], {})
    there = Root(tmp_path / "there")
    with Archive.open(tmp_path / "features.zip") as archive:
        import_stores(archive, there, {})
    arrived = FeatureStore.open(there, store.folder)
    assert arrived.chunk_rows == 128 and np.array_equal(arrived.read(ids), store.read(ids))
    shutil.rmtree(root.join(store.folder))
    mixed = make_store(image_ids=ids[:80], storage="float16")  # chunks of 64 here take what comes in chunks of 128
    with Archive.open(tmp_path / "features.zip") as archive:
        import_stores(archive, root, {})
    mixed.refresh()
    assert mixed.chunk_rows == 64 and np.array_equal(mixed.read(ids), arrived.read(ids))
