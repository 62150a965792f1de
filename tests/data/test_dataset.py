"""A data set opened by its words: one table, digests when they are needed, nothing drawn to look at a name."""

from dataclasses import replace
from pathlib import Path

from hamcache.data.dataset import DatasetWords, open_dataset
from hamcache.data.digests import file_digests
from hamcache.data.workspace import Workspace


def test_a_text_stands_for_words_without_columns_and_name(ham10000_folder: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    dataset = open_dataset(str(ham10000_folder), workspace)
    assert dataset.words == DatasetWords(str(ham10000_folder))
    assert dataset.name == dataset.table.name == dataset.words.label
    named = open_dataset(DatasetWords(str(ham10000_folder), name="mine"), workspace)
    assert named.name == named.words.label == "mine"


def test_files_are_digested_when_that_is_asked_for_and_remembered(ham10000_folder: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    dataset = open_dataset(str(ham10000_folder), workspace)
    assert not workspace.digests(dataset.name).exists()
    assert dataset.digests == file_digests(dataset.table)
    assert workspace.digests(dataset.name).is_file()
    path = Path(dataset.table.frame["path"][0])
    path.write_bytes(path.read_bytes() + b"more")
    assert replace(dataset).digests != dataset.digests


def test_words_are_equal_by_all_of_them_and_can_be_keys() -> None:
    plain, other = DatasetWords("a.csv", {"label": "dx"}), DatasetWords("a.csv", {"label": "diagnosis"})
    assert plain == DatasetWords("a.csv", {"label": "dx"}) != other
    assert len({plain: 1, other: 2, DatasetWords("a.csv", {"label": "dx"}): 3}) == 2


def test_only_the_synthetic_data_set_must_be_drawn(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert DatasetWords("synthetic").must_be_drawn(workspace)
    assert not DatasetWords("a.csv").must_be_drawn(workspace)
    folder = workspace.datasets / "synthetic"
    folder.mkdir(parents=True)
    (folder / "HAM10000_metadata.csv").touch()
    assert not DatasetWords("synthetic").must_be_drawn(workspace)
