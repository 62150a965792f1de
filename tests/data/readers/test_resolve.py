from collections.abc import Callable
from pathlib import Path

import pytest

import hamcache.data.synthetic.collection
from hamcache.data.errors import DatasetNotFoundError, TableError
from hamcache.data.readers.resolve import read_dataset
from hamcache.data.workspace import Workspace


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    folder = tmp_path / "moles"
    for name in ("nevus/1.jpg", "nevus/deep/2.PNG", "melanoma/1.tiff", "melanoma/notes.txt", ".git/x.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_kaggle_folder_is_recognised(ham10000_folder: Path, workspace: Workspace) -> None:
    for given in (ham10000_folder, ham10000_folder / "HAM10000_metadata.csv"):
        table = read_dataset(str(given), workspace=workspace)
        assert table.name == "ham10000"
        assert table.missing_files() == []


def test_a_relative_path_is_understood(
    ham10000_folder: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ham10000_folder)
    table = read_dataset(".", workspace=workspace, name="mine")
    assert table.name == "mine"
    assert table.missing_files() == []


def test_a_csv_is_recognised(tmp_path: Path, workspace: Workspace) -> None:
    path = tmp_path / "my moles.csv"
    path.write_text("file,label\na.jpg,nv\n")
    table = read_dataset(str(path), workspace=workspace, columns={"path": "file"})
    assert table.name == "my-moles"
    assert list(table.frame["path"]) == [str(tmp_path / "a.jpg")]


def test_class_folders_are_recognised(class_folders: Path, workspace: Workspace) -> None:
    table = read_dataset(str(class_folders), workspace=workspace)
    assert table.name == "moles"
    assert table.classes == ("melanoma", "nevus")
    assert list(table.frame["image_id"]) == ["melanoma__1", "nevus__1", "nevus__deep__2"]
    assert list(table.frame["group"]) == list(table.frame["image_id"])
    assert table.missing_files() == []


def test_images_without_a_class_folder_are_named(class_folders: Path, workspace: Workspace) -> None:
    (class_folders / "loose.jpg").touch()
    with pytest.raises(DatasetNotFoundError, match=r"1 images beside its folders \(loose\.jpg\)"):
        read_dataset(str(class_folders), workspace=workspace)


def test_folders_of_parts_become_a_column_and_their_folders_the_classes(tmp_path: Path, workspace: Workspace) -> None:
    for part in ("train", "Test", "valid"):
        (tmp_path / "set" / part / "nevus").mkdir(parents=True)
        (tmp_path / "set" / part / "nevus" / "1.jpg").touch()
    table = read_dataset(str(tmp_path / "set"), workspace=workspace)
    assert table.classes == ("nevus",) and list(table.frame["part"]) == ["test", "train", "validation"]
    (tmp_path / "set" / "train" / "loose.jpg").touch()
    with pytest.raises(DatasetNotFoundError, match="parts of a split, but not all of their images"):
        read_dataset(str(tmp_path / "set"), workspace=workspace)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([], "it is empty"),
        (["readme.txt"], r"no images \(readme\.txt\)"),
        (["1.jpg", "2.jpg"], "2 images but no class folders"),
        (["images.csv", "1.jpg"], r"holds images\.csv: give such a file itself"),
    ],
)
def test_a_folder_of_another_kind_is_refused_with_what_was_found(
    tmp_path: Path, workspace: Workspace, files: list[str], found: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in files:
        (folder / name).touch()
    with pytest.raises(DatasetNotFoundError, match=found) as caught:
        read_dataset(str(folder), workspace=workspace)
    assert "Kaggle layout" in str(caught.value)


def test_a_data_set_that_is_not_there_offers_the_nearest(ham10000_folder: Path, workspace: Workspace) -> None:
    with pytest.raises(DatasetNotFoundError, match="did you mean 'synthetic'"):
        read_dataset("sinthetic", workspace=workspace)
    with pytest.raises(DatasetNotFoundError, match=r"did you mean '.*/ham10000'"):
        read_dataset(str(ham10000_folder.with_name("HAM1000")), workspace=workspace)
    with pytest.raises(DatasetNotFoundError, match="nor the folder"):
        read_dataset(str(ham10000_folder.parent / "no" / "such"), workspace=workspace)


def test_other_files_are_refused(tmp_path: Path, workspace: Workspace) -> None:
    (tmp_path / "ham.zip").touch()
    with pytest.raises(DatasetNotFoundError, match=r"not a CSV\. Unpack it first"):
        read_dataset(str(tmp_path / "ham.zip"), workspace=workspace)


def test_columns_belong_to_a_csv(ham10000_folder: Path, class_folders: Path, workspace: Workspace) -> None:
    for given in (str(ham10000_folder), str(class_folders), "synthetic"):
        with pytest.raises(TableError, match=r"`columns` \(label\) are for a CSV file"):
            read_dataset(given, workspace=workspace, columns={"label": "dx"})


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were drawn; the drawings are small, to be quick."""
    folders: list[Path] = []
    synthesize: Callable[..., Path] = hamcache.data.synthetic.collection.synthesize

    def small(folder: Path) -> Path:
        folders.append(folder)
        return synthesize(folder, lesions=14, size=(40, 32))

    monkeypatch.setattr(hamcache.data.synthetic.collection, "synthesize", small)
    return folders


def test_the_synthetic_data_set_is_drawn_once(workspace: Workspace, drawn: list[Path]) -> None:
    first = read_dataset("synthetic", workspace=workspace)
    again = read_dataset("synthetic", workspace=workspace)
    assert drawn == [workspace / "datasets" / "synthetic"]
    assert first.name == "synthetic"
    assert first.missing_files() == []
    assert first.fingerprint == again.fingerprint


def test_an_unfinished_synthetic_data_set_is_drawn_anew(workspace: Workspace, drawn: list[Path]) -> None:
    expected = read_dataset("synthetic", workspace=workspace)
    folder = workspace / "datasets" / "synthetic"
    (folder / "HAM10000_metadata.csv").unlink()
    Path(expected.frame["path"][0]).unlink()
    table = read_dataset("synthetic", workspace=workspace)
    assert len(drawn) == 2
    assert table.fingerprint == expected.fingerprint
    assert table.missing_files() == []
