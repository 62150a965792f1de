"""YAML in, plain dictionaries out: reading files and `KEY=VALUE` text, and setting values by their dotted keys."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from hamcache.data import documents
from hamcache.data.documents import MOST_DEPTH
from hamcache.data.errors import DocumentError
from hamcache.pipeline.errors import ConfigError


def parse_yaml(text: str, source: str) -> Any:
    """The value written in `text`; `source` is named in the error if it is not YAML, see `data.documents`."""
    try:
        return documents.parse_yaml(text)
    except DocumentError as error:
        raise ConfigError(f"{source}: {error}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file (an empty file is an empty mapping)."""
    try:
        text = documents.read_file(path).decode("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as a text file: {error}") from None
    content = parse_yaml(text, str(path))
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values, got {kind_of(content)}")
    return content


def parse_settings(texts: Iterable[str] | None) -> dict[str, Any]:
    """`a.b.0.c=value` texts as dotted keys with values, typed as YAML types them; of equal keys the last one counts.

    >>> parse_settings(["head.hidden=[256, 64]", "seed=3"])
    {'head.hidden': [256, 64], 'seed': 3}
    """
    settings: dict[str, Any] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        path = [part.strip() for part in key.split(".")]
        if not equals or not all(path):
            raise ConfigError(
                f"override {text!r:.100}: expected key=value with a dotted key, e.g. features.blocks.0.views=4"
            )
        if len(path) > MOST_DEPTH:
            raise ConfigError(
                f"override {text!r:.100}: expected a key of at most {MOST_DEPTH} parts, got {len(path):,}"
            )
        settings.pop(".".join(path), None)  # set at its place in the order
        settings[".".join(path)] = parse_yaml(value, f"override {text!r:.100}")
    return settings


def in_order(*settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as one; a key that comes again is set at its later place, over what was set below it meanwhile."""
    together: dict[str, Any] = {}
    for mapping in settings:
        for key, value in mapping.items():
            together.pop(key, None)
            together[key] = value
    return together


def set_value(content: dict[str, Any], key: str, value: Any) -> None:
    """Set one value in nested dictionaries and lists, in place, creating what is not there yet.

    A list is entered by index; the index just past its end appends.

    Raises:
        ConfigError: The key leads into a plain value, or past the end of a list.
    """
    node: Any = content
    path = key.split(".")
    for depth, part in enumerate(path):
        name: Any = part
        if isinstance(node, dict):
            # An integer key may have been written in YAML as a number (class weights by code).
            name = int(part) if _is_index(part) and int(part) in node else part
            new: Any = [] if path[depth + 1 : depth + 2] == ["0"] else {}
            there = node.get(name)
        elif isinstance(node, list):
            if not _is_index(part) or int(part) > len(node):
                here = ".".join(path[:depth]) or "the configuration"
                raise ConfigError(
                    f"{key}: {here} is a list of {len(node)}, expected an index from 0 to {len(node)} "
                    f"({len(node)} appends), got {part!r}"
                )
            name, new = int(part), {}
            if name == len(node):
                node.append(None)
            there = node[name]
        else:
            here = ".".join(path[:depth]) or "the configuration"
            raise ConfigError(
                f"{key}: {here} is {kind_of(node)}, which has no {part!r} inside; "
                f"set {here} itself, or give it as a mapping"
            )
        if depth == len(path) - 1:
            node[name] = value
        elif there is None:
            node[name] = new
        node = node[name]


def _is_index(part: str) -> bool:
    return part.isascii() and part.isdecimal() and len(part) < 10


def value_at(content: Any, key: str) -> Any:
    """The value under a dotted key of nested dictionaries, or None."""
    for part in key.split("."):
        if not isinstance(content, Mapping):
            return None
        content = content.get(part)
    return content


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings key by key; anything else is replaced."""
    made = deepcopy(dict(base))
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(made.get(key), Mapping)
        made[key] = merged(made[key], value) if both else deepcopy(value)
    return made


def kind_of(value: Any) -> str:
    """A value and its YAML type, for error messages."""
    names = {bool: "true/false", int: "whole number", float: "number", str: "text", list: "list", dict: "mapping"}
    if value is None:
        return "null"
    return f"{value!r:.200} ({names.get(type(value), type(value).__name__)})"
