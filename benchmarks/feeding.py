"""How well a device is fed: the time of an extraction over the time that its batches alone take on the device.

The device is not real: it computes one batch after the other in a fixed time each, which is waited for outside Python's
global lock; as a GPU, it holds two batches, and begins with the next when it is done with one. All else is real: files,
decoding, fitting, Dask, chunks on the disk. The device is given one and a half times as long as this machine takes to
prepare a batch, so a pipeline that hides everything but the device comes near 1.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from unittest.mock import patch

import torch

from benchmarks import pictures
from benchmarks.extraction import TINY
from benchmarks.harness import Costs, Round, Setting, cores, wall
from hamcache.data.digests import file_digests
from hamcache.extract.augmentations import get_augmentation
from hamcache.extract.backbones import Backbone, BackboneSpec, load_backbone
from hamcache.extract.decode import decode_file
from hamcache.extract.fill import run_extraction
from hamcache.extract.forward import BATCH, use_one_thread
from hamcache.extract.request import ExtractionRequest
from hamcache.extract.scheduler import AHEAD

SIZE = (300, 225)
DIM = 512
"""Length of the vectors that the device gives."""
SLACK = 1.5
"""Time of a batch on the device, as a multiple of the time in which all cores together prepare one."""


@dataclass(frozen=True)
class Device(Backbone):
    """A network that computes nothing, one batch after the other, for `seconds` each; and when it did."""

    seconds: float = 0.0
    turns: list[tuple[float, float]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    places: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(2))

    def features(self, images: torch.Tensor, kinds: Sequence[str] = ("pre_logits",)) -> dict[str, torch.Tensor]:
        """Zeros for each image of a batch, after a while."""
        if len(images) == BATCH:  # else its dimensions are asked for
            with self.places:
                with self.lock:
                    begin = max([time.perf_counter(), *(end for _, end in self.turns[-1:])])
                    end = begin + self.seconds
                    self.turns.append((begin, end))
                time.sleep(max(0.0, end - time.perf_counter()))
        return {kind: torch.zeros(len(images), DIM) for kind in kinds}


def fed(setting: Setting) -> Iterator[Round]:
    """Time from the first batch on the device to the end of the last, beside the time that all batches take there."""
    folder = pictures.scatter(setting.folder / "scattered", 64, SIZE)
    table = pictures.table_of(folder, setting.of(1024, 512, 128))
    network = load_backbone(BackboneSpec(TINY))
    request = ExtractionRequest(table, file_digests(table), [(network.spec, "pre_logits")], [get_augmentation("none")])

    def prepare(path: str) -> None:
        use_one_thread()
        network.preprocessing.resize(decode_file(path))

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(prepare, table.frame["path"][:BATCH]))
        while True:
            ready = wall(lambda: list(pool.map(prepare, table.frame["path"])))
            parts = {part.name: getattr(network, part.name) for part in fields(Backbone)}
            device = Device(**parts, seconds=SLACK * ready / len(table) * BATCH)
            with (
                patch("hamcache.extract.fill.shared_backbone", return_value=device),
                patch("hamcache.extract.worker.shared_backbone", return_value=device),
            ):
                run_extraction(request, setting.folder / "features", workers=cores() + AHEAD)
            shutil.rmtree(setting.folder / "features")
            yield {"fed": Costs(device.turns[-1][1] - device.turns[0][0], len(device.turns) * device.seconds)}
