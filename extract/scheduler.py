"""Places where tasks run: threads of this process or processes that feed GPUs, under a local Dask scheduler; or an
existing Dask cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from subprocess import DEVNULL, Popen
from typing import Any

import dask
from distributed import Client, LocalCluster, Security, rpc
from distributed.versions import VersionMismatchWarning

from hamcache.extract.errors import SchedulerError

CONNECT_TIMEOUT = 10.0
"""Seconds in which a scheduler must answer."""
THIS_MACHINE = "127.0.0.1"
NOT_FOR_OTHERS = f"{THIS_MACHINE}:0"
"""Address of Dask's own web server; by default it would be on every network interface."""

QUIET_WORKER = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    # Dask's profiler walks the frames of running threads every 10 ms; on Python 3.11 that can end the process with
    # signal 11. One flag turns off both the workers' sampler and the watcher of the event loops.
    "distributed.worker.profile.enabled": False,
    # Its event loops would look at themselves a hundred times a second, which holds up the threads that compute.
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
}
"""Settings of Dask while a local cluster of ours runs."""

CORES_A_PROCESS = 4
"""Cores that one process with a GPU may keep busy: what Python's global lock allows to decode images."""
AHEAD = 4
"""Threads more than cores in a process with a GPU: they wait for it, with a batch ready, while the others decode."""
STARTED_WITHIN = 120.0
"""Seconds in which the first of these processes must be there."""


def default_workers() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def dask_client(workers: int | None = None, address: str | None = None, device: str = "cpu") -> Iterator[Client]:
    """A Dask client: of the cluster at `address`, else of a local one.

    On a processor, `workers` threads of this process (default: one per core). Threads, not processes: a task spends its
    time in PyTorch, Pillow and Zarr code that releases Python's global lock, so threads are as fast,
    start at once, and share the networks.

    With `cuda`, more threads than cores, so that there is always a batch ready when a GPU is; and where there are
    several GPUs, or more cores than one process can use, they are those of processes that see one GPU each.

    Raises:
        SchedulerError: no Dask scheduler answers at `address`, or no process starts.
    """
    cores, gpus = workers or default_workers(), visible_gpus() if device == "cuda" else []
    n_processes = max(len(gpus), cores // CORES_A_PROCESS) if gpus else 1
    if address:
        place = _cluster_of_others(address)
    elif n_processes == 1:
        place = _local_cluster(threads_per_worker=cores + AHEAD * len(gpus))
    else:
        place = _processes([gpus[n % len(gpus)] for n in range(n_processes)], -(-cores // n_processes) + AHEAD)
    with place as client:
        yield client


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` takes them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]


@contextmanager
def _local_cluster(**options: Any) -> Iterator[Client]:
    with (
        dask.config.set(QUIET_WORKER),
        LocalCluster(
            **{"n_workers": 1, "processes": False, "memory_limit": 0, **options},
            dashboard_address=None,
            worker_dashboard_address=NOT_FOR_OTHERS,
            scheduler_kwargs={"dashboard_address": NOT_FOR_OTHERS},
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def _processes(gpus: Sequence[str], threads: int) -> Iterator[Client]:
    """A client of processes of so many threads, one for each entry of `gpus`, which is the one GPU that it sees."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", str(threads), "--memory-limit", "0"]
    command += ["--host", THIS_MACHINE, "--no-dashboard", "--no-nanny"]
    quiet: Any = {"stdout": DEVNULL, "stderr": DEVNULL, "start_new_session": True}  # a Ctrl-C is for this process alone
    with (
        _silent(),
        _local_cluster(n_workers=0, protocol="tcp", host=THIS_MACHINE) as client,
        ExitStack() as processes,
    ):
        for gpu in gpus:
            settings = {"CUDA_VISIBLE_DEVICES": gpu, "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
            process = Popen([*command, client.scheduler.address], env=os.environ | settings, **quiet)
            processes.enter_context(process)
            processes.callback(process.kill)
        try:
            client.wait_for_workers(1, timeout=STARTED_WITHIN)
        except TimeoutError as error:
            raise SchedulerError(
                f"Expected a process for each of {len(gpus)} GPUs, got none in {STARTED_WITHIN:.0f} seconds. Start a "
                "scheduler and its workers yourself, whose logs say why, and give --scheduler."
            ) from error
        yield client


@contextmanager
def _cluster_of_others(address: str) -> Iterator[Client]:
    with _silent():
        client = _connected(address)
        try:
            yield client
        finally:
            with suppress(OSError, TimeoutError):  # the scheduler may be gone
                client.close(timeout=CONNECT_TIMEOUT)


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
