"""`hamcache serve`: a small local web page on which a run predicts images."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from hamcache.pipeline.cli import bundles
from hamcache.pipeline.cli.console import say, warn


def serve(
    networks: bundles.Networks,
    workspace: bundles.FullWorkspace,
    run: Annotated[str | None, typer.Argument(help="The run to begin with: its id, or a beginning of it.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0 takes a free port.")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    allow_network: Annotated[
        bool, typer.Option("--allow-network", help="Let other machines in: needed for any other --host.")
    ] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open a browser.")] = False,
) -> None:
    """Serve a local web page: drop an image, see what a run says of it; browse all runs. Ctrl-C ends it.

    Only this machine can reach the page. Uploaded images stay in memory and are not kept. For research only: this is
    not a medical device.
    """
    from hamcache.pipeline.errors import MissingExtraError, ServingError
    from hamcache.pipeline.runs.records import load_run

    first = load_run(run, workspace) if run is not None else None  # a wrong name is told before anything is loaded
    if first is not None:
        first.require_trust(networks["trust"])
    try:
        import python_multipart  # noqa: F401

        from hamcache.pipeline.use.serve.guard import is_loopback
        from hamcache.pipeline.use.serve.server import address_of, listen, serve
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"`hamcache serve` needs packages that are not installed ({error.name}). Install them: "
            "pip install 'hamcache[serve]'"
        ) from None
    if not is_loopback(host) and not allow_network:
        raise typer.BadParameter(
            f"{host} can be reached from other machines, and whoever reaches it can see the runs and their images and "
            "use this machine. If that is meant, add --allow-network",
            param_hint="--host",
        )
    if first is not None and first.folder.parent.resolve() != workspace.runs.resolve():
        raise ServingError(f"Expected a run of the workspace {workspace}, but {first.folder} lies elsewhere.")
    made = listen(host, port)
    if not is_loopback(host):
        warn(
            f"Warning: other machines can reach this page at {host}. Nothing asks for a password, and nothing is "
            "encrypted."
        )
    say(f"Serving the runs of {workspace} at {address_of(made)}  (Ctrl-C ends)")
    run_id = first.id if first else ""
    still_computing = serve(made, workspace, run=run_id, host=host, browser=open_, **networks)
    say("Ended.")
    if still_computing:  # nobody waits for what it gives
        sys.stdout.flush()
        os._exit(0)
