from pathlib import Path

import pytest
import yaml

from hamcache.pipeline.config.overrides import read_yaml
from hamcache.pipeline.errors import ConfigError, ConfigNotFoundError
from hamcache.pipeline.studies.sweeps.sweep_config import (
    find_sweep_config,
    kept_settings,
    load_sweep_config,
    structures,
    sweep_names,
)

MLP = {"features": "a+b", "head": "mlp"}
FOCAL = {
    "head.loss": {"choice": ["cross_entropy", "focal"]},
    "head.loss_params.gamma": {"uniform": [0.5, 3], "when": {"head.loss": "focal"}},
}


@pytest.mark.parametrize("name", sweep_names())
def test_every_packaged_sweep_is_valid_and_reads_back_the_same(name: str, tmp_path: Path) -> None:
    settings = load_sweep_config(name, {"seed": 3})
    (tmp_path / "sweep.yaml").write_text(settings.to_yaml())
    again = kept_settings(read_yaml(tmp_path / "sweep.yaml"), "sweep.yaml")
    assert again == settings and again.digest == settings.digest
    assert settings.experiment["seed"] == 3 and settings.name == name
    assert len(list(structures(settings))) >= 1


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"head.lrr": {"uniform": [0, 1]}}, r"head\.lrr.*did you mean head\.lr"),
        ({"head.lr": {"choice": [1e-3, "fast"]}}, r"space\.head\.lr: fast fits nowhere"),
        ({"head.dropout": {"uniform": [0, 1.5]}}, r"space\.head\.dropout: 1\.5 fits nowhere"),
        ({"head.lr": {"loguniform": [0, 1]}}, r"space\.head\.lr.*above 0"),
        ({"head.lr": {"uniforn": [0, 1]}}, r"uniforn"),
        ({"seed": {"int": [0, 100000]}}, r"space\.seed: expected choice, grid or a short int"),
        ({"dataset": {"choice": ["a", "b"]}}, r"space\.dataset: .*comparable"),
        ({"objective": {"choice": ["mcc", "nll"]}}, r"space\.objective: .*comparable"),
        ({"head.objective": {"choice": ["nll"]}}, r"head\.objective: expected the sweep's objective, mcc, got 'nll'"),
        ({}, "space"),
    ],
)
def test_what_is_wrong_with_a_space_is_said_before_anything_runs(space: dict, message: str, sweep_of) -> None:
    with pytest.raises(ConfigError, match=message):
        sweep_of(space, experiment=MLP)


def test_a_sweep_of_former_names_is_read_and_keeps_its_digest(tmp_path: Path) -> None:
    settings = load_sweep_config("mlp")
    assert settings.digest == "8452f2f55f62b87eb16304aec0d9b552e463934a478fc0e5be3baeaedbe810d0"
    old = settings.to_yaml().replace("stopping: asha", "scheduler: asha")
    (tmp_path / "sweep.yaml").write_text(old)
    assert kept_settings(read_yaml(tmp_path / "sweep.yaml"), "sweep.yaml") == settings
    with pytest.raises(ConfigError, match=r"expected stopping, got its former name scheduler. Write stopping."):
        load_sweep_config(tmp_path / "sweep.yaml")


def test_a_grid_needs_values_that_can_be_counted(sweep_of) -> None:
    with pytest.raises(ConfigError, match=r"space\.head\.lr: search grid counts"):
        sweep_of(
            {"head.hidden": {"choice": [[], [8]]}, "head.lr": {"uniform": [0.1, 1]}}, experiment=MLP, search="grid"
        )


def test_values_that_fit_only_with_some_others_are_allowed(sweep_of) -> None:
    heads = [{"name": "logreg"}, {"name": "mlp"}]
    settings = sweep_of(
        {
            "head": {"choice": heads},
            "head.C": {"loguniform": [0.01, 1], "when": {"head": heads[0]}},
            "head.lr": {"loguniform": [1e-3, 1e-1], "when": {"head": heads[1]}},
        },
        experiment={"features": "a"},
    )
    assert settings.config_at({"head": heads[0], "head.C": 0.5}).head.params["C"] == 0.5
    assert settings.config_at({"head": heads[1], "head.lr": 0.01}).head.params["lr"] == 0.01


