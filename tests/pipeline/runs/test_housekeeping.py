"""What killed processes leave behind is found, and nothing that is in use."""

import os
import subprocess
import sys
from pathlib import Path

from hamcache.data.workspace import Workspace
from hamcache.pipeline.runs.artefacts import new_folder, partial_folders
from hamcache.pipeline.runs.housekeeping import remove_leftover, workspace_leftovers

KILLED = """
import os, sys
from pathlib import Path
from hamcache.data.workspace import Workspace
from hamcache.pipeline.runs.artefacts import new_folder
with new_folder(Workspace(Path(sys.argv[1])).runs) as folder:
    (folder / "log.txt").write_text("begun")
    os.kill(os.getpid(), 9)
"""


def test_a_run_whose_process_died_is_swept_up(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=Path(__file__).parents[2], check=False)
    (leftover,) = workspace_leftovers(Workspace(tmp_path))
    assert leftover.bytes == len("begun") and leftover.path.startswith("runs/.partial-")
    remove_leftover(Workspace(tmp_path), leftover)
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_run_being_written_is_left_alone(tmp_path: Path) -> None:
    with new_folder(Workspace(tmp_path).runs):
        assert len(partial_folders(Workspace(tmp_path).runs)) == 1
        assert workspace_leftovers(Workspace(tmp_path), everything=True) == []
    assert list((tmp_path / "runs").iterdir()) == []


def test_what_only_saves_time_goes_when_asked(tmp_path: Path) -> None:
    for name in ("checkpoints/0123456789abcdef", "images/moles"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_bytes(b"12345")
    assert workspace_leftovers(Workspace(tmp_path)) == []
    found = workspace_leftovers(Workspace(tmp_path), everything=True)
    assert [(one.path, one.bytes) for one in found] == [("checkpoints/0123456789abcdef", 5), ("images/moles", 5)]


def test_files_that_a_killed_writer_left_are_swept_up_once_they_are_old(tmp_path: Path) -> None:
    (tmp_path / "exports").mkdir()
    old, new = (tmp_path / "exports" / f".{name}.csv.0.partial" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    (leftover,) = workspace_leftovers(Workspace(tmp_path))
    assert leftover.path == "exports/.old.csv.0.partial" and leftover.bytes == 4
    remove_leftover(Workspace(tmp_path), leftover)
    assert not old.exists() and new.exists()
