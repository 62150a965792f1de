"""Small jobs on files: find images, read a CSV strictly, write files so that they are whole or absent."""

import csv
import io
import json
import os
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.compute
import pyarrow.csv

from hamcache.data.documents import read_file
from hamcache.data.errors import (
    DataError,
    DatasetNotFoundError,
    DocumentError,
    NotWrittenError,
    TableError,
    some_of,
)
from hamcache.data.image_files import IMAGE_SUFFIXES
from hamcache.data.room import lack_of_room, not_written

if TYPE_CHECKING:
    from PIL import Image

MOST_BYTES = 1 << 30
"""Size of a CSV: a hundred bytes for each of ten million images."""
MOST_COLUMNS = 10_000
_NOT_PLAIN = re.compile('["\x00-\x08\x0b-\x1f]')
_BLOCK = 1 << 24
"""Bytes that are parsed at a time; the longest line that is."""


def is_image_name(name: str) -> bool:
    """True where a file of this name is taken for an image: by its suffix, in any case; hidden files never are."""
    return not name.startswith(".") and name[name.rfind(".") :].lower() in IMAGE_SUFFIXES


def find_images(folder: Path, depth: int | None = None) -> list[str]:
    """Paths of the image files below `folder`, relative to it, sorted by folder and then by name.

    `depth` limits how many levels of folders are entered (None: all). Hidden folders and `__MACOSX` are skipped.
    Raises TableError where a file's name is not valid UTF-8.
    """
    found: list[str] = []
    for root, folders, names in os.walk(folder):
        relative = os.path.relpath(root, folder)
        level = 0 if relative == "." else relative.count(os.sep) + 1
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__MACOSX")
        if depth is not None and level >= depth:
            folders.clear()
        images = sorted(name for name in names if is_image_name(name))
        found += images if level == 0 else [f"{relative}{os.sep}{name}" for name in images]
    undecodable = [path for path in found if not _is_utf8(path)]
    if undecodable:
        shown = some_of([ascii(path) for path in undecodable])
        raise TableError(f"{folder}: expected file names in UTF-8, but these are not: {shown}. Rename them.")
    return found


def read_csv(path: Path, skip: int = 0, *, empty: bool = False) -> tuple[pd.DataFrame, list[int]]:
    """Read a CSV as text: all columns as str, an empty field as "", and the line number of each row.

    The separator is the comma, or the semicolon or tab where the header has more of those. Blank rows are left out,
    and so are the first `skip` lines. Nothing else is dropped or guessed: raises TableError where the file is empty,
    has only a header (unless it may be `empty`), is not UTF-8, repeats a column name, has rows of another length than
    the header, or a quote that never closes.
    """
    text = "".join(_read_utf8(path).splitlines(keepends=True)[skip:]) if skip else _read_utf8(path)
    header_line = next((line for line in text.splitlines() if line.strip()), "")
    if not header_line:
        raise TableError(f"{path}: expected a CSV with a header and one row per image, but the file is empty.")
    separator = max(",;\t", key=header_line.count)
    if (plain := _plain_csv(text, separator)) is not None:
        return plain
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    records: list[list[str]] = []
    lines: list[int] = []
    line = 1
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                records.append([field.strip() for field in fields])
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise TableError(f"{path}: expected a CSV, but from line {line} on it cannot be read: {error}.") from error

    if not records:
        raise TableError(f"{path}: expected a CSV with a header and one row per image, but there are no values in it.")
    header, rows, lines = records[0], records[1:], lines[1:]
    if len(header) > MOST_COLUMNS:
        raise TableError(f"{path}: expected at most {MOST_COLUMNS:,} columns, but there are {len(header):,}.")
    repeated = sorted(name for name, count in Counter(header).items() if count > 1)
    if repeated:
        raise TableError(f"{path}: expected column names that differ, but these are repeated: {some_of(repeated)}.")
    if not rows and not empty:
        raise TableError(f"{path}: expected one row per image, but there is only a header: {', '.join(header)}.")
    ragged = [f"line {n}" for n, row in zip(lines, rows, strict=True) if len(row) != len(header)]
    if ragged:
        raise TableError(
            f"{path}: expected {len(header)} fields in each row, as in the header, but {len(ragged)} "
            f"row(s) have another number: {some_of(ragged)}."
        )
    return pd.DataFrame(rows, columns=header, dtype="str"), lines


