"""How well a device is fed: the time of an extraction over the time that its batches alone take on the device.

The device is not real: it computes one batch at a time in a fixed time, which is waited for outside Python's global
lock, as a GPU's is. All else is: files, decoding, fitting, Dask, chunks on the disk. The device is given one and a half
times as long as this machine takes to prepare a batch, so a pipeline that hides everything but the device comes near 1.

Run: `python benchmarks/feeding.py [--images 1024] [--rounds 5]`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from hamcache.data.digests import file_digests
from hamcache.data.readers.resolve import read_class_folders
from hamcache.extract.augmentations import get_augmentation
from hamcache.extract.backbones import Backbone, BackboneSpec, load_backbone
from hamcache.extract.decode import decode_file
from hamcache.extract.fill import run_extraction
from hamcache.extract.forward import BATCH, use_one_thread
from hamcache.extract.request import ExtractionRequest
from hamcache.extract.scheduler import AHEAD, default_workers

SIZE = (300, 225)
"""Width and height of the images, in pixels."""
DIM = 512
"""Length of the vectors that the device gives."""


@dataclass(frozen=True)
class Device(Backbone):
    """A network that computes nothing, one batch at a time, for `seconds` each; and when it did."""

    seconds: float = 0.0
    turns: list[tuple[float, float]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def features(self, images: torch.Tensor, kinds: Sequence[str] = ("pre_logits",)) -> dict[str, torch.Tensor]:
        """Zeros for each image of a batch, after a while."""
        if len(images) == BATCH:  # else its dimensions are asked for
            with self.lock:
                started = time.perf_counter()
                time.sleep(self.seconds)
                self.turns.append((started, time.perf_counter()))
        return {kind: torch.zeros(len(images), DIM) for kind in kinds}


def draw_images(folder: Path, n: int) -> None:
    """Draw `n` JPEG files, all of one class."""
    (folder / "drawn").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(n):
        coarse = Image.fromarray(generator.integers(0, 256, (9, 12, 3), np.uint8))
        coarse.resize(SIZE, Image.Resampling.BICUBIC).save(folder / "drawn" / f"{number:06d}.jpg", quality=90)


def feeding_ratio(n_images: int = 1024, slack: float = 1.5) -> float:
    """Time from the first batch on the device to the end of the last, over the time that all batches take there.

    Args:
        n_images: images to extract.
        slack: time of a batch on the device, as a multiple of the time in which all cores together prepare one.
    """
    cores = default_workers()
    network = load_backbone(BackboneSpec("random/test_resnet.r160_in1k"))
    with tempfile.TemporaryDirectory() as folder:
        draw_images(Path(folder) / "images", n_images)
        table = read_class_folders(Path(folder) / "images")

        def prepare(path: str) -> None:
            use_one_thread()
            network.preprocessing.resize(decode_file(path))

        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(prepare, table.frame["path"][:BATCH]))
            started = time.perf_counter()
            list(pool.map(prepare, table.frame["path"]))
            seconds = slack * (time.perf_counter() - started) / n_images * BATCH
        device = Device(**{part.name: getattr(network, part.name) for part in fields(Backbone)}, seconds=seconds)
        augmentation = get_augmentation("none")
        request = ExtractionRequest(table, file_digests(table), [(network.spec, "pre_logits")], [augmentation])
        with (
            patch("hamcache.extract.fill.shared_backbone", return_value=device),
            patch("hamcache.extract.worker.shared_backbone", return_value=device),
        ):
            run_extraction(request, Path(folder) / "features", workers=cores + AHEAD)
    return (device.turns[-1][1] - device.turns[0][0]) / (len(device.turns) * seconds)


def main() -> None:
    """Print the median of several rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    ratios = [feeding_ratio(arguments.images) for _ in range(arguments.rounds)]
    print(f"{statistics.median(ratios):.3f} times the device's own time ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
