"""Any file of a store, a run or an archive damaged: refused by a short error, or read exactly as it was."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.storage import Root
from hamcache.data.dataset import open_dataset
from hamcache.data.readers.imported import Terms
from hamcache.data.workspace import Workspace
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.use.share.feature_archive import export_features, import_features
from tests.fuzz.conftest import Outcome, examples, is_refused_or
from tests.fuzz.words import values
from tests.pipeline.conftest import World, write_dataset


@dataclass(frozen=True)
class Kept:
    """A workspace with a store and a run, an archive of the store, and all that they held when they were whole."""

    workspace: Workspace
    archive: Path
    features: np.ndarray
    ids: list[str]
    digests: dict[str, str]
    run: str


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    root = tmp_path_factory.mktemp("kept")
    world = World(Workspace(root / "workspace"), write_dataset(root / "data", lesions=40))
    store = world.extract()
    run = run_experiment(world.config(), world.workspace)
    export_features([store], world.table(), root / "features.hamcache", Terms())
    ids = list(store.image_ids)
    digests = open_dataset(str(world.csv), world.workspace).digests
    return Kept(world.workspace, root / "features.hamcache", store.read(ids, [0], digests), ids, digests, run.id)


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """What may happen to a file: cut, emptied, a byte changed, filled up, replaced, or a value of its JSON changed."""
    kind, share, junk, value = (
        draw(st.integers(0, 6)),
        draw(st.floats(0, 1)),
        draw(st.binary(max_size=20)),
        draw(values()),
    )
    steps = draw(st.lists(st.integers(0, 50), min_size=1, max_size=6))

    def damage(content: bytes) -> bytes:
        at = int(share * max(len(content) - 1, 0))
        match kind:
            case 0:
                return content[:at]
            case 1:
                return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] if content else b"x"
            case 2:
                return content + junk + b"\0"
            case 3:
                return junk
            case 4:
                return json.dumps(value).encode()
        try:
            whole = json.loads(content)
        except ValueError:
            return content[at:] + content[:at]
        return json.dumps(changed(whole, steps, value)).encode()

    return damage


def changed(whole: Any, steps: Sequence[int], value: Any) -> Any:
    """Nested values with one of them, to which the steps lead, replaced."""
    if not steps or not isinstance(whole, dict | list) or not whole:
        return value
    keys = list(whole) if isinstance(whole, dict) else range(len(whole))
    key = keys[steps[0] % len(keys)]
    whole[key] = changed(whole[key], steps[1:], value)
    return whole


def damaged(folder: Path, which: int, damage: Callable[[bytes], bytes]) -> Path:
    """Damage one of the files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = files[which % len(files)]
    path.write_bytes(damage(path.read_bytes()))
    return path


@examples(40)
@given(which=st.integers(0, 50), damage=damages())
def test_a_damaged_store_gives_the_same_vectors_or_none(
    kept: Kept, tmp_path_factory: pytest.TempPathFactory, which: int, damage: Callable[[bytes], bytes]
) -> None:
    copy = tmp_path_factory.mktemp("copy") / "features"
    shutil.copytree(kept.workspace.path / "features", copy)
    damaged(copy, which, damage)

    def read() -> np.ndarray:
        (store,) = Catalogue(Root(copy)).find("moles", "net_a")
        return store.read(kept.ids, [0], kept.digests)

    try:
        again = is_refused_or(read)
    except ValueError as error:  # no store is found where its description is lost
        assert "not enough values" in str(error)
        again = None
    assert again is None or np.array_equal(again, kept.features)
    shutil.rmtree(copy.parent)


@examples(30)
@given(which=st.integers(0, 50), damage=damages())
def test_a_damaged_workspace_is_listed_and_verified_to_the_end(
    kept: Kept,
    command_line: Callable[[Sequence[str]], Outcome],
    tmp_path_factory: pytest.TempPathFactory,
    which: int,
    damage: Callable[[bytes], bytes],
) -> None:
    copy = tmp_path_factory.mktemp("copy") / "workspace"
    shutil.copytree(kept.workspace.path, copy)
    damaged(copy, which, damage)
    for line in (
        "cache ls",
        "cache verify",
        "runs",
        f"runs show {kept.run}",
        "cache gc",
        f"compare {kept.run} {kept.run}",
    ):
        command_line([*line.split(), "--workspace", str(copy)]).is_fine()
    shutil.rmtree(copy.parent)


@examples(40)
@given(damage=damages())
def test_a_damaged_archive_is_refused_or_imported_as_it_was(
    kept: Kept, tmp_path_factory: pytest.TempPathFactory, damage: Callable[[bytes], bytes]
) -> None:
    folder = tmp_path_factory.mktemp("import")
    file, workspace = folder / "features.hamcache", Workspace(folder / "workspace")
    file.write_bytes(damage(kept.archive.read_bytes()))
    imported = is_refused_or(lambda: import_features(file, workspace, Root(workspace.features)))
    if imported is not None:
        (store,) = Catalogue(Root(workspace.features)).find("moles", "net_a")
        assert np.array_equal(store.read(kept.ids, [0], kept.digests), kept.features)
    else:
        assert not list(folder.rglob("*.zarr"))
    shutil.rmtree(folder)
