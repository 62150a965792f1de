import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hamcache.data.errors import LeakError, SplitError, SplitNotFoundError
from hamcache.data.ham10000 import read_table
from hamcache.data.splits import PARTS, POLICIES, Split, make_folds, make_split
from hamcache.data.table import ImageTable, build_table


def table_of(groups: list[tuple[str, int]]) -> ImageTable:
    """A table whose groups have the labels and numbers of images that are given."""
    rows = [(f"group{g}", label) for g, (label, size) in enumerate(groups) for _ in range(size)]
    frame = pd.DataFrame(rows, columns=["group", "label"])
    return build_table("table", frame.assign(image_id=[f"i{n:04d}" for n in range(len(frame))], path="x.jpg"))


def reordered(table: ImageTable, seed: int) -> ImageTable:
    """The same table with its rows in another order, as one who makes an ImageTable by hand may have them."""
    return ImageTable(table.name, table.frame.sample(frac=1, random_state=seed, ignore_index=True), table.classes)


def parts_of_groups(split: Split) -> pd.Series:
    return split.frame.groupby("group")["part"].nunique()


# Three classes; each has 8 groups with one image, and further ones of 1 to 6.
tables = st.builds(
    lambda further: table_of([(label, 1) for label in "abc" for _ in range(8)] + further),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), max_size=40),
)
fractions = st.sampled_from([0.1, 0.15, 0.2, 0.3, 1 / 3])
laws = settings(max_examples=40, deadline=None)


@laws
@given(tables, st.sampled_from(POLICIES), fractions, fractions, st.integers(0, 5))
def test_no_group_is_in_two_parts_and_every_class_is_in_all(
    table: ImageTable, policy: str, test: float, validation: float, seed: int
) -> None:
    split = make_split(table, policy, seed=seed, test_fraction=test, validation_fraction=validation)
    assert (parts_of_groups(split) == 1).all()
    assert len(set(zip(split.frame["label"], split.frame["part"], strict=True))) == 3 * 3
    rows = split.frame.merge(table.frame, on=["image_id", "group", "label"])
    assert len(rows) == len(split.frame)


@laws
@given(tables, st.sampled_from(POLICIES), st.integers(1, 9), st.integers(0, 9))
def test_the_test_part_depends_on_no_seed_and_nothing_on_the_order_of_rows(
    table: ImageTable, policy: str, seed: int, order: int
) -> None:
    split = make_split(table, policy, seed=seed)
    assert make_split(table, policy, seed=0).ids("test") == split.ids("test")
    assert make_split(reordered(table, order), policy, seed=seed).fingerprint == split.fingerprint


@laws
@given(tables, fractions, fractions, st.integers(0, 5))
def test_one_image_per_lesion_is_stratified_within_rounding(
    table: ImageTable, test: float, validation: float, seed: int
) -> None:
    split = make_split(table, seed=seed, test_fraction=test, validation_fraction=validation)
    groups = table.frame.groupby("label")["group"].nunique()
    for part, fraction in (("test", test), ("validation", validation)):
        counts = split.frame["label"][split.frame["part"] == part].value_counts()
        assert ((counts - fraction * groups).abs() < 1).all()


@laws
@given(tables, fractions, fractions, st.integers(0, 5))
def test_grouped_is_stratified_within_the_size_of_a_group(
    table: ImageTable, test: float, validation: float, seed: int
) -> None:
    split = make_split(table, "grouped", seed=seed, test_fraction=test, validation_fraction=validation)
    images = table.frame["label"].value_counts()
    for part, fraction in (("test", test), ("validation", validation)):
        counts = split.frame["label"][split.frame["part"] == part].value_counts()
        assert ((counts - fraction * images).abs() <= 6).all()


@laws
@given(tables, st.sampled_from(["grouped", "one_per_lesion"]), st.integers(2, 5), st.sampled_from([0, 0.2]))
def test_each_group_outside_test_is_validated_in_one_fold(
    table: ImageTable, policy: str, n_folds: int, test_fraction: float
) -> None:
    folds = make_folds(table, n_folds, policy=policy, test_fraction=test_fraction)
    validated = [image_id for fold in folds for image_id in fold.ids("validation")]
    assert len(set(validated)) == len(validated)
    assert set(validated) == set(folds[0].frame["image_id"]) - set(folds[0].ids("test"))
    assert len({tuple(fold.ids("test")) for fold in folds}) == 1
    assert all((parts_of_groups(fold) == 1).all() for fold in folds)
    if test_fraction:
        assert folds[0].ids("test") == make_split(table, policy).ids("test")


def test_another_seed_gives_another_validation_part(ham10000_table: ImageTable) -> None:
    splits = [make_split(ham10000_table, "grouped", seed=seed) for seed in (0, 1)]
    assert splits[0].ids("validation") != splits[1].ids("validation")
    assert splits[0].fingerprint != splits[1].fingerprint


def test_another_test_seed_gives_another_test_part(ham10000_table: ImageTable) -> None:
    splits = [make_split(ham10000_table, "grouped", test_seed=seed) for seed in (0, 1)]
    assert splits[0].ids("test") != splits[1].ids("test")


