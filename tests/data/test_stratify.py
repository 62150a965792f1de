from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from hamcache.data.ham10000 import read_table
from hamcache.data.stratify import deal_folds, hold_out, one_image_per_group, shuffled

SIZES = [("nv", 1, 300), ("nv", 2, 60), ("nv", 3, 45), ("mel", 1, 30), ("mel", 2, 55), ("mel", 5, 20)]
"""Label, images a group, groups."""


def images(groups: list[tuple[str, int]]) -> pd.DataFrame:
    """One row an image; `groups` gives the label and the number of images of each group."""
    rows = [(f"g{g}", label) for g, (label, size) in enumerate(groups) for _ in range(size)]
    frame = pd.DataFrame(rows, columns=["group", "label"])
    return frame.assign(image_id=[f"i{n}" for n in range(len(frame))])


def test_a_shuffle_depends_on_the_key_and_the_names_alone() -> None:
    names = [f"n{n}" for n in range(50)]
    assert shuffled(names, "a") == shuffled(names[::-1], "a")
    assert shuffled(names, "a") != shuffled(names, "b")
    kept = [name for name in shuffled(names, "a") if name in names[:30]]
    assert kept == shuffled(names[:30], "a")


def test_a_shuffle_is_even() -> None:
    first = [shuffled("abcd", str(key))[0] for key in range(2000)]
    assert all(440 < first.count(name) < 560 for name in "abcd")


def test_one_image_of_each_group_is_kept_and_each_has_the_same_chance() -> None:
    frame = images([("nv", 3)] * 600)
    kept = one_image_per_group(frame, seed=0)
    assert sorted(kept["group"]) == sorted(set(frame["group"]))
    position = kept.index.to_numpy() % 3
    assert all(160 < (position == place).sum() < 240 for place in range(3))
    assert list(kept["image_id"]) != list(one_image_per_group(frame, seed=1)["image_id"])


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("sizes", [(1, 1), (6, 1), (1, 1, 6), (6, 6, 1, 1), (2,) * 7])
def test_a_class_of_two_groups_or_more_is_on_both_sides(fraction: float, sizes: tuple[int, ...]) -> None:
    frame = images([("nv", 1)] * 30 + [("df", size) for size in sizes])
    held_out = frame["group"].isin(hold_out(frame, fraction, "key"))
    assert set(frame["label"][held_out]) == set(frame["label"][~held_out]) == {"nv", "df"}


def test_a_group_of_several_labels_stays_whole() -> None:
    frame = images([("nv", 2)] * 20 + [("mel", 2)] * 20)
    frame.loc[::4, "label"] = "mel"
    held_out = hold_out(frame, 0.25, "key")
    shares = frame["group"].isin(held_out).groupby(frame["label"]).mean()
    assert shares.between(0.15, 0.35).all()


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, 0.8])
def test_groups_of_all_sizes_are_held_out_in_the_same_proportion(fraction: float) -> None:
    frame = images([(label, size) for label, size, n in SIZES for _ in range(n)])
    held_out = frame["group"].isin(hold_out(frame, fraction, "key"))
    groups = frame.assign(size=frame.groupby("group")["image_id"].transform("size"), held=held_out)
    found = groups.drop_duplicates("group").groupby(["label", "size"])["held"].sum()
    for label, size, n in SIZES:
        assert abs(found[label, size] - fraction * n) <= 1.5, (label, size)


def test_the_test_part_of_real_ham10000_has_as_many_photographs_of_a_lesion_as_the_rest(real_ham10000: Path) -> None:
    table = read_table(real_ham10000).frame
    several = table.groupby("group")["image_id"].transform("size") > 1
    held_out = table["group"].isin(hold_out(table, 0.2, "key"))
    for label in ("mel", "nv"):
        here = several[table["label"] == label].groupby(held_out[table["label"] == label]).mean()
        assert abs(here[True] - here[False]) < 0.02, label


def test_folds_of_real_ham10000_are_as_even_as_those_of_scikit_learn(real_ham10000: Path) -> None:
    table = read_table(real_ham10000)
    labels, groups = table.labels(), table.frame["group"].to_numpy()

    def unevenness(fold: np.ndarray) -> float:
        counts = np.array([np.bincount(labels[fold == number], minlength=7) for number in range(5)])
        return float(np.abs(counts - counts.mean(axis=0)).max())

    theirs = np.zeros(len(table), dtype=int)
    reference = StratifiedGroupKFold(n_splits=5, shuffle=True, random_state=0)
    for number, (_, rows) in enumerate(reference.split(labels, labels, groups)):
        theirs[rows] = number
    fold_of = deal_folds(table.frame, 5, "key")
    ours = table.frame["group"].map(fold_of).to_numpy()
    assert unevenness(ours) <= unevenness(theirs)
    assert np.ptp(np.bincount(ours)) <= np.ptp(np.bincount(theirs))
