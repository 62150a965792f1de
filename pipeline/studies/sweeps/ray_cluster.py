"""Ray, started for one sweep and gone after it, without telemetry and without files in the home folder."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread

import psutil  # type: ignore[import-untyped]

from hamcache.pipeline.studies.sweeps.results import SweepError

QUIET = {
    "RAY_AUTH_MODE": "disabled",  # else a token is written into the home folder
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # files are named from the folder that the sweep was begun in
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a GPU stays visible, to be shared by trials of a net
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no files for each trial
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that failed has no score
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # a sweep goes on from its own table
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
PREFIX = "hamcache-ray-"
STORE_SPARE = 128 << 20
KILLED = "a part of it was killed, most often for lack of memory"
GAVE_UP = "expected Ray to run the trials, but it gave up: {}. Trials that ended are kept; go on with the same command"


@contextmanager
def ray_cluster(cpus: int, store_bytes: int, address: str | None = None) -> Iterator[Path]:
    """Ray with so many processors and an object store for so many bytes; yields a folder that is gone afterwards.

    Args:
        cpus: Of this machine; an existing cluster has its own.
        store_bytes: What will be put into the object store.
        address: Of an existing cluster, `auto` for the one on this machine; None starts one.

    Raises:
        SweepError: There is no cluster at this address, or Ray cannot start here, or gives up on the way.
    """
    before = {name: os.environ.get(name) for name in QUIET}
    os.environ.update({name: value for name, value in QUIET.items() if not before[name]})
    sweep_up()
    # Short, since sockets lie in it, whose paths are limited; outside the sweep's folder, since Ray pickles into it.
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    import ray
    import ray.tune

    lost = Event()
    aside = _core_aside(folder / "core.log")
    try:
        if address is None:
            _start(cpus, store_bytes, folder)
        else:
            _connect(address)
        try:
            with _watched(lost):
                yield folder
        except KeyboardInterrupt as interrupt:
            if not lost.is_set():
                raise
            raise SweepError(GAVE_UP.format(KILLED)) from interrupt
        except (ray.exceptions.RayError, ray.tune.TuneError) as error:
            raise SweepError(GAVE_UP.format(_in_one_line(error))) from error
    finally:
        if lost.is_set():  # nobody is there to take leave of: it would be waited for until the core ends this process
            atexit.unregister(ray.shutdown)
            for part in _head():
                part.kill()
            aside.pop_all()  # stays aside: the core goes on telling of it until this process ends
        else:
            ray.shutdown()
            aside.close()
        shutil.rmtree(folder, ignore_errors=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _head() -> list[psutil.Process]:
    """The parts of Ray's head that this process has started."""
    return [part for part in psutil.Process().children() if part.name() in ("raylet", "gcs_server")]


@contextmanager
def _watched(lost: Event) -> Iterator[None]:
    """Set `lost` and interrupt the main thread when a part of Ray's head that we have started dies.

    Ray's core notices it after up to a minute, and then ends this process without a word to Python.
    """
    parts, done = _head(), Event()

    def watch() -> None:
        while not done.wait(0.5):
            if not all(part.is_running() and part.status() != psutil.STATUS_ZOMBIE for part in parts):
                lost.set()
                os.kill(os.getpid(), signal.SIGINT)  # the one signal that Ray's waiting gives way to
                if not done.wait(10):  # some of its calls give way to none: the core would end us now, without a word
                    sys.stderr.write(f"Error: {GAVE_UP.format(KILLED)}\n")
                    sys.stderr.flush()
                    os._exit(1)
                return

    thread = Thread(target=watch, name="ray-watch", daemon=True)
    if current_thread() is not main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:  # in a job that a script has put behind it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        if before is signal.SIG_IGN:
            signal.signal(signal.SIGINT, before)


def _core_aside(path: Path) -> ExitStack:
    """Send what Ray's core writes into a file until closed: it tells of a part that died by fifty lines of its log.

    The core writes to the descriptor 2, past Python; what Python writes goes where it went. A part that sees another
    die tells it to Ray's Python, which prints it, and is kept from it.
    """
    from ray._private import worker

    undo = ExitStack()
    undo.callback(setattr, worker, "print_to_stdstream", worker.print_to_stdstream)
    worker.print_to_stdstream = lambda *_, **__: None
    sys.stderr.flush()
    kept = os.dup(2)
    undo.callback(os.close, kept)
    with path.open("ab") as file:
        os.dup2(file.fileno(), 2)
    undo.callback(os.dup2, kept, 2)
    try:
        is_core_s = sys.stderr.fileno() == 2
    except (OSError, ValueError):  # a notebook's, or one that is captured
        is_core_s = False
    if is_core_s:
        undo.callback(setattr, sys, "stderr", sys.stderr)
        sys.stderr = undo.enter_context(os.fdopen(kept, "w", 1, sys.stderr.encoding, sys.stderr.errors, closefd=False))
    return undo


def sweep_up() -> None:
    """Remove the folders of this user's sweeps that were killed. (Their processes end by themselves in a minute.)"""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _start(cpus: int, store_bytes: int, folder: Path) -> None:
    import ray

    try:
        ray.init(
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            object_store_memory=int(store_bytes * 1.1) + STORE_SPARE,
            _temp_dir=str(folder / "ray"),
        )
    except Exception as error:  # Ray raises many kinds
        raise SweepError(
            f"expected Ray to start on this machine, but it did not: {_in_one_line(error)}. The machine may be "
            "too busy, or short of memory or of room for temporary files: give the same command again, perhaps with "
            "fewer --workers"
        ) from error


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _connect(address: str) -> None:
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:  # Ray raises many kinds
        raise SweepError(
            f"--ray-address: expected a Ray cluster at {address!r}, but cannot connect: {_in_one_line(error)}"
        ) from error
