"""Artefacts (runs, sweeps, grids, leakage demonstrations): found, listed, written whole, locked and removed alike.

An artefact is a folder in the workspace's folder of its kind, and its id is the folder's name. Folders whose name
begins with a dot are none yet (being written) or none any more (being removed).
"""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Generic, Self, TypeVar
from uuid import uuid4

from filelock import FileLock, Timeout

from hamcache.data.files import flush, flush_all
from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import ArtefactInUseError, ArtefactNotFoundError, DamagedError, PipelineError

T = TypeVar("T")
_PARTIAL = ".partial-"
_NAMED = 5
"""Ids that a message names at most."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Artefact:
    """A run, sweep, grid or demonstration as it is on disk; its folder is `workspace/<folder of its kind>/<id>`."""

    folder: Path

    @property
    def id(self) -> str:
        """Its name, which is its folder's."""
        return self.folder.name

    def flaws(self) -> list[DamagedError]:
        """Flaws of its files, one a file; without checksums, as far as they can be seen without them."""
        raise NotImplementedError

    def checked(self) -> Self:
        """This artefact, all of whose files were read; raises the first of its `flaws`."""
        for flaw in self.flaws():
            raise flaw
        return self


@dataclass(frozen=True)
class Kind(Generic[T]):
    """One kind of artefact.

    Attributes:
        noun: Its name: `run`.
        home: The folder of a workspace that its artefacts lie in.
        marker: The file by which a folder of it is known wherever it lies.
        read: Read the artefact in a folder; raises a `PipelineError` where it is not whole.
        order: Sort key of artefacts, the oldest first.
        advice: The sentence that tells how to see or make them.
    """

    noun: str
    home: Callable[[Workspace], Path]
    marker: str
    read: Callable[[Path], T]
    order: Callable[[T], Any]
    advice: str

    def folders(self, workspace: Workspace) -> list[Path]:
        """The folders of all artefacts, whole or damaged, by name."""
        return sorted(path for path in self.home(workspace).glob("*/") if not path.name.startswith("."))

    def all(self, workspace: Workspace) -> list[T]:
        """Every artefact, oldest first; damaged ones are passed over with a warning."""
        whole = []
        for folder in self.folders(workspace):
            try:
                whole.append(self.read(folder))
            except PipelineError as error:
                _log.warning("%s", error)
        return sorted(whole, key=self.order)

    def find(self, name: str | Path, workspace: Workspace) -> Path:
        """The folder of one artefact; see `find`."""
        return find(name, workspace, [self])[1]

    def load(self, name: str | Path, workspace: Workspace) -> T:
        """The artefact with this id, with an id that begins like this, or in this folder.

        Raises:
            ArtefactNotFoundError: None fits, or several do.
            PipelineError: It is damaged.
        """
        return self.read(self.find(name, workspace))


def find(name: str | Path, workspace: Workspace, kinds: Sequence[Kind[Any]]) -> tuple[Kind[Any], Path]:
    """The one artefact of some kinds that a name stands for, with its kind.

    Args:
        name: An id, a beginning that only one id has, or a folder (from the current one).
        workspace: Holds the artefacts.
        kinds: Where to look.

    Raises:
        ArtefactNotFoundError: None fits, or several do.
    """
    text = str(name)
    known = [(kind, folder) for kind in kinds for folder in kind.folders(workspace)]
    fitting = [(kind, folder) for kind, folder in known if folder.name == text]
    if not fitting and text:
        fitting = [(kind, Path(text).absolute()) for kind in kinds if Path(text, kind.marker).is_file()] or [
            (kind, folder) for kind, folder in known if folder.name.startswith(text)
        ]
    if len(fitting) == 1:
        return fitting[0]
    *others, last = (kind.noun for kind in kinds)
    nouns = f"{', '.join(others)} or {last}" if others else last
    where = ", ".join(str(kind.home(workspace)) for kind in kinds)
    if fitting:
        called = f"{last}s" if not others else "artefacts"
        reason = f"{len(fitting)} {called} begin with it: {_shown(fitting)}"
    else:
        reason = f"nothing has that name. There are: {_shown(known)}"
    raise ArtefactNotFoundError(
        f"Expected the id of one {nouns} in {where}, the beginning of one, or its folder, got {text!r}: {reason}. "
        + " ".join(kind.advice for kind in kinds)
    )


def _shown(found: Sequence[tuple[Kind[Any], Path]]) -> str:
    names = [folder.name for _, folder in found[:_NAMED]]
    if len(found) > _NAMED:
        names.append(f"{len(found) - _NAMED:,} more")
    return ", ".join(names) or "none"


@contextmanager
def new_folder(home: Path) -> Iterator[Path]:
    """An empty hidden folder to write an artefact into; removed at the end unless `give_name` has renamed it.

    It is locked meanwhile, so that a folder whose process died can be told from one that is being written.
    """
    home.mkdir(parents=True, exist_ok=True)
    folder = home / f"{_PARTIAL}{uuid4().hex[:12]}"
    with held(folder):
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def give_name(folder: Path, name: str, *, replace: bool = False) -> Path:
    """Give a written folder its name: from here on it is an artefact, whole also after a power failure.

    Args:
        folder: What `new_folder` gave.
        name: The id. A taken one gets `-2`, `-3` and so on.
        replace: Instead, what has the name is removed.
    """
    flush_all(folder)
    target = folder.with_name(name)
    with new_folder(folder.parent) as aside:
        if replace and target.exists():
            target.rename(aside / name)
        for number in count(2):
            if not target.exists():
                try:
                    folder.rename(target)
                    break
                except OSError:
                    if not target.exists():
                        raise  # else another process took the name in between
            target = folder.with_name(f"{name}-{number}")
    flush(target.parent)
    return target


@contextmanager
def held(folder: Path, *, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a folder's lock, which the operating system frees when the process dies.

    Args:
        folder: What the lock is for; it need not be there.
        on_wait: Is called before this waits for another process, however long that takes; None: do not wait.

    Raises:
        ArtefactInUseError: Another process holds it, and this does not wait.
    """
    path = lock_of(folder)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if on_wait is None:
            raise ArtefactInUseError(
                f"Expected {folder.name} to be at rest, got one that is being written by another process. Wait for it, "
                "or end that one."
            ) from None
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        # While it is held: who opened the file before is refused a lock on what has no name any more (filelock >= 4.2).
        path.unlink(missing_ok=True)
        lock.release()


def remove(folder: Path) -> None:
    """Remove an artefact: as a whole, in the eyes of others.

    Raises:
        ArtefactInUseError: It is being written.
    """
    with held(folder), new_folder(folder.parent) as aside:
        folder.rename(aside / folder.name)


def partial_folders(home: Path) -> list[Path]:
    """Folders of artefacts that are being written, or were when their process died."""
    return sorted(home.glob(f"{_PARTIAL}*/"))


def abandoned_folders(home: Path) -> list[Path]:
    """Those of `partial_folders` whose process died."""
    return [folder for folder in partial_folders(home) if not is_held(folder)]


def is_held(folder: Path) -> bool:
    """True while a process is writing into this folder."""
    if not lock_of(folder).exists():
        return False
    try:
        with held(folder):
            return False
    except ArtefactInUseError:
        return True


def lock_of(folder: Path) -> Path:
    """The file that is locked while a folder is written: hidden, beside it."""
    return folder.with_name(f".{folder.name.removeprefix('.')}.lock")
