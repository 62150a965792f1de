"""Networks from images through `run_experiment`: the same run directory, resume, warm start from a real cache."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hamcache.cache.catalogue import Catalogue
from hamcache.data.dataset import DatasetWords, open_dataset
from hamcache.data.digests import file_digests
from hamcache.data.ham10000 import read_table
from hamcache.data.workspace import Workspace
from hamcache.extract.augmentations import get_augmentation
from hamcache.extract.backbones import BackboneSpec
from hamcache.extract.decode import decode_file
from hamcache.extract.fill import ExtractionRequest, run_extraction
from hamcache.heads.errors import WarmStartError
from hamcache.pipeline.config.overrides import parse_settings
from hamcache.pipeline.config.schema import load_config
from hamcache.pipeline.errors import ConfigError, RunError
from hamcache.pipeline.experiment.extraction import FeatureWords, extract_features
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.runs.records import list_runs
from hamcache.pipeline.studies.opened import open_experiments
from hamcache.pipeline.use.predict.predictor import Predictor

SMALL = {
    "conv": [[6, 3, 2, 0.1]] * 3,
    "fc": [[12, 0.1]] * 3,
    "image_size": [16, 24],
    "epochs": 3,
    "batch_size": 8,
    "precision": "fp32",
}
FINE = {"backbone": "random/test_resnet", "precision": "fp32", "batch_size": 16, "epochs_tuning": 1}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_ham10000: Callable[..., Path]) -> Path:
    return make_ham10000(tmp_path_factory.mktemp("data") / "ham10000")


def cnn(folder: Path, *overrides: str) -> Any:
    return load_config(
        None, parse_settings(overrides), base={"dataset": str(folder), "net": {"name": "simple_cnn", **SMALL}}
    )


def fine(folder: Path, *overrides: str, **more: Any) -> Any:
    base = {"dataset": str(folder), "net": {"name": "finetune", **FINE, **more.pop("net", {})}, **more}
    return load_config(None, parse_settings(overrides), base=base)


def test_a_simple_cnn_makes_a_run_like_any_other(folder: Path, workspace: Workspace) -> None:
    run = run_experiment(cnn(folder, "tau=auto"), workspace, test=True)
    assert {path.name for path in run.folder.iterdir()} == {
        *("config.yaml", "metrics.json", "predictions.csv", "history.csv", "provenance.json", "classes.json"),
        *("head.safetensors", "head.json", "log.txt"),
    }
    assert set(run.metrics) == {"train", "validation", "test"} and len(run.part("validation")) > 0
    assert list(run.history["epoch"]) == [1, 2, 3] and "valid_mcc" in run.history
    assert run.config == cnn(folder, "tau=auto")
    shown = list_runs(workspace).iloc[0]
    assert (shown["head"], shown["features"]) == ("simple_cnn", "images")
    assert set(run.provenance["seconds"]) == {"load", "fit", "predict", "total", "processor"}
    assert not list((workspace / "checkpoints").iterdir())
    assert run_experiment(cnn(folder, "tau=auto"), workspace).reused


def test_a_saved_net_predicts_what_the_run_says(folder: Path, workspace: Workspace) -> None:
    from hamcache.heads.nets.decoded import decode_all

    run = run_experiment(cnn(folder, "tau=0.5", "net.epochs=1"), workspace)
    table = read_table(folder).subset(list(run.part("validation")["image_id"]))
    paths = dict(zip(table.frame["image_id"], table.frame["path"], strict=True))
    images = decode_all(paths, file_digests(table), workspace / "fresh", None)
    np.testing.assert_allclose(run.load_head().predict_proba(images), run.probabilities("validation"), atol=1e-12)


def test_opening_the_test_set_takes_the_net_that_was_trained(folder: Path, workspace: Workspace) -> None:
    config, lines = cnn(folder, "tau=auto", "net.epochs=2"), list[str]()
    closed = run_experiment(config, workspace)
    opened = run_experiment(config, workspace, test=True, on_progress=lines.append)
    assert opened.id != closed.id and any(closed.id in line for line in lines)
    assert not [line for line in lines if "epoch" in line]
    whole = run_experiment(config, workspace, test=True, force=True)
    assert opened.metrics == whole.metrics and opened.metrics["validation"] == closed.metrics["validation"]
    assert (opened.folder / "history.csv").read_bytes() == (closed.folder / "history.csv").read_bytes()
    assert (opened.folder / "head.safetensors").read_bytes() == (closed.folder / "head.safetensors").read_bytes()
    assert opened.provenance["seconds"]["processor"] > closed.provenance["seconds"]["processor"]


def test_images_are_decoded_once_for_all_runs(folder: Path, workspace: Workspace) -> None:
    lines: list[str] = []
    for seed in (0, 1):
        run_experiment(cnn(folder, f"seed={seed}", "net.epochs=1"), workspace, on_progress=lines.append)
    assert lines.count("decoded 78 of 78 images") == 1


class Killed(Exception):
    pass


def kill_in_epoch(epoch: int) -> Callable[[Any], None]:
    def report(progress: Any) -> None:
        if progress.epoch == epoch and progress.images > 8:
            raise Killed

    return report


def test_the_same_command_goes_on_where_a_run_was_killed(folder: Path, workspace: Workspace, tmp_path: Path) -> None:
    whole = run_experiment(cnn(folder), Workspace(tmp_path / "elsewhere"))
    with pytest.raises(Killed):
        run_experiment(cnn(folder), workspace, on_batch=kill_in_epoch(3))
    lines: list[str] = []
    run = run_experiment(cnn(folder), workspace, on_progress=lines.append)
    assert any("going on after epoch 2" in line for line in lines)
    np.testing.assert_array_equal(run.probabilities("validation"), whole.probabilities("validation"))
    assert run.metrics == whole.metrics and run.provenance["fingerprint"] == whole.provenance["fingerprint"]


def test_another_experiment_does_not_take_up_the_checkpoint(folder: Path, workspace: Workspace) -> None:
    with pytest.raises(Killed):
        run_experiment(cnn(folder), workspace, on_batch=kill_in_epoch(2))
    lines: list[str] = []
    run_experiment(cnn(folder, "net.lr=0.002"), workspace, on_progress=lines.append)
    assert not any("going on" in line for line in lines)


def test_each_fold_trains_its_own_net(folder: Path, workspace: Workspace) -> None:
    config = cnn(folder, "split.policy=grouped", "split.folds=2", "net.epochs=1")
    seen: list[Any] = []

    def kill_second(progress: Any) -> None:
        seen.append(progress)
        if len([p for p in seen if p.epoch == 1 and p.images <= 8]) > 1:
            raise Killed

    with pytest.raises(Killed):
        run_experiment(config, workspace, on_batch=kill_second)
    lines: list[str] = []
    run = run_experiment(config, workspace, on_progress=lines.append)
    assert sum("going on after epoch 1" in line for line in lines) == 1
    assert sorted(set(run.history["fold"])) == [1, 2]
    assert (run.folder / "fold1" / "head.safetensors").is_file() and run.load_head(2).prior_.shape == (7,)


def test_bad_and_missing_images_cost_themselves_only(ham10000_folder: Path, workspace: Workspace) -> None:
    frame = read_table(ham10000_folder).frame
    several = frame[frame.groupby("label")["group"].transform("nunique") > 5]
    bad, gone = (several["image_id"].iloc[number] for number in (0, 1))
    paths = dict(zip(frame["image_id"], frame["path"], strict=True))
    Path(paths[bad]).write_bytes(b"no image")
    Path(paths[gone]).unlink()
    config = cnn(ham10000_folder, "split.policy=grouped", "net.epochs=1")
    run = run_experiment(config, workspace)
    left_out = {image_id: reason[:12] for image_id, reason in run.provenance["left_out"].items()}
    assert left_out == {bad: "not an image", gone: "file missing"}
    assert not {bad, gone} & set(run.predictions["image_id"])
    assert run_experiment(config, workspace).reused


@pytest.fixture(scope="module")
def cached(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with real features of the small network."""
    workspace = Workspace(tmp_path_factory.mktemp("cached"))
    table = read_table(folder)
    backbones = [(BackboneSpec("random/test_resnet"), "pre_logits")]
    request = ExtractionRequest(table, file_digests(table), backbones, [get_augmentation("none")])
    run_extraction(request, workspace / "features", workers=1)
    return workspace


