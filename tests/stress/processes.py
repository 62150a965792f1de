"""Commands in processes of their own that can be watched, killed and waited for.

A command is `hamcache WORDS`, run by its real entry point: forked from a server that has imported everything (a tenth
of a second), or really executed (seconds, nearly all of them imports).
"""

from __future__ import annotations

import atexit
import io
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

ENDINGS = (0, 1, 2)
"""Exit codes: done, failed with a message, wrong usage. Any other is a fault."""
PATIENCE = 180
"""Seconds after which a command hangs, on a busy machine too."""
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.stress.preloaded"])


@dataclass(frozen=True)
class Answer:
    """The end of a command.

    Attributes:
        code: Exit code; None: it hung; negative: the signal that ended it.
        output: All it printed.
        said: What it printed on standard output, where that was kept apart.
    """

    code: int | None
    output: str
    said: str = ""

    @property
    def is_ours(self) -> bool:
        """True unless it crashed, hung, found a fault in itself, or printed a traceback."""
        return self.code in ENDINGS and "Traceback (most recent call last)" not in self.output

    @property
    def done(self) -> bool:
        """True if the command did what was asked."""
        return self.code == 0 and self.is_ours

    @property
    def refused(self) -> bool:
        """True if it said no, in a message of ours."""
        return self.code in ENDINGS[1:] and self.is_ours and bool(self.output.strip())

    def __str__(self) -> str:
        told = re.search(r"The details are in (\S+\.txt)", self.output)
        fault = Path(told[1]).read_text(encoding="utf-8") if told and Path(told[1]).is_file() else ""
        return f"exit code {self.code}: {self.output[-1500:]}{fault[-1500:]}"


class Command:
    """A command under way.

    Args:
        words: The command line, without `hamcache`.
        folder: Where it runs; what it prints goes into a file there.
        environment: Variables to set beside those of this process.
        really: Execute it as a program of its own.
        before: Called first in a forked child: what is done to its process, such as limits.
    """

    def __init__(
        self,
        words: Sequence[str | Path],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        really: bool = False,
        before: Callable[[], object] | None = None,
    ) -> None:
        self.words, self._log = [str(word) for word in words], folder / ".output.txt"
        self._process: Any
        if really:
            line = [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", "hamcache", *self.words]
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    line,
                    cwd=folder,
                    env={**os.environ, **(environment or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        else:
            arguments = (self.words, folder, self._log, dict(environment or {}), before)
            self._process = _context.Process(target=_become, args=arguments)
            self._process.start()
        self._really = really

    @property
    def pid(self) -> int:
        """Its process."""
        return int(self._process.pid)

    @property
    def alive(self) -> bool:
        """True until it has ended."""
        return bool(self._process.poll() is None if self._really else self._process.is_alive())

    def send(self, number: int, *, to_all: bool = False) -> None:
        """Send a signal to its process, or to all processes of its session."""
        with suppress(ProcessLookupError):
            (os.killpg if to_all else os.kill)(self.pid, number)

    def wait(self, seconds: float = PATIENCE) -> Answer:
        """Wait for its end; one that hangs is killed."""
        if self._really:
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                return self._hung()
            code = self._process.returncode
        else:
            self._process.join(seconds)
            if self._process.is_alive():
                return self._hung()
            code = self._process.exitcode
        return Answer(code, self.output)

    @property
    def output(self) -> str:
        """All it has printed so far."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def _hung(self) -> Answer:
        said = self.output
        for process in (*descendants(self.pid), psutil.Process(self.pid)):
            _end(process)
        return Answer(None, f"{said}\n[no end after {PATIENCE} s]")


def run(words: Sequence[str | Path], folder: Path, **options: Any) -> Answer:
    """Run a command to its end."""
    return Command(words, folder, **options).wait()


def ask(*words: str | Path) -> Answer:
    """Run a command in this process, and take what it prints. For forked processes, which end soon."""
    from hamcache.pipeline.cli.app import main

    said, beside, before, code = io.StringIO(), io.StringIO(), sys.argv, 0
    sys.argv = ["hamcache", *map(str, words)]
    with redirect_stdout(said), redirect_stderr(beside):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            sys.argv = before
    return Answer(code, said.getvalue() + beside.getvalue(), said.getvalue())


def descendants(pid: int) -> list[psutil.Process]:
    """All processes that a process has started, and those they have."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def end_all(processes: Sequence[psutil.Process], seconds: float = 90) -> list[psutil.Process]:
    """Give processes time to end by themselves, then kill them; returns those that had to be.

    Two of Ray's own stay for 60 seconds where its head has died: they try to tell it of that.
    """
    _, late = psutil.wait_procs([process for process in processes if _runs(process)], timeout=seconds)
    late = [process for process in late if _runs(process)]
    for process in late:
        _end(process)
    return late


def in_child(function: Callable[..., Any], *arguments: Any, seconds: float = PATIENCE) -> Any:
    """What a function of a module returns in a forked process. Raises RuntimeError where it fails or hangs."""
    receiver, sender = _context.Pipe(duplex=False)
    process = _context.Process(target=_report, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            raise RuntimeError(f"{function.__name__} does not end")
        good, result = receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"{function.__name__} died: {process.exitcode}") from None
    finally:
        if process.is_alive():
            process.join(10)
        if process.is_alive():
            process.kill()
    if not good:
        raise RuntimeError(result)
    return result


def start(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
    """Call a function in a forked process, with a pipe as its first argument; returns the process and our end."""
    receiver, sender = _context.Pipe(duplex=False)
    process = _context.Process(target=function, args=(sender, *arguments))
    process.start()
    sender.close()
    return process, receiver


def _report(sender: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        sender.send((True, function(*arguments)))
    except BaseException:
        sender.send((False, traceback.format_exc()))


def _become(
    words: list[str], folder: Path, log: Path, environment: dict[str, str], before: Callable[[], object] | None
) -> None:
    """Be `hamcache WORDS` from here on."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1), os.dup2(file, 2)
    os.environ.update(environment)
    sys.argv = ["hamcache", *words]
    from hamcache.pipeline.cli.app import main

    if before is not None:
        before()
    code: Any = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
    sys.stdout.flush(), sys.stderr.flush()
    threading._shutdown()  # type: ignore[attr-defined]  # as at the end of a program: multiprocessing leaves it out
    atexit._run_exitfuncs()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _end(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()
