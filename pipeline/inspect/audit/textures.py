"""Small images reduced to their texture: what two photographs of one thing share, and two similar things do not.

The outline of a lesion on skin is nearly the same for any two round ones, and so is the dark rim that some
instruments leave. Hairs, pores, dots and vessels are not. So brightness is taken relative to the surroundings, contrast
relative to that of the surroundings, and the dark rim does not count.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import joblib
import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch.nn import functional as F

from hamcache.data.image_files import refusal
from hamcache.data.threaded import in_threads
from hamcache.extract.decode import decode_file

SIDE = 96
"""Pixels of the square that an image is fitted into, centred."""
COARSE_BAND, FINE_BAND = 3.0, 1.5
"""Details up to about this size, in pixels: to find an alignment, and to judge it."""
_SMOOTHING = 0.7  # pixels: less than this is noise and compression
_RIM = 0.35  # of the median brightness: what is darker and reaches the edge is the instrument's rim


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """Grey images fitted into a square.

    Attributes:
        grey: uint8 `[n, SIDE, SIDE]`, 1 to 255; 0 where there is no image, or the dark rim of an instrument.
        bad: Reasons of the images that can't be decoded, by number; they are 0 everywhere.
    """

    grey: np.ndarray
    bad: dict[int, str]

    def __len__(self) -> int:
        return len(self.grey)

    def followed_by(self, others: "Thumbnails") -> "Thumbnails":
        """These and others; the numbers of the others go on."""
        bad = self.bad | {len(self) + number: reason for number, reason in others.bad.items()}
        return Thumbnails(np.concatenate([self.grey, others.grey]), bad)


def read_thumbnails(
    paths: Sequence[str], on_progress: Callable[[int], None] | None = None, *, threads: int | None = None
) -> Thumbnails:
    """Decode images and keep them small (9 KB each).

    Args:
        paths: Image files.
        on_progress: Called with the number of images done.
        threads: Images decoded at a time; None: one per core.
    """
    grey = np.zeros((len(paths), SIDE, SIDE), np.uint8)
    bad = {}
    found = in_threads(_read_thumbnail, paths, threads or joblib.cpu_count())
    for number, image in enumerate(found):
        if isinstance(image, str):
            bad[number] = image
        else:
            grey[number] = image
        if on_progress:
            on_progress(number + 1)
    return Thumbnails(grey, bad)


def _read_thumbnail(path: str) -> np.ndarray | str:
    """A file's thumbnail, or the reason why there is none."""
    try:
        return thumbnail(decode_file(path).permute(1, 2, 0).contiguous().numpy())
    except Exception as error:  # damaged pixels raise anything
        return str(refusal(error))


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """One image, uint8 `[height, width, 3]`, as `Thumbnails` keep it."""
    image = Image.fromarray(pixels).convert("L")
    scale = SIDE / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    small = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0))
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    square = np.zeros((SIDE, SIDE), np.uint8)
    square[top : top + height, left : left + width] = np.where(_rim(small), 0, small.clip(min=1))
    return square


def _rim(image: np.ndarray) -> np.ndarray:
    """Dark regions that reach the edge, a little widened."""
    blurred = ndimage.gaussian_filter(image.astype(np.float32), 1.5)
    regions, count = ndimage.label(blurred < _RIM * np.median(blurred))
    if count == 0:
        return np.zeros(image.shape, bool)
    touching = np.unique(np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]]))
    return ndimage.binary_dilation(np.isin(regions, touching[touching > 0]), iterations=4)


@dataclass(frozen=True, eq=False)
class Textures:
    """Local contrast, about mean 0 and variance 1 wherever there is any detail.

    Attributes:
        detail: float32 `[n, side, side]`, 0 where nothing is valid.
        valid: float32 `[n, side, side]`, 0 or 1.
    """

    detail: torch.Tensor
    valid: torch.Tensor

    @property
    def side(self) -> int:
        """Pixels."""
        return self.detail.shape[1]

    def __len__(self) -> int:
        return len(self.detail)

    def take(self, rows: torch.Tensor) -> "Textures":
        """Some of them, maybe repeated."""
        return Textures(self.detail[rows], self.valid[rows])


def textures(thumbnails: Thumbnails, rows: np.ndarray, side: int = SIDE, band: float = COARSE_BAND) -> Textures:
    """The textures of some thumbnails.

    Args:
        thumbnails: The images.
        rows: Which of them.
        side: Pixels, at most `SIDE`.
        band: Details up to about this size, in pixels.
    """
    grey = torch.from_numpy(thumbnails.grey[rows]).float()
    valid = (grey > 0).float()
    if side != SIDE:
        share = F.adaptive_avg_pool2d(valid, side)
        grey = F.adaptive_avg_pool2d(grey * valid, side) / share.clamp(min=1e-3)
        valid = (share > 0.5).float()
    seen = grey * valid
    detail = (weighted_blur(seen, valid, _SMOOTHING) - weighted_blur(seen, valid, band)) * valid
    contrast = weighted_blur(detail**2, valid, 2 * band)
    return Textures(detail / torch.sqrt(contrast + 1.0), valid)


def weighted_blur(images: torch.Tensor, weights: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of images `[n, side, side]` that are 0 where their weights are: these places do not count."""
    blurring = blur_matrix(images.shape[1], sigma)
    return (blurring @ images @ blurring) / (blurring @ weights @ blurring).clamp(min=1e-3)


@cache
def blur_matrix(side: int, sigma: float) -> torch.Tensor:
    """A Gaussian blur along one side, as a symmetric matrix `[side, side]`; outside nothing counts."""
    at = torch.arange(side, dtype=torch.float32)
    return torch.exp(-0.5 * ((at[:, None] - at) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
