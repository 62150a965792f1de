"""Cost of a sweep's trial beyond its own training, beside naive trials.

The same points are trained for the same epochs, as many at a time, by Ray Tune: by workers that are used again and take
the features from the object store (what hamcache does), and by naive trials, each in a process of its own that imports
the libraries and reads its features from the cache. Printed are seconds a trial, what of it is no training, and ratios.

`python benchmarks/sweep.py` makes features of random numbers; `--sweep DIR [--features-url URL]` takes the points,
epochs and features of a sweep that was run.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ray import tune

from hamcache.cache.keys import FeatureKey
from hamcache.cache.storage import Root
from hamcache.cache.store import CHUNK_ROWS, FeatureStore
from hamcache.data.readers.resolve import read_dataset
from hamcache.data.workspace import Workspace
from hamcache.extract.augmentations import get_augmentation
from hamcache.pipeline.cli.console import show_table
from hamcache.pipeline.experiment.inputs import open_inputs
from hamcache.pipeline.experiment.learning import parts_of
from hamcache.pipeline.experiment.preparation import make_splits
from hamcache.pipeline.studies.sweeps.ray_cluster import ray_cluster
from hamcache.pipeline.studies.sweeps.results import FAILED, STOPPED, load_sweep
from hamcache.pipeline.studies.sweeps.search import LAST, SCORE, Known, SweepSearch
from hamcache.pipeline.studies.sweeps.shared import open_sweep, read_shared
from hamcache.pipeline.studies.sweeps.space import Point
from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig, load_sweep_config
from hamcache.pipeline.studies.sweeps.trial import train_point
from hamcache.pipeline.studies.sweeps.tuning import shared_trainable

CLASSES, DIM, VIEWS = ("bkl", "mel", "nv"), 1280, 4


class Listed:
    """A source that hands out given points."""

    def __init__(self, points: list[Point]) -> None:
        self._left = iter([Known(point, None) for point in points])

    def ask(self) -> Known | None:
        return next(self._left, None)

    def tell(self, ticket: Known, outcome: Known) -> None:
        pass


def naive_trial(config: dict[str, Any], settings: SweepConfig, workspace: Workspace) -> None:
    """A trial that does everything by itself."""
    import hamcache.heads.mlp  # noqa: F401  its import is no training

    experiment = settings.config_at(config["point"])
    inputs = open_inputs(experiment, workspace)
    splits = make_splits(experiment, inputs.table)
    folds = [parts_of(split, inputs.table, ("train", "validation"), inputs.left_out) for split in splits]
    ids = [image_id for parts in folds for part in parts.values() for image_id in part.ids]
    inputs.load(experiment.features, ids)
    began = time.perf_counter()
    score = train_point(experiment, inputs, folds)
    tune.report({SCORE: score, "seconds": time.perf_counter() - began, LAST: True, "done": True})


def made_up(folder: Path, images: int, trials: int) -> tuple[SweepConfig, list[Point]]:
    """Features of random numbers for two backbones, and points for an MLP on them."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    rows = ["image_id,path,label,group"]
    for number in range(images):
        (folder / "images" / f"{number:05d}.jpg").write_text(str(number))
        rows.append(f"i{number:05d},images/{number:05d}.jpg,{CLASSES[number % 3]},g{number}")
    (folder / "made_up.csv").write_text("\n".join(rows))
    table = read_dataset(str(folder / "made_up.csv"), workspace=Workspace(folder))
    ids, paths = list(table.frame["image_id"]), list(table.frame["path"])
    digests = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]
    for backbone in ("net_a", "net_b"):
        key = FeatureKey(table.name, backbone, "0" * 64, {"size": 8}, get_augmentation("dihedral").to_dict(), 0, "fp32")
        store = FeatureStore.prepare(Root(folder / "features"), key, DIM, ids, {})
        for chunk in range(store.n_chunks):
            inside = slice(chunk * CHUNK_ROWS, (chunk + 1) * CHUNK_ROWS)
            for view in range(VIEWS):
                features = rng.normal(size=(len(ids[inside]), DIM)).astype(np.float32)
                store.write_chunk(store.place(chunk, view), range(len(features)), features, digests[inside])
        store.set_views(VIEWS)
    blocks = [{"backbone": name, "augmentation": "dihedral", "views": VIEWS} for name in ("net_a", "net_b")]
    head = {"name": "mlp", "max_epochs": 5, "patience": 5, "hidden": [64]}
    content = {
        "experiment": {
            "dataset": str(folder / "made_up.csv"),
            "features": {"blocks": blocks, "views": {"train": "random"}},
            "head": head,
        },
        "space": {"head.lr": {"loguniform": [1e-4, 1e-2]}},
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(content))
    settings = load_sweep_config(folder / "sweep.yaml", changes={"stopping": "none"})
    return settings, [{"head.lr": float(lr)} for lr in np.geomspace(1e-4, 1e-2, trials)]


