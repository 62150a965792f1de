"""Odd times: clocks that jump, signals, locks left behind, and things that change while a command works on them."""

from __future__ import annotations

import os
import shutil
from signal import SIGCONT, SIGHUP, SIGSTOP, SIGTERM
from time import sleep

from PIL import Image

from tests.stress.processes import Answer, Command
from tests.stress.rooms import RIGHT, Outcome, Room, Trial
from tests.stress.tally import LOST, WRONG
from tests.stress.world import extract_words

CHUNKS = "features/*/*/*.zarr/*/c/*/*/*"


def clock(year: int) -> Trial:
    """Image files from another time."""

    def trial(room: Room) -> Outcome:
        seconds = (year - 1970) * 31_557_600
        for path in [*room.csv.parent.rglob("*"), *room.workspace.rglob("*")]:
            os.utime(path, (seconds, seconds), follow_symlinks=False)
        return room.bring_back()

    return trial


def secret_change(room: Room) -> Outcome:
    """An image is replaced by another of the same size and time: `--rehash` sees it, as the help says."""
    first, second = sorted((room.csv.parent / "images").iterdir())[:2]
    times = first.stat()
    shutil.copyfile(second, first)
    os.utime(first, ns=(times.st_atime_ns, times.st_mtime_ns))
    answer = room.ask([*room.extraction, "--rehash"])
    if not answer.done or "1 images decoded" not in answer.output:
        return WRONG, str(answer)
    return RIGHT


def signalled(number: int) -> Trial:
    """A polite signal in the middle of an extraction."""

    def trial(room: Room) -> Outcome:
        room.empty()
        command = _in_the_middle(room)
        command.send(number)
        answer = command.wait()
        if "Traceback" in answer.output:
            return WRONG, str(answer)
        return room.bring_back(mended=True)

    return trial


def paused(room: Room) -> Outcome:
    """A laptop is closed and opened again."""
    room.empty()
    command = _in_the_middle(room)
    command.send(SIGSTOP, to_all=True)
    sleep(3)
    command.send(SIGCONT, to_all=True)
    answer = command.wait()
    return room.bring_back() if answer.done else (WRONG, str(answer))


def stale_locks(room: Room) -> Outcome:
    """Lock files whose process is gone, with the number of one that lives now."""
    for folder in (room.workspace / "features" / "moles", room.workspace / "runs", room.workspace / "sweeps"):
        folder.mkdir(exist_ok=True)
        (folder / ".lock").write_text("1\n")
    for run in (room.workspace / "runs").glob("[!.]*"):
        run.with_name(f".{run.name}.lock").write_text(f"{os.getpid()}\n")
    answer = room.ask("cache gc --yes")
    return room.bring_back() if answer.done else (WRONG, str(answer))


def lock_is_a_folder(room: Room) -> Outcome:
    lock = room.workspace / "features" / "moles" / ".lock"
    lock.unlink(missing_ok=True)
    lock.mkdir(parents=True, exist_ok=True)
    answer = room.ask(extract_words(room.csv, room.workspace, augmentations="flip", views=3))
    return (room.compare() if answer.done else room.refused(answer)) if answer.is_ours else (WRONG, str(answer))


