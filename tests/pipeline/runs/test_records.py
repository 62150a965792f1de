import json
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score, f1_score

from hamcache.data.workspace import Workspace
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.errors import ArtefactNotFoundError, DamagedError, RunError
from hamcache.pipeline.runs.artefacts import give_name, new_folder, partial_folders
from hamcache.pipeline.runs.records import (
    all_runs,
    list_runs,
    load_run,
    predictions_table,
    read_run,
    run_id,
    write_run,
)
from hamcache.pipeline.runs.run_index import find_run
from tests.pipeline.conftest import without_checksums

CLASSES = {"a": "Class a", "b": "Class b"}
PROVENANCE = {
    "fingerprint": "f",
    "finished": "2026-01-01",
    "summary": {"head": "logreg", "features": "net", "dataset": "moles", "policy": "grouped", "seed": 0},
    "seconds": {"total": 1.5},
}


def config(**values) -> ExperimentConfig:
    return ExperimentConfig(features="tf_efficientnet_lite0+resnet34.tv_in1k", **values)


def save(
    workspace: Workspace, name: str = "run", *, test: bool = False, fingerprint: str = "f", finished: str = "2026-01-01"
):
    rng = np.random.default_rng(0)
    tables = []
    for part, n in {"train": 12, "validation": 6, **({"test": 5} if test else {})}.items():
        ids = [f"{part}{i}" for i in reversed(range(n))]
        labels = ["a" if i % 3 else "b" for i in range(n)]
        frame = pd.DataFrame({"image_id": ids, "group": ids, "label": labels})
        tables.append(predictions_table(frame, rng.dirichlet([1, 1], n), list(CLASSES), part))
    with new_folder(workspace.runs) as folder:
        write_run(
            folder,
            config=config(),
            metrics={part: {"mcc": 0.25} for part in ("train", "validation", *(["test"] if test else []))},
            predictions=pd.concat(tables),
            history=[{"epoch": 1, "train_loss": 0.5}],
            provenance=PROVENANCE | {"fingerprint": fingerprint, "finished": finished},
            classes=CLASSES,
        )
        return read_run(give_name(folder, name))


def test_a_run_reads_back_as_it_was_written(tmp_path: Path) -> None:
    written = save(Workspace(tmp_path))
    run = load_run("run", Workspace(tmp_path))
    assert run.config == config() and run.classes == ("a", "b")
    assert run.metrics == {"train": {"mcc": 0.25}, "validation": {"mcc": 0.25}}
    rng = np.random.default_rng(0)
    rng.dirichlet([1, 1], 12)
    np.testing.assert_array_equal(
        run.probabilities("validation"), rng.dirichlet([1, 1], 6)[::-1]
    )  # sorted by id, same bits
    assert list(run.part("validation")["image_id"]) == sorted(run.part("validation")["image_id"])
    assert run.history.to_dict("records") == [{"epoch": 1, "train_loss": 0.5}]
    assert written.id == run.id == "run"


def test_predictions_whose_column_is_named_split_are_read(tmp_path: Path) -> None:
    path = save(Workspace(tmp_path)).folder / "predictions.csv"
    written = load_run("run", Workspace(tmp_path)).predictions
    without_checksums(path.parent)
    path.write_text(path.read_text().replace(",part,", ",split,", 1))
    pd.testing.assert_frame_equal(load_run("run", Workspace(tmp_path)).predictions, written)


def test_ids_and_labels_that_look_like_numbers_or_nothing_stay_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"image_id": ["001", "NA", "1e3"], "group": ["1", "nan", "007"], "label": ["0", "NA", "0"]})
    with new_folder(Workspace(tmp_path).runs) as folder:
        write_run(
            folder,
            config=config(),
            metrics={"validation": {}},
            predictions=predictions_table(frame, np.eye(2)[[0, 1, 0]], ["0", "NA"], "validation"),
            history=[],
            provenance=PROVENANCE,
            classes={"0": "0", "NA": "NA"},
        )
        run = read_run(give_name(folder, "r"))
    assert list(run.part("validation")["image_id"]) == ["001", "1e3", "NA"]
    assert list(run.labels("validation")) == [0, 0, 1]
    assert run.history.empty and list(run.history.columns) == ["epoch"]


def test_a_part_that_was_not_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no 'test' predictions, only train, validation.*--test"):
        save(Workspace(tmp_path)).part("test")


def test_baseline_equals_scikit_learns_dummy(tmp_path: Path) -> None:
    run = save(Workspace(tmp_path))
    y_train, y = run.labels("train"), run.labels("validation")
    guess = DummyClassifier(strategy="most_frequent").fit(y_train[:, None], y_train).predict(y[:, None])
    baseline = run.baseline("validation")
    assert baseline["accuracy"] == pytest.approx(accuracy_score(y, guess))
    assert baseline["weighted_f1"] == pytest.approx(f1_score(y, guess, average="weighted"))
    assert baseline["mcc"] == 0


