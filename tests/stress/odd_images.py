"""Odd images and tables: names that differ by case or Unicode form only, strange files, strange text encodings."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

from tests.stress.contents import stores_in
from tests.stress.odd_places import limit_memory
from tests.stress.processes import in_child
from tests.stress.rooms import RIGHT, Outcome, Room, Trial
from tests.stress.tally import WRONG
from tests.stress.world import extract_words


def named_alike(room: Room) -> Outcome:
    """Image ids and files that differ in case, or in their Unicode normal form only."""
    names = [
        "Mole",
        "mole",
        unicodedata.normalize("NFC", "Ünïcode"),
        unicodedata.normalize("NFD", "Ünïcode"),
        "ﬁ",
        "fi",
    ]
    images = sorted((room.csv.parent / "images").iterdir())
    rows = ["image_id,path,label,group"]
    for number, name in enumerate(names):
        shutil.copyfile(images[number], room.csv.parent / "images" / f"{name}.jpg")
        rows.append(f"{name},images/{name}.jpg,{'ab'[number % 2]},g{number}")
    if len(list((room.csv.parent / "images").iterdir())) < len(images) + len(names):
        return RIGHT  # this file system takes some of these names for one
    return _alike(room, rows, names, [f"img{number + 1:04d}" for number in range(len(names))])


def odd_files(room: Room) -> Outcome:
    """File names of shells, spaces, line ends, quotes, and of the greatest length."""
    names = [
        "-rf.jpg",
        "a b .jpg",
        "a\nb.jpg",
        'quo"te.jpg',
        "$(touch x).jpg",
        "%2e%2e.jpg",
        "n" * 250 + ".jpg",
        "[1]*.jpg",
    ]
    images = sorted((room.csv.parent / "images").iterdir())
    rows = ["image_id,path,label,group"]
    for number, name in enumerate(names):
        shutil.copyfile(images[number], room.csv.parent / name)
        quoted = name.replace('"', '""')
        rows.append(f'odd{number},"{quoted}",{"ab"[number % 2]},g{number}')
    return _alike(room, rows, [f"odd{n}" for n in range(len(names))], [f"img{n + 1:04d}" for n in range(len(names))])


def one_file_twice(room: Room) -> Outcome:
    """Two image ids with one file, and one that is a link to another."""
    images = sorted((room.csv.parent / "images").iterdir())
    (room.csv.parent / "images" / "link.jpg").symlink_to(images[0].name)
    os.link(images[0], room.csv.parent / "images" / "hard.jpg")
    rows = ["image_id,path,label,group", *(f"o{n},images/{name},{'ab'[n % 2]},g{n}" for n, name in
            enumerate(("img0001.jpg", "img0001.jpg", "link.jpg", "hard.jpg")))]  # fmt: skip
    return _alike(room, rows, ["o0", "o1", "o2", "o3"], ["img0001"] * 4)


def special_files(room: Room) -> Outcome:
    """A pipe, an endless device, a folder in the place of images: quarantined, without a hang."""
    folder = room.csv.parent / "images"
    os.mkfifo(folder / "pipe.jpg")
    (folder / "endless.jpg").symlink_to("/dev/zero")
    (folder / "folder.jpg").mkdir()
    (folder / "circle.jpg").symlink_to("circle.jpg")
    (folder / "empty.jpg").write_bytes(b"")
    bad = ("pipe", "endless", "folder", "circle", "empty")
    text = room.csv.read_text(encoding="utf-8")
    room.csv.write_text(text + "".join(f"{n},images/{n}.jpg,nv,{n}\n" for n in bad), encoding="utf-8")
    room.empty()
    answer = room.begin(room.extraction, before=limit_memory).wait(60)
    if not answer.done:
        return WRONG, str(answer)
    if "5 quarantined" not in answer.output:
        return WRONG, f"expected 5 quarantined: {answer.output[-400:]}"
    room.csv.write_text(text, encoding="utf-8")
    return room.bring_back()


def encoded(encoding: str, ends: str) -> Trial:
    """The same table, as other programs write it."""

    def trial(room: Room) -> Outcome:
        text = room.csv.read_text(encoding="utf-8")
        room.csv.write_bytes(text.replace("\n", ends).encode(encoding))
        answer = room.ask(room.extraction)
        if encoding.startswith("utf-16"):
            return room.refused(answer, "UTF-8")
        return room.bring_back() if answer.done else (WRONG, str(answer))

    return trial


def turned(room: Room) -> Outcome:
    """The rows of the table in another order, from nothing: the same vector for each image."""
    header, *rows = room.csv.read_text(encoding="utf-8").splitlines(keepends=True)
    room.random.shuffle(rows)
    room.csv.write_text(header + "".join(rows), encoding="utf-8")
    shutil.rmtree(room.workspace / "features")
    return room.bring_back(mended=True)


def _alike(room: Room, rows: list[str], ids: list[str], originals: list[str]) -> Outcome:
    """Extract images under other names: their vectors must be those of the originals."""
    room.csv.with_name("odd.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    odd = room.folder / "odd"
    answer = room.ask(extract_words(room.csv.with_name("odd.csv"), odd))
    if not answer.done:
        return WRONG, str(answer)
    calm = room.folder / "calm"
    plain = room.ask(extract_words(room.csv, calm))
    if not plain.done:
        return WRONG, str(plain)
    same = in_child(same_vectors, odd, ids, calm, originals)
    return RIGHT if same else (WRONG, f"vectors differ: {in_child(stores_in, odd / 'features')}")


def same_vectors(left: Path, left_ids: list[str], right: Path, right_ids: list[str]) -> bool:
    """True if two workspaces hold the same vectors for images of other names."""
    from hamcache.cache.catalogue import Catalogue

    (one,), (other,) = (Catalogue(path / "features").stores() for path in (left, right))
    return bool((one.read(left_ids) == other.read(right_ids)).all())


TRIALS: dict[str, Trial] = {
    "image ids that look alike": named_alike,
    "file names for shells and globs": odd_files,
    "one file for several images": one_file_twice,
    "pipes and devices as images": special_files,
    "table with a byte order mark and CRLF": encoded("utf-8-sig", "\r\n"),
    "table in UTF-16": encoded("utf-16", "\n"),
    "table in another order": turned,
}
