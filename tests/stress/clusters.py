"""Parts of clusters that die and come back: Dask's scheduler and workers, Ray's head and workers, an S3 server."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import monotonic, sleep

import psutil  # type: ignore[import-untyped]

from tests.s3_server import S3Server
from tests.stress.contents import all_in, differing, stores_in
from tests.stress.kills import SWEEP, trials
from tests.stress.processes import PATIENCE, Answer, Command, descendants, end_all, in_child, run
from tests.stress.tally import LOST, WRONG, Tally, shortened
from tests.stress.world import NET, Bench, draw_images, extract_words, fresh_copy, must
from tests.stress.writers import make_bucket, stores_at

RAY_HEAD, RAY_WORKER = ("raylet", "gcs_server"), ("ray::",)
CHUNKS = "features/*/*/*.zarr/*/c/*/*/*"
Lose = Callable[[Bench, "Sound", Path, Random], tuple[str, str]]
"""A trial: loses something, and judges what comes of it."""


@dataclass(frozen=True)
class Sound:
    """What the commands make undisturbed.

    Attributes:
        csv: The table of the images.
        bare, filled: An empty workspace, and one with features.
        stores: What the cache holds after the extraction.
        swept: What the workspace holds after the sweep.
        sweep: The sweep's configuration.
    """

    csv: Path
    bare: Path
    filled: Path
    stores: dict[str, str]
    swept: dict[str, str]
    sweep: Path


def lose_clusters(bench: Bench, tally: Tally) -> None:
    """Lose each part of each cluster, several times."""
    sound = _build(bench)
    bench.begin()
    losses: list[tuple[str, int, Lose]] = [
        ("the Ray head dies", 2, lambda *room: _ray(*room, names=RAY_HEAD)),
        ("the S3 server is away for long", 1, lambda *room: _s3(*room, seconds=60)),
        ("a Ray worker dies", 2, lambda *room: _ray(*room, names=RAY_WORKER)),
        ("the Dask scheduler dies", 3, lambda *room: _dask(*room, lost="scheduler")),
        ("a Dask worker dies", 3, lambda *room: _dask(*room, lost="worker")),
        ("the S3 server is away for a while", 2, lambda *room: _s3(*room, seconds=3)),
    ]
    trials = [
        (name, lose, bench.folder / f"{name.replace(' ', '-')}{turn}", Random(bench.random.random()))
        for name, number, lose in losses
        for turn in range(bench.count(number))
    ]

    def attempt(name: str, lose: Lose, folder: Path, random: Random) -> None:
        if bench.late:
            return
        folder.mkdir()
        try:
            outcome, detail = lose(bench, sound, folder, random)
        except Exception as error:
            outcome, detail = WRONG, f"{type(error).__name__}: {error}"
        tally.count(outcome, name, detail)
        bench.say(f"{name}: {outcome} {shortened(detail)}")

    with ThreadPoolExecutor(bench.jobs) as pool:  # most of a trial is waiting
        for trial in [pool.submit(attempt, *each) for each in trials]:
            trial.result()


def _build(bench: Bench) -> Sound:
    csv, bare, filled = draw_images(bench.folder / "data", 330), bench.folder / "bare", bench.folder / "filled"
    bare.mkdir()
    must(extract_words(csv, filled, augmentations="flip", views=2), bench.folder)
    sweep = bench.folder / "sweep.yaml"
    sweep.write_text(SWEEP.format(csv=csv, net=NET), encoding="utf-8")
    swept = fresh_copy(filled, bench.folder / "swept")
    must(["sweep", "--config", sweep, "--workers", "2", "--workspace", swept], bench.folder)
    stores = in_child(stores_in, filled / "features")
    return Sound(csv, bare, filled, stores, in_child(all_in, swept), sweep)


def _dask(bench: Bench, sound: Sound, folder: Path, random: Random, lost: str) -> tuple[str, str]:
    workspace = fresh_copy(sound.bare, folder / "workspace")
    words = extract_words(sound.csv, workspace, augmentations="flip", views=2)
    with dask_cluster(folder) as (address, scheduler, workers):
        command = Command([*words, "--scheduler", address], folder)
        _until(lambda: bool(list(workspace.glob(CHUNKS))) or not command.alive)
        sleep(random.random() * 0.3)
        (scheduler if lost == "scheduler" else random.choice(workers)).kill()
        answer = command.wait()
    if lost == "worker" and not answer.done:
        return LOST, f"one of two workers was lost, and {answer}"
    return _again(answer, words, folder, lambda: in_child(stores_in, workspace / "features"), sound.stores)


def _s3(bench: Bench, sound: Sound, folder: Path, random: Random, seconds: float) -> tuple[str, str]:
    server = S3Server()
    try:
        in_child(make_bucket, server.environment)
        url, workspace = f"s3://bucket/{folder.name}", fresh_copy(sound.bare, folder / "workspace")
        words = extract_words(sound.csv, workspace, augmentations="flip", views=2)
        words += ["--features-url", url]
        command = Command(words, folder, environment=server.environment)
        _until(lambda: in_child(_count, url, server.environment) > 3 or not command.alive)
        with server.away(seconds):
            answer = command.wait(seconds + PATIENCE)
        if seconds < 10 and not answer.done:
            return LOST, f"an outage of {seconds} s: {answer}"
        environment = server.environment
        kept = lambda: in_child(stores_at, url, environment)  # noqa: E731
        return _again(answer, words, folder, kept, sound.stores, environment=environment)
    finally:
        server.stop()


def _ray(bench: Bench, sound: Sound, folder: Path, random: Random, names: tuple[str, ...]) -> tuple[str, str]:
    workspace = fresh_copy(sound.filled, folder / "workspace")
    words: list[str | Path] = ["sweep", "--config", sound.sweep, "--workers", "2", "--workspace", workspace]
    command = Command(words, folder)
    _until(lambda: trials(workspace) > 0 or not command.alive)
    family = descendants(command.pid)
    victims = [process for process in family if _named(process, names)]
    if victims:
        random.choice(victims).kill()
    answer = command.wait()
    outcome = _again(answer, words, folder, lambda: in_child(all_in, workspace), sound.swept)
    late = end_all(family)
    return (WRONG, f"{len(late)} processes of Ray did not end: {answer}") if late else outcome


def _again(
    answer: Answer,
    words: list[str | Path],
    folder: Path,
    contents: Callable[[], dict[str, str]],
    expected: dict[str, str],
    **options: object,
) -> tuple[str, str]:
    """Run a command again after a loss that it has told of in a line or two, and compare."""
    if not answer.is_ours:
        return WRONG, str(answer)
    if not answer.done and len(answer.output.strip().splitlines()) > 15:
        return WRONG, f"{len(answer.output.splitlines())} lines: {answer}"
    again = run(words, folder, **options)
    if not again.done:
        return LOST, f"after {answer}: {again}"
    missing, other = differing(expected, contents())
    if missing or other:
        return (LOST if missing else WRONG), f"missing {missing}, differing {other}; {again}"
    return ("right" if answer.done else "mended"), ""


@contextmanager
def dask_cluster(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers, each a program of its own; yields its address and them."""
    file = folder / "scheduler.json"
    environment = {**os.environ, "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
    python = [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, "env": environment}
    lines = [f"distributed.cli.dask_scheduler --host 127.0.0.1 --port 0 --no-dashboard --scheduler-file {file}"]
    lines += [f"distributed.cli.dask_worker --scheduler-file {file} --nthreads 1 --no-nanny --no-dashboard"] * 2
    started = []
    try:
        for line in lines:
            started.append(subprocess.Popen([*python, *shlex.split(line)], **silent))  # type: ignore[call-overload]
            _until(lambda: _address(file) is not None)
        yield str(_address(file)), started[0], started[1:]
    finally:
        for process in started:
            process.kill()
            process.wait()


def _address(file: Path) -> str | None:
    """The scheduler's address, once it has written all of it."""
    try:
        return str(json.loads(file.read_text())["address"])
    except (OSError, ValueError):
        return None


def _until(true: Callable[[], bool]) -> None:
    until = monotonic() + PATIENCE
    while not true() and monotonic() < until:
        sleep(0.01)


def _named(process: psutil.Process, names: tuple[str, ...]) -> bool:
    try:
        line = " ".join(process.cmdline()[:1])
    except psutil.Error:
        return False
    return any(name in line for name in names)


def _count(url: str, environment: dict[str, str]) -> int:
    import fsspec

    os.environ.update(environment)
    files = fsspec.filesystem("s3").find(url.removeprefix("s3://"))
    return len([path for path in files if "/c/" in path])
