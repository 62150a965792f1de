"""Whole downloads into a folder, from each kind of source."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from hamcache.data import ham10000
from hamcache.data.errors import DownloadError
from hamcache.data.fetch.download import IMAGES, download_ham10000, is_complete, named_source
from hamcache.pipeline.cli.app import app


def test_a_folder_is_complete_only_with_every_image(ham10000_folder: Path) -> None:
    assert IMAGES == 10_015
    assert is_complete(ham10000_folder, images=78) and not is_complete(ham10000_folder)
    assert len(download_ham10000(ham10000_folder, images=78)) == 78  # nothing is fetched: there are no credentials here
    next(ham10000_folder.rglob("*.jpg")).unlink()
    assert not is_complete(ham10000_folder, images=78)
    (ham10000_folder / ham10000.METADATA).write_text("damaged")
    assert not is_complete(ham10000_folder, images=78)


def test_an_unknown_source_offers_the_nearest() -> None:
    with pytest.raises(DownloadError, match="did you mean 'kaggle'"):
        named_source("kagle")


def test_two_downloads_into_one_folder_do_not_mix(tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / ".download.lock"),
        pytest.raises(DownloadError, match=r"no other download .* but one is running"),
    ):
        download_ham10000(tmp_path, [])


@pytest.fixture
def archives(ham10000_folder: Path, tmp_path: Path) -> list[Path]:
    """What the Dataverse has, on disk: two archives of images in no folder, and the metadata."""
    made = []
    for number in (1, 2):
        made.append(tmp_path / f"HAM10000_images_part_{number}.zip")
        with zipfile.ZipFile(made[-1], "w") as archive:
            for path in (ham10000_folder / made[-1].stem).iterdir():
                archive.write(path, path.name)
            archive.writestr("notes.txt", "nothing that is wanted")
    return [*made, ham10000_folder / ham10000.METADATA]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_archives_on_disk_are_read_and_left_as_they_are(
    archives: list[Path], ham10000_folder: Path, tmp_path: Path
) -> None:
    before = [path.read_bytes() for path in archives]
    table = download_ham10000(tmp_path / "here", archives[::-1], images=78)
    assert len(table) == 78 and contents(tmp_path / "here") == contents(ham10000_folder)
    assert [path.read_bytes() for path in archives] == before
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "here").rglob("*")}
    for path in archives:
        path.unlink()
    download_ham10000(tmp_path / "here", archives, images=78)  # there is nothing left to do, so nothing is looked at
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "here").rglob("*")} == stamps


def test_archives_that_do_not_hold_all_say_what_lacks_and_the_rest_joins_them(
    archives: list[Path], ham10000_folder: Path, tmp_path: Path
) -> None:
    first, second, metadata = archives
    with pytest.raises(DownloadError, match=r"none in HAM10000_images_part_1\.zip\. Give HAM10000_metadata\.csv"):
        download_ham10000(tmp_path / "here", [first, second], images=78)
    with pytest.raises(DownloadError, match=r"39 of 78 images did not come: .* both parts of the images"):
        download_ham10000(tmp_path / "here", [first, metadata], images=78)
    assert not (tmp_path / "here" / ham10000.METADATA).exists()
    download_ham10000(tmp_path / "here", [second, metadata], images=78)
    assert contents(tmp_path / "here") == contents(ham10000_folder)


def test_an_image_that_cannot_be_opened_is_named_and_the_data_set_is_not_whole(
    archives: list[Path], tmp_path: Path
) -> None:
    with zipfile.ZipFile(archives[0]) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    lost = next(iter(content))
    with zipfile.ZipFile(archives[0], "w") as archive:
        for name, body in {**content, lost: b"no picture"}.items():
            archive.writestr(name, body)
    with pytest.raises(DownloadError, match=rf"1 of 78 images cannot be opened and were removed: {Path(lost).stem}"):
        download_ham10000(tmp_path / "here", archives, images=78)
    assert not (tmp_path / "here" / ham10000.METADATA).exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.zip", None, "there is no file"),
        ("photo.jpg", b"x", "expected a zip archive or the metadata's CSV file"),
        ("cut.zip", b"PK\x03\x04", "whose download was broken off"),
        ("HAM10000_metadata.csv", b"a,b\n1,2\n", "image_id"),
    ],
)
def test_a_file_of_another_kind_is_refused_and_nothing_stays(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises((DownloadError, ValueError), match=message):
        download_ham10000(tmp_path / "here", [tmp_path / name])
    assert not (tmp_path / "here").exists()


def test_the_command_says_what_came_its_licence_and_whom_to_cite_and_does_nothing_twice(
    archives: list[Path], tmp_path: Path
) -> None:
    command = ["download", "--workspace", str(tmp_path / "w"), "--images", "78"]
    for words in (["--source", *map(str, archives)], []):  # the second time there is no need of a source
        done = CliRunner().invoke(app, [*command, *words])
        assert done.exit_code == 0, done.output
        assert f"78 images of 51 lesions in {tmp_path}/w/datasets/ham10000" in done.output
        assert "Cite: Tschandl P." in done.output and "Licence: CC BY-NC 4.0" in done.output
        assert ("Nothing to do" in done.output) == (words == [])


@pytest.mark.parametrize("content", [None, "{not json"])
def test_without_credentials_the_steps_to_take_are_said_and_nothing_is_raised_through(
    tmp_path: Path, content: str | None
) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KAGGLE")} | {"HOME": str(tmp_path)}
    environment["KAGGLE_CONFIG_DIR"] = str(tmp_path)
    if content is not None:
        (tmp_path / "kaggle.json").write_text(content)
    command = [sys.executable, "-m", "hamcache.pipeline.cli.app", "download", "--workspace", str(tmp_path / "w")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "--dataset synthetic" in done.stderr and "--source FILE" in done.stderr
    assert list((tmp_path / "w" / "datasets").iterdir()) == []
