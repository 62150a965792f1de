"""Damages to the files of a folder, chosen at random: what disks, copies, editors and people do to them."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

NUMBER = re.compile(r"(?<![\w.+-])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.])")
TEXTS = (".json", ".csv", ".yaml", ".txt", "")
REPLACEMENTS = (
    b"null",
    b"[]",
    b"{}",
    b'"text"',
    b"0",
    b"[null]",
    b'{"a": null}',
    b"\x00" * 64,
    b"\xff\xfe garbage",
    b"[" * 5000,
)


@dataclass(frozen=True)
class Patient:
    """The folder that is damaged.

    Attributes:
        folder: A store, run, sweep or grid.
        others: Sound folders of the same kind, to copy from.
        skipped: Names of files that nothing is promised about.
    """

    folder: Path
    others: Sequence[Path]
    skipped: tuple[str, ...] = (".lock",)

    def files(self) -> list[Path]:
        """Its files, relative to it, in order."""
        found = (path for path in self.folder.rglob("*") if path.is_file() and path.name not in self.skipped)
        return sorted(path.relative_to(self.folder) for path in found)

    def damage(self, random: Random) -> str:
        """Do one damage to one file; returns it in words."""
        kinds = list(KINDS)
        while True:
            name, file = random.choice(kinds), random.choice(self.files())
            before = _state(self.folder)
            detail = KINDS[name](self, file, random)
            if detail is not None and _state(self.folder) != before:
                return f"{name}: {file}{f' ({detail})' if detail else ''}"


def _flip(patient: Patient, file: Path, random: Random) -> str | None:
    path = patient.folder / file
    content = bytearray(path.read_bytes())
    if not content:
        return None
    place = random.randrange(len(content))
    content[place] ^= 1 << random.randrange(8)
    path.write_bytes(content)
    return f"byte {place} of {len(content)}"


def _cut(patient: Patient, file: Path, random: Random) -> str | None:
    path = patient.folder / file
    size = path.stat().st_size
    if size < 2:
        return None
    left = random.randrange(1, size)
    os.truncate(path, left)
    return f"{left} of {size} bytes left"


def _empty(patient: Patient, file: Path, random: Random) -> str:
    (patient.folder / file).write_bytes(b"")
    return ""


def _zeros(patient: Patient, file: Path, random: Random) -> str:
    path = patient.folder / file
    path.write_bytes(b"\x00" * path.stat().st_size)
    return ""


def _remove(patient: Patient, file: Path, random: Random) -> str:
    (patient.folder / file).unlink()
    return ""


def _extend(patient: Patient, file: Path, random: Random) -> str:
    with (patient.folder / file).open("ab") as opened:
        opened.write(random.randbytes(random.choice((1, 4, 300))))
    return ""


def _swap(patient: Patient, file: Path, random: Random) -> str | None:
    like = [other for other in patient.files() if other != file and other.suffix == file.suffix]
    if not like:
        return None
    other = random.choice(like)
    left, right = patient.folder / file, patient.folder / other
    left_bytes, right_bytes = left.read_bytes(), right.read_bytes()
    left.write_bytes(right_bytes), right.write_bytes(left_bytes)
    return f"with {other}"


def _copy_within(patient: Patient, file: Path, random: Random) -> str | None:
    like = [other for other in patient.files() if other != file and other.suffix == file.suffix]
    if not like:
        return None
    other = random.choice(like)
    shutil.copyfile(patient.folder / other, patient.folder / file)
    return f"by {other}"


def _copy_from(patient: Patient, file: Path, random: Random) -> str | None:
    sources = [other for other in patient.others if (other / file).is_file()]
    if not sources:
        return None
    source = random.choice(sources)
    shutil.copyfile(source / file, patient.folder / file)
    return f"by that of {source.name}"


def _replace(patient: Patient, file: Path, random: Random) -> str:
    content = random.choice(REPLACEMENTS)
    (patient.folder / file).write_bytes(content)
    return f"by {content[:16]!r}"


def _edit_number(patient: Patient, file: Path, random: Random) -> str | None:
    path = patient.folder / file
    if file.suffix not in TEXTS:
        return None
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        return None
    numbers = list(NUMBER.finditer(text))
    if not numbers:
        return None
    found = random.choice(numbers)
    next_to_it = found[0][:-1] + str((int(found[0][-1]) + 1) % 10)
    other = random.choice(["0", "1", "-1", "7", "0.123", "1e9", "9" * 20, next_to_it, next_to_it])
    path.write_bytes((text[: found.start()] + other + text[found.end() :]).encode())
    return f"{found[0]} -> {other}"


def _edit_json(patient: Patient, file: Path, random: Random) -> str | None:
    """Replace one value anywhere in a JSON file by one of another kind."""
    if file.suffix != ".json":
        return None
    try:
        content = json.loads((patient.folder / file).read_text(encoding="utf-8"))
    except ValueError:
        return None
    places: list[tuple[dict | list, str | int]] = []
    waiting = [content]
    while waiting:
        value = waiting.pop()
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in items:
            places.append((value, key))
            waiting.append(inner)
    if not places:
        return None
    holder, key = random.choice(places)
    other = random.choice([None, [], {}, "text", -1, 3.5, True, [[]]])
    holder[key] = other  # type: ignore[index]
    (patient.folder / file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return f"{key} -> {other!r}"


def _lines(change: Callable[[list[str], Random], list[str]]) -> Callable[[Patient, Path, Random], str | None]:
    """A damage to the lines of a CSV below its header."""

    def damage(patient: Patient, file: Path, random: Random) -> str | None:
        path = patient.folder / file
        if file.suffix != ".csv":
            return None
        header, *rows = path.read_text(encoding="utf-8").splitlines(keepends=True) or [""]
        if len(rows) < 2:
            return None
        path.write_text(header + "".join(change(rows, random)), encoding="utf-8")
        return ""

    return damage


def _twice(rows: list[str], random: Random) -> list[str]:
    place = random.randrange(len(rows))
    return [*rows[: place + 1], *rows[place:]]


def _dropped(rows: list[str], random: Random) -> list[str]:
    place = random.randrange(len(rows))
    return rows[:place] + rows[place + 1 :]


def _shuffled(rows: list[str], random: Random) -> list[str]:
    """The last field of two rows exchanged: each row is sound, the whole is wrong."""
    first, second = random.sample(range(len(rows)), 2)
    (left, _, a), (right, _, b) = rows[first].rpartition(","), rows[second].rpartition(",")
    rows = list(rows)
    rows[first], rows[second] = f"{left},{b}", f"{right},{a}"
    return rows


def _folder(patient: Patient, file: Path, random: Random) -> str:
    (patient.folder / file).unlink()
    (patient.folder / file).mkdir()
    return ""


def _link(patient: Patient, file: Path, random: Random) -> str:
    path = patient.folder / file
    path.unlink()
    target = random.choice((path.name, "nowhere"))
    path.symlink_to(target)
    return f"to {target}"


def _pipe(patient: Patient, file: Path, random: Random) -> str:
    (patient.folder / file).unlink()
    os.mkfifo(patient.folder / file)
    return ""


def _forbid(patient: Patient, file: Path, random: Random) -> str:
    (patient.folder / file).chmod(0)
    return ""


def _move_folder(patient: Patient, file: Path, random: Random) -> str | None:
    """Take a whole folder away, or put it in the place of its neighbour."""
    if file.parent == Path():
        return None
    parent = patient.folder / random.choice([p for p in file.parents if p != Path()])
    neighbours = sorted(p for p in parent.parent.iterdir() if p.is_dir() and p != parent)
    if neighbours and random.random() < 0.5:
        neighbour = random.choice(neighbours)
        shutil.rmtree(neighbour)
        parent.rename(neighbour)
        return f"{parent.relative_to(patient.folder)} to {neighbour.name}"
    shutil.rmtree(parent)
    return f"{parent.relative_to(patient.folder)} removed"


KINDS: dict[str, Callable[[Patient, Path, Random], str | None]] = {
    "flipped bit": _flip,
    "cut": _cut,
    "emptied": _empty,
    "zeros": _zeros,
    "removed": _remove,
    "longer": _extend,
    "swapped": _swap,
    "overwritten": _copy_within,
    "from another": _copy_from,
    "replaced": _replace,
    "edited number": _edit_number,
    "edited JSON": _edit_json,
    "doubled row": _lines(_twice),
    "dropped row": _lines(_dropped),
    "exchanged fields": _lines(_shuffled),
    "made a folder": _folder,
    "made a link": _link,
    "made a pipe": _pipe,
    "forbidden": _forbid,
    "moved folder": _move_folder,
}
"""By name; each returns details in words, or None where it does not fit the file."""


def _state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """All that a damage could change."""
    state = {}
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() and os.access(path, os.R_OK) else b""
        state[str(path)] = (path.lstat().st_mode, content)
    return state
