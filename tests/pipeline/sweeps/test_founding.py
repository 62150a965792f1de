"""The founding project's tune files: the ranges are theirs, number by number."""

from typing import Any

import pytest

from pipeline.sweeps.config import SweepConfig, load_sweep_config
from pipeline.sweeps.space import label

FOUNDING_LR = (0.0005, 0.01)
CNN = [
    {
        "conv": [[10, 3, 0, 0], [15, 3, 2, 0.25], [20, 3, 2, 0.25]],
        "fc": [[100, 0.2], [50, 0.2], [16, 0.1]],
    },
    {
        "conv": [[5, 3, 0, 0], [10, 3, 2, 0.25], [15, 3, 2, 0.25]],
        "fc": [[50, 0.2], [20, 0.2], [10, 0.1]],
    },
    {
        "conv": [[5, 3, 0, 0], [8, 3, 2, 0.10], [12, 3, 2, 0.10]],
        "fc": [[20, 0.1], [15, 0.1], [10, 0.1]],
    },
]
FOCAL = ("focal_sigmoid", {"alpha": 0.25, "gamma": 2.0})
NAMES = ("cnn", "resnet", "densenet", "hybrid", "hybrid_independent", "resnet_frozen", "densenet_frozen")


def sweep(name: str) -> tuple[SweepConfig, Any]:
    settings = load_sweep_config(name)
    first = {key: (one.values() or [one.loguniform[0]])[0] for key, one in settings.space.items()}
    return settings, settings.config_at(first)


@pytest.mark.parametrize("name", NAMES)
def test_what_all_of_them_have_in_common(name: str) -> None:
    settings, config = sweep(name)
    assert (settings.objective, settings.search, settings.scheduler, settings.seed) == (
        "weighted_f1",
        "optuna",
        "none",
        0,
    )
    assert (config.seed, config.split.validation_fraction) == (0, 0.2)
    params = (config.net or config.head).params
    assert params["batch_size"] == 32
    loss = (params["loss"], params["loss_params"])
    assert loss == (("cross_entropy", {}) if name == "cnn" else FOCAL)


def test_the_cnn_has_its_three_shapes_and_its_learning_rate() -> None:
    settings, config = sweep("cnn")
    assert settings.space["net.lr"].loguniform == FOUNDING_LR
    shapes = [
        {"conv": [[c, k, p or 1, d] for c, k, p, d in one["conv"]], "fc": one["fc"]}
        for one in CNN  # 0: no pooling
    ]
    found = [{"conv": one["conv"], "fc": one["fc"]} for one in settings.space["net"].choice or []]
    assert [label(one) for one in found] == [label(_floats(one)) for one in shapes]
    assert (config.net.params["image_size"], config.net.params["epochs"]) == ([450, 600], 12)
    assert config.net.params["stored_side"] >= 450 and config.net.params["augmentation"] == "original"
    assert config.net.params["class_weight"] == "none"


def _floats(shape: dict) -> dict:
    return {
        "conv": [[c, k, p, float(d)] for c, k, p, d in shape["conv"]],
        "fc": [[units, float(d)] for units, d in shape["fc"]],
    }


@pytest.mark.parametrize(("name", "backbone"), [("resnet", "resnet34"), ("densenet", "densenet121")])
def test_fine_tuning_has_its_phases(name: str, backbone: str) -> None:
    settings, config = sweep(name)
    assert {key: one.loguniform for key, one in settings.space.items()} == {"net.lr_extraction": FOUNDING_LR}
    params = config.net.params
    assert (params["backbone"], params["augmentation"]) == (backbone, "original")
    assert (params["epochs_extraction"], params["epochs_tuning"], params["lr_tuning"]) == (2, 10, 1e-4)
    settings, config = sweep(f"{name}_frozen")
    assert {key: one.loguniform for key, one in settings.space.items()} == {"head.lr": FOUNDING_LR}
    assert [block.backbone for block in config.features.blocks] == [backbone]
    assert (config.head.params["hidden"], config.head.params["max_epochs"]) == ([], 2)


@pytest.mark.parametrize(("name", "pairing"), [("hybrid", "shared"), ("hybrid_independent", "independent")])
def test_hybrids_differ_by_their_pairing_alone(name: str, pairing: str) -> None:
    settings, config = sweep(name)
    assert settings.space["head.lr"].loguniform == FOUNDING_LR
    combinations = [(point["head.embedding_dim"], point["head.hidden_layers"]) for point in only_choices(settings)]
    assert combinations == [(512, 3), (512, 5), (1024, 3), (1024, 5)]
    assert [(block.backbone, block.augmentation) for block in config.features.blocks] == [
        ("resnet34", "original"),
        ("densenet121", "original"),
    ]
    assert (config.features.views.train, config.features.views.pairing) == ("random", pairing)
    assert (config.head.name, config.head.params["max_epochs"]) == ("hybrid_mlp", 12)
    other = load_sweep_config("hybrid", [f"features.views.pairing={pairing}"])
    assert other.digest == settings.digest


def only_choices(settings: SweepConfig) -> list[dict]:
    return list(settings.dimensions.only("head.embedding_dim", "head.hidden_layers").grid())
