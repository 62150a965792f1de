"""HAM10000 from Kaggle, from the Harvard Dataverse, or out of archives that are on disk."""

import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from hamcache.data import ham10000
from hamcache.data.errors import ArchiveError, DataError, DownloadError
from hamcache.data.fetch.assembly import Assembly
from hamcache.data.fetch.disk_space import require_space
from hamcache.data.fetch.http import Http, RemoteFile
from hamcache.data.fetch.reporting import Report, Silence
from hamcache.data.fetch.retry import Patience
from hamcache.data.nearest import unknown_name
from hamcache.data.table import ImageTable

IMAGES = 10_015
SOURCES = ("kaggle", "dataverse")


class Source(Protocol):
    """A place to fetch from."""

    def files(self, http: Http) -> list[RemoteFile]:
        """The files to fetch, in this order; the metadata is in the first of them."""


def download_ham10000(
    folder: Path,
    source: str | Source | Sequence[Path] = "kaggle",
    *,
    images: int = IMAGES,
    keep_archives: bool = False,
    patience: Patience | None = None,
    report: Report | None = None,
) -> ImageTable:
    """Download HAM10000 into a folder, unless it is there, and return its image table.

    A call that was killed is gone on with by the same call. What is downloaded disappears while it is unpacked, so the
    disk needs room for the larger of the archive and the images, not for both.

    source: "kaggle" (5.2 GB), "dataverse" (2.8 GB), another place to fetch from, or files on disk, which are only read:
        the archive from Kaggle, or archives of images and the metadata's CSV file.
    images: how many images the data set must have.
    keep_archives: leave what was downloaded in `folder`/.download.

    Raises:
        CredentialsError: Kaggle wants credentials; says the steps to take.
        DownloadError: something did not come, or what came is not whole; says what to do.
        TableError: the metadata is not that of HAM10000.
    """
    report = report or Silence()
    folder = Path(folder).absolute()
    table = _whole_table(folder, images)
    if table is not None:
        report.say(f"Nothing to do: all {images:,} images are in {folder}.")
        return table
    place = named_source(source) if isinstance(source, str) else source
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / ".download.lock"
    try:
        with FileLock(lock, timeout=0):
            assembly = Assembly(folder, images, report)
            if isinstance(place, Sequence):
                table = _from_files(place, assembly)
            else:
                table = _from_remote(place, assembly, Http(patience, report), keep_archives)
    except Timeout:
        raise DownloadError(
            f"Expected no other download into {folder}, but one is running. Wait until it is done."
        ) from None
    except BaseException:
        lock.unlink(missing_ok=True)
        for empty in (folder / ".download", folder)[: 1 + is_new]:
            with suppress(OSError):  # not empty: the same call goes on with what is there
                empty.rmdir()
        raise
    lock.unlink(missing_ok=True)
    return table


def named_source(name: str) -> Source:
    """The place to fetch from that has this name, one of `SOURCES`.

    Raises:
        DownloadError: there is none of this name; offers the nearest.
    """
    if name == "kaggle":
        from hamcache.data.fetch.kaggle import Kaggle

        return Kaggle()
    if name == "dataverse":
        from hamcache.data.fetch.dataverse import Dataverse

        return Dataverse()
    raise DownloadError(unknown_name("source", name, SOURCES))


def is_complete(folder: Path, images: int = IMAGES) -> bool:
    """True where a folder holds all of HAM10000: the metadata and a file for each of its images."""
    return _whole_table(folder, images) is not None


def _whole_table(folder: Path, images: int) -> ImageTable | None:
    try:
        table = ham10000.read_table(folder)
    except DataError:
        return None
    return table if len(table) == images and not table.missing_files() else None


def _from_remote(source: Source, assembly: Assembly, http: Http, keep: bool) -> ImageTable:
    """Fetch and unpack one file after the other; files that an earlier call took are not fetched again."""
    to_come = [file for file in source.files(http) if not assembly.done(file.name).exists()]
    rest = sum(_rest(file, assembly.work / file.name) for file in to_come)
    require_space(assembly.folder, rest, "the download")
    for file in to_come:
        path = http.fetch(file, assembly.work / file.name)
        is_archive = zipfile.is_zipfile(path)
        try:
            assembly.take_metadata(path)
            if is_archive:
                assembly.take_images(path, consume=not keep)
        except DataError as error:
            if isinstance(error, ArchiveError) or not is_archive:
                path.unlink(missing_ok=True)  # the next call must not take it for good
            raise
        assembly.done(file.name).touch()
        if not keep:
            path.unlink(missing_ok=True)
    return assembly.finish("Run the command again: it fetches them anew.")


def _rest(file: RemoteFile, path: Path) -> int:
    """Number of bytes of a file that are still to come, as far as that is known."""
    part = path.with_name(f"{path.name}.part")
    come = part.stat().st_size if part.is_file() else 0
    return 0 if path.is_file() or file.size is None else file.size - come


def _from_files(files: Sequence[Path], assembly: Assembly) -> ImageTable:
    for path in files:
        if path.is_dir():
            raise DownloadError(f"Expected a file, but {path} is a folder. Use it as it is, with --dataset {path}.")
        if not path.is_file():
            raise DownloadError(f"Expected an archive or a CSV file, but there is no file {path}.")
        assembly.take_metadata(path)  # from all files before any image: it says which images are wanted
    for path in files:
        if zipfile.is_zipfile(path):
            assembly.take_images(path, consume=False)
    return assembly.finish(
        "Give all archives at once: the one from Kaggle, or both parts of the images and the metadata."
    )
