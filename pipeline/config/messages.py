"""Pydantic's findings turned into sentences: the full dotted key, what was expected, what came, what to do."""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from hamcache.data.nearest import nearest
from hamcache.pipeline.config.overrides import kind_of
from hamcache.pipeline.errors import ConfigError

MOST_FINDINGS = 20
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false", NoneType: "null"}


def valid_keys(model: type[BaseModel], prefix: str | None = None) -> Iterator[str]:
    """Every dotted key a model accepts; list items are written with `*` for their index."""
    for name, field in model.model_fields.items():
        key = f"{prefix or ''}{name}"
        yield key
        for nested, step in _models_in(field.annotation):
            yield from valid_keys(nested, f"{key}{step}.")


def config_error(
    error: ValidationError, model: type[BaseModel], source: str, prefix: str | None = None, known: Sequence[str] = ()
) -> ConfigError:
    """One readable error for everything pydantic found.

    Args:
        error: What pydantic raised while validating `model`.
        model: The model at the root of what was validated.
        source: Where the values came from (a file name), for the first line.
        prefix: Dotted key of the root inside the whole configuration, with its last dot (`head.`).
        known: Valid dotted keys beside those of `model`, as candidates for a misspelt one.
    """
    prefix = prefix or ""
    keys = [*valid_keys(model, prefix), *known]
    lines: dict[str, str] = {}
    findings = error.errors(include_url=False)
    for finding in findings[:MOST_FINDINGS]:
        path, field = _field_at(model, finding["loc"])
        key, came = prefix + ".".join(path), finding["input"]
        if finding["type"] == "extra_forbidden":
            key = prefix + ".".join(map(str, finding["loc"]))
            line = f"unknown key {key}{_nearest_key(key, keys)}"
        elif finding["type"] == "value_error":
            key = key.rstrip(".")
            reason = str(finding.get("ctx", {}).get("error", finding["msg"]))
            line = f"{key}: {reason}" if key else reason
        elif finding["type"] == "string_pattern_mismatch" and field is not None and field.description:
            line = f"{key}: expected {field.description}; got {kind_of(came)}"
        elif finding["type"] == "missing":
            line = f"{key}: missing; expected {expected(field)}{_meaning(field)}"
        else:
            line = (
                f"{key}: expected {expected(field)}, got {kind_of(came)}{_nearest_option(came, field)}{_meaning(field)}"
            )
        lines.setdefault(key, line)
    listed = "\n".join(f"  - {line:.1000}" for line in lines.values())
    if len(findings) > MOST_FINDINGS:
        listed += f"\n  - and {len(findings) - MOST_FINDINGS:,} more"
    return ConfigError(f"{source} is not a valid configuration:\n{listed}\nCorrect it there, or with --set key=value.")


def expected(field: FieldInfo | None) -> str:
    """The values of a field in words: `a whole number >= 1`, `one of 'a', 'b'`, `a number or null`."""
    if field is None:
        return "another value"
    words = _expected_type(field.annotation)
    bounds = [f"{sign} {getattr(m, name)}" for m in field.metadata for name, sign in _SIGNS.items() if hasattr(m, name)]
    bounds += ["not empty" for m in field.metadata if getattr(m, "min_length", 0)]
    return " ".join([words, " and ".join(bounds)]).rstrip()


def _expected_type(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation in _NAMES:
        return _NAMES[annotation]
    if origin is Literal:
        options = ", ".join(repr(option) if isinstance(option, str) else str(option) for option in args)
        return f"one of {options}" if len(args) > 1 else options
    if origin in (Union, UnionType):
        return " or ".join(_expected_type(arg) for arg in args)
    if hasattr(annotation, "__metadata__"):
        return _expected_type(args[0])
    if origin in (list, tuple, Sequence):
        items = [arg for arg in args if arg is not Ellipsis]
        return f"a list of {_expected_type(items[0]).removeprefix('a ')}" if items else "a list"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"a mapping with the keys {', '.join(annotation.model_fields)}"
    if origin is dict or annotation is dict:
        return "a mapping"
    return getattr(annotation, "__name__", str(annotation))


def _nearest_option(value: Any, field: FieldInfo | None) -> str:
    options = [o for o in get_args(field.annotation) if isinstance(o, str)] if field is not None else []
    near = nearest(value, options) if isinstance(value, str) else None
    return "" if near is None else f"; did you mean {near}?"


def _meaning(field: FieldInfo | None) -> str:
    return f" ({field.description})" if field is not None and field.description else ""


def _models_in(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """The models inside an annotation, each with the step into it (`.*` for a list's items)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ""
    step = ".*" if get_origin(annotation) in (list, tuple) else ""
    for arg in get_args(annotation):
        yield from ((model, step + deeper) for model, deeper in _models_in(arg))


def _field_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[list[str], FieldInfo | None]:
    """Follow pydantic's location as far as it names keys (it also names the branches of a union)."""
    path: list[str] = []
    field: FieldInfo | None = None
    here: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, int):
            path.append(str(part))
            continue
        if here is None or part not in here.model_fields:
            break
        path.append(part)
        field = here.model_fields[part]
        here = next((nested for nested, _ in _models_in(field.annotation)), None)
    if field is not None and path[-1].isdigit() and get_origin(field.annotation) in (list, tuple):
        item = FieldInfo.from_annotation(get_args(field.annotation)[0])
        item.description = field.description
        field = item
    return path, field


def _nearest_key(unknown: str, keys: Sequence[str]) -> str:
    """The valid key most like an unknown one: a sibling first, then the same last name anywhere."""
    parent, _, last = unknown.rpartition(".")
    shape = ".".join("*" if part.isdigit() else part for part in parent.split("."))
    siblings = {key.rpartition(".")[2]: key for key in keys if key.rpartition(".")[0] == shape}
    near = nearest(last, siblings)
    if near is not None:
        best = f"{parent}.{near}" if parent else near
        return f"; did you mean {best}?"
    elsewhere = [key for key in keys if SequenceMatcher(None, key.rpartition(".")[2], last).ratio() >= 0.75]
    if elsewhere:
        best = max(elsewhere, key=lambda key: SequenceMatcher(None, key, unknown).ratio())
        return f"; did you mean {best.replace('*', '0')}?"
    where = f"{parent} has" if parent else "valid are"
    return f"; {where} {', '.join(sorted(siblings))}" if siblings else ""
