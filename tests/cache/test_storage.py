"""The file operations of a features root, on the disk and in another fsspec file system."""

import json
import os
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hamcache.cache.storage import Root


@pytest.fixture(params=["disk", "memory", "s3"])
def place(request, tmp_path) -> Root:
    if request.param == "disk":
        return Root(tmp_path / "features")
    if request.param == "memory":
        return Root(f"memory://{uuid.uuid4().hex}/features")
    request.getfixturevalue("s3")
    return Root(f"s3://bucket/{uuid.uuid4().hex}/features")


def test_what_is_written_is_read_whole_and_by_its_end(place):
    place.write(b"0123456789", "set", "net", "a.bin")
    assert place.read("set", "net", "a.bin") == b"0123456789"
    assert place.read_end(4, "set", "net", "a.bin") == b"6789"
    assert place.read_end(99, "set", "net", "a.bin") == b"0123456789"
    place.write(b"", "set", "net", "a.bin")
    assert place.read("set", "net", "a.bin") == place.read_end(4, "set", "net", "a.bin") == b""


@pytest.mark.parametrize("read", ["read", "read_with_stamp"])
def test_a_file_that_is_not_there_is_not_found(place, read):
    with pytest.raises(FileNotFoundError):
        getattr(place, read)("set", "no.bin")
    with pytest.raises(FileNotFoundError):
        place.read_end(4, "set", "no.bin")


def test_stamps_name_every_file_and_change_with_it(place):
    place.write(b"one", "set", "store", "c", "0-0")
    place.write(b"two", "set", "store", "about.json")
    place.write(b"half", "set", "store", "c", "0-1.partial")
    place.write(b"half", "set", "store", ".hidden", "0-2")
    before = place.stamps("set", "store")
    assert sorted(before) == ["about.json", "c/0-0"]
    assert place.stamps("set", "store", "c") == {"0-0": before["c/0-0"]}
    assert place.stamps("set", "nothing") == {}
    place.write(b"ONE", "set", "store", "c", "0-0")
    place.write(b"TWO", "set", "store", "about.json")
    after = place.stamps("set", "store")
    assert all(before[path] != after[path] for path in before)
    assert place.read_with_stamp("set", "store", "about.json") == (b"TWO", after["about.json"])


def test_a_file_is_written_only_if_it_is_still_the_one_that_was_seen(place):
    assert not place.write_if(b"x", "set", "a.json", seen="some other")
    assert place.write_if(b"1", "set", "a.json", seen=None)
    assert not place.write_if(b"2", "set", "a.json", seen=None)
    content, seen = place.read_with_stamp("set", "a.json")
    assert content == b"1"
    assert place.write_if(b"3", "set", "a.json", seen=seen)
    assert not place.write_if(b"4", "set", "a.json", seen=seen)
    assert place.read("set", "a.json") == b"3"


def test_json_goes_there_and_back(place):
    place.write_json({"b": [1], "a": None}, "set", "a.json")
    assert place.read_json("set", "a.json") == json.loads(place.read("set", "a.json")) == {"b": [1], "a": None}


def test_a_local_file_is_on_the_disk_before_it_takes_its_name_and_leaves_nothing_beside_it(tmp_path, monkeypatch):
    order = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("sync"), sync(fd)))
    monkeypatch.setattr(Path, "replace", lambda a, b: (order.append("rename"), rename(a, b)))
    place = Root(tmp_path)
    place.write(b"new", "set", "a.bin")
    assert order[-3:] == ["sync", "rename", "sync"]  # before them the folder that is made
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        place.write(b"newer", "set", "a.bin")
    assert place.read("set", "a.bin") == b"new" and [p.name for p in (tmp_path / "set").iterdir()] == ["a.bin"]


