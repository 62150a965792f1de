import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from hamcache.cache.costs import Cost, add_costs
from hamcache.cache.storage import Root
from hamcache.lab import Lab
from hamcache.pipeline.cli.app import app
from hamcache.pipeline.errors import ConfigError, ConfigNotFoundError
from hamcache.pipeline.evaluate.intervals import holm, paired_bootstrap
from hamcache.pipeline.runs.records import all_runs, load_run
from hamcache.pipeline.studies.study.row_experiments import load_study, networks_named
from hamcache.pipeline.studies.study.study_config import study_names

ROWS: list[dict[str, Any]] = [
    {"name": "a", "experiment": {"features": "net_a"}, "candidates": {"head.C": [1e-5, 0.1]}},
    {"name": "b", "experiment": {"features": "net_b"}, "candidates": {"head.C": [1e-5, 0.1]}},
    {"name": "both", "experiment": {"features": "net_a+net_b"}, "candidates": {"head.C": [1e-5, 0.1]}},
    {"name": "frozen", "best_of": ["a", "b", "both"]},
    {"name": "like it", "experiment": {"row": "frozen", "head": "knn"}, "repeats": 1},
]


LABELS = {"rows": ["b", "like it"], "shares": [0.3, 1], "repeats": 2}


def write(folder: Path, rows: list[dict[str, Any]] = ROWS, **more: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"rows": rows, "resamples": 200, **more}, sort_keys=False))
    return path


def call(world, path: Path, *words: str):
    shared = ["--dataset", str(world.csv), "--workspace", str(world.workspace), "--workers", "1", "--no-plots"]
    return CliRunner().invoke(app, ["study", str(path), *shared, *words])


