"""YAML and JSON that somebody else wrote, read within limits: plain values come out, or one short error.

Plain values are null, booleans, finite numbers, texts, lists, and mappings whose keys are texts or whole numbers.
"""

import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Any

import yaml

from hamcache.data.errors import DocumentError

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

MOST_BYTES = 1 << 20
MOST_VALUES = 20_000
MOST_DEPTH = 50
MOST_DIGITS = 40
_WRITTEN_AS_NUMBER = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def read_file(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a regular file of at most so many bytes.

    Raises:
        DocumentError: It is longer, or a folder, a pipe or a device, from which nothing is read.
        OSError: It cannot be opened.
        ValueError: The path holds a NUL.
    """
    # A pipe without a writer would be waited for.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise DocumentError(f"expected a file, got {_KINDS.get(stat.S_IFMT(about.st_mode), 'a device')}")
        content = file.read(min(about.st_size, most) + 1)  # memory for all that is asked for is taken at once
    if len(content) > most:
        raise DocumentError(f"expected a file of at most {most:,} bytes, got a longer one")
    return content


def parse_yaml(text: str) -> Any:
    """The value of a YAML document. `1e-3` is a number, a date is text, and aliases stand for copies.

    Raises:
        DocumentError: It is no YAML, too long, too deep, repeats a key, or holds what is no plain value.
    """
    try:
        _check_events(text)
        return _plain(yaml.load(text, Loader=_Loader))
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise DocumentError(f"expected YAML, but it cannot be read: {' '.join(str(error).split())[:500]}") from None


def parse_json(content: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        DocumentError: It is no JSON, too deep, repeats a key, or holds NaN or an infinite number.
    """
    try:
        return json.loads(
            content.decode("utf-8") if isinstance(content, bytes) else content,
            object_pairs_hook=_mapping,
            parse_constant=_finite,
            parse_float=_finite,
        )
    except DocumentError:
        raise
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"expected JSON, but it cannot be read: {str(error)[:500]}") from None


class _Loader(_SafeLoader):
    """The safe loader, less its traps: sizes are limited, and a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            line = key_node.start_mark.line + 1
            if type(key) not in (str, int):
                raise DocumentError(f"expected text or a whole number as key (line {line}), got {key!r:.50}; quote it")
            if key in seen:
                raise DocumentError(
                    f"the key {key!r:.50} stands twice in one mapping (line {line}); keep one of the two"
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        """A number of few digits: longer ones take time that grows with their square."""
        if len(node.value) > MOST_DIGITS:
            raise DocumentError(f"expected a number of at most {MOST_DIGITS} characters, got {len(node.value):,}")
        try:
            return self.yaml_constructors_of_numbers[node.tag](self, node)
        except ValueError:
            raise DocumentError(f"expected a number, got {node.value!r}") from None

    yaml_constructors_of_numbers = {tag: _SafeLoader.yaml_constructors[tag] for tag in _WRITTEN_AS_NUMBER}
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in _SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
for _tag in _WRITTEN_AS_NUMBER:
    _Loader.add_constructor(_tag, _Loader.construct_number)


def _check_events(text: str) -> None:
    """Refuse what would be too much, before anything is made of it; an alias counts as all that it stands for."""
    if len(text) > MOST_BYTES:
        raise DocumentError(f"expected a text of at most {MOST_BYTES:,} characters, got {len(text):,}")
    values, sizes, above = 0, dict[str, int](), list[tuple[str | None, int]]()
    event: Any  # its class says what else it has
    for event in yaml.parse(text, Loader=_Loader):
        if getattr(event, "tag", None) is not None:
            raise DocumentError(f"expected plain values, got the tag {event.tag!r:.50}; leave it out")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise DocumentError(f"expected aliases of what stands above, got *{event.anchor:.50}")
            values += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            above.append((event.anchor, values))
            values += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = above.pop()
            if anchor:
                sizes[anchor] = values - before
        if len(above) > MOST_DEPTH:
            raise DocumentError(f"expected at most {MOST_DEPTH} levels of lists and mappings, got more")
        if values > MOST_VALUES:
            raise DocumentError(
                f"expected at most {MOST_VALUES:,} values, got more (an alias counts as what it repeats)"
            )


def _plain(value: Any) -> Any:
    """A copy whose parts are nowhere the same object: what is set in one of them changes no other."""
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return _finite(value)
    return _text(value) if isinstance(value, str) else value


def _finite(value: float | str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise DocumentError(f"expected finite numbers, got {value!s:.50}")
    return number


def _text(value: str) -> str:
    """A text that can be printed, written to a file, and be part of a path."""
    if "\0" in value or (not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value)):
        raise DocumentError(f"expected text without NUL and lone surrogates, got {value!a:.80}")
    return value


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise DocumentError(f"expected every key once, got {twice!r:.50} twice in one mapping")
    return mapping
