"""Places where features lie: a local folder, or any fsspec URL (`s3://bucket/features`)."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec

from hamcache.cache.errors import CacheError, RootRefusedError
from hamcache.cache.outages import lasting, status_of
from hamcache.data.files import write_bytes

PARTIAL = ".partial"
"""End of the name of a file that is being written."""
STAMPED = ("ETag", "etag", "generation", "LastModified", "last_modified", "mtime", "updated", "created")
"""Fields of an fsspec listing that change when a file does, the most telling first; a file system has some of them."""

ONE_REQUEST = 2**32
"""Bytes that are sent to S3 in one piece."""
NO_TAG = '"none"'
"""An entity tag that no object has; without any, S3 would write unconditionally."""


class Root:
    """A features root, local or remote, with the few file operations that the cache needs."""

    def __init__(self, url: str | Path) -> None:
        self.url = str(url)
        try:
            # Other processes write too: no listing may be remembered.
            self.fs, self.path = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise RootRefusedError(
                f"Expected a folder or the address of a features root, got {self.url} ({error}). For s3:// install "
                "`hamcache[s3]`."
            ) from error
        protocols = {self.fs.protocol} if isinstance(self.fs.protocol, str) else set(self.fs.protocol)
        self.is_local, self._is_s3 = "file" in protocols, "s3" in protocols
        if self._is_s3:
            self.fs.retries = 1  # of its own: `lasting` tries again, and says so

    def __repr__(self) -> str:
        return f"Root({self.url!r})"

    def join(self, *parts: str) -> str:
        """Path of something below the root."""
        return "/".join([self.path.rstrip("/"), *parts])

    def glob(self, pattern: str) -> list[str]:
        """Paths below the root, relative to it, sorted; `*` in the pattern stands for any part of one name."""
        found = [""]
        for part in pattern.split("/"):
            fits = re.compile(".*".join(map(re.escape, part.split("*"))), re.DOTALL).fullmatch
            found = [f"{path}/{name}" for path in found for name in self._names(path) if fits(name)]
        return sorted(path[1:] for path in found)

    def files(self, folder: str) -> dict[str, int]:
        """Every file below a folder: path relative to the root, and its size in bytes."""
        if self.is_local:
            above = f"{folder.rstrip('/')}/" if folder else ""
            return {above + name: status.st_size for name, status in sorted(_scan(self.join(folder), hidden=True))}
        prefix = self.path.rstrip("/") + "/"
        return {path.removeprefix(prefix): int(info["size"]) for path, info in sorted(self._found(folder).items())}

    def exists(self, *parts: str) -> bool:
        """True if a path below the root exists."""
        if self.is_local:
            return Path(self.join(*parts)).exists()
        try:
            self._do(self.fs.info, self.join(*parts))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def remove(self, *parts: str) -> None:
        """Remove a file or a folder with all in it."""
        self._do(self.fs.rm, self.join(*parts), recursive=True)

    def read(self, *parts: str) -> bytes:
        """The content of a file; raises FileNotFoundError."""
        if not self.is_local:
            return bytes(self._do(self.fs.cat_file, self.join(*parts)))
        with os.fdopen(_opened(self.join(*parts)), "rb") as file:
            return file.read()

    def read_end(self, n: int, *parts: str) -> bytes:
        """The last `n` bytes of a file, or all of a shorter one; raises FileNotFoundError."""
        if not self.is_local:
            return bytes(self._do(self.fs.cat_file, self.join(*parts), start=-n))
        descriptor = _opened(self.join(*parts))
        try:
            return os.pread(descriptor, n, max(0, os.fstat(descriptor).st_size - n))
        finally:
            os.close(descriptor)

    def read_with_stamp(self, *parts: str) -> tuple[bytes, str]:
        """The content of a file, and the stamp that `stamps` gives it; raises FileNotFoundError."""
        if self.is_local:
            with os.fdopen(_opened(self.join(*parts)), "rb") as file:
                return file.read(), _stamp(os.fstat(file.fileno()))
        stamp = self._stamp_of(*parts)
        while stamp is not None:
            content, before, stamp = self.read(*parts), stamp, self._stamp_of(*parts)
            if stamp == before:
                return content, stamp  # else it was replaced while it was read: once more
        raise FileNotFoundError(self.join(*parts))

    def write(self, content: bytes, *parts: str) -> None:
        """Write a file whole or not at all: after a kill or a power failure it is the old one or the new one.

        Remotely this is the file system's own promise; S3 and its like give it.
        """
        path = self.join(*parts)
        if self.is_local:
            place = Path(path)
            if place.is_dir():  # a stranger's, as a pipe is: no name of ours is a folder's
                shutil.rmtree(place)
            elif place.exists() and not place.is_file():
                place.unlink()
            write_bytes(place, content)
            return
        if not self._is_s3:  # there are no folders
            self._do(self.fs.makedirs, path.rsplit("/", 1)[0], exist_ok=True)
        self._do(self.fs.pipe_file, path, content)

    def write_if(self, content: bytes, *parts: str, seen: str | None) -> bool:
        """Write a file if it is still the one whose stamp was `seen` (None: if there is none); False if it is not.

        On S3 the server compares, so of two writers one is told. Elsewhere the stamp is compared first and the file
        written then: on a disk the data set's lock keeps others out, on other remote file systems nothing does.
        """
        if not self._is_s3:
            if self._stamp_of(*parts) != seen:
                return False
            self.write(content, *parts)
            return True
        # One request, however large: a condition holds for one.
        tag = (seen or "").partition("-")[2]
        condition = {"mode": "create"} if seen is None else {"IfMatch": tag or NO_TAG}
        try:
            self._do(self.fs.pipe_file, self.join(*parts), content, chunksize=ONE_REQUEST, **condition)
        except CacheError:
            raise
        except OSError as error:
            if status_of(error) not in (404, 412):
                raise
            # A first try may have been carried out although its answer was lost.
            with suppress(FileNotFoundError):
                return self.read(*parts) == content
            return False
        return True

    def stamps(self, *parts: str) -> dict[str, str]:
        """Every file below a folder by its path relative to that folder, with a stamp that changes when it changes.

        Hidden and partial files are left out. A folder that does not exist has no files.
        """
        if self.is_local:
            return {name: _stamp(status) for name, status in _scan(self.join(*parts))}
        prefix = self.join(*parts).rstrip("/") + "/"
        named = {path.removeprefix(prefix): _remote_stamp(info) for path, info in self._found(*parts).items()}
        return {path: stamp for path, stamp in named.items() if not any(map(_is_passed_over, path.split("/")))}

    def _stamp_of(self, *parts: str) -> str | None:
        path = self.join(*parts)
        try:
            if not self.is_local:
                return _remote_stamp(self._do(self.fs.info, path))
            status = Path(path).stat()
            return _stamp(status) if stat.S_ISREG(status.st_mode) else None
        except OSError as error:
            if not isinstance(error, FileNotFoundError) and error.errno != errno.ELOOP:
                raise
            return None

    def _names(self, folder: str) -> list[str]:
        """Names in a folder, none if there is no such folder."""
        path = self.path.rstrip("/") + folder
        try:
            if self.is_local:
                return [entry.name for entry in Path(path or "/").iterdir()]
            paths = {str(info["name"]).rstrip("/") for info in self._do(self.fs.ls, path, detail=True)}
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [inside.rsplit("/", 1)[-1] for inside in paths - {path}]

    def _found(self, *parts: str) -> dict[str, dict[str, Any]]:
        """Every file below a folder: its path, and what the file system says of it."""
        path = self.join(*parts).rstrip("/")
        if self._is_s3:  # one listing, of a thousand files a request
            return dict(self._do(self.fs.find, path, detail=True))
        # fsspec's own `find` takes a folder that can't be listed for an empty one.
        walked = self._do(lambda: list(self.fs.walk(path, detail=True, on_error=_raise_others)))
        return {str(info["name"]): info for _, _, files in walked for info in files.values()}

    def _do(self, operation: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Run an operation of the file system, remotely for as long as an outage may last; see `outages.lasting`."""
        if self.is_local:
            return operation(*arguments, **options)
        return lasting(self.url, lambda: operation(*arguments, **options))

    def read_json(self, *parts: str) -> Any:
        """The content of a JSON file; raises FileNotFoundError or ValueError."""
        return json.loads(self.read(*parts))

    def write_json(self, value: Any, *parts: str) -> None:
        """Write a JSON file whole or not at all."""
        self.write((json.dumps(value, indent=2, sort_keys=True) + "\n").encode(), *parts)


