"""Decisions of somebody who looked at a data set: images to leave out, and groups that are one.

Both come as CSV files, which `hamcache data audit` proposes and a person edits: `image_id, reason` names images that no
part of a split takes in, `group, into, reason` groups that must not be torn apart (two lesions that are one).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from hamcache.data.among import among
from hamcache.data.errors import CurationError, some_of
from hamcache.data.files import read_csv
from hamcache.data.nearest import nearest
from hamcache.data.table import ImageTable


@dataclass(frozen=True)
class Curation:
    """Images that are left out, and groups that were merged.

    excluded: the reason of each image that is left out, maybe empty.
    merged: for each group that gets another name, that name; the groups of one name are one.
    """

    excluded: Mapping[str, str] = field(default_factory=dict)
    merged: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.excluded or self.merged)

    @property
    def content(self) -> dict[str, Any]:
        """Everything that splits depend on, as plain values: the same for files that say the same in other words."""
        return {"excluded": sorted(self.excluded), "merged": dict(sorted(self.merged.items()))}

    def apply(self, images: pd.DataFrame) -> pd.DataFrame:
        """The rows that are left, with the groups' new names; `images` has the columns image_id and group."""
        if not self:
            return images
        left = images[~among(images["image_id"], self.excluded)]
        return left.assign(group=[self.merged.get(group, group) for group in left["group"]]).astype({"group": "str"})


NOTHING = Curation()


def merge(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The new name of each group that gets one, from pairs `(group, into)`.

    Merging is transitive, and neither the order of the pairs nor their repetition matters. Groups that hang together
    get the name of the one that is merged into no other; of several such, or where there is none (a circle), of the
    first in the order of the alphabet.

    >>> merge([("a", "b"), ("b", "c")])
    {'a': 'c', 'b': 'c'}
    """
    pairs = [(group, into) for group, into in pairs if group != into]
    above: dict[str, str] = {}

    def root(group: str) -> str:
        while (parent := above.setdefault(group, group)) != group:
            above[group] = above[parent]  # halves the way for the next time
            group = parent
        return group

    for group, into in pairs:
        above[root(group)] = root(into)
    together: dict[str, list[str]] = {}
    for group in sorted(above):
        together.setdefault(root(group), []).append(group)
    merged_away = {group for group, _ in pairs}
    names = {}
    for members in together.values():
        name = next((group for group in members if group not in merged_away), members[0])
        names.update({group: name for group in members if group != name})
    return names


def curate(table: ImageTable, curation: Curation) -> ImageTable:
    """The table without the images that are left out, its groups merged: to look at, not to split.

    A split of it would deal all groups anew. Give the curation to `data.splits.make_split` instead.

    Raises CurationError where the curation does not fit the table.
    """
    check_curation(table, curation)
    return replace(table, frame=curation.apply(table.frame).reset_index(drop=True))


def check_curation(table: ImageTable, curation: Curation) -> None:
    """Raise CurationError where a curation names what is not in the table, or leaves no image."""
    if not curation:
        return
    images, groups = table.frame["image_id"], table.frame["group"]
    _check_known("image", list(curation.excluded), set(images), table.name)
    _check_known("group", sorted({*curation.merged, *curation.merged.values()}), set(groups), table.name)
    if among(images, curation.excluded).all():
        raise CurationError(f"Expected images of table {table.name!r} to be left, but all are to be left out.")


def read_curation(
    table: ImageTable, exclude: str | Path | None = None, merge_groups: str | Path | None = None
) -> Curation:
    """The curation in two files, each of which may be absent (None) or have no rows.

    exclude: a CSV with the column image_id and maybe reason.
    merge_groups: a CSV with the columns group and into, and maybe others.

    Raises CurationError where a column is missing, a value is empty, or an image or group is not in the table: one
    error, which names the rows. TableError where a file is no CSV, DatasetNotFoundError where it can't be read.
    """
    excluded: dict[str, str] = {}
    if exclude is not None:
        frame, lines = _read(Path(exclude), ("image_id",))
        _check_known("image", list(frame["image_id"]), set(table.frame["image_id"]), table.name, exclude, lines)
        reasons = frame["reason"] if "reason" in frame else [""] * len(frame)
        excluded = dict(zip(frame["image_id"][::-1], reasons[::-1], strict=True))  # the first of repeated ones stays
    merged: dict[str, str] = {}
    if merge_groups is not None:
        frame, lines = _read(Path(merge_groups), ("group", "into"))
        known = set(table.frame["group"])
        both = pd.concat([frame["group"], frame["into"]])
        _check_known("group", list(both), known, table.name, merge_groups, lines * 2)
        merged = merge(zip(frame["group"], frame["into"], strict=True))
    curation = Curation(dict(sorted(excluded.items())), merged)
    check_curation(table, curation)
    return curation


def _read(path: Path, columns: Sequence[str]) -> tuple[pd.DataFrame, list[int]]:
    frame, lines = read_csv(path, empty=True)
    missing = [column for column in columns if column not in frame]
    if missing:
        raise CurationError(
            f"{path}: expected the columns {', '.join(columns)}, but {', '.join(missing)} is missing; "
            f"found: {', '.join(frame.columns)}."
        )
    blank = (frame[list(columns)] == "").any(axis=1)
    if blank.any():
        rows = [f"line {line}" for line, empty in zip(lines, blank, strict=True) if empty]
        raise CurationError(
            f"{path}: expected a value in {' and '.join(columns)}, but one is empty in {len(rows)} row(s): "
            f"{some_of(rows)}."
        )
    return frame, lines


def _check_known(
    kind: str,
    names: Sequence[str],
    known: Collection[str],
    table: str,
    path: str | Path | None = None,
    lines: Sequence[int] | None = None,
) -> None:
    unknown = [number for number, name in enumerate(names) if name not in known]
    if not unknown:
        return
    rows = [f"{names[n]!r}" + (f" (line {lines[n]})" if lines else "") for n in unknown]
    near = nearest(names[unknown[0]], known)
    raise CurationError(
        f"{f'{path}: ' if path else ''}expected {kind}s of table {table!r}, but {len(rows)} are not in it: "
        f"{some_of(rows)}.{f' Did you mean {near!r}?' if near else ''} Correct these rows or take them out."
    )
