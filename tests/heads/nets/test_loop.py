"""Training, best epoch, resume, saving: on 24x16 images whose classes differ in colour."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hamcache.heads.errors import (
    CheckpointError,
    ClassAbsentError,
    HeadFileError,
    HeadParamsError,
    TrainingDivergedError,
)
from hamcache.heads.loss_params import LOSSES
from hamcache.heads.metrics import METRICS, Metric
from hamcache.heads.nets.checkpoint import FILE, load_checkpoint
from hamcache.heads.nets.classifier import NetClassifier, load_net
from hamcache.heads.nets.decoded import DecodedImages, in_memory
from hamcache.heads.nets.job import Session
from hamcache.heads.nets.net_params import NETS, SimpleCNNParams
from hamcache.heads.nets.warm_start import LastLayer
from hamcache.heads.persist import load_head, save_head

CLASSES = ("akiec", "bcc", "nv")
COLOURS = np.array([[200, 60, 60], [60, 60, 200], [120, 130, 60]])
TINY = {
    "conv": [[6, 3, 2, 0.1]] * 3,
    "fc": [[12, 0.1]] * 3,
    "image_size": [16, 24],
    "epochs": 4,
    "batch_size": 8,
    "precision": "fp32",
    "device": "cpu",
}
FINE = {
    "backbone": "random/test_resnet",
    "image_size": [32, 32],
    "epochs_extraction": 1,
    "epochs_tuning": 2,
    "batch_size": 8,
    "precision": "fp32",
    "device": "cpu",
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pictures(count: int = 48, noise: float = 40.0) -> tuple[DecodedImages, list[str], np.ndarray]:
    rng = np.random.default_rng(1)
    y = np.arange(count) % 3
    y[count // 2 :: 3] = 2
    values = COLOURS[y][:, :, None, None] + rng.normal(0, noise, (count, 3, 16, 24))
    ids = [f"i{number:02d}" for number in range(count)]
    images = {i: torch.from_numpy(image.clip(0, 255).astype(np.uint8)) for i, image in zip(ids, values, strict=True)}
    return in_memory(images), ids, y


def fit(net: str = "simple_cnn", seed: int = 0, folder: Path | None = None, options: dict | None = None, **params):
    images, ids, y = pictures()
    base = TINY if net == "simple_cnn" else FINE
    classifier = NetClassifier(net, {**base, **params}, CLASSES, seed)
    options = dict(options or {})
    told = {name: options.pop(name) for name in ("log", "on_progress", "callbacks") if name in options}
    validation = ids[32:], y[32:]
    return classifier.fit(images, ids[:32], y[:32], validation=validation, session=Session(folder, **told), **options)


def weights(net: NetClassifier) -> dict[str, torch.Tensor]:
    return net.network_.state_dict()


def assert_same(one: NetClassifier, other: NetClassifier) -> None:
    assert all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())
    assert without_seconds(one) == without_seconds(other)


def without_seconds(net: NetClassifier) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in net.history_]


def test_the_simple_cnn_learns_colours() -> None:
    net = fit(epochs=20, lr=5e-3, schedule="none")
    images, ids, y = pictures()
    assert (net.predict_proba(images, ids[32:]).argmax(axis=1) == y[32:]).mean() > 0.9
    losses = [row["train_loss"] for row in net.history_]
    assert losses[-1] < losses[0] / 2


def test_the_best_epoch_is_kept_and_scored_as_the_history_says() -> None:
    net = fit(lr=1e-2, epochs=6)
    images, ids, y = pictures()
    scores = [row["valid_mcc"] for row in net.history_]
    from sklearn.metrics import matthews_corrcoef

    kept = matthews_corrcoef(y[32:], net.predict_proba(images, ids[32:]).argmax(axis=1))
    assert kept == pytest.approx(max(scores)) and [row["epoch"] for row in net.history_] == [1, 2, 3, 4, 5, 6]


def test_a_tuned_network_predicts_as_its_best_epoch_was_scored_and_its_norms_stand_alone_again() -> None:
    images, ids, y = pictures(24)
    params = {"backbone": "random/test_resnet", "image_size": (32, 32), "epochs_extraction": 0, "epochs_tuning": 2}
    net = NetClassifier("finetune", {**params, "batch_size": 8, "lr_tuning": 1e-2}, tuple("abc"))
    net.fit(images, ids, y, validation=(ids, y))
    best = max(row["valid_mcc"] for row in net.history_)
    assert METRICS["mcc"](y, net.predict_proba(images, ids)) == pytest.approx(best)
    assert not any("forward" in part.__dict__ for part in net.network_.modules())


def test_training_stops_when_patience_is_at_its_end() -> None:
    lines: list[str] = []
    falling = iter(range(100, 0, -1))
    metric = Metric("falling", True, "", lambda scored: np.array([next(falling)]))
    net = fit(epochs=20, patience=3, options={"metric": metric, "log": lines.append})
    assert [row["valid_falling"] for row in net.history_] == [100, 99, 98, 97]
    assert lines[-1] == "no better epoch than 1 in 3: stopped"


def test_finetuning_goes_through_both_phases() -> None:
    net = fit("finetune", schedule="none")
    assert [(row["epoch"], row["phase"]) for row in net.history_] == [(1, "extraction"), (2, "tuning"), (3, "tuning")]
    assert [row["lr"] for row in net.history_] == [1e-3, 1e-4, 1e-4]


def test_a_last_layer_given_is_scored_as_epoch_0_and_may_be_the_best() -> None:
    layer = LastLayer(np.zeros((3, 64)), np.array([0.0, 0.0, 9.0]))
    dim = NetClassifier("finetune", FINE, CLASSES).build().last.in_features
    layer = LastLayer(np.zeros((3, dim)), layer.bias)
    metric = Metric("share of nv", True, "", lambda scored: scored.mean(scored.proba[:, 2]))
    net = fit("finetune", epochs_extraction=0, options={"last_layer": layer, "metric": metric})
    first = net.history_[0]
    assert (first["epoch"], first["phase"]) == (0, "cache")
    assert first["valid_share of nv"] == pytest.approx(np.exp(9) / (np.exp(9) + 2), rel=1e-6)
    assert len(net.history_) == 3
    images, ids, _ = pictures()
    best = max(row["valid_share of nv"] for row in net.history_)
    assert net.predict_proba(images, ids[32:])[:, 2].mean() == pytest.approx(best)


class Killed(Exception):
    pass


def killing(epoch: int, images: int = 9) -> Any:
    """Raises in the middle of an epoch."""

    def report(progress: Any) -> None:
        if progress.epoch == epoch and progress.images > images:
            raise Killed

    return report


@pytest.mark.parametrize(
    ("net", "params"),
    [
        ("simple_cnn", {"schedule": "cosine", "optimizer": "adamw"}),
        ("simple_cnn", {"schedule": "onecycle", "optimizer": "sgd", "sampler": "balanced"}),
        ("simple_cnn", {"schedule": "plateau", "optimizer": "adam", "patience": 3, "batch_norm": True}),
        ("finetune", {"layer_decay": 0.7, "augmentation": "dermoscopy", "dropout": 0.3}),
    ],
)
def test_a_training_that_was_interrupted_ends_with_the_same_weights(
    net: str, params: dict[str, Any], tmp_path: Path
) -> None:
    whole = fit(net, **params)
    for epoch in (1, 2, 3):  # again and again
        with pytest.raises(Killed):
            fit(net, folder=tmp_path, options={"on_progress": killing(epoch)}, **params)
    lines: list[str] = []
    resumed = fit(net, folder=tmp_path, options={"log": lines.append}, **params)
    assert lines[0].startswith("going on after epoch 2")
    assert_same(resumed, whole)
    assert_same(fit(net, folder=tmp_path, **params), whole)  # a finished one only reads its checkpoint


@pytest.mark.parametrize("epoch", [1, 2, 3])
@pytest.mark.parametrize("net", ["simple_cnn", "finetune"])
def test_ctrl_c_never_leaves_a_half_trained_network(net: str, epoch: int) -> None:
    def press(progress: Any) -> None:
        if progress.epoch == epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(net, options={"on_progress": press})


def test_a_training_that_stopped_early_is_not_taken_up_again(tmp_path: Path) -> None:
    metric = Metric("worse", False, "", lambda scored: np.array([next(counting)]))
    counting = iter(range(100))
    first = fit(epochs=9, patience=2, folder=tmp_path, options={"metric": metric})
    again = fit(epochs=9, patience=2, folder=tmp_path, options={"metric": metric})
    assert len(first.history_) == len(again.history_) == 3
    assert_same(first, again)


KILLED_SCRIPT = """
import importlib.util, os, signal, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("trainings", sys.argv[1])
trainings = importlib.util.module_from_spec(spec)
spec.loader.exec_module(trainings)
import torch
torch.set_num_threads(1)
def kill(progress):
    if progress.epoch == 3 and progress.images > 9:
        os.kill(os.getpid(), signal.SIGKILL)
