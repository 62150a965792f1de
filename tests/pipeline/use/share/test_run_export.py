"""Runs for other programs: the numbers of the runs, once, by names that other programs take."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from hamcache.pipeline.errors import ExportError
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.use.share.mlflow_runs import MlflowStore, export_runs
from tests.pipeline.cli.test_app import hamcache


@pytest.fixture
def runs(world) -> list:
    world.extract()
    heads = ("features=net_a", "head={name: mlp, max_epochs: 3, hidden: [8]}")
    return [run_experiment(world.config(head), world.workspace) for head in heads]


def test_csv_and_json_hold_configuration_and_every_score(world, runs: list) -> None:
    hamcache("runs export", world.workspace).ok()
    table = pd.read_csv(world.workspace / "exports" / "runs.csv").set_index("run")
    record = hamcache(f"runs export {runs[1].id} --to json --out '{world.workspace.path}/one.json'", world.workspace)
    (entry,) = json.loads(Path(world.workspace / "one.json").read_text())
    assert "1 run" in record.ok() and entry["run"] == runs[1].id and len(entry["history"]) == 3
    assert table.loc[runs[1].id, "config.head.hidden"] == "[8]" and entry["config"]["head"]["hidden"] == [8]
    for run in runs:
        for part, scores in run.metrics.items():
            for name, value in scores.items():
                assert table.loc[run.id, f"{part}_{name}"] == pytest.approx(value, nan_ok=True)
    assert {name: value for name, value in entry["metrics"]["validation"].items() if value is not None} == {
        name: value for name, value in runs[1].metrics["validation"].items() if math.isfinite(value)
    }


def test_without_mlflow_the_extra_is_named(world, runs: list, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("hamcache.pipeline.use.share.mlflow_runs.import_module", absent)
    assert "pip install 'hamcache[mlflow]'" in hamcache("runs export --to mlflow", world.workspace).failed()


def test_mlflow_holds_parameters_scores_epochs_and_the_folder(world, runs: list, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    store = MlflowStore.at(tmp_path / "store")
    assert export_runs(runs, store) == 2 and export_runs(runs, store) == 0  # found, not written again
    assert export_runs(runs[:1], store, force=True) == 1
    client = mlflow.MlflowClient(tracking_uri=store.uri)
    experiment = client.get_experiment_by_name("moles")
    found = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(found) == {run.id for run in runs}
    for run in runs:
        data = found[run.id].data
        assert data.metrics["validation_mcc"] == run.metrics["validation"]["mcc"]
        assert data.params["features.blocks.0.backbone"] == "net_a" and data.tags["hamcache.dataset"] == "moles"
    mlp = found[runs[1].id].info.run_id
    column = next(name for name in runs[1].history.columns if name != "epoch")
    steps = client.get_metric_history(mlp, f"epochs/{column}")
    assert [step.value for step in steps] == pytest.approx(runs[1].history[column].tolist())
    files = {Path(entry.path).name for entry in client.list_artifacts(mlp, "run")}
    assert files == {path.name for path in runs[1].folder.iterdir()}
    (artifact,) = (tmp_path / "store" / "artifacts").rglob(f"{mlp}/artifacts/run")
    assert hamcache(f"runs show '{artifact}'", world.workspace).ok()


def test_a_server_that_is_away_is_told(runs: list, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ExportError, match="start that server"):
        export_runs(runs, MlflowStore.at("http://127.0.0.1:9"))
