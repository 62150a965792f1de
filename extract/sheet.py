"""A sheet of views: one row an image and augmentation, one column a view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from hamcache.data.files import save_picture
from hamcache.extract.augmentations import Augmentation
from hamcache.extract.decode import decode_file, picture_of
from hamcache.extract.draws import draw_view
from hamcache.extract.kernels import ImageViews

CELL = (180, 135)
LABEL_WIDTH = 150
HEADER = 24


def view_sheet(
    paths: Mapping[str, str], augmentations: Sequence[Augmentation], views: int, seed: int, out: Path
) -> None:
    """Draw the views as `extract` draws them, with nothing cut off, and write the sheet as a picture.

    Args:
        paths: file of each image.
        augmentations: augmentations to show.
        views: columns.
        seed: seed of the draws.
        out: the picture, any format that Pillow writes.
    """
    rows = [(image_id, augmentation) for image_id in paths for augmentation in augmentations]
    size = (LABEL_WIDTH + views * CELL[0], HEADER + len(rows) * CELL[1])
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for view in range(views):
        pen.text((LABEL_WIDTH + view * CELL[0] + 4, 4), f"view {view}", fill="black", font=font)
    images = {image_id: decode_file(path) for image_id, path in paths.items()}
    for line, (image_id, augmentation) in enumerate(rows):
        top = HEADER + line * CELL[1]
        pen.text((4, top + 6), f"{augmentation.name}\n{_fold(image_id)}", fill="black", font=font)
        for view, tile in enumerate(drawn_views(images[image_id], image_id, augmentation, views, seed)):
            tile.thumbnail((CELL[0] - 6, CELL[1] - 6))
            sheet.paste(tile, (LABEL_WIDTH + view * CELL[0], top))
    save_picture(sheet, out)


def drawn_views(
    image: torch.Tensor, image_id: str, augmentation: Augmentation, views: int, seed: int
) -> list[Image.Image]:
    """View 0, 1, ... of a decoded image (uint8 `[3, height, width]`) as pictures; no more than the augmentation has."""
    made, numbers = ImageViews(image), range(min(views, augmentation.distinct_views))
    return [picture_of(made.whole(draw_view(augmentation, seed, image_id, number))) for number in numbers]


def _fold(name: str, width: int = 18) -> str:
    return "\n".join(name[start : start + width] for start in range(0, min(len(name), 3 * width), width))
