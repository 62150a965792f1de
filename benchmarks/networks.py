"""Fine-tuning beside a loop written by hand: what an epoch costs over its forward and backward passes alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks import pictures
from benchmarks.extraction import TINY
from benchmarks.harness import Costs, Round, Setting, wall
from hamcache.data.digests import file_digests
from hamcache.heads.nets.classifier import NetClassifier
from hamcache.heads.nets.decoded import decode_all
from hamcache.heads.nets.image_network import ImageNetwork

RATE = 1e-4


def tuning(setting: Setting, backbone: str, images: int = 128) -> Iterator[Round]:
    """An epoch of `finetune` beside the bare one, both from decoded images.

    The bare loop has the same network, precision, batches and optimiser. Its views are made before the clock starts:
    it only normalises them, runs the network forward and backward, and steps.
    """
    images = setting.of(images, images // 2, 8)
    table = pictures.table_of(setting.images, images)
    paths = dict(zip(table.frame["image_id"], table.frame["path"], strict=True))
    decoded = decode_all(paths, file_digests(table), Path(setting.folder / "decoded"), 320)
    params = {
        "backbone": setting.of(backbone, backbone, TINY),
        "epochs_extraction": 0,
        "epochs_tuning": 1,
        "lr_tuning": RATE,
        "schedule": "none",
        "class_weight": "none",
        "loss": "cross_entropy",
    }
    net = NetClassifier("finetune", params, table.classes)
    codes = np.array([table.classes.index(label) for label in table.frame["label"]])
    batch_size = net.params.batch_size

    def bare(network: ImageNetwork, views: list[torch.Tensor]) -> None:
        layers = [parameter for parameters, _ in network.trained_layers("tuning") for parameter in parameters]
        optimizer = torch.optim.AdamW(layers, lr=RATE, weight_decay=net.params.weight_decay)
        network.train()
        for batch, y in zip(views, torch.from_numpy(codes).split(batch_size), strict=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(network(batch), y)
            loss.backward()
            optimizer.step()

    network = net.build()
    net.fit(decoded, decoded.ids[:8], codes[:8] * 0 + np.arange(8) % len(table.classes), network=network)
    source = net._source(decoded, decoded.ids, net.augmentation)
    views = [source.view(row, row) for row in range(images)]
    batches = [torch.stack(views[start : start + batch_size]) for start in range(0, images, batch_size)]
    while True:
        ours = wall(lambda: net.fit(decoded, decoded.ids, codes, network=network))
        yield {"epoch": Costs(ours, wall(bare, network, batches))}
