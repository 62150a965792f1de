"""Configuration keys that had another name once, or were not there: the tables of them, and what they are good for.

What a finished run, sweep or grid holds is read through `renamed`; a former name in what a user writes is an error;
digests and fingerprints are taken of `former` content, so that finished artefacts are found again.
"""

import re
from collections.abc import Mapping
from typing import Any

from hamcache.pipeline.errors import ConfigError

RENAMED = {
    "head.monitor": "head.objective",
    "head.each.monitor": "head.each.objective",
    "head.heads.*.monitor": "head.heads.*.objective",
}
"""Dotted key of an experiment as it was -> as it is; `*` is any index of a list. Only the last part may differ."""
RENAMED_IN_SWEEPS = {"scheduler": "stopping"}
"""The same for a sweep's own keys."""
ADDED = ("split.file", "split.column", "split.train_share", "split.shots")
"""Keys that experiments did not have at first; None says what their absence said."""


def renamed(content: Any, names: Mapping[str, str] = RENAMED) -> Any:
    """Plain values of an experiment under today's keys. Keys may be nested or dotted; others stay as they are."""
    return _with_names(content, names, "", {})


def former(content: Any, names: Mapping[str, str] = RENAMED) -> Any:
    """Plain values of an experiment under the keys they had first, without keys added since that say nothing."""
    content = _with_names(content, {new: old for old, new in names.items()}, "", {})
    for key in ADDED:
        parent, _, last = key.rpartition(".")
        part = content.get(parent) if isinstance(content, Mapping) else None
        if isinstance(part, dict) and part.get(last, ...) is None:
            del part[last]
    return content


def refuse_former(content: Any, source: str, names: Mapping[str, str] = RENAMED) -> None:
    """Check what a user wrote.

    Raises:
        ConfigError: A key has a former name; the message has today's.
    """
    found: dict[str, str] = {}
    _with_names(content, names, "", found)
    for old, new in found.items():
        raise ConfigError(f"{source}: expected {new}, got its former name {old}. Write {new}.")


def _with_names(value: Any, names: Mapping[str, str], at: str, found: dict[str, str]) -> Any:
    """A copy under other names; `found` takes each changed key, whole, before and after."""
    if isinstance(value, list | tuple):
        return [_with_names(item, names, f"{at}{index}.", found) for index, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    made = {}
    for key, item in value.items():
        new = names.get(re.sub(r"\.\d+(?=\.)", ".*", f"{at}{key}"))
        parent, dot, _ = str(key).rpartition(".")
        name = key if new is None else parent + dot + new.rpartition(".")[2]
        if new is not None:
            found[f"{at}{key}"] = f"{at}{name}"
        made[name] = _with_names(item, names, f"{at}{key}.", found)
    return made
