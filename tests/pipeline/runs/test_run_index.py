"""A run is read once however often one is looked for, and what has changed is seen."""

import json
import shutil
from pathlib import Path

import pytest

from hamcache.data.workspace import Workspace
from hamcache.pipeline.runs import run_index
from hamcache.pipeline.runs.run_index import find_run


def write(workspace: Workspace, name: str, fingerprint: str, finished: str = "2026-01-01", parts=("train",)) -> Path:
    folder = workspace.runs / name
    folder.mkdir(parents=True)
    provenance = {"fingerprint": fingerprint, "finished": finished}
    contents = {"metrics": {part: {"mcc": 0.5} for part in parts}, "provenance": provenance, "classes": []}
    for file, content in contents.items():
        (folder / f"{file}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that were read."""
    names: list[str] = []
    read_run = run_index.read_run

    def watched(folder: Path):
        names.append(folder.name)
        return read_run(folder)

    monkeypatch.setattr(run_index, "read_run", watched)
    return names


def test_each_run_is_read_once(workspace: Workspace, reads: list[str]) -> None:
    assert find_run(workspace, "a") is None
    for number in range(20):
        write(workspace, f"run-{number}", f"f{number}")
    for number in range(20):
        assert find_run(workspace, f"f{number}").id == f"run-{number}"
        assert find_run(workspace, "nothing") is None
    assert len(reads) == 20 + 20  # each once, and each that was found


def test_new_removed_replaced_and_damaged_runs_are_seen(workspace: Workspace) -> None:
    old = write(workspace, "old", "f", "2026-01-01")
    assert find_run(workspace, "f").id == "old"
    new = write(workspace, "new", "f", "2026-01-02", ("train", "test"))
    assert find_run(workspace, "f").id == "new" and find_run(workspace, "f", test=True).id == "new"
    (new / "metrics.json").write_text("{")
    assert find_run(workspace, "f").id == "old" and find_run(workspace, "f", test=True) is None
    shutil.rmtree(new)
    old.rename(workspace.runs / "kept")
    write(workspace, "old", "g")
    assert find_run(workspace, "f").id == "kept" and find_run(workspace, "g").id == "old"
    partly = workspace.runs / "partly"
    partly.mkdir()
    assert find_run(workspace, "h") is None
    partly.rmdir()
    write(workspace, "partly", "h")
    assert find_run(workspace, "h").id == "partly"
