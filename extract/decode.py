"""Decode image files to RGB, or say why one can't be decoded.

Pillow decides what an image is and how it looks. A photograph as most are, an undamaged JPEG in colour, is decoded by
libjpeg-turbo without it: the same pixels in less time.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageOps

from hamcache.data.errors import BadImageError
from hamcache.data.image_files import FORMATS, image_bytes, open_image, refusal

if TYPE_CHECKING:
    import torch

SMALLEST_SIDE = 8
"""Pixels; anything smaller is a placeholder, not a photograph."""
_BRIGHTEST = 65535
_OPENED = (*FORMATS, "MPO", None)
"""Formats of opened images: a JPEG with further pictures in it becomes MPO, one that was made has none."""


def decode_file(path: str | Path) -> torch.Tensor:
    """Decode an image file, as `decode_image` does.

    Raises:
        BadImageError: it can't be read, or not be decoded.
    """
    return decode_image(image_bytes(path))


def decode_image(data: bytes) -> torch.Tensor:
    """Decode the bytes of an image file; of several frames, the first.

    Grey, palette, CMYK and 16-bit images become 8-bit RGB (16-bit values are scaled, not cut off); transparency is laid
    on white; the EXIF orientation is applied.

    Returns:
        uint8 tensor `[3, height, width]`.

    Raises:
        BadImageError: empty, truncated, not an image, too small or too large, or its values are no brightness.
    """
    return _tensor_of(_decoded(data))


def picture_file(path: str | Path) -> Image.Image:
    """Decode an image file to a picture with the pixels that `decode_file` gives, without PyTorch.

    Raises:
        BadImageError: it can't be read, or not be decoded.
    """
    return Image.fromarray(_decoded(image_bytes(path)))


def opened_image(image: Image.Image, data: bytes | None = None) -> torch.Tensor:
    """Convert an image that Pillow has opened, as `decode_image` does.

    Args:
        image: the image.
        data: the bytes that it was opened from, if they are at hand.

    Returns:
        uint8 tensor `[3, height, width]`.

    Raises:
        BadImageError: truncated, too small, or of a format that image files are not read in.
    """
    return _tensor_of(_pixels(image, data))


def _tensor_of(pixels: np.ndarray) -> torch.Tensor:
    import torch  # takes seconds: not for who wants a picture only

    return torch.from_numpy(pixels).permute(2, 0, 1)


def _decoded(data: bytes) -> np.ndarray:
    if not data:
        raise BadImageError("empty file")
    return _pixels(open_image(io.BytesIO(data)), data)


def _pixels(image: Image.Image, data: bytes | None) -> np.ndarray:
    """uint8 `[height, width, 3]` of an opened image; see `opened_image`."""
    require_format(image)
    if min(image.size) < SMALLEST_SIDE:
        raise BadImageError(f"only {image.size[0]}x{image.size[1]} pixels")
    try:
        pixels = _photograph(image, data) if data else None
        if pixels is None:
            image.load()
            pixels = np.array(_to_rgb(ImageOps.exif_transpose(image)))
        return pixels
    except Exception as error:  # damaged pixels raise anything
        raise refusal(error) from None


def _photograph(image: Image.Image, data: bytes) -> np.ndarray | None:
    """Pixels `[height, width, 3]` of an upright JPEG in colour with nothing wrong in it; None for anything else."""
    if image.format not in ("JPEG", "MPO") or image.mode != "RGB":
        return None
    try:
        upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        pixels = (
            simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False, strict=True) if upright else None
        )
    except Exception:  # Pillow, the reference, says what is wrong, or that it isn't
        return None
    return pixels if pixels is not None and pixels.shape[:2] == (image.height, image.width) else None


def require_format(image: Image.Image) -> None:
    """Raise BadImageError where looking at the pixels of an opened image could run another program."""
    if image.format not in _OPENED:
        raise BadImageError(f"of the format {image.format}, not {', '.join(FORMATS)}; convert it first")


def picture_of(pixels: torch.Tensor) -> Image.Image:
    """A decoded image (uint8 `[3, height, width]`) for Pillow."""
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        _require_brightness(values)
        scale = 255.0 / _BRIGHTEST if values.max() > 255 else 1.0
        return Image.fromarray((values * scale).round().astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _require_brightness(values: np.ndarray) -> None:
    """Raise BadImageError where values would be cut off, or all become black."""
    if not np.isfinite(values).all():
        raise BadImageError("some pixels are not finite numbers")
    darkest, brightest = values.min(), values.max()
    if darkest < 0 or brightest > _BRIGHTEST:
        raise BadImageError(f"pixels from {darkest:g} to {brightest:g}, not from 0 to {_BRIGHTEST}")
    if 0 < brightest <= 1 and not np.isin(values, (0, 1)).all():
        raise BadImageError("pixels from 0 to 1, not to 255 or 65535")
