"""A wrong digest in the memory of digests heals: whoever reads the bytes notices, and the file is hashed again."""

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hamcache.cache.catalogue import Catalogue
from hamcache.data.dataset import Dataset, open_dataset
from hamcache.data.workspace import Workspace
from hamcache.pipeline.config.schema import load_config
from hamcache.pipeline.experiment.extraction import FeatureWords, extract_features
from hamcache.pipeline.experiment.runner import run_experiment

NET = "random/test_resnet.r160_in1k"


@pytest.fixture
def words(ham10000_folder: Path) -> str:
    """A data set whose files were all written a while ago, so that their digests are remembered."""
    for path in ham10000_folder.rglob("*.jpg"):
        os.utime(path, ns=(10**18, 10**18))
    return str(ham10000_folder)


@pytest.fixture
def opened(words: str, workspace: Workspace) -> Callable[[], Dataset]:
    """Open the data set as a new process would."""
    return lambda: open_dataset(words, workspace)


def misremember(workspace: Workspace, dataset: Dataset, *numbers: int) -> None:
    """Write valid but wrong digests of some images into the memory: those of their neighbours."""
    memory = workspace.digests(dataset.name)
    with memory.open(newline="") as file:
        header, *rows = csv.reader(file)
    wrong = {row[0]: rows[number - 1][3] for number, row in enumerate(rows) if number in numbers}
    with memory.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *([*r[:3], wrong.get(r[0], r[3])] for r in rows)])


def test_a_wrong_remembered_digest_of_a_complete_cache_heals(opened, workspace: Workspace) -> None:
    features = FeatureWords([NET], ["none", "flip"], views=2)
    right = opened()
    extract_features(right, workspace, features)
    before = {s.folder: s.read(s.image_ids, list(range(s.n_views))) for s in Catalogue(workspace.features).stores()}
    misremember(workspace, right, 3, 40)
    misled = opened()
    assert sum(misled.digests[i] != digest for i, digest in right.digests.items()) == 2

    summary = extract_features(misled, workspace, features)
    assert summary.n_decoded == 2 and len(summary.changed) == 2 and summary.quarantined == ()
    assert misled.digests == right.digests == opened().digests
    for store in Catalogue(workspace.features).stores():
        views = list(range(store.n_views))
        np.testing.assert_array_equal(store.read(store.image_ids, views, right.digests), before[store.folder])
    again = extract_features(opened(), workspace, features)
    assert again.n_decoded == again.n_written == 0 and again.changed == {}


def test_a_wrong_remembered_digest_of_an_empty_cache_heals(opened, workspace: Workspace) -> None:
    right = opened().digests
    misremember(workspace, opened(), 0, 77)
    summary = extract_features(opened(), workspace, FeatureWords([NET]))
    assert summary.n_written == 78 and len(summary.changed) == 2
    (store,) = Catalogue(workspace.features).stores()
    assert store.read(list(right), [0], right).shape[0] == 78
    assert extract_features(opened(), workspace, FeatureWords([NET])).n_decoded == 0


def test_a_wrong_remembered_digest_of_a_bad_image_heals(opened, workspace: Workspace) -> None:
    dataset = opened()
    path = Path(dataset.table.frame["path"][5])
    path.write_bytes(b"no image")
    os.utime(path, ns=(10**18, 10**18))
    right = opened().digests
    misremember(workspace, opened(), *range(78))
    first = extract_features(opened(), workspace, FeatureWords([NET]))
    assert [bad.image_id for bad in first.quarantined] == [dataset.table.frame["image_id"][5]]
    again = extract_features(opened(), workspace, FeatureWords([NET]))
    assert opened().digests == right and again.n_decoded == again.n_new_bad == 0 and len(again.quarantined) == 1


def test_a_training_from_images_heals_it_too_and_is_the_same_run(opened, words: str, workspace: Workspace) -> None:
    net = {"name": "simple_cnn", "conv": [[4, 3, 2, 0.1]], "fc": [[4, 0.1]] * 3, "image_size": [16, 24], "epochs": 1}
    config = load_config(None, {}, base={"dataset": words, "net": net})
    run = run_experiment(config, workspace)
    right = opened().digests
    misremember(workspace, opened(), 7)
    again = run_experiment(config, workspace)
    assert opened().digests == right and again.id == run.id and again.reused
    assert len(list((workspace.decoded / opened().name).iterdir())) == 1
