"""A run is read once however often one is looked for, and what has changed is seen."""

import shutil
from pathlib import Path

import pytest

from hamcache.data.workspace import Workspace
from hamcache.pipeline.runs import run_index
from hamcache.pipeline.runs.run_index import find_run
from tests.pipeline.runs.test_records import save


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
        save(workspace, f"run-{number}", fingerprint=f"f{number}")
    for number in range(20):
        assert find_run(workspace, f"f{number}").id == f"run-{number}"
        assert find_run(workspace, "nothing") is None
    assert len(reads) == 20 + 20  # each once, and each that was found


def test_new_removed_replaced_and_damaged_runs_are_seen(workspace: Workspace) -> None:
    old = save(workspace, "old").folder
    assert find_run(workspace, "f").id == "old"
    new = save(workspace, "new", finished="2026-01-02", test=True).folder
    assert find_run(workspace, "f").id == "new" and find_run(workspace, "f", test=True).id == "new"
    (new / "metrics.json").write_text("{")
    assert find_run(workspace, "f").id == "old" and find_run(workspace, "f", test=True) is None
    shutil.rmtree(new)
    old.rename(workspace.runs / "kept")
    save(workspace, "old", fingerprint="g")
    assert find_run(workspace, "f").id == "kept" and find_run(workspace, "g").id == "old"
    partly = workspace.runs / "partly"
    partly.mkdir()
    assert find_run(workspace, "h") is None
    partly.rmdir()
    save(workspace, "partly", fingerprint="h")
    assert find_run(workspace, "h").id == "partly"
