from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from hamcache.data.errors import DatasetNotFoundError, TableError
from hamcache.data.readers.resolve import read_dataset
from hamcache.data.subset import stratified_subset, write_csv
from hamcache.data.table import ImageTable, build_table
from hamcache.data.workspace import Workspace
from hamcache.pipeline.cli.app import app


def table_of(sizes: dict[str, list[int]], folder: str = "/images") -> ImageTable:
    """Class -> images of each of its groups."""
    rows = [
        (f"{label}{g}_{n}", f"{folder}/{label}{g}_{n}.jpg", label, f"{label}{g}", 30 + n)
        for label, groups in sizes.items()
        for g, size in enumerate(groups)
        for n in range(size)
    ]
    return build_table("moles", pd.DataFrame(rows, columns=["image_id", "path", "label", "group", "age"]))


TABLE = table_of({"nv": [1] * 300 + [2] * 80 + [3] * 40, "mel": [1, 2] * 40, "df": [1, 4] * 5})


@example(images=len(TABLE) - 1, seed=0)
@given(images=st.integers(20, len(TABLE) - 1), seed=st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_a_subset_is_exact_whole_and_has_the_mix_of_the_whole(images: int, seed: int) -> None:
    found = stratified_subset(TABLE, images, seed)
    assert len(found) == images
    chosen = found.frame["group"].value_counts()
    assert (chosen == TABLE.frame["group"].value_counts()[chosen.index]).all()
    shares = TABLE.frame["label"].value_counts() * images / len(TABLE)
    counts = found.frame["label"].value_counts()
    assert (counts - shares).abs().max() < 5 and set(counts.index) == {"nv", "mel", "df"}
    assert found.classes == TABLE.classes


def test_the_choice_depends_on_the_seed_and_not_on_the_order_of_rows() -> None:
    shuffled = build_table("moles", TABLE.frame.sample(frac=1, random_state=3))
    first = stratified_subset(TABLE, 100)
    assert list(stratified_subset(shuffled, 100).frame["image_id"]) == list(first.frame["image_id"])
    assert set(stratified_subset(TABLE, 100, seed=1).frame["image_id"]) != set(first.frame["image_id"])


@pytest.mark.parametrize("images", [0, 2, len(TABLE), len(TABLE) + 1])
def test_what_is_no_subset_is_refused(images: int) -> None:
    with pytest.raises(
        TableError, match=rf"3 images \(one a class\) or more and fewer than all {len(TABLE)}.*got {images}"
    ):
        stratified_subset(TABLE, images)


def test_groups_that_fit_nowhere_leave_the_number_near() -> None:
    found = stratified_subset(table_of({"a": [4] * 10, "b": [4] * 10}), 30)
    assert len(found) == 28


def test_large_and_small_groups_are_as_frequent_as_in_the_whole() -> None:
    sizes = [stratified_subset(TABLE, 200, seed).frame.groupby("group").size() for seed in range(20)]
    whole = TABLE.frame.groupby("group").size().mean()
    assert sum(size.mean() for size in sizes) / len(sizes) == pytest.approx(whole, rel=0.05)


def test_a_class_of_large_groups_is_not_lost() -> None:
    found = stratified_subset(table_of({"a": [1] * 50, "b": [5] * 2}), 12)
    assert found.frame["label"].value_counts().to_dict() == {"a": 10, "b": 5}


def test_a_written_table_is_read_back_and_moves_with_its_images(tmp_path: Path) -> None:
    (tmp_path / "data" / "images").mkdir(parents=True)
    table = stratified_subset(table_of({"a": [1, 2, 3], "b": [2, 2]}, str(tmp_path / "data" / "images")), 6)
    for path in table.frame["path"]:
        Path(path).write_text("pixels")
    inside, outside = tmp_path / "data" / "few.csv", tmp_path / "elsewhere" / "few.csv"
    for path in (inside, outside):
        write_csv(table, path)
        read = read_dataset(str(path), workspace=Workspace(tmp_path))
        assert read.name == "few" and read.fingerprint == table.fingerprint and read.missing_files() == []
        pd.testing.assert_frame_equal(read.frame, table.frame)
    (tmp_path / "data").rename(tmp_path / "moved")
    assert read_dataset(str(tmp_path / "moved" / "few.csv"), workspace=Workspace(tmp_path)).missing_files() == []
    assert len(read_dataset(str(outside), workspace=Workspace(tmp_path)).missing_files()) == 6


def test_the_command_writes_a_data_set(tmp_path: Path) -> None:
    whole = tmp_path / "moles.csv"
    write_csv(table_of({"a": [1, 2, 3] * 5, "b": [2, 2] * 5}), whole)
    out = tmp_path / "sub" / "few.csv"
    words = ["data", "subset", "--dataset", str(whole), "--workspace", str(tmp_path), "--out", str(out)]
    result = CliRunner().invoke(app, [*words, "--images", "20"])
    assert result.exit_code == 0, result.output
    assert "20 of 50 images" in result.output and len(read_dataset(str(out), workspace=Workspace(tmp_path))) == 20
    before = out.read_bytes()
    wrong = CliRunner().invoke(app, [*words, "--images", "60"])
    assert wrong.exit_code == 1 and isinstance(wrong.exception, TableError) and out.read_bytes() == before


def test_a_name_for_a_subset_is_a_name_for_the_data_set(tmp_path: Path) -> None:
    whole, workspace = tmp_path / "moles.csv", Workspace(tmp_path / "w")
    write_csv(table_of({"a": [1, 2, 3] * 5, "b": [2, 2] * 5}), whole)
    words = ["data", "subset", "--dataset", str(whole), "--workspace", str(workspace), "--images", "20", "--out"]
    result = CliRunner().invoke(app, [*words, "few"])
    assert result.exit_code == 0, result.output
    table = read_dataset("few", workspace=workspace)
    assert table.name == "few" and len(table) == 20
    with pytest.raises(DatasetNotFoundError, match="did you mean 'few'"):
        read_dataset("fwe", workspace=workspace)
    for taken in ("synthetic", "sub/few", "few.txt.", "ham10000"):
        assert isinstance(CliRunner().invoke(app, [*words, taken]).exception, TableError)
