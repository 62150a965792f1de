"""Code of one's own by the name of its place: `package.module:thing` or `file.py:thing`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from hamcache.data.errors import CodeNotFoundError
from hamcache.data.nearest import nearest

OWN_FILE = "hamcache_own_"
"""Beginning of the names under which files of one's own are imported."""
CODE = re.compile(r"(?:[A-Za-z_][\w.]*|.+\.py):[A-Za-z_]\w*")
MOST_NAMES = 30


def is_place(name: str) -> bool:
    """True for a name of the form `package.module:thing` or `file.py:thing`.

    >>> is_place("sklearn.svm:SVC"), is_place("models/mine.py:Model"), is_place("logreg")
    (True, True, False)
    """
    return bool(CODE.fullmatch(name))


def named_code(name: str, kinds: tuple[type, ...] = (FunctionType, type), what: str = "a function") -> Any:
    """The function or class behind a name; its module is imported.

    Args:
        name: A place, see `is_place`.
        kinds: Types that the thing may have.
        what: The thing in words, for messages.

    Raises:
        CodeNotFoundError: No such module, file or thing; names the nearest, or those that there are.
    """
    place, _, attribute = name.rpartition(":")
    try:
        module = imported_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except (Exception, SystemExit) as error:  # code of others may raise anything
        raise CodeNotFoundError(
            f"Expected a module or a file of Python before the colon of {name!r}, got {type(error).__name__}: "
            f"{error}{_near_module(place, error) or '.'}"
        ) from error
    found = getattr(module, attribute, None)
    if not isinstance(found, kinds):
        there = [
            key for key in dir(module) if not key.startswith("_") and isinstance(getattr(module, key, None), kinds)
        ]
        own = [key for key in there if getattr(module, key).__module__.startswith(module.__name__.split(".")[0])]
        raise CodeNotFoundError(
            f"Expected {what} {attribute} in {place}, got {'none' if found is None else f'a {type(found).__name__}'}"
            f"{_near(attribute, own or there)} There are {_listed(own or there)}."
        )
    return found


def imported_file(path: Path) -> ModuleType:
    """A file as a module of its own; a file that was changed is another module."""
    if not path.is_file():  # nor a pipe, which would be waited for
        raise FileNotFoundError(f"no file {path}")
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


def _near_module(place: str, error: BaseException) -> str:
    """The module that was probably meant, where it is the module itself that is not there."""
    missing = getattr(error, "name", None)
    if not isinstance(error, ModuleNotFoundError) or not missing or not f"{place}.".startswith(f"{missing}."):
        return ""
    parent, _, last = missing.rpartition(".")
    path = getattr(sys.modules.get(parent), "__path__", None) if parent else None
    near = nearest(last, [module.name for module in pkgutil.iter_modules(path)])
    return "" if near is None else f"; did you mean {f'{parent}.{near}' if parent else near}?"


def _near(name: str, valid: Iterable[str]) -> str:
    near = nearest(name, valid)
    return "." if near is None else f"; did you mean {near}?"


def _listed(names: list[str]) -> str:
    more = [f"{len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
    return ", ".join([*names[:MOST_NAMES], *more]) or "none"
