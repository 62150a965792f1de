"""Splits that are given, and fewer labels, from the configuration to the runs."""

from pathlib import Path
from unittest import mock

import pytest
from typer.testing import CliRunner

from hamcache.data.errors import LeakError
from hamcache.pipeline.cli.app import app
from hamcache.pipeline.errors import ConfigError
from hamcache.pipeline.experiment import preparation
from hamcache.pipeline.experiment.preparation import make_splits
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.runs.provenance import summary


def test_a_saved_split_is_the_run_that_made_it_wherever_the_file_lies(world, tmp_path: Path) -> None:
    world.extract()
    run = run_experiment(world.config(), world.workspace, test=True)
    (split,) = make_splits(world.config(), world.table())
    for name in ("one.csv", "two.csv"):
        split.save(tmp_path / name)
        found = run_experiment(world.config(f"split.file={tmp_path / name}"), world.workspace, test=True)
        assert found.reused and found.id == run.id
    with (tmp_path / "two.csv").open("w") as file:  # the same parts, but for one image
        rows = split.frame[["image_id", "part"]].iloc[1:]
        rows.to_csv(file, index=False)
    with mock.patch.object(preparation, "given_split", wraps=preparation.given_split) as read:
        other = run_experiment(world.config(f"split.file={tmp_path / 'two.csv'}"), world.workspace, test=True)
    assert read.call_count == 1
    assert not other.reused and len(other.predictions) == len(run.predictions) - 1
    left_out = len(world.table()) - len(rows)
    assert f"{left_out} images have no part in the split that was given" in (other.folder / "log.txt").read_text()
    assert other.provenance["summary"]["policy"] == "given by two.csv"


def test_every_command_of_many_experiments_takes_the_split(world, tmp_path: Path) -> None:
    world.extract("net_a"), world.extract("net_b")
    (split,) = make_splits(world.config("split.policy=grouped", "seed=4"), world.table())
    split.save(tmp_path / "split.csv")
    words = ["--dataset", str(world.csv), "--workspace", str(world.workspace), "--split-file"]
    words += [str(tmp_path / "split.csv"), "--no-plots"]
    for command in (
        ["zoo", "--features", "net_a", "--heads", "knn"],
        ["hybrids", "--backbones", "net_a,net_b", "--head", "knn"],
        ["grid", "--features", "net_a", "--augmentations", "none", "--head", "knn", "--no-extract"],
    ):
        result = CliRunner().invoke(app, [*command, *words])
        assert result.exit_code == 0, (command, result.output, result.exception)
    frame = split.frame
    frame.loc[frame.index[frame["group"].duplicated()][0], "part"] = "test"
    frame[["image_id", "part"]].to_csv(tmp_path / "split.csv", index=False)
    result = CliRunner().invoke(app, ["zoo", "--features", "net_a", "--heads", "knn", *words])
    assert isinstance(result.exception, LeakError)


def test_a_share_of_train_is_in_the_fingerprint_and_moves_no_other_part(world) -> None:
    world.extract()
    runs = [
        run_experiment(world.config(*words), world.workspace, test=True)
        for words in ((), ("split.train_share=0.5",), ("split.shots=8",))
    ]
    assert len({run.provenance["fingerprint"] for run in runs}) == 3
    assert all(list(run.part("test")["image_id"]) == list(runs[0].part("test")["image_id"]) for run in runs)
    assert [run.part("train")["label"].value_counts().min() for run in runs[2:]] == [8]
    assert summary(runs[1].config, "moles")["policy"] == "one_per_lesion, 50 % of train"


def test_a_policy_beside_a_given_split_is_refused(world) -> None:
    with pytest.raises(ConfigError, match="leave policy, test_fraction out"):
        world.config("split.column=part", "split.policy=grouped", "split.test_fraction=0.3")
    with pytest.raises(ConfigError, match="train_share and shots: expected one of the two"):
        world.config("split.shots=2", "split.train_share=0.3")
