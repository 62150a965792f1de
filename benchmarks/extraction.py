"""Cost of extraction, as multiples of its floor: the forward passes alone on batches that are ready in memory.

Compared, in turn, in one process: the floor; `extract` with threads (what hamcache does); `extract` on a cluster of as
many processes, its start not counted; and what a plain script does (one backbone and view at a time, decoding each
time, eager float32, NCHW). Medians of several rounds. Run: `python benchmarks/extraction.py [--images 128]`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import timm
import torch
from distributed import LocalCluster

from hamcache.data.digests import file_digests
from hamcache.data.ham10000 import read_table
from hamcache.data.synthetic.collection import synthesize
from hamcache.data.table import ImageTable
from hamcache.extract.augmentations import get_augmentation
from hamcache.extract.backbones import BackboneSpec, shared_backbone
from hamcache.extract.decode import decode_file
from hamcache.extract.fill import ExtractionRequest, run_extraction
from hamcache.extract.forward import BATCH
from hamcache.extract.precision import resolve_precision
from hamcache.extract.scheduler import default_workers
from hamcache.pipeline.cli.console import show_table

BACKBONES = ("tf_efficientnet_lite0", "tf_efficientnet_lite1")
VIEWS = 4


def floor(specs: list[BackboneSpec], n_batches: int, workers: int) -> None:
    batches = {
        spec: torch.zeros((BATCH, 3, *shared_backbone(spec).preprocessing.size), dtype=torch.uint8) for spec in specs
    }

    def one(spec: BackboneSpec) -> None:
        torch.set_num_threads(1)
        shared_backbone(spec).features(batches[spec])

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, [spec for spec in specs for _ in range(n_batches)]))


def plain_script(table: ImageTable, workers: int) -> None:
    torch.set_num_threads(workers)
    for name in BACKBONES:
        network = timm.create_model(name, pretrained=False).eval()
        transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network))
        from torchvision.transforms.v2.functional import to_pil_image

        for _ in range(VIEWS):
            paths = list(table.frame["path"])
            for start in range(0, len(paths), 32):
                images = [decode_file(p) for p in paths[start : start + 32]]
                with torch.inference_mode():
                    batch = torch.stack([transform(to_pil_image(image)) for image in images])
                    network.forward_head(network.forward_features(batch), pre_logits=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    workers = default_workers()
    precision = resolve_precision("auto")
    specs = [BackboneSpec(name, precision=precision) for name in BACKBONES]
    with tempfile.TemporaryDirectory() as folder:
        table = read_table(synthesize(Path(folder) / "data", lesions=arguments.images))
        table = table.subset(list(table.frame["image_id"])[: arguments.images])
        digests = file_digests(table)
        rounds = iter(range(10_000))

        def extract(**where: object) -> None:
            root = Path(folder) / f"features{next(rounds)}"
            pairs = [(spec, "pre_logits") for spec in specs]
            request = ExtractionRequest(table, digests, pairs, [get_augmentation("flip")], VIEWS)
            run_extraction(request, root, **where)  # type: ignore[arg-type]

        with LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
            ways: dict[str, Callable[[], None]] = {
                "forward passes alone (floor)": lambda: floor(specs, VIEWS * len(table) // BATCH, workers),
                "extract, threads": lambda: extract(workers=workers),
                "extract, processes": lambda: extract(scheduler=cluster.scheduler_address),
                "plain script": lambda: plain_script(table, workers),
            }
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            for way in list(ways.values())[:3]:
                way()  # networks are loaded and kernels chosen
            for _ in range(arguments.rounds):
                for name, way in ways.items():
                    started = time.perf_counter()
                    way()
                    seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    least = next(iter(medians.values()))
    vectors = len(table) * VIEWS * len(BACKBONES)
    show_table(
        f"{len(table)} images of 600x450, {VIEWS} flip views, {'+'.join(BACKBONES)}, {precision}, {workers} workers",
        ("way", "seconds", "vectors/s", "times the floor"),
        [(name, value, vectors / value, value / least) for name, value in medians.items()],
        caption=f"Medians of {arguments.rounds} rounds.",
    )


if __name__ == "__main__":
    main()
