"""The images of runs' data sets, as far as they are on this machine."""

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from hamcache.data.dataset import DatasetWords
from hamcache.data.errors import DataError
from hamcache.data.table import ImageTable
from hamcache.data.workspace import Workspace
from hamcache.extract.decode import picture_file
from hamcache.pipeline.runs.records import Run

KEPT = 8
"""Tables in memory."""


@dataclass(frozen=True, eq=False)
class Photographed:
    """A data set that is here.

    Attributes:
        table: Its table as it is now.
        images: Image id -> path and label.
    """

    table: ImageTable
    images: dict[str, tuple[str, str]]


class Photographs:
    """Reads the tables of runs' data sets, each once.

    Args:
        workspace: Where data sets that are named by a word lie.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._tables = lru_cache(maxsize=KEPT)(self._read)

    def of(self, run: Run) -> Photographed | str:
        """The data set a run was made from, as it is now; where it is not here, a sentence that says so."""
        words = run.config.dataset_words
        if words.must_be_drawn(self.workspace):
            return "the synthetic data set is not drawn in this workspace"
        try:
            return self._tables(words)
        except (DataError, OSError) as error:
            return " ".join(str(error).split())

    def _read(self, words: DatasetWords) -> Photographed:
        table = words.table(self.workspace)
        rows = zip(table.frame["image_id"], table.frame["path"], table.frame["label"], strict=True)
        return Photographed(table, {image_id: (path, label) for image_id, path, label in rows})


def thumbnail(path: Path, side: int, kind: str, quality: int) -> bytes:
    """An image file, decoded as for extraction, as a small picture.

    Args:
        path: The file.
        side: Pixels of the longer side, at most.
        kind: `JPEG` or `WEBP`.
        quality: Of its compression, to 100.

    Raises:
        BadImageError: The file is not there, or can't be decoded.
    """
    image = picture_file(path)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, kind, quality=quality)
    return file.getvalue()
