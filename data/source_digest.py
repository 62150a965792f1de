"""Code of one's own written down, so that its digest says what it does.

The source files of classes and functions, and of the modules of one's own that they import; of a notebook or a script
only what is used. Installed libraries are not in it, nor is what the code reads elsewhere (environment variables,
files). What can't be written down, such as a lambda, is refused.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from hamcache.data.errors import CodeError
from hamcache.data.named_code import OWN_FILE

MAIN = "__main__"
"""A notebook or a script: only what is used of it counts, not the rest of it."""
INSTALLED = {"site-packages", "dist-packages"}
_as_imported: WeakKeyDictionary[ModuleType, str] = WeakKeyDictionary()
"""Digest of each module's file when it was first looked at: what runs is what was imported."""
_STANDARD = Path(sysconfig.get_path("stdlib")).resolve()


class SourceTeller:
    """Writes code down, and remembers what it meets; subclasses know further values.

    Args:
        top: A package that counts as one's own although it is installed.
    """

    plain: tuple[type, ...] = (bool, int, float, complex, str, bytes, type(None))

    def __init__(self, top: str | None = None) -> None:
        self._top = top
        self._modules: set[str] = set()
        self._loose: dict[str, str] = {}

    def refused(self, reason: str, advice: str) -> Exception:
        """The error for what can't be written down."""
        return CodeError(f"Expected code that can be named exactly, got some where {reason}. {advice}")

    def note(self, thing: Any) -> str:
        """The name of a class or function; its code is remembered if it is no library's."""
        place = f"{thing.__module__}.{thing.__qualname__}"
        if isinstance(thing, type):
            for base in thing.__mro__[1:-1]:
                if not self.is_library(base.__module__):
                    self.note(base)
        if self.is_library(thing.__module__):
            return place
        if "<lambda>" in place:
            raise self.refused(f"a lambda is used ({place})", "Make it a function with a name.")
        remembered = self._remembered(thing)
        file = getattr(sys.modules.get(thing.__module__), "__file__", None)
        if thing.__module__ != MAIN and file is not None and Path(file).suffix == ".py":
            self._modules.add(thing.__module__)
            return remembered + (thing.__qualname__ if thing.__module__.startswith(OWN_FILE) else place)
        if place not in self._loose:
            self._loose[place] = "(being read)"
            self._loose[place] = self._loose_source(thing, place)
        return remembered + place

    def value(self, value: Any, where: str) -> str:
        """An attribute in words that are the same in every process."""
        if isinstance(value, Enum):
            return f"{self.note(type(value))}.{value.name}"
        if isinstance(value, self.plain):
            return repr(value)
        if isinstance(value, Mapping):
            pairs = sorted((str(key), self.value(item, f"{where}.{key}")) for key, item in value.items())
            return f"{{{', '.join(f'{key}: {told}' for key, told in pairs)}}}"
        if isinstance(value, set | frozenset):
            return f"set({sorted(self.value(item, where) for item in value)})"
        if isinstance(value, list | tuple):
            return f"[{', '.join(self.value(item, where) for item in value)}]"
        if isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value)
            if array.dtype.kind not in "biufc":
                raise self.refused(f"{where} is an array of {array.dtype}", "Keep numbers there.")
            return f"array {array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
        if isinstance(value, functools.partial):
            return f"partial({self.value([value.func, value.args, value.keywords], where)})"
        if isinstance(value, MethodType):
            return f"method {self.note(value.__func__)} of {self.value(value.__self__, where)}"
        if isinstance(value, type | FunctionType):
            return self.note(value)
        if isinstance(value, BuiltinFunctionType) or type(value).__name__ in ("ufunc", "ScriptFunction"):
            return f"{getattr(value, '__module__', None)}.{value.__name__}"
        if is_dataclass(value):
            items = {field.name: getattr(value, field.name) for field in fields(value)}
            return f"{self.note(type(value))}{self.value(items, where)}"
        if hasattr(value, "__dict__") and not isinstance(value, ModuleType):
            return f"{self.note(type(value))}{self.value(vars(value), where)}"
        raise self.refused(f"{where} is a {type(value).__name__}", "Keep numbers, strings, lists and functions there.")

    def sources(self) -> Iterator[str]:
        """One line for each piece of code that was met, and for each module of one's own that it imports."""
        told: dict[str, str] = {}
        waiting = sorted(self._modules)
        while waiting:
            name = waiting.pop()
            if name in told:
                continue
            module = sys.modules.get(name)
            file = getattr(module, "__file__", None)
            if module is None or file is None or Path(file).suffix != ".py":
                continue
            text = Path(file).read_text(encoding="utf-8")
            told[name] = hashlib.sha256(text.encode()).hexdigest()
            if _as_imported.setdefault(module, told[name]) != told[name]:
                raise self.refused(f"{file} was changed after it was imported", "Start Python (or the notebook) anew.")
            waiting += [other for other in self._imported(name, text) if other not in told]
        # A file of one's own has no name of its own but the one that it is asked for by.
        yield from sorted(f"{'' if name.startswith(OWN_FILE) else name} {digest}" for name, digest in told.items())
        yield from (f"{name} {source}" for name, source in sorted(self._loose.items()))

    def _imported(self, name: str, text: str) -> Iterator[str]:
        """Modules of one's own that a module imports, wherever in it."""
        package = getattr(sys.modules[name], "__package__", None) or ""
        for node in ast.walk(ast.parse(text)):
            asked: list[str] = []
            if isinstance(node, ast.Import):
                asked = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                dotted = "." * node.level + (node.module or "")
                base = importlib.util.resolve_name(dotted, package) if node.level else dotted
                asked = [base, *(f"{base}.{alias.name}" for alias in node.names)]
            for other in asked:
                parts = other.split(".")
                for end in range(1, len(parts) + 1):
                    whole = ".".join(parts[:end])
                    if whole in sys.modules and not self.is_library(whole):
                        yield whole

    def _remembered(self, thing: Any) -> str:
        """Variables of an outer function that a function, or a method of a class, goes on using."""
        functions = [thing] if isinstance(thing, FunctionType) else map(_function, vars(thing).values())
        told = ""
        for function in functions:
            if isinstance(function, FunctionType) and not self.is_library(function.__module__):
                cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
                held = {name: cell.cell_contents for name, cell in cells if name != "__class__"}
                told += self.value(held, function.__qualname__) if held else ""
        return told

    def _loose_source(self, thing: Any, place: str) -> str:
        """Source of what was defined in a notebook, and of what of the notebook it uses."""
        try:
            if isinstance(thing, FunctionType):
                return inspect.getsource(thing) + self._globals_of(thing)
            functions = {key: _function(value) for key, value in vars(thing).items()}
            written = [
                self._loose_source(value, f"{place}.{key}")
                for key, value in sorted(functions.items())
                if isinstance(value, FunctionType)
            ]
            plain = {
                key: value
                for key, value in vars(thing).items()
                if isinstance(value, self.plain) and not (key.startswith("__") and key.endswith("__"))
            }
            return "".join(written) + self.value(plain, place)
        except (OSError, TypeError) as error:
            raise self.refused(
                f"{place} has no source ({error})", "Write it in a file or a notebook's cell."
            ) from error

    def _globals_of(self, function: FunctionType) -> str:
        """Functions, classes and plain values of the notebook that a function uses."""
        told = []
        for name in sorted(set(_names(function.__code__)) & function.__globals__.keys()):
            value = function.__globals__[name]
            if isinstance(value, ModuleType) and not self.is_library(value.__name__):
                self._modules.add(value.__name__)
            elif isinstance(value, FunctionType | type):
                told.append(self.note(value))
            elif isinstance(value, (*self.plain, list, tuple, dict, set)):
                told.append(f"{name} = {self.value(value, name)}")
        return f"\n# {told}\n"

    def is_library(self, name: str) -> bool:
        """True for what is installed, but not for the package that counts as one's own."""
        top = name.partition(".")[0]
        if top == self._top or top.startswith(OWN_FILE):
            return False
        if top in sys.builtin_module_names or top == "hamcache":
            return True
        file = getattr(sys.modules.get(name), "__file__", None) or getattr(sys.modules.get(top), "__file__", None)
        if file is None:
            return name != MAIN and top in sys.stdlib_module_names
        path = Path(file).resolve()
        return bool(INSTALLED & set(path.parts)) or path.is_relative_to(_STANDARD)


def _function(value: Any) -> Any:
    """The function in what a class holds: of a property its getter, of a class method the function itself."""
    value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    return inspect.unwrap(value) if callable(value) else value


def _names(code: CodeType) -> Iterator[str]:
    """Global names that code uses, that of functions and comprehensions in it too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
