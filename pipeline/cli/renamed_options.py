"""Options that had another name once: a former name is an error that says today's."""

from __future__ import annotations

from typing import Any

RENAMED = {
    "--jobs": "--workers",
    "--csv": "--out",
    "--name": "--dataset-name",
    "sweep --scheduler": "--stopping",
    "grid --backbones": "--features",
    "leakage-demo --seeds": "--repeats",
}
"""Option as it was, in every command or in one -> as it is."""


def name_successor(error: Any) -> None:
    """Let the error about an unknown option say what it is called today, if it is a former name."""
    # The error has another class in each version of typer and click.
    option, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if option is None or context is None:
        return
    today = RENAMED.get(f"{context.info_name} {option}") or RENAMED.get(option)
    known = [name for parameter in context.command.params for name in parameter.opts]
    if today in known and option not in known:
        error.message, error.possibilities = f"{option} is now {today}.", None
