import hashlib
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.errors import (
    CacheInUseError,
    CorruptStoreError,
    FeatureArchiveError,
    StoreConflictError,
)
from hamcache.cache.lock import writing
from hamcache.cache.sharing import archive as module
from hamcache.cache.sharing.archive import Archive, write_archive
from hamcache.cache.sharing.importing import import_stores
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from hamcache.cache.survey import Survey
from hamcache.cache.verify import verify
from tests.cache.conftest import digest_of, fill, vectors_of

BESIDE = {"table.csv": b"image_id,label\n", "README.txt": b"read me"}


@pytest.fixture
def elsewhere(tmp_path) -> Root:
    return Root(tmp_path / "elsewhere")


@pytest.fixture
def store(make_store):
    store = make_store()
    fill(store, views=(0, 1))
    return store


@pytest.fixture
def file(store, tmp_path) -> Path:
    path = tmp_path / "features.zip"
    write_archive(path, [store], BESIDE)
    return path


def take_in(file: Path, root: Root):
    with Archive.open(file) as archive:
        return import_stores(archive, root, {"dataset": "imported/folder"})


def files_of(store: FeatureStore) -> dict[str, bytes]:
    """A store's chunks and the descriptions of its arrays."""
    folder = Path(store.root.join(store.folder))
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.glob("*/**/*") if p.is_file()}


def state_of(root: Root) -> dict[str, tuple[int, bytes]]:
    """Every file but locks, with its time of change and its bytes."""
    files = [path for path in Path(root.path).rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def rewrite(file: Path, change) -> None:
    """Make another archive with right checksums: `change(members: dict)` may do to it what it likes."""
    with zipfile.ZipFile(file) as old:
        members = {name: old.read(name) for name in old.namelist()}
    change(members)
    manifest = json.loads(members.pop("manifest.json"))
    packing = members.pop("PACKED", zipfile.ZIP_STORED)
    with zipfile.ZipFile(file, "w") as new:
        new.comment = module._SEAL + b"0" * 64
        files = {name: module._add(new, name, content) for name, content in members.items()}
        files.pop("unlisted", None)
        new.writestr("manifest.json", json.dumps({**manifest, "files": files}), packing)
    with file.open("r+b") as raw:
        digest = module._sha256_before_seal(raw)
        raw.seek(-64, 2)
        raw.write(digest.encode())


# -- there and back


def test_a_store_arrives_with_the_same_bits(store, file, elsewhere):
    (done,) = take_in(file, elsewhere)
    arrived = Catalogue(elsewhere).get(store.key)
    assert (done.is_new, done.n_vectors, done.n_written) == (True, 300, 300)
    assert arrived.image_ids == store.image_ids
    assert np.array_equal(arrived.read(store.image_ids, [0, 1]), store.read(store.image_ids, [0, 1]))
    assert files_of(arrived) == files_of(store) and len(files_of(store)) == 7
    assert list(verify(arrived)) == []


def test_where_it_came_from_is_kept_but_for_the_path(store, file, elsewhere):
    with Archive.open(file) as archive:
        assert archive.stores[0].provenance["dataset"] == "toy"
        assert b"some/folder" not in file.read_bytes()
    take_in(file, elsewhere)
    assert Catalogue(elsewhere).get(store.key).provenance["dataset"] == "imported/folder"


def test_holes_stay_holes(make_store, tmp_path, elsewhere):
    store = make_store(views=3)
    fill(store, views=(0,), chunks=[0, 2])
    fill(store, views=(2,), chunks=[1])
    write_archive(tmp_path / "f.zip", [store], {})
    (done,) = take_in(tmp_path / "f.zip", elsewhere)
    arrived = Catalogue(elsewhere).get(store.key)
    assert done.n_vectors == 150 and arrived.n_views == 3
    assert [Survey(arrived).made_from(v) for v in range(3)] == [Survey(store).made_from(v) for v in range(3)]


def test_the_same_stores_give_the_same_bytes(store, file, make_store, tmp_path):
    write_archive(tmp_path / "again.zip", [store], dict(reversed(BESIDE.items())))
    assert (tmp_path / "again.zip").read_bytes() == file.read_bytes()


def test_any_unpacker_gives_the_store_back(store, file, tmp_path):
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "unpacked")
    (found,) = Catalogue(tmp_path / "unpacked" / "features").stores()
    assert np.array_equal(found.read(store.image_ids, [0, 1]), store.read(store.image_ids, [0, 1]))


def test_several_stores_travel_together(make_store, tmp_path, elsewhere):
    stores = [make_store(), make_store(backbone="torchvision/b"), make_store(augmentation={"name": "flip"})]
    for store in stores:
        fill(store)
    write_archive(tmp_path / "f.zip", stores, {})
    assert {done.folder for done in take_in(tmp_path / "f.zip", elsewhere)} == {store.folder for store in stores}
    assert len(Catalogue(elsewhere).stores()) == 3


