"""What people use to get features: the usual loop over timm and a DataLoader, and VisBench's cache."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.harness import LeftOutError, cores
from hamcache.extract.decode import decode_file, picture_of
from hamcache.extract.names import RANDOM

BATCH, LOADERS = 32, 2
AUGMENTATION = (
    v2.RandomHorizontalFlip(),
    v2.RandomVerticalFlip(),
    v2.RandomRotation(20),
    v2.ColorJitter(brightness=0.1, contrast=0.1, hue=0.1),
)
"""The augmentation `original`, as torchvision has it."""


def timm_network(name: str) -> tuple[torch.nn.Module, Any]:
    """The network of a backbone with random weights, and its own preprocessing of a PIL image."""
    network = timm.create_model(name.removeprefix(RANDOM), pretrained=False, num_classes=0).eval()
    return network, timm.data.create_transform(**timm.data.resolve_data_config({}, model=network))


def augmented(transform: v2.Compose) -> v2.Compose:
    """The preprocessing with `original` behind its first step, the resizing, where it costs least."""
    first, *others = transform.transforms
    return v2.Compose([first, *AUGMENTATION, *others])


class _Pictures(Dataset):
    def __init__(self, paths: Sequence[str], transform: Any) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        return self.transform(picture_of(decode_file(self.paths[number])))


class TimmLoop:
    """The usual loop: a DataLoader with two workers, eager float32. Its workers are started once and wait."""

    def __init__(self, name: str, paths: Sequence[str], *, augment: bool = False) -> None:
        self.network, transform = timm_network(name)
        transform = augmented(transform) if augment else transform
        self.images = len(paths)
        self.loader = DataLoader(
            _Pictures(paths, transform), batch_size=BATCH, num_workers=LOADERS, persistent_workers=True
        )

    @torch.inference_mode()
    def run(self, views: int = 1) -> torch.Tensor:
        """Features of every view of every image."""
        torch.set_num_threads(cores())
        return torch.cat([self.network(batch) for _ in range(views) for batch in self.loader])


class _LastMap(torch.nn.Module):
    """The part of a timm network before pooling, which VisBench pools itself."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.network.forward_features(batch)  # type: ignore[operator]


def require_visbench() -> None:
    """Raise LeftOutError where VisBench is not installed."""
    if find_spec("visbench") is None:
        raise LeftOutError(
            "VisBench is not installed: `pip install --no-deps --target FOLDER visbench` and `PYTHONPATH=FOLDER`"
        )


class VisBench:
    """Pooled features by VisBench's cache, from a folder of pictures into an empty cache."""

    def __init__(self, name: str, images: Path, count: int) -> None:
        from visbench import CustomBackbone
        from visbench.data.image_folder import ImageFolderDataset

        network, transform = timm_network(name)
        self.backbone = CustomBackbone(_LastMap(network), transform, name=name.replace("/", "-"))
        self.dataset = ImageFolderDataset(images, labeled=False).subset(count)
        self.images = len(self.dataset)

    def run(self, cache: Path) -> torch.Tensor:
        """Fill an empty cache."""
        from visbench.cache import FeatureCache

        torch.set_num_threads(cores())
        return FeatureCache(cache).extract_dataset(self.backbone, self.dataset, keep="pooled", store="pooled")["pooled"]
