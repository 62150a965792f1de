"""Image tables that travel without their images, beside features that somebody else has extracted.

Such a data set is a folder with two files: `table.csv` (image_id, label, group, and the sha256 of the file that the
features were made from) and `imported.json` (name, classes, licence). Images that are put below the folder are found by
their image_id, and compared with what the features were made from.
"""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from hamcache.data.digests import MISSING
from hamcache.data.errors import TableError, some_of
from hamcache.data.files import write_text
from hamcache.data.readers.csv_table import read_csv_table
from hamcache.data.table import ImageTable

MARKER = "imported.json"
TABLE = "table.csv"
_HEADER = ["image_id", "label", "group", "sha256"]


@dataclass(frozen=True)
class Terms:
    """Conditions of use of a data set: its licence and whom to cite, each maybe empty."""

    licence: str = ""
    citation: str = ""


def is_imported(folder: Path) -> bool:
    """True where a folder is a data set that came without its images."""
    return (folder / MARKER).is_file()


def table_files(table: ImageTable, digests: Mapping[str, str], terms: Terms) -> dict[str, str]:
    """The two files that describe `table`, by name.

    digests: the sha256 of images' files; images that are not in it count as missing.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    for image_id, label, group in table.frame[_HEADER[:3]].itertuples(index=False):
        writer.writerow([image_id, label, group, digests.get(image_id, MISSING)])
    about = {"name": table.name, "classes": list(table.classes), "licence": terms.licence, "citation": terms.citation}
    return {TABLE: text.getvalue(), MARKER: json.dumps(about, indent=2, ensure_ascii=False) + "\n"}


def read_imported(folder: Path, name: str | None = None) -> ImageTable:
    """The image table of such a folder, with the digests that came with it.

    Raises TableError where a file is damaged.
    """
    folder = Path(folder).absolute()
    about = _about(folder)
    table = read_csv_table(
        folder / TABLE, name=name or about["name"], classes=tuple(about["classes"]), images_in=folder
    )
    if "sha256" not in table.frame:
        raise TableError(f"{folder / TABLE}: expected the columns {', '.join(_HEADER)}. Import the features again.")
    digests = dict(zip(table.frame["image_id"], table.frame["sha256"].astype(str), strict=True))
    return replace(table, frame=table.frame.drop(columns="sha256"), digests=digests)


def read_terms(folder: Path) -> Terms:
    """Licence and citation that came with such a folder."""
    about = _about(folder)
    return Terms(str(about.get("licence", "")), str(about.get("citation", "")))


def joined(ours: ImageTable, theirs: ImageTable) -> ImageTable:
    """The images of both tables.

    Raises TableError where they contradict each other: other classes, or an image with another label, group or file.
    """
    if ours.classes != theirs.classes:
        raise TableError(
            f"data set {ours.name!r} is here with the classes {', '.join(ours.classes)}, but the archive has "
            f"{', '.join(theirs.classes)}. Import into another workspace."
        )
    left, right = _rows(ours), _rows(theirs)
    differing = sorted(i for i in left.keys() & right.keys() if left[i] != right[i])
    if differing:
        raise TableError(
            f"data set {ours.name!r} is here, and {len(differing)} of its images have another label, group or file in "
            f"the archive ({some_of(differing)}). Nothing was changed. Import into another workspace."
        )
    new = theirs.frame[~theirs.frame["image_id"].isin(left.keys())]
    frame = pd.concat([ours.frame, new]).sort_values("image_id", ignore_index=True)
    return replace(ours, frame=frame, digests={**theirs.digests, **ours.digests})


def write_imported(folder: Path, table: ImageTable, terms: Terms) -> None:
    """Write the two files, the one that makes the folder a data set last; what is equal already is not touched."""
    for name, text in table_files(table, table.digests, terms).items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)


def _about(folder: Path) -> dict:
    try:
        about = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        if isinstance(about["name"], str) and all(isinstance(label, str) for label in about["classes"]):
            return about
        raise ValueError("name or classes are not text")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TableError(f"{folder / MARKER} can't be read ({error}). Import the features again.") from error


def _rows(table: ImageTable) -> dict[str, tuple[str, str, str]]:
    frame = table.frame
    return {
        image_id: (label, group, table.digests.get(image_id, MISSING))
        for image_id, label, group in zip(frame["image_id"], frame["label"], frame["group"], strict=True)
    }
