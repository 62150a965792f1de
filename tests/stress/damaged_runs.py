"""Damaged runs, sweeps and grids: every command that reads them is right, refuses them by name, or mends them."""

from __future__ import annotations

import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.stress.damages import Patient
from tests.stress.processes import Answer, ask, in_child
from tests.stress.tally import WRONG, Tally, shortened
from tests.stress.world import NET, Bench, draw_images, extract_words, fresh_copy, must

SWEEP = """
name: {name}
seed: {seed}
experiment: {{dataset: {csv}, head: ridge, features: {{blocks: [{{backbone: {net}}}]}}}}
space: {{head.alpha: {{choice: [0.1, 1.0, 10.0, 100.0]}}}}
samples: 4
search: grid
stopping: none
"""
KINDS = ("runs", "sweeps", "grids")
LOGS = ("log.txt",)
"""Files that only people read: nothing is computed from them, and nothing is promised about them."""
CLOCKS = re.compile(
    r"\d\.\d+ s\b|\d\d:\d\d:\d\d|^(files|finished|seconds|versions|Wrote|Run|Plots|Sweep|sha256|seal)\b"
    r"|^(# )?(\d+|No) (run|sweep|grid|cell)s?\b"
)
"""Lines that may differ: clocks, files, counts of what is listed below them."""
NAMED = "no summary.json"
"""A state in the list of sweeps that names what is damaged."""
RUN, SECONDS = re.compile(r"-\d{8}-\d{6}-[0-9a-f]{4}(-\d+)?"), re.compile(r"\t[\d.]+$")


SHARES = {"sweep": 0.1, "predict": 0.4, "zoo": 0.4, "report": 0.4}
"""Questions that take long are asked about some of the damaged only."""
Answers = list[tuple[tuple[str, ...], Answer]]


@dataclass(frozen=True)
class Scene:
    """A workspace with runs, a sweep and a grid, and the questions that are asked about them.

    Attributes:
        workspace: The sound one.
        questions: Kind of artefact -> command lines, with `WORKSPACE` for the workspace and `ID` for what is damaged.
    """

    workspace: Path
    questions: dict[str, tuple[str, ...]]

    def artefacts(self, kind: str) -> list[Path]:
        """The folders of one kind, by name."""
        return sorted(path for path in (self.workspace / kind).iterdir() if not path.name.startswith("."))


def damage_runs(bench: Bench, tally: Tally) -> None:
    """Damage some hundred runs, sweeps and grids."""
    scene = build(bench)
    bench.begin()
    seeds = [bench.random.randrange(1 << 30) for _ in range(bench.count(650))]
    kinds = [KINDS[(0, 0, 0, 1, 1, 2)[number % 6]] for number in range(len(seeds))]
    rooms = [bench.folder / f"room{number}" for number in range(bench.jobs)]
    with ThreadPoolExecutor(bench.jobs) as pool:
        shares = [pool.submit(_share, scene, room, kinds[n :: bench.jobs], seeds[n :: bench.jobs], bench, tally)
                  for n, room in enumerate(rooms)]  # fmt: skip
        for share in shares:
            share.result()


def build(bench: Bench) -> Scene:
    """Make runs of several heads, a sweep and two grids."""
    csv, workspace = draw_images(bench.folder / "data", 150), bench.folder / "sound"
    must(extract_words(csv, workspace, augmentations="none,flip", views=2), bench.folder)
    where = f"--workspace {workspace}"
    words = f"--dataset {csv} --features {NET} --no-plots --workers 1 {where}"
    must(shlex.split(f"zoo {words} --heads logreg,ridge,knn,mlp --set seed=0"), bench.folder)
    for head in ("ridge", "knn"):
        grid = f"grid --dataset {csv} --features {NET} --augmentations none,flip --head {head} --no-plots --workers 1"
        must(shlex.split(f"{grid} {where}"), bench.folder)
    for name in ("tiny", "other"):
        path = bench.folder / f"{name}.yaml"
        path.write_text(SWEEP.format(csv=csv, net=NET, name=name, seed=len(name)), encoding="utf-8")
        must(shlex.split(f"sweep --config {path} --workers 2 {where}"), bench.folder)
    image = csv.parent / "images" / "img0001.jpg"
    runs = (
        "runs --workspace WORKSPACE",
        "runs show ID --workspace WORKSPACE",
        "compare ID OTHER --resamples 100 --workspace WORKSPACE",
        f"predict ID {image} --format csv --workspace WORKSPACE",
        "runs verify --workspace WORKSPACE",
        f"zoo --dataset {csv} --features {NET} --no-plots --workers 1 --heads HEAD --workspace WORKSPACE",
        "runs --workspace WORKSPACE",
    )
    sweeps = (
        "sweeps --workspace WORKSPACE",
        "sweep --resume ID --workspace WORKSPACE --workers 1",
        "report ID --workspace WORKSPACE --gallery 0 --out WORKSPACE/report.html",
    )
    grids = ("grids --workspace WORKSPACE", "report ID --workspace WORKSPACE --gallery 0 --out WORKSPACE/report.html")
    return Scene(workspace, {"runs": runs, "sweeps": sweeps, "grids": grids})


