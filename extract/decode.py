"""Decode image files to RGB, or say why one can't be decoded."""

from __future__ import annotations

import io
import warnings

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from hamcache.extract.errors import BadImageError

SMALLEST_SIDE = 8
"""Pixels; anything smaller is a placeholder, not a photograph."""


def decode_image(data: bytes) -> torch.Tensor:
    """Decode the bytes of an image file.

    Grey, palette, CMYK and 16-bit images become 8-bit RGB (16-bit values are scaled, not cut off); transparency is laid
    on white; the EXIF orientation is applied.

    Returns:
        uint8 tensor `[3, height, width]`.

    Raises:
        BadImageError: empty, truncated, not an image, or too small.
    """
    if not data:
        raise BadImageError("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return opened_image(Image.open(io.BytesIO(data)))
    except BadImageError:
        raise
    except UnidentifiedImageError:
        raise BadImageError("not an image") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, Warning) as error:
        raise BadImageError(f"can't be decoded: {error}") from None


def opened_image(image: Image.Image) -> torch.Tensor:
    """Convert an image that Pillow has opened, as `decode_image` does.

    Returns:
        uint8 tensor `[3, height, width]`.

    Raises:
        BadImageError: truncated, or too small.
    """
    try:
        image.load()
        rgb = _to_rgb(ImageOps.exif_transpose(image))
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise BadImageError(f"can't be decoded: {error}") from None
    if min(rgb.size) < SMALLEST_SIDE:
        raise BadImageError(f"only {rgb.size[0]}x{rgb.size[1]} pixels")
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        scale = 255.0 / 65535.0 if values.max(initial=0) > 255 else 1.0
        return Image.fromarray(np.clip(values * scale, 0, 255).round().astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
