"""A disk that fills up under a command: one message that names the file, nothing half written, and the rest later.

A small file system in memory is mounted for the trial in a namespace of its own, which Linux allows without privileges
on most machines. Where it does not, the kernel's limit on the size of a file takes its place (`EFBIG`).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tests.stress.contents import all_in, differing
from tests.stress.processes import Answer, ask, in_child
from tests.stress.tally import LOST, WRONG, Tally, shortened
from tests.stress.world import NET, Bench, draw_images, extract_words, fresh_copy, must

NEW_USER, NEW_MOUNTS, REMOUNT = 0x10000000, 0x00020000, 32
ROOM = 64 << 20
LEVELS = 20


def fill_disks(bench: Bench, tally: Tally) -> None:
    """Run commands on a disk that has room for 20 different shares of what they write."""
    csv, filled, bare = draw_images(bench.folder / "data", 330), bench.folder / "filled", bench.folder / "bare"
    bare.mkdir()
    must(extract_words(csv, filled, augmentations="flip", views=2), bench.folder)
    archive = bench.folder / "moles.zip"
    must(["cache", "export", "--workspace", filled, "moles", archive], bench.folder)
    features = f"--dataset {csv} --features {NET} --augmentation flip --views 2 --no-plots"
    extract = [str(word) for word in extract_words(csv, Path("WORKSPACE"), augmentations="flip", views=2)]
    commands: dict[str, tuple[Path, list[str]]] = {
        "extract": (bare, extract),
        "train": (filled, f"train {features} --head logreg --workspace WORKSPACE".split()),
        "zoo": (filled, f"zoo {features} --heads ridge,knn,lda --workers 1 --workspace WORKSPACE".split()),
        "cache import": (bare, f"cache import {archive} --workspace WORKSPACE".split()),
    }
    mount = bench.folder / "disk"
    mount.mkdir()
    needed = {name: in_child(_size_after, mount, *command) for name, command in commands.items()}
    bench.begin()
    for number in range(bench.count(LEVELS)):
        if bench.late:
            return
        name = list(commands)[number % len(commands)]
        begun, ended, expected = needed[name]
        level = (number // len(commands) + 1) / (bench.count(LEVELS) / len(commands) + 1)
        trial = f"{name}, room for {level:.0%} of what it writes"
        try:
            way, outcome, detail = in_child(_trial, mount, *commands[name], begun, ended, min(level, 1.0), expected)
        except RuntimeError as error:
            way, outcome, detail = "unknown", WRONG, str(error)
        tally.count(outcome, trial, detail)
        tally.note(f"by {way}")
        if detail:
            bench.say(f"{trial}: {outcome}: {shortened(detail)}")


def _size_after(mount: Path, start: Path, words: list[str]) -> tuple[int, int, dict[str, str]]:
    """Bytes on the disk before and after a command that has room, and what the workspace holds then."""
    Disk(mount)
    workspace = fresh_copy(start, mount / "workspace")
    begun = _used(mount)
    answer = ask(*_on(workspace, words))
    if not answer.done:
        raise RuntimeError(str(answer))
    return begun, _used(mount), all_in(workspace)


def _trial(
    mount: Path, start: Path, words: list[str], begun: int, ended: int, level: float, expected: dict[str, str]
) -> tuple[str, str, str]:
    """Run a command on a disk that is too small, look, make room, and run it again."""
    disk = Disk(mount)
    workspace = fresh_copy(start, mount / "workspace")
    answer = disk.limited(begun + int((ended - begun) * level), lambda: ask(*_on(workspace, words)))
    if not answer.is_ours:
        return disk.way, WRONG, str(answer)
    if answer.code != 0 and not any(word in answer.output for word in ("No space left", "File too large", "room")):
        return disk.way, WRONG, f"does not name the cause: {answer}"
    if answer.code != 0 and str(mount) not in answer.output:
        return disk.way, WRONG, f"does not name the file: {answer}"
    listed = ask("runs", "--workspace", workspace)
    if not listed.done:
        return disk.way, WRONG, f"afterwards `runs` ends with {listed}"
    again = ask(*_on(workspace, words))
    if not again.done:
        return disk.way, LOST, f"with room again: {again}"
    missing, other = differing(expected, all_in(workspace))
    if missing or other:
        return disk.way, LOST if missing else WRONG, f"missing {missing}, differing {other}"
    return disk.way, "right" if answer.code == 0 else "mended", ""


def _on(workspace: Path, words: list[str]) -> list[str]:
    return [str(workspace) if word == "WORKSPACE" else word for word in words]


class Disk:
    """A small disk at a folder, seen by this process and its children alone.

    Attributes:
        way: The means that was to be had: a file system of its own, or a limit on the size of a file.
    """

    def __init__(self, mount: Path) -> None:
        self._mount = mount
        self.way = "a small file system" if own_mounts() and _mount(mount, ROOM, 0) else "a limit on the size of files"

    def limited(self, room: int, work: Callable[[], Answer]) -> Answer:
        """Do some work while the disk has no more bytes than this in all."""
        if self.way == "a small file system":
            page = os.sysconf("SC_PAGE_SIZE")
            _mount(self._mount, max(room // page * page, page), REMOUNT)
            try:
                return work()
            finally:
                _mount(self._mount, ROOM, REMOUNT)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (min(room // 50, 1 << 20), hard))
        try:
            return work()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def own_mounts() -> bool:
    """Have mounts of one's own, as the root of a user namespace if need be."""
    if not sys.platform.startswith("linux"):
        return False
    user, group = os.getuid(), os.getgid()
    library = ctypes.CDLL(None, use_errno=True)
    if user != 0 or library.unshare(NEW_MOUNTS) != 0:
        if library.unshare(NEW_USER | NEW_MOUNTS) != 0:
            return False
        for name, line in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            Path("/proc/self", name).write_text(line)
    private = 1 << 18 | 1 << 14  # recursively: nothing of this is seen outside
    return bool(library.mount(b"none", b"/", None, private, None) == 0)


def _mount(folder: Path, size: int, flags: int) -> bool:
    library = ctypes.CDLL(None, use_errno=True)
    return bool(library.mount(b"none", str(folder).encode(), b"tmpfs", flags, f"size={size}".encode()) == 0)


def _used(mount: Path) -> int:
    found = os.statvfs(mount)
    return (found.f_blocks - found.f_bfree) * found.f_frsize
