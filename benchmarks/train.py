"""Cost of the whole command `hamcache train` on cached features over a bare scikit-learn script.

The script reads the same rows from `.npy`, standardises them, fits the same logistic regression and scores the same;
the command also checks the data set's files against its digests, and writes a run that can be found, read and loaded
again. Each is a process of its own, in turn. Printed are ratios of medians: wall and processor time, peak memory.

`python benchmarks/train.py` makes features of random numbers; `--dataset DIR --workspace DIR --features NAME` takes
features that were extracted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from shutil import copytree
from statistics import median

# The parent imports nothing heavy: a child's peak memory counts the parent's at the moment of its start.
COLUMNS = ("wall s", "processor s", "peak MiB")
C = 0.01
BARE = """
import json, sys
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import matthews_corrcoef
from sklearn.preprocessing import StandardScaler

folder = sys.argv[1]
X, y = np.load(f"{folder}/train_X.npy"), np.load(f"{folder}/train_y.npy")
scaler = StandardScaler().fit(X)
counts = np.bincount(y)
weight = (1 / counts * counts.sum() / len(counts))[y]
head = LogisticRegression(C=float(sys.argv[2]), max_iter=500).fit(scaler.transform(X), y, sample_weight=weight)
for part in ("train", "validation"):
    X, y = np.load(f"{folder}/{part}_X.npy"), np.load(f"{folder}/{part}_y.npy")
    proba = head.predict_proba(scaler.transform(X))
score = matthews_corrcoef(y, proba.argmax(1))
print(json.dumps({"mcc": score}))
"""


def made_up(folder: Path, images: int, dim: int = 1280) -> None:
    """A data set of tiny files and features of random numbers that tell its seven classes apart a little."""
    import hashlib

    import numpy as np

    from hamcache.cache.keys import FeatureKey
    from hamcache.cache.storage import Root
    from hamcache.cache.store import CHUNK_ROWS, FeatureStore
    from hamcache.extract.augmentations import get_augmentation

    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    classes = rng.choice(7, images, p=[0.67, 0.11, 0.11, 0.05, 0.03, 0.015, 0.015])
    rows, ids, digests = ["image_id,path,label,group"], [], []
    for number, code in enumerate(classes):
        path = folder / "images" / f"{number:05d}.jpg"
        path.write_text(str(number))
        ids.append(f"i{number:05d}")
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
        rows.append(f"i{number:05d},{path},{'abcdefg'[code]},g{number}")
    (folder / "made_up.csv").write_text("\n".join(rows))
    key = FeatureKey("made_up", "net", "0" * 64, {"size": 8}, get_augmentation("none").to_dict(), 0, "fp32")
    store = FeatureStore.prepare(Root(folder / "workspace" / "features"), key, dim, ids, {})
    centres = rng.normal(size=(7, dim)) / 8
    for chunk in range(store.n_chunks):
        rows_of = slice(chunk * CHUNK_ROWS, (chunk + 1) * CHUNK_ROWS)
        features = (centres[classes[rows_of]] + rng.normal(size=(len(ids[rows_of]), dim))).astype(np.float32)
        store.write_chunk(store.place(chunk, 0), range(len(features)), features, digests[rows_of])
    store.set_views(1)


def write_arrays(dataset: str, workspace: str, backbone: str, folder: Path) -> None:
    """Write the rows that the experiment reads as `.npy`, for the bare script."""
    import numpy as np

    from hamcache.data.workspace import Workspace
    from hamcache.pipeline.config.schema import blocks_from, validate_config
    from hamcache.pipeline.experiment.inputs import open_inputs
    from hamcache.pipeline.experiment.learning import parts_of
    from hamcache.pipeline.experiment.preparation import make_splits

    config = validate_config(
        {"dataset": dataset, "features": {"blocks": blocks_from(backbone, "none", 1)}, "head": "logreg"}
    )
    inputs = open_inputs(config, Workspace(Path(workspace)))
    parts = parts_of(make_splits(config, inputs.table)[0], inputs.table, ("train", "validation"), inputs.left_out)
    for name, part in parts.items():
        (block,) = inputs.load(config.features, part.ids)
        np.save(folder / f"{name}_X.npy", block.arrays(part.ids).views[:, 0])
        np.save(folder / f"{name}_y.npy", part.y)


def apart(function: object, *arguments: object) -> None:
    """Call a function in a process of its own."""
    process = get_context("spawn").Process(target=function, args=arguments)  # type: ignore[arg-type]
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def measure(command: list[str], output: Path) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak MiB of a command, with one thread."""
    began = time.perf_counter()
    with output.open("w") as file:
        process = subprocess.Popen(command, stdout=file, env={**os.environ, "OMP_NUM_THREADS": "1"})
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:6])} failed")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset")
    parser.add_argument("--workspace", default="workspace")
    parser.add_argument("--features", default="tf_efficientnet_lite0")
    parser.add_argument("--images", type=int, default=6000, help="of the random data set")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    dataset, backbone = arguments.dataset, arguments.features
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        workspace = folder / "workspace"
        if dataset:
            for name in ("features", "digests"):
                copytree(Path(arguments.workspace) / name, workspace / name)
        else:
            apart(made_up, folder, arguments.images)
            dataset, backbone = str(folder / "made_up.csv"), "net"
        apart(write_arrays, dataset, str(workspace), backbone, folder)
        ours = [
            sys.executable,
            "-P",
            "-m",
            "hamcache",
            "train",
            "--dataset",
            dataset,
            "--features",
            backbone,
            "--force",
        ]
        ours += ["--head", "logreg", "--set", f"head.C={C}", "--no-plots", "--workspace", str(workspace)]
        bare = [sys.executable, "-P", "-c", BARE, str(folder), str(C)]
        output, rounds = folder / "output.txt", []
        for _ in range(arguments.rounds + 1):
            costs = [measure(bare, output)]
            theirs = json.loads(output.read_text())["mcc"]
            costs.append(measure(ours, folder / "ours.txt"))
            rounds.append(costs)
        run = max((workspace / "runs").iterdir())
        score = json.loads((run / "metrics.json").read_text())["validation"]["mcc"]
    medians = [[median(one[which][column] for one in rounds[1:]) for column in range(3)] for which in range(2)]
    for column, name in enumerate(COLUMNS):
        script, command = (costs[column] for costs in medians)
        print(f"{name}: script {script:.2f}, command {command:.2f}, ratio of medians {command / script:.2f}")
    print(f"validation MCC: script {theirs}, command {score}")


if __name__ == "__main__":
    main()
