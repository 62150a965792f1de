"""A disk without room: the file is named, whichever library says so, and nothing half-written stays."""

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hamcache.data.errors import NotWrittenError
from hamcache.data.files import replacing, write_json, write_text
from hamcache.data.room import NO_ROOM, lack_of_room

FULL = Path("/dev/full")
"""A device on which every write fails for lack of space."""
WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("x"),
    "an array": lambda path: np.save(path.open("wb"), np.zeros(1_000_000)),
    "an array's bytes": lambda path: np.zeros(1_000_000).tofile(path),
    "a table": lambda path: pd.DataFrame({"a": range(100_000)}).to_csv(path),
    "a picture": lambda path: Image.new("RGB", (500, 500)).save(path, format="BMP"),
}


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_every_library_that_finds_the_disk_full_leads_to_the_name_of_the_file(
    write: Callable[[Path], object], tmp_path: Path
) -> None:
    target = tmp_path / "folder" / "wanted.bin"
    link = tmp_path / "full"  # never the device itself: who writes by renaming would replace it
    link.symlink_to(FULL)
    with pytest.raises(NotWrittenError) as told, replacing(target):
        write(link)
    assert str(target) in str(told.value) and "Make room" in str(told.value)
    assert list(target.parent.iterdir()) == []


def test_errors_that_keep_only_words_are_understood(tmp_path: Path) -> None:
    said = "Error while serializing: I/O error: No space left on device (os error 28)"  # safetensors
    with pytest.raises(NotWrittenError, match="wanted"), replacing(tmp_path / "wanted"):
        raise RuntimeError(said)


@pytest.mark.parametrize("number", sorted(NO_ROOM))
def test_each_way_of_a_disk_to_refuse_names_the_file(number: int, tmp_path: Path) -> None:
    target = tmp_path / "folder" / "wanted.txt"
    for place in ("pathlib.Path.write_bytes", "pathlib.Path.replace", "pathlib.Path.mkdir"):
        error = OSError(number, os.strerror(number))
        with mock.patch(place, side_effect=error), pytest.raises(NotWrittenError, match=f"{target}.*{error.strerror}"):
            write_text(target, "x")
    assert not target.exists()


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_never_replaced_by_one(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    {"pipe": os.mkfifo, "device": lambda path: path.symlink_to("/dev/null"), "folder": Path.mkdir}[kind](place)
    before = place.stat().st_mode
    with pytest.raises(NotWrittenError, match=str(place)):
        write_text(place, "x")
    assert place.stat().st_mode == before and [path.name for path in tmp_path.iterdir()] == ["place"]


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert lack_of_room(OSError(errno.EACCES, "no")) is None
    assert lack_of_room(io.UnsupportedOperation("write")) is None
