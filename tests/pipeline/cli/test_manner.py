"""Options that every command has: -h, -q, -v, --json; and tables for other programs."""

import json
import logging
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hamcache.pipeline.cli.app import app
from hamcache.pipeline.cli.bundles import Commands
from hamcache.pipeline.cli.console import progress_bar, say, show_table
from hamcache.pipeline.cli.manner import manner
from tests.pipeline.cli.test_app import hamcache

SPEAKER = Commands()
ROWS = [("a b", 1234, 0.5, None), ("c\nd", 1, float("nan"), "x")]


@SPEAKER.command(tables=True)
def speak() -> None:
    """Say a line, show a table."""
    with progress_bar("counting", 2, "things") as advance_to:
        say("at work")
        logging.getLogger("somebody").info("a library's line")
        show_table("Things", ("name", "count", "share", "note"), ROWS, "a caption")
        advance_to(2, None)


def test_a_table_for_other_programs_has_tabs_and_no_frames() -> None:
    done = CliRunner().invoke(SPEAKER, [])
    assert done.stdout.splitlines() == [
        "at work",
        "# Things",
        "name\tcount\tshare\tnote",
        "a b\t1234\t0.500\tNone",
        "c d\t1\t-\tx",
        "# a caption",
    ]


def test_json_is_all_of_standard_output_and_numbers_are_whole() -> None:
    done = CliRunner().invoke(SPEAKER, ["--json"])
    assert json.loads(done.stdout) == {
        "tables": [
            {
                "title": "Things",
                "rows": [
                    {"name": "a b", "count": 1234, "share": 0.5, "note": None},
                    {"name": "c\nd", "count": 1, "share": None, "note": "x"},
                ],
                "note": "a caption",
            }
        ]
    }
    assert "at work" in done.stderr


def test_quiet_says_results_only_and_verbose_what_libraries_say() -> None:
    assert CliRunner().invoke(SPEAKER, ["-q"]).stdout.startswith("# Things")
    loud = CliRunner().invoke(SPEAKER, ["-v"])
    assert "INFO somebody: a library's line" in loud.stderr
    assert "somebody" not in CliRunner().invoke(SPEAKER, []).stderr and not manner.verbose


def test_help_is_short_too_and_what_lists_or_scores_has_json(tmp_path: Path) -> None:
    for line in ("-h", "cache -h", "cache ls -h"):
        assert "Usage: hamcache" in hamcache(line, tmp_path).ok()
    for command in (
        *("runs", "sweeps", "grids", "cache ls", "cache verify", "backbones", "compare", "zoo", "hybrids", "curve"),
        *("grid", "sweep", "train", "leakage-demo", "data summary", "data split", "data subset", "doctor"),
        *("data audit", "runs show", "runs verify", "extract", "demo", "predict", "evaluate"),
    ):
        done = CliRunner().invoke(app, [*command.split(), "--help"])
        assert "--json" in done.output and "--quiet" in done.output, command


def test_lists_are_json(world, tmp_path: Path) -> None:
    world.extract("net_a")
    words = f"--dataset {world.csv} --no-plots"
    trained = json.loads(hamcache(f"train {words} --features net_a --head knn --json", world.workspace).ok())
    (table,) = trained["tables"]
    assert [row["part"] for row in table["rows"]][:2] == ["train", "validation"]
    listed = json.loads(hamcache("runs --json", world.workspace).ok())["tables"][0]["rows"]
    assert listed[0]["run"] == table["title"] and listed[0]["mcc"] == table["rows"][1]["mcc"]
    stores = json.loads(hamcache("cache ls --json", world.workspace).ok())["tables"][0]["rows"]
    assert stores[0]["features"] == "net_a"


def test_the_data_set_may_be_named_by_the_environment(world, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAMCACHE_DATASET", str(world.csv))
    said = hamcache("data summary", world.workspace).ok()
    assert said.startswith("moles: ")
