"""Archives that deceive: `cache import` refuses them, writes nothing outside, and leaves the workspace as it was."""

from __future__ import annotations

import hashlib
import json
import resource
import stat
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.stress.contents import all_in, files_in
from tests.stress.processes import Answer, ask, in_child
from tests.stress.tally import LOST, WRONG, Tally, shortened
from tests.stress.world import Bench, draw_images, extract_words, fresh_copy, must

SEAL, MANIFEST, LONG_AGO = b"sha256:", "manifest.json", (1980, 1, 1, 0, 0, 0)
MEMORY = 2 << 30
"""Bytes that an import may ask for beyond what it begins with."""


@dataclass
class Forged:
    """An archive whose checksums are right, whatever is in it.

    Attributes:
        members: Name -> content, the manifest apart.
        manifest: What it says; its digests are made at the end.
        modes: Unix modes of members, links among them.
        packed: Members that are compressed.
        twice: Members that come a second time, with other content.
        lies: Name -> what the manifest says of it instead.
    """

    members: dict[str, bytes]
    manifest: Any
    modes: dict[str, int] = field(default_factory=dict)
    packed: set[str] = field(default_factory=set)
    twice: dict[str, bytes] = field(default_factory=dict)
    lies: dict[str, Any] = field(default_factory=dict)
    unlisted: set[str] = field(default_factory=set)
    text: bytes | None = None

    @classmethod
    def of(cls, path: Path) -> Forged:
        """The members of a sound archive."""
        with zipfile.ZipFile(path) as opened:
            members = {name: opened.read(name) for name in opened.namelist()}
        return cls(members, json.loads(members.pop(MANIFEST)))

    def pick(self, random: Random, *words: str) -> str:
        """One of the members whose name holds all these words."""
        return random.choice(sorted(name for name in self.members if all(word in name for word in words)))

    def write(self, path: Path) -> None:
        """Write it with a manifest, checksums and seal that fit."""
        if isinstance(self.manifest, dict):
            listed = {n: _entry(content) for n, content in self.members.items() if n not in self.unlisted}
            self.manifest["files"] = listed | self.lies
        manifest = json.dumps(self.manifest, indent=1, sort_keys=True).encode() if self.text is None else self.text
        with zipfile.ZipFile(path, "w") as opened:
            for name, content in [*self.members.items(), *self.twice.items(), (MANIFEST, manifest)]:
                info = zipfile.ZipInfo(name, LONG_AGO)
                info.create_system, info.external_attr = 3, self.modes.get(name, 0o644) << 16
                opened.writestr(info, content, zipfile.ZIP_DEFLATED if name in self.packed else zipfile.ZIP_STORED)
            opened.comment = SEAL + b"0" * 64
        seal(path)


