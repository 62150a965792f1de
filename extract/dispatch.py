"""A plan's tasks handed to Dask, and their results as they come; a cluster that fails meanwhile is one error."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from hamcache.cache.errors import CacheError
from hamcache.cache.plan import ChunkTask, Plan
from hamcache.extract.errors import ExtractError, SchedulerError, WorkerError
from hamcache.extract.versions import OWN, own_version, versions
from hamcache.extract.worker import ExtractionJob, TaskResult, run_tasks, stopping

if TYPE_CHECKING:
    from distributed import Client, Future

RETRIES = 2
"""Times that a task which failed is tried again."""
WINDOW = 4
"""Tasks a thread that Dask holds at a time: enough that no thread waits, and no more the longer the plan."""
TASK_SECONDS = 1.0
"""Work in one Dask task, which costs Dask some milliseconds: chunks that take less are joined."""
LOOK_EVERY = 1.0
"""Seconds after which the cluster is looked at."""
ANSWER_WITHIN = 60.0
"""Seconds in which a scheduler, and a worker asked for its versions, must answer."""
WORKERS_WITHIN = 300.0
"""Seconds without any worker after which a run ends."""
KEPT = "What was written is kept; the same command goes on from there."
SETUP = (
    "Start the scheduler and its workers (`dask worker ADDRESS --nthreads 1`) in environments with this very version "
    "of hamcache, workers where the images and the features root have the same paths as here."
)
IDLE_AT_MOST = 20.0
"""Seconds that tasks may wait while no thread of this process works."""

_log = logging.getLogger(__name__)


def run_plan(
    plan: Plan,
    job: ExtractionJob,
    paths: Mapping[str, str],
    client: Client,
    on_result: Callable[[ChunkTask, TaskResult], None],
) -> None:
    """Run every task of a plan, and hand each result on as it comes.

    Args:
        plan: the tasks.
        job: the rest that workers need.
        paths: file of each image.
        client: of the Dask cluster.
        on_result: called after each task, in this thread.

    Raises:
        SchedulerError: the connection to the scheduler was lost, or there are no workers.
        WorkerError: a worker can't run tasks of this hamcache, or a task kills its workers.
    """
    stopping.clear()
    cluster = _LocalCluster(client) if client.scheduler.address.startswith("inproc") else _ForeignCluster(client)
    finished: SimpleQueue[Future] = SimpleQueue()
    tasks_of: dict[Future, tuple[ChunkTask, ...]] = {}
    submitted, done, spent, next_look = 0, 0, 1e-3, 0.0
    try:
        while submitted < len(plan.tasks) or tasks_of:
            if time.monotonic() >= next_look:
                cluster.look()
                next_look = time.monotonic() + LOOK_EVERY
            room = WINDOW * max(cluster.n_threads, 1)
            while submitted < len(plan.tasks) and len(tasks_of) < room:
                # As many as take a second, and fewer towards the end, so that all threads end together.
                joined = min(int(done / spent * TASK_SECONDS), (len(plan.tasks) - submitted) // room)
                tasks = plan.tasks[submitted : submitted + max(joined, 1)]
                submitted += len(tasks)
                needed = {task.image_ids[row] for task in tasks for row in task.rows}
                future = cluster.submit(job, tasks, {image_id: paths[image_id] for image_id in needed})
                tasks_of[future] = tasks
                future.add_done_callback(finished.put)
            try:
                future = finished.get(timeout=LOOK_EVERY)
            except Empty:
                continue
            results = cluster.result_of(future, tasks_of[future])
            tasks = tasks_of.pop(future)
            future.release()  # else a worker's death would make Dask compute finished tasks again
            for task, result in zip(tasks, results, strict=True):
                done, spent = done + 1, spent + result.seconds
                on_result(task, result)
    except BaseException:
        stopping.set()
        with suppress(Exception):  # the cluster may be gone
            client.cancel(list(tasks_of))
        raise


def run_elsewhere(
    own: str, job: ExtractionJob, tasks: Sequence[ChunkTask], paths: Mapping[str, str]
) -> list[TaskResult]:
    """Entry point of tasks on a worker that may be another machine's: run them if their bits will be right.

    Args:
        own: `own_version` of the process that made the plan.
        job, tasks, paths: see `worker.Worker`.

    Raises:
        WorkerError: hamcache is another here, or the images are not here.
    """
    if own_version() != own:
        raise WorkerError(f"Expected workers with hamcache {own}, got one with {own_version()}. {SETUP}")
    # Without its folder every image would be taken for a missing file.
    for folder in {Path(path).parent for path in paths.values()}:
        if not folder.is_dir():
            raise WorkerError(f"Expected images in {folder}, got a worker that has no such folder. {SETUP}")
    return run_tasks(job, tasks, paths)


class _LocalCluster:
    """Threads of this process: they cannot be of another version, but not to be had, for lack of memory."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.n_threads = sum(client.nthreads().values())
        self.idle_since: float | None = None

    def submit(self, job: ExtractionJob, tasks: Sequence[ChunkTask], paths: Mapping[str, str]) -> Future:
        """Hand out some tasks as one of Dask's."""
        return self.client.submit(run_tasks, job, tasks, paths, pure=False, retries=RETRIES)

    def look(self) -> None:
        """Give up where tasks wait and no thread works: Dask lost the task whose thread could not be started."""
        if any(worker.active_threads for worker in self.client.cluster.workers.values()):
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = time.monotonic()
        elif time.monotonic() - self.idle_since > IDLE_AT_MOST:
            raise MemoryError("no thread can be started")

    def result_of(self, future: Future, tasks: Sequence[ChunkTask]) -> list[TaskResult]:
        """The results of finished tasks; raises the error of one."""
        return list(future.result())


