"""Features as a DataFrame: the cache's own numbers, with what is known of each image."""

import numpy as np
import pandas as pd
import pytest

from hamcache.cache.errors import MissingFeaturesError
from hamcache.lab import Lab


@pytest.fixture(scope="module")
def lab(make_world) -> Lab:
    world = make_world()
    world.extract("net_a", "flip", views=2)
    world.extract("net_b", "flip", views=2)
    return Lab(world.csv, world.workspace)


def test_rows_are_images_and_columns_are_features_of_one_view(lab: Lab) -> None:
    frame = lab.features_frame("net_a+net_b", "flip", view=1)
    assert list(frame.columns[:5]) == ["label", "group", "part", "net_a.0", "net_a.1"] and len(frame.columns) == 3 + 16
    expected = np.concatenate([lab.features(name, "flip", 2)[:, 1] for name in ("net_a", "net_b")], axis=1)
    np.testing.assert_array_equal(frame.iloc[:, 3:].to_numpy(), expected)
    table = lab.table.frame.set_index("image_id")
    assert frame["label"].equals(table["label"]) and frame["group"].equals(table["group"])
    split = lab.split()
    for part in ("train", "validation", "test"):
        assert sorted(frame.index[frame["part"] == part]) == sorted(split.ids(part))
    assert (frame["part"] == "").sum() == len(frame) - len(split.frame)


def test_features_that_are_not_there_are_named(lab: Lab) -> None:
    with pytest.raises(MissingFeaturesError, match="net_c"):
        lab.features_frame("net_c")


def test_a_frame_becomes_the_data_set_of_a_lab(lab: Lab) -> None:
    known = lab.table.frame[["path", "label", "group"]]
    kept = Lab.of(pd.DataFrame(known), "kept", lab.workspace)
    assert repr(kept).startswith("Lab('kept'") and sorted(kept.table.frame["path"]) == sorted(known["path"])
    assert Lab("kept", lab.workspace).table.fingerprint == kept.table.fingerprint
