"""Runs on small photographs, one of them full of hostile names, and a real server for a real browser."""

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from hamcache.data.dataset import open_dataset
from hamcache.data.ham10000 import read_table
from hamcache.data.workspace import Workspace
from hamcache.pipeline.config.schema import load_config
from hamcache.pipeline.experiment.extraction import FeatureWords, extract_features
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.runs.records import Run, all_runs, load_run
from hamcache.pipeline.use.predict.predictor import Predictor, load_predictor
from hamcache.pipeline.use.serve.api import create_app
from hamcache.pipeline.use.serve.predictors import Worker
from hamcache.pipeline.use.serve.server import address_of, listen, make_server
from tests.pipeline.conftest import without_checksums

NET = "random/test_resnet.r160_in1k"
HACK = "<img src=x onerror=window.hacked=1>"
HOSTILE_RUN = "<svg onload=window.hacked=1>"


@dataclass(frozen=True)
class Served:
    """A workspace with two runs on HAM10000's classes (`first` is the better one) and one with hostile names.

    Attributes:
        folder: The photographs.
        workspace: Where the runs are.
        runs: Ids, by what they are.
        predictor: That of `runs["first"]`.
    """

    folder: Path
    workspace: Workspace
    runs: dict[str, str]
    predictor: Predictor

    def run(self, name: str = "first") -> Run:
        return load_run(self.runs[name], self.workspace)

    def photo(self, image_id: str) -> Path:
        return next(self.folder.rglob(f"{image_id}.jpg"))

    def photos(self, n: int, part: str = "validation") -> list[Path]:
        """The files of some images of one part."""
        return [self.photo(image_id) for image_id in self.run().part(part)["image_id"][:n]]


def hostile_dataset(folder: Path) -> Path:
    """A CSV whose labels and image ids are markup."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    rows = ["image_id,path,label,group"]
    for number in range(36):
        label = (HACK, "<b>bold</b>", "__proto__")[number % 3]
        image_id = f"{HACK} ?#%2e {number}"
        pixels = rng.normal(40 + 80 * (number % 3), 12, (30, 40, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append(f"{image_id},{number}.png,{label},{number}")
    (folder / "hostile.csv").write_text("\n".join(rows))
    return folder / "hostile.csv"


def train(dataset: Path, workspace: Workspace, *heads: str, test: bool = False) -> list[str]:
    """Ids of the runs of some heads on a data set's features."""
    words = FeatureWords([NET], precision="fp32")
    extract_features(open_dataset(str(dataset), workspace), workspace, words, workers=1)
    base = {"dataset": str(dataset), "features": NET}
    return [run_experiment(load_config(None, base={**base, "head": head}), workspace, test=test).id for head in heads]


def knowing(served: Served) -> str:
    """The id of a run on metadata, made in this workspace: images of men and of women, of all ages."""
    frame = read_table(served.folder).frame[["image_id", "path", "label", "group"]]
    codes = np.arange(len(frame))
    known = frame.assign(age=20 + codes * 7 % 60, sex=np.array(["female", "male"])[codes % 3 // 2])
    served.workspace.path.mkdir(parents=True, exist_ok=True)
    known.to_csv(served.workspace / "known.csv", index=False)
    config = load_config(None, base={"dataset": str(served.workspace / "known.csv"), "features": "metadata"})
    return run_experiment(config, served.workspace).id


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, make_ham10000: Callable[..., Path]) -> Served:
    root = tmp_path_factory.mktemp("serving")
    folder, workspace = make_ham10000(root / "ham10000"), Workspace(root / "workspace")
    threads = torch.get_num_threads()
    first, second = sorted(
        train(folder, workspace, "logreg", "knn", test=True),
        key=lambda run: -load_run(run, workspace).metrics["validation"]["mcc"],
    )
    (hostile,) = train(hostile_dataset(root / "hostile"), workspace, "ridge")
    (workspace / "runs" / hostile).rename(workspace / "runs" / HOSTILE_RUN)
    plots = workspace / "runs" / first / "plots"
    plots.mkdir()
    Image.new("RGB", (60, 40), "white").save(plots / "roc.png")
    predictor = load_predictor(first, workspace)
    torch.set_num_threads(threads)
    return Served(folder, workspace, {"first": first, "second": second, "hostile": HOSTILE_RUN}, predictor)


@pytest.fixture
def own(served: Served, tmp_path: Path) -> Served:
    """A copy, to be changed."""
    shutil.copytree(served.workspace, tmp_path / "workspace")
    for folder in Workspace(tmp_path / "workspace").runs.glob("[!.]*/"):
        without_checksums(folder)
    return Served(served.folder, Workspace(tmp_path / "workspace"), served.runs, served.predictor)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Prediction sets torch to one thread: other tests get theirs back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def client_of(workspace: Workspace, **options: Any) -> TestClient:
    """A client without a browser, of an application of its own."""
    app = create_app(workspace, **options)
    return TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)


@pytest.fixture(scope="session")
def client(served: Served) -> TestClient:
    """A client that tests share: its predictor loads once."""
    return client_of(served.workspace)


@pytest.fixture(scope="session")
def address(served: Served) -> Iterator[str]:
    """The address of a server that tests share, without a slash at its end."""
    with serving(served) as made:
        yield made


@pytest.fixture
def own_address(served: Served) -> Iterator[str]:
    """The address of a server that has loaded no run yet."""
    with serving(served) as made:
        yield made


@contextmanager
def serving(served: Served) -> Iterator[str]:
    """A running server; yields its address."""
    made, worker = listen("127.0.0.1", 0), Worker()
    server = make_server(served.workspace, served.runs["first"], "127.0.0.1", worker)
    thread = Thread(target=server.run, kwargs={"sockets": [made]}, daemon=True)
    started = iter(lambda: server.started, True)
    thread.start()
    for _ in started:
        thread.join(0.02)
        assert thread.is_alive()
    yield address_of(made).rstrip("/")
    server.should_exit = True
    thread.join(60)
    assert not thread.is_alive()


def png(width: int = 40, height: int = 30, seed: int = 0) -> bytes:
    """A picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def ids(workspace: Workspace) -> set[str]:
    return {run.id for run in all_runs(workspace)}
