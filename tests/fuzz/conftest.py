"""The command line in this process, with what is heavy taken out, and a time limit for each case.

With HYPOTHESIS_PROFILE=stress every property is tried a hundred times as often, with other examples at each run.
"""

import faulthandler
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings

from hamcache.data.errors import DownloadError, SynthesisError
from hamcache.extract.errors import ExtractionFailedError
from hamcache.pipeline.cli.app import main
from hamcache.pipeline.cli.endings import our_errors
from hamcache.pipeline.errors import RunError, ServingError

STRESS = os.environ.get("HYPOTHESIS_PROFILE") == "stress"
SECONDS = 60
"""A case that takes longer hangs: the machine may be busy, but nothing here needs a second."""
MOST_LINES, MOST_LETTERS = 60, 30_000

HEAVY: dict[str, Exception] = {
    "hamcache.pipeline.experiment.extraction.run_extraction": ExtractionFailedError("not in this test"),
    "hamcache.pipeline.experiment.runner.run_experiment": RunError("not in this test"),
    "hamcache.pipeline.studies.experiments.run_all": RunError("not in this test"),
    "hamcache.pipeline.studies.leakage.measure.demonstrate": RunError("not in this test"),
    "hamcache.pipeline.studies.sweeps.tuning.run_sweep": RunError("not in this test"),
    "hamcache.pipeline.studies.sweeps.tuning.finalize": RunError("not in this test"),
    "hamcache.pipeline.inspect.audit.audit.audit": RunError("not in this test"),
    "hamcache.pipeline.show.report.build.build_report": RunError("not in this test"),
    "hamcache.pipeline.use.predict.predictor.load_predictor": RunError("not in this test"),
    "hamcache.pipeline.use.serve.server.listen": ServingError("not in this test"),
    "hamcache.data.fetch.download.download_ham10000": DownloadError("not in this test"),
    "hamcache.data.synthetic.collection.synthesize": SynthesisError("not in this test"),
}
"""Entry points that a word may reach, but not pass."""


def examples(count: int) -> Callable[[Any], Any]:
    """Settings of a property that is tried so often."""
    return settings(
        max_examples=count * 100 if STRESS else count,
        deadline=None,
        derandomize=not STRESS,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


class Hang(BaseException):
    """A case that does not end. No handler of the code under test catches it."""


@contextmanager
def limited() -> Iterator[None]:
    """Raise Hang, or end the process where Python is not reached any more, when the time is up."""

    def stop(number: int, frame: object) -> None:
        raise Hang(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    faulthandler.dump_traceback_later(2 * SECONDS, exit=True)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code, and what it printed."""

    code: int
    text: str

    def is_fine(self) -> None:
        """Done, or one short message: anything else is a fault."""
        assert self.code in (0, 1, 2), self.text
        assert "Traceback" not in self.text
        if self.code:
            assert len(self.text.splitlines()) <= MOST_LINES, self.text[:2000]
            assert len(self.text) <= MOST_LETTERS, self.text[:2000]


@pytest.fixture(scope="session")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the command line runs."""
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="session")
def command_line(here: Path) -> Callable[[Sequence[str]], Outcome]:
    """A function that runs `hamcache WORDS` in `here`, without what is heavy; it leaves nothing patched."""

    def run(words: Sequence[str]) -> Outcome:
        said = io.StringIO()
        with (
            limited(),
            chdir(here),
            ExitStack() as patches,
            redirect_stdout(said),
            redirect_stderr(said),
            mock.patch.object(sys, "argv", ["hamcache", *words]),
            mock.patch.object(sys, "stdin", io.StringIO()),
            mock.patch.dict(os.environ, {"HAMCACHE_WORKSPACE": str(here / "workspace"), "COLUMNS": "120"}),
            pytest.raises(SystemExit) as ended,
        ):
            for name, error in HEAVY.items():
                patches.enter_context(mock.patch(name, side_effect=error))
            main()
        return Outcome(int(ended.value.code or 0), said.getvalue())

    return run


def is_refused_or(function: Callable[[], Any]) -> Any:
    """What a function gives, or None where it refuses with a short error of ours; anything else is a fault."""
    with limited():
        try:
            return function()
        except our_errors() as error:
            assert len(str(error)) < MOST_LETTERS
            return None
