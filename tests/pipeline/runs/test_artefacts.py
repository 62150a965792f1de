"""Artefacts of every kind are found, listed, written whole, locked and removed alike."""

import json
import os
import subprocess
import sys
from operator import attrgetter
from pathlib import Path

import pytest

from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import ArtefactInUseError, ArtefactNotFoundError, RunError
from hamcache.pipeline.runs.artefacts import (
    Kind,
    abandoned_folders,
    find,
    give_name,
    held,
    is_held,
    new_folder,
    partial_folders,
    remove,
)
from tests.power_loss import recorded


def read(folder: Path) -> str:
    try:
        return json.loads((folder / "about.json").read_text())["name"]
    except (OSError, ValueError) as error:
        raise RunError(f"{folder} is damaged") from error


RUNS = Kind("run", attrgetter("runs"), "about.json", read, str, "Runs are there.")
SWEEPS = Kind("sweep", attrgetter("sweeps"), "about.json", read, str, "Sweeps are there.")


def made(home: Path, name: str, **options: bool) -> Path:
    with new_folder(home) as folder:
        (folder / "about.json").write_text(json.dumps({"name": name}))
        return give_name(folder, name, **options)


def test_one_is_found_among_kinds_by_id_beginning_and_folder(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, sweep = made(workspace.runs, "mlp-1"), made(workspace.sweeps, "cnn-1")
    made(workspace.runs, "mlp-12")
    kinds = [RUNS, SWEEPS]
    assert find("mlp-1", workspace, kinds) == (RUNS, run) and find("cnn", workspace, kinds) == (SWEEPS, sweep)
    monkeypatch.chdir(workspace.path.parent)
    assert find("workspace/runs/mlp-1", workspace, [RUNS]) == (RUNS, run.absolute())
    monkeypatch.chdir(run)
    assert find(".", workspace, [RUNS])[1] == run.absolute() and RUNS.load(".", workspace) == "mlp-1"
    for wrong in ("", "../runs", "/etc"):
        with pytest.raises(ArtefactNotFoundError, match=r"Expected the id of one run or sweep .* Sweeps are there\."):
            find(wrong, workspace, kinds)
    with pytest.raises(ArtefactNotFoundError, match="2 runs begin with it: mlp-1, mlp-12"):
        RUNS.find("ml", workspace)
    with pytest.raises(ArtefactNotFoundError, match=r"nothing has that name\. There are: cnn-1"):
        SWEEPS.find("mlp", workspace)


def test_a_damaged_one_is_passed_over_and_can_be_removed(workspace: Workspace, caplog) -> None:
    made(workspace.runs, "whole")
    (made(workspace.runs, "torn") / "about.json").write_text("{")
    assert RUNS.all(workspace) == ["whole"] and "torn is damaged" in caplog.text
    remove(RUNS.find("torn", workspace))
    assert [path.name for path in workspace.runs.iterdir()] == ["whole"]


def test_a_taken_name_gets_a_number_or_is_replaced(workspace: Workspace) -> None:
    names = [made(workspace.runs, "run").name for _ in range(3)]
    assert names == ["run", "run-2", "run-3"]
    (workspace.runs / "run" / "more.txt").write_text("old")
    assert made(workspace.runs, "run", replace=True).name == "run"
    assert sorted(path.name for path in workspace.runs.rglob("*")) == ["about.json"] * 3 + names


def test_what_is_being_written_is_not_removed(workspace: Workspace) -> None:
    folder = made(workspace.sweeps, "sweep")
    with held(folder), pytest.raises(ArtefactInUseError, match="being written by another process"):
        remove(folder)
    assert SWEEPS.all(workspace) == ["sweep"] and not is_held(folder)
    with new_folder(workspace.runs) as partial:
        assert partial_folders(workspace.runs) == [partial] and abandoned_folders(workspace.runs) == []
        with pytest.raises(ArtefactInUseError):
            remove(partial)
    assert list(workspace.runs.iterdir()) == []


def test_no_two_processes_hold_a_lock_at_once(workspace: Workspace) -> None:
    counter, folder = workspace / "count", workspace / "thing"
    counter.write_text("0")
    children = []
    for _ in range(4):
        if (child := os.fork()) == 0:
            for _ in range(100):
                with held(folder, on_wait=lambda: None):
                    counter.write_text(str(int(counter.read_text()) + 1))
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert counter.read_text() == "400" and not folder.with_name(".thing.lock").exists()


def test_after_a_power_cut_an_artefact_is_whole_or_absent_and_the_replaced_one_is_not_mixed(tmp_path: Path) -> None:
    home, place = tmp_path / "real", tmp_path / "after"
    home.mkdir()

    def write(text: str) -> None:
        with new_folder(home) as folder:
            (folder / "inside").mkdir()
            for name in ("about.json", "inside/more.json"):
                (folder / name).write_text(json.dumps({"name": text}))
            give_name(folder, "one", replace=True)

    states = []
    for text in ("old", "new"):
        with recorded(home) as disk:
            write(text)
        states.append((list(disk.states()), list(disk.last_states())))
    for number, (every, last) in enumerate(states):
        found = set()
        for state in every:
            state.restore(place)
            names = [json.loads(path.read_bytes())["name"] for path in place.glob("one/**/*.json")]
            assert len(names) in (0, 2) and len(set(names)) <= 1, (state.moment, names)
            found |= set(names)
        assert found == ({"old"} if number == 0 else {"old", "new"})
        assert {json.loads(state.files["one/about.json"])["name"] for state in last} == {("old", "new")[number]}


def test_a_killed_process_leaves_a_folder_that_is_known_as_abandoned(workspace: Workspace) -> None:
    code = "import os, sys; from pathlib import Path; from hamcache.pipeline.runs.artefacts import new_folder\n"
    code += "with new_folder(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(workspace.grids)], check=False)
    (folder,) = abandoned_folders(workspace.grids)
    remove(folder)
    assert list(workspace.grids.iterdir()) == []