def _plain_csv(text: str, separator: str) -> tuple[pd.DataFrame, list[int]] | None:
    """The columns and line numbers of a CSV without quotes, in a quarter of the time; None for any other text."""
    text = text.replace("\r\n", "\n")
    header = [field.strip() for field in text.partition("\n")[0].split(separator)]
    if _NOT_PLAIN.search(text) or not all(header) or len(set(header)) < len(header) or len(header) > MOST_COLUMNS:
        return None
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(text.encode()),
            read_options=pyarrow.csv.ReadOptions(column_names=header, skip_rows=1, block_size=_BLOCK),
            parse_options=pyarrow.csv.ParseOptions(delimiter=separator, quote_char=False, ignore_empty_lines=False),
            convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(header, pyarrow.large_string())),
        )
    except pyarrow.ArrowInvalid:  # no rows, or some of another length
        return None
    columns = [pyarrow.compute.utf8_trim_whitespace(column) for column in table.columns]
    frame = pd.DataFrame({name: pd.Series(column, dtype="str") for name, column in zip(header, columns, strict=True)})
    rows = np.flatnonzero((frame != "").any(axis=1))
    if not len(rows):
        return None
    return frame if len(rows) == len(frame) else frame.iloc[rows].reset_index(drop=True), (rows + 2).tolist()


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A hidden path to write to, which takes the place of `path` at the end, or is removed after an error.

    After a kill or a power failure `path` is the old file or the new one. Its folder is made. Without `durable` that
    holds for a kill only: one of many files that nobody reads before `sync_disk` was called for all of them. Raises
    NotWrittenError where the disk takes no more, whichever library says so, and where a device, a pipe or a folder is
    in its place, which renaming would destroy.
    """
    if path.exists() and not path.is_file():
        raise NotWrittenError(f"Expected to write a file, got {path}, which is something else. Name another place.")
    partial = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    try:
        make_folder(path.parent)
        yield partial
        if durable:
            flush(partial)
        partial.replace(path)
        if durable:
            flush(path.parent)
    except Exception as error:
        if isinstance(error, NotWrittenError) or (reason := lack_of_room(error)) is None:
            raise
        raise not_written(path, reason) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless they are there, and wait until their names have reached the disk."""
    absent = [path for path in (folder, *folder.parents) if not path.is_dir()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in absent:
        flush(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file at once; see `replacing`."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Replace a file by UTF-8 text at once."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Replace a JSON file at once. Raises ValueError where the content holds NaN or an infinite number."""
    write_text(path, json_text(content))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Replace a CSV at once; the table's index is left out."""
    write_text(path, csv_text(table))


def save_picture(image: "Image.Image", path: Path) -> None:
    """Replace a picture at once, in the format that its name ends in. Raises DataError where that is none."""
    from PIL import Image

    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise DataError(f"Expected the name of a picture, such as {path.stem}.png, got {path.name}.")
    content = io.BytesIO()
    image.save(content, format=kind)
    write_bytes(path, content.getvalue())


def json_text(content: Any) -> str:
    """The text of a JSON file, indented. Raises ValueError where the content holds NaN or an infinite number."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def csv_text(table: pd.DataFrame) -> str:
    """The text of a CSV, without the table's index; lines end the same on every system."""
    return str(table.to_csv(index=False, lineterminator="\n"))


def flush_all(folder: Path) -> None:
    """Wait until all files in a folder, and its names, have reached the disk."""
    for path in (*folder.rglob("*"), folder):
        flush(path)


def sync_disk() -> None:
    """Wait until everything that was written has reached the disk."""
    if hasattr(os, "sync"):
        os.sync()


def flush(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, have reached the disk."""
    if path.is_dir() and os.name == "nt":  # where a folder cannot be opened
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_utf8(path: Path) -> str:
    try:
        content = read_file(path, MOST_BYTES)
    except OSError as error:
        raise DatasetNotFoundError(f"{path}: expected a file that can be read, but {error.strerror}.") from error
    except DocumentError as error:
        raise TableError(f"{path}: {error}.") from None
    if (nul := content.find(b"\0")) >= 0 and content[:2] not in (BOM_UTF16_LE, BOM_UTF16_BE):
        line = content.count(b"\n", 0, nul) + 1
        raise TableError(f"{path}: expected text, but line {line} holds a NUL. Save the file as 'CSV UTF-8'.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TableError(
            f"{path}: expected UTF-8 text, but line {line} is not. Save the file as 'CSV UTF-8'."
        ) from error


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
