"""Progress in a log: a line now and then, whether or not anything moves."""

from threading import Event
from time import sleep

import pytest

from hamcache.pipeline.cli import progress_lines as module
from hamcache.pipeline.cli.console import progress_bar


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.02)


def lines(total: int | None, *steps: int) -> list[str]:
    """Lines that are written once all steps were told."""
    said: list[str] = []
    enough = Event()

    def write(line: str) -> None:
        said.append(line)
        if len(said) > 1:
            enough.set()

    counted = lambda done, rate: (f"{done:,}", "fast")  # noqa: E731
    with module.progress_lines("drawing", total, counted, write) as advance_to:
        for step in steps:
            advance_to(step)
        said.clear()
        enough.clear()
        assert enough.wait(60)
    return said


@pytest.mark.usefixtures("often")
def test_a_line_comes_also_where_nothing_moves() -> None:
    assert all(line.startswith("drawing: for ") for line in lines(None))


@pytest.mark.usefixtures("often")
def test_a_line_says_how_far_it_is() -> None:
    assert lines(4000, 0, 1000)[-1].startswith("drawing: 1,000 of 4,000 (25 %), fast, ")
    assert lines(None, 1, 5)[-1] == "drawing: 5, fast"
    assert lines(10, 8)[-1] == "drawing: 8 of 10 (80 %), fast"  # all that was there before


@pytest.mark.usefixtures("often")
def test_a_bar_that_is_no_terminals_writes_lines_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    out = err = ""
    with progress_bar("extracting", 10, "images") as advance_to:
        advance_to(0, None)
        advance_to(5, None)
        while "5 of 10" not in err:
            more = capfd.readouterr()
            out, err = out + more.out, err + more.err
            sleep(0.01)
    assert out == "" and "extracting: 5 of 10 (50 %), " in err and " images/s, " in err


def test_a_short_piece_of_work_writes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bar("extracting", 10, "images") as advance_to:
        advance_to(5, None)
    assert capfd.readouterr() == ("", "")
