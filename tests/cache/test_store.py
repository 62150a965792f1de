import json
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
from hamcache.cache.description import sealed
from hamcache.cache.errors import (
    CacheError,
    CorruptChunkError,
    CorruptStoreError,
    MissingFeaturesError,
    OldStoreError,
    StaleFeaturesError,
)
from hamcache.cache.keys import FeatureKey
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from hamcache.cache.survey import Survey
from hamcache.cache.verify import verify
from tests.cache.conftest import DIM, KEY, digest_of, digests_in, fill, vectors_of
from tests.power_loss import recorded


def chunk_file(store, chunk, view) -> Path:
    return Path(store.root.join(store.folder, "features", "c", str(chunk), str(view), "0"))


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
from hamcache.cache import storage
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from tests.cache.conftest import DIM, KEY, fill

left, write = int(sys.argv[2]), storage.Root.write

def dies(self, content, *parts):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
    write(self, content, *parts)

storage.Root.write = dies
ids = [f"img_{n:04d}" for n in range(150)]
store = FeatureStore.prepare(Root(sys.argv[1]), KEY, DIM, ids[:70], {})
fill(store)
store.add_images(ids)
fill(store, views=(1,))
"""


@pytest.mark.parametrize("writes", range(0, 12, 2))
def test_a_kill_before_any_of_its_writes_leaves_a_store_or_none(root, ids, tmp_path, writes) -> None:
    """Neither when it is made nor when it grows is a store left that later runs stumble over."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", DYING, str(tmp_path / "features"), str(writes)]
    assert subprocess.run(command, env=environment).returncode == 9
    found = Catalogue(root).get(KEY)
    written = [] if found is None else Survey(found).chunks
    store = FeatureStore.prepare(root, KEY, DIM, ids, {})
    assert Survey(store).chunks == written
    fill(store, views=(0, 1))
    assert np.array_equal(FeatureStore.open(root, store.folder).read(ids, [1])[:, 0], vectors_of(ids, 1))
    assert list(verify(store)) == []


def test_an_empty_chunk_after_a_power_loss_is_not_a_hit(make_store, ids):
    store = make_store()
    fill(store, chunks=(0,))
    chunk_file(store, 0, 0).write_bytes(b"")
    assert digests_in(store, 0, 0) == [""] * 64
    assert [(flaw.name, flaw.what) for flaw in verify(store)] == [("features/c/0/0/0", "is empty")]
    with pytest.raises(CorruptChunkError, match="is empty"):
        store.read(ids[:1])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_flipped_byte_anywhere_in_a_chunk_is_found_and_never_served(make_store, ids, root, data):
    shutil.rmtree(root.path, ignore_errors=True)
    store = make_store()
    fill(store, views=(0, 1))
    chunk, view = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 1))
    if data.draw(st.booleans()):
        with Survey(store) as survey:  # and remembers
            list(survey.all_digests(survey.chunks))
    path = chunk_file(store, chunk, view)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    assert [flaw.name for flaw in verify(store)] == [f"features/c/{chunk}/{view}/0"]
    assert set(digests_in(store, chunk, view)) == {""}
    with pytest.raises(CorruptChunkError, match="hamcache extract"):
        store.read(store.chunk_ids(chunk), [view])
    fill(store, views=(view,), chunks=(chunk,))  # what the next extract does
    assert list(verify(store)) == []
    assert np.array_equal(store.read(ids, [view])[:, 0], vectors_of(ids, view))


def test_a_byte_that_flips_on_the_disk_with_no_sign_of_it_is_mended_once_it_was_read(make_store, ids):
    """Stamps are of no help against it: who reads finds it, and forgets them."""
    store = make_store()
    fill(store)
    with Survey(store) as survey:
        list(survey.all_digests(survey.chunks))
    path = chunk_file(store, 1, 0)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    checked = Path(store.root.join(store.folder, "checked.json"))
    stamps = json.loads(checked.read_text()) | {"features/c/1/0/0": store.root.stamps(store.folder)["features/c/1/0/0"]}
    checked.write_text(json.dumps(stamps))
    assert "" not in digests_in(store, 1, 0)
    with pytest.raises(CorruptChunkError):
        store.read(ids)
    assert set(digests_in(store, 1, 0)) == {""}


def test_a_survey_that_remembers_reads_labels_alone(make_store, ids, monkeypatch):
    store = make_store()
    fill(store)
    with Survey(store) as survey:
        first = list(survey.all_digests(survey.chunks))
    monkeypatch.setattr("hamcache.cache.survey.check", lambda *_: pytest.fail("a whole chunk was read"))
    again = Survey(store)
    assert all(np.array_equal(a, b) for a, b in zip(first, again.all_digests(again.chunks), strict=True))
    assert again.made_from(0) == {i: digest_of(i) for i in ids} and again.filled() == 1


