"""The space that a sweep searches: ranges and choices for any values of an experiment's configuration."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hamcache.pipeline.runs.records import short_name

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Point = dict[str, Any]
"""One value for each searched key that is in use."""
MOST_VALUES = 256


class Dimension(BaseModel):
    """The values that one key of the configuration may take: exactly one of the five kinds.

    A choice may be any value the key takes, lists and mappings included; a mapping sets only the keys that it has, so
    values that belong together are chosen together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    choice: list[Any] | None = Field(default=None, min_length=1, description="one of these")
    grid: list[Any] | None = Field(default=None, min_length=1, description="the same; reads well with --search grid")
    uniform: tuple[float, float] | None = Field(default=None, description="a number between these two")
    loguniform: tuple[float, float] | None = Field(default=None, description="the same, even on a logarithmic scale")
    int_: tuple[int, int] | None = Field(default=None, alias="int", description="a whole number, both ends included")
    step: float | None = Field(default=None, gt=0, description="uniform and int: only every so many")
    when: dict[str, Any] = Field(default={}, description="searched only where other keys have these values")

    @model_validator(mode="after")
    def _one_kind(self) -> Dimension:
        kinds = [
            name for name in ("choice", "grid", "uniform", "loguniform", "int_") if getattr(self, name) is not None
        ]
        if len(kinds) != 1:
            raise ValueError(
                "expected exactly one of choice, grid, uniform, loguniform, int, "
                f"got {', '.join(kind.strip('_') for kind in kinds) or 'none'}"
            )
        if self.step is not None and kinds[0] not in ("uniform", "int_"):
            raise ValueError(f"step: expected it beside uniform or int, got it beside {kinds[0]}")
        return self

    @field_validator("uniform", "loguniform", "int_")
    @classmethod
    def _rising(cls, ends: tuple[float, float] | None) -> tuple[float, float] | None:
        if ends is not None and not ends[0] < ends[1]:
            raise ValueError(f"expected two ends, the lower one first, got {list(ends)}")
        return ends

    @field_validator("loguniform")
    @classmethod
    def _positive(cls, ends: tuple[float, float] | None) -> tuple[float, float] | None:
        if ends is not None and ends[0] <= 0:
            raise ValueError(f"expected ends above 0 for a logarithmic scale, got {list(ends)}")
        return ends

    @property
    def is_choice(self) -> bool:
        """True for a list of values, false for a range."""
        return (self.choice or self.grid) is not None

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends of a range."""
        return self.loguniform or self.uniform or self.int_ or (0.0, 1.0)

    def values(self) -> list[Any] | None:
        """All values in order; None where they are too many to count through."""
        options = self.choice or self.grid
        if options is not None:
            return options
        if self.int_ is not None:
            low, high = self.int_
            numbers = range(low, high + 1, int(self.step or 1))
            return list(numbers) if len(numbers) <= MOST_VALUES else None
        return None

    def suggest(self, trial: BaseTrial, key: str) -> Any:
        """Ask an Optuna trial for a value."""
        options = self.choice or self.grid
        if options is not None:
            labels = {label(option): option for option in options}
            return labels[trial.suggest_categorical(key, list(labels))]
        if self.int_ is not None:
            return trial.suggest_int(key, *self.int_, step=int(self.step or 1))
        if self.uniform is not None:
            return trial.suggest_float(key, *self.uniform, step=self.step)
        assert self.loguniform is not None
        return trial.suggest_float(key, *self.loguniform, log=True)


class Space(BaseModel):
    """All dimensions by their keys. A `when` names a key that stands before it."""

    model_config = ConfigDict(frozen=True)
    dimensions: dict[str, Dimension]

    @model_validator(mode="after")
    def _in_order(self) -> Space:
        seen: set[str] = set()
        for key, dimension in self.dimensions.items():
            later = [other for other in dimension.when if other not in seen]
            if later:
                raise ValueError(f"{key}: when: expected a searched key that stands above, got {later[0]!r}")
            seen.add(key)
        return self

    def suggest(self, trial: BaseTrial) -> Point:
        """Ask an Optuna trial for a value of every dimension that is in use."""
        point: Point = {}
        for key, dimension in self.dimensions.items():
            if in_use(dimension, point):
                point[key] = dimension.suggest(trial, key)
        return point

    def grid(self) -> Iterator[Point]:
        """Every point, the last key changing fastest; those that `when` makes equal come once.

        Raises:
            ValueError: A dimension cannot be counted through.
        """
        for key, dimension in self.dimensions.items():
            if dimension.values() is None:
                raise ValueError(f"{key}: expected choice, grid or a short int for a search through all values")
        seen = set()
        for values in itertools.product(*(dimension.values() or [] for dimension in self.dimensions.values())):
            point: Point = {}
            for (key, dimension), value in zip(self.dimensions.items(), values, strict=True):
                if in_use(dimension, point):
                    point[key] = value
            if label(point) not in seen:
                seen.add(label(point))
                yield point

    @property
    def is_countable(self) -> bool:
        """True if all points could be tried one after the other."""
        return all(dimension.values() is not None for dimension in self.dimensions.values())

    def only(self, *keys: str) -> Space:
        """The dimensions of these keys, whatever the others are."""
        free = {key: self.dimensions[key].model_copy(update={"when": {}}) for key in self.dimensions if key in keys}
        return Space(dimensions=free)


def in_use(dimension: Dimension, point: Mapping[str, Any]) -> bool:
    """True if the values chosen so far are those a dimension waits for; a list there means any of these."""
    return all(key in point and fits(point[key], wanted) for key, wanted in dimension.when.items())


def fits(value: Any, wanted: Any) -> bool:
    """True if a value is the one that is wanted, or one of those in a list."""
    return value == wanted or (isinstance(wanted, list) and value in wanted)


def is_below(key: str, prefixes: Iterable[str]) -> bool:
    """True if a dotted key is one of these, or lies below one."""
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)


def label(value: Any) -> str:
    """A value as text, another one for each value: text as it is where that is no JSON, else JSON."""
    if isinstance(value, str) and value.strip() == value and not _is_json(value):
        return value
    return json.dumps(value, sort_keys=True)


def short_label(value: Any) -> str:
    """A value in few letters, for tables and pictures: the backbones of a hybrid, the name of a head."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and any(isinstance(block, dict) and "backbone" in block for block in value):
        blocks = [block if isinstance(block, dict) else {"backbone": block} for block in value]
        names, kinds = zip(*map(_short_block, blocks), strict=True)
        if len(set(kinds)) == 1:
            return "+".join(names) + (f", {kinds[0]}" if kinds[0] else "")
        return "+".join(f"{name} ({kind})" if kind else name for name, kind in zip(names, kinds, strict=True))
    if isinstance(value, dict) and "name" in value:
        rest = ", ".join(f"{key} {short_label(entry)}" for key, entry in value.items() if key != "name")
        return f"{value['name']} ({rest})" if rest else str(value["name"])
    return label(value)


def words(point: Point) -> str:
    """A point in one line: the last names of its keys, with their values."""
    return ", ".join(f"{short_key(key, point)}={short_label(value)}" for key, value in point.items())


def short_key(key: str, keys: Any) -> str:
    """The shortest ending of a dotted key that says which it is: `lr` of `head.lr`, but `views.train`."""
    parts = key.split(".")
    for number in range(1 if len(parts) < 3 else 2, len(parts) + 1):
        ending = ".".join(parts[-number:])
        if sum(other == ending or other.endswith(f".{ending}") for other in keys) <= 1:
            return ending
    return key


def _short_block(block: Mapping[str, Any]) -> tuple[str, str]:
    """A block's backbone, and how its features are read."""
    plain = block.get("augmentation", "none") == "none"
    views = "" if plain else f"{block['augmentation']} x{block.get('views', 1)}"
    transform = block.get("transform", "standardize")
    kind = [views, transform if transform != "standardize" else ""]
    return short_name(str(block["backbone"])), " ".join(filter(None, kind))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return text == ""
    return True