def table_changes(room: Room) -> Outcome:
    """The table is turned round and cut while its images are extracted; later it is whole again."""
    room.empty()
    whole = room.csv.read_text(encoding="utf-8")
    header, *rows = whole.splitlines(keepends=True)
    command = _in_the_middle(room)
    room.csv.write_text(header + "".join(reversed(rows[: len(rows) // 2])), encoding="utf-8")
    first = command.wait()
    second = room.ask(room.extraction)
    room.csv.write_text(header + "".join(reversed(rows)), encoding="utf-8")
    third = room.ask(room.extraction)
    room.csv.write_text(whole, encoding="utf-8")
    bad = [answer for answer in (first, second, third) if not answer.is_ours]
    return (WRONG, str(bad[0])) if bad else room.bring_back(mended=True)


def images_change(room: Room) -> Outcome:
    """Images are darkened while they are extracted, and get their light back afterwards."""
    room.empty()
    paths = sorted((room.csv.parent / "images").iterdir())
    bright = {path: path.read_bytes() for path in paths}
    command = room.begin(room.extraction)
    for path in paths:
        with Image.open(path) as image:
            image.point(lambda value: value // 2).save(path)
    first = command.wait()
    if not first.is_ours:
        return WRONG, str(first)
    for path, content in bright.items():
        path.write_bytes(content)
    return room.bring_back(mended=True)


def half_removed(room: Room) -> Outcome:
    """`cache rm` that stopped after some files."""
    for store in sorted(room.workspace.glob("features/*/*/*.zarr")):
        files = sorted(path for path in store.rglob("*") if path.is_file())
        room.random.shuffle(files)
        for path in files[: room.random.randrange(1, len(files))]:
            path.unlink()
    for words in ("cache ls", "cache verify", "cache gc --yes"):
        answer = room.ask(words)
        if not answer.is_ours:
            return WRONG, f"`{words}`: {answer}"
    return room.bring_back(mended=True)


def swept_while_filled(room: Room) -> Outcome:
    """`cache gc` while an extraction works."""
    room.empty()
    command, answers = _in_the_middle(room), list[Answer]()
    while command.alive:
        answers.append(room_of_its_own(room, "cache gc --yes"))
    done = command.wait()
    bad = [answer for answer in (*answers, done) if not answer.is_ours]
    if bad or not done.done:
        return WRONG, str((bad or [done])[0])
    return room.bring_back()


def verified_while_filled(room: Room) -> Outcome:
    """`cache verify` and `cache ls` while an extraction works: nothing is called damaged."""
    room.empty()
    command = _in_the_middle(room)
    while command.alive:
        for words in ("cache verify", "cache ls"):
            answer = room_of_its_own(room, words)
            if not answer.done:
                return WRONG, f"`{words}`: {answer}"
    return room.bring_back() if command.wait().done else (WRONG, command.output)


def removed_while_read(room: Room) -> Outcome:
    """`cache rm` while a head is trained on it: the run is right, or refused."""
    (store,) = (path.relative_to(room.workspace / "features") for path in room.workspace.glob("features/*/*/*.zarr"))
    training = room.begin([*room.training, "--force"])
    sleep(room.random.random() * 0.3)
    removal = room_of_its_own(room, f"cache rm {store} --yes")
    answer = training.wait()
    if not removal.is_ours or not answer.is_ours:
        return WRONG, f"{removal}; {answer}"
    for run in list((room.workspace / "runs").glob("[!.]*"))[1:]:
        shutil.rmtree(run)
    return room.bring_back(mended=True)


def twins(which: str) -> Trial:
    """The same command twice at once."""

    def trial(room: Room) -> Outcome:
        if which == "extraction":
            room.empty()
        else:
            shutil.rmtree(room.workspace / "runs")
        words = getattr(room, which)
        folders = [room.folder / name for name in ("first", "second")]
        for folder in folders:
            folder.mkdir()
        answers = [command.wait() for command in [Command(words, folder) for folder in folders]]
        bad = [answer for answer in answers if not answer.is_ours]
        if bad or not any(answer.done for answer in answers):
            return (WRONG if bad else LOST), str((bad or answers)[0])
        return room.bring_back()

    return trial


def room_of_its_own(room: Room, words: str) -> Answer:
    """Run a command beside another one of the room, with its output apart."""
    folder = room.folder / "beside"
    folder.mkdir(exist_ok=True)
    return Command(room.full(words), folder).wait()


def _in_the_middle(room: Room) -> Command:
    """An extraction that has written something."""
    command = room.begin(room.extraction)
    while command.alive and not list(room.workspace.glob(CHUNKS)):
        sleep(0.001)
    return command


TRIALS: dict[str, Trial] = {
    "files from the year 2090": clock(2090),
    "files from the year 1971": clock(1971),
    "image replaced in secret": secret_change,
    "SIGTERM": signalled(SIGTERM),
    "SIGHUP": signalled(SIGHUP),
    "asleep in the middle": paused,
    "stale locks": stale_locks,
    "lock that is a folder": lock_is_a_folder,
    "table changed meanwhile": table_changes,
    "images changed meanwhile": images_change,
    "store half removed": half_removed,
    "gc meanwhile": swept_while_filled,
    "verify and ls meanwhile": verified_while_filled,
    "rm while a head trains": removed_while_read,
    "two equal extractions at once": twins("extraction"),
    "two equal trainings at once": twins("training"),
}
