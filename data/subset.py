"""A smaller data set out of a large one: whole groups, the same mix of classes, written as a CSV."""

from pathlib import Path

import numpy as np
import pandas as pd

from hamcache.configs.defaults import DATASET
from hamcache.data import files
from hamcache.data.errors import TableError
from hamcache.data.ham10000 import NAME
from hamcache.data.stratify import shuffled
from hamcache.data.table import ImageTable, safe_name
from hamcache.data.workspace import Workspace


def stratified_subset(table: ImageTable, images: int, seed: int = 0) -> ImageTable:
    """A random part of a table, of `images` images, in the table's own mix of classes; groups (lesions) stay whole.

    The groups of each class come in random order and are taken until its share is full, so large and small groups are
    as frequent as in the table. The number is exact unless whole groups cannot make it, or a class whose groups are all
    larger than its share must have one. A group of several labels counts for the first of them. The
    choice depends on the images' ids, labels and groups, on `images` and on `seed`, and on nothing else.

    Raises TableError where the number is no subset: fewer images than classes, or not fewer than the table has.
    """
    present = table.frame["label"].nunique()
    if not present <= images < len(table):
        raise TableError(
            f"Expected a subset of {present} images (one a class) or more and fewer than all {len(table)} of table "
            f"{table.name!r}, but got {images}."
        )
    groups = table.frame.groupby("group").agg(size=("label", "size"), label=("label", "first"))
    groups = groups.loc[shuffled(groups.index, f"subset:{seed}")]
    chosen: list[str] = []
    for label, share in _shares(groups, images).items():
        of_class = groups[groups["label"] == label]
        chosen += _that_fit(of_class, share) or [str(of_class["size"].idxmin())]
    chosen += _that_fit(groups.drop(index=chosen), images - int(groups["size"][chosen].sum()))
    chosen = _exchanged(groups, chosen, images - int(groups["size"][chosen].sum()))
    return table.subset(list(table.frame["image_id"][table.frame["group"].isin(chosen)]))


def subset_path(out: str, workspace: Workspace) -> Path:
    """The CSV for a subset: the file itself, or that of a name in the workspace, by which `--dataset` finds it.

    Raises TableError where `out` is neither, or a data set of the workspace has that name.
    """
    if Path(out).suffix.lower() == ".csv":
        return Path(out)
    if Path(out).name != out or safe_name(out) != out:
        raise TableError(f"Expected a CSV to write, or a name of letters, digits, '.', '_' and '-', but got {out!r}.")
    if out in (DATASET, NAME) or (workspace.datasets / out).exists():
        raise TableError(f"Expected a name that no data set of the workspace has, but {out!r} is one. Take another.")
    return workspace.subset(out)


def write_csv(table: ImageTable, path: Path) -> None:
    """Write a table as a CSV that `data.readers.resolve.read_dataset` reads back; it is whole or absent."""
    files.write_csv(path, frame_for(path, table))


def frame_for(path: Path, table: ImageTable) -> pd.DataFrame:
    """A table as it stands in the CSV at `path`.

    Paths of images below the CSV's folder are relative to it, so that both can be moved together; others are absolute.
    """
    folder = path.absolute().parent
    paths = [
        Path(image).relative_to(folder).as_posix() if Path(image).is_relative_to(folder) else image
        for image in table.frame["path"]
    ]
    return table.frame.assign(path=paths)


def _shares(groups: pd.DataFrame, images: int) -> dict[str, int]:
    """The number of `images` each class gets: its share, rounded so that they add up (largest remainders first)."""
    exact = groups.groupby("label")["size"].sum() * (images / groups["size"].sum())
    shares = np.floor(exact).astype(int)
    largest = (exact - shares).sort_values(ascending=False, kind="stable").index[: images - int(shares.sum())]
    shares[largest] += 1
    return {str(label): int(share) for label, share in shares.items()}


def _exchanged(groups: pd.DataFrame, chosen: list[str], missing: int) -> list[str]:
    """The chosen groups, one of them exchanged for one of its class that is larger by the images that are missing."""
    if missing <= 0:
        return chosen
    inside = groups.loc[chosen]
    for group, size, label in groups.drop(index=chosen).itertuples():
        smaller = inside.index[(inside["size"] == size - missing) & (inside["label"] == label)]
        if len(smaller):
            return [str(group), *(kept for kept in chosen if kept != smaller[0])]
    return chosen


def _that_fit(groups: pd.DataFrame, images: int) -> list[str]:
    """Groups in their order, each that fits into what the ones before it left of `images`."""
    taken = []
    for group, size in zip(groups.index, groups["size"], strict=True):
        if size <= images:
            taken.append(str(group))
            images -= size
    return taken
