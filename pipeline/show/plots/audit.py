"""Sheets of an audit: pairs of images, likely label errors, images unlike the rest, each with its labels and scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from hamcache.data.errors import BadImageError
from hamcache.data.files import save_picture
from hamcache.extract.decode import decode_file, picture_of
from hamcache.pipeline.inspect.audit.findings import records
from hamcache.pipeline.show.plots.style import COLOURS

PICTURE = (220, 165)
"""Pixels of one picture on a sheet."""
_GAP, _LINE, _HEAD = 14, 19, 54
_TEXT, _WARNING, _QUIET = "#000000", COLOURS[5], "#555555"
_PAGES = 8


@dataclass(frozen=True)
class Tile:
    """Pictures beside each other, and lines of text below: (text, colour), or one text a picture."""

    paths: tuple[str, ...]
    lines: tuple[tuple[str | tuple[str, ...], str], ...]


def plot_pairs(pairs: pd.DataFrame, paths: Mapping[str, str], out: Path, title: str) -> list[Path]:
    """Sheets `out`, `<name>-2.png`, ... of the pairs, in their order.

    Args:
        pairs: See `inspect.audit.findings.pairs_table`.
        paths: File of each image.
        out: The first PNG.
        title: Of the sheet.
    """
    return _sheets([_pair(row, paths) for row in records(pairs)], out, title, columns=3, rows=7)


def _pair(row: Mapping[str, Any], paths: Mapping[str, str]) -> Tile:
    moved = [f"turned {row['angle']:.0f}\N{DEGREE SIGN}, magnified {row['scale']:.2f}"]
    moved += ["mirrored"] if row["mirrored"] else []
    warnings = ["labels differ"] if row["conflict"] else []
    warnings += [f"straddles {row['part']} | {row['other_part']}"] if row["straddles"] else []
    return Tile(
        (paths[row["image_id"]], paths[row["other"]]),
        (
            ((row["image_id"], row["other"]), _TEXT),
            ((f"{row['group']}  {row['label']}", f"{row['other_group']}  {row['other_label']}"), _QUIET),
            (f"{row['verdict']}   score {row['score']:.2f}   cosine {row['cosine']:.2f}", _TEXT),
            (", ".join(moved), _QUIET),
            (", ".join(warnings), _WARNING),
        ),
    )


def plot_labels(labels: pd.DataFrame, paths: Mapping[str, str], out: Path, title: str, most: int = 48) -> list[Path]:
    """A sheet of the first likely label errors, see `inspect.audit.findings.labels_table`."""
    tiles = [
        Tile(
            (paths[row["image_id"]],),
            (
                (row["image_id"], _TEXT),
                (row["group"], _QUIET),
                (f"given {row['label']} ({row['p_label']:.2f})", _TEXT),
                (f"suggested {row['suggested']} ({row['p_suggested']:.2f})", _WARNING),
            ),
        )
        for row in records(labels.head(most))
    ]
    return _sheets(tiles, out, title, columns=6, rows=8)


def plot_outliers(outliers: pd.DataFrame, paths: Mapping[str, str], out: Path, title: str) -> list[Path]:
    """A sheet of the images unlike the rest, see `inspect.audit.findings.outliers_table`."""
    tiles = [
        Tile(
            (paths[row["image_id"]],),
            (
                (row["image_id"], _TEXT),
                (f"{row['group']}  {row['label']}", _QUIET),
                (f"similarity {row['similarity']:.2f}, z {row['z']:.1f}", _WARNING if row["unlike"] else _QUIET),
            ),
        )
        for row in records(outliers)
    ]
    return _sheets(tiles, out, title, columns=6, rows=8)


def _sheets(tiles: Sequence[Tile], out: Path, title: str, columns: int, rows: int) -> list[Path]:
    """Pages of tiles; pages of an earlier audit go. Without a tile there is no page."""
    out.parent.mkdir(parents=True, exist_ok=True)
    for old in [out, *out.parent.glob(f"{out.stem}-*.png")]:
        old.unlink(missing_ok=True)
    a_page = columns * rows
    pages = [tiles[start : start + a_page] for start in range(0, len(tiles), a_page)]
    written = []
    for number, page in enumerate(pages[:_PAGES], start=1):
        head = f"{title}" + (f"   (page {number} of {len(pages)})" if len(pages) > 1 else "")
        path = out if number == 1 else out.with_name(f"{out.stem}-{number}.png")
        save_picture(_page(page, head, columns), path)
        written.append(path)
    return written


def _page(tiles: Sequence[Tile], title: str, columns: int) -> Image.Image:
    pictures, lines = len(tiles[0].paths), len(tiles[0].lines)
    width = pictures * (PICTURE[0] + 4) + 2 * _GAP
    height = PICTURE[1] + lines * _LINE + _GAP + 6
    columns = min(columns, len(tiles))
    sheet = Image.new("RGB", (columns * width + _GAP, _HEAD + -(-len(tiles) // columns) * height), "white")
    pen, small, large = ImageDraw.Draw(sheet), ImageFont.load_default(size=14), ImageFont.load_default(size=20)
    pen.text((_GAP, 14), _shortened(title, sheet.width - 2 * _GAP, pen, large), fill=_TEXT, font=large)
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
        pen.line([(0, 0), PICTURE], fill=_QUIET)
        pen.line([(0, PICTURE[1]), (PICTURE[0], 0)], fill=_QUIET)
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
