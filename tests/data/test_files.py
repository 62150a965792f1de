import os
import sys
import tracemalloc
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hamcache.data.files
from hamcache.data.documents import read_file
from hamcache.data.errors import TableError
from hamcache.data.files import find_images, read_csv, write_text


def test_images_are_found_by_their_suffix_in_any_case(tmp_path: Path) -> None:
    names = ["a.jpg", "b.JPEG", "c.png", "d.Bmp", "e.tif", "f.TIFF", "g.webp"]
    for name in [*names, "h.txt", "i", ".hidden.jpg", "j.jpg.part"]:
        (tmp_path / name).touch()
    assert find_images(tmp_path) == names


def test_depth_limits_the_search(tmp_path: Path) -> None:
    (tmp_path / "one" / "two").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "one", tmp_path / "one" / "two"):
        (folder / "a.jpg").touch()
    found = [str(Path("a.jpg")), str(Path("one/a.jpg")), str(Path("one/two/a.jpg"))]
    assert [find_images(tmp_path, depth) for depth in (0, 1, 2, None)] == [found[:1], found[:2], found, found]


@pytest.mark.skipif(sys.platform != "linux", reason="only here may file names be any bytes")
def test_a_file_name_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xe4vus.jpg")).touch()
    with pytest.raises(TableError, match=r"UTF-8.*vus"):
        find_images(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \udcff")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_takes_its_name_and_the_folder_after(tmp_path: Path) -> None:
    seen = []
    with mock.patch("os.fsync", lambda descriptor: seen.append((tmp_path / "a.txt").exists())):
        write_text(tmp_path / "a.txt", "whole")
    assert seen == [False, True] and (tmp_path / "a.txt").read_text() == "whole"


def test_reading_a_small_file_takes_no_memory_for_the_largest_one(tmp_path: Path) -> None:
    (tmp_path / "small.csv").write_bytes(b"image_id\n")
    tracemalloc.start()
    try:
        assert read_file(tmp_path / "small.csv", 1 << 30) == b"image_id\n"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


FIELDS = st.text(alphabet="ab \u00e9\u00a0\u2003\t1.-", max_size=4)
LINES = st.lists(FIELDS, min_size=1, max_size=3).map(",".join)


@settings(max_examples=300, deadline=None)
@given(lines=st.lists(LINES, max_size=6), header=st.sampled_from(["a,b", "a", " a , b ", "a;b", "a,a", ""]),
       ending=st.sampled_from(["\n", "\r\n", "\n\n", "\r"]))  # fmt: skip
def test_a_plain_csv_is_read_as_the_careful_reader_reads_it(tmp_path_factory, lines, header, ending) -> None:
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    path.write_bytes("".join(line + ending for line in [header, *lines]).encode())
    outcomes = []
    for plain in (hamcache.data.files._plain_csv, lambda *_: None):
        with mock.patch.object(hamcache.data.files, "_plain_csv", plain):
            try:
                frame, numbers = read_csv(path)
                outcomes.append((frame.to_dict("list"), numbers, list(map(str, frame.dtypes))))
            except TableError as error:
                outcomes.append((str(error),))
    assert outcomes[0] == outcomes[1]
