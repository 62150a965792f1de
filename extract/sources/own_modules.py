"""Modules and files of one's own, imported by the name that stands before the colon of `module:name`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

OWN_FILE = "hamcache_own_"
"""Beginning of the names under which files of one's own are imported."""


def imported(place: str) -> ModuleType:
    """A module by its dotted name, or a file `*.py` as a module of its own; raises whatever its code raises."""
    return _imported_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)


def _imported_file(path: Path) -> ModuleType:
    """A file as a module; a file that was changed is another module."""
    content = path.read_bytes()
    name = OWN_FILE + hashlib.sha256(str(path.resolve()).encode() + content).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))  # files beside it
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module
