"""Whole downloads into a folder, from each kind of source."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from data import ham10000
from data.download import IMAGES, download_ham10000, is_complete, named_source
from data.errors import DownloadError


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
    with FileLock(tmp_path / ".download.lock"), pytest.raises(DownloadError, match=r"another download .* is running"):
        download_ham10000(tmp_path, [])


@pytest.mark.parametrize("content", [None, "{not json"])
def test_without_credentials_the_steps_to_take_are_said_and_nothing_is_raised_through(
    tmp_path: Path, content: str | None
) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KAGGLE")} | {"HOME": str(tmp_path)}
    environment["KAGGLE_CONFIG_DIR"] = str(tmp_path)
    if content is not None:
        (tmp_path / "kaggle.json").write_text(content)
    command = [sys.executable, "-m", "pipeline.cli", "download", "--workspace", str(tmp_path / "w")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "KAGGLE_USERNAME" in done.stderr and "--dataset synthetic" in done.stderr
    assert (f"{tmp_path}/kaggle.json is not JSON" in done.stderr) == (content is not None)
