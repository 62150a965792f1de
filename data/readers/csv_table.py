"""An image table from a CSV file whose columns may have any names."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from hamcache.data.errors import TableError
from hamcache.data.files import find_images, read_csv
from hamcache.data.nearest import unknown_name
from hamcache.data.table import COLUMNS, ImageTable, absolute, build_table

_INDEX_DEPTH = 3  # levels of folders searched for images that are named by their image_id only


def read_csv_table(
    path: Path,
    *,
    name: str,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    images_in: Path | None = None,
    unlabelled: str | None = None,
) -> ImageTable:
    """The image table of a CSV file.

    `columns` maps our names (image_id, path, label, group) to the file's, where they differ. The file needs a label
    and a path or an image_id:

    - `path` may be relative to the CSV's folder. Without it the image is the file below `images_in` (default: the
      CSV's folder) whose name without suffix is the image_id; of several such files the first is taken.
    - without `image_id` it is the path without its suffix, see `ids_from_paths`.
    - without `group` each image is a group of its own.
    - with `unlabelled` the file needs no label: images without one have this label.

    Further columns are kept, those that hold only numbers as numbers. Raises TableError, see `build_table`.
    """
    content, lines = read_csv(path)
    frame = _rename(content, columns or {}, path)
    images_in = images_in if images_in is not None else path.parent

    if unlabelled is not None:
        labels = frame["label"] if "label" in frame else pd.Series("", index=frame.index)
        frame["label"] = labels.where(labels != "", unlabelled).astype("str")
    if "label" not in frame or not {"path", "image_id"} & set(frame.columns):
        needed = "label" if "label" not in frame else "path (or image_id)"
        raise TableError(
            f"{path}: expected a column {needed}, but found: {', '.join(content.columns)}. "
            f"Say which column it is with `columns`, for example {{'{needed.split()[0]}': '{content.columns[0]}'}}."
        )
    if "image_id" not in frame:
        frame["image_id"] = pd.Series(ids_from_paths(frame["path"].tolist(), path.parent), dtype="str")
    if "path" not in frame:
        frame["path"] = pd.Series(_paths_from_ids(frame["image_id"].tolist(), images_in), dtype="str")
    else:
        frame["path"] = pd.Series(absolute(frame["path"].str.replace("\\", "/").tolist(), path.parent), dtype="str")
    if "group" not in frame:
        frame["group"] = frame["image_id"]
    for column in [column for column in frame.columns if column not in COLUMNS]:
        frame[column] = _as_numbers(frame[column])
    return build_table(name, frame, classes, source=path, lines=lines)


def ids_from_paths(paths: Iterable[str], folder: Path) -> list[str]:
    """An image_id for each path: the path inside `folder` without its suffix, its parts joined by "__".

    Where two paths would get the same one (`a/b.jpg` and `a/b.png`), each gets a short digest of its path appended.
    The id of an empty path is empty.

    >>> ids_from_paths(["nevi/1.jpg", "nevi/2.JPG", "mole.png", "mole.jpg"], Path("/data"))
    ['nevi__1', 'nevi__2', 'mole~13c311bf', 'mole~2adff893']
    """
    inside = [_inside(path, folder) for path in paths]
    ids = ["__".join(path.with_suffix("").parts) if path.name else "" for path in inside]
    of_id: dict[str, set[PurePosixPath]] = {}
    for image_id, path in zip(ids, inside, strict=True):
        of_id.setdefault(image_id, set()).add(path)
    return [
        image_id if len(of_id[image_id]) == 1 else f"{image_id}~{sha256(str(path).encode()).hexdigest()[:8]}"
        for image_id, path in zip(ids, inside, strict=True)
    ]


def _inside(path: str, folder: Path) -> PurePosixPath:
    """`path` relative to `folder`, without anything that climbs out of it; Windows separators are understood."""
    posix = PurePosixPath(path.replace("\\", "/"))
    if posix.is_relative_to(folder.absolute().as_posix()):
        posix = posix.relative_to(folder.absolute().as_posix())
    return PurePosixPath(*(part for part in posix.parts if part not in ("/", "..")))


def _paths_from_ids(image_ids: Iterable[str], folder: Path) -> list[str]:
    """The path of each image below `folder`; of an absent one, the path at which it would be looked for."""
    index: dict[str, str] = {}
    for path in find_images(folder, depth=_INDEX_DEPTH):
        index.setdefault(path[path.rfind(os.sep) + 1 : path.rfind(".")], path)
    home, inside = folder / PurePosixPath(next(iter(index.values()), "")).parent, str(folder / "_")[:-1]
    return [inside + index[name] if name in index else str(home / f"{name}.jpg") for name in image_ids]


def _rename(frame: pd.DataFrame, columns: Mapping[str, str], path: Path) -> pd.DataFrame:
    """Give the file's columns our names; a further column that happens to have one of them gets "_in_file" added."""
    for ours, theirs in columns.items():
        if ours not in COLUMNS:
            raise TableError(f"columns: {unknown_name('column of the image table', ours, COLUMNS)}")
        if theirs not in frame.columns:
            raise TableError(f"{path}: {unknown_name('column', theirs, frame.columns)} (asked for as {ours!r})")
    source = {ours: columns.get(ours, ours) for ours in COLUMNS}
    ours_in_file = {ours: theirs for ours, theirs in source.items() if theirs in frame.columns}
    known = pd.DataFrame({ours: frame[theirs] for ours, theirs in ours_in_file.items()})
    further = frame.drop(columns=list(set(ours_in_file.values())))
    return pd.concat([known, further.rename(columns={name: f"{name}_in_file" for name in COLUMNS})], axis=1)


def _as_numbers(column: pd.Series) -> pd.Series:
    if not column.str.fullmatch(re.compile(r"|[-+]?\d{1,18}(\.\d*)?([eE][-+]?\d+)?")).all():
        return column
    numbers = pd.to_numeric(column.where(column != ""), errors="coerce")
    # A number that no double holds stays the text that it is.
    return numbers if np.isfinite(numbers[column != ""].astype(float)).all() else column
