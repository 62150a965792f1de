"""Listen on this machine and serve the pages until somebody ends it."""

import errno
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import uvicorn

from pipeline.errors import ServingError
from pipeline.serving.app import create_app
from pipeline.serving.predictors import Worker


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        ServingError: The port is taken or not allowed, or this machine has no such address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServingError(f"Expected an address of this machine, but got --host {host}: {error.strerror}.") from None
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was served a moment ago
    try:
        made.bind(address)
        made.listen(128)
    except OSError as error:
        made.close()
        raise ServingError(_why_not(error, host, port)) from None
    return made


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is taken, maybe by another `hamcache serve`. Give another one, such as --port {port + 1}."
    if error.errno == errno.EACCES:
        return f"Port {port} is not allowed to this user. Give one above 1023, such as --port 8000."
    return f"Can't listen on {host}, port {port}: {error.strerror}."


def address_of(made: socket.socket) -> str:
    """What to type into a browser of this machine."""
    host, port = made.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


class Server(uvicorn.Server):
    """uvicorn, which says when it answers."""

    on_start: Callable[[], object] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then call `on_start`."""
        await super().startup(sockets=sockets)
        if self.on_start is not None:
            self.on_start()


def make_server(workspace: Path, run: str, host: str, worker: Worker, **options: object) -> Server:
    """A server that is not running yet."""
    app = create_app(workspace, run=run, host=host, worker=worker, **options)
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return Server(config)


def serve(
    made: socket.socket,
    workspace: Path,
    *,
    run: str = "",
    host: str = "127.0.0.1",
    browser: bool = False,
    **options: object,
) -> None:
    """Serve until the process is interrupted.

    Args:
        made: What `listen` gave.
        workspace: Whose runs are served.
        run: Id of the run that the page begins with.
        host: What was listened on.
        browser: Open a browser.
        options: Options of `pipeline.prediction.predictor.Predictor`.
    """
    worker = Worker()
    server = make_server(workspace, run, host, worker, **options)
    if browser:
        address = address_of(made) + (f"?run={quote(run)}" if run else "")
        server.on_start = threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start
    try:
        server.run(sockets=[made])
    except KeyboardInterrupt:
        pass
    finally:
        worker.close()
        made.close()
    if worker.waiting:  # a network that computes can't be interrupted, and nothing waits for what it gives
        sys.stdout.flush()
        os._exit(0)
