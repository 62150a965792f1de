"""One benchmark in a process of its own: `python -m benchmarks.child NAME SIZE SECONDS FOLDER IMAGES OUT`.

Every round is a line of OUT as soon as it is done, so a process that dies or is killed loses no more than its last one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic

from benchmarks.harness import QUICK, Benchmark, LeftOutError, Round, Setting
from benchmarks.rows import BENCHMARKS

LEAST = 3
"""Rounds that are taken whatever the time, and by `--quick`."""

INSTANT = 0.1
"""Seconds; rounds that take less were measured before, all at once."""


def take_rounds(benchmark: Benchmark, setting: Setting, seconds: float) -> Iterator[Round]:
    """The rounds of a benchmark, until it has enough, or the next one would not fit into the time."""
    began = last = monotonic()
    most = LEAST if setting.size == QUICK else benchmark.rounds
    with closing(benchmark.start(setting)) as rounds:  # type: ignore[type-var]
        for number, costs in enumerate(rounds, 1):
            yield costs
            now = monotonic()
            lasted, last = now - last, now
            is_late = lasted > INSTANT and now - began + lasted > seconds
            if number >= most or (number >= LEAST and is_late):
                return


def main() -> None:
    """Run one benchmark."""
    name, size, seconds, folder, images, out = sys.argv[1:]
    benchmark = next(benchmark for benchmark in BENCHMARKS if benchmark.name == name)
    setting = Setting(Path(folder), Path(images), size)
    with Path(out).open("w", encoding="utf-8") as file:
        try:
            for costs in take_rounds(benchmark, setting, float(seconds)):
                print(json.dumps({"costs": costs}), file=file, flush=True)
        except LeftOutError as error:
            print(json.dumps({"left_out": str(error)}), file=file)


if __name__ == "__main__":
    main()
