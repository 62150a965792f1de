"""Every command with any words: done, or one short message and exit code 1 or 2; never a traceback, never a hang."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from hamcache.pipeline.cli.app import app
from tests.fuzz.conftest import STRESS, Outcome, examples
from tests.fuzz.words import HOSTILE, hostile

DESTRUCTIVE = {"--yes", "-y", "--force"}
WRITES = {"--workspace", "--out", "--features-url", "--folder", "folder", "file"}
ELSEWHERE = ("workspace", "out.csv", "out.json", "out.png", "made", "file/below", "/dev/null/x", "nul\0", "a" * 300, "")
"""Where a case may write, or cannot."""
LIKELY = (
    "data.csv", "one.csv", "folder", "config.yaml", "absent", "/dev/zero", "/dev/null", "fifo", "net_a",
    "net_a+net_b", "logreg", "mlp",
    "none", "flip", "dihedral", "hybrid", "mcc", "validation", "grouped", "synthetic", "ham10000", "seed=3",
    "head=mlp", "head.C=1e-3",
    "split.seed=1e400", "split.folds=3", "features.blocks.0.views=2", "label=diagnosis", "net_a=config.yaml", "1",
    "3", "0.5", "0,1",
)  # fmt: skip
"""Words that mean something to some option."""


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands(typer.main.get_command(app)))


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """The words of one command line: a command, some of its options and arguments, and perhaps words of none."""
    path = draw(st.sampled_from(list(COMMANDS)))
    words = list(path)
    for parameter in COMMANDS[path].params:
        is_option = parameter.param_type_name == "option"
        if (not parameter.required and draw(st.integers(0, 2))) or set(parameter.opts) & DESTRUCTIVE:
            continue
        if is_option:
            words.append(draw(st.sampled_from([*parameter.opts, *parameter.secondary_opts])))
        if not (is_option and parameter.is_flag):
            where = st.sampled_from(ELSEWHERE) if set(parameter.opts) & WRITES else st.nothing()
            likely = st.sampled_from(LIKELY)
            words.append(draw(where if set(parameter.opts) & WRITES else likely | likely | hostile()))
    if not draw(st.integers(0, 9)):
        words.insert(draw(st.integers(0, len(words))), draw(hostile()))
    return words


@pytest.fixture(scope="module", autouse=True)
def _files(here: Path) -> None:
    """What the likely words name, in the folder in which the command line runs."""
    rows = [f"i{n},images/i{n}.jpg,{'xyz'[n % 3]},g{n // 2}" for n in range(60)]
    (here / "data.csv").write_text("\n".join(["image_id,path,label,group", *rows]))
    (here / "one.csv").write_text("\n".join(["image_id,path,label", *(f"i{n},i{n}.jpg,x" for n in range(30))]))
    (here / "config.yaml").write_text("features: net_a\nhead: logreg\n")
    (here / "folder").mkdir()
    (here / "file").write_text("")
    os.mkfifo(here / "fifo")


@examples(120)
@given(words=lines())
def test_any_command_line_ends_well(command_line: Callable[[Sequence[str]], Outcome], words: list[str]) -> None:
    command_line(words).is_fine()


@examples(25)
@given(words=st.lists(hostile(), max_size=4))
def test_any_words_end_well(command_line: Callable[[Sequence[str]], Outcome], words: list[str]) -> None:
    command_line(words).is_fine()


@pytest.mark.parametrize("command", ["train", "zoo", "sweep --config mlp"] if STRESS else ["train"])
def test_every_hostile_setting_ends_well(command_line: Callable[[Sequence[str]], Outcome], command: str) -> None:
    begin = [*command.split(), "--features", "net_a", "--dataset", "data.csv", "--set"]
    for word in HOSTILE:
        for setting in (word, f"seed={word}", f"head.{word}=1") if STRESS else (f"{word}={word}",):
            command_line([*begin, setting]).is_fine()


NUMBERS = [
    (path, parameter.opts[0])
    for path, command in COMMANDS.items()
    for parameter in command.params
    if parameter.param_type_name == "option" and parameter.type_descriptor.annotation in (int, float)
]


@pytest.mark.parametrize("number", ["nan", "1e400", "9" * 19, "9" * 5000])
def test_any_number_for_any_option_ends_well(command_line: Callable[[Sequence[str]], Outcome], number: str) -> None:
    assert len(NUMBERS) > 30
    for path, option in NUMBERS:
        required = [word for other in COMMANDS[path].params if other.required for word in _filled(other)]
        command_line([*path, *required, option, number, *_data(path)]).is_fine()


def _filled(parameter: Any) -> list[str]:
    return [parameter.opts[0], "net_a"] if parameter.param_type_name == "option" else ["net_a"]


def _data(path: tuple[str, ...]) -> list[str]:
    takes = [name for parameter in COMMANDS[path].params for name in parameter.opts]
    return ["--dataset", "data.csv"] if "--dataset" in takes else []


@pytest.mark.parametrize(
    "line",
    [
        "train --features net_a",
        "zoo --features net_a",
        "hybrids --backbones net_a,net_b",
        "grid --features net_a --augmentations none",
        "sweep --config hybrid",
        "train --set net=simple_cnn",
        "leakage-demo --features net_a",
    ],
)
def test_images_of_one_class_are_refused_before_anything_is_computed(
    command_line: Callable[[Sequence[str]], Outcome], line: str
) -> None:
    outcome = command_line([*line.split(), "--dataset", "one.csv", "--extract"])
    assert outcome.code == 1 and "two classes or more, but all 30" in outcome.text, outcome.text
