"""Versions of the packages that code uses, beside the digest of what is one's own."""

from __future__ import annotations

import functools
import sys
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from hamcache.data.errors import CodeError
from hamcache.data.source_digest import SourceTeller


class LibraryTeller(SourceTeller):
    """Writes down code of one's own; of installed packages that it meets, the versions."""

    def __init__(self) -> None:
        super().__init__()
        self._libraries: set[str] = set()

    def is_library(self, name: str) -> bool:
        """True for installed packages, also in a folder of their own on Python's path."""
        top = name.partition(".")[0]
        is_library = super().is_library(name) or _distribution(top) is not None
        if is_library and top not in sys.stdlib_module_names and top != "hamcache":
            self._libraries.add(top)
        return is_library

    def versions(self) -> dict[str, str]:
        """Distribution -> version, of every package that was met.

        Raises:
            CodeError: A package does not say its version.
        """
        found = {}
        for top in sorted(self._libraries):
            named = _distribution(top)
            if named is None:
                raise CodeError(f"Expected {top} to be installed as a package that says its version, got none.")
            found[named] = distribution(named).version
        return found


@functools.cache
def _distribution(top: str) -> str | None:
    """The installed distribution that a top-level module lies in; None for what is developed in its own folder."""
    file = getattr(sys.modules.get(top), "__file__", None)
    if file is None:
        return None
    for name in packages_distributions().get(top, ()):
        found = distribution(name)
        # A folder that is being worked in has no list of what was installed, or another place than that list.
        if found.read_text("RECORD") is not None and Path(file).resolve().is_relative_to(
            Path(str(found.locate_file(""))).resolve()
        ):
            return name
    return None
