"""Options that had another name once: a former name is an error that says today's."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

RENAMED = {
    "--jobs": "--workers",
    "--csv": "--out",
    "--name": "--dataset-name",
    "sweep --scheduler": "--stopping",
    "grid --backbones": "--features",
    "leakage-demo --seeds": "--repeats",
}
"""Option as it was, in every command or in one -> as it is."""


class Commands(TyperGroup):
    """The group of all commands, which knows options by their former names."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; the error about an unknown option says what a former one is called now."""
        try:
            return super().invoke(ctx)
        except Exception as error:  # "no such option" has another class in each version of typer and click
            option, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
            if option is None or context is None:
                raise
            today = RENAMED.get(f"{context.info_name} {option}") or RENAMED.get(option)
            known = [name for parameter in context.command.params for name in parameter.opts]
            if today in known and option not in known:
                error.message, error.possibilities = f"{option} is now {today}.", None  # type: ignore[attr-defined]
            raise
