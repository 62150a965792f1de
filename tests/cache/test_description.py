"""What describes a store: not one value of it can be edited unnoticed."""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from hamcache.cache.errors import CorruptStoreError, OldStoreError
from hamcache.cache.plan import make_plan
from hamcache.cache.store import FeatureStore
from tests.cache.conftest import DIM, digest_of, fill


def edited(content: Any) -> Iterator[tuple[str, Any]]:
    """Every content that differs from this one in one value, with the place of that value."""
    for place, value in list(leaves(content)):
        others = (value + 1, 1e9, -1, 10**20, str(value)) if isinstance(value, int) else (f"{value}x", None, 7)
        for other in others:
            copy = deepcopy(content)
            inner = copy
            for step in place[:-1]:
                inner = inner[step]
            inner[place[-1]] = other
            yield f"{place} -> {other!r}", copy


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in inner:
        yield from leaves(part, (*place, name))
    if not isinstance(value, dict | list):
        yield place, value


@pytest.mark.parametrize("name", ["zarr.json", "features/zarr.json"])
def test_any_value_of_a_description_that_was_edited_is_noticed_and_mended(make_store, root, ids, name):
    store = make_store()
    fill(store)
    path = Path(root.join(store.folder, name))
    right = path.read_bytes()
    tried = 0
    for what, content in edited(json.loads(right)):
        path.write_text(json.dumps(content))
        try:
            opened = FeatureStore.open(root, store.folder)
            noticed = not make_plan([(opened, 1)], {i: digest_of(i) for i in ids}).is_described
        except CorruptStoreError:
            noticed = True
        assert noticed, what
        FeatureStore.prepare(root, store.key, DIM, ids, store.provenance).describe()
        assert path.read_bytes() == right, what
        tried += 1
    assert tried > 30


def test_a_store_of_a_later_layout_is_refused_and_left_as_it_is(make_store, root, ids, monkeypatch):
    monkeypatch.setattr("hamcache.cache.description.LAYOUT", 3)
    store = make_store()
    monkeypatch.undo()
    before = Path(root.join(store.folder, "zarr.json")).read_bytes()
    with pytest.raises(OldStoreError, match="Update hamcache"):
        FeatureStore.open(root, store.folder)
    with pytest.raises(OldStoreError, match="expected layout 2, got 3"):
        FeatureStore.prepare(root, store.key, DIM, ids, {})
    assert Path(root.join(store.folder, "zarr.json")).read_bytes() == before