def test_the_image_kept_of_a_lesion_does_not_depend_on_the_seed(ham10000_table: ImageTable) -> None:
    kept = [set(make_split(ham10000_table, seed=seed).frame["image_id"]) for seed in (0, 1)]
    assert kept[0] == kept[1]
    assert len(kept[0]) == ham10000_table.frame["group"].nunique()


def test_all_train_images_join_train_and_nothing_else_changes(ham10000_table: ImageTable) -> None:
    one = make_split(ham10000_table, train_images="one")
    every = make_split(ham10000_table, train_images="all")
    for part in ("validation", "test"):
        assert one.ids(part) == every.ids(part)
        assert every.frame["group"][every.frame["part"] == part].is_unique
    train_groups = set(one.frame["group"][one.frame["part"] == "train"])
    in_train_groups = ham10000_table.frame["group"].isin(train_groups)
    assert every.ids("train") == list(ham10000_table.frame["image_id"][in_train_groups])
    assert len(every.ids("train")) > len(one.ids("train"))


def test_single_image_lesions_puts_all_others_into_train(ham10000_table: ImageTable) -> None:
    split = make_split(ham10000_table, "single_image_lesions")
    sizes = ham10000_table.frame.groupby("group").size()
    held_out = split.frame[split.frame["part"] != "train"]
    assert (sizes[held_out["group"]] == 1).all()
    assert len(split.frame) == len(ham10000_table)


def test_grouped_keeps_all_images(ham10000_table: ImageTable) -> None:
    assert len(make_split(ham10000_table, "grouped").frame) == len(ham10000_table)


def test_the_test_part_may_be_empty(ham10000_table: ImageTable) -> None:
    split = make_split(ham10000_table, test_fraction=0)
    assert split.ids("test") == []
    assert split.ids("validation")


def test_a_class_without_images_is_no_obstacle(ham10000_table: ImageTable) -> None:
    frame = ham10000_table.frame
    part = ham10000_table.subset(list(frame["image_id"][frame["label"] != "df"]))
    assert "df" not in set(make_split(part).frame["label"])


@pytest.mark.parametrize(
    ("policy", "rare", "message"),
    [
        ("one_per_lesion", [1, 3], r"'rare'.*2 group\(s\), of which policy 'one_per_lesion' can draw 2.*none is left"),
        ("grouped", [1, 3], r"'rare'.*2 group\(s\)"),
        ("single_image_lesions", [1, 3, 3, 3], r"'rare'.*4 group\(s\), of which .* can draw 1, and none"),
    ],
)
def test_a_class_of_too_few_groups_is_named_with_its_counts(policy: str, rare: list[int], message: str) -> None:
    table = table_of([("common", 1)] * 20 + [("rare", size) for size in rare])
    with pytest.raises(SplitError, match=message):
        make_split(table, policy)


def test_a_class_of_three_groups_is_enough(ham10000_table: ImageTable) -> None:
    table = table_of([("common", 1)] * 20 + [("rare", 1)] * 3)
    assert set(make_split(table).frame.query("label == 'rare'")["part"]) == set(PARTS)


def test_a_class_of_fewer_groups_than_folds_is_named_with_the_fold() -> None:
    table = table_of([("common", 1)] * 20 + [("rare", 1)] * 4)
    with pytest.raises(SplitError, match=r"'rare'.*none is left for validation in fold \d/5"):
        make_folds(table, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policy": "groupd"}, "unknown split policy 'groupd'; did you mean 'grouped'"),
        ({"test_fraction": -0.1}, "got test -0.1"),
        ({"validation_fraction": 0}, "validation 0"),
        ({"test_fraction": 0.5, "validation_fraction": 0.5}, r"test \+ validation < 1"),
        ({"test_fraction": float("nan")}, "got test nan"),
        ({"train_images": "al"}, "did you mean 'all'"),
        (
            {"policy": "grouped", "train_images": "all"},
            "policy 'one_per_lesion' with train_images='all', but 'grouped'",
        ),
    ],
)
def test_wrong_arguments_are_refused(ham10000_table: ImageTable, arguments: dict, message: str) -> None:
    with pytest.raises(SplitError, match=message):
        make_split(ham10000_table, **arguments)


def test_folds_refuse_wrong_arguments(ham10000_table: ImageTable) -> None:
    with pytest.raises(SplitError, match="n_folds of 2 or more"):
        make_folds(ham10000_table, 1)
    with pytest.raises(SplitError, match="for folds, but got 'single_image_lesions'"):
        make_folds(ham10000_table, 3, policy="single_image_lesions")


def test_an_unknown_part_offers_the_nearest(ham10000_table: ImageTable) -> None:
    with pytest.raises(SplitError, match="did you mean 'validation'"):
        make_split(ham10000_table).ids("valid")


