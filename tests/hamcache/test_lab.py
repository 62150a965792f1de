"""The Lab does what the commands of the same words do."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from typer.testing import CliRunner

from hamcache.cache.errors import MissingFeaturesError
from hamcache.data.digests import file_digests
from hamcache.data.errors import TableError
from hamcache.data.ham10000 import read_table
from hamcache.extract.augmentations import get_augmentation
from hamcache.extract.decode import decode_image
from hamcache.extract.draws import draw_view
from hamcache.extract.errors import UnknownBackboneError
from hamcache.extract.kernels import ImageViews
from hamcache.extract.sources import own_code
from hamcache.lab import Lab, find_workspace
from hamcache.pipeline.cli.app import app
from hamcache.pipeline.errors import ArtefactNotFoundError, ConfigError, PredictionError
from hamcache.pipeline.use.predict.predictor import Question

NET = "random/test_resnet.r160_in1k"


@pytest.fixture(scope="module")
def world(make_world):
    """A world with features of two backbones, one of them with views; only to be added to."""
    world = make_world()
    world.extract("net_a", "flip", views=2)
    world.extract("net_b", "flip", views=2, skill=0.6)
    return world


@pytest.fixture
def lab(world) -> Lab:
    return Lab(world.csv, world.workspace)


def call(world, *words: str) -> str:
    result = CliRunner().invoke(app, [*words, "--dataset", str(world.csv), "--workspace", str(world.workspace)])
    assert result.exit_code == 0, result.output
    return result.output


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, hamcache.lab; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "hamcache.lab" in loaded
    assert {"torch", "pandas", "numpy", "sklearn", "zarr", "ray", "matplotlib", "timm"} & set(loaded) == set()


def test_a_run_of_the_command_line_is_found_by_the_lab_and_the_other_way_round(world, lab: Lab) -> None:
    options = ["--augmentation", "flip", "--views", "2", "--seed", "3", "--set", "head.C=0.05"]
    call(world, "train", "--features", "net_a+net_b", *options)
    found = lab.train("net_a+net_b", "flip", 2, seed=3, settings={"head.C": 0.05})
    assert found.reused and found.config.head.params["C"] == 0.05
    ridge = lab.train("net_a", "flip", 2, head="ridge")
    assert not ridge.reused
    assert "found finished" in call(world, "train", "--features", "net_a", *options[:4], "--head", "ridge")
    assert {ridge.id, found.id} <= set(lab.runs()["run"])


def test_a_lab_searches_what_the_command_searches(world, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Stop(Exception):
        pass

    def remember(settings, *_, **__):
        asked.append(settings)
        raise Stop

    monkeypatch.setattr("hamcache.pipeline.studies.sweeps.tuning.run_sweep", remember)
    CliRunner().invoke(
        app,
        ["sweep", "--config", "mlp", "--samples", "5", "--dataset", str(world.csv), "--set", "head.lr=0.01"],
    )
    with pytest.raises(Stop):
        lab.sweep(config="mlp", samples=5, settings={"head.lr": 0.01})
    with pytest.raises(Stop):
        lab.sweep("net_a", "flip", 2, space={"head.dropout": {"choice": [0.0, 0.5]}}, seed=4)
    assert len(asked) == 3 and asked[0] == asked[1] and "head.lr" not in asked[1].space
    own = asked[2]
    assert list(own.space) == ["head.dropout"] and own.seed == own.experiment["seed"] == 4
    assert [block.backbone for block in own.config_at({"head.dropout": 0.5}).features.blocks] == ["net_a"]


def test_the_zoo_gives_a_run_for_each_head_on_each_set_in_order(lab: Lab) -> None:
    runs = lab.zoo(["net_a", "net_a+net_b"], ["ridge", "knn"], "flip", 2, settings={"seed": 1}, workers=1)
    assert [(run.config.head.name, len(run.config.features.blocks)) for run in runs] == [
        ("ridge", 1), ("knn", 1), ("ridge", 2), ("knn", 2),
    ]  # fmt: skip
    assert {run.config.seed for run in runs} == {1}
    assert lab.train("net_a", "flip", 2, "knn", seed=1).id == runs[1].id


def test_the_zoo_raises_what_an_experiment_raised_and_keeps_the_others(lab: Lab, tmp_path: Path) -> None:
    config = tmp_path / "bad.yaml"
    config.write_text("head: {name: average, heads: [{name: logreg, blocks: [nobody]}]}\n")
    with pytest.raises(Exception, match="nobody"):
        lab.zoo(["net_a"], ["average", "gaussian_nb"], "flip", 2, config=str(config), workers=1)
    assert lab.train("net_a", "flip", 2, "gaussian_nb").reused


def test_features_come_in_the_order_asked_for(lab: Lab) -> None:
    ids = list(lab.table.frame["image_id"])
    everything = lab.features("net_a", "flip", 2)
    assert everything.dtype == np.float32 and everything.shape == (len(ids), 2, 8)
    np.testing.assert_array_equal(lab.features("net_a", "flip", 2, image_ids=ids[5:2:-1]), everything[5:2:-1])
    (store,) = (store for store in lab.stores() if store.key.backbone == "net_a")
    digests = file_digests(lab.table)
    np.testing.assert_array_equal(everything, store.read(ids, [0, 1], digests))


def test_features_that_are_not_there_are_an_error_naming_the_command(lab: Lab) -> None:
    with pytest.raises(MissingFeaturesError, match=r"hamcache extract --dataset .* --backbones net_c"):
        lab.features("net_c")
    with pytest.raises(MissingFeaturesError, match="--augmentations flip --views 3"):
        lab.features("net_a", "flip", 3)


def test_settings_are_checked_like_those_of_the_command_line(lab: Lab) -> None:
    config = lab.config("net_a", head={"name": "mlp", "lr": 1e-5}, config="mlp", settings={"split.folds": 3})
    assert config.head.params["lr"] == 1e-5 and config.split.folds == 3 and config.dataset == lab.dataset
    assert [block.backbone for block in config.features.blocks] == ["net_a"]
    with pytest.raises(ConfigError, match=r"head\.dropout"):
        lab.config("net_a", head="mlp", settings={"head.dropuot": 0.5})


def test_columns_and_name_reach_the_runs(world, tmp_path: Path) -> None:
    csv = tmp_path / "mine.csv"
    csv.write_text(world.csv.read_text().replace("label", "diagnosis", 1))
    lab = Lab(csv, tmp_path / "w", columns={"label": "diagnosis"}, name="moles")
    assert (lab.table.name, lab.table.classes) == ("moles", ("bkl", "mel", "nv"))
    config = lab.config("net_a")
    assert (config.columns, config.dataset_name) == ({"label": "diagnosis"}, "moles")


def test_runs_are_compared_by_name_or_as_they_are(world, lab: Lab) -> None:
    a, b = lab.train("net_a", "flip", 2, "lda"), lab.train("net_b", "flip", 2, "lda")
    pair = lab.compare(a, b.id, reference=b).pairs.iloc[0]
    gap = a.metrics["validation"]["mcc"] - b.metrics["validation"]["mcc"]
    assert (pair["run"], pair["other"], pair["difference"]) == (a.id, b.id, pytest.approx(gap))
    board = lab.leaderboard(a.id, b)
    assert sorted(board["run"]) == sorted([a.id, b.id, "majority baseline"]) and board["mcc"].iloc[-1] == 0
    with pytest.raises(ArtefactNotFoundError):
        lab.leaderboard("nobody")


def test_runs_of_other_data_sets_are_not_listed(world, lab: Lab, tmp_path: Path) -> None:
    lab.train("net_a", "flip", 2, "nearest_centroid")
    other = Lab(world.csv, world.workspace, name="other")
    assert len(lab.runs()) >= 1 and other.runs().empty and Lab(world.csv, tmp_path).runs().empty


def test_images_are_looked_at_as_they_are_extracted(make_ham10000: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_ham10000(tmp_path / "ham")
    lab = Lab(folder, tmp_path / "workspace")
    summary = lab.extract(f"{NET},{NET}:stages", "dihedral", 2)
    assert (summary.n_decoded, summary.n_written) == (78, 4 * 78) and "78 images decoded" in str(summary)
    assert lab.extract([NET], "dihedral", views=2).n_decoded == 0
    assert sorted(store.key.kind for store in lab.stores()) == ["pre_logits", "stages"]

    row = lab.table.frame.iloc[0]
    image = decode_image(Path(row["path"]).read_bytes())
    seen = lab.views(row["image_id"], "dermoscopy", 3, seed=5)
    for view, picture in enumerate(seen):
        expected = ImageViews(image).whole(draw_view(get_augmentation("dermoscopy"), 5, row["image_id"], view))
        np.testing.assert_array_equal(np.asarray(picture), expected.permute(1, 2, 0).numpy())
    assert len(seen) == 3 and len(lab.views(row["image_id"])) == 1 and len(lab.views(row["image_id"], "flip")) == 4
    with pytest.raises(TableError, match="no image nobody"):
        lab.views("nobody")


def test_a_predictor_says_what_the_run_said(make_ham10000: Callable[..., Path], tmp_path: Path) -> None:
    lab = Lab(make_ham10000(tmp_path / "ham"), tmp_path / "workspace")
    lab.extract(NET, precision="fp32")
    run = lab.train(NET, head="nearest_centroid")
    rows = run.part("validation")
    files = lab.table.subset(list(rows["image_id"])).frame.set_index("image_id")["path"]
    found = lab.predictor(run.id, device="cpu").predict([files[one] for one in rows["image_id"]], Question(raw=True))
    np.testing.assert_array_equal([list(one.probabilities.values()) for one in found], run.probabilities("validation"))


class Thumbnail(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return adaptive_avg_pool2d(images, 2).flatten(1)


def test_a_network_of_ones_own_is_extracted_trained_on_and_asked(make_ham10000, tmp_path: Path, monkeypatch) -> None:
    lab = Lab(make_ham10000(tmp_path / "ham"), tmp_path / "workspace", plots=False)
    settings = {"size": 16, "mean": (0, 0, 0), "std": (1, 1, 1)}
    lab.extract(Thumbnail(), name="thumbnail", preprocessing=settings, precision="fp32")
    (store,) = lab.stores()
    assert store.key.backbone == "thumbnail" and store.key.code and store.dim == 12
    with pytest.raises(UnknownBackboneError, match="given from Python"):
        lab.extract("thumbnail", scheduler="tcp://127.0.0.1:1")
    monkeypatch.setattr(own_code, "_given", {})  # as in another process
    run = lab.train("thumbnail", head="nearest_centroid")
    rows = run.part("validation")
    files = lab.table.subset(list(rows["image_id"])).frame.set_index("image_id")["path"]
    lab.give(Thumbnail(), "thumbnail", settings)
    found = lab.predictor(run.id, device="cpu").predict([files[one] for one in rows["image_id"]], Question(raw=True))
    np.testing.assert_array_equal([list(one.probabilities.values()) for one in found], run.probabilities("validation"))
    lab.give(nn.Sequential(Thumbnail(), nn.ReLU()), "thumbnail", settings)
    with pytest.raises(PredictionError, match="code is"):
        lab.predictor(run.id, device="cpu")


def test_the_data_set_is_counted_and_split(make_ham10000: Callable[..., Path], tmp_path: Path) -> None:
    lab = Lab(make_ham10000(tmp_path / "ham"), tmp_path / "workspace")
    summary, split = lab.summary(), lab.split("grouped", seed=2, validation_fraction=0.3)
    assert (summary.images, summary.groups, summary.twins) == (78, 51, ())
    assert (split.policy, split.seed, split.validation_fraction) == ("grouped", 2, 0.3)
    assert repr(lab.table) == "<ImageTable ham: 78 images, 51 groups, 7 classes>"
    assert lab.table.fingerprint == read_table(tmp_path / "ham", "ham").fingerprint


def test_a_run_shows_its_scores_in_one_line(lab: Lab) -> None:
    run = lab.train("net_a", "flip", 2, "ridge", test=True)
    mcc = run.metrics["test"]["mcc"]
    assert repr(run).startswith(f"<Run {run.id}: train mcc ") and repr(run).endswith(f", test mcc {mcc:.3f}>")


def test_the_workspace_is_that_of_the_environment_or_lies_beside_the_notebooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HAMCACHE_WORKSPACE", raising=False)
    (tmp_path / "notebooks").mkdir()
    for folder in (tmp_path, tmp_path / "notebooks"):
        monkeypatch.chdir(folder)
        assert find_workspace().resolve() == (tmp_path / "workspace").resolve()
    monkeypatch.setenv("HAMCACHE_WORKSPACE", str(tmp_path / "elsewhere"))
    assert find_workspace() == Lab().workspace.path == tmp_path / "elsewhere"
