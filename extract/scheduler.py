"""Places where tasks run: threads of this process under a local Dask scheduler, or an existing Dask cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import dask
from distributed import Client, LocalCluster, Security, rpc
from distributed.versions import VersionMismatchWarning

from hamcache.extract.errors import SchedulerError

CONNECT_TIMEOUT = 10.0
"""Seconds in which a scheduler must answer."""
NOT_FOR_OTHERS = "127.0.0.1:0"
"""Address of Dask's own web server; by default it would be on every network interface."""

QUIET_WORKER = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    # Dask's profiler walks the frames of running threads every 10 ms; on Python 3.11 that can end the process with
    # signal 11. One flag turns off both the workers' sampler and the watcher of the event loops.
    "distributed.worker.profile.enabled": False,
}
"""Settings of Dask while a local cluster of ours runs."""


def default_workers() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def dask_client(workers: int | None = None, address: str | None = None) -> Iterator[Client]:
    """A Dask client: of the cluster at `address`, else of a local one with `workers` threads (default: one per core).

    Threads, not processes: a task spends its time in PyTorch, Pillow and Zarr code that releases Python's global lock,
    so threads are as fast (`benchmarks/extraction.py` shows the ratio), start at once, and share the networks.

    Raises:
        SchedulerError: no Dask scheduler answers at `address`.
    """
    if address:
        with _silent():
            client = _connected(address)
            try:
                yield client
            finally:
                with suppress(OSError, TimeoutError):  # the scheduler may be gone
                    client.close(timeout=CONNECT_TIMEOUT)
        return
    with (
        dask.config.set(QUIET_WORKER),
        LocalCluster(
            n_workers=1,
            threads_per_worker=workers or default_workers(),
            processes=False,
            dashboard_address=None,
            worker_dashboard_address=NOT_FOR_OTHERS,
            scheduler_kwargs={"dashboard_address": NOT_FOR_OTHERS},
            silence_logs=logging.CRITICAL,
            memory_limit=0,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _connected(address: str) -> Client:
    try:
        # Dask's own connection would wait for ever for the greeting of a server of another kind. In a thread of its
        # own, since a notebook's has an event loop already.
        with ThreadPoolExecutor(1) as thread:
            kind = thread.submit(asyncio.run, _identity(address)).result()["type"]
        if kind != "Scheduler":
            raise ValueError(f"a Dask {kind} is there")
        with warnings.catch_warnings():  # a table of many lines; `dispatch` names the versions that matter
            warnings.simplefilter("ignore", VersionMismatchWarning)
            return Client(address, timeout=CONNECT_TIMEOUT, set_as_default=False)
    except Exception as error:  # a stranger's bytes may be taken for anything
        said = f"{CONNECT_TIMEOUT:.0f} seconds passed" if isinstance(error, TimeoutError) else str(error) or repr(error)
        raise SchedulerError(
            f"Expected a Dask scheduler at {address}, got no answer of one ({said}). Start one with "
            "`dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1` in an environment that has "
            "hamcache, both with DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False set."
        ) from error


async def _identity(address: str) -> dict[str, Any]:
    """Description of the Dask server at an address."""
    arguments = Security().get_connection_args("client")
    async with asyncio.timeout(CONNECT_TIMEOUT), rpc(address, connection_args=arguments) as peer:
        return await peer.identity()


@contextmanager
def _silent() -> Iterator[None]:
    """Keep Dask's own messages from the terminal: each loss is one error of ours."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in ("distributed", "tornado")]
    loggers = [logging.getLogger(name) for name in [*names, "asyncio"]]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
