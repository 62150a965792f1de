"""A folder in which HAM10000 is put together, from whatever archives and files bring it."""

import zipfile
from pathlib import Path

from hamcache.data import ham10000
from hamcache.data.errors import ArchiveError, BadImageError, DownloadError, TableError, some_of
from hamcache.data.fetch.archives import ImageArchive
from hamcache.data.fetch.reporting import Report
from hamcache.data.files import find_images, flush, sync_disk, write_bytes
from hamcache.data.image_files import image_file, open_image
from hamcache.data.readers.csv_table import read_csv_table
from hamcache.data.table import ImageTable

_TABLE_SUFFIXES = (".csv", ".tab", ".tsv", "")


class Assembly:
    """The data set in the making in `folder`; whatever is not for good lies in its folder `.download`, named `work`.

    The metadata moves into the folder last, when all images are there and can be opened: a folder with metadata is a
    whole data set.
    """

    def __init__(self, folder: Path, images: int, report: Report):
        self.folder = folder
        self.images = images
        self.report = report
        self.work = folder / ".download"
        self.work.mkdir(parents=True, exist_ok=True)
        self._metadata = self.work / "metadata.csv"

    def take_metadata(self, path: Path) -> bool:
        """Take the metadata that a CSV file or an archive has; return False where it has none.

        Raises:
            ArchiveError: the file is neither, or is damaged.
            DownloadError: the metadata has another number of images than expected.
            TableError: it is not the metadata of HAM10000.
        """
        if zipfile.is_zipfile(path):
            content = ImageArchive(path).metadata()
        elif path.suffix.lower() in _TABLE_SUFFIXES:
            content = path.read_bytes()
        else:
            raise ArchiveError(
                f"{path}: expected a zip archive or the metadata's CSV file, but it is neither. If it is a zip archive "
                "whose download was broken off, fetch it again."
            )
        if content is None:
            return False
        incoming = self.work / f"{path.name} metadata.csv"
        write_bytes(incoming, content)
        try:
            rows = len(self._table(incoming))
            if rows != self.images:
                raise DownloadError(
                    f"{path}: expected metadata of {self.images:,} images, but it has {rows:,}. For an excerpt of the "
                    f"data set say so with --images {rows}."
                )
            incoming.replace(self._metadata)
        except TableError as error:
            raise TableError(str(error).replace(str(incoming), str(path))) from None
        finally:
            incoming.unlink(missing_ok=True)
        return True

    def take_images(self, path: Path, consume: bool) -> int:
        """Unpack the images of an archive that the metadata lists; return the number written.

        With `consume` the archive disappears as its images come out.

        Raises:
            ArchiveError: the file is no archive, or is damaged.
            DownloadError: no metadata was taken before, or the disk has no room.
        """
        metadata = self._metadata if self._metadata.is_file() else ham10000.find_metadata(self.folder)
        if metadata is None:
            raise DownloadError(
                f"Expected the metadata first, but there is none in {path.name}. Give {ham10000.METADATA} as well, "
                "with --source FILE FILE ..."
            )
        archive = ImageArchive(path)
        image_ids = frozenset(self._table(metadata).frame["image_id"])
        with self.report.bar(f"unpacking {path.name}", None, "images") as advance:
            written = archive.unpack(image_ids, self.folder, consume=consume, advance=advance)
        if inner := archive.archives():
            self.report.say(f"{path.name} holds archives ({some_of(inner)}): to use them, unpack it and give them.")
        return written

    def finish(self, advice: str) -> ImageTable:
        """Check that every image is there and can be opened, put the metadata in its place, and tidy up.

        Archives that were to be kept stay in `work`. `advice` says what to do about images that are missing.

        Raises:
            DownloadError: images are missing or damaged.
        """
        source = self._metadata if self._metadata.is_file() else ham10000.find_metadata(self.folder)
        if source is None:
            raise DownloadError(f"Expected {ham10000.METADATA}, but there is no metadata in what was given. {advice}")
        table = self._table(source)
        self._refuse(table.missing_files(), "did not come", advice)
        damaged = self._unreadable(table)
        for image_id, path in damaged.items():
            Path(path).unlink()
            self.report.say(f"removed {image_id}, which cannot be opened")
        self._refuse(list(damaged), "cannot be opened and were removed", advice)

        if source == self._metadata:
            sync_disk()  # the table vouches for the images
            source.replace(self.folder / ham10000.METADATA)
            flush(self.folder)
        others = len(find_images(self.folder, depth=3)) - len(table)
        if others > 0:
            self.report.say(f"{others:,} other images in {self.folder} are not in the metadata, and not used.")
        for mark in self.work.glob("*.done"):
            mark.unlink()
        if kept := sorted(str(path) for path in self.work.iterdir()):
            self.report.say(f"kept: {', '.join(kept)}")
        else:
            self.work.rmdir()
        return ham10000.read_table(self.folder)

    def done(self, name: str) -> Path:
        """The file that marks that everything was taken from a downloaded file of this name."""
        return self.work / f"{name}.done"

    def _refuse(self, image_ids: list[str], what: str, advice: str) -> None:
        if image_ids:
            for mark in self.work.glob("*.done"):
                mark.unlink()  # what brought them must come again
            raise DownloadError(f"{len(image_ids):,} of {self.images:,} images {what}: {some_of(image_ids)}. {advice}")

    def _unreadable(self, table: ImageTable) -> dict[str, str]:
        """The paths of images whose headers cannot be read, by image_id."""
        damaged = {}
        with self.report.bar("checking", len(table), "images") as advance:
            for number, (image_id, path) in enumerate(zip(table.frame["image_id"], table.frame["path"], strict=True)):
                try:
                    with image_file(path) as file:
                        open_image(file)
                except BadImageError:
                    damaged[image_id] = path
                advance(number + 1, None)
        return damaged

    def _table(self, metadata: Path) -> ImageTable:
        return read_csv_table(
            metadata, name=ham10000.NAME, columns=ham10000.COLUMNS, classes=ham10000.CLASSES, images_in=self.folder
        )