def _share(scene: Scene, room: Path, kinds: list[str], seeds: list[int], bench: Bench, tally: Tally) -> None:
    workspace, expected = room / "workspace", {}
    for kind, seed in zip(kinds, seeds, strict=True):
        if bench.late:
            return
        random = Random(seed)
        sound = random.choice(scene.artefacts(kind))
        others = [path for path in scene.artefacts(kind) if path != sound]
        named = {
            "ID": sound.name,
            "OTHER": others[0].name,
            "HEAD": sound.name.split("-")[0],
            "WORKSPACE": str(workspace),
        }
        questions = [_filled(line, named) for line in scene.questions[kind]]
        fresh_copy(scene.workspace, workspace)
        if sound not in expected:
            expected[sound] = in_child(_answers, questions)
            fresh_copy(scene.workspace, workspace)
        folder = workspace / kind / sound.name
        damage = Patient(folder, others, (*LOGS, ".lock")).damage(random)
        asked = [words for words in questions if random.random() < SHARES.get(words[0], 1)]
        try:
            outcome, detail = judge(folder, expected[sound], in_child(_answers, asked))
        except RuntimeError as error:
            outcome, detail = WRONG, str(error)
        tally.count(outcome, f"{kind[:-1]} {sound.name}: {damage}", detail)
        tally.note(kind)
        if detail or tally.tried % 50 == 0:
            bench.say(f"{tally.tried} damages: {kind[:-1]}: {damage}: {outcome} {shortened(detail)}")


def _filled(line: str, named: dict[str, str]) -> tuple[str, ...]:
    names = re.compile(rf"\b({'|'.join(named)})\b")
    return tuple(names.sub(lambda found: named[found[0]], word) for word in shlex.split(line))


def _answers(questions: list[tuple[str, ...]]) -> list[tuple[tuple[str, ...], Answer]]:
    """What the commands say, one after the other, in this process."""
    return [(words, ask(*words)) for words in questions]


def judge(folder: Path, expected: Answers, got: Answers) -> tuple[str, str]:
    """Compare the answers about a damaged artefact with those about the sound one."""
    refused = False
    sound = dict(expected)
    for words, answer in got:
        right = sound[words]
        command = " ".join(words[:2])
        if not answer.is_ours:
            return WRONG, f"`{command}`: {answer}"
        if answer.code != 0:
            if not answer.refused:
                return WRONG, f"`{command}` fails without a word: {answer}"
            refused = True
            continue
        facts = _facts(right.said)
        unlike = [line for line in _facts(answer.said) if line not in facts and NAMED not in line]
        refused = refused or folder.name in answer.output.removeprefix(answer.said) or NAMED in answer.said
        if unlike:
            return WRONG, f"`{command}` says {unlike[:3]}; expected {facts[:8]}"
    return ("refused" if refused else "right"), ""


def _facts(said: str) -> list[str]:
    """The lines of an answer, without the names that a new run gets, without clocks and counts."""
    facts = []
    for line in said.splitlines():
        if line.strip() and not CLOCKS.search(line):
            facts.append(" ".join(SECONDS.sub("", RUN.sub("-RUN", line)).split()))
    return facts