def test_a_remote_root_takes_an_archive_in(store, file):
    root = Root("memory://import-test/features")
    take_in(file, root)
    (arrived,) = Catalogue(root).stores()
    assert np.array_equal(arrived.read(store.image_ids, [1]), store.read(store.image_ids, [1]))
    write_archive(file, [arrived], BESIDE)
    with Archive.open(file) as archive:
        assert archive.stores[0].image_ids == store.image_ids
    root.remove("")


# -- a second time, and into what is there


def test_importing_twice_changes_nothing(file, elsewhere):
    take_in(file, elsewhere)
    before = state_of(elsewhere)
    (done,) = take_in(file, elsewhere)
    assert (done.is_new, done.n_vectors, done.n_written) == (False, 300, 0)
    assert state_of(elsewhere) == before


def test_a_store_with_other_rows_gets_what_it_lacks(make_store, root, tmp_path, elsewhere, ids):
    whole = make_store(views=2)
    fill(whole, views=(0, 1))
    write_archive(tmp_path / "whole.zip", [whole], {})
    some = [*ids[100:40:-1], "of_mine"]
    own = FeatureStore.prepare(elsewhere, whole.key, whole.dim, some, {"dataset": "mine"})
    marked = {i: vectors_of([i], 0)[0] + 0.5 for i in some[:20]}  # computed here, from the same bytes: kept
    own.write_chunk(own.place(0, 0), range(20), np.stack(list(marked.values())), [digest_of(i) for i in marked])
    own.write_chunk(own.place(0, 0), [60], vectors_of(["of_mine"], 0), [digest_of("of_mine")])
    (done,) = take_in(tmp_path / "whole.zip", elsewhere)
    own = Catalogue(elsewhere).get(whole.key)
    assert (done.is_new, done.n_vectors, done.n_written) == (False, 300, 280)
    assert own.provenance["dataset"] == "mine" and own.image_ids[:61] == some and len(own.image_ids) == 151
    assert np.array_equal(own.read(list(marked), [0])[:, 0], np.stack(list(marked.values())))
    rest = [i for i in ids if i not in marked]
    assert np.array_equal(own.read(rest, [0, 1]), whole.read(rest, [0, 1]))
    assert list(Survey(own).made_from(1)) == [i for i in own.image_ids if i != "of_mine"]
    assert list(verify(own)) == []


def test_vectors_of_another_version_of_an_image_are_refused(make_store, file, elsewhere):
    take_in(file, elsewhere)
    (own,) = Catalogue(elsewhere).stores()
    own.write_chunk(own.place(1, 0), [3], vectors_of(["changed"], 0), [digest_of("changed")])
    before = state_of(elsewhere)
    with pytest.raises(StoreConflictError, match=r"other versions of 1 images .*img_0067.*cache rm"):
        take_in(file, elsewhere)
    assert state_of(elsewhere) == before


def test_one_conflict_keeps_all_stores_of_an_archive_out(make_store, tmp_path, elsewhere):
    stores = [make_store(backbone="a"), make_store(backbone="b")]
    for store in stores:
        fill(store)
    write_archive(tmp_path / "f.zip", stores, {})
    own = FeatureStore.prepare(elsewhere, stores[1].key, stores[1].dim, ["img_0000"], {})
    own.write_chunk(own.place(0, 0), [0], vectors_of(["x"], 0), [digest_of("x")])
    with pytest.raises(StoreConflictError):
        take_in(tmp_path / "f.zip", elsewhere)
    assert [store.key.backbone for store in Catalogue(elsewhere).stores()] == ["b"]


def test_a_creation_cut_off_gives_way(store, file, elsewhere):
    cut = FeatureStore.prepare(elsewhere, store.key, store.dim, ["other"], {})
    Path(elsewhere.join(cut.folder, "zarr.json")).write_text('{"zarr_format":3,"node_type":"group","attributes":{}}')
    assert take_in(file, elsewhere)[0].is_new
    assert Catalogue(elsewhere).get(store.key).image_ids == store.image_ids


# -- what is refused


@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_changed_byte_anywhere_is_noticed(place, flip):
    path, content = _archived()
    at = int(place * len(content))
    path.write_bytes(content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :])
    with pytest.raises(FeatureArchiveError, match="Fetch it again"):
        Archive.open(path)


@given(share=st.floats(0, 1, exclude_max=True))
def test_an_archive_cut_off_anywhere_is_noticed(share):
    path, content = _archived()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(FeatureArchiveError, match=r"cut off|does not match"):
        Archive.open(path)


