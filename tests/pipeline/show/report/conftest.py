"""A workspace with runs on real pictures, a sweep and a grid, made once; and a report of it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hamcache.data.files import write_json
from hamcache.data.workspace import Workspace
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.runs.records import Run, all_runs
from hamcache.pipeline.show.report.board import Board, make_board
from hamcache.pipeline.show.report.build import ReportSettings, build_report
from hamcache.pipeline.studies.sweeps.results import SUMMARY, Sweep, new_sweep, read_sweep
from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig
from hamcache.pipeline.studies.sweeps.trial_table import Trial, TrialTable
from tests.pipeline.conftest import without_checksums

COLOURS = {"bkl": (150, 110, 70), "mel": (60, 45, 50), "nv": (190, 140, 120)}
FEW = 200
"""Resamples: what is tested here does not depend on their number."""


@dataclass(frozen=True)
class Lab:
    """A workspace, its data set, and the runs in it by name."""

    workspace: Workspace
    csv: Path
    runs: dict[str, Run]

    def board(self, metric: str = "mcc", part: str = "validation") -> Board:
        return make_board(all_runs(self.workspace), metric, part, resamples=FEW)

    def report(self, out: Path, *names: str, **options: Any) -> str:
        build_report(
            names, self.workspace, out, ReportSettings(**{"resamples": FEW, "gallery": 2, "layout": "pca", **options})
        )
        return out.read_text(encoding="utf-8")


def draw_images(csv: Path) -> None:
    """Put small photographs in place of the files of a data set, which only have bytes."""
    for line in csv.read_text().splitlines()[1:]:
        image_id, path, label, _ = line.split(",")
        rng = np.random.default_rng(list(image_id.encode()))
        pixels = rng.normal(COLOURS[label], 12, (48, 64, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(csv.parent / path)


def write_sweep(
    workspace: Workspace, experiment: dict[str, Any], final_run: str | None = None, error: str = ""
) -> Sweep:
    """A sweep as `hamcache sweep` leaves it: two trials to the end, one stopped, one failed."""
    space = {"head.lr": {"loguniform": [1e-4, 1e-1]}, "head.hidden": {"choice": [[], [16]]}}
    sweep = new_sweep(SweepConfig.model_validate({"name": "mlp", "experiment": experiment, "space": space}), workspace)
    table = TrialTable(sweep)
    for number, (state, score) in enumerate([("finished", 0.4), ("stopped", 0.1), ("failed", None), ("finished", 0.6)]):
        point = {"head.lr": 0.001 * (number + 1), "head.hidden": [16] if number % 2 else []}
        text = error or "ValueError: expected a rate above 0"
        table.add(Trial(number, point, state, score, 5, 2.0 + number, None, text if state == "failed" else ""), [])
    write_json(sweep.folder / SUMMARY, {"state": "finished", "final_run": final_run})
    return read_sweep(sweep.folder)


@pytest.fixture(scope="session")
def lab(make_world: Callable[[], Any], dataset_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Runs of two backbones, their hybrid, two seeds, heads with and without epochs; one has opened the test set."""
    folder = tmp_path_factory.mktemp("photographs")
    shutil.copytree(dataset_csv.parent, folder, dirs_exist_ok=True)
    csv = folder / dataset_csv.name
    draw_images(csv)
    world = replace(make_world(), csv=csv)
    world.extract("net_a", skill=0.7)
    world.extract("net_b", skill=0.5)
    wanted = {
        "a": ["features=net_a"],
        "b": ["features=net_b"],
        "ab": ["features=net_a+net_b"],
        "mlp": ["features=net_a+net_b", "head={name: mlp, max_epochs: 4, hidden: [8]}"],
        "seed1": ["features=net_a", "seed=1"],
        "knn": ["features=net_a", "head=knn"],
    }
    runs = {
        name: run_experiment(world.config(*settings), world.workspace, test=name == "ab")
        for name, settings in wanted.items()
    }
    write_sweep(world.workspace, runs["mlp"].config.content(), final_run=runs["mlp"].id)
    return Lab(world.workspace, csv, runs)


@pytest.fixture(scope="session")
def board(lab: Lab) -> Board:
    """The leaderboard of the lab."""
    return lab.board()


@pytest.fixture
def own_lab(lab: Lab, tmp_path: Path) -> Lab:
    """A copy of the lab, free to be damaged; its data set is copied as well, and the runs name the copy."""
    workspace = Workspace(tmp_path / "workspace")
    shutil.copytree(lab.workspace, workspace)
    shutil.copytree(lab.csv.parent, tmp_path / "photographs")
    csv = tmp_path / "photographs" / lab.csv.name
    for path in workspace.path.glob("runs/*/config.yaml"):
        path.write_text(path.read_text().replace(str(lab.csv), str(csv)))
        without_checksums(path.parent)
    return Lab(workspace, csv, {name: read(workspace, run) for name, run in lab.runs.items()})


def read(workspace: Workspace, run: Run) -> Run:
    return next(one for one in all_runs(workspace) if one.id == run.id)


@pytest.fixture(scope="session")
def page_file(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of the whole lab."""
    out = tmp_path_factory.mktemp("report") / "report.html"
    lab.report(out)
    return out
