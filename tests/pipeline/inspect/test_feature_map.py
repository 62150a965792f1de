"""Maps of the features: deterministic, found again by what decides them, made anew where that changes."""

import importlib
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from hamcache.pipeline.errors import MapError, MissingExtraError
from hamcache.pipeline.inspect import feature_map
from hamcache.pipeline.inspect.feature_map import map_features
from hamcache.pipeline.inspect.neighbours import JointSpace


@pytest.fixture
def store(world):
    return world.extract(skill=2.0)


def rows_of(world, store) -> np.ndarray:
    features = store.read(world.table().frame["image_id"].tolist(), [0])[:, 0]
    return JointSpace.of([features]).place([features])


def test_pca_is_that_of_scikit_learn_in_the_unit_square(world, store) -> None:
    frame = map_features(world.config(), world.workspace, "pca").frame
    expected = PCA(2).fit_transform(rows_of(world, store))
    expected -= expected.min(axis=0)
    places = frame[["x", "y"]].to_numpy()
    assert np.abs(np.abs(np.corrcoef(places[:, 0], expected[:, 0])[0, 1]) - 1) < 1e-5
    assert (
        places.min() == 0
        and places.max() == 1
        and frame["image_id"].tolist() == world.table().frame["image_id"].tolist()
    )


def test_tsne_keeps_neighbours_and_is_the_same_again(world, store) -> None:
    first = map_features(world.config(), world.workspace, "tsne")
    assert trustworthiness(rows_of(world, store), first.frame[["x", "y"]].to_numpy()) > 0.9
    found = map_features(world.config(), world.workspace, "tsne")
    assert found.reused and not first.reused and found.frame.equals(first.frame)
    (path,) = (world.workspace.maps / "moles").glob("tsne-*.csv")
    path.write_text("image_id,x,y\nimg0001,0,nan\n")  # damaged: made anew, the same
    again = map_features(world.config(), world.workspace, "tsne")
    assert not again.reused and again.frame.equals(first.frame)


def test_what_decides_a_map_is_in_its_key(own_world) -> None:
    own_world.extract()
    make = lambda *about: map_features(own_world.config(), own_world.workspace, "pca", *about)  # noqa: E731
    make()
    assert make().reused and not make(1).reused
    other = own_world.config("features=net_b")
    own_world.extract("net_b")
    assert not map_features(other, own_world.workspace, "pca").reused
    assert len(list((own_world.workspace.maps / "moles").iterdir())) == 3


def test_a_large_data_set_is_drawn_from(world, store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_map, "MOST_IMAGES", 60)
    made = map_features(world.config(), world.workspace, "pca")
    assert len(made.frame) == 60 and made.images == len(world.table())


def test_umap_is_an_extra(world, store) -> None:
    real = importlib.import_module
    with (
        mock.patch.object(feature_map, "import_module", side_effect=ImportError),
        pytest.raises(MissingExtraError, match=r"hamcache\[umap\]"),
    ):
        map_features(world.config(), world.workspace, "umap")
    assert feature_map.import_module is real
    with pytest.raises(MapError, match="method"):
        map_features(world.config(), world.workspace, "tsn")


def test_umap_lays_out_the_same_again(world, store) -> None:
    pytest.importorskip("umap")
    first = map_features(world.config(), world.workspace, "umap")
    assert trustworthiness(rows_of(world, store), first.frame[["x", "y"]].to_numpy()) > 0.8
    for path in (world.workspace.maps / "moles").iterdir():
        path.unlink()
    pd.testing.assert_frame_equal(map_features(world.config(), world.workspace, "umap").frame, first.frame)
