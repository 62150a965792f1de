"""`hamcache doctor`: the machine, the network and the workspace on one screen."""

from __future__ import annotations

from typing import Annotated

import typer

from hamcache.pipeline.cli import bundles
from hamcache.pipeline.cli.console import say, show_table


def doctor(
    workspace: bundles.FullWorkspace,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no server.")] = False,
) -> None:
    """Look at the machine, the network and the workspace, and say what to do about what is amiss."""
    from hamcache.pipeline.inspect.checkup import look_around

    findings = look_around(workspace, servers=not offline)
    show_table("hamcache doctor", ("what", "found", "to do"), [(f.what, f.found, f.advice) for f in findings])
    amiss = sum(bool(finding.advice) for finding in findings)
    say(f"{amiss} things could be better: see the last column." if amiss else "Nothing is amiss.")