def _raise_others(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or name.endswith(PARTIAL)


def _stamp(status: os.stat_result) -> str:
    # The number too: two replacements within one tick of the file system's clock differ in nothing else.
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"


def _remote_stamp(info: Mapping[str, Any]) -> str:
    value = next((info[name] for name in STAMPED if info.get(name) is not None), None)
    if isinstance(value, datetime):
        value = value.timestamp()  # some file systems give a time as a number in listings, but not for one file
    return f"{info['size']}-{round(value, 6) if isinstance(value, float) else value}"


def _opened(path: str) -> int:
    """A descriptor of a local file; a pipe, which would be waited for, and a link in a circle are none.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileNotFoundError(error.errno, os.strerror(error.errno), path) from error
        raise
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise FileNotFoundError(errno.ENOENT, "No regular file", path)


def _scan(top: str, *, hidden: bool = False) -> Iterator[tuple[str, os.stat_result]]:
    """Yield `(path below top, status)` of its files; folders may be links, but a circle is walked once.

    Hidden and partial files only if they are asked for; a link that leads nowhere is no file.
    """
    walked: set[tuple[int, int]] = set()
    waiting: list[tuple[str, os.stat_result | None]] = [("", None)]
    while waiting:
        prefix, folder = waiting.pop()
        with suppress(FileNotFoundError, NotADirectoryError):  # removed meanwhile
            folder = folder or Path(top).stat()
            if (folder.st_dev, folder.st_ino) in walked:
                continue
            walked.add((folder.st_dev, folder.st_ino))
            with os.scandir(f"{top}/{prefix}") as entries:
                for entry in entries:
                    if _is_passed_over(entry.name) and not hidden:
                        continue
                    try:
                        status = entry.stat()
                    except OSError as error:
                        if error.errno in (errno.ENOENT, errno.ELOOP):
                            continue
                        raise
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append((f"{prefix}{entry.name}/", status))
                    elif stat.S_ISREG(status.st_mode):
                        yield prefix + entry.name, status
