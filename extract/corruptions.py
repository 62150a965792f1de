"""Graded corruptions: the same photograph, ever harder to read, after ImageNet-C (Hendrycks and Dietterich, ICLR 2019).

Severities 1 to 5 are those of DermaMNIST-C (Di Salvo et al., MedMNIST-C, 2024) for noise, JPEG and brightness, and
those of ImageNet-C for the Gaussian blur. A corrupted image depends on the original, the kind, the severity and the
image's id, and on nothing else. The pattern of the noise and the direction of the brightness are the same at all
severities of an image, so that a curve over them shows the severity alone.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from hamcache.data.files import replacing
from hamcache.data.image_files import open_image
from hamcache.data.nearest import unknown_name
from hamcache.extract.decode import decode_file, opened_image, picture_of
from hamcache.extract.draws import generator_named
from hamcache.extract.errors import CorruptionError

SIDE = 256
"""An image whose short side is longer, in pixels, is reduced to it: a severity is to mean as much on a large one."""
REFERENCE = 224
"""Short side in pixels of the images that the blur's severities were chosen for."""
PARAMETERS: dict[str, tuple[float, ...]] = {
    "blur": (1.0, 2.0, 3.0, 4.0, 6.0),
    "noise": (0.04, 0.08, 0.12, 0.18, 0.26),
    "jpeg": (30, 20, 15, 10, 7),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
}
"""At severities 1 to 5: sigma in pixels of 224; deviation, of 1 for white; JPEG quality; change of the brightness."""
SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(image: Image.Image, corruption: str, severity: int, image_id: str) -> Image.Image:
    """A corrupted copy of an RGB image, its short side at most `SIDE`.

    Raises:
        CorruptionError: No corruption or severity of that name.
    """
    if corruption not in PARAMETERS:
        raise CorruptionError(f"Expected a corruption: {unknown_name('corruption', corruption, PARAMETERS)}")
    if severity not in SEVERITIES:
        raise CorruptionError(f"Expected a severity from 1 to {SEVERITIES[-1]}, got {severity}.")
    rng = generator_named(corruption, image_id)
    return _CORRUPT[corruption](_reduced(image), PARAMETERS[corruption][severity - 1], rng)


def write_corrupted(source: Path, target: Path, corruption: str, severity: int) -> None:
    """Write a corrupted copy of an image file as PNG; the id of the image is the target's name without its suffix.

    Raises:
        BadImageError: The file can't be read.
    """
    picture = corrupt(picture_of(decode_file(source)), corruption, severity, target.stem)
    with replacing(target, durable=False) as path:
        picture.save(path, format="PNG", compress_level=1)


def _reduced(image: Image.Image) -> Image.Image:
    short = min(image.size)
    if short <= SIDE:
        return image
    width, height = (max(1, round(side * SIDE / short)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _blur(image: Image.Image, sigma: float, rng: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(sigma * min(image.size) / REFERENCE))


def _noise(image: Image.Image, deviation: float, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image, dtype=np.float32)
    noise = rng.standard_normal(pixels.shape, dtype=np.float32)
    return _picture(pixels + np.float32(255 * deviation) * noise)


def _jpeg(image: Image.Image, quality: float, rng: np.random.Generator) -> Image.Image:
    content = io.BytesIO()
    image.save(content, format="JPEG", quality=int(quality))
    content.seek(0)
    return picture_of(opened_image(open_image(content)))


def _brightness(image: Image.Image, change: float, rng: np.random.Generator) -> Image.Image:
    """Half of the images become brighter, half darker."""
    factor = 1 + change if rng.random() < 0.5 else 1 - change
    return _picture(np.asarray(image, dtype=np.float32) * np.float32(factor))


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


_CORRUPT: dict[str, Callable[[Image.Image, float, np.random.Generator], Image.Image]] = {
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
    "brightness": _brightness,
}
