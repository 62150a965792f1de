"""From what the user names (files, folders, patterns, opened images) to decoded images, each with its reason if not."""

import glob
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from hamcache.data.errors import BadImageError, DataError
from hamcache.data.files import find_images
from hamcache.data.image_files import refusal
from hamcache.extract.decode import decode_file, opened_image, require_format

_PATTERN = frozenset("*?[")


@dataclass(frozen=True)
class Source:
    """One image to predict.

    Attributes:
        name: Its name in the answer: the path as it was given or found.
        image_id: The id that random views are drawn by: a file's name without its suffix, as for a table's images.
        content: A file, an image that Pillow has opened, or the reason why there is neither.
    """

    name: str
    image_id: str
    content: Path | Image.Image | BadImageError

    def decode(self) -> torch.Tensor:
        """The image as uint8 `[3, height, width]`.

        Raises:
            BadImageError: It can't be read; says why.
        """
        if isinstance(self.content, BadImageError):
            raise self.content
        if isinstance(self.content, Image.Image):
            return opened_image(self.content)
        return decode_file(self.content)


def find_sources(images: Iterable[str | Path | Image.Image], ids: Sequence[str] | None = None) -> list[Source]:
    """One source an image, in the order given; folders and patterns become the images in them, sorted, each file once.

    Args:
        images: Paths of files and folders (searched to any depth), patterns such as `photos/*.jpg`, opened images.
        ids: Their image ids, if they are known; then every entry must be one image.
    """
    images = list(images)
    if ids is not None:
        return [_single(image, image_id) for image, image_id in zip(images, ids, strict=True)]
    sources: list[Source] = []
    files: set[Path] = set()
    for image in images:
        for source in _sources(image, len(sources)):
            if not isinstance(source.content, Path) or source.content not in files:
                sources.append(source)
            if isinstance(source.content, Path):
                files.add(source.content)
    return sources


def _sources(image: str | Path | Image.Image, number: int) -> Iterator[Source]:
    if isinstance(image, Image.Image):
        yield _opened(image, number)
        return
    path = _path(image)
    if _is(path.is_dir):
        yield from _in_folder(path)
    elif not _is(path.exists) and _PATTERN & set(str(image)):
        matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 (absolute ones too)
        if not matches:
            yield Source(str(image), str(image), BadImageError("no file fits this pattern"))
        for match in matches:
            yield from _in_folder(match) if match.is_dir() else [_file(match)]
    else:
        yield _file(path)


def _path(image: str | Path) -> Path:
    try:
        return Path(image).expanduser()
    except RuntimeError:  # ~nobody
        return Path(image)


def _is(question: Callable[[], bool]) -> bool:
    """The answer, no where the system refuses to give one (a name that is too long)."""
    try:
        return question()
    except OSError:
        return False


def _in_folder(folder: Path) -> Iterator[Source]:
    try:
        names = find_images(folder)
    except DataError as error:
        yield Source(str(folder), folder.name, BadImageError(str(error)))
        return
    if not names:
        yield Source(str(folder), folder.name, BadImageError("no image files in this folder"))
    for name in names:
        yield _file(folder / name)


def _single(image: str | Path | Image.Image, image_id: str) -> Source:
    if isinstance(image, Image.Image):
        return Source(image_id, image_id, image)
    return Source(str(image), image_id, Path(image))


def _file(path: Path) -> Source:
    return Source(str(path), path.stem, path)


def _opened(image: Image.Image, number: int) -> Source:
    """An opened image is called by its file, or by its place; its pixels decide its random views."""
    name = str(getattr(image, "filename", "")) or f"image {number + 1}"
    try:
        require_format(image)
        image_id = hashlib.sha256(image.tobytes()).hexdigest()[:16]
    except Exception as error:  # damaged pixels raise anything
        return Source(name, name, refusal(error))
    return Source(name, Path(name).stem if getattr(image, "filename", "") else image_id, image)
