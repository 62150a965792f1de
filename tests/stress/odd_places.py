"""Odd places and odd circumstances that a workspace may be in: moved, linked, copied, read-only, misnamed, cramped."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from tests.stress.contents import files_in
from tests.stress.processes import Answer
from tests.stress.rooms import RIGHT, Outcome, Room, Trial, seen_read_only
from tests.stress.tally import WRONG
from tests.stress.world import NET, extract_words


def moved(room: Room) -> Outcome:
    room.workspace.rename(room.folder / "elsewhere")
    return room.bring_back(workspace=room.folder / "elsewhere")


def linked(room: Room) -> Outcome:
    room.workspace.rename(room.folder / "real")
    room.workspace.symlink_to("real")
    return room.bring_back()


def hard_linked(room: Room) -> Outcome:
    """Two workspaces share files by hard links; one of them goes on."""
    twin = room.folder / "twin"
    shutil.copytree(room.workspace, twin, copy_function=os.link)
    before = files_in(twin)
    more = room.ask(extract_words(room.csv, room.workspace, augmentations="flip,none", views=3))
    if not more.done:
        return WRONG, str(more)
    after = files_in(twin)
    changed = [name for name in before if after.get(name) != before[name]]
    return (WRONG, f"the other workspace changed: {changed}") if changed else room.compare(workspace=twin)


def odd_name(name: str) -> Trial:
    """A workspace whose name means something to globs, URLs or shells."""

    def trial(room: Room) -> Outcome:
        room.workspace.rename(room.folder / name)
        return room.bring_back(workspace=room.folder / name)

    return trial


def copied_while_written(room: Room) -> Outcome:
    room.empty()
    command = room.begin(room.extraction)
    copy = room.folder / "copy"
    while command.alive and not list(room.workspace.glob("features/*/*/*.zarr/*/c/*")):
        pass
    for _ in range(20):
        shutil.rmtree(copy, ignore_errors=True)
        try:
            shutil.copytree(room.workspace, copy, ignore=shutil.ignore_patterns("*.partial"))
            break
        except (OSError, shutil.Error):
            continue
    if not command.wait().done:
        return WRONG, command.output
    listed = room.ask(["cache", "verify", "--workspace", copy])
    return room.bring_back(mended=True, workspace=copy) if listed.is_ours else (WRONG, str(listed))


def read_only(room: Room) -> Outcome:
    """All that only reads works on a disk that cannot be written; what writes says so."""
    see = {"before": partial(seen_read_only, room.folder)}
    (room.folder / ".output.txt").touch()
    log = room.folder.parent
    (run,) = (path.name for path in (room.workspace / "runs").iterdir() if not path.name.startswith("."))
    image = next((room.folder / "data" / "images").iterdir())
    where = ["--workspace", room.workspace]
    from tests.stress.processes import run as run_in

    reading: list[list[str | Path]] = [
        ["runs", *where], ["runs", "show", run, *where], ["cache", "ls", *where], ["cache", "verify", *where],
        ["predict", run, image, *where], room.extraction, room.training,
    ]  # fmt: skip
    for words in reading:
        answer = run_in(words, log, **see)
        if "no mounts of one's own" in answer.output:
            return RIGHT
        if not answer.done:
            return WRONG, f"`{' '.join(map(str, words[:2]))}` on a read-only disk: {answer}"
    more = extract_words(room.csv, room.workspace, augmentations="flip", views=4)
    return room.refused(run_in(more, log, **see), "Read-only", "read-only")


def leftovers_of_others(room: Room) -> Outcome:
    """What file managers, editors, network disks and Python leave in folders."""
    names = (
        ".nfs000000000012ab34",
        ".DS_Store",
        "Thumbs.db",
        "desktop.ini",
        "#lock#",
        "notes.txt~",
        ".goutputstream-X",
    )
    for place in [room.workspace, *(path for path in room.workspace.rglob("*") if path.is_dir())]:
        for name in names:
            (place / name).write_bytes(b"\x00\x01")
        (place / "__pycache__").mkdir()
        (place / "__pycache__" / "store.cpython-27.pyc").write_bytes(b"old")
        (place / "lost+found").mkdir()
    for words in ("runs", "sweeps", "grids", "cache ls", "report --gallery 0"):
        answer = room.ask(words)
        if not answer.done:
            return WRONG, f"`{words}`: {answer}"
    verified = room.ask("cache verify")  # names those that are not hidden: they could be chunks out of place
    if not verified.refused or "is no file of this store" not in verified.output or "gone" in verified.output:
        return WRONG, f"`cache verify`: {verified}"
    return room.bring_back()


def loops(room: Room) -> Outcome:
    """Links that lead back to where they lie."""
    for place in ("", "features", "features/moles", "runs"):
        (room.workspace / place / "loop").symlink_to(".")
        (room.workspace / place / "nowhere").symlink_to("nowhere at all")
    for words in ("runs", "cache ls", "cache verify"):
        answer = room.ask(words)
        if not answer.done:
            return WRONG, f"`{words}`: {answer}"
    return room.bring_back()


def files_for_folders(room: Room) -> Outcome:
    """A file where a folder should be."""
    shutil.rmtree(room.workspace)
    for name in ("features", "runs", "digests", "sweeps", "checkpoints"):
        room.workspace.mkdir()
        (room.workspace / name).write_text("a file")
        for words in (room.extraction, room.training, "runs", "sweeps", "cache ls", "cache gc --yes"):
            answer = room.ask(words)
            if not answer.is_ours:
                return WRONG, f"`{name}` is a file, {words[:2]}: {answer}"
        shutil.rmtree(room.workspace)
    room.workspace.write_text("a file")
    answer = room.ask(room.extraction)
    return room.refused(answer)


def few_descriptors(room: Room) -> Outcome:
    room.empty()
    answer = room.ask(room.extraction, before=partial(_limit, resource.RLIMIT_NOFILE, 64))
    return room.bring_back(mended=True) if answer.is_ours else (WRONG, str(answer))


def little_memory(room: Room) -> Outcome:
    """Too little memory: a message, not a wrong vector."""
    room.empty()
    answer = room.ask(room.extraction, before=partial(limit_memory, 200 << 20))
    return room.bring_back(mended=True) if answer.is_ours else (WRONG, str(answer))


def no_home(room: Room) -> Outcome:
    room.empty()
    strange = {"HOME": "/proc/nowhere", "XDG_CACHE_HOME": "/proc/nowhere", "MPLCONFIGDIR": "/proc/nowhere"}
    answer = room.ask(room.extraction, environment=strange, really=True)
    return room.bring_back() if answer.done else (WRONG, str(answer))


def strange_locale(room: Room) -> Outcome:
    """Another language, time zone and umask; paths and labels beyond ASCII."""
    room.empty()
    strange = {"LANG": "C", "LC_ALL": "C", "TZ": "Pacific/Kiritimati", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    text = room.csv.read_text(encoding="utf-8").replace(",nv,", ",næ vus ü,")
    room.csv.write_text(text, encoding="utf-8")
    first = room.ask(room.extraction, environment=strange, really=True)
    second = room.ask(room.training, environment=strange, before=partial(os.umask, 0o077))
    listed = room.ask("runs", environment=strange, really=True)
    bad = [answer for answer in (first, second, listed) if not answer.done]
    return (WRONG, str(bad[0])) if bad else RIGHT


def no_temporary_folder(room: Room) -> Outcome:
    """A folder for temporary files that is not there, or not to be written."""
    for place in ("/proc/nowhere", "/dev/full"):
        room.empty()
        answer = room.ask(room.extraction, environment={"TMPDIR": place}, really=place == "/dev/full")
        if not answer.is_ours:
            return WRONG, f"TMPDIR={place}: {answer}"
    return room.bring_back()


def deaf_listener(room: Room) -> Outcome:
    """Output into a full device, a closed pipe, nothing at all."""
    line = [
        sys.executable,
        *(["-P"] if sys.flags.safe_path else []),
        "-m",
        "hamcache",
        "runs",
        "--workspace",
        room.workspace,
    ]
    for redirection in (">/dev/full", ">&-", "2>&- >&-", "| head -c 1 >/dev/null"):
        whole = f'exec 3>&2; "$@" 2>{room.folder}/errors.txt {redirection}'
        ended = subprocess.run(["bash", "-c", whole, "bash", *map(str, line)], timeout=120, capture_output=True)
        said = (room.folder / "errors.txt").read_text(errors="replace") + ended.stderr.decode(errors="replace")
        if "Traceback" in said or "Exception ignored" in said or "has a fault" in said:
            return WRONG, f"{redirection}: {said[-600:]}"
    return RIGHT


def deep_path(room: Room) -> Outcome:
    deep = room.folder / "/".join(["d" * 120] * 20)
    answer = room.ask(["runs", "--workspace", deep])
    if not answer.is_ours:
        return WRONG, str(answer)
    made = room.ask(extract_words(room.csv, deep, augmentations="flip", views=2))
    return RIGHT if made.is_ours else (WRONG, str(made))


def foreign_archive_pipe(room: Room) -> Outcome:
    """A pipe that nobody writes to, where a file is expected."""
    os.mkfifo(room.folder / "pipe")
    for words in ("cache import pipe", "train --config pipe", f"train --dataset pipe --features {NET}"):
        command = room.begin(words)
        answer: Answer = command.wait(60)
        if not answer.refused:
            return WRONG, f"`{words}`: {answer}"
    return "refused", ""


TRIALS: dict[str, Trial] = {
    "workspace moved": moved,
    "workspace behind a link": linked,
    "hard links between workspaces": hard_linked,
    "name with brackets and stars": odd_name("my [1] w*rk?"),
    "name with percent, hash and colon": odd_name("a%20b#c:d&e"),
    "name with spaces, quotes and accents": odd_name('o\'neil "é" {x}'),
    "name that begins with a dash": odd_name("-rf"),
    "copied while it is written": copied_while_written,
    "disk that is read-only": read_only,
    "leftovers of other programs": leftovers_of_others,
    "links in circles": loops,
    "files in the place of folders": files_for_folders,
    "64 file descriptors": few_descriptors,
    "little memory": little_memory,
    "no home folder": no_home,
    "strange locale, zone and umask": strange_locale,
    "no temporary folder": no_temporary_folder,
    "output that cannot be written": deaf_listener,
    "path of 2,400 characters": deep_path,
    "pipe instead of a file": foreign_archive_pipe,
}


def _limit(what: int, number: int) -> None:
    resource.setrlimit(what, (number, resource.getrlimit(what)[1]))


def limit_memory(most: int = 4 << 30) -> None:
    """Give this process so many bytes beyond what it has."""
    _limit(resource.RLIMIT_AS, psutil.Process().memory_info().vms + most)