class _ForeignCluster(_LocalCluster):
    """Other processes: workers are checked and waited for, and their loss is noticed."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.address = client.scheduler.address
        self.checked: set[str] = set()
        self.alone_since: float | None = None

    def submit(self, job: ExtractionJob, tasks: Sequence[ChunkTask], paths: Mapping[str, str]) -> Future:
        """Hand out some tasks as one of Dask's, with the version that may run it."""
        return self.client.submit(run_elsewhere, own_version(), job, tasks, paths, pure=False, retries=RETRIES)

    def look(self) -> None:
        """Check workers that have come; wait for workers where there are none, but not for ever."""
        workers = self._workers()
        self.n_threads = sum(workers.values())
        if workers:
            self.alone_since = None
            self._check(sorted(workers.keys() - self.checked))
        elif self.alone_since is None:
            self.alone_since = time.monotonic()
            _log.warning("Waiting for workers at %s, %.0f seconds at most ...", self.address, WORKERS_WITHIN)
        elif time.monotonic() - self.alone_since > WORKERS_WITHIN:
            raise SchedulerError(
                f"Expected workers at the Dask scheduler {self.address}, got none in {WORKERS_WITHIN:.0f} seconds. "
                f"{SETUP} {KEPT}"
            )

    def result_of(self, future: Future, tasks: Sequence[ChunkTask]) -> list[TaskResult]:
        """The results of finished tasks; what went wrong in the cluster is an error of ours."""
        from distributed import KilledWorker

        while True:
            try:
                return list(future.result(timeout=LOOK_EVERY))
            except TimeoutError as error:
                if future.status == "error":
                    raise self._failed(error) from error
                self.look()  # the worker that had the result is gone, and another makes it again
            except CancelledError as error:
                raise self._lost() from error
            except KilledWorker as error:
                images = [task.image_ids[row] for task in tasks for row in task.rows]
                more = f" and {len(images) - 3} more" if len(images) > 3 else ""
                raise WorkerError(
                    f"Expected workers to survive the images {', '.join(images[:3])}{more}, but "
                    f"{error.allowed_failures + 1} died on them, the last one {error.last_worker.address}: its log "
                    f"says why (hamcache or memory may be lacking there). {KEPT}"
                ) from error
            except (ExtractError, CacheError):
                raise
            except Exception as error:
                raise self._failed(error) from error

    def _failed(self, error: Exception) -> WorkerError:
        said = " ".join(str(error).split()).rstrip(" .")
        return WorkerError(
            f"Expected the workers of {self.address} to run hamcache's tasks, got {type(error).__name__}: {said}. "
            f"{SETUP} {KEPT}"
        )

    def _lost(self) -> SchedulerError:
        return SchedulerError(
            f"Expected the Dask scheduler at {self.address} to stay, but the connection to it was lost. {KEPT}"
        )

    def _workers(self) -> dict[str, int]:
        """Threads of each worker that runs, by its address."""
        if self.client.status != "running":
            raise self._lost()
        try:
            about: Any = self.client.sync(self.client.scheduler.identity, n_workers=-1, callback_timeout=ANSWER_WITHIN)
        except (OSError, TimeoutError) as error:
            raise self._lost() from error
        workers = about["workers"].items()
        return {address: worker["nthreads"] for address, worker in workers if worker["status"] == "running"}

    def _check(self, workers: list[str]) -> None:
        """Refuse workers with another hamcache; name other libraries, whose features may differ in their last bits."""
        if not workers:
            return
        with suppress(TimeoutError, OSError):  # of a worker that is leaving
            answers = self.client.sync(
                self.client._run, versions, workers=workers, on_error="return", callback_timeout=ANSWER_WITHIN
            )
            ours = versions()
            for address, theirs in answers.items():
                if isinstance(theirs, (OSError, TimeoutError)):
                    continue
                if isinstance(theirs, Exception):
                    raise WorkerError(
                        f"Expected hamcache {ours[OWN]} on every worker of {self.address}, got {theirs} from "
                        f"{address}. {SETUP}"
                    )
                if theirs[OWN] != ours[OWN]:
                    raise WorkerError(
                        f"Expected hamcache {ours[OWN]} on every worker of {self.address}, got {theirs[OWN]} on "
                        f"{address}. {SETUP}"
                    )
                other = [f"{name} {theirs[name]} (here {ours[name]})" for name in ours if theirs[name] != ours[name]]
                if other:
                    _log.warning(
                        "The worker %s has %s: its features may differ from those made here in their last bits.",
                        address,
                        ", ".join(other),
                    )
                self.checked.add(address)