@pytest.fixture(scope="module")
def done(make_world, tmp_path_factory):
    """A world, its study and what the command said; what the features cost is on record for one backbone."""
    world = make_world()
    stores = [world.extract("net_a"), world.extract("net_b", skill=0.6)]
    images = len(world.table())
    add_costs(Root(world.workspace.features), world.table().name, {stores[0].folder: Cost(images // 2, 50.0)})
    path = write(tmp_path_factory.mktemp("study"), repeats=2, labels=LABELS)
    return world, path, call(world, path)


def record_of(world) -> dict[str, Any]:
    (folder,) = world.workspace.studies.iterdir()
    return json.loads((folder / "study.json").read_text())


def test_rows_are_chosen_on_validation_and_their_search_is_counted(done) -> None:
    world, _, said = done
    assert said.exit_code == 0, (said.output, said.exception)
    rows = {row["name"]: row for row in record_of(world)["rows"]}
    assert list(rows) == ["majority class", "a", "b", "both", "frozen", "like it"]
    assert rows["majority class"]["validation_mcc"] == 0
    runs = [run for run in all_runs(world.workspace) if run.config.split.train_share is None]
    assert len(runs) == 3 * (2 + 1) + 2  # two candidates and a second seed each; "like it" and its curve
    tried = [run for run in runs if run.config.seed == 0 and run.provenance["summary"]["features"] == "net_a"]
    best = max(tried, key=lambda run: run.metrics["validation"]["mcc"] if run.config.head.name == "logreg" else -1)
    assert rows["a"]["run"] == best.id and rows["a"]["choice"] == f"C={best.config.head.params['C']}"
    assert rows["a"]["search"] == pytest.approx(
        sum(run.provenance["seconds"]["processor"] for run in tried if run.config.head.name == "logreg")
    )
    assert (rows["a"]["tried"], rows["frozen"]["tried"], rows["like it"]["tried"]) == (2, 6, 7)
    assert rows["frozen"]["of"] == max("a", "b", "both", key=lambda name: rows[name]["validation_mcc_mean"])
    assert rows["like it"]["experiment"]["features"] == rows["frozen"]["experiment"]["features"]
    assert rows["like it"]["seeds"] == 1 and rows["frozen"]["seeds"] == 2
    seeds = [load_run(name, world.workspace).metrics["validation"]["mcc"] for name in rows["b"]["runs"]]
    assert rows["b"]["validation_mcc_mean"] == pytest.approx(np.mean(seeds))
    assert rows["b"]["validation_mcc_sd"] == pytest.approx(np.std(seeds, ddof=1))
    assert load_run(rows["b"]["runs"][1], world.workspace).config.seed == 1


def test_the_extraction_is_counted_once_and_spread_over_its_readers(done) -> None:
    world, _, said = done
    content = record_of(world)
    rows = {row["name"]: row for row in content["rows"]}
    of = {entry["features"]: entry for entry in content["extraction"]}
    images = len(world.table())
    assert of["net_a (none)"]["seconds"] == pytest.approx(images * 50 / (images // 2))
    assert of["net_b (none)"]["seconds"] is None and "net_b (none) cost is not on record" in said.output
    runs = [run for run in all_runs(world.workspace) if run.config.split.train_share is None]
    runs = [run for run in runs if run.config.head.name == "logreg" or run.config.seed == 0]  # not those of the curve
    readers = sum("net_a" in run.provenance["summary"]["features"] for run in runs)
    assert of["net_a (none)"]["experiments"] == readers
    assert rows["a"]["extraction"] == of["net_a (none)"]["seconds"]
    assert rows["a"]["share"] == pytest.approx(rows["a"]["extraction"] / readers)
    assert rows["b"]["extraction"] is None


def test_comparisons_are_paired_and_corrected(done) -> None:
    world, _, _ = done
    content = record_of(world)
    runs = {row["name"]: load_run(row["run"], world.workspace) for row in content["rows"] if row["run"]}
    pairs = {pair["row"]: pair for pair in content["comparisons"]}
    assert set(pairs) == {"b", "both", "frozen", "like it"} - (
        {"frozen"} if runs["frozen"].id == runs["a"].id else set()
    )
    base = runs["a"]
    y, proba, groups = base.answers("validation")
    gap = paired_bootstrap(y, runs["b"].probabilities("validation"), proba, groups, "mcc", resamples=200)
    assert (pairs["b"]["difference"], pairs["b"]["p"]) == pytest.approx((gap.value, gap.p_value))
    different = {runs[name].id: pair["p"] for name, pair in pairs.items()}
    corrected = dict(zip(different, holm(list(different.values())), strict=True))
    assert pairs["b"]["p_holm"] == pytest.approx(corrected[runs["b"].id])


def test_tables_and_pictures_are_written(done) -> None:
    world, _, said = done
    (folder,) = world.workspace.studies.iterdir()
    pictures = {path.name for path in folder.glob("*.png")}
    assert pictures == {"rows.png", "costs.png", "backbones.png", "labels.png"}
    assert all((folder / name).stat().st_size > 10_000 for name in pictures)
    frame = pd.read_csv(folder / "study.csv")
    for name in ("mcc", "weighted_f1", "macro_f1", "balanced_accuracy", "mel_sensitivity_at_95", "ece"):
        rows = frame[frame["name"] != "majority class"]
        assert (rows[f"validation_{name}_low"] <= rows[f"validation_{name}_high"]).all(), name
    run = load_run(frame.set_index("name")["run"]["both"], world.workspace)
    row = frame.set_index("name").loc["both"]
    assert row["validation_mel_sensitivity_at_95"] == pytest.approx(run.metrics["validation"]["mel_sensitivity_at_95"])
    assert "What each backbone adds" in said.output


def test_rows_are_scored_with_fewer_labels_and_those_with_all_are_found(done) -> None:
    world, _, said = done
    content = record_of(world)
    curve = {(point["features"], point["labels"]): point for point in content["labels"]}
    assert list(curve) == [("b", "30 %"), ("like it", "30 %"), ("b", "100 %"), ("like it", "100 %")]
    rows = {row["name"]: row for row in content["rows"]}
    assert curve["b", "100 %"]["score"] == pytest.approx(rows["b"]["validation_mcc_mean"])
    assert curve["b", "30 %"]["images"] < curve["b", "100 %"]["images"] and curve["b", "30 %"]["seeds"] == 2
    few = [run for run in all_runs(world.workspace) if run.config.split.train_share == 0.3]
    assert len(few) == 4 and {run.config.seed for run in few} == {0, 1}
    assert "Fewer labels: scores on validation" in said.output


def test_a_lab_runs_a_study_as_the_command_does(done) -> None:
    world, path, _ = done
    before = len(all_runs(world.workspace))
    table = Lab(world.csv, world.workspace.path).study(path)
    frame = table.frame.set_index("name")
    assert frame["run"].to_dict() == {row["name"]: row["run"] for row in record_of(world)["rows"]}
    assert table.curve is not None and len(table.curve) == 4
    assert len(all_runs(world.workspace)) == before


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the pictures out, which take longer than all else."""
    monkeypatch.setattr("hamcache.pipeline.show.plots.study.draw_study", lambda *_: [])


@pytest.mark.usefixtures("undrawn")
def test_the_test_set_is_opened_once_and_for_these_rows(done) -> None:
    world, path, _ = done
    before = len(all_runs(world.workspace))
    again = call(world, path, "--json")
    assert again.exit_code == 0 and len(all_runs(world.workspace)) == before
    assert "test" not in " ".join(table["title"] for table in json.loads(again.stdout)["tables"])
    opened = call(world, path, "--test")
    assert opened.exit_code == 0, opened.output
    content = record_of(world)
    assert content["test_opened"] and all(row["test_mcc"] is not None for row in content["rows"])
    count = len(all_runs(world.workspace))
    assert call(world, path).exit_code == 0 and len(all_runs(world.workspace)) == count
    assert record_of(world)["rows"][1]["test_mcc"] == content["rows"][1]["test_mcc"]
    assert call(world, write(path.parent, repeats=2)).exit_code == 0  # a curve chooses nothing
    changed = write(path.parent, ROWS[:3], repeats=2)
    for words in ([], ["--test"]):
        refused = call(world, changed, *words)
        assert "Give the changed study another name" in str(refused.exception)


@pytest.mark.usefixtures("undrawn")
def test_a_curve_of_one_seed_has_scores_without_intervals(world, tmp_path: Path) -> None:
    world.extract("net_a")
    rows = [{"name": "good", "experiment": {"features": "net_a"}}]
    result = call(world, write(tmp_path, rows, labels={"rows": ["good"], "shares": [0.5], "repeats": 1}))
    assert result.exit_code == 0, result.output
    (point,) = record_of(world)["labels"]
    assert point["score"] > 0 and point["low"] is None and point["high"] is None


@pytest.mark.usefixtures("undrawn")
def test_a_row_that_fails_costs_itself_and_what_needs_it(world, tmp_path: Path) -> None:
    world.extract("net_a")
    rows = [
        {"name": "good", "experiment": {"features": "net_a"}},
        {"name": "bad", "experiment": {"features": "net_a", "head": {"name": "average", "heads": [{"blocks": ["c"]}]}}},
        {"name": "after it", "experiment": {"row": "bad", "head": "knn"}},
    ]
    path = write(tmp_path, rows)
    result = call(world, path)
    assert result.exit_code == 1 and "after it: FAILED: row 'bad' failed" in result.output
    assert "good" in result.output and record_of(world)["rows"][1]["validation_mcc"] > 0.3
    refused = call(world, path, "--test")
    assert "Expected all rows to be finished before the test set" in str(refused.exception)
    assert all("test" not in run.metrics for run in all_runs(world.workspace))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"name": "a", "experimnt": {}}], "unknown key rows.0.experimnt; did you mean rows.0.experiment?"),
        ([{"name": "a", "experiment": {"features": "x", "hed": "knn"}}], "row 'a' is not a valid configuration"),
        ([{"name": "a", "experiment": {"features": "x"}}] * 2, "got it 2 times"),
        ([{"name": "majority class", "experiment": {"features": "x"}}], "every study has it"),
        ([{"name": "first", "experiment": {"features": "x"}}, {"name": "b", "best_of": ["fist"]}], "did you mean"),
        ([{"name": "a", "best_of": ["b"]}, {"name": "b", "best_of": ["a"]}], "an order in which to run them"),
        ([{"name": "a", "experiment": {"features": "x", "seed": 3}}], "expected seed in the study's experiment"),
        ([{"name": "a", "experiment": {"features": "x"}, "candidates": [{"head.D": 1}]}], "row 'a', candidate 1"),
        ([{"name": "a", "experiment": {"row": ["a"]}}], "expected a name as row, got ['a']"),
        ([{"name": "a", "samples": 3}], "expected a sweep"),
        ([{"name": "a", "sweep": "mlpp"}], "did you mean"),
        ([], "not empty"),
    ],
)
def test_a_wrong_study_is_told_before_anything_runs(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises((ConfigError, ConfigNotFoundError)) as error:
        load_study(write(tmp_path, rows))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"rows": ["bests"]}, "did you mean"),
        ({"rows": ["a"], "shares": [0.5, 0.5]}, "expected values that differ"),
        ({"rows": ["a"], "shares": []}, "expected shares or shots"),
        ({"rows": ["best"]}, "the networks of others, which have seen all labels, got 'best' with those of 'on it'"),
    ],
)
def test_a_wrong_curve_is_told_before_anything_runs(tmp_path: Path, labels: dict[str, Any], message: str) -> None:
    rows = [
        {"name": "a", "experiment": {"features": "x"}},
        {"name": "tuned", "experiment": {"net": "finetune"}},
        {"name": "on it", "experiment": {"features": "row:tuned"}},
        {"name": "best", "best_of": ["a", "on it"]},
    ]
    with pytest.raises(ConfigError) as error:
        load_study(write(tmp_path, rows, labels=labels))
    assert message in str(error.value)


def test_rows_that_need_the_same_ones_in_many_ways_are_read_at_once(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"name": f"r{number}", "experiment": {"features": "x"}} for number in range(2)]
    rows += [{"name": f"r{number}", "best_of": [f"r{number - 1}", f"r{number - 2}"]} for number in range(2, 100)]
    assert load_study(write(tmp_path, rows, labels={"rows": ["r99"]})).study.labels is not None


def test_the_packaged_studies_are_whole(tmp_path: Path) -> None:
    assert study_names() == ["founding", "frozen", "nets", "small"]
    founding = load_study("founding", {"dataset": "elsewhere"}, repeats=3)
    names = [row.name for row in founding.study.rows]
    assert founding.provisional.keys() == set(names) and founding.first.dataset == "elsewhere"
    assert founding.seeds(founding.study.rows[0]) == [0, 1, 2]
    with_metadata = founding.provisional["best frozen with metadata"].features.blocks
    assert with_metadata[-1].backbone == "metadata" and len(with_metadata) > 1
    nets = [config for name in study_names() for config in load_study(name).provisional.values() if config.net]
    warm = [config.net.params for config in nets if config.net.params.get("warm_start", "none") != "none"]
    assert warm and all((each["fit"], each["image_size"]) == ("crop", None) for each in warm)  # as its features saw
    with pytest.raises(ConfigNotFoundError, match="small"):
        load_study("smal")


def test_a_network_of_another_row_is_called_by_its_run(tmp_path: Path) -> None:
    rows = [
        {"name": "tuned", "experiment": {"net": "finetune"}},
        {"name": "on it", "experiment": {"features": "row:tuned:stages+net_b"}},
    ]
    study = load_study(write(tmp_path, rows))
    assert study.study.row("on it").needs == ("tuned",)
    named = networks_named(study.provisional["on it"], {"tuned": "finetune-1"})
    assert [block.backbone for block in named.features.blocks] == ["run:finetune-1:stages", "net_b"]


def test_a_row_trains_on_the_features_of_another_rows_network(
    ham10000_folder: Path, workspace, tmp_path: Path, undrawn: None
) -> None:
    net = {"name": "finetune", "backbone": "random/test_resnet", "epochs_tuning": 1, "epochs_extraction": 0}
    rows = [
        {"name": "tuned", "experiment": {"net": {**net, "batch_size": 16, "precision": "fp32"}}},
        {"name": "on it", "experiment": {"features": "row:tuned", "head": "knn"}},
        {"name": "quick", "experiment": {"features": "random/test_resnet", "head": "knn"}},
    ]
    words = ["study", str(write(tmp_path, rows)), "--dataset", str(ham10000_folder), "--workspace", str(workspace)]
    words += ["--workers", "1", "--no-plots", "--extract"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, (result.output, result.exception)
    lines = result.output.splitlines()
    order = [line.split(":")[0] for line in lines if line.split(":")[0] in ("tuned", "on it", "quick")]
    assert order[:3] == ["quick", "tuned", "on it"]  # networks when all else is done
    (tuned,) = (run for run in all_runs(workspace) if run.config.net is not None)
    (other,) = (run for run in all_runs(workspace) if tuned.id in run.provenance["summary"]["features"])
    assert other.config.features.blocks[0].backbone == f"run:{tuned.id}"
    opened = CliRunner().invoke(app, [*words, "--test"])
    assert opened.exit_code == 0 and "written, 78 reused" in opened.output, (opened.output, opened.exception)
    rows_of = {row["name"]: row for row in json.loads(next(workspace.studies.glob("*/study.json")).read_text())["rows"]}
    assert rows_of["on it"]["tried"] == 2 and rows_of["on it"]["search"] > rows_of["tuned"]["search"] > 0
    assert rows_of["on it"]["extraction"] > 0 and rows_of["tuned"]["extraction"] == 0
    assert rows_of["on it"]["experiment"]["features"]["blocks"][0]["backbone"] == "row:tuned"
