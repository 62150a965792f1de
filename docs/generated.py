"""The pages of the site that are made from the code: every command, and every field of an experiment.

A Sphinx extension. A page that holds the line `<!-- generated: commands -->` (or `settings`) gets there what the
function of that name returns, as Markdown, when it is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from typer.core import TyperArgument, TyperGroup

from hamcache.heads.loss_params import LOSSES
from hamcache.heads.nets.net_params import NETS
from hamcache.heads.zoo import HEADS
from hamcache.pipeline.cli.app import app
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig

PLACEHOLDERS = {str: "TEXT", int: "N", float: "X", Path: "PATH"}
EVERYWHERE = ("quiet", "verbose", "as_json")
"""Options that the page explains once, at its top."""


def defined(term: str, *sentences: str) -> str:
    """An entry of a definition list."""
    return f"{term}\n: {' '.join(text for text in sentences if text)}\n"


def sentence(text: str | None) -> str:
    """The text with a full stop at its end; its beginning may be a value, so it stays as it is."""
    text = (text or "").strip()
    return text if not text or text.endswith(".") else f"{text}."


# -- commands


def all_commands(group: Any = None, path: tuple[str, ...] = ("hamcache",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each command and group of commands with its words, in the order of the help."""
    group = group or typer.main.get_command(app)
    for name in group.list_commands(None):
        command = group.commands[name]
        yield (*path, name), command
        if isinstance(command, TyperGroup):
            yield from all_commands(command, (*path, name))


def placeholder(parameter: Any) -> str:
    """The word that stands for a parameter's value."""
    annotation = parameter.type_descriptor.annotation
    one = next((word for word in PLACEHOLDERS if word in (annotation, *get_args(annotation))), str)
    return parameter.metavar or PLACEHOLDERS[one]


def usage(words: tuple[str, ...], command: Any) -> str:
    """The command with its arguments."""
    named = [p.metavar or p.name.upper() for p in command.params if isinstance(p, TyperArgument)]
    return " ".join([*words, "[OPTIONS]", *named])


def option(parameter: Any) -> str:
    """An entry for one argument or option: how it is written, what it means, what it is without."""
    is_flag, default = getattr(parameter, "is_flag", False), parameter.default
    shown = "" if default in (None, False, (), []) or callable(default) else f"Default: `{default}`."
    if isinstance(parameter, TyperArgument):
        term = f"`{parameter.metavar or parameter.name.upper()}`"
    else:
        value = "" if is_flag else f" {placeholder(parameter)}"
        term = ", ".join(f"`{name}{value}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if is_flag and parameter.secondary_opts:
        shown = f"Default: `{(parameter.opts if default else parameter.secondary_opts)[0]}`."
    return defined(
        term,
        sentence(parameter.help),
        "Required." if parameter.required else "",
        "May be given several times." if getattr(parameter, "multiple", False) else "",
        shown,
        f"Environment: `{parameter.envvar}`." if parameter.envvar else "",
    )


def commands() -> str:
    """Every command with its help, arguments, options and their defaults."""
    pieces = []
    for words, command in all_commands():
        pieces += [f"{'#' * len(words)} {' '.join(words[1:])}\n", f"{sentence(command.help)}\n"]
        if not isinstance(command, TyperGroup) or command.params:
            own = [p for p in command.params if p.name not in (*EVERYWHERE, "help")]
            pieces += [f"```text\n{usage(words, command)}\n```\n", *map(option, own)]
    return "\n".join(pieces)


# -- settings


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The schemas in an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]


def kind(annotation: Any) -> str:
    """The values that an annotation allows, in words."""
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        parts = [kind(part) for part in get_args(annotation) if part is not NoneType]
        return " or ".join(dict.fromkeys(part for part in parts if part))
    return {int: "whole number", float: "number", bool: "true or false", str: "text"}.get(annotation, "")


def field_entry(key: str, field: FieldInfo) -> str:
    """An entry for one field: its key, what it means, what it takes, and what it is without."""
    default = field.get_default(call_default_factory=True)
    plain = default is not PydanticUndefined and not isinstance(default, BaseModel) and default not in ((), {})
    shown = f"default `{'null' if default is None else default}`" if plain else ""
    return defined(f"`{key}`", " · ".join(filter(None, (field.description, kind(field.annotation), shown))))


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every field of a schema, those of the schemas inside it by their whole keys."""
    for name, field in model.model_fields.items():
        nested = models_in(field.annotation)
        if len(nested) == 1 and nested[0].model_config.get("extra") != "allow":
            many = "*." if get_origin(field.annotation) in (tuple, list) else ""
            yield defined(f"`{prefix}{name}`", field.description or "")
            yield from fields(nested[0], f"{prefix}{name}.{many}")
        else:
            yield field_entry(f"{prefix}{name}", field)


def settings() -> str:
    """Every field of an experiment, of each head and net, and of a sweep."""
    pieces = ["## An experiment\n", *fields(ExperimentConfig), "## Heads\n"]
    pieces.append("With `head.name` (`--head`), and `--set head.FIELD=VALUE` for its fields.\n")
    for name, spec in HEADS.items():
        pieces += [f"### {name}\n", f"{sentence(spec.params.__doc__.splitlines()[0])}\n", *fields(spec.params, "head.")]
    pieces += ["## Nets\n", "Trained from the images, by a configuration with `net.name`.\n"]
    for name, params in NETS.items():
        pieces += [f"### {name}\n", f"{sentence((params.__doc__ or '').splitlines()[0])}\n", *fields(params, "net.")]
    pieces += ["## Losses\n", "Of heads and nets that learn by gradients: `head.loss`, with `head.loss_params`.\n"]
    for name, loss in LOSSES.items():
        pieces += [f"### {name}\n", f"{sentence(loss.description)}\n", *fields(loss.params, "head.loss_params.")]
    pieces += ["## A sweep\n", "The fields of a sweep's file.\n", *fields(SweepConfig)]
    return "\n".join(pieces)


PAGES = {"commands": commands, "settings": settings}


def fill(_app: Sphinx, _name: str, content: list[str]) -> None:
    """Put what is generated into the page that asks for it."""
    content[0] = re.sub(r"^<!-- generated: (\w+) -->$", lambda ask: PAGES[ask[1]](), content[0], flags=re.MULTILINE)


def setup(sphinx: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    sphinx.connect("source-read", fill)
    return {"parallel_read_safe": True}