def test_a_warm_start_begins_with_the_cached_heads_scores(folder: Path, cached: Path) -> None:
    head = load_config(None, base={"dataset": str(folder), "features": "random/test_resnet"})
    linear = run_experiment(head, cached)
    lines: list[str] = []
    still = {"warm_start": "cache", "lr_tuning": 1e-12, "batch_norm": "frozen"}  # so that epoch 0 stays the best
    config = fine(folder, features="random/test_resnet", net=still)
    assert config.net.params["epochs_extraction"] == 0
    run = run_experiment(config, cached, on_progress=lines.append)
    first = run.history.iloc[0]
    assert (first["epoch"], first["phase"]) == (0, "cache") and list(run.history["epoch"]) == [0, 1]
    assert first["valid_mcc"] == pytest.approx(linear.metrics["validation"]["mcc"])
    assert any(line.startswith("warm start: logreg on cached features (fp32)") for line in lines)
    np.testing.assert_allclose(run.probabilities("validation"), linear.probabilities("validation"), atol=1e-3)
    assert list(run.provenance["stores"]) == list(linear.provenance["stores"])


def test_features_of_another_network_are_no_warm_start(folder: Path, cached: Path) -> None:
    config = fine(folder, features="random/test_resnet", net={"warm_start": "cache", "image_size": [64, 64]})
    with pytest.raises(WarmStartError, match="their preprocessing differ"):
        run_experiment(config, cached)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["net=simple_cn"], "unknown net 'simple_cn'; did you mean 'simple_cnn'"),
        (["net=simple_cnn", "net.epoch=3"], "unknown key net.epoch; did you mean net.epochs"),
        (["net=simple_cnn", "net.conv=3"], "net.conv"),
        (
            ["net=simple_cnn", "features=A"],
            "either a head on features or a net on images, got net 'simple_cnn' beside f",
        ),
        (["net=simple_cnn", "head=mlp"], "either a head on features or a net on images, got net 'simple_cnn' beside a"),
        (["net=finetune", "features=A"], "net.warm_start=cache"),
        (["net=finetune", "net.warm_start=cache"], "features=tf_efficientnet_lite0, got none"),
        (["net=finetune", "net.warm_start=cache", "features=resnet34"], "got resnet34"),
        (["net=finetune", "net.augmentation=dihedrl"], "Did you mean 'dihedral'"),
        (["net=finetune", "net.loss=focl"], "did you mean 'focal'"),
        (["net=finetune", "net.epochs_extraction=0", "net.epochs_tuning=0"], "at least one epoch"),
    ],
)
def test_unfit_configurations_are_told_before_anything_runs(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, parse_settings(overrides))


