"""Stores of layout 1, made here as that version made them, brought to this one's layout."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.errors import CorruptStoreError, OldStoreError
from hamcache.cache.migrate import migrate, old_stores
from hamcache.cache.survey import Survey
from hamcache.cache.verify import verify
from tests.cache.conftest import DIM, KEY, digest_of, vectors_of


@pytest.fixture
def old(root, ids):
    """A store of layout 1 with two views, of which chunk 1 of view 1 is a hole."""
    group = zarr.create_group(root.join(KEY.folder))
    for name, width, dtype, fill in (("features", DIM, "float32", np.nan), ("digest", 32, "uint8", 0)):
        group.create_array(
            name,
            shape=(len(ids), 2, width),
            chunks=(64, 1, width),
            dtype=dtype,
            fill_value=fill,
            compressors=[ZstdCodec(level=1), Crc32cCodec()],
        )
    group.update_attributes(
        {
            "key": KEY.to_dict(),
            "key_digest": KEY.digest,
            "provenance": {"dataset": "some/folder", "created": "then"},
            "image_ids": ids,
            "image_ids_sha256": "not looked at",
        }
    )
    for view, rows in ((0, slice(0, 150)), (1, slice(0, 64)), (1, slice(128, 150))):
        group["features"][rows, view] = vectors_of(ids[rows], view)
        group["digest"][rows, view] = np.array([list(bytes.fromhex(digest_of(i))) for i in ids[rows]], np.uint8)
    return KEY.folder


def test_an_old_store_is_refused_by_name_until_it_was_migrated_to_the_bit(root, ids, old) -> None:
    with pytest.raises(OldStoreError, match=r"expected layout 2, got 1. Run `hamcache cache migrate`"):
        Catalogue(root).get(KEY)
    with pytest.raises(OldStoreError, match="cache migrate"):
        Catalogue(root).one("toy", "net", "none")
    assert old_stores(root) == [old] and Catalogue(root).leftovers() == []
    outcome = migrate(root, old)
    assert (outcome.n_vectors, outcome.n_damaged) == (150 + 86, 0)
    store = Catalogue(root).get(KEY)
    assert np.array_equal(store.read(ids)[:, 0], vectors_of(ids, 0))
    there = [*ids[:64], *ids[128:]]
    assert np.array_equal(store.read(there, [1])[:, 0], vectors_of(there, 1))
    assert list(Survey(store).made_from(1)) == there and store.provenance["created"] == "then"
    assert list(verify(store)) == [] and old_stores(root) == []


@pytest.mark.parametrize("survives", range(10))
def test_a_migration_that_was_killed_is_begun_again(root, ids, old, monkeypatch, survives) -> None:
    writes = []
    write, remove = type(root).write, type(root).remove

    def dies(do):
        def step(self, *args):
            if len(writes) == survives:
                raise KeyboardInterrupt
            writes.append(args)
            do(self, *args)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(type(root), "write", dies(write))
        patch.setattr(type(root), "remove", dies(remove))
        if survives < 9:
            with pytest.raises(KeyboardInterrupt):
                migrate(root, old)
        else:
            migrate(root, old)
    for folder in old_stores(root):
        migrate(root, folder)
    store = Catalogue(root).get(KEY)
    assert np.array_equal(store.read(ids)[:, 0], vectors_of(ids, 0)) and list(verify(store)) == []


def test_a_damaged_chunk_of_an_old_store_is_a_hole_afterwards(root, ids, old) -> None:
    chunk = Path(root.join(old, "features", "c", "1", "0", "0"))
    content = bytearray(chunk.read_bytes())
    content[20] ^= 1
    chunk.write_bytes(content)
    assert migrate(root, old).n_damaged == 1
    store = Catalogue(root).get(KEY)
    assert list(Survey(store).made_from(0)) == [*ids[:64], *ids[128:]] and list(verify(store)) == []


def test_an_old_description_that_is_damaged_changes_nothing(root, old) -> None:
    group = Path(root.join(old, "zarr.json"))
    group.write_text(group.read_text().replace('"backbone": "net"', '"backbone": "not"'))
    before = {path: path.read_bytes() for path in Path(root.join(old)).rglob("*") if path.is_file()}
    with pytest.raises(CorruptStoreError, match="cache rm"):
        migrate(root, old)
    assert before == {path: path.read_bytes() for path in Path(root.join(old)).rglob("*") if path.is_file()}
