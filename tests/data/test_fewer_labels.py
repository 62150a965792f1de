from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hamcache.data.errors import SplitError
from hamcache.data.fewer_labels import fewer_labels
from hamcache.data.splits import make_split
from tests.data.test_splits import table_of

TABLE = table_of([(label, 1 + n % 3) for label in "abc" for n in range(60)])
WHOLE = make_split(TABLE, "grouped")


@settings(max_examples=20)
@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.integers(0, 3))
def test_a_smaller_share_is_part_of_a_larger_one_and_the_other_parts_stay(one: float, other: float, seed: int) -> None:
    small, large = (fewer_labels(WHOLE, train_share=share, seed=seed) for share in sorted((one, other)))
    assert set(small.ids("train")) <= set(large.ids("train")) <= set(WHOLE.ids("train"))
    for part in ("validation", "test"):
        assert small.ids(part) == WHOLE.ids(part)
    train = WHOLE.frame[WHOLE.frame["part"] == "train"]
    kept = small.frame[small.frame["part"] == "train"]
    assert set(kept["group"]) & set(train["group"][~train["image_id"].isin(kept["image_id"])]) == set()  # whole groups
    for label, groups in train.groupby("label")["group"].nunique().items():
        assert abs(kept["group"][kept["label"] == label].nunique() - max(1, min(one, other) * groups)) <= 0.5


def test_shots_are_so_many_lesions_of_each_class_an_image_each_and_nested() -> None:
    splits = [fewer_labels(WHOLE, shots=shots, seed=1) for shots in (1, 2, 4, 8)]
    for shots, split in zip((1, 2, 4, 8), splits, strict=True):
        train = split.frame[split.frame["part"] == "train"]
        assert train["label"].value_counts().to_dict() == dict.fromkeys("abc", shots) and train["group"].is_unique
    assert all(set(a.ids("train")) < set(b.ids("train")) for a, b in pairwise(splits))
    assert fewer_labels(WHOLE, shots=4, seed=2).ids("train") != splits[2].ids("train")


def test_the_share_is_in_the_fingerprint_and_a_whole_train_part_keeps_its_own() -> None:
    assert fewer_labels(WHOLE) is WHOLE
    prints = {split.fingerprint for split in (WHOLE, fewer_labels(WHOLE, shots=2), fewer_labels(WHOLE, shots=3))}
    assert len(prints) == 3
    # As version 0.1 computed it, before there were shares.
    assert WHOLE.fingerprint == "32f4be464008fbe02ea56d9eb9e342cb4c48c1ee2a788ce990da61472d6c7d61"


def test_a_fewer_split_is_saved_and_loaded(tmp_path) -> None:
    split = fewer_labels(WHOLE, train_share=0.25)
    split.save(tmp_path / "split.csv")
    loaded = type(split).load(tmp_path / "split.csv")
    assert loaded.train_share == 0.25 and loaded.fingerprint == split.fingerprint


def test_more_shots_than_a_class_has_are_refused() -> None:
    with pytest.raises(SplitError, match=r"100 or more groups .* 'a' has 36. Take fewer shots"):
        fewer_labels(WHOLE, shots=100)
    with pytest.raises(SplitError, match="got both"):
        fewer_labels(WHOLE, shots=1, train_share=0.5)
