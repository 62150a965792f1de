"""Metadata: columns of an image table as numbers that a model can learn from, and the columns that it must not see.

A column of numbers becomes two, its value (0 where it is absent) and whether it is there; a column of words becomes
one, the number of its word: 0 where it is absent, -1 where nobody knows the word. What is made of these (means, scales,
a column for each word) is learned from training images alone, by `heads.table_columns`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hamcache.configs.defaults import METADATA
from hamcache.data.errors import MetadataError, some_of
from hamcache.data.nearest import unknown_name
from hamcache.data.table import ImageTable

KNOWN = ("age", "age_approx", "sex", "gender", "localization", "anatom_site_general", "anatom_site_general_challenge")
"""Columns that are taken where none are named: those of HAM10000 and of the ISIC archive."""
MOST_WORDS = 200
"""Words of a column: one with more is a name or free text."""
ABSENT, UNKNOWN = 0, -1
"""Numbers of a word that is absent, and of one that nobody knows."""
NUMBER, WORD = "n", "w"
"""Kinds of columns."""
_NO_NUMBER = ("", "na", "n/a", "nan", "null", "none", "unknown", "?")
_IDENTITY, _ANSWER, _AFTERWARDS = (
    "it names the image, and a model would learn it by heart",
    "it is what the model is to find out",
    "it tells how or when the diagnosis was made, which nobody knows before it is",
)
REFUSED = {
    **dict.fromkeys(("image_id", "path", "group", "lesion_id", "patient_id", "isic_id", "file", "filename"), _IDENTITY),
    **dict.fromkeys(("label", "dx", "diagnosis", "diagnosis_1", "diagnosis_2", "diagnosis_3"), _ANSWER),
    **dict.fromkeys(("benign_malignant", "malignant", "melanoma", "target", "class"), _ANSWER),
    **dict.fromkeys(("dx_type", "diagnosis_confirm_type", "concomitant_biopsy"), _AFTERWARDS),
    **dict.fromkeys(("part", "split", "partition", "fold"), "it tells which part of the split an image is in"),
}
"""Columns that are never features, in lower case, and why."""


@dataclass(frozen=True)
class Column:
    """One column of an image table as a feature.

    name: its name in the table.
    words: what it may say, sorted; None for numbers.
    unseen: those of its words that no training image had, which are therefore worth nothing.
    """

    name: str
    words: tuple[str, ...] | None = None
    unseen: tuple[str, ...] = ()

    @property
    def known(self) -> list[str]:
        """Words that a training image had."""
        return [word for word in self.words or () if word not in self.unseen]

    def numbers(self, values: pd.Series | None, rows: int) -> np.ndarray:
        """The column as float32 `[rows, 1 or 2]`, see above; None as values are absent ones.

        Raises MetadataError where a column of numbers has something else.
        """
        if self.words is None:
            numbers = np.full(rows, np.nan) if values is None else self._parsed(values)
            there = np.isfinite(numbers)
            return np.stack([np.where(there, numbers, 0), there], axis=1).astype(np.float32)
        codes = {"": ABSENT, **{word: number for number, word in enumerate(self.words, start=1)}}
        texts = [""] * rows if values is None else texts_of(values)
        return np.array([codes.get(text, UNKNOWN) for text in texts], dtype=np.float32).reshape(rows, 1)

    def _parsed(self, values: pd.Series) -> np.ndarray:
        numbers = numbers_of(values)
        if numbers is None:
            wrong = [text for text in texts_of(values) if not _is_number(text)]
            raise MetadataError(
                f"Expected numbers in the column {self.name!r}, got {some_of(list(dict.fromkeys(wrong)))}. Leave it "
                "empty where it is not known."
            )
        return numbers


@dataclass(frozen=True)
class Metadata:
    """The columns that a model is given, in their order."""

    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return [column.name for column in self.columns]

    @property
    def kinds(self) -> str:
        """A letter a column: `n` for numbers, `w` for words."""
        return "".join(NUMBER if column.words is None else WORD for column in self.columns)

    @property
    def dim(self) -> int:
        """Numbers an image."""
        return sum(2 if kind == NUMBER else 1 for kind in self.kinds)

    def encoded(self, rows: pd.DataFrame) -> np.ndarray:
        """float32 `[len(rows), dim]`; a column that `rows` lacks is absent everywhere.

        Raises MetadataError where a column of numbers has something else.
        """
        given = [column.numbers(rows.get(column.name), len(rows)) for column in self.columns]
        return np.concatenate(given, axis=1)

    def trained_on(self, rows: pd.DataFrame) -> "Metadata":
        """The same columns, knowing which of their words these training images lack."""
        seen = {column.name: set(texts_of(rows[column.name])) for column in self.columns if column.words is not None}
        return Metadata(
            tuple(
                Column(c.name, c.words, tuple(word for word in c.words or () if word not in seen.get(c.name, ())))
                for c in self.columns
            )
        )

    def notes(self, rows: pd.DataFrame) -> list[str]:
        """Sentences on what these rows lack, or say in words that no training image had."""
        absent = [column.name for column in self.columns if column.name not in rows]
        notes = [f"Not given, so taken as absent: {', '.join(absent)}."] if absent else []
        for column in self.columns:
            if column.name in absent:
                continue
            if column.words is None:
                empty, strange = int(np.isnan(column._parsed(rows[column.name])).sum()), pd.Series(dtype="str")
            else:
                texts = pd.Series(texts_of(rows[column.name]), dtype="str")
                empty = int((texts == "").sum())
                strange = texts[(texts != "") & ~texts.isin(column.known)]
            if empty:
                notes.append(f"{column.name} is absent of {empty:,} of {len(rows):,} images.")
            if len(strange):
                words = some_of(list(dict.fromkeys(strange)))
                notes.append(
                    f"{column.name} says what no training image did ({words}) of {len(strange):,} of {len(rows):,} "
                    f"images, which counts as nothing. Known: {', '.join(column.known) or 'none'}."
                )
        return notes

    def digest(self, image_ids: Iterable[str], rows: pd.DataFrame) -> str:
        """sha256 over the ids and numbers of some images."""
        content = [list(image_ids), self.encoded(rows).tolist()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def to_list(self) -> list[dict[str, Any]]:
        """The columns as plain values, for JSON."""
        return [
            {"name": c.name, **({} if c.words is None else {"words": list(c.words), "unseen": list(c.unseen)})}
            for c in self.columns
        ]

    @classmethod
    def from_list(cls, columns: Iterable[Mapping[str, Any]]) -> "Metadata":
        """The columns that `to_list` made plain."""
        return cls(
            tuple(
                Column(str(c["name"]), tuple(c["words"]) if "words" in c else None, tuple(c.get("unseen", ())))
                for c in columns
            )
        )


def metadata_of(table: ImageTable, names: Sequence[str] | None = None, refused: Mapping[str, str] = {}) -> Metadata:
    """The metadata of a table: the columns of these names, or those of `KNOWN` that it has.

    refused: further columns that are never features, and why.

    Raises MetadataError for a column that is not there, says nothing, names the image, or gives the label away.
    """
    frame = table.frame
    if names is None:
        names = [name for name in KNOWN if name in frame and any(texts_of(frame[name]))]
        if not names:
            raise MetadataError(
                f"Expected data set {table.name!r} to have one of the columns {', '.join(KNOWN)} for the block "
                f"{METADATA!r}, got {', '.join(_further(frame)) or 'no further columns'}. Name columns with --set "
                f"'features.metadata.columns=[A, B]'."
            )
    return Metadata(tuple(_column(table, name, {**REFUSED, **refused}) for name in names))


def texts_of(values: pd.Series) -> list[str]:
    """The values as words, without outer blanks; "" where there is none."""
    plain = values.astype(object).where(values.notna(), "")
    return [str(value).strip() for value in plain.tolist()]


def numbers_of(values: pd.Series) -> np.ndarray | None:
    """The values as float64, NaN where there is none; None where one is no number that a float32 holds."""
    if values.dtype.kind == "b":
        return None
    texts = texts_of(values)
    if not all(map(_is_number, texts)):
        return None
    return np.array([np.nan if text.lower() in _NO_NUMBER else float(text) for text in texts])


def _is_number(text: str) -> bool:
    """True for a number, and for a word that stands for none."""
    if text.lower() in _NO_NUMBER:
        return True
    try:
        return abs(float(text)) < float(np.finfo(np.float32).max)  # not for "inf"
    except ValueError:
        return False


def _further(frame: pd.DataFrame) -> list[str]:
    """Names of the columns that could be features, as far as names tell."""
    return [str(name) for name in frame.columns if str(name).lower() not in REFUSED]


def _column(table: ImageTable, name: str, refused: Mapping[str, str]) -> Column:
    frame, reasons = table.frame, {column.lower(): reason for column, reason in refused.items()}
    if (reason := reasons.get(name.lower().removesuffix("_in_file"))) is not None:
        raise MetadataError(
            f"Expected metadata that is known before the diagnosis, got the column {name!r}: {reason}. Leave it out of "
            "features.metadata.columns (where its name misleads, rename the column)."
        )
    if name not in frame:
        raise MetadataError(
            f"features.metadata.columns: {unknown_name('column', name, _further(frame))}; of data set {table.name!r}."
        )
    texts = pd.Series(texts_of(frame[name]), index=frame.index)
    there = frame[texts != ""]
    words = sorted(set(texts) - {""})
    is_number = bool(words) and numbers_of(frame[name]) is not None
    if not words or (is_number and np.isnan(numbers_of(frame[name])).all()):  # type: ignore[arg-type]
        raise MetadataError(f"Expected values in the column {name!r} of {table.name!r}, got none. Leave it out.")
    labels = there.groupby(texts[there.index])["label"].nunique()
    if 1 < len(words) <= there["group"].nunique() / 2 and (labels == 1).all() and there["label"].nunique() > 1:
        raise MetadataError(
            f"Expected metadata that does not give the label away, got the column {name!r}: each of its {len(words)} "
            f"values is of images of one class only ({len(there):,} images). Leave it out of features.metadata.columns."
        )
    if is_number:
        return Column(name)
    if len(words) > MOST_WORDS:
        raise MetadataError(
            f"Expected numbers or at most {MOST_WORDS} different words in the column {name!r}, got {len(words):,} "
            f"({some_of(words, 3)}). It names the images, or is free text: leave it out of features.metadata.columns."
        )
    return Column(name, tuple(words))
