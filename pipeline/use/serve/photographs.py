"""Images of a run's data set: served small, by image id, and only those that are in its table."""

import secrets
from functools import lru_cache
from pathlib import Path
from typing import Any

from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import ServingError
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.show.web.photographs import Photographs, thumbnail

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
        self._photographs = Photographs(workspace)
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
        """The label of an image of the run's table."""
        return self._images(run)[image_id][1]

    def metadata(self, run: Run, image_id: str) -> dict[str, Any]:
        """The values of an image of the run's table, of the columns that the run was trained on."""
        assert run.metadata is not None
        dataset = self._photographs.of(run)
        assert not isinstance(dataset, str)  # its image was found
        frame = dataset.table.frame
        row = frame.loc[frame["image_id"] == image_id].iloc[0]
        return {name: row[name] for name in run.metadata.names if name in frame}

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
        """The reason why no image of a run's data set can be shown; None where they can."""
        try:
            self._images(run)
        except NoImageError as error:
            return str(error)
        return None

    def _images(self, run: Run) -> dict[str, tuple[str, str]]:
        """Path and label of each image of the run's table."""
        dataset, name = self._photographs.of(run), run.config.dataset_words.dataset
        if isinstance(dataset, str):
            raise NoImageError(f"The data set {name} of this run is not on this machine.")
        if dataset.table.fingerprint != run.provenance.get("table"):
            raise NoImageError(f"The data set {name} is another one than this run's: its images are not shown.")
        return dataset.images


def _thumbnail(path: Path, changed: int, side: int) -> bytes:
    return thumbnail(path, side, "JPEG", 88)
