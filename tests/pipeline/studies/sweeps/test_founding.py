"""The founding project's tune files: the ranges are theirs, number by number."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hamcache.data.dataset import open_dataset
from hamcache.data.workspace import Workspace
from hamcache.heads.threads import one_thread
from hamcache.pipeline.config.overrides import parse_settings
from hamcache.pipeline.experiment.extraction import FeatureWords, extract_features
from hamcache.pipeline.studies.sweeps.search import SCORE
from hamcache.pipeline.studies.sweeps.shared import open_sweep, read_shared
from hamcache.pipeline.studies.sweeps.space import label
from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig, load_sweep_config
from hamcache.pipeline.studies.sweeps.trial import Clock, run_trial

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
TINY = ("random/test_resnet.r160_in1k", "random/test_vit.r160_in1k")
NAMES = ("cnn", "resnet", "densenet", "hybrid", "hybrid_independent", "resnet_frozen", "densenet_frozen")


def sweep(name: str) -> tuple[SweepConfig, Any]:
    settings = load_sweep_config(name)
    first = {key: (one.values() or [one.loguniform[0]])[0] for key, one in settings.space.items()}
    return settings, settings.config_at(first)


@pytest.mark.parametrize("name", NAMES)
def test_what_all_of_them_have_in_common(name: str) -> None:
    settings, config = sweep(name)
    assert (settings.objective, settings.search, settings.stopping, settings.seed) == (
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
    other = load_sweep_config("hybrid", {"features.views.pairing": pairing})
    assert other.digest == settings.digest


def only_choices(settings: SweepConfig) -> list[dict]:
    return list(settings.dimensions.only("head.embedding_dim", "head.hidden_layers").grid())


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory, make_ham10000: Callable[..., Path]) -> tuple[Path, Path]:
    """A small HAM10000, and a workspace with features of two tiny networks in the place of the founding ones."""
    folder = make_ham10000(tmp_path_factory.mktemp("data") / "ham")
    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    words = FeatureWords(TINY, ["original"], views=4, precision="fp32")
    extract_features(open_dataset(str(folder), workspace), workspace, words)
    return folder, workspace


@pytest.mark.parametrize("name", NAMES)
def test_a_trial_of_each_runs_on_tiny_networks(name: str, founded: tuple[Path, Path]) -> None:
    folder, workspace = founded
    overrides = {
        "cnn": ["net.image_size=[16, 24]", "net.epochs=1", "net.precision=fp32"],
        "hybrid": [f"features.blocks.{n}.backbone={backbone}" for n, backbone in enumerate(TINY)],
    }
    tuned = [f"net.backbone={TINY[0]}", "net.epochs_extraction=1", "net.epochs_tuning=1", "net.precision=fp32"]
    frozen = [f"features.blocks.0.backbone={TINY[0]}"]
    chosen = overrides.get(name.partition("_")[0], frozen if name.endswith("frozen") else tuned)
    settings = load_sweep_config(name, parse_settings([f"dataset={folder}", *chosen]))
    shared = read_shared(settings, open_sweep(settings, workspace), print)
    point = {key: (one.values() or [one.loguniform[1]])[-1] for key, one in settings.space.items()}
    reports: list[dict] = []
    with one_thread():
        run_trial(point, shared, reports.append, Clock())
    assert "error" not in reports[-1], reports[-1].get("traceback")
    assert 0 < reports[-1][SCORE] <= 1
    epochs = {"cnn": [1], "resnet": [2], "densenet": [2], "resnet_frozen": [2], "densenet_frozen": [2]}
    assert reports[-1]["epoch"] in epochs.get(name, [11, 12])  # 11: ten without a better one than the first
