import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

import hamcache.data.image_files as image_files
from hamcache.data.digests import MISSING, file_digests
from hamcache.data.errors import UnreadImageError
from hamcache.data.files import find_images
from hamcache.data.image_files import FORMATS, LARGEST_FILE, MOST_PIXELS, image_bytes, why_unread
from hamcache.data.table import ImageTable
from tests.odd_files import ODD_FILES, made_odd


@pytest.fixture(params=ODD_FILES)
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A path that is no readable image file, and the reason."""
    path = tmp_path / "x.jpg"
    with made_odd(request.param, path) as reason:
        yield str(path), reason


def test_what_is_no_file_is_refused_at_once_with_its_reason(odd: tuple[str, str]) -> None:
    path, reason = odd
    with pytest.raises(UnreadImageError, match=reason):
        image_bytes(path)
    assert reason in why_unread(path)


def test_what_is_no_file_has_no_digest(odd: tuple[str, str], ham10000_table: ImageTable, tmp_path: Path) -> None:
    frame = ham10000_table.frame.copy()
    frame.loc[3, "path"] = odd[0]
    table = ImageTable(ham10000_table.name, frame, ham10000_table.classes)
    digests = file_digests(table, tmp_path / "memory.csv")
    assert [image_id for image_id, digest in digests.items() if digest == MISSING] == [frame["image_id"][3]]


def test_a_name_that_no_file_can_have_is_a_reason() -> None:
    assert "null" in why_unread("a\0.jpg")
    assert "too long" in why_unread("a" * 300)
    assert why_unread("\udcff.jpg") == "file missing"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE, errno.ESTALE, errno.EWOULDBLOCK])
def test_whatever_the_system_refuses_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    (tmp_path / "x.jpg").write_bytes(b"out of reach")

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    assert why_unread(tmp_path / "x.jpg") == f"can't be read: {os.strerror(number)}"


@pytest.mark.parametrize("change", [lambda p: p.write_bytes(b"longer than before"), lambda p: p.write_bytes(b"")])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]
) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(b"as it was")
    check, calls = image_files._check, []

    def meanwhile(status: os.stat_result) -> None:
        check(status)
        calls.append(status)
        if len(calls) == 2:
            change(path)

    monkeypatch.setattr(image_files, "_check", meanwhile)
    fstat, seen = os.fstat, []

    def before(descriptor: int) -> os.stat_result:
        status = seen[0] if len(seen) == 1 else fstat(descriptor)  # the second look is still the old one
        seen.append(status)
        return status

    monkeypatch.setattr(os, "fstat", before)
    with pytest.raises(UnreadImageError, match="changed while it was read"):
        image_bytes(path)


def test_a_file_becoming_a_pipe_between_two_looks_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(b"a file at first")
    opened = os.open

    def replaced(name: str, flags: int, *more: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return opened(name, flags, *more)

    monkeypatch.setattr(os, "open", replaced)
    reasons: list[str] = []
    thread = threading.Thread(target=lambda: reasons.append(why_unread(path)), daemon=True)
    thread.start()
    thread.join(60)
    assert reasons == ["not a file, but a pipe"]


def test_the_largest_file_holds_every_image_that_is_decoded() -> None:
    assert MOST_PIXELS == Image.MAX_IMAGE_PIXELS and MOST_PIXELS * 2 * 3 <= LARGEST_FILE


def test_folders_are_searched_for_the_formats_that_are_decoded(tmp_path: Path) -> None:
    Image.init()
    for suffix in Image.registered_extensions():
        (tmp_path / f"x{suffix}").touch()
    formats = {Image.registered_extensions()[Path(name).suffix] for name in find_images(tmp_path)}
    assert formats == set(FORMATS) - {"GIF"}
