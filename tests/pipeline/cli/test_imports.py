"""A command imports what it uses, and no more: the heavy libraries that each may import."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

from hamcache.pipeline.experiment.runner import run_experiment
from tests.pipeline.conftest import World

HEAVY = {
    *("torch", "torchvision", "timm", "skorch", "safetensors", "huggingface_hub", "dask", "distributed", "zarr"),
    *("ray", "optuna", "matplotlib", "PIL", "cv2", "onnx", "onnxruntime", "starlette", "uvicorn", "jinja2"),
    *("kagglesdk", "pandas", "fsspec", "sklearn", "scipy", "skops", "joblib"),
}
TABLES = {"pandas"}
STORES = TABLES | {"fsspec"}
HEADS = STORES | {"sklearn", "scipy", "joblib"}
PICTURES = HEADS | {"matplotlib", "PIL"}
ON_ONE, ON_BOTH = "--dataset {csv} --features net_a", "--dataset {csv} --features net_a,net_b"
STUDY = "--workers 1 --no-extract --no-plots"
WRONG = "!"
"""Begins a command that ends with an error: mistakes are told before what the command would use is imported."""
COMMANDS: list[tuple[set[str], list[str]]] = [
    (set(), ["--version", "--help", *(f"{name} --help" for name in ("train", "sweep", "extract", "predict", "serve"))]),
    (set(), ["!train --head logrog --features a", "!train --set head.Q=1", "!train --head mlp --set head.loss=focall"]),
    (set(), ["!train --config nope", "!train --features a --set head.C=-1"]),
    (TABLES, [f"!{name} nope" for name in ("serve", "export", "report", "runs show", "runs plot", "sweep --resume")]),
    (TABLES, ["!predict nope image.jpg", "!sweep --config nope"]),
    (TABLES, ["!extract --dataset nope.csv"]),
    (TABLES, ["data summary --dataset {csv}", "data split --dataset {csv} --out {split}"]),
    (TABLES, ["runs", "runs show {run}", "runs verify", "compare {run} {other}", "grids", "sweeps"]),
    (STORES, ["cache ls", "cache info {store}", "cache explain {store} {key}", "cache verify", "cache gc"]),
    (STORES, [f"!{name} --dataset nope.csv" for name in ("sweep --config mlp", "data audit", "train --features a")]),
    (STORES, ["!train --dataset {csv} --features net_z"]),
    (STORES | {"joblib"}, ["!zoo --heads logrog --features a", "!grid --features a --augmentations nope"]),
    (STORES | {"joblib"}, ["!zoo --dataset nope.csv --features a", "!leakage-demo --dataset nope.csv"]),
    (STORES | {"joblib"}, ["!hybrids --dataset nope.csv --backbones a,b"]),
    (STORES | {"joblib"}, ["!study nope", "!study small --set head.Q=1"]),
    (HEADS, [f"train {ON_ONE} --head logreg --no-plots", f"train {ON_ONE}+net_b --head ridge --no-plots"]),
    (PICTURES, [f"train {ON_ONE} --head lda", f"zoo {ON_ONE} --heads logreg,knn {STUDY}"]),
    (PICTURES, [f"curve {ON_ONE} --heads knn --shares 0.5,1 --repeats 1 --workers 1 --no-extract --no-plots"]),
    (PICTURES, ["study {study} --dataset {csv} --workers 1 --no-plots"]),
    (PICTURES, ["hybrids --dataset {csv} --backbones net_a,net_b --head logreg " + STUDY]),
    (PICTURES, [f"grid {ON_BOTH} --augmentations none --head logreg {STUDY}", "grids verify"]),
    (PICTURES | {"jinja2"}, ["runs plot {run}", "report"]),
]
"""Commands, and the heavy libraries that may be in memory after them: each line may have those of the lines before."""
CHILD = """
import contextlib, io, json, os, sys
from hamcache.pipeline.cli.app import app

heavy, steps = json.load(sys.stdin)
for allowed, lines in steps:
    for line in lines:
        said, wrong = io.StringIO(), line.startswith("!")
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                code = app(line.removeprefix("!").split(), prog_name="hamcache", standalone_mode=False)
            except Exception as error:
                code = repr(error)
        found = sorted(name for name in heavy if sys.modules.get(name) and name not in allowed)
        if found or bool(code) != wrong:
            print(line, "imports", *found, "and ends with", code, file=sys.__stdout__)
"""


def test_no_command_imports_what_it_does_not_use(make_world: Callable[[], World]) -> None:
    world = make_world()
    stores = [world.extract(name) for name in ("net_a", "net_b")]
    runs = [run_experiment(world.config(f"head={head}"), world.workspace) for head in ("knn", "gaussian_nb")]
    places = {"csv": str(world.csv), "store": stores[0].folder, "split": str(world.workspace / "split.csv")}
    (world.workspace / "mine.yaml").write_text("rows: [{name: a, experiment: {features: net_a}}]")
    places |= {"study": str(world.workspace / "mine.yaml")}
    places |= {"run": runs[0].id, "other": runs[1].id, "key": stores[1].key.short}
    steps = [(sorted(allowed), [line.format(**places) for line in lines]) for allowed, lines in COMMANDS]
    environment = {**os.environ, "HAMCACHE_WORKSPACE": str(world.workspace), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD]
    text = json.dumps([sorted(HEAVY), steps])
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
