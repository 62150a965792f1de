"""The parts of the leakage demonstration: one test set, trains that differ in siblings alone, and never a split."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hamcache.data.errors import LeakError
from hamcache.data.ham10000 import read_table
from hamcache.data.splits import Split, make_split
from hamcache.data.table import ImageTable, build_table
from hamcache.pipeline.errors import LeakageError
from hamcache.pipeline.experiment.learning import Part
from hamcache.pipeline.studies.leakage.leaky_parts import ARMS, Draw, draw, open_images


def table_of(groups: list[tuple[str, int]]) -> ImageTable:
    """A table whose groups have the labels and numbers of images that are given."""
    rows = [(f"group{g}", label) for g, (label, size) in enumerate(groups) for _ in range(size)]
    frame = pd.DataFrame(rows, columns=["group", "label"])
    return build_table("table", frame.assign(image_id=[f"i{n:04d}" for n in range(len(frame))], path="x.jpg"))


def as_split(made: Draw, arm: str) -> Split:
    """What somebody would do who wanted to save the parts."""
    frames = [part.frame.assign(part=name) for name, part in made.arms[arm].items()]
    return Split(pd.concat(frames), policy="grouped", seed=made.seed)


def trains(made: Draw) -> list[pd.DataFrame]:
    return [made.arms[arm]["train"].frame for arm in ("honest", "leaky")]


def groups_by_class(part: Part) -> Counter:
    return Counter(part.frame.drop_duplicates("group")["label"])


def images_by_group(part: Part) -> list[int]:
    return sorted(Counter(part.groups).values())


tables = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5)), max_size=30).map(
    lambda further: table_of([(label, size) for label in "abc" for size in (1, 2, 3) for _ in range(6)] + further)
)


@settings(max_examples=30)
@given(table=tables, seed=st.integers(0, 99))
def test_honest_and_leaky_differ_in_nothing_but_siblings_of_test_images(table: ImageTable, seed: int) -> None:
    made = draw(table, seed)
    honest, leaky, careless = (made.arms[arm] for arm in ("honest", "leaky", "careless"))
    assert honest["test"].ids == leaky["test"].ids == careless["test"].ids
    assert honest["validation"].ids == leaky["validation"].ids
    assert np.bincount(honest["train"].y).tolist() == np.bincount(leaky["train"].y).tolist()

    group_of = dict(zip(table.frame["image_id"], table.frame["group"], strict=True))
    tested = {group_of[image_id] for image_id in honest["test"].ids}
    assert not tested & {group_of[i] for part in ("train", "validation") for i in honest[part].ids}
    joined = set(leaky["train"].ids) - set(honest["train"].ids)
    siblings = {i for i in careless["train"].ids if group_of[i] in tested}
    assert joined <= siblings
    assert {i for i in siblings if group_of[i] in {group_of[j] for j in joined}} == joined
    for count in (groups_by_class, images_by_group):
        assert count(honest["train"]) == count(leaky["train"])
    assert made.replaced == len(joined)
    in_train = {group_of[image_id] for image_id in leaky["train"].ids}
    assert made.has_sibling.tolist() == [group_of[image_id] in in_train for image_id in leaky["test"].ids]


@settings(max_examples=15)
@given(table=tables, seed=st.integers(0, 99))
def test_the_honest_parts_are_a_split_and_the_leaky_ones_can_never_be_one(table: ImageTable, seed: int) -> None:
    made = draw(table, seed)
    for arm in ("honest", "careful"):
        as_split(made, arm)
    for arm in ("leaky", "careless"):
        with pytest.raises(LeakError, match="in several"):
            as_split(made, arm)


@settings(max_examples=15)
@given(table=tables, seed=st.integers(0, 99), order=st.integers(0, 9))
def test_a_draw_depends_on_the_seed_and_the_images_alone(table: ImageTable, seed: int, order: int) -> None:
    other = ImageTable(table.name, table.frame.sample(frac=1, random_state=order, ignore_index=True), table.classes)
    made, again, next_one = draw(table, seed), draw(other, seed), draw(table, seed + 1)
    for arm in ARMS:
        for name, part in made.arms[arm].items():
            assert sorted(part.ids) == sorted(again.arms[arm][name].ids)
    assert made.arms["honest"]["test"].ids != next_one.arms["honest"]["test"].ids


def test_each_part_has_its_share_of_every_class() -> None:
    table = table_of([("a", 1)] * 200 + [("a", 2)] * 100 + [("b", 1)] * 40 + [("b", 3)] * 40)
    images = table.frame["label"].value_counts()
    made = draw(table, 0)
    for arm, part, share in (("honest", "test", 0.2), ("careless", "validation", 0.2), ("careful", "test", 0.2)):
        counts = made.arms[arm][part].frame["label"].value_counts()
        assert ((counts - share * images).abs() <= 2).all(), (arm, part)


def test_siblings_are_in_train_as_often_as_a_random_split_of_images_puts_them_there() -> None:
    table = table_of([("a", 2)] * 500 + [("a", 1)] * 500)
    shares = [draw(table, seed).has_sibling.mean() for seed in range(5)]
    # A test image has a sibling with chance 1000/1500, which is in train with chance 0.6 (three parts: 60, 20, 20 %).
    assert np.mean(shares) == pytest.approx(0.6 * 1000 / 1500, abs=0.02)


def test_lesions_of_the_closed_test_set_and_quarantined_images_take_no_part(ham10000_table: ImageTable) -> None:
    closed = make_split(ham10000_table).ids("test")
    left_out = set(list(ham10000_table.frame["image_id"])[:2])
    frame = ham10000_table.frame
    shut = set(frame["group"][frame["image_id"].isin(closed)])
    pool = open_images(ham10000_table, set(closed), left_out)
    assert not shut & set(pool.frame["group"]) and not left_out & set(pool.frame["image_id"])
    assert len(pool) == len(frame[~frame["group"].isin(shut) & ~frame["image_id"].isin(left_out)])


def test_where_nothing_can_leak_there_is_nothing_to_show() -> None:
    with pytest.raises(LeakageError, match=r"all 30 images .* a CSV that has a group column"):
        open_images(table_of([("a", 1)] * 30), set())


@pytest.mark.parametrize("rare", [[("c", 2)], [("c", 5)]])
def test_a_class_of_one_group_is_refused(rare: list[tuple[str, int]]) -> None:
    with pytest.raises(LeakageError, match=r"the honest train part of seed 0 has none of c: too few groups of it"):
        draw(table_of([("a", 2)] * 20 + [("b", 2)] * 20 + rare), 0)


@pytest.mark.parametrize("rare", [[("c", 1)] * 2, [("c", 1), ("c", 2)], [("c", 30)] * 4])
def test_a_class_of_few_or_large_groups_can_be_trained_on_in_every_arm(rare: list[tuple[str, int]]) -> None:
    made = draw(table_of([("a", 2)] * 20 + [("b", 2)] * 20 + rare), 0, test_fraction=0.02)
    assert all("c" in set(parts["train"].frame["label"]) for parts in made.arms.values())


def test_a_third_of_real_test_images_has_a_sibling_in_train(real_ham10000) -> None:
    table = read_table(real_ham10000)
    pool = open_images(table, set(make_split(table).ids("test")))
    made = draw(pool, 0)
    assert (len(pool), len(made.has_sibling)) == (7965, 1592)
    assert 0.29 < made.has_sibling.mean() < 0.35
    # The kinds of lesions are the same, too: those photographed often are of other kinds than those photographed once.
    size = pool.frame.groupby("group").size()
    kinds = [Counter(zip(f["label"], f["group"].map(size), strict=True)) for f in trains(made)]
    assert sum(((kinds[0] - kinds[1]) + (kinds[1] - kinds[0])).values()) < 0.05 * len(made.arms["leaky"]["train"])