_ARCHIVED: list[tuple[Path, bytes]] = []


def _archived() -> tuple[Path, bytes]:
    return _ARCHIVED[0]


@pytest.fixture(autouse=True, scope="module")
def _one_for_all_draws(tmp_path_factory):
    """hypothesis draws many times in one test: all draws share one small archive."""
    from tests.cache.conftest import DIM, KEY

    folder = tmp_path_factory.mktemp("archived")
    ids = [f"img_{n}" for n in range(70)]
    store = FeatureStore.prepare(Root(folder / "features"), KEY, DIM, ids, {})
    fill(store)
    write_archive(folder / "f.zip", [store], BESIDE)
    _ARCHIVED[:] = [(folder / "changed.zip", (folder / "f.zip").read_bytes())]


def test_a_damaged_archive_changes_nothing(file, elsewhere):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(FeatureArchiveError):
        take_in(file, elsewhere)
    assert state_of(elsewhere) == {}


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x05\x06" + b"\0" * 18, b"sha256:" + b"0" * 64])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "f.zip").write_bytes(content)
    with pytest.raises(FeatureArchiveError):
        Archive.open(tmp_path / "f.zip")


def described(change):
    """Change what the manifest says of the first store, and its attributes with it."""

    def apply(members):
        manifest = json.loads(members["manifest.json"])
        old = manifest["stores"][0]["folder"]
        change(manifest["stores"][0], members)
        members["manifest.json"] = json.dumps(manifest).encode()
        from hamcache.cache.keys import FeatureKey

        new = FeatureKey.from_dict(manifest["stores"][0]["key"])
        for name in [name for name in members if name.startswith(f"features/{old}/")]:
            members[name.replace(old, new.folder)] = members.pop(name)
        group = f"features/{new.folder}/zarr.json"
        content = json.loads(members[group])
        content["attributes"]["key"] = manifest["stores"][0]["key"]
        members[group] = json.dumps(content).encode()

    return apply


def keyed(**fields):
    return described(lambda store, members: store["key"].update(fields))


def sized(**fields):
    return described(lambda store, members: store.update(fields))


def chunk(name, content=None):
    """Put another chunk (default: a copy of one that is there) under a name below the store's folder."""

    def apply(members):
        (folder,) = {name.rsplit("/features/c", 1)[0] for name in members if "/features/c" in name}
        members[f"{folder}/{name}"] = members[f"{folder}/features/c/0/0/0"] if content is None else content(members)

    return apply


def sealed(members, vectors: bytes) -> bytes:
    """A chunk with right checksums, for the place of the first one, that holds these vectors."""
    import google_crc32c
    import pyarrow

    (right,) = (content for name, content in members.items() if name.endswith("features/c/0/0/0"))
    label = right[-(8 + 32 + 4 + 64 * 32 + 4) - 4 : -4]
    content = pyarrow.Codec("zstd").compress(vectors, asbytes=True) + label
    return content + google_crc32c.value(content).to_bytes(4, "little")


def bomb(members) -> bytes:
    """A chunk that unpacks to a hundred times what a chunk holds."""
    return sealed(members, b"\0" * 64 * 5 * 4 * 100)


def nan_chunk(members) -> bytes:
    return sealed(members, np.full((64, 5), np.nan, np.float32).tobytes())


def repeated_ids(members):
    name = next(name for name in members if name.endswith(".zarr/rows.json"))
    head, listed = members[name].splitlines()
    ids = json.loads(listed)
    again = json.dumps([ids[0], *ids[:-1]], separators=(",", ":")).encode()
    head = json.dumps(json.loads(head) | {"sha256": hashlib.sha256(again).hexdigest()}).encode()
    members[name] = head + b"\n" + again + b"\n"


def unknown_field(members):
    members["manifest.json"] = members["manifest.json"].replace(b'"precision"', b'"preciseness"')


def version(members):
    members["manifest.json"] = members["manifest.json"].replace(b'"version": 2', b'"version": 3')


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (keyed(backbone=".."), "no safe path"),
        (keyed(dataset="../toy"), "no safe path"),
        (keyed(augmentation={"name": "a/../../b"}), "no safe path"),
        (keyed(backbone=".import-x"), "no safe path"),
        (keyed(dataset="other"), "contradicts itself"),
        (unknown_field, "preciseness"),
        (sized(dim=10**9), "contradicts itself"),
        (sized(views=-1), "contradicts itself"),
        (sized(dim=4), "written for another place"),
        (sized(views=1), "no chunk"),
        (repeated_ids, "contradicts itself"),
        (chunk("features/c/3/0/0"), "no chunk"),
        (chunk("features/c/0/2/0"), "no chunk"),
        (chunk("features/c/../../0"), "no chunk"),
        (chunk("other.py"), "no chunk"),
        (chunk("features/c/0/0/0", bomb), "does not unpack to its size"),
        (chunk("features/c/0/0/0", nan_chunk), "not finite"),
        (chunk("features/c/0/0/0", lambda members: b"x" * 100), "cut short"),
        (version, "update hamcache"),
        (lambda members: members.update(PACKED=zipfile.ZIP_DEFLATED), "packed"),
        (lambda members: members.update(unlisted=b"x"), "manifest"),
    ],
)
def test_an_archive_made_to_deceive_is_refused(file, elsewhere, change, words):
    rewrite(file, change)
    with pytest.raises(FeatureArchiveError, match=words):
        take_in(file, elsewhere)
    assert state_of(elsewhere) == {}
    assert Catalogue(elsewhere).stores() == []


