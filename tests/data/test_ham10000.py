import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from hamcache.data import ham10000
from hamcache.data.errors import DatasetNotFoundError, TableError


def metadata(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / ham10000.METADATA)


def test_classes_are_in_their_canonical_order() -> None:
    assert ham10000.CLASSES == ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


def test_the_table_has_the_metadata_and_the_files_of_both_parts(ham10000_folder: Path) -> None:
    table = ham10000.read_table(ham10000_folder)
    expected = metadata(ham10000_folder).sort_values("image_id")
    assert table.name == "ham10000"
    assert table.classes == ham10000.CLASSES
    assert list(table.frame["image_id"]) == list(expected["image_id"])
    assert list(table.frame["label"]) == list(expected["dx"])
    assert list(table.frame["group"]) == list(expected["lesion_id"])
    assert {Path(path).parent.name for path in table.frame["path"]} == {
        "HAM10000_images_part_1",
        "HAM10000_images_part_2",
    }
    assert table.missing_files() == []


def test_ages_are_numbers_with_gaps(ham10000_folder: Path) -> None:
    age = ham10000.read_table(ham10000_folder).frame["age"]
    assert age.dtype == float
    assert age.isna().sum() == 1


def flat(folder: Path) -> None:
    for part in list(folder.glob("*_part_*")):
        for image in part.iterdir():
            image.rename(folder / image.name)
        part.rmdir()


def nested(folder: Path) -> None:
    inner = folder / "archive"
    inner.mkdir()
    for path in [path for path in folder.iterdir() if path != inner]:
        path.rename(inner / path.name)


def doubly_nested_parts(folder: Path) -> None:
    for part in list(folder.glob("*_part_*")):
        part.rename(folder / "moved")
        part.mkdir()
        (folder / "moved").rename(part / part.name)


def upper_case_suffixes(folder: Path) -> None:
    for image in list(folder.rglob("*.jpg")):
        image.rename(image.with_suffix(".JPG"))


def repeated_in_lower_case(folder: Path) -> None:
    for part in list(folder.glob("*_part_*")):
        shutil.copytree(part, folder / part.name.lower())


@pytest.mark.parametrize("rearrange", [flat, nested, doubly_nested_parts, upper_case_suffixes, repeated_in_lower_case])
def test_other_layouts_give_the_same_table(ham10000_folder: Path, rearrange: Callable[[Path], None]) -> None:
    expected = ham10000.read_table(ham10000_folder)
    rearrange(ham10000_folder)
    table = ham10000.read_table(ham10000_folder)
    assert table.fingerprint == expected.fingerprint
    assert table.missing_files() == []
    assert not any("ham10000_images" in path for path in table.frame["path"])


def test_other_files_of_the_archive_are_no_images(ham10000_folder: Path) -> None:
    (ham10000_folder / "hmnist_28_28_RGB.csv").write_text("pixel0000\n1\n")
    (ham10000_folder / "__MACOSX").mkdir()
    (ham10000_folder / "__MACOSX" / "ISIC_0000000.jpg").write_text("resource fork")
    assert "__MACOSX" not in "".join(ham10000.read_table(ham10000_folder).frame["path"])


def test_a_missing_image_stays_in_the_table(ham10000_folder: Path) -> None:
    gone = next((ham10000_folder / "HAM10000_images_part_2").iterdir())
    gone.unlink()
    table = ham10000.read_table(ham10000_folder)
    assert len(table) == len(metadata(ham10000_folder))
    assert table.missing_files() == [gone.stem]


def test_metadata_with_tabs_is_read_as_well(ham10000_folder: Path) -> None:
    expected = ham10000.read_table(ham10000_folder).fingerprint
    metadata(ham10000_folder).to_csv(ham10000_folder / "HAM10000_metadata.tab", sep="\t", index=False)
    (ham10000_folder / ham10000.METADATA).unlink()
    assert ham10000.read_table(ham10000_folder).fingerprint == expected


def edit(folder: Path, row: int, column: str, value: str) -> None:
    frame = pd.read_csv(folder / ham10000.METADATA, dtype=str, keep_default_na=False)
    frame.loc[row, column] = value
    frame.to_csv(folder / ham10000.METADATA, index=False)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("dx", "melanoma", r"unknown label 'melanoma'.*Valid: akiec, .*line 5 \('melanoma'\)"),
        ("dx", "", r"value in 'label'.*line 5"),
        ("lesion_id", "", r"value in 'group'.*line 5"),
        ("image_id", "", r"value in 'image_id'.*line 5"),
        ("image_id", "../../etc/passwd", r"could not be paths.*line 5 \('../../etc/passwd'\)"),
    ],
)
def test_bad_metadata_gives_one_error_naming_the_line(
    ham10000_folder: Path, column: str, value: str, message: str
) -> None:
    edit(ham10000_folder, 3, column, value)
    with pytest.raises(TableError, match=message) as caught:
        ham10000.read_table(ham10000_folder)
    assert str(ham10000_folder / ham10000.METADATA) in str(caught.value)


def test_a_repeated_image_id_names_both_lines(ham10000_folder: Path) -> None:
    first = metadata(ham10000_folder)["image_id"][0]
    edit(ham10000_folder, 8, "image_id", first)
    with pytest.raises(TableError, match=rf"line 2 \('{first}'\), line 10 \('{first}'\)"):
        ham10000.read_table(ham10000_folder)


def test_a_missing_column_is_named(ham10000_folder: Path) -> None:
    metadata(ham10000_folder).rename(columns={"lesion_id": "lesion"}).to_csv(
        ham10000_folder / ham10000.METADATA, index=False
    )
    with pytest.raises(TableError, match="unknown column 'lesion_id'; did you mean 'lesion'"):
        ham10000.read_table(ham10000_folder)


def test_a_folder_without_metadata_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"HAM10000_metadata\.csv"):
        ham10000.read_table(tmp_path)
