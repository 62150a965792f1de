"""Damaged feature stores: training refuses or is right, `verify` reports, and the same `extract` mends to the bit."""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.stress.contents import differing, runs_in, stores_in
from tests.stress.damages import Patient
from tests.stress.processes import ask, in_child
from tests.stress.tally import LOST, WRONG, Tally, shortened
from tests.stress.world import NET, OTHER, Bench, draw_images, extract_words, fresh_copy, must

CHECKED = 350


@dataclass(frozen=True)
class Cache:
    """A sound cache of four stores that differ in backbone, augmentation and seed.

    Attributes:
        csv: The table of the images.
        workspace: The sound one.
        patient: The store that is damaged, relative to the features root.
        expected: What the stores hold.
        run: What the training on the patient gives.
    """

    csv: Path
    workspace: Path
    patient: str
    expected: dict[str, str]
    run: dict[str, str]

    def extraction(self, workspace: Path) -> list[str | Path]:
        """The command that fills the patient."""
        return extract_words(self.csv, workspace, augmentations="flip", views=3, workers=1)

    def training(self, workspace: Path) -> list[str | Path]:
        """The command that trains on the patient."""
        words = f"train --features {NET} --augmentation flip --views 3 --head ridge --no-plots"
        return [*shlex.split(words), "--dataset", self.csv, "--workspace", workspace]


def damage_stores(bench: Bench, tally: Tally) -> None:
    """Damage some hundred stores."""
    cache = build(bench)
    seeds = [bench.random.randrange(1 << 30) for _ in range(bench.count(CHECKED))]
    bench.begin()
    with ThreadPoolExecutor(bench.jobs) as pool:
        shares = [
            pool.submit(_share, cache, bench.folder / f"room{n}", seeds[n :: bench.jobs], bench, tally)
            for n in range(bench.jobs)
        ]
        for share in shares:
            share.result()


def build(bench: Bench) -> Cache:
    """Extract the stores: three chunks of images, the last one not full."""
    csv, workspace = draw_images(bench.folder / "data", 150), bench.folder / "sound"
    for options in ({"augmentations": "flip,dihedral,none", "views": 3}, {"augmentations": "none", "backbones": OTHER}):
        must(extract_words(csv, workspace, **options), bench.folder)  # type: ignore[arg-type]
    (patient,) = workspace.glob("features/moles/*test_resnet*/flip-*.zarr")
    folder = str(patient.relative_to(workspace / "features"))
    expected = in_child(stores_in, workspace / "features")
    cache = Cache(csv, workspace, folder, expected, {})
    trained = fresh_copy(workspace, bench.folder / "trained")
    must(cache.training(trained), bench.folder)
    return Cache(csv, workspace, folder, expected, in_child(runs_in, trained))


def _share(cache: Cache, room: Path, seeds: list[int], bench: Bench, tally: Tally) -> None:
    workspace = fresh_copy(cache.workspace, room / "workspace")
    for seed in seeds:
        if bench.late:
            return
        store = fresh_copy(cache.workspace / "features", workspace / "features") / cache.patient
        others = [path for path in store.parents[1].glob("*/*.zarr") if path != store]
        sound = [cache.workspace / path.relative_to(workspace) for path in others]
        damage = Patient(store, sound).damage(Random(seed))
        try:
            outcome, detail = in_child(examine, cache, workspace)
        except RuntimeError as error:
            outcome, detail = WRONG, str(error)
        tally.count(outcome, f"{damage} (seed {seed})", detail)
        if detail or tally.tried % 50 == 0:
            bench.say(f"{tally.tried} damages: {damage}: {outcome} {shortened(detail)}")
        fresh_copy(cache.workspace, workspace)


def examine(cache: Cache, workspace: Path) -> tuple[str, str]:
    """Read a damaged cache, verify it, mend it, and read it again."""
    trained = ask(*cache.training(workspace))
    if not trained.is_ours:
        return WRONG, f"`train`: {trained}"
    is_right = trained.done
    if is_right and differing(cache.run, runs_in(workspace)) != ([], []):
        return WRONG, "`train` gives other scores, silently"
    verified = ask("cache", "verify", "--workspace", workspace)
    if not verified.is_ours:
        return WRONG, f"`cache verify`: {verified}"
    if verified.code == 0 and not is_right:
        return WRONG, f"`cache verify` finds nothing wrong, but `train` ends with {trained}"
    listed = ask("cache", "ls", "--workspace", workspace)
    if not listed.done:
        return WRONG, f"`cache ls`: {listed}"
    mended = ask(*cache.extraction(workspace))
    if not mended.done:
        return LOST, f"`extract` does not mend it: {mended}"
    missing, other = differing(cache.expected, stores_in(workspace / "features"))
    if missing or other:
        return (LOST if missing else WRONG), f"after `extract`: missing {missing}, differing {other}"
    again = ask("cache", "verify", "--workspace", workspace)
    if not again.done:
        return WRONG, f"after `extract`, `cache verify`: {again}"
    if not is_right:
        last = ask(*cache.training(workspace))
        if not last.done or differing(cache.run, runs_in(workspace)) != ([], []):
            return WRONG, f"after `extract`, `train`: {last}"
    return ("right" if is_right and verified.done else "mended"), ""
