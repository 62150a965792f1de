"""Places where tasks run: threads of this process under a local Dask scheduler, or an existing Dask cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster

from hamcache.extract.errors import ExtractError

CONNECT_TIMEOUT = "10s"
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


class SchedulerError(ExtractError, ConnectionError):
    """The Dask scheduler at the given address does not answer."""


def default_workers() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def dask_client(workers: int | None = None, address: str | None = None) -> Iterator[Client]:
    """A Dask client: of the cluster at `address`, else of a local one with `workers` threads (default: one per core).

    Threads, not processes: a task spends its time in PyTorch, Pillow and Zarr code that releases Python's global lock,
    so threads are as fast (`benchmarks/extraction.py` shows the ratio), start at once, and share the networks.

    Raises:
        SchedulerError: nothing answers at `address`.
    """
    if address:
        try:
            client = Client(address, timeout=CONNECT_TIMEOUT)
        except (OSError, ValueError) as error:
            raise SchedulerError(
                f"Expected a Dask scheduler at {address}, got no answer ({error}). Start one with "
                "`dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1` in an environment that has "
                "hamcache, both with DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False set."
            ) from error
        with client:
            yield client
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