@pytest.mark.parametrize("remembering", [False, True])
def test_sound_bytes_in_the_wrong_place_are_as_damaged_as_a_flipped_bit(make_store, ids, remembering):
    """Chunks swapped, views swapped, a chunk of another store, another dimension: refused, reported, mended."""
    store, other = make_store(), make_store(augmentation={"name": "flip"})
    for filled in (store, other):
        fill(filled, views=(0, 1))
        if remembering:
            with Survey(filled) as survey:
                list(survey.all_digests(survey.chunks))
    places = [(chunk, view) for chunk in range(3) for view in range(2)]
    sources = [(store, *place) for place in places] + [(other, *place) for place in places]
    for chunk, view in places:
        here = chunk_file(store, chunk, view)
        right = here.read_bytes()
        for origin, at, under in sources:
            if (origin, at, under) == (store, chunk, view):
                continue
            here.write_bytes(chunk_file(origin, at, under).read_bytes())
            assert set(digests_in(store, chunk, view)) == {""}
            assert [flaw.what for flaw in verify(store)] == ["was written for another place"]
            with pytest.raises(CorruptChunkError, match="another place"):
                store.read(store.chunk_ids(chunk), [view])
            here.write_bytes(right)
    assert list(verify(store)) == []


DAMAGES = {
    "emptied": lambda path, other: path.write_bytes(b""),
    "cut": lambda path, other: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "copied from elsewhere": lambda path, other: path.write_bytes(other.read_bytes()),
    "null": lambda path, other: path.write_text("null"),
    "a list": lambda path, other: path.write_text("[]"),
    "an edited number": lambda path, other: path.write_bytes(path.read_bytes().replace(b"5", b"0")),
    "moved away": lambda path, other: path.rename(path.with_name(f"{path.name}.bak")),
    "a folder": lambda path, other: (path.unlink(), path.mkdir()),
    "nested deep": lambda path, other: path.write_text("[" * 100_000),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["zarr.json", "features/zarr.json", "rows.json", "checked.json", "features/c/1/0/0"])
def test_any_file_damaged_in_any_way_is_refused_or_of_no_account_and_mended(make_store, root, ids, name, damage):
    store, other = make_store(), make_store(augmentation={"name": "flip"}, image_ids=ids[::-1])
    for filled in (store, other):
        fill(filled)
        with Survey(filled) as survey:
            list(survey.all_digests(survey.chunks))
    before = store.read(ids)
    path = Path(root.join(store.folder, name))
    content = path.read_bytes()
    DAMAGES[damage](path, Path(root.join(other.folder, name)))
    damaged = name != "checked.json" and not (path.is_file() and path.read_bytes() == content)
    try:
        opened = FeatureStore.open(root, store.folder)
        assert np.array_equal(opened.read(ids), before)
        reported = bool(list(verify(opened)))
        refused = False
    except (CacheError, FileNotFoundError):
        refused = True
    assert not damaged or refused or reported
    mended = FeatureStore.prepare(root, store.key, DIM, ids, {"dataset": "some/folder"})
    mended.set_views(max(view + 1 for _, view in Survey(mended).chunks))
    assert mended.image_ids == ids
    fill(mended, chunks=[chunk for chunk in range(3) if "" in digests_in(mended, chunk, 0)])
    assert np.array_equal(FeatureStore.open(root, store.folder).read(ids), before)
    left = {flaw.name for flaw in verify(mended)}
    assert left <= {f"{name}.bak"}


def test_writing_some_rows_keeps_the_others(make_store, ids):
    store = make_store()
    fill(store)
    new = np.full((1, DIM), 7, np.float32)
    store.write_chunk(store.place(1, 0), [3], new, [digest_of("changed")])
    read = store.read(ids)[:, 0]
    assert np.array_equal(read[67], new[0])
    others = [n for n in range(150) if n != 67]
    assert np.array_equal(read[others], vectors_of([ids[n] for n in others], 0))
    assert digests_in(store, 1, 0)[3] == digest_of("changed")


