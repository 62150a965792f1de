"""Two writers at once, on one disk and on one S3 prefix: in the end every vector is there, and right."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from pathlib import Path
from time import sleep

from tests.s3_server import S3Server
from tests.stress.contents import differing, stores_in
from tests.stress.processes import Answer, Command, in_child, run
from tests.stress.tally import LOST, WRONG, Tally, shortened
from tests.stress.world import Bench, draw_images, extract_words, must

LOCAL, REMOTE = 10, 6


def write_together(bench: Bench, tally: Tally) -> None:
    """Two extractions of the same, overlapping and separate images, started together or one after the other."""
    whole = draw_images(bench.folder / "data", 200)
    tables = _subsets(whole)
    reference = bench.folder / "reference"
    must(_words(whole, reference), bench.folder)
    expected = in_child(stores_in, reference / "features")
    with ExitStack() as stack:
        bench.begin()
        for number in range(bench.count(LOCAL)):
            _trial(bench, tally, f"local{number}", tables, None, expected, {})
        server = S3Server()
        stack.callback(server.stop)
        in_child(make_bucket, server.environment)
        for number in range(bench.count(REMOTE)):
            url = f"s3://bucket/features{number}"
            _trial(bench, tally, f"remote{number}", tables, url, expected, server.environment)


def _subsets(whole: Path) -> dict[str, tuple[Path, Path]]:
    """Pairs of tables for two writers: the same, overlapping, and without an image in common."""
    header, *rows = whole.read_text(encoding="utf-8").splitlines(keepends=True)
    parts = {"first": rows[:130], "second": rows[70:], "front": rows[:100], "back": rows[100:]}
    files = {}
    for name, lines in parts.items():
        files[name] = whole.with_name(f"{name}.csv")
        files[name].write_text(header + "".join(lines), encoding="utf-8")
    return {
        "the same images": (whole, whole),
        "overlapping images": (files["first"], files["second"]),
        "separate images": (files["front"], files["back"]),
    }


def _trial(
    bench: Bench,
    tally: Tally,
    name: str,
    tables: dict[str, tuple[Path, Path]],
    url: str | None,
    expected: dict[str, str],
    environment: dict[str, str],
) -> None:
    if bench.late:
        return
    kind = list(tables)[int(name[-1]) % len(tables)]
    folder = bench.folder / name
    folders = [folder / part for part in ("one", "two")]
    for part in folders:
        part.mkdir(parents=True)
    workspace = folder / "workspace"
    words = [_words(table, workspace, url) for table in tables[kind]]
    first = Command(words[0], folders[0], environment=environment)
    sleep(bench.random.choice((0.0, 0.2, 0.5)))
    second = Command(words[1], folders[1], environment=environment)
    answers = [first.wait(), second.wait()]
    trial = f"two writers of {kind}, {'on S3' if url else 'on one disk'}"
    outcome, detail = _judge(answers, words, folder, environment, workspace, url, expected)
    tally.count(outcome, trial, detail)
    tally.note("on S3", int(url is not None))
    if detail:
        bench.say(f"{trial}: {outcome}: {shortened(detail)}")


def _judge(
    answers: list[Answer],
    words: list[list[str | Path]],
    folder: Path,
    environment: dict[str, str],
    workspace: Path,
    url: str | None,
    expected: dict[str, str],
) -> tuple[str, str]:
    busy = False
    for answer, line in zip(answers, words, strict=True):
        if not answer.is_ours:
            return WRONG, str(answer)
        if not answer.done:
            busy = True
            again = run(line, folder, environment=environment)
            if not again.done:
                return LOST, f"first {answer}; then {again}"
    last = run(_words(folder.parent / "data" / "moles.csv", workspace, url), folder, environment=environment)
    if not last.done or " 0 vectors written" not in last.output:
        return LOST, f"the two did not do all of it: {last}"
    root = url or str(workspace / "features")
    missing, other = differing(expected, in_child(stores_at, root, environment))
    if missing or other:
        return (LOST if missing else WRONG), f"missing {missing}, differing {other}"
    return "refused" if busy else "right", ""


def _words(table: Path, workspace: Path, url: str | None = None) -> list[str | Path]:
    words = extract_words(table, workspace, augmentations="flip", views=2, dataset_name="moles")
    return [*words, "--features-url", url] if url else words


def stores_at(root: str, environment: dict[str, str]) -> dict[str, str]:
    """The vectors below a URL, as this environment leads to it."""
    os.environ.update(environment)
    return stores_in(root)


def make_bucket(environment: dict[str, str]) -> None:
    """Make the bucket that the server is to have."""
    import fsspec

    os.environ.update(environment)
    with suppress(FileExistsError):
        fsspec.filesystem("s3").mkdir("bucket")
