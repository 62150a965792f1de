"""A power cut by simulation: file operations of this process are recorded, and disks that they may leave are made.

    with recorded(folder) as disk:
        write_text(folder / "a.txt", "new")
    for state in disk.states():
        state.restore(elsewhere)   # a folder of the test's own; see what a reader makes of it

The rules are those that a file system owes us, and no more. Content is on the disk after `fsync` of the file; before it
the file may be as it was synced last, empty, cut, full of zeros, or as it was written. A name that was made, moved or
removed is on the disk after `fsync` of its folder; before it each of these may have reached the disk or not, in any
order. A rename is one step: the new name never stands for nothing in between. What was there before is on the disk.

A power cut may come at any moment: the operations up to every `fsync` and rename, and up to the end, are looked at.
Content that is written past Python (a memory map, a library's own calls) is seen; only an `fsync` that is not called
through `os` is not, which makes the simulated disk worse than the real one, never better.
"""

import os
import shutil
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest import mock

MOST_PENDING = 5
"""So many pending operations on names are combined in every way; of more, each prefix, each alone, and all but each."""
Id = int
Tree = dict[str, Id]
"""Path relative to the folder -> the file or folder that it names; '' is the folder itself."""


@dataclass(frozen=True)
class State:
    """A disk after a power cut.

    Attributes:
        files: Relative path -> content; None for a folder.
        moment: The operation that the power cut came before.
    """

    files: Mapping[str, bytes | None]
    moment: str

    def restore(self, folder: Path) -> None:
        """Make `folder` this disk; what was in it is removed."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for path, content in sorted(self.files.items()):
            if content is None:
                (folder / path).mkdir(exist_ok=True)
            else:
                (folder / path).write_bytes(content)


@dataclass(frozen=True)
class _Change:
    """One operation: by the folder that lists them, what some names stood for afterwards.

    The names in a folder are on the disk when it is synced.
    """

    names: Mapping[Id, Mapping[str, Id | None]]


@dataclass
class Disk:
    """The recorded operations; see `recorded`."""

    root: Path
    _now: Tree = field(default_factory=dict)
    _inode: dict[Id, int] = field(default_factory=dict)
    _content: dict[Id, bytes | None] = field(default_factory=dict)
    _synced: dict[Id, bytes] = field(default_factory=dict)
    _durable: Tree = field(default_factory=dict)
    _pending: list[_Change] = field(default_factory=list)
    _moments: list[tuple[str, Tree, list[_Change], dict[Id, bytes | None], dict[Id, bytes]]] = field(
        default_factory=list
    )

    def __post_init__(self) -> None:
        self._look()
        self._durable, self._pending = dict(self._now), []
        self._synced = {which: content for which, content in self._content.items() if content is not None}

    def last_states(self) -> Iterator[State]:
        """The disks that a power cut after the last operation may leave: what has returned must be in all of them."""
        return self._states(self._moments[-1:])

    def states(self) -> Iterator[State]:
        """Every disk that a power cut may leave, each once."""
        return self._states(self._moments)

    def _states(self, moments: Sequence[Any]) -> Iterator[State]:
        seen = set()
        for moment, durable, pending, content, synced in moments:
            for chosen in _subsets(len(pending)):
                tree = dict(durable)
                for number in chosen:
                    for names in pending[number].names.values():
                        _apply(tree, names)
                tree = {path: which for path, which in tree.items() if _reachable(path, tree)}
                for files in _contents(tree, content, synced):
                    key = frozenset(files.items())
                    if key not in seen:
                        seen.add(key)
                        yield State(files, moment)

    def fsynced(self, descriptor: int) -> None:
        """A file's content, or a folder's names, have reached the disk."""
        about = os.fstat(descriptor)
        self._moment(f"fsync of inode {about.st_ino}")
        for which in self._now.values():
            if self._inode[which] != about.st_ino:
                continue
            if not stat.S_ISDIR(about.st_mode):
                self._synced[which] = self._content[which] or b""
                return
            kept = []
            for change in self._pending:
                _apply(self._durable, change.names.get(which, {}))
                rest = {folder: names for folder, names in change.names.items() if folder != which}
                kept += [_Change(rest)] if rest else []
            self._pending = kept
            return

    def all_synced(self) -> None:
        """All content and all names have reached the disk."""
        self._moment("sync")
        self._synced = {which: content for which, content in self._content.items() if content is not None}
        self._durable, self._pending = dict(self._now), []

    def renaming(self, source: Any, target: Any) -> None:
        """A name is about to be moved."""
        self._moment(f"rename of {source} to {target}")

    def renamed(self, source: Any, target: Any) -> None:
        """A name was moved; to or from elsewhere it is one that was made or removed."""
        old, new = self._relative(source), self._relative(target)
        if old in self._now and new is not None:
            moved = {path: which for path, which in self._now.items() if path == old or path.startswith(f"{old}/")}
            made = {new + path.removeprefix(str(old)): which for path, which in moved.items()}
            self._change((_parent(str(old)), dict.fromkeys(moved)), (_parent(new), made))
        self._look()

    def end(self) -> None:
        """The last moment: nothing more happens, and the power goes."""
        self._moment("the end")

    def _moment(self, name: str) -> None:
        self._look()
        self._moments.append((name, dict(self._durable), list(self._pending), dict(self._content), dict(self._synced)))

    def _look(self) -> None:
        """Bring the record up to what lies in the folder: names that came and went, and what files hold."""
        there: dict[str, tuple[int, bytes | None]] = {}
        for path in (self.root, *self.root.rglob("*")):
            relative = "" if path == self.root else path.relative_to(self.root).as_posix()
            try:
                there[relative] = path.stat().st_ino, None if path.is_dir() else path.read_bytes()
            except FileNotFoundError:  # a thread has moved it in between
                continue
        for path in [path for path, which in self._now.items() if there.get(path, (-1,))[0] != self._inode[which]]:
            self._change((_parent(path), {path: None}))
        for path, (inode, content) in sorted(there.items()):
            if path not in self._now:
                which = len(self._inode)
                self._inode[which] = inode
                self._change((_parent(path), {path: which}))
            self._content[self._now[path]] = content

    def _change(self, *parts: tuple[str, Mapping[str, Id | None]]) -> None:
        of_folder: dict[Id, dict[str, Id | None]] = {}
        for folder, names in parts:
            of_folder.setdefault(self._now.get(folder, -1), {}).update(names)
        for _, names in parts:
            _apply(self._now, names)
        self._pending.append(_Change(of_folder))

    def _relative(self, path: Any) -> str | None:
        absolute = Path(os.fsdecode(path)).absolute()
        return absolute.relative_to(self.root).as_posix() if absolute.is_relative_to(self.root) else None


@contextmanager
def recorded(root: Path) -> Iterator[Disk]:
    """Record what this process does to the files below an existing folder; call `states` of what it yields afterwards.

    Works where a fixture has switched `os.fsync` off.
    """
    root = root.absolute()
    disk, lock = Disk(root), threading.RLock()
    renames = {name: getattr(os, name) for name in ("rename", "replace")}

    def fsync(file: Any) -> None:
        with lock:
            disk.fsynced(file if isinstance(file, int) else file.fileno())

    def moving(name: str) -> Any:
        def move(source: Any, target: Any, **options: Any) -> None:
            with lock:
                disk.renaming(source, target)
                renames[name](source, target, **options)
                disk.renamed(source, target)

        return move

    with (
        mock.patch("os.fsync", fsync),
        mock.patch("os.fdatasync", fsync),
        mock.patch("os.sync", disk.all_synced),
        mock.patch("os.rename", moving("rename")),
        mock.patch("os.replace", moving("replace")),
    ):
        try:
            yield disk
        finally:
            disk.end()


def _apply(tree: Tree, names: Mapping[str, Id | None]) -> None:
    for path, which in names.items():
        if which is None:
            for below in [other for other in tree if other == path or other.startswith(f"{path}/")]:
                del tree[below]
    tree |= {path: which for path, which in names.items() if which is not None}


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _reachable(path: str, tree: Tree) -> bool:
    return path == "" or (_parent(path) in tree and _reachable(_parent(path), tree))


def _subsets(number: int) -> Iterator[tuple[int, ...]]:
    """The operations that reached the disk, in their order."""
    if number <= MOST_PENDING:
        for size in range(number + 1):
            yield from combinations(range(number), size)
        return
    every = tuple(range(number))
    yield from (every[:size] for size in range(number + 1))
    yield from ((one,) for one in every)
    yield from (every[:one] + every[one + 1 :] for one in every)


def _contents(
    tree: Tree, content: Mapping[Id, bytes | None], synced: Mapping[Id, bytes]
) -> Iterator[dict[str, bytes | None]]:
    """The disk with each file as it was written, then with all, and with each alone, in every state of the unsynced."""
    whole = {path: content[which] for path, which in tree.items() if path}
    yield whole
    lost: dict[str, list[bytes]] = {}
    for path, which in tree.items():
        now = content[which]
        if now is not None and synced.get(which) != now:
            lost[path] = [synced.get(which, b""), b"", now[: len(now) // 2], bytes(len(now))]
    for kind in range(4 if lost else 0):
        yield whole | {path: kinds[kind] for path, kinds in lost.items()}
        if len(lost) > 1:
            yield from (whole | {path: kinds[kind]} for path, kinds in lost.items())
