"""Classes of damage that nobody had named: each is tried once, in a room of its own."""

from __future__ import annotations

from random import Random

from tests.stress import odd_images, odd_places, odd_times
from tests.stress.rooms import Room, build
from tests.stress.tally import WRONG, Tally, shortened
from tests.stress.world import Bench, fresh_copy

TRIALS = {**odd_places.TRIALS, **odd_times.TRIALS, **odd_images.TRIALS}


def be_odd(bench: Bench, tally: Tally) -> None:
    """Try every class; in the quick form every fourth."""
    sound, expected = build(bench)
    step = max(1, round(1 / (4 * bench.share)) if bench.share < 1 else 1)
    bench.begin()
    for number, (name, trial) in enumerate(list(TRIALS.items())[::step]):
        if bench.late:
            return
        folder = fresh_copy(sound, bench.folder / f"room{number}")
        try:
            outcome, detail = trial(Room(folder, expected, sound, Random(name)))
        except Exception as error:
            outcome, detail = WRONG, f"{type(error).__name__}: {error}"
        tally.count(outcome, name, detail)
        bench.say(f"{name}: {outcome} {shortened(detail)}")
