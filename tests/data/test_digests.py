import hashlib
import os
import time
from pathlib import Path

import pandas as pd
import pytest

import hamcache.data.digests
from hamcache.data.digests import MISSING, file_digests
from hamcache.data.table import ImageTable, build_table


@pytest.fixture
def table(ham10000_table: ImageTable) -> ImageTable:
    """A table whose files were all written a while ago."""
    for path in ham10000_table.frame["path"]:
        os.utime(path, ns=(10**18, 10**18))
    return ham10000_table


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the files that were really hashed."""
    paths: list[str] = []
    digest = hamcache.data.digests._digest

    def spy(path: str) -> str:
        paths.append(path)
        return digest(path)

    monkeypatch.setattr(hamcache.data.digests, "_digest", spy)
    return paths


def test_digests_are_sha256_of_the_bytes(table: ImageTable) -> None:
    expected = {
        row.image_id: hashlib.sha256(Path(row.path).read_bytes()).hexdigest() for row in table.frame.itertuples()
    }
    assert file_digests(table) == expected


def test_a_remembered_digest_is_not_computed_again(table: ImageTable, tmp_path: Path, hashed: list[str]) -> None:
    first = file_digests(table, tmp_path / "new" / "memory.csv")
    assert len(hashed) == len(table)
    assert file_digests(table, tmp_path / "new" / "memory.csv") == first
    assert len(hashed) == len(table)


def test_rehash_computes_all_anew(table: ImageTable, tmp_path: Path, hashed: list[str]) -> None:
    file_digests(table, tmp_path / "memory.csv")
    file_digests(table, tmp_path / "memory.csv", rehash=True)
    assert len(hashed) == 2 * len(table)


def test_rehash_finds_a_change_that_kept_size_and_time(table: ImageTable, tmp_path: Path) -> None:
    memory, path = tmp_path / "memory.csv", Path(table.frame["path"][0])
    before = file_digests(table, memory)
    path.write_bytes(bytes(path.stat().st_size))
    os.utime(path, ns=(10**18, 10**18))
    assert file_digests(table, memory) == before
    after = file_digests(table, memory, rehash=True)
    assert after != before
    assert file_digests(table, memory) == after


def test_only_a_changed_file_is_hashed_again(table: ImageTable, tmp_path: Path, hashed: list[str]) -> None:
    memory, path = tmp_path / "memory.csv", Path(table.frame["path"][0])
    before = file_digests(table, memory)
    hashed.clear()
    path.write_bytes(path.read_bytes() + b"x")
    after = file_digests(table, memory)
    assert hashed == [str(path)]
    assert [i for i in before if before[i] != after[i]] == [table.frame["image_id"][0]]


def test_a_file_changed_twice_within_a_tick_of_the_clock_is_noticed(table: ImageTable, tmp_path: Path) -> None:
    memory, path = tmp_path / "memory.csv", Path(table.frame["path"][0])
    stamp = time.time_ns() + 10**10
    path.write_bytes(b"one")
    os.utime(path, ns=(stamp, stamp))
    first = file_digests(table, memory)
    path.write_bytes(b"two")
    os.utime(path, ns=(stamp, stamp))
    second = file_digests(table, memory)
    assert first != second


def test_a_missing_file_and_a_folder_have_no_digest(table: ImageTable, tmp_path: Path) -> None:
    gone, folder = (Path(path) for path in table.frame["path"][:2])
    gone.unlink()
    folder.unlink()
    folder.mkdir()
    for _ in range(2):
        digests = file_digests(table, tmp_path / "memory.csv")
        assert [i for i, digest in digests.items() if digest == MISSING] == list(table.frame["image_id"][:2])


def test_a_file_that_came_back_is_hashed(table: ImageTable, tmp_path: Path) -> None:
    path = Path(table.frame["path"][0])
    content = path.read_bytes()
    path.unlink()
    file_digests(table, tmp_path / "memory.csv")
    path.write_bytes(content)
    assert MISSING not in file_digests(table, tmp_path / "memory.csv").values()


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"path,size\n1,2\n", b"path,size,mtime_ns,digest\n/a,1,2,zz\n"])
def test_a_corrupt_memory_is_ignored_and_written_anew(table: ImageTable, tmp_path: Path, damage: bytes) -> None:
    memory = tmp_path / "memory.csv"
    expected = file_digests(table, memory)
    intact = memory.read_bytes()
    memory.write_bytes(damage)
    assert file_digests(table, memory) == expected
    assert memory.read_bytes() == intact


def test_a_memory_cut_short_never_gives_a_wrong_digest(table: ImageTable, tmp_path: Path) -> None:
    memory = tmp_path / "memory.csv"
    expected = file_digests(table, memory)
    intact = memory.read_bytes()
    for length in range(0, len(intact), 397):
        memory.write_bytes(intact[:length])
        assert file_digests(table, memory) == expected


def test_any_name_of_a_file_is_remembered(tmp_path: Path, hashed: list[str]) -> None:
    paths = [tmp_path / name for name in ("a,b.png", 'a"b.png', "a\nb.png", "NA", " \u00e4 .png")]
    for path in paths:
        path.write_bytes(path.name.encode())
        os.utime(path, ns=(10**18, 10**18))
    rows = {"image_id": list("abcde"), "path": list(map(str, paths)), "label": "mole", "group": list("abcde")}
    table = build_table("odd", pd.DataFrame(rows))
    expected = file_digests(table, tmp_path / "memory.csv")
    assert len(set(expected.values())) == len(hashed) == 5
    assert file_digests(table, tmp_path / "memory.csv") == expected and len(hashed) == 5


def test_a_file_of_several_images_is_hashed_once(tmp_path: Path, hashed: list[str]) -> None:
    (tmp_path / "one.png").write_bytes(b"one")
    rows = {"image_id": list("abc"), "path": str(tmp_path / "one.png"), "label": "mole", "group": list("abc")}
    digests = file_digests(build_table("repeated", pd.DataFrame(rows)))
    assert set(digests.values()) == {hashlib.sha256(b"one").hexdigest()} and len(hashed) == 1


def test_tables_share_a_memory(table: ImageTable, tmp_path: Path, hashed: list[str]) -> None:
    memory, ids = tmp_path / "memory.csv", list(table.frame["image_id"])
    file_digests(table.subset(ids[:5]), memory)
    file_digests(table.subset(ids[5:]), memory)
    file_digests(table, memory)
    assert len(hashed) == len(table)
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_memory_that_cannot_be_written_costs_no_digest(table: ImageTable, tmp_path: Path) -> None:
    (tmp_path / "digests").write_text("a file, where the folder should be")
    assert file_digests(table, tmp_path / "digests" / "moles.csv") == file_digests(table)