def of_sweep(name: str, workspace: Workspace, most: int | None) -> tuple[SweepConfig, list[Point]]:
    """A sweep's points; those that were stopped early train just as many epochs."""
    sweep = load_sweep(name, workspace)
    points = []
    for _, row in sweep.trials[sweep.trials["state"] != FAILED].head(most or len(sweep.trials)).iterrows():
        stop = {"head.max_epochs": int(row["epochs"]), "head.schedule": "none"} if row["state"] == STOPPED else {}
        points.append(sweep.point(row) | stop)
    return sweep.settings.model_copy(update={"stopping": "none"}), points


def run(trainable: Any, points: list[Point], workers: int, folder: Path, reuse: bool) -> dict[str, float]:
    """Train all points; wall and training seconds, and what `Clock` says of warm workers."""
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            num_samples=len(points), search_alg=SweepSearch(Listed(points), count()), reuse_actors=reuse
        ),
        run_config=tune.RunConfig(name="naive" if not reuse else "reuse", storage_path=str(folder), verbose=0),
    )
    began = time.perf_counter()
    results = [result.metrics or {} for result in tuner.fit()]
    wall = time.perf_counter() - began
    training = sum(result["seconds"] for result in results)
    beyond = [result["overhead"] for result in results if result.get("overhead") is not None]
    return {
        "wall": wall,
        "a trial": wall / len(points),
        "training": training / len(points),
        "beyond": (wall * workers - training) / len(points),
        "warm": float(np.median(beyond)) if beyond else float("nan"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sweep", default="")
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    parser.add_argument("--features-url", default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        if arguments.sweep:
            workspace = Workspace(arguments.workspace.resolve(), arguments.features_url)
            settings, points = of_sweep(arguments.sweep, workspace, arguments.trials)
        else:
            workspace = Workspace(Path(made))
            settings, points = made_up(workspace.path, arguments.images, arguments.trials or 6)
        began = time.perf_counter()
        shared = read_shared(settings, open_sweep(settings, workspace), print)
        read = time.perf_counter() - began
        with ray_cluster(arguments.workers, shared.bytes) as folder:
            ours = run(shared_trainable(shared), points, arguments.workers, folder, reuse=True)
            naive = tune.with_parameters(naive_trial, settings=settings, workspace=workspace)
            theirs = run(naive, points, arguments.workers, folder, reuse=False)
    columns = ("trials", "wall s", "s a trial", "training s", "all else s", "else, warm s", "times")
    rows = [
        (
            name,
            *(round(one[key], 2) for key in ("wall", "a trial", "training", "beyond", "warm")),
            one["wall"] / ours["wall"],
        )
        for name, one in (("workers used again", ours), ("naive", theirs))
    ]
    show_table(
        f"{len(points)} trials, {arguments.workers} at a time, {shared.bytes / 1e6:.0f} MB of features",
        columns,
        rows,
        caption=f"all else: wall seconds of a worker a trial, less training. The first row had read its features "
        f"before, once, in {read:.1f} s. warm: median of the trials that were not the first of their worker.",
    )
    ratios = [theirs["beyond"] / ours[key] for key in ("beyond", "warm")]
    print(
        f"beyond its own training a naive trial takes {theirs['beyond']:.2f} s, {ratios[0]:.1f} times what one of "
        f"workers used again takes with their start, {ratios[1]:.0f} times what it takes once they are warm"
    )


if __name__ == "__main__":
    main()
