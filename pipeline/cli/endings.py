"""The ways in which a command ends: done, one short message, wrong usage, interrupted, or a fault of ours."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hamcache.pipeline.cli.manner import manner

DEBUG = "HAMCACHE_DEBUG"
"""Environment variable: any value lets errors end in their traceback."""
FAILED, WRONG_USAGE, FAULT, INTERRUPTED = 1, 2, 70, 130
MOST_LINES, LONGEST_LINE = 40, 2000


def end(run: Callable[[], Any]) -> None:
    """Run the command line, and end the process as the outcome demands."""
    for stream in (sys.stdout, sys.stderr):  # what a terminal cannot show is no reason to fail
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        manner.begin()
        check_words(sys.argv[1:], os.environ)
        code = run()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        code = INTERRUPTED
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        code = explain(error)
    sys.exit(code if isinstance(code, int) else 0)


def check_words(words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Refuse words that are no text: they could not be printed, kept in a file, or found again.

    Raises:
        typer.BadParameter: A word holds a NUL, or bytes that are not UTF-8.
    """
    ours = {name: text for name, text in environment.items() if name.startswith("HAMCACHE_")}
    for word, where in [*((word, None) for word in words), *((text, name) for name, text in ours.items())]:
        if "\0" in word or any("\ud800" <= letter <= "\udfff" for letter in word):
            import typer

            raise typer.BadParameter(f"expected text in UTF-8 without NUL, got {word!a:.200}", param_hint=where)


def our_errors() -> tuple[type[Exception], ...]:
    """The base error of each package, whose messages are meant for the person at the keyboard."""
    from hamcache.cache.errors import CacheError
    from hamcache.data.errors import DataError
    from hamcache.extract.errors import ExtractError
    from hamcache.heads.errors import HeadError
    from hamcache.pipeline.errors import PipelineError

    return (CacheError, DataError, ExtractError, HeadError, PipelineError)


def explain(error: Exception) -> int:
    """Say on standard error what went wrong, in a few lines; the exit code."""
    if hasattr(error, "show") and hasattr(error, "exit_code"):  # typer's: another class in each of its versions
        shown = io.StringIO()
        error.show(file=shown)
        print(shortened(shown.getvalue().rstrip()), file=sys.stderr)
        return int(error.exit_code)
    if type(error).__name__ == "Abort":
        print("Aborted.", file=sys.stderr)
        return FAILED
    from hamcache.data.room import lack_of_room, lacks_memory, not_written

    reason = lack_of_room(error)
    if isinstance(error, our_errors()):
        message = str(error)
    elif reason is not None:
        message = str(not_written(getattr(error, "filename", None) or "a file", reason))
    elif lacks_memory(error):
        reason = " ".join(str(error).split())[:200] or "out of memory"
        message = (
            f"Expected to have memory for what was asked, but there is not enough ({reason}). "
            "Ask for less: fewer views, features, workers, or smaller sizes."
        )
    elif isinstance(error, OSError):
        message = str(error)
    else:
        message = _fault(error)
        print(shortened(message), file=sys.stderr)
        return FAULT
    print(f"Error: {shortened(message)}", file=sys.stderr)
    return FAILED


def shortened(message: str) -> str:
    """A message that a screen can hold: long lines are cut, and further ones counted."""
    lines = message.splitlines()
    kept = [
        line
        if len(line) <= LONGEST_LINE
        else f"{line[:LONGEST_LINE]} ... ({len(line) - LONGEST_LINE:,} characters more)"
        for line in lines[:MOST_LINES]
    ]
    more = [f"... and {len(lines) - MOST_LINES:,} lines more"] if len(lines) > MOST_LINES else []
    return "\n".join([*kept, *more])


def _fault(error: Exception) -> str:
    """Keep the details of an error that nobody foresaw in a file, and say where."""
    from hamcache import __version__

    kind = f"{type(error).__name__}: {' '.join(str(error).split())}"
    details = "".join(traceback.format_exception(error))
    about = f"hamcache {__version__}, Python {sys.version}, {sys.platform}\n{sys.argv!a}\n\n"
    try:
        descriptor, path = tempfile.mkstemp(prefix="hamcache-fault-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(about + details)
    except OSError:
        return f"{details}\nhamcache has a fault: {kind[:500]}."
    return (
        f"hamcache has a fault: {kind[:500]}.\nThis should not happen, whatever was asked. The details are in {path}: "
        f"please report them. ({DEBUG}=1 shows them here.)"
    )
