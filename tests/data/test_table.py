from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hamcache.data.errors import TableError
from hamcache.data.table import ImageTable, build_table, safe_name


def frame(**changes: list) -> pd.DataFrame:
    columns = {
        "image_id": ["c", "a", "b"],
        "path": ["c.jpg", "a.jpg", "b.jpg"],
        "label": ["mel", "nv", "nv"],
        "group": ["g2", "g1", "g1"],
        "age": [40.0, None, 60.0],
    }
    return pd.DataFrame({**columns, **changes})


def test_rows_are_sorted_by_image_id_and_further_columns_are_kept() -> None:
    table = build_table("skin", frame())
    assert list(table.frame["image_id"]) == ["a", "b", "c"]
    assert list(table.frame.columns) == ["image_id", "path", "label", "group", "age"]
    assert table.frame["age"].isna().tolist() == [True, False, False]
    assert len(table) == 3


def test_paths_become_absolute() -> None:
    assert all(Path(path).is_absolute() for path in build_table("skin", frame()).frame["path"])


def test_labels_are_positions_in_the_given_classes() -> None:
    table = build_table("skin", frame(), classes=["vasc", "nv", "mel"])
    assert table.labels().dtype == np.int64
    assert table.labels().tolist() == [1, 1, 2]


def test_classes_are_sorted_labels_unless_given() -> None:
    assert build_table("skin", frame()).classes == ("mel", "nv")


def test_fingerprint_ignores_row_order_name_and_paths() -> None:
    one = build_table("skin", frame())
    other = build_table("other", frame(path=["x.jpg", "y.jpg", "z.jpg"]).iloc[::-1])
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    "changes", [{"label": ["nv", "nv", "mel"]}, {"group": ["g2", "g1", "g3"]}, {"image_id": ["c", "a", "d"]}]
)
def test_fingerprint_changes_with_content(changes: dict) -> None:
    assert build_table("skin", frame()).fingerprint != build_table("skin", frame(**changes)).fingerprint


def test_fingerprint_changes_with_the_order_of_classes() -> None:
    tables = [build_table("skin", frame(), classes) for classes in (["nv", "mel"], ["mel", "nv"])]
    assert tables[0].fingerprint != tables[1].fingerprint


def test_subset_is_sorted_and_keeps_the_classes() -> None:
    part = build_table("skin", frame()).subset(["b", "a"])
    assert list(part.frame["image_id"]) == ["a", "b"]
    assert part.classes == ("mel", "nv")
    assert list(part.frame.index) == [0, 1]


def test_subset_names_unknown_images() -> None:
    with pytest.raises(TableError, match="no image x, y"):
        build_table("skin", frame()).subset(["a", "y", "x"])
    with pytest.raises(TableError, match="at least one image"):
        build_table("skin", frame()).subset([])


def test_missing_files_are_listed_and_are_no_error(ham10000_table: ImageTable) -> None:
    gone = ham10000_table.frame.iloc[3]
    Path(gone["path"]).unlink()
    assert ham10000_table.missing_files() == [gone["image_id"]]


def test_mixed_groups_are_listed_and_are_no_error() -> None:
    table = build_table("skin", frame(label=["mel", "nv", "mel"]))
    assert table.mixed_groups() == ["g1"]
    assert build_table("skin", frame()).mixed_groups() == []


@pytest.mark.parametrize("image_id", ["../a", "a/b", "a\\b", "..", "."])
def test_an_image_id_that_could_be_a_path_is_refused(image_id: str) -> None:
    with pytest.raises(TableError, match=r"could not be paths.*row 2"):
        build_table("skin", frame(image_id=["c", image_id, "b"]))


@pytest.mark.parametrize("column", ["image_id", "label", "group"])
@pytest.mark.parametrize("value", ["a\nb", " a", "a\t", "a\x00"])
def test_values_that_would_not_survive_a_csv_are_refused(column: str, value: str) -> None:
    with pytest.raises(TableError, match=f"{column}.*control characters.*row 3"):
        build_table("skin", frame(**{column: ["c", "a", value]}))


@pytest.mark.parametrize("column", ["image_id", "path", "label", "group"])
@pytest.mark.parametrize("nothing", ["", None, float("nan")])
def test_empty_values_are_refused(column: str, nothing: object) -> None:
    with pytest.raises(TableError, match=f"value in '{column}'.*row 3"):
        build_table("skin", frame(**{column: ["c", "a", nothing]}))


def test_repeated_image_ids_are_all_named() -> None:
    with pytest.raises(TableError, match=r"repeated in 2 row\(s\): row 1 \('a'\), row 2 \('a'\)"):
        build_table("skin", frame(image_id=["a", "a", "b"]))


def test_an_unknown_label_offers_the_nearest_class() -> None:
    with pytest.raises(TableError, match=r"unknown label 'mell'; did you mean 'mel'\?.*row 1 \('mell'\)"):
        build_table("skin", frame(label=["mell", "nv", "nv"]), classes=["mel", "nv"])


def test_one_error_tells_everything_that_is_wrong_and_five_rows_of_each() -> None:
    many = pd.DataFrame({"image_id": [f"../{n}" for n in range(9)], "path": "p.jpg", "label": "", "group": "g"})
    with pytest.raises(TableError, match=r"2 things are wrong") as caught:
        build_table("skin", many)
    assert "9 row(s): row 1, row 2, row 3, row 4, row 5 and 4 more" in str(caught.value)
    assert "'../4'" in str(caught.value)
    assert "'../5'" not in str(caught.value)


def test_missing_columns_and_empty_tables_are_refused() -> None:
    with pytest.raises(TableError, match="label, group is missing; found: image_id, path"):
        build_table("skin", frame()[["image_id", "path"]])
    with pytest.raises(TableError, match="there are none"):
        build_table("skin", frame().iloc[:0])


@pytest.mark.parametrize("name", ["../skin", "", ".hidden", "a b", "a/b"])
def test_a_name_that_is_no_safe_folder_name_is_refused(name: str) -> None:
    with pytest.raises(TableError, match="data set name"):
        build_table(name, frame())
    assert build_table(safe_name(name), frame())


def test_building_a_table_leaves_the_given_frame_alone() -> None:
    given = frame()
    build_table("skin", given)
    pd.testing.assert_frame_equal(given, frame())
