from pathlib import Path

import pytest

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.errors import AmbiguousStoreError, CacheInUseError, MissingFeaturesError
from hamcache.cache.lock import writing
from hamcache.cache.quarantine import BadImage, Quarantine
from hamcache.cache.verify import verify
from tests.cache.conftest import digest_of, fill


def test_stores_are_found_by_what_they_hold(make_store, root):
    make_store(), make_store(backbone="b"), make_store(augmentation={"name": "flip"})
    catalogue = Catalogue(root)
    assert len(catalogue.stores()) == 3 and len(catalogue.find("toy", "net")) == 2
    assert catalogue.one("toy", "net", "flip").key.augmentation_name == "flip"


def test_a_missing_store_names_the_command_and_what_there_is(make_store, root):
    make_store()
    with pytest.raises(MissingFeaturesError) as error:
        Catalogue(root).one("toy", "absent", "flip", views=4, source="my/folder")
    assert "hamcache extract --dataset my/folder --backbones absent --augmentations flip --views 4" in str(error.value)
    assert "net/none" in str(error.value)


def test_two_fitting_stores_are_not_guessed_between(make_store, root):
    a, b = make_store(), make_store(precision="bf16")
    with pytest.raises(AmbiguousStoreError, match="precision"):
        Catalogue(root).one("toy", "net", "none")
    assert Catalogue(root).one("toy", f"net@{b.key.digest[:8]}", "none").folder == b.folder
    assert Catalogue(root).one("toy", "net", "none", precision="fp32").folder == a.folder


def test_a_store_goes_by_its_folder_or_the_first_digits_of_its_key(make_store, root):
    store = make_store()
    for name in (store.folder, root.join(store.folder), store.key.digest[:6]):
        assert Catalogue(root).by_prefix(name).folder == store.folder
    with pytest.raises(MissingFeaturesError, match="cache ls"):
        Catalogue(root).by_prefix("zzz")


def test_new_stores_take_the_row_order_of_their_siblings(make_store, root, ids):
    make_store(image_ids=ids[::-1])
    assert Catalogue(root).layout("toy", ids) == (ids[::-1], 64)
    assert Catalogue(root).layout("other", ids[::-1]) == (ids, 64)


def test_a_creation_cut_off_is_no_store_and_is_swept_up(make_store, root):
    store = make_store()
    description = root.join(store.folder, "zarr.json")
    from pathlib import Path

    Path(description).write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    catalogue = Catalogue(root)
    assert catalogue.stores() == [] and catalogue.get(store.key) is None
    assert [x.why for x in catalogue.leftovers()] == ["creation was cut off"]
    again = make_store()
    fill(again)
    assert catalogue.get(again.key) is not None and catalogue.leftovers() == []


def test_leftovers_are_partial_files_and_chunks_out_of_bounds_and_nothing_else(make_store, root):
    from pathlib import Path

    store = make_store()
    fill(store, views=(0, 1))
    folder = Path(root.join(store.folder, "features", "c", "0", "0"))
    (folder / "0.abc.partial").write_bytes(b"half")
    stray = Path(root.join(store.folder, "features", "c", "99", "0"))
    stray.mkdir(parents=True)
    (stray / "0").write_bytes(b"stray")
    found = Catalogue(root).leftovers()
    assert sorted(x.path.rsplit("/", 4)[-1] for x in found) == ["0", "0.abc.partial"]
    for leftover in found:
        root.remove(leftover.path)
    assert list(verify(store)) == [] and Catalogue(root).leftovers() == []


def test_removing_the_last_store_of_a_backbone_removes_its_folder(make_store, root):
    from pathlib import Path

    store = make_store()
    Catalogue(root).remove(store.folder)
    assert not Path(root.join("toy", "net")).exists()


def test_only_one_process_writes_a_data_set_at_a_time(root):
    with writing(root, "toy"):
        with pytest.raises(CacheInUseError, match="Another process"), writing(root, "toy"):
            pass
        with writing(root, "another"):
            pass
    with writing(root, "toy"):
        pass


def test_an_image_stays_in_quarantine_until_its_bytes_change(root):
    quarantine = Quarantine(root, "toy")
    quarantine.add(BadImage("a", digest_of("a"), "not an image"), BadImage("b", "missing", "file missing"))
    again = Quarantine(root, "toy")
    assert set(again.among({"a": digest_of("a"), "b": "missing", "c": digest_of("c")})) == {"a", "b"}
    assert set(again.among({"a": digest_of("mended"), "b": digest_of("b")})) == set()
    again.release("a")
    assert set(Quarantine(root, "toy").among({"a": digest_of("a"), "b": "missing"})) == {"b"}


@pytest.mark.parametrize("content", ["", "null", "[1]", "{}", '[{"image_id": "a"}]', "[" * 100_000, "\udcff"])
def test_a_damaged_quarantine_is_set_aside_with_a_warning_and_blocks_nothing(root, caplog, content):
    path = Path(root.join("toy", "quarantine.json"))
    path.parent.mkdir(parents=True)
    path.write_bytes(content.encode(errors="surrogateescape"))
    quarantine = Quarantine(root, "toy")
    assert len(quarantine) == 0 and "quarantine.json is damaged" in caplog.text
    assert path.read_bytes() == content.encode(errors="surrogateescape")
    quarantine.add(BadImage("a", digest_of("a"), "empty file"))
    assert len(Quarantine(root, "toy")) == 1
    assert path.with_name("quarantine.json.damaged").read_bytes() == content.encode(errors="surrogateescape")