@pytest.mark.parametrize("name", ["simple_cnn", "finetune", "lpft"])
def test_packaged_configurations_of_nets_load(name: str) -> None:
    config = load_config(name)
    assert config.net is not None and config.model_name == ("simple_cnn" if name == "simple_cnn" else "finetune")


def test_a_run_is_a_backbone_and_is_not_judged_on_images_that_it_was_tuned_on(
    folder: Path, workspace: Workspace
) -> None:
    tuned = run_experiment(fine(folder, "seed=1", net={"epochs_extraction": 0, "fit": "squash"}), workspace)
    name = f"run:{tuned.id}"
    dataset = open_dataset(DatasetWords(str(folder)), workspace)
    extract_features(dataset, workspace, FeatureWords([name], precision="fp32"))
    (store,) = Catalogue(workspace.features).stores("ham10000")
    assert store.key.backbone == name and store.key.preprocessing["fit"] == "squash" and store.key.code is None
    table = read_table(folder, "ham10000")
    images = [decode_file(path) for path in table.frame["path"][:2]]
    network = tuned.load_head().network_.eval()
    with torch.inference_mode():
        expected = network.features(torch.stack([network.preprocessing.resize(image) for image in images]))
    kept = store.read(list(table.frame["image_id"][:2]), [0])[:, 0]
    np.testing.assert_allclose(kept, expected.numpy(), rtol=1e-3, atol=1e-3 * float(expected.abs().max()))

    def head(*overrides: str) -> Any:
        features = {"blocks": [{"backbone": name}]}
        base = {"dataset": str(folder), "features": features, "head": {"name": "ridge"}, "seed": 1}
        return load_config(None, parse_settings(overrides), base=base)

    run = run_experiment(head(), workspace, test=True)  # the split of the tuning: what it chose by, chooses again
    assert Predictor(run, workspace, device="cpu").predict([table.frame["path"][0]])[0].error is None
    for other in (head("seed=2"), head("split.folds=2")):
        with pytest.raises(RunError, match=r"on \d+ of the validation images"):
            run_experiment(other, workspace)
        with pytest.raises(RunError, match="seed 1"):
            open_experiments([other], workspace)
    with pytest.raises(RunError, match="whole id"):
        extract_features(dataset, workspace, FeatureWords([name[:-2]]))
