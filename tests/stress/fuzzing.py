"""The properties of `tests/fuzz`, tried with tens of thousands of examples in a limited time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.stress import counting
from tests.stress.tally import WRONG, Tally
from tests.stress.world import Bench

ROOT = Path(__file__).parents[2]


def fuzz(bench: Bench, tally: Tally) -> None:
    """Try every property for its share of the time."""
    python = [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", "pytest", "-p", "no:cacheprovider"]
    listed = subprocess.run(
        [*python, "--collect-only", "-q", "tests/fuzz"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    nodes = [line for line in listed.stdout.splitlines() if "::" in line]
    shares = [nodes[number :: bench.jobs] for number in range(bench.jobs)]
    with ThreadPoolExecutor(bench.jobs) as pool:
        for found in pool.map(lambda number: _try(python, shares[number], bench, number), range(bench.jobs)):
            for node, number in found["examples"].items():
                bench.say(f"{node}: {number:,} examples")
                tally.outcomes["right"] += number - (node in found["failures"])
                tally.note("properties")
            for node, text in found["failures"].items():
                tally.count(WRONG, node, text)


def _try(python: list[str], nodes: list[str], bench: Bench, number: int) -> dict[str, dict[str, Any]]:
    """Examples and failures of some properties, tried one after the other."""
    if not nodes:
        return {"examples": {}, "failures": {}}
    counts = bench.folder / f"counts{number}.json"
    more = {
        "HYPOTHESIS_PROFILE": "stress",
        counting.FILE: str(counts),
        counting.SECONDS: str(bench.seconds),
    }
    ended = subprocess.run(
        [*python, "-q", "--timeout=0", "-p", "tests.stress.counting", *nodes],
        cwd=ROOT,
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        timeout=bench.seconds * 3 + 300,
    )
    if not counts.exists():
        return {"examples": {}, "failures": {"fuzz": ended.stdout + ended.stderr}}
    return dict(json.loads(counts.read_text()))
