"""A power cut leaves old, new or nothing of what the one writer writes; the simulation sees through other writers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hamcache.data.files import flush, write_text
from tests.power_loss import recorded


def outcomes(folder: Path, work: Callable[[], object], name: str = "a.txt") -> set[str | None]:
    """All that a reader may find in a file after a power cut; None: no file."""
    with recorded(folder) as disk:
        work()
    found: set[str | None] = set()
    for state in disk.states():
        content = state.files.get(name)
        found.add(None if content is None else content.decode())
    return found


def test_a_file_that_is_replaced_is_old_or_new_and_a_new_one_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    assert outcomes(tmp_path, lambda: write_text(path, "first")) == {None, "first"}
    assert outcomes(tmp_path, lambda: write_text(path, "second")) == {"first", "second"}
    with recorded(tmp_path) as disk:
        write_text(path, "third")
    assert list(disk.states())[-1].files["a.txt"] == b"third"


def test_a_file_in_folders_that_are_made_for_it_is_on_the_disk_when_the_writer_returns(tmp_path: Path) -> None:
    path = tmp_path / "new" / "newer" / "a.txt"
    with recorded(tmp_path) as disk:
        write_text(path, "first")
    assert {state.files.get("new/newer/a.txt") for state in disk.last_states()} == {b"first"}


def plain(path: Path, text: str) -> None:
    path.write_text(text)


def renamed_unsynced(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)
    flush(path.parent)


def removed_first(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    flush(partial)
    path.unlink()
    partial.rename(path)
    flush(path.parent)


@pytest.mark.parametrize(
    ("writer", "wrong"), [(plain, {"", "se", "\0\0\0\0"}), (renamed_unsynced, {"", "se"}), (removed_first, {None})]
)
def test_writers_that_leave_half_of_it_are_seen_through(
    writer: Callable[[Path, str], None], wrong: set[str | None], tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    assert outcomes(tmp_path, lambda: writer(path, "seco")) >= wrong | {"seco"}


def test_a_name_whose_folder_was_not_synced_may_be_undone(tmp_path: Path) -> None:
    path, other = tmp_path / "a.txt", tmp_path / "b.txt"
    path.write_text("old")
    with recorded(tmp_path) as disk:
        path.rename(other)
    left = {tuple(sorted(state.files)) for state in disk.states()}
    assert left == {("a.txt",), ("b.txt",)}
    with recorded(tmp_path) as disk:
        other.unlink()
    assert {tuple(state.files) for state in disk.states()} == {(), ("b.txt",)}


def test_a_state_can_be_made_again_on_a_disk(tmp_path: Path) -> None:
    folder, copy = tmp_path / "real", tmp_path / "copy"
    folder.mkdir()
    with recorded(folder) as disk:
        write_text(folder / "in" / "a.txt", "first")
    last = list(disk.states())[-1]
    last.restore(copy)
    assert (copy / "in" / "a.txt").read_text() == "first"