def test_replacing_an_image_is_one_step(make_store, ids, monkeypatch):
    """Die in the middle: the old digest never stands beside new features."""
    store = make_store()
    fill(store)

    def dies(path, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        store.write_chunk(store.place(0, 0), [5], np.full((1, DIM), 7, np.float32), [digest_of("new")])
    monkeypatch.undo()
    assert digests_in(store, 0, 0)[5] == digest_of(ids[5])
    assert np.array_equal(store.read(ids)[:, 0], vectors_of(ids, 0))


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
    store.add_images(["aa_new", "zz_new", ids[0]])
    assert store.image_ids == [*ids, "aa_new", "zz_new"] and store.n_views == 1
    assert np.array_equal(store.read(ids)[:, 0], vectors_of(ids, 0))
    assert digests_in(store, 2, 0)[-2:] == ["", ""]
    with pytest.raises(MissingFeaturesError):
        store.read(["aa_new"])
    fill(store, views=(2,))
    again = FeatureStore.open(root, store.folder)
    assert np.array_equal(again.read(["zz_new", ids[9]], [2])[:, 0], vectors_of(["zz_new", ids[9]], 2))
    assert again.n_views == 3


def test_features_that_are_not_finite_are_refused(make_store):
    store = make_store()
    with pytest.raises(ValueError, match="finite"):
        store.write_chunk(store.place(0, 0), [0], np.full((1, DIM), np.nan, np.float32), [digest_of("x")])


def test_rows_altered_by_hand_are_refused(make_store, root, ids):
    store = make_store()
    path = Path(store.root.join(store.folder, "rows.json"))
    path.write_text(path.read_text().replace("img_0001", "img_9999"))
    with pytest.raises(CorruptStoreError, match=r"rows\.json is damaged"):
        FeatureStore.open(root, store.folder).read(ids)


def test_a_layout_of_another_version_is_refused_by_name(make_store, root):
    store = make_store()
    path = Path(store.root.join(store.folder, "zarr.json"))
    for layout, way in ((1, "cache migrate"), (3, "Update hamcache")):
        group = json.loads(path.read_text())
        path.write_text(json.dumps(group | {"attributes": sealed(group["attributes"] | {"layout": layout})}))
        with pytest.raises(OldStoreError, match=way):
            FeatureStore.open(root, store.folder)
        with pytest.raises(OldStoreError, match=way):
            Catalogue(root).one("toy", "net", "none")


def test_the_bytes_on_disk_can_be_read_by_plain_zarr(make_store, ids):
    import zarr

    store = make_store()
    fill(store)
    group = zarr.open_group(store.root.join(store.folder), mode="r")
    assert np.array_equal(group["features"][:, 0], vectors_of(ids, 0))
    assert group["features"].shape == (150, 1, DIM)
    assert FeatureKey.from_dict(group.attrs["key"]).digest == KEY.digest


def test_a_store_works_behind_an_fsspec_url(tmp_path, ids):
    import fsspec

    from hamcache.cache.catalogue import Catalogue
    from hamcache.cache.storage import Root

    fsspec.filesystem("memory").store.clear()
    root = Root("memory://bucket/features")
    store = FeatureStore.prepare(root, KEY, DIM, ids, {})
    fill(store)
    found = Catalogue(root).one("toy", "net", "none")
    assert np.array_equal(found.read(ids)[:, 0], vectors_of(ids, 0))
    assert list(verify(found)) == []


def test_bounds_that_nobody_has_room_for_end_nothing(make_store, root, ids):
    """A description that claims a million views and a billion rows: everything still ends, and is mended."""
    store = make_store()
    fill(store)
    path = Path(root.join(store.folder, "features/zarr.json"))
    array = json.loads(path.read_text()) | {"shape": [10**9, 10**6, DIM]}
    path.write_text(json.dumps(array))
    opened = Catalogue(root).get(KEY)
    assert [flaw.name for flaw in verify(opened)] == ["features/zarr.json"]
    assert Survey(opened).filled() < 1e-5 and Catalogue(root).leftovers() == []
    assert np.array_equal(opened.read(ids)[:, 0], vectors_of(ids, 0))
    mended = FeatureStore.prepare(root, KEY, DIM, ids, {})
    mended.set_views(1)
    assert list(verify(mended)) == []


def test_a_power_cut_at_any_moment_leaves_old_new_or_nothing(tmp_path, ids):
    root = Root(tmp_path / "disk")
    (tmp_path / "disk").mkdir()
    few = ids[:66]
    with recorded(tmp_path / "disk") as disk:
        store = FeatureStore.prepare(root, KEY, DIM, few[:65], {})
        fill(store)
        store.add_images(few)
        store.write_chunk(store.place(0, 0), [5], np.full((1, DIM), 7, np.float32), [digest_of("new")])
    elsewhere = Root(tmp_path / "after")
    for state in disk.states():
        state.restore(tmp_path / "after")
        store = Catalogue(elsewhere).get(KEY)
        if store is not None:
            for image_id, digest in Survey(store).made_from(0).items():
                vector = store.read([image_id])[0, 0]
                right = np.full(DIM, 7) if digest == digest_of("new") else vectors_of([image_id], 0)[0]
                assert np.array_equal(vector, right), state.moment
        mended = FeatureStore.prepare(elsewhere, KEY, DIM, few, {})
        fill(mended)
        assert np.array_equal(mended.read(few)[:, 0], vectors_of(few, 0)), state.moment
    for state in disk.last_states():  # a promise was made: nothing of it may be lost
        state.restore(tmp_path / "after")
        store = Catalogue(elsewhere).get(KEY)
        assert np.array_equal(store.read(few[:5])[:, 0], vectors_of(few[:5], 0))
        assert np.array_equal(store.read(few[5:6])[0, 0], np.full(DIM, 7)) and store.image_ids == few


def test_opening_a_store_reads_nothing_that_grows_with_its_rows(make_store, root, ids, monkeypatch):
    store = make_store()
    fill(store)
    read = []
    monkeypatch.setattr(
        Root,
        "read_with_stamp",
        lambda self, *parts, do=Root.read_with_stamp: (read.append(parts[-1]), do(self, *parts))[1],
    )
    opened = FeatureStore.open(root, store.folder)
    opened.write_chunk(opened.place(0, 0, ids[:64]), [0], vectors_of(ids[:1], 0), [digest_of(ids[0])])
    assert sorted(set(read)) == ["features/c/0/0/0", "features/zarr.json", "zarr.json"]
