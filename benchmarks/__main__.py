"""`python -m benchmarks`: run the benchmarks one after the other, each in a process of its own, and show a table.

A whole run is recorded: it writes `benchmarks/results.json`, a plot beside it, and the table of `docs/performance.md`.
With `--quick` or `--only` the results go to `build/bench/`, unless `--record` says that they, too, are to be recorded.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic, sleep

from benchmarks import pictures
from benchmarks.harness import FULL, QUICK, Benchmark, Costs
from benchmarks.results import Result, in_order, kept, markdown, summary, write_results, write_table
from benchmarks.rows import BENCHMARKS

ROOT = Path(__file__).parents[1]
RECORD, ELSEWHERE = ROOT / "benchmarks" / "results.json", ROOT / "build" / "bench" / "results.json"
DOCUMENT = ROOT / "docs" / "performance.md"
QUICK_SHARE = 0.25
"""Of a benchmark's seconds, in a quick run."""
GRACE = 2.5
"""Times its seconds that a benchmark may take before it is ended."""
LEAST_SECONDS = 10.0


def main() -> int:
    """Run what was asked for; 1 where a benchmark failed."""
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"only this: {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="fewer rows, smaller sizes: about two minutes")
    parser.add_argument("--images", type=Path, help="a folder of pictures (default: they are drawn)")
    parser.add_argument("--minutes", type=float, help="end after this time (default: 15, or 2 of a quick run)")
    parser.add_argument("--record", action="store_true", help="record the rows that were run; others stay")
    arguments = parser.parse_args()
    minutes = arguments.minutes or (2 if arguments.quick else 15)
    deadline = monotonic() + 60 * minutes
    chosen = [
        b for b in BENCHMARKS if (b.name in arguments.only if arguments.only else b.in_quick or not arguments.quick)
    ]
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="hamcache-bench-") as made:
        images = arguments.images or pictures.draw(Path(made) / "images", 16 if arguments.quick else pictures.DRAWN)
        for number, benchmark in enumerate(sorted(chosen, key=lambda benchmark: benchmark.seconds), 1):
            print(f"[{number}/{len(chosen)}] {benchmark.name} ...", flush=True)
            began = monotonic()
            new = run_one(benchmark, QUICK if arguments.quick else FULL, Path(made), images.absolute(), deadline)
            results += new
            for result in new:
                name, rounds, ratio, _, target, is_met = result.cells
                print(f"    {name}: {ratio} (target {target}: {is_met}; {rounds} rounds)", flush=True)
            print(f"    {monotonic() - began:.0f} s", flush=True)
    results = in_order(results)
    print(f"\n{markdown(results)}\n{summary(results)}, {(monotonic() - deadline) / 60 + minutes:.1f} minutes")
    about = {"images": "of a folder" if arguments.images else "drawn", "quick": arguments.quick}
    if arguments.record or not (arguments.quick or arguments.only):
        results = kept(results, RECORD)
        write_results(results, RECORD, about)
        write_table(results, DOCUMENT)
    else:
        ELSEWHERE.parent.mkdir(parents=True, exist_ok=True)
        write_results(results, ELSEWHERE, about)
    return int(any(result.why and result.why.startswith(FAILED) for result in results))


FAILED = "it failed"


def run_one(benchmark: Benchmark, size: str, folder: Path, images: Path, deadline: float) -> list[Result]:
    """Run a benchmark in a process of its own, which is ended where it takes far too long."""
    seconds = benchmark.seconds * (QUICK_SHARE if size == QUICK else 1)
    left = deadline - monotonic()
    if left < LEAST_SECONDS:
        return [Result(row, benchmark.name, (), "no time was left") for row in benchmark.rows.values()]
    limit = min(left, max(GRACE * seconds, 30))
    out, errors = folder / f"{benchmark.name}.jsonl", folder / f"{benchmark.name}.txt"
    with tempfile.TemporaryDirectory(dir=folder) as own, errors.open("w") as file:
        words = [benchmark.name, size, str(min(seconds, left)), own, str(images), str(out)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": _search_path()}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "benchmarks.child", *words],
            stdout=file,
            stderr=file,
            env=environment,
            start_new_session=True,
        )
        why = None
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            why = f"it was ended after {limit:.0f} s"
        finally:
            _end(process)
    return _results(benchmark, out, process.returncode, errors, why)


def _search_path() -> str:
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def _end(process: subprocess.Popen) -> None:
    """End a process and all that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        sleep(0.2)
    process.wait()


def _results(benchmark: Benchmark, out: Path, code: int, errors: Path, ended: str | None) -> list[Result]:
    """What a benchmark's process has written, and how it ended."""
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []
    why = ended or next((line["left_out"] for line in lines if "left_out" in line), None)
    if code and not ended:
        said = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        why = f"{FAILED}: {said[-1] if said else f'exit code {code}'}"
    rounds = [line["costs"] for line in lines if "costs" in line]
    return [
        Result(row, benchmark.name, [Costs(*costs[key]) for costs in rounds if key in costs], why)
        for key, row in benchmark.rows.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
