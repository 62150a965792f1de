"""YAML in, plain dictionaries out: reading files and applying `a.b.c=value` overrides."""

import re
from pathlib import Path
from typing import Any

import yaml

from hamcache.pipeline.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, less two traps: `1e-3` is a number here, and a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if isinstance(key, str | int) and key in seen:
                raise ConfigError(
                    f"the key {key!r} stands twice in one mapping (line {key_node.start_mark.line + 1}); "
                    "keep one of the two"
                )
            if isinstance(key, str | int):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def parse_yaml(text: str, source: str) -> Any:
    """The value written in `text`; `source` is named in the error if it is not YAML."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise ConfigError(f"{source}: expected YAML, but it cannot be read: {problem}") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file (an empty file is an empty mapping)."""
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a text file: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values, got {kind_of(content)}")
    return content


def parse_override(text: str) -> tuple[list[str], Any]:
    """Split `a.b.0.c=value` into its path and its value, typed as YAML types it.

    >>> parse_override("head.hidden=[256, 64]")
    (['head', 'hidden'], [256, 64])
    """
    key, equals, value = text.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or not all(path):
        raise ConfigError(f"override {text!r}: expected key=value with a dotted key, e.g. features.blocks.0.views=4")
    return path, parse_yaml(value, f"override {text!r}")


def apply_override(content: dict[str, Any], path: list[str], value: Any) -> None:
    """Set one value in nested dictionaries and lists, in place, creating what is not there yet.

    A list is entered by index; the index just past its end appends.
    """
    node: Any = content
    for depth, part in enumerate(path):
        here = ".".join(path[:depth]) or "the configuration"
        last = depth == len(path) - 1
        if isinstance(node, dict):
            # An integer key may have been written in YAML as a number (class weights by code).
            key: Any = int(part) if part.isdigit() and int(part) in node else part
            if last:
                node[key] = value
            else:
                if node.get(key) is None:
                    node[key] = [] if path[depth + 1] == "0" else {}
                node = node[key]
        elif isinstance(node, list):
            if not part.isdigit() or int(part) > len(node):
                raise ConfigError(
                    f"{'.'.join(path)}: {here} is a list of {len(node)}, expected an index from 0 to "
                    f"{len(node)} ({len(node)} appends), got {part!r}"
                )
            index = int(part)
            if index == len(node):
                node.append(None)
            if last:
                node[index] = value
            else:
                if node[index] is None:
                    node[index] = {}
                node = node[index]
        else:
            raise ConfigError(
                f"{'.'.join(path)}: {here} is {kind_of(node)}, which has no {part!r} inside; "
                f"set {here} itself, or give it as a mapping"
            )


def kind_of(value: Any) -> str:
    """A value and its YAML type, for error messages."""
    names = {bool: "true/false", int: "whole number", float: "number", str: "text", list: "list", dict: "mapping"}
    if value is None:
        return "null"
    return f"{value!r} ({names.get(type(value), type(value).__name__)})"
