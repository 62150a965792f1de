"""The pictures that benchmarks work on: drawn here, or some of a folder of the user's."""

from __future__ import annotations

import tempfile
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from hamcache.data.files import find_images
from hamcache.data.synthetic.collection import synthesize
from hamcache.data.table import ImageTable, build_table

DRAWN = 64
"""Different pictures that are drawn; where more are needed, they are repeated under other names."""
SIZE = (600, 450)
CLASSES = 3


def draw(folder: Path, count: int = DRAWN, size: tuple[int, int] = SIZE) -> Path:
    """Draw made-up photographs of lesions into a folder."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as made:
        synthesize(Path(made) / "drawn", lesions=max(7, count), size=size)
        for path in sorted((Path(made) / "drawn").rglob("*.jpg"))[:count]:
            path.replace(folder / path.name)
    return folder


def scatter(folder: Path, count: int, size: tuple[int, int] = (48, 36)) -> Path:
    """Write small pictures of random pixels: cheap to make, and cheap to decode."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize(size).save(folder / f"{number:04d}.jpg", quality=90)
    return folder


def table_of(folder: Path, count: int) -> ImageTable:
    """A table of so many images; those of the folder are repeated where it has fewer."""
    paths = [str(path) for path in islice(cycle(find_pictures(folder)), count)]
    frame = pd.DataFrame(
        {
            "image_id": [f"i{number:05d}" for number in range(count)],
            "path": paths,
            "label": [f"class{number % CLASSES}" for number in range(count)],
            "group": [f"g{number:05d}" for number in range(count)],
        }
    )
    return build_table("pictures", frame)


def find_pictures(folder: Path) -> list[Path]:
    """The image files of a folder and those below it, in order."""
    return [folder.absolute() / name for name in find_images(folder)]
