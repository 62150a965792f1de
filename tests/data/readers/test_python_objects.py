"""Data sets that programs hold become data sets of the workspace, whose files say exactly what the images are."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision.datasets import FakeData, ImageFolder

from hamcache.data.errors import TableError
from hamcache.data.readers.python_objects import keep_table
from hamcache.data.readers.resolve import read_dataset
from hamcache.data.workspace import Workspace


def picture(number: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "photos" / ("mel", "nv")[n % 2] / f"{n}.png" for n in range(4)]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(path)
    return paths


def test_a_frame_names_its_files_and_keeps_further_columns(files: list[Path], workspace: Workspace) -> None:
    frame = pd.DataFrame(
        {"file": files, "dx": ["mel", "nv"] * 2, "lesion": ["a", "b", "a", "c"], "age": [40, 50, 40, 9]}
    )
    columns = {"path": "file", "label": "dx", "group": "lesion"}
    table = keep_table(frame, "moles", workspace, columns)
    assert table.frame["path"].tolist() == sorted(map(str, files), key=lambda path: Path(path).parent.name + path)
    again = read_dataset("moles", workspace=workspace)
    assert again.frame.equals(table.frame) and again.frame["age"].tolist() == [40, 40, 50, 9]
    assert keep_table(frame, "moles", workspace, columns).fingerprint == table.fingerprint


def test_another_table_takes_no_name_that_is_taken(files: list[Path], workspace: Workspace) -> None:
    frame = pd.DataFrame({"path": files, "label": ["mel", "nv"] * 2})
    keep_table(frame, "moles", workspace)
    with pytest.raises(TableError, match="replace=True"):
        keep_table(frame.head(2), "moles", workspace)
    assert len(keep_table(frame.head(2), "moles", workspace, replace=True)) == 2


def test_a_torchvision_folder_is_not_copied_and_its_transform_does_not_count(
    files: list[Path], workspace: Workspace
) -> None:
    folder = ImageFolder(str(files[0].parents[1]), transform=lambda image: 1 / 0)
    table = keep_table(folder, "photos", workspace)
    assert set(table.frame["path"]) == set(map(str, files)) and table.classes == ("mel", "nv")
    assert not (workspace.datasets / "photos-images").exists()


def test_images_in_memory_become_files_with_their_pixels_once(workspace: Workspace) -> None:
    data = FakeData(5, image_size=(3, 12, 16), num_classes=2)
    table = keep_table(data, "made", workspace)
    written = sorted((workspace.datasets / "made-images").iterdir())
    stamps = [path.stat().st_mtime_ns for path in written]
    for (image, label), path, name in zip(
        [data[n] for n in range(5)], table.frame["path"], table.frame["label"], strict=True
    ):
        with Image.open(path) as kept:
            assert np.array_equal(np.asarray(kept), np.asarray(image)) and name == str(label)
    keep_table(data, "made", workspace)
    assert [path.stat().st_mtime_ns for path in written] == stamps and len(written) == 5
    tensors = [(torch.from_numpy(np.array(data[n][0])).permute(2, 0, 1), torch.tensor(n % 2)) for n in range(5)]
    assert keep_table(tensors, "again", workspace).frame["label"].tolist() == ["0", "1", "0", "1", "0"]


def test_parts_become_a_column(workspace: Workspace) -> None:
    parts = {"train": [(picture(n), "a" if n % 2 else "b") for n in range(4)], "test": [(picture(9), "a")]}
    table = keep_table(parts, "dealt", workspace)
    assert table.frame["image_id"].str.startswith("train-").sum() == 4
    assert table.frame["part"].tolist() == ["test", *["train"] * 4]
    assert (table.frame["group"] == table.frame["image_id"]).all()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (7, "a torchvision data set"),
        ("photos", "Expected a data set, got str"),
        (pd.DataFrame({"file": ["a.jpg"]}), "Expected the column 'path'"),
        ([(torch.zeros(3, 9, 9), 0)], "take the data set's transform away"),
        ([3, 4], "an image and a label at 0"),
        ([(b"no image", "a")], "Expected an image at 0"),
        ({"night": []}, "named train, validation or test"),
        ([], "one row per image"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_data_set_is_refused_with_advice(data: Any, words: str, workspace: Workspace) -> None:
    with pytest.raises(TableError, match=words):
        keep_table(data, "moles", workspace)
    assert not workspace.subset("moles").exists()


@pytest.mark.parametrize("name", ["synthetic", "../moles", "mo les", "moles.csv"])
def test_a_name_that_is_none_is_refused(name: str, workspace: Workspace) -> None:
    with pytest.raises(TableError):
        keep_table([(picture(0), "a")], name, workspace)


def test_a_hugging_face_data_set_keeps_the_bytes_of_its_images(tmp_path: Path, workspace: Workspace) -> None:
    datasets = pytest.importorskip("datasets")
    content = []
    for number in range(3):
        path = tmp_path / f"{number}.jpg"
        picture(number).save(path, quality=80)
        content.append(path.read_bytes())
    features = datasets.Features(
        {"image": datasets.Image(), "dx": datasets.ClassLabel(names=["mel", "nv"]), "age": datasets.Value("int64")}
    )
    rows = {"image": [{"bytes": each, "path": None} for each in content], "dx": [0, 1, 0], "age": [1, 2, 3]}
    data = datasets.Dataset.from_dict(rows, features=features)
    table = keep_table(datasets.DatasetDict({"train": data}), "hub", workspace, {"label": "dx"})
    assert [Path(path).read_bytes() for path in table.frame["path"]] == content
    assert table.frame["label"].tolist() == ["mel", "nv", "mel"] and table.frame["age"].tolist() == [1, 2, 3]
