"""The manner in which a command speaks: the options that every command has, and what they set."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass, field
from math import isfinite
from typing import Annotated, Any

import typer

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say results and errors only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also libraries' logs.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, all else on standard error.")]
EVERYWHERE = {"quiet": Quiet, "verbose": Verbose}
OF_TABLES = {"as_json": AsJson}


@dataclass
class Manner:
    """The way in which the running command speaks.

    Attributes:
        quiet: No lines on what is done, no progress.
        verbose: Libraries log.
        tables: Tables so far, where they are to be JSON.
    """

    quiet: bool = False
    verbose: bool = False
    tables: list[dict[str, Any]] | None = None
    _handlers: list[logging.Handler] = field(default_factory=list)

    def begin(self, *, quiet: bool = False, verbose: bool = False, as_json: bool = False) -> None:
        """Speak like this from here on."""
        self.quiet, self.verbose, self.tables = quiet, verbose, [] if as_json else None
        root = logging.getLogger()
        for handler in self._handlers:
            root.removeHandler(handler)
        self._handlers = [logging.StreamHandler(sys.stderr)] if verbose else []
        for handler in self._handlers:
            handler.setLevel(logging.INFO)
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
            root.addHandler(handler)
            root.setLevel(logging.INFO)

    def add(self, title: str, columns: list[str], rows: list[list[Any]], note: str | None) -> None:
        """Keep a table for the end."""
        assert self.tables is not None
        named = [dict(zip(columns, map(_plain, row), strict=True)) for row in rows]
        self.tables.append({"title": title, "rows": named, **({"note": note} if note else {})})

    def end(self) -> None:
        """Print the tables, if they are to be JSON."""
        if self.tables is not None:
            typer.echo(json.dumps({"tables": self.tables}, indent=2, ensure_ascii=False))
            self.tables = None


manner = Manner()


def _plain(value: Any) -> Any:
    """A cell as JSON has it; what is no number, text or truth is told in text, a number without a value is null."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value if value is None or isinstance(value, bool | int) else str(value)
