"""Photographs with real features of tiny networks, runs on them, and the predictors of these runs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hamcache.data.dataset import open_dataset
from hamcache.data.ham10000 import read_table
from hamcache.data.table import ImageTable
from hamcache.data.workspace import Workspace
from hamcache.extract.names import full_name
from hamcache.extract.precision import has_bf16
from hamcache.pipeline.config.overrides import parse_settings
from hamcache.pipeline.config.schema import load_config
from hamcache.pipeline.experiment.extraction import FeatureWords, extract_features
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.use.predict.predictor import Prediction, Predictor

NET, OTHER = "random/test_resnet.r160_in1k", "random/test_byobnet.r160_in1k"
PRECISIONS = ("fp32", pytest.param("bf16", marks=pytest.mark.skipif(not has_bf16(), reason="no bfloat16 here")))

CNN = {
    "name": "simple_cnn",
    "conv": [[6, 3, 2, 0.1]] * 3,
    "fc": [[12, 0.1]] * 3,
    "image_size": [16, 24],
    "epochs": 1,
    "batch_size": 8,
    "precision": "fp32",
}
FINE = {"name": "finetune", "backbone": NET, "precision": "fp32", "batch_size": 16, "epochs_tuning": 1}
FINE |= {"epochs_extraction": 1}


@dataclass
class Photographs:
    """A data set of image files and a workspace; features are extracted as runs need them.

    Attributes:
        folder: The data set.
        workspace: Its workspace.
    """

    folder: Path
    workspace: Workspace
    _runs: dict[tuple[str, ...], Run] = field(default_factory=dict)

    @property
    def table(self) -> ImageTable:
        return read_table(self.folder)

    def path(self, image_id: str) -> Path:
        return next(self.folder.rglob(f"{image_id}.jpg"))

    def paths(self, run: Run, part: str) -> list[Path]:
        """The files of one part of a run, in the order of its probabilities."""
        return [self.path(image_id) for image_id in run.part(part)["image_id"]]

    def extract(self, *blocks: tuple[str, str, int], precision: str = "fp32", seed: int = 0, **more: str) -> None:
        for backbone, augmentation, views in blocks:
            words = FeatureWords([full_name(backbone)], [augmentation], views, seed, precision, **more)
            extract_features(open_dataset(str(self.folder), self.workspace), self.workspace, words, workers=2)

    def run(self, *overrides: str, blocks: Any = ((NET, "none", 1),), test: bool = False, **base: Any) -> Run:
        """A run on these blocks `(backbone, augmentation, views)`, made once for the same settings."""
        name = (*overrides, repr(blocks), repr(sorted(base.items())), str(test))
        if name not in self._runs:
            listed = [{"backbone": b, "augmentation": a, "views": v} for b, a, v in blocks]
            content = {"dataset": str(self.folder), **({"features": {"blocks": listed}} if listed else {}), **base}
            self._runs[name] = run_experiment(
                load_config(None, parse_settings(overrides), base=content), self.workspace, test=test
            )
        return self._runs[name]

    def predictor(self, run: Run, **options: Any) -> Predictor:
        return Predictor(run, self.workspace, device="cpu", **options)


def probabilities(predictions: list[Prediction]) -> np.ndarray:
    """float64 `[n, C]`."""
    return np.array([list(prediction.probabilities.values()) for prediction in predictions])


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory, make_ham10000: Callable[..., Path]) -> Photographs:
    """78 photographs of 51 lesions in an own workspace that tests share; its files are only to be read."""
    root = tmp_path_factory.mktemp("photographs")
    here = Photographs(make_ham10000(root / "ham10000"), Workspace(root / "workspace"))
    here.extract((NET, "none", 1))
    return here


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Prediction sets torch to one thread: other tests get theirs back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """A picture of nothing."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    return tmp_path / "noise.png"
