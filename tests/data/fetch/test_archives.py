import os
import shutil
import signal
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hamcache.data.errors import ArchiveError, DownloadError
from hamcache.data.fetch.archives import ImageArchive


def write(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def kaggle_zip(tiny: Any, tmp_path: Path) -> Path:
    path = tmp_path / "kaggle.zip"
    path.write_bytes(tiny.kaggle_zip())
    return path


def test_only_wanted_images_come_out_and_each_once(tiny: Any, kaggle_zip: Path, out: Path) -> None:
    archive = ImageArchive(kaggle_zip)
    assert archive.metadata() == tiny.metadata()
    assert archive.unpack(tiny.image_ids(), out) == tiny.images
    (out / "HAM10000_metadata.csv").write_bytes(tiny.metadata())
    tiny.assert_is(out)
    assert kaggle_zip.is_file()


def test_a_second_unpacking_writes_nothing(tiny: Any, kaggle_zip: Path, out: Path) -> None:
    archive = ImageArchive(kaggle_zip)
    archive.unpack(tiny.image_ids(), out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")}
    assert archive.unpack(tiny.image_ids(), out) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")} == before


def test_an_image_that_was_changed_or_half_written_comes_out_again(tiny: Any, kaggle_zip: Path, out: Path) -> None:
    archive = ImageArchive(kaggle_zip)
    archive.unpack(tiny.image_ids(), out)
    expected = contents(out)
    short, changed, *_ = sorted(out.rglob("*.jpg"))
    short.write_bytes(short.read_bytes()[:-1])
    changed.write_bytes(bytes(changed.stat().st_size))
    assert archive.unpack(tiny.image_ids(), out) == 2
    assert contents(out) == expected


@pytest.mark.parametrize(
    ("names", "stem", "folder"),
    [
        (["ISIC_1.jpg"], "HAM10000_images_part_2", "HAM10000_images_part_2"),
        (["ISIC_1.jpg"], "images (1)", "HAM10000_images"),
        (["ham10000_images_part_1/ISIC_1.jpg"], "x", "HAM10000_images_part_1"),
        (["a/b/HAM10000_images_part_2/ISIC_1.JPG"], "x", "HAM10000_images_part_2"),
        (["HAM10000_images_part_1\\ISIC_1.jpeg"], "x", "HAM10000_images_part_1"),
        (["ham10000_images_part_1/ISIC_1.jpg", "HAM10000_images_part_2/ISIC_1.jpg"], "x", "HAM10000_images_part_2"),
    ],
)
def test_where_an_image_goes_follows_from_its_id_and_part(
    tmp_path: Path, out: Path, names: list[str], stem: str, folder: str
) -> None:
    path = write(tmp_path / f"{stem}.zip", {name: name.encode() for name in names})
    ImageArchive(path).unpack({"ISIC_1"}, out)
    assert contents(out) == {f"{folder}/ISIC_1.jpg": names[-1].encode()}


def link(name: str, target: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    "name",
    ["../ISIC_1.jpg", "/tmp/ISIC_1.jpg", "a/../../ISIC_1.jpg", "..\\ISIC_1.jpg", "C:\\ISIC_1.jpg", "C:ISIC_1.jpg"],
)
def test_an_entry_that_points_elsewhere_is_not_taken(tmp_path: Path, out: Path, name: str) -> None:
    path = write(tmp_path / "x.zip", {name: b"bad"})
    before = set(tmp_path.rglob("*"))
    assert ImageArchive(path).unpack({"ISIC_1"}, out) == 0
    assert set(tmp_path.rglob("*")) == before
    assert not Path("/tmp/ISIC_1.jpg").exists()


def test_links_folders_resource_forks_and_hidden_files_are_not_taken(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link("ISIC_1.jpg", "/etc/passwd"), "/etc/passwd")
        archive.writestr("ISIC_1.jpg/", "")
        archive.writestr("__MACOSX/ISIC_1.jpg", "fork")
        archive.writestr("part/.ISIC_1.jpg", "hidden")
        archive.writestr("ISIC_1.png", "another kind")
        archive.writestr("__MACOSX/HAM10000_metadata.csv", "fork")
    archive_ = ImageArchive(path)
    assert archive_.unpack({"ISIC_1", ".ISIC_1"}, out) == 0
    assert archive_.metadata() is None
    assert contents(out) == {}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.text("./\\aA:_1~ jpgé", min_size=1, max_size=12), min_size=1, max_size=5, unique=True))
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_whatever_the_names_nothing_is_written_outside_the_folder(tmp_path: Path, out: Path, names: list[str]) -> None:
    shutil.rmtree(out)
    out.mkdir()
    path = write(tmp_path / "x.zip", {f"{name}.jpg": b"x" for name in names})
    before = set(tmp_path.iterdir())
    ImageArchive(path).unpack({Path(name).name for name in names} | set(names), out)
    assert set(tmp_path.iterdir()) == before
    assert all(path.parent.parent == out for path in out.rglob("*.jpg"))
    assert all(path.is_dir() or path.suffix == ".jpg" for path in out.rglob("*"))


