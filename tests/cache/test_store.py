import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.errors import CorruptChunkError, CorruptStoreError, MissingFeaturesError, StaleFeaturesError
from hamcache.cache.keys import FeatureKey
from hamcache.cache.store import FeatureStore
from tests.cache.conftest import DIM, KEY, digest_of, fill, vectors_of


def chunk_file(store, array, chunk, view) -> Path:
    return Path(store.root.join(store.folder, array, "c", str(chunk), str(view), "0"))


def test_what_is_written_is_read_back_in_the_order_asked_for(make_store, ids):
    store = make_store()
    fill(store, views=(0, 1))
    asked = [ids[149], ids[0], ids[64], ids[63]]
    read = store.read(asked, [1, 0])
    assert read.dtype == np.float32 and read.shape == (4, 2, DIM)
    assert np.array_equal(read[:, 0], vectors_of(asked, 1)) and np.array_equal(read[:, 1], vectors_of(asked, 0))
    everything = store.read(ids, [0, 1])
    assert np.array_equal(everything[:, 1], vectors_of(ids, 1))


def test_a_reopened_store_is_the_same(make_store, root, ids):
    store = make_store()
    fill(store)
    again = FeatureStore.open(root, store.folder)
    assert again.key.digest == store.key.digest and again.image_ids == ids and again.dim == DIM
    assert np.array_equal(again.read(ids), store.read(ids))


def test_a_hole_is_never_read(make_store, ids):
    store = make_store()
    fill(store, views=(0,), chunks=(0, 2))
    with pytest.raises(MissingFeaturesError, match="hamcache extract --dataset some/folder --backbones net"):
        store.read(ids)
    with pytest.raises(MissingFeaturesError, match=r"views \[1\] of 1 images"):
        store.read(ids[:1], [1])
    with pytest.raises(MissingFeaturesError, match="--views 8"):
        store.read(ids[:1], [7])
    with pytest.raises(MissingFeaturesError, match="nobody"):
        store.read(["nobody"])
    with pytest.raises(MissingFeaturesError):
        store.read(ids[:1], [-1])
    assert store.read(ids[:64]).shape == (64, 1, DIM)


DYING = """
import os, sys
from zarr.storage import LocalStore
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from tests.cache.conftest import DIM, KEY

left, write = int(sys.argv[2]), LocalStore.set

async def dies(self, key, value):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
    await write(self, key, value)

LocalStore.set = dies
ids = [f"img_{n:04d}" for n in range(150)]
store = FeatureStore.create(Root(sys.argv[1]), KEY, DIM, ids[:70], {})
store.grow(views=1)
store.grow(ids, views=2)
"""


