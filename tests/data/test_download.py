import os
import subprocess
import sys

import pytest

from data.download import IMAGES, download_ham10000, is_complete


def test_a_folder_is_complete_only_with_every_image(ham10000_folder, monkeypatch):
    monkeypatch.setattr("data.download.IMAGES", 78)
    assert IMAGES == 10_015 and is_complete(ham10000_folder)
    assert len(download_ham10000(ham10000_folder)) == 78  # nothing is fetched: there are no credentials here
    next(ham10000_folder.rglob("*.jpg")).unlink()
    assert not is_complete(ham10000_folder)


@pytest.mark.parametrize("content", [None, "{not json"])
def test_without_credentials_the_steps_to_take_are_said_and_nothing_is_raised_through(tmp_path, content):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KAGGLE")} | {"HOME": str(tmp_path)}
    environment["KAGGLE_CONFIG_DIR"] = str(tmp_path)
    if content is not None:
        (tmp_path / "kaggle.json").write_text(content)
    command = [sys.executable, "-m", "pipeline.cli", "download", "--workspace", str(tmp_path / "w")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "KAGGLE_USERNAME" in done.stderr and "--dataset synthetic" in done.stderr
