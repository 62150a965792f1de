"""Every benchmark still runs, at tiny sizes; none of this says that anything is fast."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from benchmarks import extraction, pictures, studies
from benchmarks.apart import Timer, Work
from benchmarks.child import take_rounds
from benchmarks.harness import HIGHER, LOWER, TINY, Benchmark, Costs, LeftOutError, Row, Setting, wall
from benchmarks.results import Result, kept, markdown, summary, write_results, write_table
from benchmarks.rows import BENCHMARKS
from hamcache.data.workspace import Workspace
from hamcache.pipeline.studies.sweeps import tuning
from hamcache.pipeline.studies.sweeps.shared import open_sweep, read_shared
from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig

ROWS = [row for benchmark in BENCHMARKS for row in benchmark.rows.values()]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small pictures."""
    return pictures.scatter(tmp_path_factory.mktemp("pictures") / "scattered", 4)


LARGEST = {b.function: b for b in sorted(BENCHMARKS, key=lambda b: (len(b.rows), len(b.options)))}
"""One benchmark of each function, that with the most rows: at tiny sizes the others are the same."""


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let competitors work here, which spares their imports; `allocator` has processes of its own all the same."""

    @contextmanager
    def here(prepare: Callable[..., Work], *arguments: Any, timer: Timer = wall) -> Iterator[Callable[[], float]]:
        work = prepare(*arguments)
        yield lambda: timer(work)

    for module in (extraction, studies):
        monkeypatch.setattr(module, "apart", here)


@pytest.fixture(autouse=True)
def _without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open sweeps and read what they need, but start no Ray: `tests/pipeline/studies/sweeps` does."""

    def run_sweep(settings: SweepConfig, workspace: Workspace, **options: Any) -> SimpleNamespace:
        assert read_shared(settings, open_sweep(settings, workspace), print).bytes and settings.samples
        return SimpleNamespace(trials=pd.DataFrame({"overhead": [None, 0.1]}))

    monkeypatch.setattr(tuning, "run_sweep", run_sweep)


@pytest.mark.parametrize("benchmark", [pytest.param(b, id=b.name) for b in LARGEST.values()])
def test_every_benchmark_runs_and_measures_its_rows(benchmark: Benchmark, images: Path, tmp_path: Path) -> None:
    try:
        first = next(take_rounds(benchmark, Setting(tmp_path, images, TINY), 0.0))
    except LeftOutError as error:
        pytest.skip(str(error))
    assert set(first) == set(benchmark.rows)
    assert all(cost > 0 for costs in first.values() for cost in costs)


def test_the_other_benchmarks_have_arguments_that_fit(tmp_path: Path) -> None:
    for benchmark in BENCHMARKS:
        benchmark.start(Setting(tmp_path, tmp_path, TINY)).close()  # type: ignore[attr-defined]


def test_rows_have_names_of_their_own_and_a_direction() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert {row.better for row in ROWS} == {HIGHER, LOWER} and all(row.target > 0 for row in ROWS)
    assert len({benchmark.name for benchmark in BENCHMARKS}) == len(BENCHMARKS)


def test_a_whole_run_fits_into_its_fifteen_minutes() -> None:
    assert sum(benchmark.seconds for benchmark in BENCHMARKS) <= 15 * 60


def test_the_ratio_is_the_median_of_rounds_and_looks_into_the_direction_of_its_row() -> None:
    rounds = [Costs(2, 8), Costs(1, 5), Costs(4, 4)]
    speed, cost = Result(Row("speed", 4, HIGHER), "a", rounds), Result(Row("cost", 0.2, LOWER), "a", rounds)
    assert speed.ratio == 4 and speed.is_met
    assert cost.ratio == 0.25 and not cost.is_met


def test_the_table_says_what_was_not_run_and_why() -> None:
    results = [
        Result(Row("a", 2, HIGHER), "x", [Costs(1, 3)]),
        Result(Row("b", 1.5, LOWER), "y", (), "it failed: no disk"),
    ]
    assert "| a | 1 | 3 | 3 to 3 | ≥ 2 | yes |" in markdown(results)
    assert "| b | 0 | - | - | ≤ 1.5 | not run: it failed: no disk |" in markdown(results)
    assert summary(results) == "1 of 1 rows reach their targets, 1 not run"


def test_results_are_recorded_and_rows_that_were_not_run_keep_theirs(tmp_path: Path) -> None:
    first, second = ROWS[:2]
    old = [Result(row, "lite0", [Costs(1.0, 2.0)]) for row in (first, second)]
    write_results(old, tmp_path / "results.json", {"quick": False})
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["rows"][0]["name"] == first.name and content["rows"][0]["ratio"] == 2.0
    assert content["machine"]["cores"] and content["versions"]["torch"] and (tmp_path / "results.png").is_file()
    new = [Result(second, "lite0", [Costs(1.0, 4.0)])]
    assert [result.ratio for result in kept(new, tmp_path / "results.json")] == [2.0, 4.0]
    (tmp_path / "performance.md").write_text("Before.\n<!-- table -->\n<!-- end -->\nAfter.\n")
    write_table(new, tmp_path / "performance.md")
    document = (tmp_path / "performance.md").read_text()
    assert document.startswith("Before.") and document.endswith("After.\n") and new[0].cells[2] in document
