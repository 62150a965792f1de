"""The image table: one row an image, with the columns `image_id, path, label, group` and any further ones."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from hamcache.data.errors import ImagesAbsentError, TableError, some_of
from hamcache.data.nearest import unknown_name

COLUMNS = ("image_id", "path", "label", "group")

# An image_id may be used as a file name, so it may not look like a path.
_UNSAFE_ID = r"[/\\]|^\.{1,2}$"
# Values must survive being written to a CSV file and read again.
_UNTIDY = r"[\x00-\x1f\x7f]|^\s|\s$"
_SHOWN = 5
_LONGEST = 1000
_LONGEST_PATH = 4095
_MOST_CLASSES = 1000
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, eq=False)
class ImageTable:
    """The images of one data set. Make it with `build_table` or a reader, which check it.

    Attributes:
        name: The data set's name, safe as a folder name.
        frame: One row an image, sorted by image_id, with a RangeIndex. The str columns are `image_id` (unique),
            `path` (absolute), `label` (one of `classes`) and `group` (images of one group, such as one lesion, are
            never put in two parts of a split); further columns are kept as they came.
        classes: The labels in their fixed order; a class's position is its code. Some may have no image.
        digests: Of a table that came without its images (see `readers.imported`), the sha256 of each image's file.
    """

    name: str
    frame: pd.DataFrame
    classes: tuple[str, ...]
    digests: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        groups = self.frame["group"].nunique()
        return f"<ImageTable {self.name}: {len(self):,} images, {groups:,} groups, {len(self.classes)} classes>"

    def labels(self) -> np.ndarray:
        """Class codes, int64 [images]: positions in `classes`, in the row order of `frame`."""
        return pd.Index(self.classes).get_indexer(pd.Index(self.frame["label"])).astype(np.int64)

    @property
    def fingerprint(self) -> str:
        """sha256 over the classes and each row's image_id, label and group; name and paths are not in it."""
        rows = self.frame[["image_id", "label", "group"]].values.tolist()
        content = json.dumps([self.classes, rows], ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    def subset(self, image_ids: Sequence[str]) -> "ImageTable":
        """The table of these images only, with the same name and classes, sorted by image_id.

        Raises TableError where an image is not in the table, or none is asked for.
        """
        unknown = sorted(set(image_ids) - set(self.frame["image_id"]))
        if unknown:
            raise TableError(f"table {self.name!r} has no image {some_of(unknown)} ({len(unknown)} unknown).")
        if len(image_ids) == 0:
            raise TableError(f"Expected at least one image of table {self.name!r}, but none was asked for.")
        chosen = self.frame[self.frame["image_id"].isin(set(image_ids))].reset_index(drop=True)
        return replace(self, frame=chosen)

    def missing_files(self) -> list[str]:
        """The image_ids whose file is not there. That is no error: such an image is left out, and listed."""
        pairs = zip(self.frame["image_id"], self.frame["path"], strict=True)
        return [image_id for image_id, path in pairs if not Path(path).is_file()]

    def require_images(self, what: str, image_ids: Sequence[str] | None = None) -> None:
        """Raise ImagesAbsentError where images (default: all) are needed for `what` of a table that came without them.

        In other tables a missing file costs that image only, so for them this does nothing.
        """
        if not self.digests:
            return
        wanted = None if image_ids is None else set(image_ids)
        absent = [image_id for image_id in self.missing_files() if wanted is None or image_id in wanted]
        if absent:
            raise ImagesAbsentError(
                f"{what} needs the images themselves, but data set {self.name!r} came with imported features and "
                f"without images: {len(absent)} are not here ({some_of(absent)}). Put them below "
                f"{Path(self.frame['path'].iloc[0]).parent}, or name a folder that has them with --dataset."
            )

    def require_classes(self, what: str) -> None:
        """Raise TableError where images of at least two classes are needed for `what`, and there is only one."""
        labels = self.frame["label"].unique()
        if len(labels) < 2:
            raise TableError(
                f"{what} needs images of two classes or more, but all {len(self)} of data set {self.name!r} are of "
                f"{some_of(list(labels))}. Give it a data set with other classes beside."
            )

    def mixed_groups(self) -> list[str]:
        """The groups whose images have more than one label, sorted.

        That is no error (one patient may have several diagnoses), but in a table of lesions it is worth a look.
        """
        labels_per_group = self.frame.groupby("group")["label"].nunique()
        return sorted(labels_per_group.index[labels_per_group > 1])


def build_table(
    name: str,
    frame: pd.DataFrame,
    classes: Sequence[str] | None = None,
    *,
    source: Path | None = None,
    lines: Sequence[int] | None = None,
) -> ImageTable:
    """Check `frame` and make an image table of it.

    `frame` has the columns image_id, path, label and group, in any row order, and any further ones. `classes` fixes
    the labels and their order (default: the labels found, sorted). `source` and `lines` (the line of the file that
    each row came from) are named in errors; without them rows are counted from 1.

    Raises TableError, which lists everything that is wrong: columns that are missing, no rows at all, empty values,
    an image_id that could be a path, a repeated image_id, a label that is not in `classes`.
    """
    where = str(source) if source is not None else f"table {name!r}"
    if not _SAFE_NAME.fullmatch(name):
        raise TableError(
            f"Expected a data set name of letters, digits, '.', '_' and '-', but got {name!r}. "
            f"Give it another one, for example {safe_name(name)!r}."
        )
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise TableError(
            f"{where}: expected the columns {', '.join(COLUMNS)}, but {', '.join(missing)} is missing; "
            f"found: {', '.join(map(str, frame.columns)) or 'none'}."
        )
    if frame.empty:
        raise TableError(f"{where}: expected one row per image, but there are none.")

    frame = frame.reset_index(drop=True)
    for column in COLUMNS:
        if frame[column].dtype != "str" or frame[column].hasnans:
            frame[column] = frame[column].astype(object).where(frame[column].notna(), "").astype("str")
    known = tuple(classes) if classes is not None else tuple(sorted(set(frame["label"].unique()) - {""}))
    if len(set(known)) < len(known):
        raise TableError(f"{where}: expected classes that differ, but got {', '.join(known)}.")

    problems = _problems(frame, known, lambda n: f"row {n + 1}" if lines is None else f"line {lines[n]}")
    if len(problems) == 1:
        raise TableError(f"{where}: {problems[0]}.")
    if problems:
        raise TableError(f"{where}: {len(problems)} things are wrong:\n" + "\n".join(f"- {p}." for p in problems))

    frame["path"] = pd.Series(absolute(frame["path"].tolist()), dtype="str")
    further = [column for column in frame.columns if column not in COLUMNS]
    frame = frame[[*COLUMNS, *further]].sort_values("image_id", ignore_index=True)
    return ImageTable(name=name, frame=frame, classes=known)


def safe_name(name: str) -> str:
    """`name` as a data set name: what is not a letter, a digit, '.', '_' or '-' becomes '-'.

    >>> safe_name("My skin (2024)")
    'My-skin-2024'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "images"


def absolute(paths: Iterable[str], home: Path | None = None) -> list[str]:
    """Each path below `home` (None: where we are) as `Path.absolute` gives it; an empty one stays empty.

    A folder is looked at once, however many images are in it.
    """
    home = home or Path()
    folders: dict[str, str] = {}
    found = []
    for path in paths:
        folder, slash, name = path.rpartition("/")
        if not slash or name in ("", "."):
            found.append(str((home / path).absolute()) if path else "")
            continue
        if folder not in folders:
            folders[folder] = str((home / f"{folder}/_").absolute())[:-1]
        found.append(folders[folder] + name)
    return found


def _problems(frame: pd.DataFrame, classes: tuple[str, ...], row: Callable[[int], str]) -> list[str]:
    """Everything that is wrong with the values of a table, each as one sentence naming rows."""

    def at(mask: pd.Series, show: str | None = None) -> str:
        places = np.flatnonzero(mask)
        first = [row(i) + (f" ({frame[show].iloc[i]!r:.100})" if show else "") for i in places[:_SHOWN]]
        return f"{len(places)} row(s): {some_of([*first, *map(str, places[_SHOWN:])], _SHOWN)}"

    problems = []
    for column in COLUMNS:
        empty = frame[column] == ""
        if empty.any():
            problems.append(f"expected a value in {column!r}, but it is empty in {at(empty)}")
    ids = frame["image_id"]
    unsafe = ids.str.contains(_UNSAFE_ID, regex=True)
    if unsafe.any():
        problems.append(
            "expected image ids that could not be paths (no '/' or '\\', not '.' or '..'), but found others in "
            f"{at(unsafe, 'image_id')}"
        )
    for column in COLUMNS:
        long = frame[column].str.len() > (_LONGEST_PATH if column == "path" else _LONGEST)
        if long.any():
            problems.append(f"expected a shorter value in {column!r}, but it is too long in {at(long)}")
    if len(classes) > _MOST_CLASSES:
        problems.append(
            f"expected at most {_MOST_CLASSES:,} classes, but there are {len(classes):,}: is 'label' the right column?"
        )
    for column in ("image_id", "label", "group"):
        untidy = frame[column].str.contains(_UNTIDY, regex=True)
        if untidy.any():
            problems.append(
                f"expected {column!r} without control characters and outer blanks, but found others in "
                f"{at(untidy, column)}"
            )
    repeated = ids.duplicated(keep=False) & (ids != "")
    if repeated.any():
        problems.append(f"expected every image_id once, but it is repeated in {at(repeated, 'image_id')}")
    unknown = ~frame["label"].isin(classes) & (frame["label"] != "")
    if unknown.any():
        first = str(frame["label"][unknown].iloc[0])
        problems.append(f"{unknown_name('label', first, classes)}; found in {at(unknown, 'label')}")
    return problems
