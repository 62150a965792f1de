"""The ways in which a command ends, each with its exit code and a few lines."""

import errno
import io
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from unittest import mock

import pytest
import typer

from hamcache.pipeline.cli.console import interruptible
from hamcache.pipeline.cli.endings import DEBUG, LONGEST_LINE, MOST_LINES, end, shortened
from hamcache.pipeline.errors import ConfigError


def raising(error: BaseException) -> Callable[[], None]:
    def run() -> None:
        raise error

    return run


def ended(run: Callable[[], object], *words: str) -> tuple[int, str]:
    said = io.StringIO()
    with redirect_stderr(said), mock.patch.object(sys, "argv", ["hamcache", *words]), pytest.raises(SystemExit) as how:
        end(run)
    return int(how.value.code or 0), said.getvalue()


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ConfigError("Expected this."), 1, "Error: Expected this."),
        (OSError(errno.EACCES, "Permission denied", "x"), 1, "Error: [Errno 13] Permission denied: 'x'"),
        (OSError(errno.ENOSPC, "No space left on device", "x.npy"), 1, "Expected to write x.npy, got: No space left"),
        (MemoryError("Unable to allocate 1 PiB"), 1, "not enough (Unable to allocate 1 PiB)"),
        (RuntimeError("could not create a primitive"), 1, "not enough (could not create a primitive)"),
        (RuntimeError("can't start new thread"), 1, "not enough (can't start new thread)"),
        (OSError(12, "Cannot allocate memory"), 1, "Ask for less"),
        (typer.BadParameter("no such thing"), 2, "no such thing"),
        (KeyboardInterrupt(), 130, "Interrupted."),
    ],
)
def test_what_went_wrong_is_one_message(error: BaseException, code: int, words: str) -> None:
    assert ended(raising(error))[0] == code
    assert words in ended(raising(error))[1]


def test_a_fault_of_ours_is_one_message_that_names_a_file_with_the_details(tmp_path: Path) -> None:
    with mock.patch("tempfile.tempdir", str(tmp_path)):
        code, said = ended(raising(KeyError("slip")), "train", "--seed", "1")
    (file,) = tmp_path.iterdir()
    assert code == 70 and str(file) in said and "KeyError: 'slip'" in said and "Traceback" not in said
    assert "Traceback" in file.read_text() and "['hamcache', 'train', '--seed', '1']" in file.read_text()


def test_whoever_debugs_sees_the_traceback() -> None:
    with mock.patch.dict(os.environ, {DEBUG: "1"}), pytest.raises(KeyError):
        end(raising(KeyError("slip")))


@pytest.mark.parametrize("word", ["a\0b", "\udcff", "\ud800"])
def test_words_that_are_no_text_are_wrong_usage(word: str) -> None:
    code, said = ended(raising(AssertionError("never reached")), "train", word)
    assert code == 2 and "UTF-8" in said


def test_long_messages_are_cut() -> None:
    text = shortened("\n".join(["x" * 10 * LONGEST_LINE] * 1000))
    assert len(text.splitlines()) == MOST_LINES + 1 and len(text) < (MOST_LINES + 1) * (LONGEST_LINE + 60)


def test_ctrl_c_ends_with_its_advice_and_code() -> None:
    warns = mock.patch("hamcache.pipeline.cli.console.warn")
    with warns as warn, pytest.raises(typer.Exit) as how, interruptible("Do it again."):
        raise KeyboardInterrupt
    assert how.value.exit_code == 130
    warn.assert_called_once_with("Interrupted. Do it again.")
