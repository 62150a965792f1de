"""Scores by the number of labels: what is planned, what comes out, and the command."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from hamcache.pipeline.cli.app import app
from hamcache.pipeline.errors import ConfigError
from hamcache.pipeline.runs.records import all_runs
from hamcache.pipeline.studies.curves import Amount, plan_curve
from hamcache.pipeline.studies.experiments import Template


def words(world, *more: str) -> list[str]:
    return ["curve", "--dataset", str(world.csv), "--workspace", str(world.workspace), "--no-plots", *more]


def test_the_command_scores_heads_by_labels_and_draws_them(world) -> None:
    world.extract("net_a")
    common = words(world, "--features", "net_a", "--heads", "logreg,knn", "--workers", "1", "--test")
    result = CliRunner().invoke(app, [*common, "--shares", "0.1,1", "--shots", "4", "--repeats", "2"])
    assert result.exit_code == 0, (result.output, result.exception)
    (path,) = world.workspace.curves.glob("*.csv")
    assert path.with_suffix(".png").stat().st_size > 10_000
    table = pd.read_csv(path)
    assert len(table) == 2 * 3 * 2 and set(table["part"]) == {"validation", "test"}
    assert set(table["images"][table["labels"] == "4 a class"]) == {12}
    logreg = table[(table["head"] == "logreg") & (table["part"] == "test")].set_index("labels")
    assert logreg["score"]["100 %"] > logreg["score"]["10 %"] > 0
    # The interval is Student's, of the two seeds' scores.
    runs = [run for run in all_runs(world.workspace) if run.config.head.name == "logreg"]
    scores = [run.metrics["test"]["mcc"] for run in runs if run.config.split.shots == 4]
    low, high = stats.t.interval(0.95, 1, np.mean(scores), stats.sem(scores))
    assert (logreg["low"]["4 a class"], logreg["high"]["4 a class"]) == pytest.approx((low, high))
    again = CliRunner().invoke(app, [*common, "--shares", "0.1,1", "--repeats", "2"])
    assert again.output.count("found finished") == 8


def test_wrong_amounts_are_wrong_usage(world) -> None:
    for option, value in (("--shares", "1.5"), ("--shares", "ten"), ("--shots", "0"), ("--shots", "1.5")):
        result = CliRunner().invoke(app, words(world, "--features", "net_a", option, value))
        assert result.exit_code == 2 and option in result.output
    with pytest.raises(ConfigError, match="differ, got 10 %, 10 %"):
        plan_curve(["net_a"], ["knn"], [Amount(share=0.1), Amount(share=0.1)], Template())