def test_paths_are_found_by_the_parts_of_their_names(place):
    for path in ("a[1]/net/x.zarr/f", "a[1]/net/y.zarr/f", "b/net/z.zarr/f", "b/.hidden-1/f", "b/net/note.txt"):
        place.write(b"1", *path.split("/"))
    assert place.glob("*/*/*.zarr") == ["a[1]/net/x.zarr", "a[1]/net/y.zarr", "b/net/z.zarr"]
    assert place.glob("a[1]/*/*.zarr") == ["a[1]/net/x.zarr", "a[1]/net/y.zarr"]
    assert place.glob("*/.hidden-*") == ["b/.hidden-1"]
    assert place.glob("c/*") == place.glob("b/net/note.txt/*") == []
    assert place.files("b/net") == {"b/net/z.zarr/f": 1, "b/net/note.txt": 1}
    assert place.exists("b") and place.exists("b", "net", "note.txt") and not place.exists("b", "net", "note.txt", "no")
    place.remove("b")
    assert not place.exists("b") and place.glob("*") == ["a[1]"]


def test_of_two_writers_at_once_one_is_told(place):
    """On S3 by the server itself; elsewhere the second to look."""
    place.write(b"0", "a.json")
    _, seen = place.read_with_stamp("a.json")
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda n: place.write_if(str(n).encode(), "a.json", seen=seen), range(1, 9)))
    if place.url.startswith("s3:"):
        assert won.count(True) == 1 and place.read("a.json") == str(won.index(True) + 1).encode()
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda n: place.write_if(str(n).encode(), "b.json", seen=None), range(8)))
    if place.url.startswith("s3:"):
        assert won.count(True) == 1 and place.read("b.json") == str(won.index(True)).encode()


def test_links_to_folders_are_followed_and_a_circle_ends(tmp_path):
    place = Root(tmp_path / "features")
    place.write(b"1", "set", "store", "a.bin")
    place.write(b"2", "elsewhere", "b.bin")
    (tmp_path / "features/set/store/linked").symlink_to(tmp_path / "features/elsewhere")
    (tmp_path / "features/set/store/self").symlink_to(tmp_path / "features/set")
    assert {"a.bin", "linked/b.bin"} <= set(place.stamps("set", "store"))


def test_stamps_live_with_files_that_vanish_and_with_what_is_no_file(tmp_path):
    place = Root(tmp_path)
    place.write(b"1", "set", "a.bin")
    os.mkfifo(tmp_path / "set/pipe")
    (tmp_path / "set/dangling").symlink_to(tmp_path / "no")
    ended = threading.Event()

    def churn() -> None:
        while not ended.is_set():
            place.write(b"2", "set", "deep", "b.bin")
            place.remove("set", "deep")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        seen = [set(place.stamps("set")) for _ in range(50)]
    finally:
        ended.set()
        thread.join()
    assert all({"a.bin"} <= names <= {"a.bin", "deep/b.bin"} for names in seen)


def test_a_link_that_leads_nowhere_is_no_file(tmp_path):
    root = Root(tmp_path / "features")
    root.write(b"content", "set", "a.bin")
    for name, target in (("circle", "circle"), ("nowhere", "absent"), ("up", "..")):
        (tmp_path / "features" / "set" / name).symlink_to(target)
    assert root.files("set") == {"set/a.bin": 7} and root.files("") == {"set/a.bin": 7}
    assert list(root.stamps("set")) == ["a.bin"]


@pytest.mark.parametrize("thing", ["circle", "pipe", "folder"])
def test_what_is_no_file_reads_as_absent_and_is_written_over(tmp_path, thing):
    root, path = Root(tmp_path), tmp_path / "a.bin"
    {"circle": lambda: path.symlink_to("a.bin"), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[thing]()
    for read in (root.read, root.read_with_stamp, lambda name: root.read_end(4, name)):
        with pytest.raises((FileNotFoundError, IsADirectoryError)):
            read("a.bin")
    assert root.write_if(b"content", "a.bin", seen=None) and root.read("a.bin") == b"content"
