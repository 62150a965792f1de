"""Sheets of pictures with lines of text below each: what audits and suggestions are looked at by."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from hamcache.data.errors import BadImageError
from hamcache.data.files import save_picture
from hamcache.extract.decode import decode_file, picture_of
from hamcache.pipeline.show.plots.style import COLOURS

PICTURE = (220, 165)
"""Pixels of one picture on a sheet."""
TEXT, WARNING, QUIET = "#000000", COLOURS[5], "#555555"
_GAP, _LINE, _HEAD = 14, 19, 54
_PAGES = 8


@dataclass(frozen=True)
class Tile:
    """Pictures beside each other, and lines of text below: (text, colour), or one text a picture."""

    paths: tuple[str, ...]
    lines: tuple[tuple[str | tuple[str, ...], str], ...]


def draw_sheets(tiles: Sequence[Tile], out: Path, title: str, columns: int, rows: int) -> list[Path]:
    """Draw pages `out`, `<name>-2.png`, ... of tiles; earlier pages go. Without a tile there is no page."""
    out.parent.mkdir(parents=True, exist_ok=True)
    for old in [out, *(_page_path(out, number) for number in range(2, _PAGES + 1))]:
        old.unlink(missing_ok=True)
    a_page = columns * rows
    pages = [tiles[start : start + a_page] for start in range(0, len(tiles), a_page)]
    written = []
    for number, page in enumerate(pages[:_PAGES], start=1):
        head = f"{title}" + (f"   (page {number} of {len(pages)})" if len(pages) > 1 else "")
        path = _page_path(out, number)
        save_picture(_page(page, head, columns), path)
        written.append(path)
    return written


def _page_path(out: Path, number: int) -> Path:
    return out if number == 1 else out.with_name(f"{out.stem}-{number}.png")


def _page(tiles: Sequence[Tile], title: str, columns: int) -> Image.Image:
    pictures, lines = len(tiles[0].paths), len(tiles[0].lines)
    width = pictures * (PICTURE[0] + 4) + 2 * _GAP
    height = PICTURE[1] + lines * _LINE + _GAP + 6
    columns = min(columns, len(tiles))
    sheet = Image.new("RGB", (columns * width + _GAP, _HEAD + -(-len(tiles) // columns) * height), "white")
    pen, small, large = ImageDraw.Draw(sheet), ImageFont.load_default(size=14), ImageFont.load_default(size=20)
    pen.text((_GAP, 14), _shortened(title, sheet.width - 2 * _GAP, pen, large), fill=TEXT, font=large)
    for number, tile in enumerate(tiles):
        left = _GAP + number % columns * width
        top = _HEAD + number // columns * height
        for place, path in enumerate(tile.paths):
            sheet.paste(_picture(path), (left + place * (PICTURE[0] + 4), top))
        for line, (text, colour) in enumerate(tile.lines):
            texts, room = (text, PICTURE[0]) if isinstance(text, tuple) else ((text,), pictures * (PICTURE[0] + 4) - 4)
            for place, words in enumerate(texts):
                at = (left + place * (PICTURE[0] + 4), top + PICTURE[1] + 4 + line * _LINE)
                pen.text(at, _shortened(words, room, pen, small), fill=colour, font=small)
    return sheet


def _picture(path: str) -> Image.Image:
    """An image fitted into its place, on grey; a cross where it can't be decoded."""
    place = Image.new("RGB", PICTURE, "#EEEEEE")
    try:
        picture = picture_of(decode_file(path))
    except BadImageError:
        pen = ImageDraw.Draw(place)
        pen.line([(0, 0), PICTURE], fill=QUIET)
        pen.line([(0, PICTURE[1]), (PICTURE[0], 0)], fill=QUIET)
        return place
    scale = min(PICTURE[0] / picture.width, PICTURE[1] / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    place.paste(
        picture.resize(size, Image.Resampling.LANCZOS), ((PICTURE[0] - size[0]) // 2, (PICTURE[1] - size[1]) // 2)
    )
    return place


def _shortened(text: str, room: int, pen: ImageDraw.ImageDraw, font: Any) -> str:
    """The text, or its beginning and three dots, so that it fits."""
    text = text[:400]
    if pen.textlength(text, font=font) <= room:
        return text
    while text and pen.textlength(f"{text}...", font=font) > room:
        text = text[:-1]
    return f"{text}..."