def test_a_bomb_is_refused_before_it_grows(tmp_path: Path, out: Path) -> None:
    path = write(tmp_path / "x.zip", {"ISIC_1.jpg": bytes(50_000_000)})
    with pytest.raises(ArchiveError, match=r"ISIC_1\.jpg would unpack to 50,000,000 bytes"):
        ImageArchive(path).unpack({"ISIC_1"}, out)
    path = write(tmp_path / "y.zip", {"HAM10000_metadata.csv": bytes(50_000_000)})
    with pytest.raises(ArchiveError, match="far more than a file of HAM10000 has"):
        ImageArchive(path).metadata()
    assert contents(out) == {}


def test_an_entry_that_lies_about_its_size_gives_no_more_than_it_said(tmp_path: Path, out: Path) -> None:
    path = write(tmp_path / "x.zip", {"ISIC_1.jpg": os.urandom(5_000)}, zipfile.ZIP_STORED)
    raw = path.read_bytes()
    small = raw.replace((5_000).to_bytes(4, "little") * 2, (5_000).to_bytes(4, "little") + (10).to_bytes(4, "little"))
    assert small != raw
    path.write_bytes(small)
    with pytest.raises(ArchiveError, match="damaged"):
        ImageArchive(path).unpack({"ISIC_1"}, out)
    assert contents(out) == {}


