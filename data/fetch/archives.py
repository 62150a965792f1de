"""Images of HAM10000 out of zip archives, and nothing else.

An image is wanted when its file is named after an image_id of the metadata. Where it goes follows from that id and the
part of the data set, never from the path in the archive, so no archive can write outside the folder. An archive that
was only downloaded to be unpacked is cut off from its end as its images come out: at no time do both need their full
size, and what is left is a whole archive at each moment, so that a killed command goes on with it.
"""

import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath

from hamcache.data.errors import ArchiveError
from hamcache.data.fetch.disk_space import require_space
from hamcache.data.files import replacing, sync_disk
from hamcache.data.ham10000 import METADATA_NAMES

BATCH = 256_000_000  # bytes of images between two cuts
MOST_BYTES = 100_000_000  # of one file: the largest photograph of HAM10000 has less than 1 MB
MOST_RATIO = 200  # of a file's size to its size in the archive
_CHUNK = 1 << 20
_Item = tuple[zipfile.ZipInfo, Path]  # an entry, and the file it goes to
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class ImageArchive:
    """A zip archive on disk."""

    def __init__(self, path: Path):
        """Read the directory of the archive.

        Raises:
            ArchiveError: the file is no zip archive, or not a whole one.
        """
        self.path = Path(path)
        try:
            with zipfile.ZipFile(self.path) as archive:
                self._directory_at = archive.start_dir
                entries = archive.infolist()
        except _BROKEN as error:
            raise ArchiveError(
                f"{self.path}: expected a whole zip archive, but {error}. Was its download broken off? Fetch it again."
            ) from None
        self._entries = [(name, entry) for entry in entries if (name := _safe_path(entry)) is not None]

    def metadata(self) -> bytes | None:
        """The metadata file's content; None where the archive has none.

        Raises:
            ArchiveError: it is damaged.
        """
        found = [(len(name.parts), name, entry) for name, entry in self._entries if name.name in METADATA_NAMES]
        if not found:
            return None
        *_, entry = min(found, key=lambda candidate: candidate[:2])
        with zipfile.ZipFile(self.path) as archive:
            return b"".join(self._read(archive, entry))

    def archives(self) -> list[str]:
        """The names of zip archives inside this one."""
        return sorted(str(name) for name, _ in self._entries if name.suffix.lower() == ".zip")

    def unpack(
        self,
        image_ids: Collection[str],
        folder: Path,
        consume: bool = False,
        batch: int = BATCH,
        advance: Callable[[int, int | None], None] = lambda done, total: None,
    ) -> int:
        """Write the images of `image_ids` below `folder`, each whole or not at all; return the number written.

        An image that is there with the size and checksum that the archive gives is kept. With `consume` the archive is
        cut off as images come out, and removed after the last one.

        Raises:
            ArchiveError: an image is damaged, or not what an image of this data set could be.
            DownloadError: the disk has no room.
        """
        part = _part_of(self.path.stem)
        wanted = [(e, folder / _part_folder(e, part) / f"{i}.jpg") for i, e in self._images(image_ids).items()]
        wanted.sort(key=lambda item: item[0].header_offset)
        to_come = sum(entry.file_size for entry, target in wanted if not _has_size(target, entry.file_size))
        require_space(folder, min(to_come, batch) if consume else to_come, f"unpacking {self.path.name}")

        done = written = 0
        advance(0, len(wanted))
        for items in reversed(list(_batches(wanted, batch))) if consume else [wanted]:
            with zipfile.ZipFile(self.path) as archive:
                for entry, target in items:
                    written += self._unpack_one(archive, entry, target)
                    done += 1
                    advance(done, None)
            if consume:
                self._cut(items[0][0].header_offset)
        if consume:
            self.path.unlink()
        return written

    def _images(self, image_ids: Collection[str]) -> dict[str, zipfile.ZipInfo]:
        """The entry of each image: of several with one name, that in a folder named as the authors named it."""
        found: dict[str, tuple[tuple[bool, int], zipfile.ZipInfo]] = {}
        for name, entry in self._entries:
            if name.suffix.lower() in (".jpg", ".jpeg") and name.stem in image_ids:
                rank = (not name.parent.name.startswith("HAM10000_"), entry.header_offset)
                if name.stem not in found or rank < found[name.stem][0]:
                    found[name.stem] = (rank, entry)
        return {image_id: entry for image_id, (_, entry) in found.items()}

    def _unpack_one(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> bool:
        if _has_size(target, entry.file_size) and _checksum(target) == entry.CRC:
            return False
        with replacing(target, durable=False) as partial, partial.open("wb") as file:
            for chunk in self._read(archive, entry):
                file.write(chunk)
        return True

    def _read(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
        """The bytes of an entry, their checksum verified; never more than the archive says it has."""
        if entry.file_size > MOST_BYTES or entry.file_size > MOST_RATIO * max(entry.compress_size, 1_000):
            raise ArchiveError(
                f"{self.path}: {entry.filename} would unpack to {entry.file_size:,} bytes, far more than a file of "
                "HAM10000 has. Get the archive from where the data set is published."
            )
        try:
            with archive.open(entry) as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except _BROKEN as error:
            raise ArchiveError(
                f"{self.path}: {entry.filename} is damaged ({error}). Fetch the archive again."
            ) from None

    def _cut(self, at: int) -> None:
        """Cut the archive off before byte `at`; it stays whole at each moment, with the entries before `at` only.

        `zipfile` writes the shorter directory at `at` and then truncates the file. Until then the old directory at the
        end of the file is in force, so the new one must not reach it: else nothing is cut.
        """
        directory = self.path.stat().st_size - self._directory_at
        sync_disk()  # what came out must be on the disk before it goes from the archive
        if at + directory + 1_000 > self._directory_at:
            return
        with zipfile.ZipFile(self.path, "a") as archive:
            archive.filelist = [entry for entry in archive.filelist if entry.header_offset < at]
            archive.NameToInfo = {entry.filename: entry for entry in archive.filelist}
            archive.start_dir = self._directory_at = at
            archive._didModify = True  # type: ignore[attr-defined]


def _safe_path(entry: zipfile.ZipInfo) -> PurePosixPath | None:
    """The path of a plain file in an archive; None for anything that could be a trick or is rubbish."""
    name = PurePosixPath(entry.filename.replace("\\", "/"))
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if entry.is_dir() or kind not in (0, stat.S_IFREG) or entry.flag_bits & 1:  # folders; links, devices; encrypted
        return None
    if name.is_absolute() or ".." in name.parts or ":" in entry.filename or "__MACOSX" in name.parts:
        return None
    return None if name.name.startswith(".") else name


def _part_folder(entry: zipfile.ZipInfo, part: str) -> str:
    """The folder of an image's part: by the folder it is in, else by the archive's own name."""
    number = _part_of(PurePosixPath(entry.filename.replace("\\", "/")).parent.name) or part
    return f"HAM10000_images_part_{number}" if number else "HAM10000_images"


def _part_of(name: str) -> str:
    found = re.search(r"part[ _-]?([12])", name, re.IGNORECASE)
    return found[1] if found else ""


def _batches(items: list[_Item], size: int) -> Iterator[list[_Item]]:
    """Neighbouring entries together, so many that they have `size` bytes."""
    batch: list[_Item] = []
    for item in items:
        batch.append(item)
        if sum(entry.file_size for entry, _ in batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _checksum(path: Path) -> int:
    """CRC-32, as zip archives use it."""
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
