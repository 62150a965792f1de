"""What people use to get features: the usual loop over timm and a DataLoader, and VisBench's cache."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from io import BytesIO
from itertools import count
from multiprocessing import get_all_start_methods
from pathlib import Path
from typing import Any

import timm
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.apart import Work
from benchmarks.harness import LeftOutError, cores
from hamcache.data.image_files import image_bytes, open_image
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
        return self.transform(open_image(BytesIO(image_bytes(self.paths[number]))).convert("RGB"))


def timm_loop(name: str, paths: Sequence[str], views: int, augment: bool) -> Work:
    """The usual loop: a DataLoader with two workers, eager float32. Its workers are started once and wait."""
    network, transform = timm_network(name)
    transform = augmented(transform) if augment else transform
    loader = DataLoader(
        _Pictures(paths, transform),
        batch_size=BATCH,
        num_workers=LOADERS,
        persistent_workers=True,
        multiprocessing_context=get_all_start_methods()[0],  # the system's default, not that of this process
    )

    @torch.inference_mode()
    def work() -> torch.Tensor:
        torch.set_num_threads(cores())
        return torch.cat([network(batch) for _ in range(views) for batch in loader])

    return work


def hybrid_batch(names: Sequence[str], paths: Sequence[str], training: bool) -> Work:
    """One batch as the founding project trains its hybrid: pictures through both networks, and a step of the head."""
    pairs = [timm_network(name) for name in names]
    transform = augmented(pairs[0][1]) if training else pairs[0][1]
    width = sum(network.num_features for network, _ in pairs)  # type: ignore[misc]
    head = torch.nn.Sequential(torch.nn.Linear(width, 512), torch.nn.ReLU(), torch.nn.Linear(512, 7))
    optimizer = torch.optim.AdamW(head.parameters())
    pictures, labels = _Pictures(paths, transform), torch.arange(len(paths)) % 7

    def work() -> None:
        torch.set_num_threads(cores())
        batch = torch.stack([pictures[number] for number in range(len(pictures))])
        with torch.no_grad():
            features = torch.cat([network(batch) for network, _ in pairs], dim=1)
        loss = torch.nn.functional.cross_entropy(head(features), labels)
        if training:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return work


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


def visbench(name: str, paths: Sequence[str], folder: Path) -> Work:
    """Pooled features by VisBench, of pictures that are linked into a folder, into an empty cache each time."""
    from visbench import CustomBackbone
    from visbench.cache import FeatureCache
    from visbench.data.image_folder import ImageFolderDataset

    network, transform = timm_network(name)
    backbone = CustomBackbone(_LastMap(network), transform, name=name.replace("/", "-"))
    images, rounds = folder / "images", count()
    images.mkdir(parents=True)
    for number, path in enumerate(paths):
        (images / f"{number:04d}{Path(path).suffix}").symlink_to(path)
    dataset = ImageFolderDataset(images, labeled=False)

    def work() -> torch.Tensor:
        torch.set_num_threads(cores())
        cache = FeatureCache(folder / f"cache{next(rounds)}")
        return cache.extract_dataset(backbone, dataset, keep="pooled", store="pooled")["pooled"]

    return work
