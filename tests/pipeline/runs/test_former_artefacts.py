"""Runs and sweeps as version 0.1 wrote them are listed, loaded, found, compared and removed like those of today."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from hamcache.data.workspace import Workspace
from hamcache.pipeline.cli.app import app
from hamcache.pipeline.evaluate.compare import compare_runs
from hamcache.pipeline.runs.records import list_runs, load_run
from hamcache.pipeline.runs.run_index import find_run
from hamcache.pipeline.studies.sweeps.results import all_sweeps

HEAD = {"name": "mlp", "monitor": "mcc", "max_epochs": 5}


def old_run(workspace: Workspace, name: str, seed: int) -> Path:
    """A run's files under the names of version 0.1: `head.monitor`, and predictions whose column is `split`."""
    folder = workspace.runs / name
    folder.mkdir(parents=True)
    experiment = {"dataset": "moles", "head": HEAD, "features": {"blocks": [{"backbone": "net"}]}, "seed": seed}
    (folder / "config.yaml").write_text(yaml.safe_dump(experiment))
    about = {
        "metrics": {part: {"mcc": 0.5} for part in ("train", "validation")},
        "provenance": {
            "fingerprint": name,
            "finished": f"2026-01-0{seed + 1}",
            "summary": {"head": "mlp", "features": "net", "dataset": "moles", "policy": "grouped", "seed": seed},
            "seconds": {"total": 2.0},
        },
        "classes": [{"code": code, "class": label, "name": label} for code, label in enumerate("ab")],
    }
    for file, content in about.items():
        (folder / f"{file}.json").write_text(json.dumps(content, indent=2) + "\n")
    (folder / "history.csv").write_text("epoch,train_loss\n1,0.5\n")
    (folder / "head.json").write_text("{}"), (folder / "head.skops").write_bytes(b"PK")
    rng = np.random.default_rng(seed)
    with (folder / "predictions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image_id", "group", "label", "split", "p_a", "p_b"])
        for part, number in (("train", 12), ("validation", 20)):
            for image, share in enumerate(rng.uniform(size=number)):
                rows.writerow([f"{part}{image}", f"{part}{image}", "ab"[image % 2], part, share, 1 - share])
    return folder


@pytest.fixture
def old(workspace: Workspace) -> Workspace:
    """A workspace of version 0.1: two runs and a sweep."""
    old_run(workspace, "mlp-old", 0), old_run(workspace, "mlp-new", 1)
    folder = workspace.sweeps / "mlp-20260101-000000-0000"
    folder.mkdir(parents=True)
    experiment = {"dataset": "moles", "features": "net", "head": HEAD, "objective": "mcc"}
    space = {"head.lr": {"loguniform": [1e-4, 1e-1]}, "head.monitor": {"choice": ["mcc"]}}
    (folder / "sweep.yaml").write_text(yaml.safe_dump({"name": "mlp", "experiment": experiment, "space": space}))
    (folder / "trials.csv").write_text(
        "trial,state,mcc,epochs,seconds,overhead,error,head.lr,head.monitor\n0,finished,0.5,5,1.0,,,0.001,mcc\n"
    )
    (folder / "summary.json").write_text(json.dumps({"state": "finished", "final_run": None}))
    return workspace


def test_former_runs_are_listed_loaded_found_and_compared(old: Workspace) -> None:
    assert list(list_runs(old)["run"]) == ["mlp-new", "mlp-old"]
    run = load_run("mlp-old", old)
    assert run.config.head.params["objective"] == "mcc" and len(run.part("validation")) == 20
    found = find_run(old, "mlp-new")
    assert found is not None and found.id == "mlp-new"
    compared = compare_runs([run, found], "mcc", None, resamples=100)
    assert list(compared.scores["run"].sort_values()) == ["mlp-new", "mlp-old"] and compared.images == 20


def test_a_former_sweep_is_read(old: Workspace) -> None:
    (sweep,) = all_sweeps(old)
    assert sweep.best_config.head.params["objective"] == "mcc" and sweep.best_config.head.params["lr"] == 0.001


def test_the_command_line_lists_and_removes_every_kind(old: Workspace) -> None:
    def call(*words: str, answer: str = "") -> str:
        result = CliRunner().invoke(app, [*words, "--workspace", str(old)], input=answer)
        assert result.exit_code == 0 or answer == "n\n", result.output
        return result.output

    assert "mlp-20260101-000000-0000" in call("sweeps") and "1 of 20" in call("sweeps")
    assert "No grids" in call("grids") and "Make one: `hamcache grid`" in call("grids")
    assert "Remove 2 runs?" in call("runs", "rm", "mlp-o", "mlp-n", answer="n\n")
    assert len(list_runs(old)) == 2
    assert "Removed 1 run." in call("runs", "rm", "mlp-o", "--yes")
    assert list(list_runs(old)["run"]) == ["mlp-new"]
    assert "Removed 1 sweep." in call("sweeps", "rm", "mlp", answer="y\n")
    assert "No sweeps" in call("sweeps") and list(old.sweeps.iterdir()) == []


def test_a_sweep_without_its_summary_is_not_called_new(old: Workspace) -> None:
    for path in old.sweeps.glob("*/summary.json"):
        path.unlink()
    result = CliRunner().invoke(app, ["sweeps", "--workspace", str(old)])
    assert result.exit_code == 0 and "no summary.json" in result.output and "not begun" not in result.output