def _entry(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def seal(path: Path) -> None:
    """Make the digest at the end of a file that of all before it."""
    content = path.read_bytes()[:-64]
    path.write_bytes(content + hashlib.sha256(content).hexdigest().encode())


def forgeries() -> dict[str, Callable[[Forged, Random], object]]:
    """By name, what is done to a sound archive before it is sealed again."""

    def inserted(name: str, mode: int = 0o644, content: bytes = b"stolen") -> Callable[[Forged, Random], object]:
        def change(forged: Forged, random: Random) -> None:
            forged.members[name], forged.modes[name] = content, mode

        return change

    def into_json(words: tuple[str, ...], key: str, value: Any) -> Callable[[Forged, Random], object]:
        def change(forged: Forged, random: Random) -> None:
            name = forged.pick(random, *words)
            content = json.loads(forged.members[name])
            holder: Any = content
            *path, last = key.split(".")
            for part in path:
                holder = holder[part]
            holder[last] = value
            forged.members[name] = json.dumps(content).encode()

        return change

    def store_says(key: str, value: Any) -> Callable[[Forged, Random], object]:
        def change(forged: Forged, random: Random) -> None:
            holder: Any = random.choice(forged.manifest["stores"])
            *path, last = key.split(".")
            for part in path:
                holder = holder[part]
            holder[last] = value

        return change

    def manifest_is(value: Any) -> Callable[[Forged, Random], object]:
        return lambda forged, random: setattr(forged, "manifest", value)

    def text_is(text: bytes) -> Callable[[Forged, Random], object]:
        return lambda forged, random: setattr(forged, "text", text)

    def table_is(text: bytes) -> Callable[[Forged, Random], object]:
        return lambda forged, random: forged.members.update({"table.csv": text})

    def exchanged(forged: Forged, random: Random) -> None:
        first, second = random.sample(sorted(n for n in forged.members if "/c/" in n and "features/c" in n), 2)
        forged.members[first], forged.members[second] = forged.members[second], forged.members[first]

    def bomb(forged: Forged, random: Random) -> None:
        name = forged.pick(random, "/c/")
        forged.members[name], forged.packed = b"\x00" * (256 << 20), {name}

    def unpacking_bomb(forged: Forged, random: Random) -> None:
        import pyarrow

        name = forged.pick(random, "/c/", "features/c")
        packed = pyarrow.Codec("zstd").compress(b"\x00" * (1 << 30), asbytes=True)
        forged.members[name] = packed + _crc(packed)

    def doubled(forged: Forged, random: Random) -> None:
        forged.twice[forged.pick(random, "/c/")] = b"another"

    def lied(forged: Forged, random: Random) -> None:
        name = forged.pick(random)
        forged.lies[name] = {"bytes": 1, "sha256": hashlib.sha256(b"other").hexdigest()}

    def missing(forged: Forged, random: Random) -> None:
        name = forged.pick(random)
        forged.lies[name] = _entry(forged.members.pop(name))

    def hidden(forged: Forged, random: Random) -> None:
        forged.unlisted.add(forged.pick(random))

    def odd_chunk(forged: Forged, random: Random) -> None:
        name = forged.pick(random, "/c/")
        content = bytearray(forged.members[name])
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
        forged.members[name] = bytes(content)

    def cut_chunk(forged: Forged, random: Random) -> None:
        name = forged.pick(random, "/c/")
        forged.members[name] = forged.members[name][: random.randrange(len(forged.members[name]))]

    link, deep = stat.S_IFLNK | 0o777, b"[" * 100_000
    return {
        "parent folder": inserted("../stolen.txt"),
        "parent folder in the features": inserted("features/../../../stolen.txt"),
        "absolute name": inserted("/tmp/hamcache-stolen.txt"),
        "name of another system": inserted("features\\..\\..\\stolen.txt"),
        "drive": inserted("C:\\stolen.txt"),
        "link": inserted("features/moles/link", link, b"../../../.."),
        "link in place of the table": inserted("table.csv", link, b"/etc/hostname"),
        "long name": inserted("features/" + "n" * 5000),
        "device": inserted("features/device", stat.S_IFCHR | 0o666),
        "empty name": inserted(" "),
        "bomb": bomb,
        "bomb in a chunk": unpacking_bomb,
        "member twice": doubled,
        "manifest lies": lied,
        "member missing": missing,
        "member not listed": hidden,
        "chunks exchanged": exchanged,
        "flipped bit in a chunk": odd_chunk,
        "chunk cut": cut_chunk,
        "no manifest": text_is(b""),
        "manifest null": manifest_is(None),
        "manifest list": manifest_is([]),
        "manifest deep": text_is(deep),
        "manifest huge number": text_is(b'{"format": ' + b"9" * 100_000 + b"}"),
        "manifest not UTF-8": text_is(b"\xff\xfe\x00"),
        "store elsewhere": store_says("key.dataset", "../../elsewhere"),
        "store absolute": store_says("key.dataset", "/tmp"),
        "store of NUL": store_says("key.dataset", "a\0b"),
        "backbone is a path": store_says("key.backbone", "../../../x"),
        "augmentation is a path": store_says("key.augmentation", {"name": "../../x"}),
        "key is null": store_says("key", None),
        "views without end": store_says("views", 1 << 40),
        "views negative": store_says("views", -1),
        "views are text": store_says("views", "two"),
        "width zero": store_says("dim", 0),
        "width huge": store_says("dim", 1 << 23),
        "images huge": store_says("images", 1 << 50),
        "stores null": lambda forged, random: forged.manifest.update(stores=None),
        "stores of numbers": lambda forged, random: forged.manifest.update(stores=[1, 2]),
        "store twice": lambda forged, random: forged.manifest["stores"].append(forged.manifest["stores"][0]),
        "other data set": lambda forged, random: forged.manifest.update(dataset="..", format="hamcache-features"),
        "other version": lambda forged, random: forged.manifest.update(version=99),
        "attributes null": into_json(("zarr/zarr.json",), "attributes", None),
        "table empty": table_is(b""),
        "table header only": table_is(b"image_id,path,label,group\n"),
        "table of paths": table_is(b"image_id,path,label,group\n../../../x,/etc/passwd,a,b\n"),
        "table binary": table_is(bytes(range(256)) * 10),
        "table long field": table_is(b"image_id,path,label,group\n" + b"x" * 10_000_000 + b",a,b,c\n"),
        "quarantine null": inserted("quarantine.json", content=b"null"),
        "quarantine wrong": inserted("quarantine.json", content=b'[{"image_id": 1}]'),
    }


def forge_archives(bench: Bench, tally: Tally) -> None:
    """Import 200 archives that were forged, cut or changed."""
    csv, source = draw_images(bench.folder / "data", 150), bench.folder / "source"
    must(extract_words(csv, source, augmentations="flip,none", views=2), bench.folder)
    sound = bench.folder / "sound.zip"
    must(["cache", "export", "--workspace", source, "moles", sound], bench.folder)
    must(["cache", "import", "--workspace", bench.folder / "imported", sound], bench.folder)
    expected = in_child(all_in, bench.folder / "imported")
    work = list(_work(sound, bench))
    bench.begin()
    with ThreadPoolExecutor(bench.jobs) as pool:
        tasks = [pool.submit(_try, bench, number, name, make, expected) for number, (name, make) in enumerate(work)]
        for task in tasks:
            result = task.result()
            if result is not None:
                tally.count(*result)
                if result[2]:
                    bench.say(": ".join((result[1], result[0], shortened(result[2]))))


def _work(sound: Path, bench: Bench) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Name and maker of each archive."""
    content = sound.read_bytes()

    def forged(change: Callable[[Forged, Random], object], seed: int) -> Callable[[Path], object]:
        def make(path: Path) -> None:
            forgery = Forged.of(sound)
            change(forgery, Random(seed))
            forgery.write(path)

        return make

    def changed(place: int, bit: int, again: bool) -> Callable[[Path], object]:
        def make(path: Path) -> None:
            other = bytearray(content)
            other[place] ^= 1 << bit
            path.write_bytes(other)
            if again:
                seal(path)

        return make

    for name, change in forgeries().items():
        if bench.share == 1 or bench.random.random() < 3 * bench.share:
            yield name, forged(change, bench.random.randrange(1 << 30))
    for _ in range(bench.count(50)):
        length = bench.random.randrange(len(content))
        yield f"cut to {length} bytes", lambda path, length=length: path.write_bytes(content[:length])
    for again in (False, True):
        for _ in range(bench.count(50)):
            place = bench.random.randrange(len(content) - 64)
            words = f"bit flipped in byte {place}{', sealed again' if again else ''}"
            yield words, changed(place, bench.random.randrange(8), again)


def _try(
    bench: Bench, number: int, name: str, make: Callable[[Path], object], expected: dict[str, str]
) -> tuple[str, str, str] | None:
    """Import one archive into a workspace that has something already."""
    if bench.late:
        return None
    room = bench.folder / f"archive{number}" / "room"
    workspace, file = room / "workspace", room.parent / "forged.zip"
    fresh_copy(bench.folder / "imported", workspace) if number % 2 else workspace.mkdir(parents=True)
    make(file)
    before = files_in(room.parent)
    try:
        answer: Answer = in_child(_import, file, workspace)
    except RuntimeError as error:
        return WRONG, name, str(error)
    after = files_in(room.parent)
    if not answer.is_ours:
        return WRONG, name, str(answer)
    outside = {path for path in after.keys() | before.keys() if not path.startswith("room/workspace")}
    if any(after.get(path) != before.get(path) for path in outside) or Path("/tmp/hamcache-stolen.txt").exists():
        return WRONG, name, "something was written outside the workspace"
    if answer.code == 0:
        try:
            got = in_child(all_in, workspace)
        except RuntimeError as error:
            return WRONG, name, f"accepted, and can't be read: {error}"
        return ("right", name, "") if got == expected else (WRONG, name, f"accepted, and differs: {answer}")
    if after != before:
        lost = [path for path in before if path not in after]
        changes = sorted(path for path in after.keys() | before.keys() if after.get(path) != before.get(path))
        return (LOST if lost else WRONG), name, f"refused, but the workspace changed: {changes[:5]}; {answer}"
    return "refused", name, ""


def _import(file: Path, workspace: Path) -> Answer:
    import psutil  # type: ignore[import-untyped]

    most = psutil.Process().memory_info().vms + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
    return ask("cache", "import", file, "--workspace", workspace)


def _crc(content: bytes) -> bytes:
    import google_crc32c

    return int(google_crc32c.value(content)).to_bytes(4, "little")
