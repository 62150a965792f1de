"""What a path may name instead of an image file, and files that are no image that is read here."""

import io
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

ODD_FILES = {
    "pipe": "not a file, but a pipe",
    "zero": "not a file, but a device",
    "null": "not a file, but a device",
    "socket": "not a file, but a socket",
    "folder": "not a file, but a folder",
    "dangling": "file missing",
    "loop": "can't be read: Too many levels",
    "sparse": "1,000,000,000,000 bytes, more than",
}
"""Kinds that `made_odd` makes, and the reason that quarantine records."""


@contextmanager
def made_odd(kind: str, path: Path) -> Iterator[str]:
    """Put one of `ODD_FILES` in the place of a path; yields the reason."""
    path.unlink(missing_ok=True)
    listening = None
    if kind == "pipe":
        os.mkfifo(path)
    elif kind in ("zero", "null"):
        path.symlink_to(f"/dev/{kind}")
    elif kind == "socket":
        listening = socket.socket(socket.AF_UNIX)
        here = Path.cwd()
        os.chdir(path.parent)  # its path may be 107 characters long
        listening.bind(path.name)
        os.chdir(here)
    elif kind == "folder":
        path.mkdir()
    elif kind == "dangling":
        path.symlink_to("nowhere.jpg")
    elif kind == "loop":
        path.symlink_to(path.name)
    else:
        with path.open("wb") as file:
            file.truncate(10**12)
    try:
        yield ODD_FILES[kind]
    finally:
        if listening:
            listening.close()
        path.unlink() if not path.is_dir() else path.rmdir()


def other_formats() -> dict[str, bytes]:
    """Files of formats that Pillow opens or hands to other programs, and that are not read here."""
    picture, files = Image.new("RGB", (40, 30), "brown"), {}
    for name in ("EPS", "PDF", "TGA", "PPM", "ICO", "PCX", "SGI", "JPEG2000", "DDS", "AVIF", "QOI", "IM"):
        content = io.BytesIO()
        try:
            picture.save(content, name)
        except (KeyError, OSError):  # not in this Pillow
            continue
        files[name] = content.getvalue()
    files["FITS"] = b"SIMPLE  =                    T".ljust(80) + b"BITPIX  = 8".ljust(80) + b"END".ljust(5600)
    files["WMF"] = b"\xd7\xcd\xc6\x9a\x00\x00" + bytes(8) + b"\x28\x00\x1e\x00" + bytes(60)
    files["EMF"] = b"\x01\x00\x00\x00" + bytes(36) + b" EMF" + bytes(100)
    files["PSD"] = (
        b"8BPS\x00\x01" + bytes(6) + b"\x00\x03\x00\x00\x00\x1e\x00\x00\x00\x28\x00\x08\x00\x03" + bytes(5000)
    )
    files["DOS EPS"] = b"\xc5\xd0\xd3\xc6" + (30).to_bytes(4, "little") + bytes(22) + files["EPS"]
    return files
