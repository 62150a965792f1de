from io import StringIO

import pytest
from rich.console import Console

from hamcache.pipeline.cli.live_table import LiveTable
from hamcache.pipeline.studies.sweeps.results import FAILED, FINISHED, STOPPED
from hamcache.pipeline.studies.sweeps.trial_table import Trial

POINT = {"head.lr": 0.00123456, "head.hidden": [256, 64], "head.loss": "focal"}


@pytest.fixture
def settings(sweep_of):
    space = {
        "head.lr": {"loguniform": [1e-4, 1]},
        "head.hidden": {"choice": [[], [256, 64]]},
        "head.loss": {"choice": ["focal"]},
    }
    return sweep_of(space, "objective=nll", experiment={"features": "a", "head": "mlp"}, samples=9)


def shown(table: LiveTable) -> str:
    out = StringIO()
    Console(file=out, width=110).print(table.table())
    return out.getvalue()


def test_the_table_shows_what_runs_and_the_best_first(settings) -> None:
    table = LiveTable(settings, Console(file=StringIO(), width=110))
    table.began([Trial(0, POINT, FINISHED, 0.9, 7, 1.5, None)], 9)
    for number in (1, 2, 3, 4):
        table.started(number, POINT | {"head.loss": "[red]focal[/red]"})
    table.epoch(1, 5, -0.75)
    table.ended(Trial(2, POINT, FINISHED, 0.4, 8, 2.5, 0.1))
    table.ended(Trial(3, POINT, STOPPED, 0.3, 4, 1.0, 0.1))
    table.ended(Trial(4, POINT, FAILED, None, 0, 0.1, 0.1, "TypeError: broken"))
    lines = shown(table).splitlines()
    assert lines[0].startswith("4 of 9 trials (2 finished, 1 stopped, 1 failed)")
    rows = [line for line in lines if "lr=0.001235, hidden=[256, 64], loss=" in line]
    assert [row.split()[1] for row in rows] == ["1", "2", "0"]  # running, then by the objective: lower is better
    assert "0.7500" in rows[0] and "[red]focal[/red]" in rows[0]
    assert "0.4000" in rows[1] and "2.5" in rows[1]


def test_without_a_terminal_every_trial_that_ends_is_a_line(settings) -> None:
    out = StringIO()
    with LiveTable(settings, Console(file=out, width=200)) as table:
        table.began([], 9)
        table.ended(Trial(2, POINT, FINISHED, 0.4, 8, 2.5, 0.1))
        table.ended(Trial(4, POINT, FAILED, None, 0, 0.1, 0.1, "TypeError: [bold] broken"))
    assert out.getvalue().splitlines() == [
        "[1/9] trial 2 finished: nll 0.4000, 8 epochs, 2.5 s: lr=0.001235, hidden=[256, 64], loss=focal",
        "[2/9] trial 4 FAILED: TypeError: [bold] broken, 0.1 s: lr=0.001235, hidden=[256, 64], loss=focal",
    ]


def test_on_a_terminal_failures_are_lines_above_the_table(settings) -> None:
    out = StringIO()
    with LiveTable(settings, Console(file=out, width=120, force_terminal=True)) as table:
        table.began([], 9)
        table.ended(Trial(1, POINT, FINISHED, 0.4, 8, 2.5, 0.1))
        table.ended(Trial(4, POINT, FAILED, None, 0, 0.1, 0.1, "TypeError: broken"))
    assert "trial 4 FAILED: TypeError: broken" in out.getvalue()
    assert "[1/9] trial 1" not in out.getvalue()
