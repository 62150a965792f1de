"""Every command of the command line, for tests that go through all of them."""

from collections.abc import Iterator
from typing import Any

import typer.main

from hamcache.pipeline.cli.app import app


def every_command(group: Any = None, before: str = "") -> Iterator[tuple[str, Any]]:
    """The words of each command and group of commands (`cache ls`), and typer's object."""
    for name, command in (group or typer.main.get_command(app)).commands.items():
        yield f"{before}{name}", command
        if hasattr(command, "commands"):
            yield from every_command(command, f"{before}{name} ")
