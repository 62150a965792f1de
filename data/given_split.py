"""Splits that somebody else has made: read from a CSV, or from a column of the image table."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hamcache.data.curation import NOTHING, Curation, check_curation
from hamcache.data.errors import SplitError, SplitNotFoundError, some_of
from hamcache.data.files import read_csv
from hamcache.data.nearest import unknown_name
from hamcache.data.splits import Split, check_split, is_saved_split
from hamcache.data.stratify import deal_folds, hold_out
from hamcache.data.table import ImageTable

PART_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Words that published splits use, in lower case, and the part that each stands for."""
PART_COLUMN = "part"
"""Column of a table whose images came in folders of parts."""
_COLUMNS = (PART_COLUMN, "split", "partition", "subset", "set")


@dataclass(frozen=True, eq=False)
class GivenSplit:
    """The parts of images as they were given; images without a part are in none.

    source: where they come from, for messages.
    part_of: the part of each image that has one, by image_id.
    saved: the split that hamcache has made and saved; None for others.
    """

    source: str
    part_of: Mapping[str, str]
    saved: Split | None = None

    def without_part(self, table: ImageTable, curation: Curation = NOTHING) -> int:
        """The number of images of a table that have no part and were not left out by the curation."""
        return len(set(table.frame["image_id"]) - self.part_of.keys() - curation.excluded.keys())

    def splits(
        self,
        table: ImageTable,
        *,
        seed: int = 0,
        validation_fraction: float = 0.2,
        n_folds: int | None = None,
        curation: Curation = NOTHING,
    ) -> list[Split]:
        """The split as it was given, or one a fold.

        Without a validation part, it is drawn from train, class by class and in whole groups, with `seed`:
        `validation_fraction` of the images that have a part and are not in test. With `n_folds`, train and validation
        are together dealt to folds; test stays as given. Settings of the splits that decide nothing are 0.

        Raises LeakError where a group is in two parts, SplitError where the parts don't fit the table, or no image has
        a part; CurationError where the curation does not fit the table.
        """
        check_curation(table, curation)
        images = self._images(table, curation)
        about: dict[str, Any] = {"policy": "given", "seed": seed, "test_fraction": 0.0, "validation_fraction": 0.0}
        test = images["part"] == "test"
        if n_folds is not None:
            if test.all():
                raise SplitError(f"{self.source}: expected images to be dealt to folds, but all are in test.")
            fold_of = deal_folds(images[~test], n_folds, f"fold:{seed}")
            dealt = images["group"].map(fold_of)
            _check_folds(images[~test], dealt[~test], n_folds)
            return [
                Split(
                    images.assign(part=images["part"].where(test, _parts(dealt == number))),
                    fold=f"{number + 1}/{n_folds}",
                    **about,
                )
                for number in range(n_folds)
            ]
        if (images["part"] == "validation").any() or test.all():
            return [Split(images, **(about | {"seed": 0} if self.saved is None else self.saved.settings))]
        held_out = hold_out(images[~test], validation_fraction, f"validation:{seed}")
        drawn = images["part"].where(test, _parts(images["group"].isin(held_out)))
        return [Split(images.assign(part=drawn), **about | {"validation_fraction": validation_fraction})]

    def _images(self, table: ImageTable, curation: Curation) -> pd.DataFrame:
        """Columns image_id, group, label and part of the images that have a part."""
        unknown = sorted(self.part_of.keys() - set(table.frame["image_id"]))
        if unknown:
            raise SplitError(
                f"{self.source}: expected images of table {table.name!r}, but {len(unknown)} are not in it: "
                f"{some_of(unknown)}. Take their rows out, or name the data set that the split is of."
            )
        if self.saved is not None:
            self.saved.check_table(table, curation)
        images = curation.apply(table.frame[["image_id", "group", "label"]])
        images = images.assign(part=images["image_id"].map(dict(self.part_of))).dropna(subset="part")
        if images.empty:
            raise SplitError(f"{self.source}: expected a part for some image at least, but none has one.")
        images = images.astype({"part": "str"})
        check_split(images, self.source)
        return images


def given_split(table: ImageTable, file: str | Path | None = None, column: str | None = None) -> GivenSplit | None:
    """The parts that a file or a column gives to the images of a table; None where neither is named.

    Raises SplitError where both are named, or one of them gives no parts.
    """
    if file is not None and column is not None:
        raise SplitError(f"Expected a split from a file or from a column, but got both: {file} and {column!r}.")
    if file is not None:
        return _from_file(Path(file), table)
    return None if column is None else _from_column(column, table)


def _from_file(path: Path, table: ImageTable) -> GivenSplit:
    """A split that hamcache saved, or any CSV with an image_id and a part."""
    if not path.is_file():
        raise SplitNotFoundError(f"Expected the CSV of a split at {path}, but there is none.")
    if is_saved_split(path):
        split = Split.load(path)
        parts = dict(zip(split.frame["image_id"], split.frame["part"], strict=True))
        return GivenSplit(str(path), parts, split)
    frame, lines = read_csv(path)
    column = next((name for name in _COLUMNS if name in frame), None)
    if column is None or "image_id" not in frame:
        raise SplitError(
            f"{path}: expected the columns image_id and part, but found: {', '.join(map(str, frame.columns))}. "
            "Name them so, or save a split with `hamcache data split`."
        )
    repeated = frame["image_id"].duplicated(keep=False)
    if repeated.any():
        rows = [f"line {line}" for line, again in zip(lines, repeated, strict=True) if again]
        raise SplitError(f"{path}: expected each image once, but some are repeated: {some_of(rows)}.")
    return GivenSplit(str(path), _parts_in(frame, column, str(path)))


def _from_column(column: str, table: ImageTable) -> GivenSplit:
    if column not in table.frame:
        raise SplitError(f"data set {table.name!r}: {unknown_name('column', column, map(str, table.frame.columns))}")
    source = f"column {column!r} of data set {table.name!r}"
    return GivenSplit(source, _parts_in(table.frame, column, source))


def _parts_in(frame: pd.DataFrame, column: str, source: str) -> dict[str, str]:
    """The part of each image whose value in `column` is not empty."""
    values = frame[column].astype(object).where(frame[column].notna(), "").astype("str").str.strip()
    given = values != ""
    words = values[given].str.lower()
    unknown = sorted(set(words) - PART_WORDS.keys())
    if unknown:
        raise SplitError(
            f"{source}: {unknown_name('part', unknown[0], PART_WORDS)}; found in {int((words == unknown[0]).sum())} "
            "row(s). Leave it empty for images that take no part."
        )
    return dict(zip(frame["image_id"][given], words.map(PART_WORDS), strict=True))


def _parts(is_validation: pd.Series) -> pd.Series:
    return is_validation.map({True: "validation", False: "train"}).astype("str")


def _check_folds(images: pd.DataFrame, dealt: pd.Series, n_folds: int) -> None:
    """Raise SplitError where a fold has no image of a class that is outside test."""
    for label, folds in dealt.groupby(images["label"]):
        if folds.nunique() < n_folds:
            raise SplitError(
                f"Expected class {label!r} in each of {n_folds} folds, but it has images for {folds.nunique()}. "
                "Take fewer folds, or leave the class out."
            )
