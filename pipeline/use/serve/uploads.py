"""Uploads: read into memory as far as the limits go, never onto disk, and decoded only if it is an image."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import PurePosixPath

from PIL import Image
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

LARGEST_MB = 20
LARGEST = LARGEST_MB * 1_000_000
"""Bytes of all files of one request."""
MOST_FILES = 8
"""Files of one request."""
MOST_FIELDS, LARGEST_FIELD = 16, 4_096
_FRAME = 65_536
"""Bytes of a request beside its files."""


@dataclass(frozen=True)
class Upload:
    """One file as it came: the last part of its name, and its bytes."""

    name: str
    data: bytes

    @property
    def stem(self) -> str:
        """The name without its suffix, which is the image id of a file on disk."""
        return PurePosixPath(self.name).stem

    def image(self) -> Image.Image:
        """The image as RGB.

        Raises:
            BadImageError: It is none, or damaged, or too large or too small; says so.
        """
        from hamcache.extract.decode import decode_image, picture_of  # imports torch: the page is up before that

        return picture_of(decode_image(self.data))


@dataclass(frozen=True)
class Form:
    """A request's fields, the last value of each, and its files."""

    fields: dict[str, str]
    files: list[Upload]


class _InMemory(MultiPartParser):
    """Starlette's parser would put files of more than 1 MB onto disk."""

    spool_max_size = LARGEST + _FRAME + 1


async def read_form(request: Request) -> Form:
    """Read a multipart form, and stop at the first byte too many.

    Raises:
        HTTPException: 413 too large or too many files, 415 another kind of body, 400 a damaged one.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise HTTPException(415, "Expected the files as multipart/form-data.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > LARGEST + _FRAME:
        raise _too_large()
    parser = _InMemory(
        request.headers,
        _limited(request),
        max_files=MOST_FILES,
        max_fields=MOST_FIELDS,
        max_part_size=LARGEST_FIELD,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        status = 413 if error.message.startswith("Too many files") else 400
        raise HTTPException(status, f"The upload can't be read: {error.message}") from None
    fields, files = {}, []
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                files.append(Upload(plain_name(value.filename or ""), await value.read()))
            else:
                fields[name] = value
    finally:
        await form.close()
    return Form(fields, files)


def plain_name(name: str) -> str:
    """The last part of a path of any system, without control characters, not longer than a line.

    >>> plain_name("C:\\\\photos\\\\mole.jpg"), plain_name("../../etc/passwd"), plain_name("..")
    ('mole.jpg', 'passwd', 'image')
    """
    last = "".join(c for c in name.replace("\\", "/").rpartition("/")[2] if c.isprintable()).strip()
    return last[-120:] if last.strip(".") else "image"


async def _limited(request: Request) -> AsyncGenerator[bytes, None]:
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > LARGEST + _FRAME:
            raise _too_large()
        yield chunk


def _too_large() -> HTTPException:
    return HTTPException(413, f"Too large: at most {LARGEST_MB} MB can be uploaded at a time.")