@pytest.mark.parametrize("content", [b"", b"<html>sign in</html>", b"PK\x03\x04 and no more"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(ArchiveError, match=r"x\.zip: expected a whole zip archive"):
        ImageArchive(tmp_path / "x.zip")


def test_a_damaged_image_is_named_and_not_written(tiny: Any, tmp_path: Path, out: Path) -> None:
    files = {f"{i}.jpg": os.urandom(3_000) for i in ("ISIC_1", "ISIC_2", "ISIC_3")}
    path = write(tmp_path / "x.zip", files, zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    at = raw.index(files["ISIC_2.jpg"])
    raw[at] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ArchiveError, match=r"ISIC_2\.jpg is damaged \(Bad CRC-32"):
        ImageArchive(path).unpack({"ISIC_1", "ISIC_2", "ISIC_3"}, out)
    assert contents(out) == {"HAM10000_images/ISIC_1.jpg": files["ISIC_1.jpg"]}


def test_archives_inside_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.zip", {"HAM10000_images_part_1.zip": b"", "a.txt": b""})
    assert ImageArchive(path).archives() == ["HAM10000_images_part_1.zip"]


def test_a_full_disk_is_noticed_before_anything_is_written(
    tiny: Any, kaggle_zip: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hamcache.data.fetch.disk_space.shutil.disk_usage", lambda _: SimpleNamespace(free=100_001_000))
    with pytest.raises(DownloadError, match=r"unpacking kaggle\.zip: 100 MB are needed"):
        ImageArchive(kaggle_zip).unpack(tiny.image_ids(), out)
    assert contents(out) == {}


def big_archive(path: Path, images: int = 60) -> dict[str, bytes]:
    """Writes an archive of `images` images of 4,000 bytes, between other files; returns where they should go."""
    wanted = {f"ISIC_{n:02d}": os.urandom(4_000) for n in range(images)}
    files = {f"HAM10000_images_part_1/{i}.jpg": body for i, body in wanted.items()}
    write(path, {"first.txt": os.urandom(3_000), **files, "last.txt": os.urandom(50_000)})
    return {f"HAM10000_images_part_1/{i}.jpg": body for i, body in wanted.items()}


def ids(expected: dict[str, bytes]) -> set[str]:
    return {Path(name).stem for name in expected}


def test_an_archive_that_is_consumed_never_lies_beside_all_it_held(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "x.zip"
    expected = big_archive(path)
    size, peak, lengths = path.stat().st_size, 0, []

    def measure(done: int, total: int | None) -> None:
        nonlocal peak
        lengths.append(path.stat().st_size)
        peak = max(peak, lengths[-1] + sum(file.stat().st_size for file in out.rglob("*.jpg")))

    ImageArchive(path).unpack(ids(expected), out, consume=True, batch=20_000, advance=measure)
    assert contents(out) == expected
    assert not path.exists()
    assert peak <= size + 20_000 + 4_000
    assert len(set(lengths)) > 5  # it became shorter again and again
    assert lengths == sorted(lengths, reverse=True)


KILLED = """
import os, signal, sys
from pathlib import Path
from hamcache.data.fetch.archives import ImageArchive

path, out, after = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
advance = lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done == after else None
ImageArchive(path).unpack({f"ISIC_{n:02d}" for n in range(60)}, out, consume=True, batch=20_000, advance=advance)
"""


@pytest.mark.parametrize("after", [13, 59])
def test_a_killed_unpacking_goes_on(tmp_path: Path, out: Path, after: int) -> None:
    path = tmp_path / "x.zip"
    expected = big_archive(path)
    command = [sys.executable, "-c", KILLED, str(path), str(out), str(after)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert zipfile.ZipFile(path).testzip() is None  # it is a whole archive of what is still to come
    left = {name for name in zipfile.ZipFile(path).namelist() if name.endswith(".jpg")}
    assert left | set(contents(out)) >= set(expected)
    assert len(left) <= 60 - after + 8
    ImageArchive(path).unpack(ids(expected), out, consume=True, batch=20_000)
    assert contents(out) == expected and not path.exists()


def test_every_state_on_the_way_of_a_cut_is_a_whole_archive(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.zip"
    expected = big_archive(path)
    states = 0
    real: Callable[..., Any] = zipfile.ZipFile._write_end_record  # type: ignore[attr-defined]

    class Watched:
        """Looks at the archive after each write to it."""

        def __init__(self, file: Any):
            self.file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, content: bytes) -> int:
            nonlocal states
            written: int = self.file.write(content)
            self.file.flush()
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    target = out / entry.filename
                    assert target.exists() or entry.filename.endswith(".txt") or archive.read(entry)
            states += 1
            return written

    def watch(self: Any) -> None:
        self.fp, fp = Watched(self.fp), self.fp
        real(self)
        self.fp = fp

    monkeypatch.setattr(zipfile.ZipFile, "_write_end_record", watch)
    ImageArchive(path).unpack(ids(expected), out, consume=True, batch=40_000)
    assert contents(out) == expected
    assert states > 100


def test_an_archive_from_which_nothing_is_wanted_is_consumed(tmp_path: Path, out: Path) -> None:
    path = write(tmp_path / "x.zip", {"a.txt": b"a"})
    assert ImageArchive(path).unpack({"ISIC_1"}, out, consume=True) == 0
    assert not path.exists()