trainings.fit(folder=Path(sys.argv[2]), options={"on_progress": kill})
"""


def test_a_killed_process_goes_on_after_its_last_finished_epoch(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_SCRIPT, __file__, str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == -9
    standing = load_checkpoint(tmp_path)
    assert standing is not None and standing.standing.epochs == 2
    assert_same(fit(folder=tmp_path), fit())


def test_a_damaged_checkpoint_and_that_of_another_network_are_refused(tmp_path: Path) -> None:
    fit(folder=tmp_path, epochs=1)
    with pytest.raises(CheckpointError, match=r"(?s)weights of this network.*Remove it"):
        fit(folder=tmp_path, fc=[[11, 0.1]] * 3)
    data = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="Remove it to start anew"):
        fit(folder=tmp_path)


def test_equal_seeds_train_equal_networks_and_the_global_random_state_stays() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one = fit(epochs=2)
    assert torch.equal(torch.rand(3), expected)
    assert_same(one, fit(epochs=2))
    assert not torch.equal(one.network_.last.weight, fit(epochs=2, seed=1).network_.last.weight)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_probabilities_sum_to_one_whatever_the_loss(loss: str) -> None:
    images, ids, _ = pictures()
    proba = fit(epochs=1, loss=loss).predict_proba(images, ids)
    assert proba.shape == (48, 3) and proba.dtype == np.float64 and (proba >= 0).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-12)


def test_views_are_averaged_when_predicting() -> None:
    net = fit(epochs=1)
    images, ids, _ = pictures()
    net.params = net.params.model_copy(update={"predict_augmentation": "flip", "predict_views": 4})
    mean = net.predict_proba(images, ids)
    flipped = {i: [images[i], images[i].flip(2), images[i].flip(1), images[i].flip(1, 2)] for i in ids}
    net.params = net.params.model_copy(update={"predict_augmentation": "none", "predict_views": 1})
    each = [net.predict_proba(in_memory({i: views[k] for i, views in flipped.items()})) for k in range(4)]
    np.testing.assert_allclose(mean, np.mean(each, axis=0), atol=1e-6)


def test_balanced_sampling_takes_the_place_of_class_weights() -> None:
    net = fit(epochs=1, sampler="balanced")
    assert torch.equal(net._loss().targets, torch.eye(3))
    weighted = fit(epochs=1)._loss().targets.diagonal()
    assert weighted.argmax() == int(net.counts_.argmin()) and not torch.equal(weighted, torch.ones(3))


def test_progress_is_told_after_every_batch() -> None:
    seen: list[Any] = []
    fit("finetune", options={"on_progress": seen.append})
    assert [(p.phase, p.epoch, p.epochs, p.images, p.images_an_epoch) for p in seen[:4]] == [
        ("extraction", 1, 3, n, 32) for n in (8, 16, 24, 32)
    ]
    shares = [p.share for p in seen]
    assert len(seen) == 12 and shares == sorted(shares) and shares[-1] == 1.0 and seen[-1].phase == "tuning"


def test_a_saved_network_predicts_the_same_bits(tmp_path: Path) -> None:
    images, ids, _ = pictures()
    for name in NETS:
        net = fit(name)
        save_head(net, tmp_path / name)
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["head.json", "head.safetensors"]
        loaded = load_head(tmp_path / name)
        np.testing.assert_array_equal(loaded.predict_proba(images, ids), net.predict_proba(images, ids))
        np.testing.assert_array_equal(loaded.prior_, net.prior_)
        assert loaded.history_ == net.history_


def test_a_damaged_network_file_gets_one_error(tmp_path: Path) -> None:
    fit(epochs=1).save_net(tmp_path)
    (tmp_path / "head.safetensors").write_bytes(b"no")
    with pytest.raises(HeadFileError, match="Train the run again"):
        load_net(tmp_path)


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    with pytest.raises(TrainingDivergedError, match="lower lr"):
        fit(lr=1e30, optimizer="sgd", schedule="none")


def test_a_class_without_images_is_named() -> None:
    images, ids, y = pictures()
    with pytest.raises(ClassAbsentError, match="no image of: nv"):
        NetClassifier("simple_cnn", TINY, CLASSES).fit(images, ids[:2], y[:2])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"epoch": 3}, "unknown 'epoch', did you mean 'epochs'"),
        ({"augmentation": "dihedrall"}, "Did you mean 'dihedral'"),
        ({"loss": "focl"}, "did you mean 'focal'"),
        ({"conv": [[8, 3, 2]]}, "conv"),
    ],
)
def test_unfit_parameters_are_told(params: dict[str, Any], message: str) -> None:
    with pytest.raises((HeadParamsError, ValueError), match=message):
        NetClassifier("simple_cnn", params, CLASSES)


def test_parameters_read_back_from_plain_data() -> None:
    params = SimpleCNNParams(epochs=3)
    assert SimpleCNNParams.model_validate(params.model_dump(mode="json")) == params