def test_an_unfinished_run_is_never_seen(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_folder(Workspace(tmp_path).runs) as folder:
        (folder / "metrics.json").write_text("{}")
        assert all_runs(Workspace(tmp_path)) == [] and list_runs(Workspace(tmp_path)).empty
        raise ZeroDivisionError
    assert partial_folders(Workspace(tmp_path).runs) == []


def test_a_process_killed_while_writing_leaves_no_run(tmp_path: Path) -> None:
    script = f"""
        import sys, time
        from pathlib import Path
        from hamcache.data.workspace import Workspace
        from hamcache.pipeline.runs.artefacts import new_folder
        with new_folder(Workspace(Path({str(tmp_path)!r})).runs) as folder:
            (folder / "metrics.json").write_text("{{}}")
            print("written", flush=True)
            time.sleep(60)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None and process.stdout.readline() == b"written\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert all_runs(Workspace(tmp_path)) == [] and len(partial_folders(Workspace(tmp_path).runs)) == 1
    with pytest.raises(ArtefactNotFoundError):
        load_run(".partial", Workspace(tmp_path))
    save(Workspace(tmp_path))
    assert [run.id for run in all_runs(Workspace(tmp_path))] == ["run"]


def test_run_ids_are_readable_and_tell_configurations_apart() -> None:
    when = datetime(2026, 11, 23, 7, 5, 9)
    assert run_id(config(), when) == f"logreg-effnet_lite0+resnet34-20261123-070509-{config().digest[:4]}"
    assert run_id(config(), when) != run_id(config(seed=1), when)
    many = ExperimentConfig(features="+".join(f"torchvision/some_long_network_{i}" for i in range(9)))
    assert run_id(many, when).startswith("logreg-some_long_network_0+8more-20261123")
    odd = ExperimentConfig(features="hf-hub:maker/net work@abc123")
    assert run_id(odd, when).startswith("logreg-net_work-2026")


def test_runs_that_finish_with_the_same_name_all_stay(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: save(Workspace(tmp_path)), range(8)))
    assert len({run.id for run in runs}) == 8 and {"run", "run-2"} <= {run.id for run in runs}
    assert len(all_runs(Workspace(tmp_path))) == 8


def test_a_run_is_found_by_its_id_a_unique_beginning_or_its_folder(tmp_path: Path) -> None:
    save(Workspace(tmp_path), "logreg-1"), save(Workspace(tmp_path), "logreg-12"), save(Workspace(tmp_path), "mlp-1")
    assert load_run("logreg-1", Workspace(tmp_path)).id == "logreg-1"
    assert load_run("mlp", Workspace(tmp_path)).id == "mlp-1"
    assert load_run(tmp_path / "runs" / "logreg-12", Workspace(tmp_path)).id == "logreg-12"
    with pytest.raises(ArtefactNotFoundError, match="2 runs begin with it: logreg-1, logreg-12"):
        load_run("log", Workspace(tmp_path))
    with pytest.raises(ArtefactNotFoundError, match=r"nothing has that name\. There are: logreg-1, logreg-12, mlp-1"):
        load_run("knn", Workspace(tmp_path))
    with pytest.raises(ArtefactNotFoundError):
        load_run("", Workspace(tmp_path))


def test_the_latest_run_of_an_experiment_is_found_again(tmp_path: Path) -> None:
    save(Workspace(tmp_path), "z-old", finished="2026-01-01")
    save(Workspace(tmp_path), "a-new", finished="2026-01-02")
    save(Workspace(tmp_path), "other", fingerprint="g")
    found = find_run(Workspace(tmp_path), "f")
    assert found is not None and found.id == "a-new"
    assert find_run(Workspace(tmp_path), "f", test=True) is None
    save(Workspace(tmp_path), "opened", test=True, finished="2025-01-01")
    opened = find_run(Workspace(tmp_path), "f", test=True)
    assert opened is not None and opened.id == "opened"
    assert find_run(Workspace(tmp_path), "nothing") is None


def test_list_has_one_row_a_run_latest_first(tmp_path: Path) -> None:
    save(Workspace(tmp_path), "old", finished="2026-01-01")
    save(Workspace(tmp_path), "new", finished="2026-02-01", test=True)
    table = list_runs(Workspace(tmp_path))
    assert list(table["run"]) == ["new", "old"]
    assert list(table.columns[:8]) == ["run", "head", "features", "dataset", "policy", "seed", "finished", "seconds"]
    assert table.loc[0, "test_mcc"] == 0.25 and np.isnan(table.loc[1, "test_mcc"])
    assert list_runs(Workspace(tmp_path / "nowhere")).empty


def test_a_damaged_run_is_passed_over_with_a_warning_and_named_when_asked_for(tmp_path: Path, caplog) -> None:
    save(Workspace(tmp_path), "good")
    bad = save(Workspace(tmp_path), "bad")
    (bad.folder / "metrics.json").write_text('{"train": {')
    assert [run.id for run in all_runs(Workspace(tmp_path))] == ["good"]
    assert "bad is not a whole run" in caplog.text
    with pytest.raises(DamagedError, match="`hamcache runs rm` removes it"):
        read_run(bad.folder)


def test_json_files_never_hold_nan(tmp_path: Path) -> None:
    with new_folder(Workspace(tmp_path).runs) as folder, pytest.raises(ValueError, match="JSON"):
        write_run(
            folder,
            config=config(),
            metrics={"train": {"mcc": float("nan")}},
            predictions=pd.DataFrame(),
            history=[],
            provenance={},
            classes=CLASSES,
        )
    assert json.loads((save(Workspace(tmp_path)).folder / "metrics.json").read_text())