def test_a_digest_that_is_not_the_manifests_is_noticed(file, elsewhere):
    with Archive.open(file) as archive:
        name = next(iter(archive.stores[0].chunks.values()))
        archive._files[name]["sha256"] = "0" * 64
        with pytest.raises(FeatureArchiveError, match="digest"):
            import_stores(archive, elsewhere, {})
    assert state_of(elsewhere) == {}


def test_a_damaged_store_is_not_exported(store, tmp_path):
    chunk = Path(store.root.join(store.folder, "features", "c", "1", "1", "0"))
    chunk.write_bytes(b"x" + chunk.read_bytes()[1:])
    with pytest.raises(CorruptStoreError, match="cache verify"):
        write_archive(tmp_path / "f.zip", [store], {})
    assert list(tmp_path.glob("*f.zip*")) == []


def test_stores_of_two_data_sets_do_not_travel_together(make_store, tmp_path):
    with pytest.raises(FeatureArchiveError, match="other, toy"):
        write_archive(tmp_path / "f.zip", [make_store(), make_store(dataset="other")], {})
    with pytest.raises(FeatureArchiveError, match="no store"):
        write_archive(tmp_path / "f.zip", [], {})


def test_a_store_that_grows_while_it_is_read_is_noticed(store, tmp_path):
    opened = FeatureStore.open(store.root, store.folder)
    assert len(opened.image_ids) == 150
    store.add_images(["new"])
    with pytest.raises(CacheInUseError, match="being written"):
        write_archive(tmp_path / "f.zip", [opened], {})
    assert list(tmp_path.glob("*f.zip*")) == []


def test_chunks_and_partial_files_that_are_not_the_stores_stay_behind(store, file, tmp_path):
    stray = Path(store.root.join(store.folder, "features", "c", "99", "0"))
    stray.mkdir(parents=True)
    (stray / "0").write_bytes(b"stray")
    Path(store.root.join(store.folder, "features", "c", "0", "0", "0.partial")).write_bytes(b"half")
    write_archive(tmp_path / "again.zip", [store], BESIDE)
    assert (tmp_path / "again.zip").read_bytes() == file.read_bytes()


# -- while others work, and after a kill


def test_nothing_is_imported_while_an_extraction_runs(file, elsewhere):
    with writing(elsewhere, "toy"), pytest.raises(CacheInUseError):
        take_in(file, elsewhere)
    assert state_of(elsewhere) == {}


def test_what_a_killed_import_left_is_no_store_and_is_swept_up(store, file, elsewhere, monkeypatch):
    def die(*_):
        raise SystemError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("hamcache.cache.sharing.importing._place", die)
        patch.setattr("hamcache.cache.sharing.importing.shutil.rmtree", lambda *_, **__: None)
        with pytest.raises(SystemError):
            take_in(file, elsewhere)
    catalogue = Catalogue(elsewhere)
    assert state_of(elsewhere) != {} and catalogue.stores() == [] and catalogue.broken() == {}
    assert catalogue.datasets() == ["toy"]
    assert [leftover.why for leftover in catalogue.leftovers()] == ["import that was killed"]
    take_in(file, elsewhere)
    assert catalogue.leftovers() == [] and len(catalogue.stores()) == 1


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7])
def test_a_member_that_its_zip_contradicts_is_refused(file, elsewhere, share):
    content = bytearray(file.read_bytes())
    content[int(len(content) * share)] ^= 1
    file.write_bytes(content)
    with file.open("r+b") as raw:  # sealed again by somebody
        digest = module._sha256_before_seal(raw)
        raw.seek(-64, 2)
        raw.write(digest.encode())
    with pytest.raises(FeatureArchiveError, match="can't be used"):
        take_in(file, elsewhere)
    assert state_of(elsewhere) == {}


def test_a_pipe_is_no_archive(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FeatureArchiveError, match="no file"):
        Archive.open(tmp_path / "pipe")
