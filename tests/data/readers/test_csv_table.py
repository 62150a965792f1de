from pathlib import Path

import pytest

from hamcache.data.errors import TableError
from hamcache.data.readers.csv_table import ids_from_paths, read_csv_table
from hamcache.data.table import ImageTable


def read(folder: Path, text: str | bytes, **options: object) -> ImageTable:
    path = folder / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_csv_table(path, name="table", **options)


def test_columns_may_have_any_names(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        "file,diagnosis,patient,id\nx/1.png,nv,p1,i1\nx/2.png,mel,p1,i2\n",
        columns={"path": "file", "label": "diagnosis", "group": "patient", "image_id": "id"},
    )
    assert table.frame.values.tolist() == [
        ["i1", str(tmp_path / "x/1.png"), "nv", "p1"],
        ["i2", str(tmp_path / "x/2.png"), "mel", "p1"],
    ]


def test_paths_may_be_absolute(tmp_path: Path) -> None:
    assert list(read(tmp_path, "path,label\n/images/a.jpg,nv\n").frame["path"]) == ["/images/a.jpg"]


def test_without_ids_and_groups_the_path_names_the_image_and_each_is_its_own_group(tmp_path: Path) -> None:
    table = read(tmp_path, f"path,label\nsub/a.jpg,nv\n{tmp_path}/b.jpg,mel\n../up/c.jpg,mel\nwin\\d.jpg,nv\n")
    assert list(table.frame["image_id"]) == ["b", "sub__a", "up__c", "win__d"]
    assert list(table.frame["group"]) == list(table.frame["image_id"])
    assert table.frame["path"][3] == str(tmp_path / "win/d.jpg")


def test_without_paths_images_are_found_by_their_id(tmp_path: Path) -> None:
    (tmp_path / "images" / "deep").mkdir(parents=True)
    (tmp_path / "images" / "deep" / "a.JPEG").touch()
    table = read(tmp_path, "image_id,label\na,nv\nb,mel\n")
    assert list(table.frame["path"]) == [str(tmp_path / f"images/deep/{name}") for name in ("a.JPEG", "b.jpg")]
    assert table.missing_files() == ["b"]


def test_one_column_may_serve_twice(tmp_path: Path) -> None:
    table = read(tmp_path, "id,path,label\ni1,a.jpg,nv\n", columns={"image_id": "id", "group": "id"})
    assert table.frame[["image_id", "group"]].values.tolist() == [["i1", "i1"]]


def test_a_further_column_with_one_of_our_names_is_kept_under_another(tmp_path: Path) -> None:
    table = read(tmp_path, "path,label,dx\na.jpg,7,nv\n", columns={"label": "dx"})
    assert list(table.frame["label"]) == ["nv"]
    assert list(table.frame["label_in_file"]) == [7]


def test_further_columns_of_numbers_become_numbers_and_no_others(tmp_path: Path) -> None:
    frame = read(tmp_path, "path,label,age,zip,sex\na.jpg,nv,4.5,0x1,m\nb.jpg,nv,,2,nan\n").frame
    assert frame["age"].isna().tolist() == [False, True]
    assert list(frame["zip"]) == ["0x1", "2"]
    assert list(frame["sex"]) == ["m", "nan"]


def test_labels_that_look_like_missing_values_or_numbers_stay_text(tmp_path: Path) -> None:
    table = read(tmp_path, "path,label,group\na.jpg,NA,007\nb.jpg,1,7\n")
    assert table.classes == ("1", "NA")
    assert list(table.frame["group"]) == ["007", "7"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_what_spreadsheets_write_is_read(tmp_path: Path, separator: str, end: str, mark: str) -> None:
    rows = [["path", "label", "note"], ["ä.jpg", "nv", ""], ["", "", ""], ["b.jpg", " mel ", '"two; lines, one"']]
    table = read(tmp_path, mark + end.join(separator.join(row) for row in rows) + end)
    assert list(table.frame["label"]) == ["mel", "nv"]


def test_lines_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    text = 'path,label,note\n\na.jpg,nv,"two\nlines"\n\nb.jpg,,x\n'
    with pytest.raises(TableError, match=r"'label'.*1 row\(s\): line 6\b"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "the file is empty"),
        (b"path,label\n", "only a header: path, label"),
        (b"path,label\na.jpg,nv\nb.jpg,n\xe4vus\n", "line 3 is not"),
        ("path,label\n".encode("utf-16"), "UTF-8"),
        (b"path,label\na.jpg\nb.jpg,nv,x\n", r"2 row\(s\).*line 2, line 3"),
        (b"path,path\na,b\n", "repeated: path"),
        (b'path,label\na.jpg,"nv\nb.jpg,mel\n', "from line 2 on"),
        (b"path,diagnosis\na.jpg,nv\n", "expected a column label, but found: path, diagnosis"),
        (b"file,label\na.jpg,nv\n", r"expected a column path \(or image_id\), but found: file, label"),
        (b"path,label\na.jpg,nv\na.jpg,nv\n", r"repeated in 2 row\(s\): line 2 \('a'\), line 3"),
        (b"path,label\n,nv\n", "value in 'path'"),
    ],
)
def test_a_bad_file_gives_one_clear_error(tmp_path: Path, text: bytes, message: str) -> None:
    with pytest.raises(TableError, match=message) as caught:
        read(tmp_path, text)
    assert "table.csv" in str(caught.value)


def test_wrong_names_of_columns_offer_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="'lable'; did you mean 'label'"):
        read(tmp_path, "path,label\na.jpg,nv\n", columns={"lable": "label"})
    with pytest.raises(TableError, match=r"'diagnose'; did you mean 'diagnosis'\?.*asked for as 'label'"):
        read(tmp_path, "path,diagnosis\na.jpg,nv\n", columns={"label": "diagnose"})


def test_paths_that_would_share_an_id_get_ids_of_their_own() -> None:
    ids = ids_from_paths(["a/b.jpg", "a/b.png", "a__b.jpg", "c.jpg"], Path("/data"))
    assert len(set(ids)) == 4
    assert ids[3] == "c"
    assert ids_from_paths(["a__b.jpg", "a/b.png", "a/b.jpg"], Path("/data")) == [ids[2], ids[1], ids[0]]
