"""Rooms: a copy of a small sound workspace each, and the questions whose answers must stay as they are."""

from __future__ import annotations

import ctypes
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.stress.contents import all_in, differing
from tests.stress.processes import Answer, Command, in_child, run
from tests.stress.tally import LOST, WRONG
from tests.stress.world import NET, Bench, draw_images, extract_words, fresh_copy, must

Outcome = tuple[str, str]
RIGHT: Outcome = ("right", "")
BIND, READ_ONLY, REMOUNT = 4096, 1, 32


@dataclass(frozen=True)
class Room:
    """A workspace to be hurt, with its data set beside it.

    Attributes:
        folder: Where all of it lies.
        expected: What the workspace holds when `words` have run undisturbed.
        sound: The sound workspace, only to be copied.
        random: Decides what is left to chance.
    """

    folder: Path
    expected: dict[str, str]
    sound: Path
    random: Random

    @property
    def workspace(self) -> Path:
        """The workspace of this room."""
        return self.folder / "workspace"

    @property
    def csv(self) -> Path:
        """The table of the images."""
        return self.folder / "data" / "moles.csv"

    @property
    def extraction(self) -> list[str | Path]:
        """The command that fills the cache."""
        return extract_words(self.csv, self.workspace, augmentations="flip", views=2)

    @property
    def training(self) -> list[str | Path]:
        """The command that trains the run."""
        words = f"train --features {NET} --augmentation flip --views 2 --head logreg --no-plots"
        return [*shlex.split(words), "--dataset", self.csv, "--workspace", self.workspace]

    def ask(self, words: str | list[str | Path], **options: object) -> Answer:
        """Run a command to its end; a text is split, and gets the workspace."""
        return run(self.full(words), self.folder, **options)

    def begin(self, words: str | list[str | Path], **options: object) -> Command:
        """Start a command."""
        return Command(self.full(words), self.folder, **options)

    def full(self, words: str | list[str | Path]) -> list[str | Path]:
        return [*shlex.split(words), "--workspace", self.workspace] if isinstance(words, str) else words

    def empty(self) -> None:
        """Take everything out of the workspace."""
        bare = self.folder / "bare"
        bare.mkdir(exist_ok=True)
        fresh_copy(bare, self.workspace)

    def bring_back(self, *, mended: bool = False, workspace: Path | None = None) -> Outcome:
        """Extract and train again: in the end the workspace must hold what it should."""
        where = workspace or self.workspace
        for words in (self.extraction, self.training):
            answer = self.ask([where if word == self.workspace else word for word in words])
            if not answer.done:
                return LOST, f"`{words[0]}`: {answer}"
        return self.compare(mended=mended, workspace=where)

    def compare(self, *, mended: bool = False, workspace: Path | None = None) -> Outcome:
        """Compare what the workspace holds with what it should."""
        try:
            missing, other = differing(self.expected, in_child(all_in, workspace or self.workspace))
        except RuntimeError as error:
            return LOST, str(error)
        if missing or other:
            return (LOST if missing else WRONG), f"missing {missing}, differing {other}"
        return ("mended" if mended else "right"), ""

    def refused(self, answer: Answer, *words: str) -> Outcome:
        """A message of ours was due, with one of these words in it."""
        if not answer.refused or (words and not any(word in answer.output for word in words)):
            return WRONG, f"expected a refusal: {answer}"
        return "refused", ""


Trial = Callable[[Room], Outcome]


def build(bench: Bench) -> tuple[Path, dict[str, str]]:
    """Make the sound world once: returns its folder and what its workspace holds."""
    folder = bench.folder / "sound"
    draw_images(folder / "data", 100)
    room = Room(folder, {}, folder, bench.random)
    must(room.extraction, bench.folder)
    must(room.training, bench.folder)
    return folder, in_child(all_in, room.workspace)


def seen_read_only(folder: Path) -> None:
    """Let this process, and those it starts, see a folder on a disk that cannot be written."""
    from tests.stress.full_disk import own_mounts

    if not own_mounts():
        raise OSError("no mounts of one's own here")
    library, name = ctypes.CDLL(None, use_errno=True), str(folder).encode()
    for flags in (BIND, BIND | REMOUNT | READ_ONLY):
        if library.mount(name, name, None, flags, None) != 0:
            raise OSError(ctypes.get_errno(), "mount")
