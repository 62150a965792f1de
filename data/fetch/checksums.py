"""Digests of whole files: as servers give them in their answers, and computed from what came."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CRC32C = "crc32c"
_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class Digest:
    """A digest of a file. `algorithm` is a name that hashlib knows or "crc32c"; `value` is hexadecimal."""

    algorithm: str
    value: str


def named_digest(algorithm: str, value: str) -> Digest | None:
    """The digest that a catalogue gives as a name and a hexadecimal value; None where the algorithm is unknown.

    >>> named_digest("SHA-256", "AB12")
    Digest(algorithm='sha256', value='ab12')
    """
    name = algorithm.lower().replace("-", "")
    return Digest(name, value.lower()) if value and name in hashlib.algorithms_available else None


def digest_in(headers: Mapping[str, str], whole: bool) -> Digest | None:
    """The digest of the whole file that an answer's headers give; None where they give none that is understood.

    Google's storage, from which Kaggle serves, gives `x-goog-hash: crc32c=..., md5=...` of the whole file with any part
    of it. `Content-MD5` is of what was sent, so it counts only where `whole` says that this is all of the file.
    """
    found: dict[str, str] = {}
    for item in headers.get("x-goog-hash", "").split(","):
        algorithm, _, value = item.strip().partition("=")
        found[algorithm.lower()] = value
    if whole:
        found.setdefault("md5", headers.get("Content-MD5", ""))
    for algorithm, size in (("md5", 16), (CRC32C, 4)):
        try:
            content = base64.b64decode(found.get(algorithm, ""), validate=True)
        except binascii.Error:
            continue
        if len(content) == size:
            return Digest(algorithm, content.hex())
    return None


def digest_of(path: Path, algorithm: str, advance: Callable[[int], None] = lambda done: None) -> str:
    """The digest (hexadecimal) of a file's bytes; `advance` hears how many are done."""
    state = _start(algorithm)
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
            done += len(chunk)
            advance(done)
    return str(state.hexdigest()) if algorithm != CRC32C else state.digest().hex()


def _start(algorithm: str) -> Any:
    if algorithm == CRC32C:
        from google_crc32c import Checksum

        return Checksum()
    return hashlib.new(algorithm, usedforsecurity=False)
