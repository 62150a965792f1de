"""Listen on this machine and serve the pages until somebody ends it."""

import errno
import socket
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import ServingError
from hamcache.pipeline.use.serve.api import create_app
from hamcache.pipeline.use.serve.predictors import Worker


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
    """The address to type into a browser of this machine."""
    host, port = made.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


class Server(uvicorn.Server):
    """uvicorn, which says when it answers, and ends without waiting for what networks compute."""

    def __init__(self, config: uvicorn.Config, worker: Worker, on_start: Callable[[], object] | None = None) -> None:
        super().__init__(config)
        self._worker, self._on_start = worker, on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then call `on_start`."""
        await super().startup(sockets=sockets)
        if self._on_start is not None:
            self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell those who wait, then end."""
        self._worker.close()
        await super().shutdown(sockets=sockets)


def make_server(
    workspace: Workspace,
    run: str | None,
    host: str,
    worker: Worker,
    on_start: Callable[[], object] | None = None,
    **options: object,
) -> Server:
    """A server that is not running yet.

    Args:
        workspace, run, host, worker, options: See `create_app`.
        on_start: Called when it answers.
    """
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
    return Server(config, worker, on_start)


def serve(
    made: socket.socket,
    workspace: Workspace,
    *,
    run: str | None = None,
    host: str = "127.0.0.1",
    browser: bool = False,
    **options: object,
) -> bool:
    """Serve until the process is interrupted.

    Args:
        made: What `listen` gave.
        workspace: Whose runs are served.
        run: Id of the run that the page begins with.
        host: What was listened on.
        browser: Open a browser.
        options: Options of `use.predict.predictor.Predictor`.

    Returns:
        Whether a network still computes, which can't be interrupted; at its end Python would wait for it.
    """
    worker = Worker()
    opening = threading.Thread(target=webbrowser.open, args=(address_of(made),), daemon=True)
    server = make_server(workspace, run, host, worker, opening.start if browser else None, **options)
    with made, suppress(KeyboardInterrupt):
        server.run(sockets=[made])
    return worker.waiting > 0
