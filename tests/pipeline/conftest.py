"""A small data set with features in a real cache: classes differ by their mean, so that heads can learn them."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import yaml

from hamcache.cache.keys import FeatureKey
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from hamcache.data.readers.resolve import read_dataset
from hamcache.data.table import ImageTable
from hamcache.data.workspace import Workspace
from hamcache.extract.augmentations import get_augmentation
from hamcache.pipeline.cli.pictures import draw_pictures
from hamcache.pipeline.config.overrides import parse_settings
from hamcache.pipeline.config.schema import ExperimentConfig, load_config
from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig, load_sweep_config

CLASSES = ("bkl", "mel", "nv")
SHARES = (0.25, 0.15, 0.6)
DIM = 8


@dataclass(frozen=True)
class World:
    """A workspace, a CSV data set beside it, and the means its features are drawn around."""

    workspace: Workspace
    csv: Path

    def table(self) -> ImageTable:
        return read_dataset(str(self.csv), workspace=self.workspace)

    def extract(
        self,
        backbone: str = "net_a",
        augmentation: str = "none",
        views: int = 1,
        *,
        precision: str = "fp32",
        storage: str = "float32",
        skill: float = 1.5,
        lesion: float = 0.0,
        seed: int = 0,
        images: Sequence[str] | None = None,
    ) -> FeatureStore:
        """Fill a store as an extraction would: class means plus noise, drawn per backbone, image and view.

        With `lesion` the images of one lesion have something in common, of that size.
        """
        table = self.table()
        recipe = get_augmentation(augmentation)
        key = FeatureKey(
            table.name, backbone, "0" * 64, {"size": 8}, recipe.to_dict(), seed, precision, storage=storage
        )
        root = Root(self.workspace / "features")
        ids = list(table.frame["image_id"]) if images is None else list(images)
        store = FeatureStore.prepare(root, key, DIM, ids, {"dataset": str(self.csv)})
        labels = dict(zip(table.frame["image_id"], table.labels(), strict=True))
        groups = dict(zip(table.frame["image_id"], table.frame["group"], strict=True))
        paths = dict(zip(table.frame["image_id"], table.frame["path"], strict=True))
        means = np.random.default_rng(sum(backbone.encode())).normal(size=(len(CLASSES), DIM)) * skill
        for chunk in range(store.n_chunks):
            inside = store.chunk_ids(chunk)
            for view in range(views):
                name = "plain" if view == 0 and recipe.starts_plain else f"{augmentation}{view}"
                features = np.stack([means[labels[i]] + noise(backbone, i, name) for i in inside])
                features += lesion * np.stack([noise(backbone, groups[i]) for i in inside])
                digests = [sha256(Path(paths[i]).read_bytes()).hexdigest() for i in inside]
                place = store.place(chunk, view)
                store.write_chunk(place, range(len(inside)), features.astype(np.float32), digests)
        store.set_views(views)
        return store

    def config(self, *overrides: str, base: dict | None = None) -> ExperimentConfig:
        defaults = {"dataset": str(self.csv), "features": "net_a", "head": "logreg", **(base or {})}
        return load_config(None, parse_settings(overrides), base=defaults)


def noise(*name: str) -> np.ndarray:
    return np.random.default_rng(list("|".join(name).encode())).normal(size=DIM)


def write_dataset(folder: Path, lesions: int = 160) -> Path:
    """A CSV of lesions with 1 to 3 images, and image files that only have bytes to be digested."""
    rng = np.random.default_rng(7)
    rows = ["image_id,path,label,group"]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for lesion in range(lesions):
        label = CLASSES[lesion] if lesion < 3 else rng.choice(CLASSES, p=SHARES)
        for _ in range(rng.integers(1, 4)):
            image_id = f"img{len(rows):04d}"
            (folder / "images" / f"{image_id}.jpg").write_text(f"pixels of {image_id}")
            rows.append(f"{image_id},images/{image_id}.jpg,{label},lesion{lesion:03d}")
    path = folder / "moles.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def without_checksums(folder: Path, record: str = "provenance.json") -> Path:
    """Makes an artefact one of those that were written before there were checksums; returns its folder."""
    content = json.loads((folder / record).read_text())
    kept = {key: value for key, value in content.items() if key not in ("sha256", "seal")}
    (folder / record).write_text(json.dumps(kept))
    return folder


@pytest.fixture(scope="session")
def dataset_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set that tests share; who damages its files takes `own_world`."""
    return write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def world(tmp_path: Path, dataset_csv: Path) -> World:
    """An empty workspace beside the shared data set."""
    return World(Workspace(tmp_path / "workspace"), dataset_csv)


@pytest.fixture
def own_world(tmp_path: Path) -> World:
    """An empty workspace beside a data set of this test's own."""
    return World(Workspace(tmp_path / "workspace"), write_dataset(tmp_path / "data"))


@pytest.fixture(scope="session")
def known_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose table tells more: age and sex hint at the class, some values are absent."""
    path = write_dataset(tmp_path_factory.mktemp("known"))
    rng = np.random.default_rng(1)
    rows, lesions = path.read_text().splitlines(), {}
    for n, row in enumerate(rows[1:], start=1):
        label, lesion = row.split(",")[2:]
        if lesion not in lesions:
            age = int(rng.normal({"bkl": 70, "mel": 60, "nv": 40}[label], 10))
            sex = rng.choice(["female", "male"], p=[0.8, 0.2] if label == "mel" else [0.4, 0.6])
            site = rng.choice(["arm", "back", "face"])
            lesions[lesion] = f"{age if len(lesions) % 9 else ''},{sex if len(lesions) % 7 else ''},{site}"
        rows[n] += f",{lesions[lesion]},{'histo' if n % 2 else 'follow_up'}"
    path.write_text("\n".join([rows[0] + ",age,sex,localization,dx_type", *rows[1:]]) + "\n")
    return path


@pytest.fixture
def known_world(tmp_path: Path, known_csv: Path) -> World:
    """An empty workspace beside the data set whose table tells more."""
    return World(Workspace(tmp_path / "workspace"), known_csv)


@pytest.fixture(scope="session")
def make_world(tmp_path_factory: pytest.TempPathFactory, dataset_csv: Path) -> Callable[[], World]:
    """A function that makes another workspace, for fixtures that live longer than a test."""
    return lambda: World(Workspace(tmp_path_factory.mktemp("workspace")), dataset_csv)


@pytest.fixture(scope="package", autouse=True)
def _no_plots() -> Iterator[None]:
    """Runs are drawn for tests that ask for `plots` only: it would take longer than the runs of these small worlds."""
    with mock.patch("hamcache.pipeline.cli.pictures.draw_pictures", lambda *_: None):
        yield


@pytest.fixture
def plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets runs be drawn, as they are by default."""
    monkeypatch.setattr("hamcache.pipeline.cli.pictures.draw_pictures", draw_pictures)


@pytest.fixture
def sweep_of(tmp_path: Path, dataset_csv: Path) -> Callable[..., SweepConfig]:
    """A function that loads a sweep of the small data set: its space, overrides, and other values."""

    def load(space: dict[str, Any], *overrides: str, experiment: Any = None, **more: Any) -> SweepConfig:
        content = {"experiment": {"dataset": str(dataset_csv), **(experiment or {})}, "space": space, **more}
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return load_sweep_config(path, parse_settings(overrides))

    return load
