"""Sheets of an audit: pairs of images, likely label errors, images unlike the rest, each with its labels and scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hamcache.pipeline.inspect.audit.findings import records
from hamcache.pipeline.show.plots.sheets import QUIET, TEXT, WARNING, Tile, draw_sheets


def plot_pairs(pairs: pd.DataFrame, paths: Mapping[str, str], out: Path, title: str) -> list[Path]:
    """Sheets `out`, `<name>-2.png`, ... of the pairs, in their order.

    Args:
        pairs: See `inspect.audit.findings.pairs_table`.
        paths: File of each image.
        out: The first PNG.
        title: Of the sheet.
    """
    return draw_sheets([_pair(row, paths) for row in records(pairs)], out, title, columns=3, rows=7)


def _pair(row: Mapping[str, Any], paths: Mapping[str, str]) -> Tile:
    moved = [f"turned {row['angle']:.0f}\N{DEGREE SIGN}, magnified {row['scale']:.2f}"]
    moved += ["mirrored"] if row["mirrored"] else []
    warnings = ["labels differ"] if row["conflict"] else []
    warnings += [f"straddles {row['part']} | {row['other_part']}"] if row["straddles"] else []
    return Tile(
        (paths[row["image_id"]], paths[row["other"]]),
        (
            ((row["image_id"], row["other"]), TEXT),
            ((f"{row['group']}  {row['label']}", f"{row['other_group']}  {row['other_label']}"), QUIET),
            (f"{row['verdict']}   score {row['score']:.2f}   cosine {row['cosine']:.2f}", TEXT),
            (", ".join(moved), QUIET),
            (", ".join(warnings), WARNING),
        ),
    )


def plot_labels(labels: pd.DataFrame, paths: Mapping[str, str], out: Path, title: str, most: int = 48) -> list[Path]:
    """A sheet of the first likely label errors, see `inspect.audit.findings.labels_table`."""
    tiles = [
        Tile(
            (paths[row["image_id"]],),
            (
                (row["image_id"], TEXT),
                (row["group"], QUIET),
                (f"given {row['label']} ({row['p_label']:.2f})", TEXT),
                (f"suggested {row['suggested']} ({row['p_suggested']:.2f})", WARNING),
            ),
        )
        for row in records(labels.head(most))
    ]
    return draw_sheets(tiles, out, title, columns=6, rows=8)


def plot_outliers(outliers: pd.DataFrame, paths: Mapping[str, str], out: Path, title: str) -> list[Path]:
    """A sheet of the images unlike the rest, see `inspect.audit.findings.outliers_table`."""
    tiles = [
        Tile(
            (paths[row["image_id"]],),
            (
                (row["image_id"], TEXT),
                (f"{row['group']}  {row['label']}", QUIET),
                (f"similarity {row['similarity']:.2f}, z {row['z']:.1f}", WARNING if row["unlike"] else QUIET),
            ),
        )
        for row in records(outliers)
    ]
    return draw_sheets(tiles, out, title, columns=6, rows=8)
