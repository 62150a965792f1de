"""Predictors of runs, loaded when first asked for and kept, and the one thread in which networks compute."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import ServingError
from hamcache.pipeline.runs.records import Run

if TYPE_CHECKING:
    from hamcache.pipeline.use.predict.predictor import Predictor

KEPT = 2
MOST_WAITING = 16
P = ParamSpec("P")
T = TypeVar("T")


class UnavailableError(ServingError):
    """The worker does no job: too many wait, or the server is ending."""


class Worker:
    """One thread for all that takes long, so that the pages answer meanwhile; what comes is done in its order.

    Attributes:
        waiting: Jobs that are not done, the present one included.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="predict")
        self._lock = Lock()
        self._ends: set[asyncio.Future] = set()
        self.waiting = 0

    async def __call__(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a job and wait for it.

        Raises:
            UnavailableError: Too many wait already, or the worker was closed meanwhile.
        """
        self.check()
        with self._lock:
            self.waiting += 1
        future = self._thread.submit(job, *args, **kwargs)
        future.add_done_callback(self._done)
        answer, end = asyncio.wrap_future(future), asyncio.get_running_loop().create_future()
        self._ends.add(end)
        try:
            await asyncio.wait((answer, end), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ends.discard(end)
        if end.done():
            answer.cancel()
            raise UnavailableError("The server is ending.")
        return answer.result()

    def check(self) -> None:
        """Raise UnavailableError where too many wait already."""
        if self.waiting >= MOST_WAITING:
            raise UnavailableError(f"{self.waiting} requests wait already. Try again in a moment.")

    def _done(self, _: Future) -> None:
        with self._lock:
            self.waiting -= 1

    def close(self) -> None:
        """Start nothing further, and let nobody wait for a job that runs already. Call it from the event loop."""
        for end in self._ends:
            end.set_result(None)
        self._thread.shutdown(wait=False, cancel_futures=True)


class Predictors:
    """The predictors that were asked for last.

    Args:
        workspace: As for `load_predictor`.
        options: Options of `Predictor`.
    """

    def __init__(self, workspace: Workspace, **options: object) -> None:
        self._workspace, self._options = workspace, options
        self._kept: OrderedDict[str, Predictor] = OrderedDict()
        self._lock = Lock()

    def get(self, run: Run) -> "Predictor":
        """A run's predictor, loaded once however many ask at the same time.

        Raises:
            PredictionError: The run can't predict here.
            HeadFileError: The run's head is missing or damaged.
        """
        with self._lock:
            if run.id not in self._kept:
                from hamcache.pipeline.use.predict.predictor import load_predictor  # torch and timm: seconds

                predictor = load_predictor(run.id, self._workspace, **self._options)
                predictor.notes(predictor.sets())  # reads the training images' features
                self._kept[run.id] = predictor
                if len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(run.id)
            return self._kept[run.id]

    def is_loaded(self, run: Run) -> bool:
        """Tell if a run would answer at once."""
        return run.id in self._kept
