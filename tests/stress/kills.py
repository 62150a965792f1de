"""Commands killed while they work, and run again: in the end every bit is that of an undisturbed machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from signal import SIGKILL
from time import monotonic, sleep

import psutil  # type: ignore[import-untyped]

from tests.stress.contents import all_in, differing
from tests.stress.processes import PATIENCE, Answer, Command, descendants, end_all, in_child, run
from tests.stress.tally import LOST, WRONG, Tally, shortened
from tests.stress.world import NET, OTHER, Bench, draw_images, extract_words, fresh_copy, must

TINY_NET = (
    "net.epochs=6",
    "net.image_size=[32,40]",
    "net.conv=[[4,3,2,0.1],[4,3,2,0.1],[4,3,2,0.1]]",
    "net.fc=[[8,0.1],[8,0.1],[8,0.1]]",
)
SWEEP = """
experiment: {{dataset: {csv}, head: logreg, features: {{blocks: [{{backbone: {net}, augmentation: flip, views: 2}}]}}}}
space:
  head.C: {{choice: [0.01, 0.03, 0.1, 0.3, 1.0, 3.0]}}
  head.class_weight: {{choice: [none, balanced]}}
samples: 6
search: grid
stopping: none
"""


@dataclass(frozen=True)
class Scenario:
    """A command, the workspace it begins with, and how far it is.

    Attributes:
        name: In a word or two.
        words: The command, without the workspace.
        start: The workspace before.
        progress: A number that grows as the command works.
        kills: Trials in all; `really` of them of an executed program.
    """

    name: str
    words: tuple[str | Path, ...]
    start: Path
    progress: Callable[[Path], int]
    kills: int
    really: int


def files(*patterns: str) -> Callable[[Path], int]:
    """Counts the files of a workspace that fit."""

    def count(workspace: Path) -> int:
        try:
            return sum(1 for pattern in patterns for _ in workspace.glob(pattern))
        except OSError:  # a folder was renamed meanwhile
            return 0

    return count


def trials(workspace: Path) -> int:
    """Counts the trials of all sweeps."""
    return sum(max(0, path.read_bytes().count(b"\n") - 1) for path in workspace.glob("sweeps/*/trials.csv"))


def kill_commands(bench: Bench, tally: Tally) -> None:
    """Kill 100 commands, most of them in the middle of their work."""
    csv = draw_images(bench.folder / "data", 330)
    work = [kill for scenario in scenarios(csv, bench) for kill in _kills(scenario, bench)]
    with ThreadPoolExecutor(bench.jobs) as pool:
        distinct = {scenario.name: scenario for scenario, *_ in work}
        calm = {name: pool.submit(undisturbed, one, bench.folder / name) for name, one in distinct.items()}
        expected = {name: task.result() for name, task in calm.items()}
        bench.begin()
        tasks = [
            pool.submit(kill_once, scenario, bench, expected[scenario.name], really, Random(seed), number)
            for number, (scenario, really, seed) in enumerate(work)
        ]
        done = [task.result() for task in tasks]  # all, since what a kill leaves may take a minute to end
        for number, (outcome, trial, detail, hit, family) in enumerate(done, 1):
            if outcome is None:
                continue
            if late := end_all(family):
                outcome, detail = WRONG, f"{detail} {len(late)} processes did not end by themselves"
            tally.count(outcome, trial, detail)
            tally.note("hit work in progress", int(hit))
            tally.note("executed programs", int("executed" in trial))
            if number % 10 == 0 or detail:
                bench.say(f"{number} of {len(work)} kills: {trial}: {outcome} {shortened(detail)}")


def _kills(scenario: Scenario, bench: Bench) -> Iterator[tuple[Scenario, bool, int]]:
    for number in range(bench.count(scenario.kills)):
        yield scenario, number < round(scenario.really * bench.share), bench.random.randrange(1 << 30)


def scenarios(csv: Path, bench: Bench) -> list[Scenario]:
    """Commands of every kind that writes, with the workspaces that they begin with."""
    bare, filled, archive = bench.folder / "bare", bench.folder / "filled", bench.folder / "moles.zip"
    bare.mkdir()
    must(extract_words(csv, filled, augmentations="flip,none", views=2), bench.folder)
    must(["cache", "export", "--workspace", filled, "moles", archive], bench.folder)
    sweep = bench.folder / "sweep.yaml"
    sweep.write_text(SWEEP.format(csv=csv, net=NET), encoding="utf-8")

    chunks, partial = files("features/*/*/*.zarr/*/c/*/*/*"), files("runs/.partial-*/*")
    runs, epochs = files("runs/[!.]*/metrics.json"), files("checkpoints/*/*")
    stages = files("features/*/.import-*/**/0", "features/*/*/*.zarr/zarr.json")
    extract = f"extract --dataset {csv} --precision fp32 --workers 2 --backbones"
    flip = f"--dataset {csv} --features {NET} --augmentation flip --views 2 --no-plots"
    heads = "logreg,ridge,knn,gaussian_nb,lda,random_forest"
    grid = f"grid --dataset {csv} --features {NET} --augmentations flip,none --seeds 0,1,2 --no-plots"
    net = f"train --dataset {csv} --config simple_cnn --no-plots " + " ".join(f"--set {value}" for value in TINY_NET)
    listed: list[tuple[str, str, Path, Callable[[Path], int], int, int]] = [
        ("sweep", f"sweep --config {sweep} --workers 2", filled, trials, 6, 1),
        ("extract", f"{extract} {NET} --augmentations flip --views 2", bare, chunks, 36, 6),
        ("extract, more views", f"{extract} {NET} --augmentations flip --views 3", filled, chunks, 6, 2),
        ("extract, two networks", f"{extract} {NET},{OTHER}", filled, chunks, 6, 2),
        ("train", f"train {flip} --head mlp --set head.max_epochs=2", filled, partial, 12, 3),
        ("train a net", net, bare, epochs, 10, 2),
        ("zoo", f"zoo {flip} --heads {heads} --workers 1", filled, runs, 10, 2),
        ("grid", f"{grid} --head ridge --workers 1", filled, runs, 6, 1),
        ("cache import", f"cache import {archive}", bare, stages, 8, 1),
    ]
    return [Scenario(name, tuple(shlex.split(words)), *rest) for name, words, *rest in listed]


def undisturbed(scenario: Scenario, folder: Path) -> tuple[dict[str, str], int]:
    """The contents after the command, and how far it counts; run in the folder that its trials will have copies of."""
    workspace = fresh_copy(scenario.start, folder / "workspace")
    begun = scenario.progress(workspace)
    command = Command([*scenario.words, "--workspace", workspace], folder)
    most = begun
    while command.alive:
        most = max(most, scenario.progress(workspace))
        sleep(0.001)
    answer = command.wait()
    if not answer.done:
        raise RuntimeError(f"{scenario.name}: {answer}")
    return in_child(all_in, workspace), max(most, scenario.progress(workspace)) - begun


def kill_once(
    scenario: Scenario,
    bench: Bench,
    reference: tuple[dict[str, str], int],
    really: bool,
    random: Random,
    number: int,
) -> tuple[str | None, str, str, bool, list[psutil.Process]]:
    """Kill one command at a random point of its work, look at what it left, and run it again."""
    if bench.late:
        return None, scenario.name, "", False, []
    expected, steps = reference
    folder = bench.folder / f"trial{number}"
    workspace = fresh_copy(scenario.start, folder / "workspace")
    begun, wanted = scenario.progress(workspace), random.randint(1, max(1, steps - 1))
    everyone = random.random() < 0.5
    trial = f"{scenario.name}, killed at {wanted} of {steps}" + (" with all its processes" if everyone else "")
    trial += ", executed" if really else ""
    words = [*scenario.words, "--workspace", workspace]
    command, until = Command(words, folder, really=really), monotonic() + PATIENCE
    while command.alive and scenario.progress(workspace) - begun < wanted and monotonic() < until:
        sleep(0.0005)
    sleep(random.random() * 0.01)
    reached, family = scenario.progress(workspace) - begun, descendants(command.pid)
    command.send(SIGKILL, to_all=everyone)
    hit = command.wait().code == -SIGKILL and reached < steps
    seen = run(["runs", "--workspace", workspace], folder) if "runs" in _kinds(scenario) else None
    again = run(words, folder)
    result = _judge(workspace, expected, again)
    if result[0] == "mended" and seen is not None and not seen.done:
        result = (WRONG, f"after the kill `runs` ends with {seen}")
    if result[0] == "mended" and scenario.name == "extract" and reached > 4:
        reused = re.search(r"([\d,]+) reused", again.output)
        if reused is None or reused[1] == "0":
            result = (LOST, f"nothing was reused of {reached} chunks: {again.output}")
    return result[0], trial, result[1], hit, family


def _kinds(scenario: Scenario) -> str:
    return "runs" if scenario.name.split(",")[0] in ("train", "train a net", "zoo", "grid") else "stores"


def _judge(workspace: Path, expected: dict[str, str], again: Answer) -> tuple[str, str]:
    if not again.done:
        return LOST, f"the command does not finish when run again: {again}"
    try:
        missing, other = differing(expected, in_child(all_in, workspace))
    except RuntimeError as error:
        return LOST, f"what is there can't be read: {error}"
    if missing:
        return LOST, f"missing: {missing}"
    return (WRONG, f"differ: {other}") if other else ("mended", "")
