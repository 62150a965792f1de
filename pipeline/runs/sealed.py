"""Files of artefacts, read strictly and by their checksums: a folder holds what was written, or is named as damaged.

Each artefact has one JSON record that is written last. It holds the sha256 of the other files (`sha256`) and of itself
(`seal`), so that bytes of another run are not taken for this one's. Logs and pictures, which are added to afterwards,
are not sealed. What was written before there were checksums is read without them; its shape is checked all the same.
"""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError

from hamcache.data.documents import parse_json
from hamcache.pipeline.config.overrides import parse_yaml
from hamcache.pipeline.errors import ConfigError, DamagedError

DIGESTS, SEAL = "sha256", "seal"
CHANGED = "is not the file that was written: it was changed since, or is another one's"


@dataclass(frozen=True)
class Files:
    """The files of one artefact. Every way to read one raises a DamagedError that names the folder and the file.

    Attributes:
        folder: Where they lie.
        noun: The artefact is one: `run`.
        advice: The sentence that tells what to do about a damaged one.
        digests: Relative path -> sha256; None where it was written before there were checksums.
    """

    folder: Path
    noun: str
    advice: str
    digests: Mapping[str, str] | None = None

    def damaged(self, name: str, what: object) -> DamagedError:
        """The error that a file of it is damaged: `what` completes the sentence that begins with its name."""
        words = " ".join(str(what).split())
        noun, folder = self.noun, self.folder
        sentence = f"Expected a {noun}, but {folder} is not a whole {noun}: {name} {words}. {self.advice}"
        return DamagedError(sentence, name, words)

    def read(self, name: str) -> bytes:
        """The bytes of a file, which is not empty and as it was written."""
        path = self.folder / name
        try:
            if path.exists() and not path.is_file():
                raise self.damaged(name, "is a folder" if path.is_dir() else "is no file")
            content = path.read_bytes()
        except FileNotFoundError:
            raise self.damaged(name, "is missing") from None
        except (OSError, ValueError) as error:
            raise self.damaged(name, f"cannot be read ({error})") from error
        if not content.strip():
            raise self.damaged(name, "is empty")
        if self.digests is not None and name in self.digests and sha256(content) != self.digests[name]:
            raise self.damaged(name, CHANGED)
        return content

    def json(self, name: str, shape: TypeAdapter[Any]) -> Any:
        """The value in a JSON file, as it stands there, if it is of this shape."""
        try:
            content = parse_json(self.read(name))
            shape.validate_python(content, strict=True)
            return content
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise self.damaged(name, f"holds something else ({place + ': ' if place else ''}{first['msg']})") from error
        except DamagedError:
            raise
        except ValueError as error:
            raise self.damaged(name, f"is no JSON that can be read ({error})") from error

    def record(self, name: str, shape: TypeAdapter[Any]) -> tuple[dict[str, Any], "Files"]:
        """The record of an artefact, and these files with the checksums that it holds."""
        content = self.json(name, shape)
        if DIGESTS in content and content.get(SEAL) != _seal_of(content):
            raise self.damaged(name, CHANGED)
        return content, replace(self, digests=content.get(DIGESTS))

    def mapping(self, name: str, keys: Collection[str]) -> dict[str, Any]:
        """The mapping in a YAML file, if it has these keys."""
        try:
            content = parse_yaml(self.read(name).decode("utf-8"), name)
        except (ConfigError, UnicodeDecodeError, RecursionError) as error:
            raise self.damaged(name, f"is no YAML that can be read ({error})") from error
        if not isinstance(content, dict) or not set(keys) <= content.keys():
            raise self.damaged(name, f"holds something else (expected the keys {', '.join(sorted(keys))})")
        return content

    def table(
        self,
        name: str,
        columns: Collection[str] = (),
        numbers: Collection[str] = (),
        *,
        names: Callable[[list[str]], Sequence[str]] = list,
        **options: Any,
    ) -> pd.DataFrame:
        """The table in a CSV, if it has these columns.

        Args:
            name: The file.
            columns: Columns that it must have; it may have others.
            numbers: Those of them that hold numbers, or nothing.
            names: Today's names of the columns, from those in the file.
            options: Of `pandas.read_csv`.
        """
        content = self.read(name)
        if not content.endswith(b"\n"):
            raise self.damaged(name, "is cut: its last line does not end")
        try:
            header = next(csv.reader(io.StringIO(content.decode("utf-8"), newline="")))
            table = pd.read_csv(
                io.BytesIO(content), names=list(names(header)), header=0, float_precision="round_trip", **options
            )
        except (ValueError, TypeError, OverflowError, csv.Error) as error:
            raise self.damaged(name, f"is no CSV that can be read ({error})") from error
        if absent := [column for column in columns if column not in table.columns]:
            raise self.damaged(name, f"lacks the columns {', '.join(absent)}")
        for column in numbers:
            if not len(table):
                table[column] = table[column].astype(np.float64)
            elif not pd.api.types.is_numeric_dtype(table[column]) or pd.api.types.is_bool_dtype(table[column]):
                raise self.damaged(name, f"holds something else than numbers in the column {column}")
            elif np.isinf(table[column].to_numpy(np.float64)).any():
                raise self.damaged(name, f"holds infinite numbers in the column {column}")
        return table

    def flaws(self, *readers: Callable[[], object]) -> list[DamagedError]:
        """Flaws, one a file: of those that have a checksum, and of those that these functions read."""
        found: dict[str | None, DamagedError] = {}
        sealed_files: list[Callable[[], object]] = [partial(self.read, name) for name in self.digests or ()]
        for reader in (*sealed_files, *readers):
            try:
                reader()
            except DamagedError as error:
                found.setdefault(error.file, error)
        return list(found.values())


def sealed(record: Mapping[str, Any], folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """A record with the checksums of some files in a folder, and its own."""
    plain = {key: value for key, value in record.items() if key not in (DIGESTS, SEAL)}
    content = plain | {DIGESTS: {name: sha256((folder / name).read_bytes()) for name in sorted(names)}}
    return content | {SEAL: _seal_of(content)}


def sha256(content: bytes) -> str:
    """The sha256 of some bytes, as hex."""
    return hashlib.sha256(content).hexdigest()


def _seal_of(record: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in record.items() if key != SEAL}
    return sha256(json.dumps(rest, sort_keys=True, allow_nan=False).encode())