def test_a_key_that_is_set_is_not_searched(sweep_of) -> None:
    space = {"head.lr": {"uniform": [0.1, 1]}, "head.hidden": {"choice": [[4], [8]]}}
    settings = sweep_of(space, "head.lr=0.5", experiment=MLP)
    assert list(settings.space) == ["head.hidden"] and settings.config_at({}).head.params["lr"] == 0.5
    assert list(sweep_of(space | {"seed": {"choice": [0, 1]}}, "head=logreg", experiment=MLP).space) == ["seed"]
    with pytest.raises(ConfigError, match=r"all of them are set: head\.lr, head\.hidden"):
        sweep_of(space, "head.lr=0.5", "head.hidden=[4]", experiment=MLP)


def test_what_depends_on_a_key_that_is_set_is_decided(sweep_of) -> None:
    always = sweep_of(FOCAL, "head.loss=focal", experiment=MLP)
    assert list(always.space) == ["head.loss_params.gamma"] and always.space["head.loss_params.gamma"].when == {}
    more = FOCAL | {"head.lr": {"uniform": [0.1, 1]}}
    assert list(sweep_of(more, "head.loss=cross_entropy", experiment=MLP).space) == ["head.lr"]


def test_the_objective_is_what_training_is_stopped_by(sweep_of) -> None:
    settings = sweep_of(FOCAL, "objective=f1", experiment=MLP)
    config = settings.config_at({"head.loss": "focal"})
    assert settings.objective == config.objective == config.head.params["objective"] == "weighted_f1"
    with pytest.raises(ConfigError, match="did you mean 'balanced_accuracy'"):
        sweep_of(FOCAL, "objective=balanced_acuracy", experiment=MLP)


def test_more_trials_are_the_same_sweep_and_another_range_is_another(sweep_of) -> None:
    settings = sweep_of(FOCAL, experiment=MLP, samples=5)
    assert sweep_of(FOCAL, experiment=MLP, samples=50, name="other").digest == settings.digest
    assert sweep_of(FOCAL, experiment=MLP, seed=1).digest != settings.digest
    assert sweep_of(FOCAL, "seed=1", experiment=MLP).digest != settings.digest
    assert sweep_of({"head.loss": FOCAL["head.loss"]}, experiment=MLP).digest != settings.digest


def test_an_experiment_may_be_named_with_what_differs(sweep_of) -> None:
    settings = sweep_of({"head.lr": {"uniform": [0.1, 1]}}, experiment={"config": "mlp", "head": {"dropout": 0.25}})
    config = settings.config_at({})
    assert (config.head.params["dropout"], config.head.params["max_epochs"]) == (0.25, 50)
    assert config.features.views.train == "random"


def test_every_combination_of_what_is_read_is_named_once(sweep_of) -> None:
    settings = sweep_of(
        {
            "features": {"choice": ["a", "a+b"]},
            "features.views.train": {"choice": ["plain", "all"]},
            "seed": {"int": [0, 1]},
            "head.lr": {"uniform": [0.1, 1]},
        },
        experiment={"head": "mlp"},
    )
    found = [(len(one.features.blocks), one.features.views.train, one.seed) for one in structures(settings)]
    assert sorted(found) == [(n, view, seed) for n in (1, 2) for view in ("all", "plain") for seed in (0, 1)]


def test_an_unknown_sweep_offers_the_nearest_and_no_path_outside_is_taken() -> None:
    with pytest.raises(ConfigNotFoundError, match="did you mean 'densenet'"):
        load_sweep_config("densnet")
    assert find_sweep_config("configs/sweeps/mlp.yaml").name == "mlp.yaml"
    with pytest.raises(ConfigNotFoundError):
        find_sweep_config("../experiments/mlp")


def test_a_sweep_keeps_the_recipes_that_it_names_and_no_others(sweep_of) -> None:
    recipes = {"mine": {"affine": {"degrees": 5}}, "open": {"hairs": {}}, "unused": {"constancy": {}}}
    blocks = [{"backbone": "a", "augmentation": "mine", "views": 2}]
    space = {"features.blocks.0.augmentation": {"choice": ["mine", "open"]}, **FOCAL}
    sweep = sweep_of(space, experiment={"features": {"blocks": blocks}, "head": "mlp", "recipes": recipes})
    assert sweep.experiment["recipes"].keys() == {"mine", "open"}
    assert [list(config.recipes) for config in structures(sweep)] == [["mine"], ["open"]]
    assert kept_settings(yaml.safe_load(sweep.to_yaml()), "sweep.yaml").digest == sweep.digest
