"""Images of a run's data set: served small, by image id, and only those that are in its table."""

import io
import secrets
from functools import lru_cache
from pathlib import Path

from PIL import Image

from hamcache.data.dataset import DatasetWords
from hamcache.data.errors import DataError
from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import ServingError
from hamcache.pipeline.runs.records import Run

SIDES = {"small": 160, "large": 560}
"""Pixels of the longer side."""
TRIES = 50
"""Validation images that are looked at for one whose file is here."""


class NoImageError(ServingError):
    """An image that cannot be shown: not in the run's table, or not on this machine."""


class Gallery:
    """The images of data sets, as far as they are on this machine.

    Args:
        workspace: Where data sets that are named by a word lie.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._tables = lru_cache(maxsize=4)(self._read)
        self._small = lru_cache(maxsize=1024)(_thumbnail)

    def path(self, run: Run, image_id: str) -> Path:
        """The file of an image of the run's table.

        Raises:
            NoImageError: The table has no such image, or is not here as the run knew it, or the file is not here.
        """
        images = self._images(run)
        if image_id not in images:
            raise NoImageError(f"The data set of run {run.id} has no image {image_id!r}.")
        path = Path(images[image_id][0])
        if not path.is_file():
            raise NoImageError(f"The file of image {image_id!r} is not on this machine.")
        return path

    def label(self, run: Run, image_id: str) -> str:
        """What an image of the run's table is labelled as."""
        return self._images(run)[image_id][1]

    def thumbnail(self, run: Run, image_id: str, size: str = "small") -> bytes:
        """An image as a JPEG of a size of `SIDES`.

        Raises:
            NoImageError: See `path`.
            BadImageError: The file can't be decoded.
        """
        path = self.path(run, image_id)
        return self._small(path, path.stat().st_mtime_ns, SIDES[size])

    def sample(self, run: Run) -> str:
        """The id of a random validation image whose file is here.

        Raises:
            NoImageError: There is none.
        """
        images = self._images(run)
        ids = list(run.part("validation")["image_id"])
        for image_id in secrets.SystemRandom().sample(ids, min(TRIES, len(ids))):
            if image_id in images and Path(images[image_id][0]).is_file():
                return image_id
        raise NoImageError("The validation images of this run are not on this machine.")

    def absence(self, run: Run) -> str | None:
        """Why no image of a run's data set can be shown; None where they can."""
        try:
            self._images(run)
        except NoImageError as error:
            return str(error)
        return None

    def _images(self, run: Run) -> dict[str, tuple[str, str]]:
        """Path and label of each image of the run's table."""
        words = run.config.dataset_words
        try:
            fingerprint, images = self._tables(words)
        except (DataError, OSError):
            raise NoImageError(f"The data set {words.dataset} of this run is not on this machine.") from None
        if fingerprint != run.provenance.get("table"):
            raise NoImageError(
                f"The data set {words.dataset} is another one than this run's: its images are not shown."
            )
        return images

    def _read(self, words: DatasetWords) -> tuple[str, dict[str, tuple[str, str]]]:
        if words.must_be_drawn(self._workspace):
            raise FileNotFoundError(words.dataset)
        table = words.table(self._workspace)
        rows = zip(table.frame["image_id"], table.frame["path"], table.frame["label"], strict=True)
        return table.fingerprint, {image_id: (path, label) for image_id, path, label in rows}


def _thumbnail(path: Path, changed: int, side: int) -> bytes:
    from hamcache.extract.decode import decode_image  # imports torch: only when an image is asked for

    image = Image.fromarray(decode_image(path.read_bytes()).permute(1, 2, 0).numpy())
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=88)
    return content.getvalue()
