"""Extraction, over its own floor and over what people use.

The floor is what cannot be left out, in as many threads as there are cores: decode each image once, fit it to the
network, run the forward passes of all views in batches. It has no plan, tasks, stores, checksums or draws.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import torch

from benchmarks import pictures
from benchmarks.apart import apart
from benchmarks.competitors import require_visbench, timm_loop, visbench
from benchmarks.harness import Costs, Round, Setting, cores, wall
from hamcache.data.digests import file_digests
from hamcache.data.table import ImageTable
from hamcache.extract.augmentations import get_augmentation
from hamcache.extract.backbones import BackboneSpec, shared_backbone
from hamcache.extract.decode import decode_file
from hamcache.extract.fill import ExtractionRequest, run_extraction
from hamcache.extract.forward import BATCH, use_one_thread
from hamcache.extract.precision import resolve_precision

TINY = "random/test_resnet.r160_in1k"


class Extraction:
    """An extraction that begins with an empty cache each time it is run."""

    def __init__(
        self, setting: Setting, backbones: Sequence[str], table: ImageTable, augmentations: Sequence[str], views: int
    ) -> None:
        names = setting.of(backbones, backbones, [TINY])
        self.specs = [BackboneSpec(name, precision=resolve_precision("auto")) for name in names]
        self.root, self.table, self.views = setting.folder / "features", table, views
        self.augmentations = [get_augmentation(name) for name in augmentations]
        self.digests = file_digests(table)

    @property
    def paths(self) -> list[str]:
        """The image files."""
        return list(self.table.frame["path"])

    def run(self) -> None:
        """The whole extraction."""
        shutil.rmtree(self.root, ignore_errors=True)
        pairs = [(spec, "pre_logits") for spec in self.specs]
        run_extraction(ExtractionRequest(self.table, self.digests, pairs, self.augmentations, self.views), self.root)

    def floor(self, share: float = 1.0) -> float:
        """Seconds of the floor of the same; measured on a share of the images, since it grows with them."""
        images = BATCH * max(1, round(share * len(self.table) / BATCH))
        views = sum(min(self.views, augmentation.distinct_views) for augmentation in self.augmentations)
        batches = [self.paths[start : start + BATCH] for start in range(0, images, BATCH)]
        with ThreadPoolExecutor(cores()) as pool:
            seconds = wall(lambda: list(pool.map(lambda paths: floor_batch(self.specs, paths, views), batches)))
        return seconds * len(self.table) / images


def floor_batch(specs: Sequence[BackboneSpec], paths: Sequence[str | Path], views: int) -> None:
    """Decode a batch of images, fit each to each network, and run that many forward passes."""
    use_one_thread()
    images = [decode_file(path) for path in paths]
    for spec in specs:
        backbone = shared_backbone(spec)
        batch = torch.stack([backbone.preprocessing.resize(image) for image in images])
        for _ in range(views):
            backbone.features(batch)


def beside(
    setting: Setting,
    backbone: str,
    augmentations: Sequence[str] = ("none",),
    views: int = 1,
    images: int = 128,
    loop: int = 0,
    floor_share: float = 1.0,
) -> Iterator[Round]:
    """Whole extractions beside their floor, and beside the usual loop over the first `loop` images."""
    ours = Extraction(
        setting,
        [backbone],
        pictures.table_of(setting.images, setting.of(images, images // 2, 16)),
        augmentations,
        views,
    )
    n_theirs = setting.of(loop, loop, 4) if loop else 0
    with ExitStack() as stack:
        theirs = None
        if loop:
            arguments = ours.specs[0].name, ours.paths[:n_theirs], views, augmentations != ("none",)
            theirs = stack.enter_context(apart(timm_loop, *arguments))
        ours.floor()
        ours.run()
        while True:
            floor, own = ours.floor(floor_share), wall(ours.run)
            costs = {"floor": Costs(own, floor)}
            if theirs is not None:
                costs["loop"] = Costs(own / len(ours.table), theirs() / n_theirs)
            yield costs


def beside_visbench(setting: Setting, backbone: str, images: int = 128, theirs: int = 48) -> Iterator[Round]:
    """Whole extractions beside VisBench's, each into an empty cache."""
    require_visbench()
    ours = Extraction(
        setting, [backbone], pictures.table_of(setting.images, setting.of(images, images // 2, 16)), ["none"], 1
    )
    paths = ours.paths[: setting.of(theirs, theirs, 4)]
    with apart(visbench, ours.specs[0].name, paths, setting.folder / "visbench") as peer:
        ours.run()
        while True:
            seconds = peer() / len(paths)
            yield {"visbench": Costs(wall(ours.run) / len(ours.table), seconds)}


def ceiling(setting: Setting) -> Iterator[Round]:
    """A tiny network on tiny pictures: what is left is the pipeline's own cost, which a GPU would meet."""
    folder = pictures.scatter(setting.folder / "scattered", 64)
    ours = Extraction(setting, [TINY], pictures.table_of(folder, setting.of(1024, 512, 16)), ["none"], 1)
    ours.floor()
    ours.run()
    while True:
        yield {"ceiling": Costs(ours=wall(ours.run), base=ours.floor())}