@pytest.mark.parametrize("writes", range(9))
def test_a_kill_before_any_of_its_writes_leaves_a_store_or_none(root, ids, tmp_path, writes) -> None:
    """Neither when it is made nor when it grows is a store left that later runs stumble over."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", DYING, str(tmp_path / "features"), str(writes)]
    assert subprocess.run(command, env=environment).returncode == 9
    store = Catalogue(root).get(KEY) or FeatureStore.create(root, KEY, DIM, ids[:70], {})
    store.grow(ids, views=2)
    fill(store, views=(0, 1))
    assert np.array_equal(FeatureStore.open(root, store.folder).read(ids, [1])[:, 0], vectors_of(ids, 1))
    assert list(store.verify()) == []


def test_partial_write_is_not_a_hit(make_store, ids):
    """Features without their digest, as a process killed between the two writes leaves them."""
    store = make_store()
    fill(store, chunks=(0,))
    chunk_file(store, "digest", 0, 0).unlink()
    assert store.chunk_digests(0, 0) == [""] * 64
    with pytest.raises(MissingFeaturesError):
        store.read(ids[:1])


def test_digests_without_features_are_not_a_hit(make_store, ids):
    store = make_store()
    fill(store, chunks=(0,))
    chunk_file(store, "features", 0, 0).unlink()
    assert store.chunk_digests(0, 0) == [""] * 64
    with pytest.raises(MissingFeaturesError):
        store.read(ids[:1])
    assert [flaw.what for flaw in store.verify()] == ["features are missing that the digests claim"]


def test_an_empty_chunk_after_a_power_loss_is_not_a_hit(make_store, ids):
    store = make_store()
    fill(store, chunks=(0,))
    chunk_file(store, "features", 0, 0).write_bytes(b"")
    assert store.chunk_digests(0, 0) == [""] * 64
    with pytest.raises((MissingFeaturesError, CorruptChunkError)):
        store.read(ids[:1])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_flipped_byte_anywhere_in_a_chunk_is_found_and_never_served(make_store, ids, root, data):
    shutil.rmtree(root.path, ignore_errors=True)
    store = make_store()
    fill(store, views=(0, 1))
    array = data.draw(st.sampled_from(["features", "digest"]))
    chunk, view = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 1))
    path = chunk_file(store, array, chunk, view)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    assert [(f.chunk, f.view) for f in store.verify()] == [(chunk, view)]
    assert set(store.chunk_digests(chunk, view)) == {""}
    with pytest.raises(CorruptChunkError, match="hamcache extract"):
        store.read(store.chunk_ids(chunk), [view])
    fill(store, views=(view,), chunks=(chunk,))  # what the next extract does
    assert list(store.verify()) == []
    assert np.array_equal(store.read(ids, [view])[:, 0], vectors_of(ids, view))


def test_writing_some_rows_keeps_the_others(make_store, ids):
    store = make_store()
    fill(store)
    new = np.full((1, DIM), 7, np.float32)
    store.write_chunk(1, 0, [3], new, [digest_of("changed")])
    read = store.read(ids)[:, 0]
    assert np.array_equal(read[67], new[0])
    others = [n for n in range(150) if n != 67]
    assert np.array_equal(read[others], vectors_of([ids[n] for n in others], 0))
    assert store.chunk_digests(1, 0)[3] == digest_of("changed")


@pytest.mark.parametrize("survives", [1, 2])
def test_replacing_an_image_is_safe_at_every_moment(make_store, ids, monkeypatch, survives):
    """Die after the 1st, after the 2nd of the three writes: the old digest never stands beside new features."""
    store = make_store()
    fill(store)
    import zarr

    write, writes = zarr.Array.__setitem__, []

    def dies(self, selection, value):
        if len(writes) == survives:
            raise KeyboardInterrupt
        writes.append(self.path)
        write(self, selection, value)

    monkeypatch.setattr(zarr.Array, "__setitem__", dies)
    with pytest.raises(KeyboardInterrupt):
        store.write_chunk(0, 0, [5], np.full((1, DIM), 7, np.float32), [digest_of("new")])
    monkeypatch.undo()
    assert store.chunk_digests(0, 0)[5] == ""  # so that the plan computes it, whichever bytes the file has then
    with pytest.raises(MissingFeaturesError):
        store.read([ids[5]])
    assert np.array_equal(store.read(ids[6:64])[:, 0], vectors_of(ids[6:64], 0))


def test_stale_features_are_refused_when_the_callers_digests_say_so(make_store, ids):
    store = make_store()
    fill(store)
    now = {i: digest_of(i) for i in ids}
    assert store.read(ids, [0], now).shape == (150, 1, DIM)
    with pytest.raises(StaleFeaturesError, match=r"1 images \(img_0003\)"):
        store.read(ids, [0], now | {"img_0003": digest_of("other bytes")})


def test_growing_keeps_rows_and_adds_room(make_store, ids, root):
    store = make_store(views=1)
    fill(store)
    store.grow(["zz_new", "aa_new", ids[0]], views=3)
    assert store.image_ids == [*ids, "aa_new", "zz_new"] and store.n_views == 3
    assert np.array_equal(store.read(ids)[:, 0], vectors_of(ids, 0))
    assert store.chunk_digests(2, 0)[-2:] == ["", ""]
    with pytest.raises(MissingFeaturesError):
        store.read(["aa_new"])
    fill(store, views=(2,))
    again = FeatureStore.open(root, store.folder)
    assert np.array_equal(again.read(["zz_new", ids[9]], [2])[:, 0], vectors_of(["zz_new", ids[9]], 2))
    store.grow(views=1)
    assert store.n_views == 3


def test_features_that_are_not_finite_are_refused(make_store):
    store = make_store()
    with pytest.raises(ValueError, match="finite"):
        store.write_chunk(0, 0, [0], np.full((1, DIM), np.nan, np.float32), [digest_of("x")])


def test_a_row_list_altered_by_hand_is_refused(make_store, root, ids):
    store = make_store()
    path = Path(store.root.join(store.folder, "zarr.json"))
    path.write_text(path.read_text().replace("img_0001", "img_9999"))
    with pytest.raises(CorruptStoreError, match="altered"):
        FeatureStore.open(root, store.folder)


def test_a_description_cut_short_is_refused_with_the_way_out(make_store, root):
    store = make_store()
    path = Path(store.root.join(store.folder, "zarr.json"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CorruptStoreError, match="hamcache cache rm"):
        FeatureStore.open(root, store.folder)


def test_the_bytes_on_disk_can_be_read_by_plain_zarr(make_store, ids):
    import zarr

    store = make_store()
    fill(store)
    group = zarr.open_group(store.root.join(store.folder), mode="r")
    assert np.array_equal(group["features"][:, 0], vectors_of(ids, 0))
    assert FeatureKey.from_dict(group.attrs["key"]).digest == KEY.digest


def test_a_store_works_behind_an_fsspec_url(tmp_path, ids):
    import fsspec

    from hamcache.cache.catalogue import Catalogue
    from hamcache.cache.storage import Root

    fsspec.filesystem("memory").store.clear()
    root = Root("memory://bucket/features")
    store = FeatureStore.create(root, KEY, DIM, ids, {})
    store.grow(views=1)
    fill(store)
    found = Catalogue(root).one("toy", "net", "none")
    assert np.array_equal(found.read(ids)[:, 0], vectors_of(ids, 0))
    assert list(found.verify()) == []
