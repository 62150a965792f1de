"""Columns of a table as numbers: what is absent, what nobody knows, and what a model must not see."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hamcache.data.errors import MetadataError
from hamcache.data.ham10000 import read_table
from hamcache.data.metadata import Metadata, metadata_of
from hamcache.data.table import ImageTable, build_table


def table(**columns: list) -> ImageTable:
    """Eight images of eight lesions, two classes by turns, with further columns."""
    ids = [f"i{n}" for n in range(8)]
    frame = {"image_id": ids, "path": [f"{i}.jpg" for i in ids], "label": ["mel", "nv"] * 4, "group": ids}
    return build_table("moles", pd.DataFrame(frame | columns))


AGES, SEXES = [30, 40, None, 60, 70, 80, 50, 20], ["f", "m", "m", "", "f", "m", "f", "m"]


def test_numbers_come_with_whether_they_are_there_and_words_by_their_number() -> None:
    metadata = metadata_of(table(age=AGES, sex=SEXES, colour=["red"] * 8))
    assert metadata.names == ["age", "sex"] and metadata.kinds == "nw" and metadata.dim == 3
    rows = pd.DataFrame({"age": ["41.5", "unknown", ""], "sex": ["m", "diverse", None]})
    assert metadata.encoded(rows).tolist() == [[41.5, 1, 2], [0, 0, -1], [0, 0, 0]]
    assert metadata.encoded(rows[["sex"]])[:, :2].tolist() == [[0, 0]] * 3  # a column that is not given is absent
    assert Metadata.from_list(metadata.to_list()) == metadata


def test_a_column_of_texts_that_are_all_numbers_is_one_of_numbers() -> None:
    assert metadata_of(table(depth=["1", "na", "2", "2", "1", "3", "4", "1"]), ["depth"]).kinds == "n"
    assert metadata_of(table(depth=["1", "deep", "2", "2", "1", "deep", "1", "1"]), ["depth"]).kinds == "w"


def test_values_that_no_training_image_had_are_told() -> None:
    frame = table(age=AGES, sex=SEXES).frame
    metadata = metadata_of(table(age=AGES, sex=SEXES)).trained_on(frame[frame["sex"] != "m"])
    assert metadata.columns[1].unseen == ("m",)
    notes = metadata.notes(pd.DataFrame({"sex": ["f", "m", "x", ""]}))
    assert notes[0] == "Not given, so taken as absent: age."
    assert notes[1] == "sex is absent of 1 of 4 images."
    assert "(m, x) of 2 of 4 images" in notes[2] and notes[2].endswith("Known: f.")
    assert Metadata.from_list(metadata.to_list()) == metadata


@pytest.mark.parametrize("name", ["image_id", "path", "label", "group", "lesion_id", "DX", "dx_type", "split"])
def test_columns_that_name_the_image_or_tell_the_answer_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(MetadataError, match=rf"the column '{name}': it (names|is what|tells)"):
        metadata_of(table(dx_type=["histo"] * 8), [name])


def test_a_copy_of_the_label_under_another_name_is_refused() -> None:
    with pytest.raises(MetadataError, match="give the label away, got the column 'code': each of its 2"):
        metadata_of(table(code=[7, 8] * 4), ["code"])
    with pytest.raises(MetadataError, match="part of the split"):
        metadata_of(
            table(fold_number=[1, 1, 2, 2] * 2), ["fold_number"], {"fold_number": "it tells the part of the split"}
        )


def test_free_text_nothing_at_all_and_unknown_columns_are_refused() -> None:
    ids = [f"i{n:03d}" for n in range(300)]
    frame = pd.DataFrame({"image_id": ids, "path": ids, "label": ["a", "b"] * 150, "group": ids, "remark": ids})
    with pytest.raises(MetadataError, match="at most 200 different words in the column 'remark', got 300"):
        metadata_of(build_table("t", frame), ["remark"])
    with pytest.raises(MetadataError, match="Expected values in the column 'age'"):
        metadata_of(table(age=["", "na"] * 4), ["age"])
    with pytest.raises(MetadataError, match="did you mean 'age'"):
        metadata_of(table(age=AGES), ["agee"])
    with pytest.raises(MetadataError, match=r"one of the columns age.*got colour"):
        metadata_of(table(colour=["red", "blue", "blue", "red"] * 2))


@pytest.mark.parametrize("value", ["old", "1e99", "inf"])
def test_a_value_that_is_no_number_names_its_column(value: str) -> None:
    with pytest.raises(MetadataError, match=f"numbers in the column 'age', got {value}"):
        metadata_of(table(age=AGES)).encoded(pd.DataFrame({"age": ["1", value]}))


def test_ham10000_has_age_sex_and_localization(ham10000_folder: Path) -> None:
    metadata = metadata_of(read_table(ham10000_folder))
    assert metadata.names == ["age", "sex", "localization"] and metadata.columns[1].words == ("male",)
    assert np.isnan(read_table(ham10000_folder).frame["age"]).sum() == 1


def test_the_digest_is_of_the_values() -> None:
    images = table(age=AGES)
    metadata, rows = metadata_of(images), images.frame
    before = metadata.digest(["a"], rows[:1])
    assert metadata.digest(["a"], rows[:1].assign(age=31)) != before
    assert metadata.digest(["a"], rows[:1].assign(sex="f")) == before
