"""From a decoded image to a network's input: resize, crop, normalise; as declared data, for it is part of the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F


@dataclass(frozen=True)
class Frame:
    """Part of an image that a network sees, and its size there; networks with equal frames share their views.

    Attributes:
        size, fit, crop_pct, interpolation: see `Preprocessing`.
    """

    size: tuple[int, int]
    fit: str
    crop_pct: float
    interpolation: str

    def window(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what is kept, about the centre of an image."""
        if self.fit != "crop":
            return height, width
        side = max(1, round(min(height, width) * self.crop_pct))
        target = self.size[0] / self.size[1]
        return round(side * min(1, target)), round(side * min(1, 1 / target))

    def resize(self, image: torch.Tensor) -> torch.Tensor:
        """uint8 `[3, h, w]` of any size to uint8 `[3, *size]`."""
        if self.fit == "crop":
            image = F.center_crop(image, list(self.window(*image.shape[1:])))
        mode = InterpolationMode(self.interpolation)
        return F.resize(image, list(self.size), interpolation=mode, antialias=True)


@dataclass(frozen=True)
class Preprocessing:
    """Preparation of images for one backbone.

    Attributes:
        size: input height and width in pixels.
        fit: `crop` keeps the central square window of `crop_pct` of the short side (what networks are evaluated with);
            `squash` keeps the whole image and changes its aspect.
        crop_pct: share of the short side that the window keeps.
        interpolation: `bicubic` or `bilinear`, always with antialiasing.
        mean, std: per channel, of pixel values in [0, 1].
    """

    size: tuple[int, int]
    fit: str
    crop_pct: float
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the key."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], fit: str = "crop") -> Preprocessing:
        """From a timm data configuration (`timm.data.resolve_data_config`)."""
        interpolation = config["interpolation"] if config["interpolation"] in ("bicubic", "bilinear") else "bicubic"
        return cls(
            size=tuple(config["input_size"][1:]),
            fit=fit,
            crop_pct=float(config["crop_pct"]),
            interpolation=interpolation,
            mean=_triple(config["mean"]),
            std=_triple(config["std"]),
        )

    @property
    def frame(self) -> Frame:
        """Part of an image that the network sees, and its size there."""
        return Frame(self.size, self.fit, self.crop_pct, self.interpolation)

    def resize(self, image: torch.Tensor) -> torch.Tensor:
        """uint8 `[3, h, w]` of any size to uint8 `[3, *size]`."""
        return self.frame.resize(image)

    def normalize(self, batch: torch.Tensor) -> torch.Tensor:
        """uint8 `[n, 3, h, w]` to float32, channels last in memory."""
        mean = torch.tensor(self.mean, device=batch.device).view(3, 1, 1) * 255
        std = torch.tensor(self.std, device=batch.device).view(3, 1, 1) * 255
        return ((batch.float() - mean) / std).contiguous(memory_format=torch.channels_last)


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue
