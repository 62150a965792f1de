"""`python -m tests.stress`: hurt the programs in every way that is known, and count what came of it.

Bounded in count and time; seeds are fixed, so that a failure can be had again with `--only`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from time import monotonic

from hamcache.data.files import write_text
from tests.stress.tally import LOST, WRONG, Tally, markdown, recorded, write_tallies
from tests.stress.world import Bench

KINDS = {
    "kills": ("tests.stress.kills", "kill_commands", "commands killed at work, then run again", 290),
    "runs": ("tests.stress.damaged_runs", "damage_runs", "damages to runs, sweeps and grids", 260),
    "stores": ("tests.stress.damaged_stores", "damage_stores", "damages to feature stores", 330),
    "archives": ("tests.stress.hostile_archives", "forge_archives", "hostile archives for `cache import`", 40),
    "writers": ("tests.stress.writers", "write_together", "two writers at once, on a disk and on S3", 60),
    "disk": ("tests.stress.full_disk", "fill_disks", "disks that fill up", 45),
    "clusters": ("tests.stress.clusters", "lose_clusters", "parts of Dask, Ray and S3 lost", 220),
    "serve": ("tests.stress.crowds", "crowd", "requests and broken uploads to `serve`", 30),
    "odd": ("tests.stress.odd", "be_odd", "classes of damage that nobody had named", 130),
    "fuzz": ("tests.stress.fuzzing", "fuzz", "examples of hostile words, files and tables", 40),
}
"""By name: module, function, what the table calls it, and the seconds it may take."""
QUICK = 0.1
MINUTES = 19.5
"""Of all kinds together: what is left of them is all that a kind may take."""


def main() -> int:
    """Run the kinds that were asked for; 1 where anything was lost or wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("--only", action="append", choices=KINDS, help="only this kind (may be given several times)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the trials: about two minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="trials at a time")
    parser.add_argument("--out", type=Path, help="where to write OUT.md and OUT.json (default: nowhere)")
    parser.add_argument("--record", type=Path, help="a document whose table gets the rows of these kinds")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the trials")
    arguments = parser.parse_args()

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ |= {"COLUMNS": "200", "HF_HUB_OFFLINE": "1", "TERM": "dumb"}
    folder = Path(tempfile.mkdtemp(prefix="hamcache-stress-"))
    began, tallies = monotonic(), []
    try:
        for name in arguments.only or KINDS:
            left = 60 * MINUTES - (monotonic() - began)
            tallies.append(_run(name, arguments, folder / name, left))
    finally:
        if arguments.keep:
            print(f"Kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{markdown(tallies)}\n{monotonic() - began:.0f} s")
    for tally in tallies:
        for failure in tally.failures:
            print(f"{failure['outcome'].upper()}: {tally.kind}: {failure['trial']}: {failure['detail'][-600:]}")
    if arguments.out is not None:
        about = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "system": platform.system(),
            "cores": os.cpu_count(),
            "seed": arguments.seed,
            "quick": arguments.quick,
            "seconds": round(monotonic() - began, 1),
        }
        write_tallies(tallies, arguments.out, about)
    if arguments.record is not None:
        text = arguments.record.read_text(encoding="utf-8")
        write_text(arguments.record, recorded(text, tallies, [title for _, _, title, _ in KINDS.values()]))
    return int(any(tally.outcomes[LOST] or tally.outcomes[WRONG] for tally in tallies))


def _run(name: str, arguments: argparse.Namespace, folder: Path, left: float) -> Tally:
    module, function, title, seconds = KINDS[name]
    trials: Callable[[Bench, Tally], None] = getattr(importlib.import_module(module), function)
    tally, began = Tally(title), monotonic()
    folder.mkdir()
    share = QUICK if arguments.quick else 1.0
    allowed = min(seconds * (0.3 + 0.7 * share), left)
    bench = Bench(folder, Random(f"{arguments.seed} {name}"), share, arguments.jobs, allowed)
    print(f"{name}: {title} ...", flush=True)
    trials(bench, tally)
    tally.seconds = monotonic() - began
    if bench.late:
        tally.notes["ended by"] = "the clock"
    if not arguments.keep:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{name}: {tally.tried} tried, {tally.survived} survived, {tally.seconds:.0f} s", flush=True)
    return tally


if __name__ == "__main__":
    sys.exit(main())
