"""Experiments on metadata: alone and in hybrids, through every way of running them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hamcache.data.errors import MetadataError
from hamcache.pipeline.config.schema import load_config
from hamcache.pipeline.errors import ConfigError
from hamcache.pipeline.experiment.inputs import open_inputs, stores_needed
from hamcache.pipeline.experiment.learning import parts_of
from hamcache.pipeline.experiment.preparation import make_splits, prepare
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.show.report.board import make_board
from hamcache.pipeline.show.report.contributions import contributions
from hamcache.pipeline.studies.experiments import Template, plan, run_all
from hamcache.pipeline.studies.sweeps.shared import open_sweep, read_shared
from tests.pipeline.conftest import World


def run(world: World, *settings: str, features: str = "net_a+metadata", test: bool = False):
    return run_experiment(world.config(*settings, base={"features": features}), world.workspace, test=test)


def test_a_hybrid_with_metadata_knows_more_than_the_features_alone(known_world: World) -> None:
    known_world.extract("net_a", "flip", 2, skill=0.4)
    base = {"dataset": str(known_world.csv)}
    runs = run_all(
        plan(
            ["net_a", "net_a+metadata", "metadata"],
            ["logreg"],
            Template(settings=base),
            augmentation="flip",
            views=2,
        ),
        known_world.workspace,
        workers=1,
    )
    scores = {(r.experiment.head, r.experiment.features): r.run.metrics["validation"]["macro_auc"] for r in runs}
    assert scores["logreg", "net_a+metadata"] > scores["logreg", "net_a"] + 0.05
    assert scores["logreg", "metadata"] > 0.6
    made = next(one.run for one in runs if one.experiment.features == "net_a+metadata")
    assert "metadata" in made.id and made.provenance["summary"]["features"] == "net_a:flip x2+metadata"
    assert [column["name"] for column in made.provenance["metadata"]["columns"]] == ["age", "sex", "localization"]
    assert stores_needed(made.config) == [("net_a", "flip", 2)]
    board = make_board([one.run for one in runs], "macro_auc", resamples=100)
    adds = {
        one.row.about["head"]: dict(zip(one.adds["backbone"], one.adds["adds"], strict=True))
        for one in contributions(board, 100)
    }
    assert adds["logreg"]["metadata"] == pytest.approx(scores["logreg", "net_a+metadata"] - scores["logreg", "net_a"])


def test_it_learns_from_training_images_only(known_world: World, tmp_path) -> None:
    """A word that validation images alone have is none: their predictions are those of an unknown one."""
    config = known_world.config(base={"features": "metadata"})
    inputs = open_inputs(config, known_world.workspace)
    (split,) = make_splits(config, inputs.table)
    held_out = set(split.frame.loc[split.frame["part"] == "validation", "image_id"])
    frame = pd.read_csv(known_world.csv, dtype=str, keep_default_na=False)
    frame["path"] = str(known_world.csv.parent) + "/" + frame["path"]
    probas = []
    for word in ("elbow", "zzz"):
        of_word = frame.assign(localization=frame["localization"].where(~frame["image_id"].isin(held_out), word))
        of_word.to_csv(tmp_path / f"{word}.csv", index=False)
        made = run(replace(known_world, csv=tmp_path / f"{word}.csv"), features="metadata")
        assert made.metadata.columns[2].unseen == (word,)
        probas.append(made.probabilities("validation"))
    np.testing.assert_array_equal(*probas)


def test_values_and_columns_decide_the_fingerprint_and_nothing_else_of_it(known_world: World, tmp_path) -> None:
    known_world.extract()

    def fingerprint(world: World, *settings: str, features: str = "net_a+metadata") -> str:
        return prepare(world.config(*settings, base={"features": features}), world.workspace).fingerprint

    first = fingerprint(known_world)
    assert fingerprint(known_world, "features.metadata.columns=[age]") != first
    assert fingerprint(known_world, "features.metadata.weight=3") != first
    assert fingerprint(known_world, features="net_a") == fingerprint(
        known_world, "features.metadata.columns=[age]", features="net_a"
    )
    frame = pd.read_csv(known_world.csv, dtype=str, keep_default_na=False)
    frame["path"] = str(known_world.csv.parent) + "/" + frame["path"]
    changed = {"same": frame.assign(dx_type="x"), "older": frame.assign(age=[*frame["age"][:-1], "99"])}
    for name, rows in changed.items():
        (tmp_path / name).mkdir()
        rows.to_csv(tmp_path / name / known_world.csv.name, index=False)
        world = replace(known_world, csv=tmp_path / name / known_world.csv.name)
        assert (fingerprint(world, features="metadata") == fingerprint(known_world, features="metadata")) == (
            name == "same"
        )


def test_an_experiment_without_metadata_reads_and_hashes_as_before(world: World) -> None:
    config = world.config()
    assert "metadata" not in config.content()["features"]
    assert "metadata" not in prepare_identity(world)


def prepare_identity(world: World) -> dict:
    world.extract()
    return prepare(world.config(), world.workspace).identity


def test_each_fold_learns_from_its_own_training_images(known_world: World) -> None:
    made = run(known_world, "split.folds=3", "features.metadata.columns=age,sex", features="metadata")
    means = [made.load_head(fold).blocks_.steps_[0].learned_[0][0] for fold in (1, 2, 3)]
    assert len(set(means)) == 3 and made.metadata.names == ["age", "sex"]


def test_trials_of_a_sweep_see_the_rows_that_runs_see(known_world: World, sweep_of) -> None:
    known_world.extract()
    choices = {"features.blocks": {"choice": [["net_a"], ["net_a", "metadata"]]}}
    choices |= {"features.metadata.columns": {"choice": [["age"], ["age", "sex"]]}}
    settings = sweep_of(choices, f"dataset={known_world.csv}", experiment={"features": "net_a"})
    opened = open_sweep(settings, known_world.workspace)
    shared = read_shared(settings, opened, print)
    widths = set()
    for config in opened.configs:
        inputs = open_inputs(config, known_world.workspace)
        parts = parts_of(make_splits(config, inputs.table)[0], inputs.table, ["train"], {})
        own, theirs = (each.load(config.features, parts["train"].ids) for each in (inputs, shared.inputs_of(config)))
        for block, other in zip(own, theirs, strict=True):
            np.testing.assert_array_equal(*(b.arrays(parts["train"].ids).views for b in (block, other)))
        widths.add(sum(block.dim for block in own))
    assert widths == {8, 10, 11}


@pytest.mark.parametrize("head", ["average", "stack", "hybrid_mlp"])
def test_heads_of_heads_and_of_blocks_take_it_as_one_more_block(known_world: World, head: str) -> None:
    known_world.extract()
    made = run(known_world, f"head={head}", "head.max_epochs=2" if head == "hybrid_mlp" else "seed=0")
    assert np.isfinite(made.metrics["validation"]["mcc"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"features.blocks": [{"backbone": "metadata", "views": 2}]}, "same for every view"),
        ({"features": "metadata", "features.metadata.columns": []}, "not empty"),
        ({"features": "metadata", "features.metadata.columns": ["age", "age"]}, "each once"),
        ({"features": "metadata", "features.metadata.weight": 0}, "> 0"),
        ({"features": "metadata", "features.metadata.colums": ["age"]}, "did you mean features.metadata.columns"),
    ],
)
def test_settings_that_mean_nothing_are_told(settings: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(None, settings)


def test_a_table_without_known_columns_and_a_column_of_the_split_are_refused(world: World, known_world: World) -> None:
    with pytest.raises(MetadataError, match="no further columns"):
        run(world, features="metadata")
    with pytest.raises(MetadataError, match="part of the split"):
        open_inputs(
            known_world.config(
                "split.column=localization", "features.metadata.columns=[localization]", base={"features": "metadata"}
            ),
            known_world.workspace,
        )