def test_a_split_with_a_leak_cannot_be_made(ham10000_table: ImageTable) -> None:
    frame = make_split(ham10000_table, "grouped").frame
    sizes = frame.groupby("group")["image_id"].transform("size")
    leaking = frame[sizes > 1].iloc[0]
    other = "test" if leaking["part"] == "train" else "train"
    frame.loc[frame["image_id"] == leaking["image_id"], "part"] = other
    with pytest.raises(LeakError, match=rf"1 group\(s\) are in several: {leaking['group']} \("):
        Split(frame, policy="grouped", seed=0)


def test_a_saved_split_comes_back_as_it_was(ham10000_table: ImageTable, tmp_path: Path) -> None:
    splits = [make_split(ham10000_table, policy, seed=3, test_fraction=0.25) for policy in POLICIES]
    splits += make_folds(ham10000_table, 3)
    odd_groups = ham10000_table.frame["group"] + ', "é#'
    splits.append(make_split(build_table("odd", ham10000_table.frame.assign(group=odd_groups))))
    for split in splits:
        split.save(tmp_path / "new" / "split.csv")
        loaded = Split.load(tmp_path / "new" / "split.csv")
        pd.testing.assert_frame_equal(loaded.frame, split.frame)
        assert loaded.settings == split.settings
        assert loaded.fingerprint == split.fingerprint


def test_a_saved_split_is_a_plain_csv_below_its_header(ham10000_table: ImageTable, tmp_path: Path) -> None:
    split = make_split(ham10000_table)
    split.save(tmp_path / "split.csv")
    assert '# policy: "one_per_lesion"\n# seed: 0\n' in (tmp_path / "split.csv").read_text()
    plain = pd.read_csv(tmp_path / "split.csv", comment="#")
    assert list(plain["image_id"]) == list(split.frame["image_id"])


def test_a_saved_split_whose_column_is_named_split_is_read(ham10000_table: ImageTable, tmp_path: Path) -> None:
    split = make_split(ham10000_table)
    split.save(tmp_path / "split.csv")
    text = (tmp_path / "split.csv").read_text()
    (tmp_path / "split.csv").write_text(text.replace("label,part\n", "label,split\n"))
    assert Split.load(tmp_path / "split.csv").fingerprint == split.fingerprint


def test_a_loaded_split_that_leaks_is_refused(ham10000_table: ImageTable, tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    split = make_split(ham10000_table, "single_image_lesions")
    split.save(path)
    sizes = split.frame.groupby("group")["image_id"].transform("size")
    row = ",".join(split.frame[sizes > 1].iloc[0])
    path.write_text(path.read_text().replace(row, row.replace(",train", ",test")))
    with pytest.raises(LeakError, match="in several"):
        Split.load(path)


def test_any_changed_or_lost_line_of_a_saved_split_is_noticed(ham10000_table: ImageTable, tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    make_split(ham10000_table).save(path)
    lines = path.read_text().splitlines(keepends=True)
    for number, line in enumerate(lines):
        for other in ("", line.replace("0", "1").replace("train", "test")):
            if other != line:
                path.write_text("".join([*lines[:number], other, *lines[number + 1 :]]))
                with pytest.raises(SplitError):
                    Split.load(path)


@pytest.mark.parametrize("content", [b"", b"image_id,group,label,split\na,b,c,train\n", b"\xff\xfe", b"# x\n"])
def test_a_file_that_is_no_split_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "split.csv").write_bytes(content)
    with pytest.raises(SplitError, match=r"a split that hamcache saved, but .* is none"):
        Split.load(tmp_path / "split.csv")


def test_a_split_that_is_not_there_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SplitNotFoundError) as caught:
        Split.load(tmp_path / "split.csv")
    assert isinstance(caught.value, FileNotFoundError)


def test_a_split_knows_whether_it_belongs_to_a_table(ham10000_table: ImageTable) -> None:
    split = make_split(ham10000_table)
    split.check_table(ham10000_table)
    first = split.frame["image_id"][0]
    frame = ham10000_table.frame
    regrouped = frame.assign(group=frame["group"].where(frame["image_id"] != first, "other"))
    fewer = ham10000_table.subset([i for i in frame["image_id"] if i != first])
    for other in (build_table("regrouped", regrouped), fewer):
        with pytest.raises(SplitError, match=f"1 of its images .* {first}"):
            split.check_table(other)


def test_a_split_is_the_same_in_every_process(ham10000_folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from hamcache.data.ham10000 import read_table; from hamcache.data.splits import make_split;"
        "print(make_split(read_table(Path(sys.argv[1])), seed=1).fingerprint)"
    )
    here = make_split(read_table(ham10000_folder), seed=1).fingerprint
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", code, str(ham10000_folder)], cwd=root, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == here


def test_real_ham10000_splits_have_the_sizes_of_the_protocol(real_ham10000: Path) -> None:
    table = read_table(real_ham10000)
    sizes = {
        policy: {part: len(split.ids(part)) for part in PARTS}
        for policy, split in ((policy, make_split(table, policy)) for policy in POLICIES)
    }
    assert sizes == {
        "one_per_lesion": {"train": 4480, "validation": 1495, "test": 1495},
        "single_image_lesions": {"train": 7809, "validation": 1103, "test": 1103},
        "grouped": {"train": 6009, "validation": 2003, "test": 2003},
    }
