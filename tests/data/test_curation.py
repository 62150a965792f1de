from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from hamcache.data.curation import NOTHING, Curation, merge, read_curation
from hamcache.data.errors import CurationError, DatasetNotFoundError, SplitError, TableError
from hamcache.data.splits import PARTS, POLICIES, Split, make_folds, make_split
from hamcache.data.table import ImageTable, build_table

GROUPS = 45
names = st.sampled_from([f"g{n:02d}" for n in range(GROUPS)])
merges = st.lists(st.tuples(names, names), max_size=12)


def table() -> ImageTable:
    """45 groups of 1 to 3 images in three classes, 15 groups a class."""
    rows = [(f"g{g:02d}", "abc"[g % 3], n) for g in range(GROUPS) for n in range(1 + g // 3 % 3)]
    frame = pd.DataFrame({"image_id": [f"{g}_{n}" for g, _, n in rows], "path": "x.jpg"})
    return build_table("table", frame.assign(label=[label for _, label, _ in rows], group=[g for g, _, _ in rows]))


TABLE = table()
images = st.sets(st.sampled_from(list(TABLE.frame["image_id"])), max_size=8)


def connected(pairs: list[tuple[str, str]]) -> dict[str, set[str]]:
    """By a slow and simple way: which groups hang together with each."""
    sets = {g: {g} for pair in pairs for g in pair}
    for _ in pairs:
        for a, b in pairs:
            both = sets[a] | sets[b]
            for member in both:
                sets[member] = both
    return sets


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@given(merges)
def test_groups_get_one_name_exactly_where_they_hang_together(pairs: list[tuple[str, str]]) -> None:
    merged, sets = merge(pairs), connected(pairs)
    for a in sets:
        for b in sets:
            assert (merged.get(a, a) == merged.get(b, b)) == (b in sets[a])
        assert merged.get(a, a) in sets[a]


@given(merges, st.randoms(use_true_random=False))
def test_the_order_of_merges_and_repeating_them_changes_nothing(pairs: list[tuple[str, str]], random) -> None:
    other = pairs + pairs[:3]
    random.shuffle(other)
    assert merge(other) == merge(pairs)


def test_a_chain_ends_where_it_leads() -> None:
    assert merge([("c", "b"), ("b", "a")]) == {"b": "a", "c": "a"}
    assert merge([("a", "b"), ("b", "c")]) == {"a": "c", "b": "c"}
    assert merge([("x", "y"), ("y", "x")]) == {"y": "x"}
    assert merge([("x", "x")]) == {}


@settings(max_examples=40)
@given(merges, images, st.sampled_from(POLICIES), st.integers(0, 3), st.randoms(use_true_random=False))
def test_merged_groups_never_straddle_and_excluded_images_never_appear(
    pairs: list[tuple[str, str]], excluded: set[str], policy: str, seed: int, random
) -> None:
    curation = Curation(dict.fromkeys(excluded, ""), merge(pairs))
    split = try_split(policy, seed, curation)
    part_of = split.frame.groupby("group")["part"].nunique()
    assert (part_of == 1).all()
    raw = TABLE.frame.set_index("image_id")["group"]
    parts = split.frame.assign(raw=raw.reindex(split.frame["image_id"]).to_numpy()).groupby("raw")["part"].agg(set)
    for together in connected(pairs).values():
        assert len(set().union(*(parts[g] for g in together if g in parts.index))) <= 1
    assert not excluded & set(split.frame["image_id"])
    if policy == "one_per_lesion":
        left = curation.apply(TABLE.frame)
        assert sorted(split.frame["group"]) == sorted(set(left["group"]))
    random.shuffle(pairs)
    frame = TABLE.frame.sample(frac=1, random_state=seed, ignore_index=True)
    other = make_split(ImageTable("table", frame, TABLE.classes), policy, seed=seed, curation=curation)
    assert other.fingerprint == split.fingerprint


@settings(max_examples=40)
@given(merges, images, st.sampled_from(POLICIES), st.integers(0, 3))
def test_no_image_moves_but_those_of_merged_groups(
    pairs: list[tuple[str, str]], excluded: set[str], policy: str, seed: int
) -> None:
    curation = Curation(dict.fromkeys(excluded, ""), merge(pairs))
    split = try_split(policy, seed, curation)
    before = make_split(TABLE, policy, seed=seed).frame.set_index("group")["part"]
    renamed = set(curation.merged) | set(curation.merged.values())
    touched = set(TABLE.frame.set_index("image_id")["group"].reindex(sorted(excluded))) | renamed
    after = split.frame[~split.frame["group"].isin(renamed)]
    for group, part in zip(after["group"], after["part"], strict=True):
        assert part == (before[group] if isinstance(before[group], str) else before[group].iloc[0])
    untouched = ~TABLE.frame["group"].isin(touched)
    kept = set(make_split(TABLE, policy, seed=seed).frame["image_id"]) & set(TABLE.frame["image_id"][untouched])
    assert kept <= set(split.frame["image_id"])


def try_split(policy: str, seed: int, curation: Curation) -> Split:
    """The split; an example of which too few groups of a class are left is rejected."""
    try:
        return make_split(TABLE, policy, seed=seed, curation=curation)
    except SplitError as error:
        assert "too few groups" in str(error)
        reject()


@settings(max_examples=15)
@given(merges, st.sampled_from(["grouped", "one_per_lesion"]))
def test_merged_groups_are_in_one_fold(pairs: list[tuple[str, str]], policy: str) -> None:
    curation = Curation({}, merge(pairs))
    try:
        folds = make_folds(TABLE, 3, policy=policy, curation=curation)
    except SplitError:
        reject()
    raw = TABLE.frame.set_index("image_id")["group"]
    validated = [set(raw.reindex(fold.ids("validation"))) for fold in folds]
    for together in connected(pairs).values():
        assert sum(bool(together & part) for part in validated) <= 1
    everything = [i for fold in folds for i in fold.ids("validation")]
    assert len(everything) == len(set(everything))


def test_without_a_curation_nothing_changes() -> None:
    assert not NOTHING
    assert make_split(TABLE, curation=Curation()).fingerprint == make_split(TABLE).fingerprint


def test_another_image_of_the_lesion_takes_the_place_of_the_one_that_is_left_out() -> None:
    before = make_split(TABLE).frame.set_index("group")
    group = TABLE.frame["group"].value_counts().index[0]
    after = make_split(TABLE, curation=Curation({before.loc[group, "image_id"]: ""})).frame.set_index("group")
    assert after.loc[group, "image_id"] != before.loc[group, "image_id"]
    assert after.loc[group, "part"] == before.loc[group, "part"]
    assert after.drop(index=group).equals(before.drop(index=group))


@pytest.mark.parametrize("policy", POLICIES)
def test_groups_of_other_labels_can_be_merged(policy: str) -> None:
    curation = Curation({}, merge([("g03", "g04"), ("g04", "g05"), ("g07", "g06")]))
    split = make_split(TABLE, policy, curation=curation)
    mixed = split.frame.groupby("group")["label"].nunique()
    assert mixed.max() == (1 if policy == "one_per_lesion" else 3)
    assert set(split.frame["part"]) == set(PARTS)


def test_a_lesion_of_one_image_that_becomes_one_of_two_is_not_held_out_as_a_single_one() -> None:
    fractions = {"test_fraction": 0.4, "validation_fraction": 0.2}
    before = make_split(TABLE, "single_image_lesions", **fractions).frame
    first, other = before[before["part"] == "test"].drop_duplicates("label")["group"][:2]
    curation = Curation({}, {other: first})
    after = make_split(TABLE, "single_image_lesions", **fractions, curation=curation).frame
    assert list(after["part"][after["group"] == first]) == ["train", "train"]


def test_files_are_read_with_their_reasons_in_any_order(tmp_path: Path) -> None:
    out = write(tmp_path / "out.csv", 'image_id,reason\ng05_0,blurred\ng01_0,"twice, the same"\ng05_0,other\n')
    one = write(tmp_path / "one.csv", "into;group;reason\ng02;g01;same\ng03;g02;same\n")
    curation = read_curation(TABLE, out, one)
    assert curation.excluded == {"g01_0": "twice, the same", "g05_0": "blurred"}
    assert curation.merged == {"g01": "g03", "g02": "g03"}
    again = read_curation(
        TABLE,
        write(tmp_path / "a.csv", "image_id\ng05_0\ng01_0\n"),
        write(tmp_path / "b.csv", "group,into\ng02,g03\ng01,g02\n"),
    )
    assert again.content == curation.content


def test_files_without_rows_change_nothing(tmp_path: Path) -> None:
    out, one = write(tmp_path / "a.csv", "image_id,reason\n"), write(tmp_path / "b.csv", "group,into,reason\n")
    assert not read_curation(TABLE, out, one)
    assert not read_curation(TABLE)


@pytest.mark.parametrize(
    ("exclude", "merged", "message"),
    [
        (
            "image_id\ng00_0\ng10-0\nnone\n",
            None,
            r"2 are not in it: 'g10-0' \(line 3\), 'none' \(line 4\).*mean 'g10_0'",
        ),
        (None, "group,into\ng00,g01\ng00,lesion\n", r"groups of table 'table', but 1 are not.*'lesion' \(line 3\)"),
        (None, "group,into\ng00,\n", r"one is empty in 1 row\(s\): line 2"),
        (None, "group,target\ng00,g01\n", r"into is missing; found: group, target"),
        ("id\ng00_0\n", None, r"image_id is missing; found: id"),
        ("image_id\n" + "\n".join(TABLE.frame["image_id"]), None, "all are to be left out"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, exclude: str | None, merged: str | None, message: str
) -> None:
    out = None if exclude is None else write(tmp_path / "out.csv", exclude)
    one = None if merged is None else write(tmp_path / "one.csv", merged)
    with pytest.raises(CurationError, match=message) as caught:
        read_curation(TABLE, out, one)
    assert isinstance(caught.value, ValueError)


def test_a_file_that_is_not_there_or_no_csv_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"absent\.csv"):
        read_curation(TABLE, tmp_path / "absent.csv")
    with pytest.raises(TableError, match="the file is empty"):
        read_curation(TABLE, write(tmp_path / "empty.csv", ""))


def test_a_curation_of_another_table_is_refused_by_the_split() -> None:
    with pytest.raises(CurationError, match="'strange'"):
        make_split(TABLE, curation=Curation({"strange": ""}))
    with pytest.raises(CurationError, match="'strange'"):
        make_folds(TABLE, 3, curation=Curation({}, {"strange": "g01"}))


def test_a_class_that_is_wholly_left_out_is_no_obstacle() -> None:
    gone = dict.fromkeys(TABLE.frame["image_id"][TABLE.frame["label"] == "a"], "")
    assert set(make_split(TABLE, curation=Curation(gone)).frame["label"]) == {"b", "c"}
