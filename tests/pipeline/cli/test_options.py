"""Options are declared once: a name means the same in every command."""

from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from hamcache.pipeline.cli.app import app
from hamcache.pipeline.cli.renamed_options import RENAMED
from tests.every_command import every_command

DIFFERENT = {
    "--out": ("help", "default"),  # every command writes something else, and by default elsewhere
    "--format": ("help", "default"),  # of predictions on standard output, or of a file of features
    "--images": ("help", "default", "range"),  # how many are drawn, taken or expected
    "cache ls --dataset": ("help", "words"),  # the name of the stores' data set, which may lie nowhere
    "cache export --dataset": ("help", "words"),  # by default the one that the features were made from
    "data subset --out": ("type",),  # a name that --dataset takes
    "curve --repeats": ("help", "default"),  # of every number of labels
    "study --repeats": ("help", "default"),  # of every row; by default as many as the study says
    "extract --backbones": ("default",),  # a first extraction needs no choice
    "hybrids --backbones": ("required",),  # subsets of nothing are nothing
    "extract --augmentations": ("default",),
    "grid --augmentations": ("required",),
    "grid --features": ("required",),
    "grid --views": ("default",),  # one view each would make most columns equal
    "grid --extract": ("default",),  # a grid is of many features, of which some always lack
    "runs export --out": ("type",),  # a file, a folder, or an address
    "suggest-demo --repeats": ("help",),  # as of curve
    "map --layout": ("help",),  # a page of a map has one
    "show-views --views": ("default",),  # a sheet of one view shows nothing
}
"""What may differ from the other commands, and why."""


def options() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Command, option and what the command line says of it, for every option of every command."""
    for words, command in every_command():
        for option in command.params:
            if option.param_type_name == "option":
                about = {
                    "help": option.help,
                    "default": option.default,
                    "required": option.required,
                    "type": option.type_descriptor.annotation,
                    "range": (option.min, option.max),
                    "words": (option.opts, option.secondary_opts, option.envvar, option.metavar),
                }
                yield words, option.opts[0], about


ALL = list(options())


@pytest.mark.parametrize("name", sorted({name for _, name, _ in ALL}))
def test_an_option_means_the_same_in_every_command(name: str) -> None:
    def said(command: str, about: dict[str, Any]) -> dict[str, Any]:
        allowed = (*DIFFERENT.get(name, ()), *DIFFERENT.get(f"{command} {name}", ()))
        return {key: value for key, value in about.items() if key not in allowed}

    those = [(command, said(command, about)) for command, option, about in ALL if option == name]
    fullest = max((about for _, about in those), key=len)
    for command, about in those:
        assert about == {key: fullest[key] for key in about}, (command, name)


def test_what_may_differ_does() -> None:
    known = {option for _, option, _ in ALL} | {f"{command} {option}" for command, option, _ in ALL}
    assert set(DIFFERENT) <= known


def test_no_option_without_help_and_none_with_an_empty_default() -> None:
    for command, option, about in ALL:
        assert about["help"], (command, option)
        assert about["default"] not in ("", [], ()), (command, option)


def test_the_singular_takes_one_value_and_the_plural_several() -> None:
    names = {option for _, option, _ in ALL}
    for one in ("--head", "--augmentation"):
        assert {one, f"{one}s"} <= names


def test_options_that_belong_together_come_together() -> None:
    of = {words: {option for command, option, _ in ALL if command == words} for words, _, _ in ALL}
    for words, names in of.items():
        if "--extract" in names:
            assert {"--weights", "--device", "--recipes"} <= names, words
        if names & {"--augmentation", "--augmentations"}:
            assert "--recipes" in names, words
    for words in ("train", "zoo", "sweep", "curve", "leakage-demo"):
        assert {"--features", "--augmentation", "--views"} <= of[words], words


@pytest.mark.parametrize("former", RENAMED)
def test_a_former_name_is_an_error_that_says_todays(former: str) -> None:
    today = RENAMED[former]
    command, _, option = former.rpartition(" ")
    of_today = [command] if command else sorted({words for words, name, _ in ALL if name == today})
    assert of_today
    for words in of_today:
        if former in {name for other, name, _ in ALL if other == words}:
            continue
        for given in ([option, "2"], [f"{option}=2"]):
            result = CliRunner().invoke(app, [*words.split(), *given])
            assert result.exit_code == 2
            assert f"Error: {option} is now {today}." in result.output


def test_an_unknown_option_is_still_one() -> None:
    for words in (["train", "--jbs", "2"], ["train", "--csv", "x"]):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2 and "No such option" in result.output


def test_the_version_is_said() -> None:
    from hamcache import __version__

    assert CliRunner().invoke(app, ["--version"]).output == f"hamcache {__version__}\n"
