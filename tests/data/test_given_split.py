from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from hamcache.data.curation import Curation
from hamcache.data.errors import LeakError, SplitError, SplitNotFoundError
from hamcache.data.given_split import GivenSplit, given_split
from hamcache.data.splits import Split, make_split
from hamcache.data.subset import write_csv
from hamcache.data.table import ImageTable, build_table
from hamcache.pipeline.cli.app import app


def table_of(parts: list[str], size: int = 2) -> ImageTable:
    """Groups of `size` images, of two classes by turns; a published part for each in the column `fold`."""
    rows = [(f"g{n:03d}", "ab"[n % 2], part) for n, part in enumerate(parts) for _ in range(size)]
    frame = pd.DataFrame(rows, columns=["group", "label", "fold"])
    return build_table("moles", frame.assign(image_id=[f"i{n:04d}" for n in range(len(frame))], path="x.jpg"))


def given(table: ImageTable, file: Path | None = None, column: str | None = None) -> GivenSplit:
    found = given_split(table, file, column)
    assert found is not None
    return found


TABLE = table_of(["Train"] * 20 + ["valid"] * 4 + [" TEST "] * 6 + [""] * 3)
WITHOUT_VALIDATION = table_of(["training"] * 40 + ["test"] * 10)


def test_a_column_gives_the_parts_and_images_without_one_are_left_out_and_counted() -> None:
    parts = given(TABLE, column="fold")
    (split,) = parts.splits(TABLE, seed=5)
    assert split.frame["part"].value_counts().to_dict() == {"train": 40, "test": 12, "validation": 8}
    assert parts.without_part(TABLE) == 6
    assert parts.without_part(TABLE, Curation({"i0060": "blurred", "i0000": "blurred"})) == 5
    assert split.fingerprint == parts.splits(TABLE, seed=6)[0].fingerprint  # nothing was drawn


def test_what_was_saved_is_read_back_with_its_fingerprint(tmp_path: Path) -> None:
    made = make_split(TABLE, seed=3, test_fraction=0.25)
    made.save(tmp_path / "split.csv")
    (split,) = given(TABLE, tmp_path / "split.csv").splits(TABLE, seed=9)
    assert split.fingerprint == made.fingerprint and split.policy == "one_per_lesion"


def test_a_file_of_others_says_the_same_as_a_column(tmp_path: Path) -> None:
    path = tmp_path / "published.csv"
    TABLE.frame[["image_id", "fold"]].rename(columns={"fold": "split"}).to_csv(path, index=False)
    in_file, in_column = (given(TABLE, *place).splits(TABLE)[0] for place in ((path,), (None, "fold")))
    assert in_file.fingerprint == in_column.fingerprint


def test_an_absent_validation_part_is_drawn_from_train_by_the_seed_in_whole_groups() -> None:
    parts = given(WITHOUT_VALIDATION, column="fold")
    splits = [parts.splits(WITHOUT_VALIDATION, seed=seed, validation_fraction=0.25)[0] for seed in (0, 0, 1)]
    validation = [set(split.ids("validation")) for split in splits]
    assert validation[0] == validation[1] != validation[2]
    for split in splits:
        counts = split.frame.groupby(["part", "label"]).size()
        assert counts["validation"].to_dict() == {"a": 10, "b": 10} and counts["test"].sum() == 20
        assert (split.frame.groupby("group")["part"].nunique() == 1).all()


def test_folds_deal_all_but_the_given_test_part() -> None:
    folds = given(TABLE, column="fold").splits(TABLE, n_folds=4)
    (plain,) = given(TABLE, column="fold").splits(TABLE)
    assert [split.fold for split in folds] == ["1/4", "2/4", "3/4", "4/4"]
    assert all(split.ids("test") == plain.ids("test") for split in folds)
    assert sorted(i for split in folds for i in split.ids("validation")) == sorted(
        plain.ids("train") + plain.ids("validation")
    )
    with pytest.raises(SplitError, match="in each of 30 folds"):
        given(TABLE, column="fold").splits(TABLE, n_folds=30)


def test_a_leak_between_groups_is_an_error_that_names_them() -> None:
    frame = TABLE.frame.copy()
    frame.loc[[0, 47], "fold"] = "test"
    table = build_table("moles", frame)
    with pytest.raises(LeakError, match=r"column 'fold'.*2 group\(s\).*g000 \(test\+train\), g023 \(test\+val"):
        given(table, column="fold").splits(table)
    with pytest.raises(LeakError, match="g029"):  # merged over the border of two parts
        given(TABLE, column="fold").splits(TABLE, curation=Curation(merged={"g000": "g029"}))
    (split,) = given(table, column="fold").splits(table, curation=Curation({"i0000": "", "i0047": ""}))
    assert len(split.frame) == 58


def test_a_saved_split_of_merged_groups_wants_them_merged(tmp_path: Path) -> None:
    curation = Curation(merged={"g000": "g002"})
    made = make_split(TABLE, "grouped", curation=curation)
    made.save(tmp_path / "split.csv")
    parts = given(TABLE, tmp_path / "split.csv")
    assert parts.splits(TABLE, curation=curation)[0].fingerprint == made.fingerprint
    with pytest.raises(SplitError, match="give merge_groups as it was made"):
        parts.splits(TABLE)


def test_what_gives_no_parts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    for content, message in (
        ("image_id,dx\ni0000,a\n", "expected the columns image_id and part, but found: image_id, dx"),
        ("image_id,part\ni0000,trian\n", "did you mean 'train'"),
        ("image_id,part\ni0000,\n", "none has one"),
        ("image_id,part\nzzz,train\n", "1 are not in it: zzz"),
        ("image_id,part\ni0000,train\ni0000,test\n", "repeated: line 2, line 3"),
    ):
        path.write_text(content)
        with pytest.raises(SplitError, match=message):
            given(TABLE, path).splits(TABLE)
    with pytest.raises(SplitNotFoundError):
        given_split(TABLE, tmp_path / "absent.csv")
    with pytest.raises(SplitError, match="did you mean 'fold'"):
        given_split(TABLE, column="folds")
    make_split(TABLE).save(path)
    path.write_text(path.read_text().replace(",train", ",test", 1))
    with pytest.raises(SplitError, match="take out its lines that begin with #"):
        given_split(TABLE, path)


def test_the_command_shows_a_given_split_and_writes_one_that_it_reads(tmp_path: Path) -> None:
    data, out, again = (tmp_path / name for name in ("moles.csv", "split.csv", "again.csv"))
    write_csv(TABLE, data)
    words = ["data", "split", "--dataset", str(data), "--workspace", str(tmp_path)]
    result = CliRunner().invoke(app, [*words, "--split-column", "fold", "--out", str(out)])
    assert result.exit_code == 0 and "6 images have no part" in result.output, result.output
    result = CliRunner().invoke(app, [*words, "--split-file", str(out), "--out", str(again)])
    assert result.exit_code == 0 and out.read_text() == again.read_text(), result.output
    assert Split.load(out).policy == "given"
    result = CliRunner().invoke(app, [*words, "--split-column", "fold", "--policy", "grouped"])
    assert result.exit_code == 2 and "expected no policy" in result.output
