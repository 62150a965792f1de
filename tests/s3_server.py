"""An S3 server in a thread of the test's process, which can go away and come back with what it holds."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Thread, Timer
from typing import Any

import fsspec

BUCKET = "bucket"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


class S3Server:
    """moto's server with one bucket. `environment` lets any process that has it reach the server by `s3://bucket`."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for each request
        self.port, self._lock = 0, Lock()
        self.start()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = CREDENTIALS | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_MAX_ATTEMPTS": "1",  # ours are what is tested
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Begin to answer, at the same address each time."""
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        answer = DomainDispatcherApplication(create_backend_app)

        def one_at_a_time(*request: Any) -> Any:  # moto looks at a condition and then writes, in two steps
            with self._lock:
                return answer(*request)

        self._server = make_server("127.0.0.1", self.port, one_at_a_time, threaded=True)
        self.port = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuse every connection from now on; what is stored is kept in this process."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @contextmanager
    def away(self, seconds: float) -> Iterator[None]:
        """Stop now, and come back after some seconds at the latest."""
        self.stop()
        timer = Timer(seconds, self.start)
        timer.start()
        try:
            yield
        finally:
            timer.join()

    def make_bucket(self) -> None:
        """Make the bucket; a file system of fsspec must find the environment set."""
        fsspec.filesystem("s3").mkdir(BUCKET)
