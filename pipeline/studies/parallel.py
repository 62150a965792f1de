"""Run one function over many tasks in processes: a task that fails, or whose process dies, costs only itself."""

import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import joblib

from hamcache.data.large_arrays import free_memory
from hamcache.pipeline.errors import RunError

Result = tuple[int, Any]
DIED = "expected its process to finish, but it died, most often for lack of memory; use fewer views or fewer features"


def in_processes(function: Callable[[Any], Any], tasks: Sequence[Any], workers: int) -> Iterator[Result]:
    """Call `function` on every task and yield `(number of the task, its result)` as they finish.

    An exception is yielded in place of the result of the task that raised it. Each process computes with one thread,
    and large arrays inside `function` and the tasks are memory-mapped: all processes share one copy, read-only (joblib
    and loky). With one worker everything happens in this process.

    When a process dies (no memory left, a crash in a library), the tasks that are not finished run again one after the
    other: the one that dies again is the culprit, and the others have the memory for themselves.

    Args:
        function: Importable by name or picklable, as is what it returns.
        tasks: Picklable arguments.
        workers: Processes at a time.
    """
    if workers == 1 or len(tasks) < 2:
        for number, task in enumerate(tasks):
            yield _attempt(function, number, task)
        return
    waiting = dict(enumerate(tasks))
    try:
        for number, result in _pool(function, waiting, workers):
            del waiting[number]
            yield number, result
    except BrokenProcessPool:
        for number, task in waiting.items():
            try:
                yield from list(_pool(function, {number: task}, 2))  # two, because one would be this process
            except BrokenProcessPool:
                yield number, RunError(DIED)


def _pool(function: Callable[[Any], Any], tasks: dict[int, Any], workers: int) -> Iterator[Result]:
    with warnings.catch_warnings(), joblib.parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        warnings.filterwarnings("ignore", message="A worker stopped")  # loky renews processes that have grown
        pool = joblib.Parallel(return_as="generator_unordered", batch_size=1, max_nbytes="1M", mmap_mode="r")
        with _deaf_children():
            results = pool(joblib.delayed(_attempt)(function, number, task) for number, task in list(tasks.items()))
        yield from results


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes and threads that are started do not hear Ctrl-C: this one does, says so once, and ends them.

    A terminal sends it to all; one that is just starting would print a traceback of its own.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _attempt(function: Callable[[Any], Any], number: int, task: Any) -> Result:
    try:
        return number, function(task)
    except Exception as error:
        return number, error


def workers_that_fit(bytes_each: int, tasks: int) -> int:
    """Processes at a time: one per core, limited by the number of tasks and by free memory.

    Args:
        bytes_each: Memory of one task.
        tasks: Number of tasks.
    """
    in_memory = free_memory() // max(bytes_each, 1)
    return max(1, min(joblib.cpu_count(), tasks, in_memory))
