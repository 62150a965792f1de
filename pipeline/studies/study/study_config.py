"""The configuration of a study: its rows, each an experiment with the choices that are open, and what they share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from hamcache.configs.defaults import MOST_TRIALS, RESAMPLES
from hamcache.data.nearest import unknown_name
from hamcache.pipeline.config.features_config import BlockConfig
from hamcache.pipeline.config.messages import config_error
from hamcache.pipeline.config.overrides import read_yaml
from hamcache.pipeline.config.own_recipes import RECIPES, used, words_in
from hamcache.pipeline.config.packaged import find_packaged, packaged_names
from hamcache.pipeline.config.split_config import ConfigPart
from hamcache.pipeline.errors import ConfigError

MAJORITY = "majority class"
"""Name of the row that every study has: the predictor that knows only how frequent the classes are."""
ROW = "row:"
"""Beginning of a backbone that is the network of another row's run: `row:NAME`."""
MOST_REPEATS = 1000


class RowConfig(ConfigPart):
    """One row of a study's table."""

    name: str = Field(pattern=r"^[^\s:][^:\n]{0,59}$", description="text of at most 60 letters, without colons")
    experiment: dict[str, Any] = Field(
        default={}, description="the experiment: values, beside `config: NAME` or `row: NAME` those that differ"
    )
    beside: tuple[BlockConfig, ...] = Field(default=(), description="blocks beside those that the experiment has")
    candidates: tuple[dict[str, Any], ...] = Field(
        default=(), description="settings by dotted keys, of which the best on validation is taken"
    )
    sweep: str | None = Field(default=None, description="a sweep whose best trial is taken: a name or a file")
    samples: int | None = Field(default=None, ge=1, le=MOST_TRIALS, description="trials of the sweep")
    best_of: tuple[str, ...] = Field(default=(), description="rows of which this is the best on validation")
    repeats: int | None = Field(
        default=None, ge=1, le=MOST_REPEATS, description="seeds of the split; null: as many as the study has"
    )

    @field_validator("experiment", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"config": value} if isinstance(value, str) else value

    @field_validator("beside", mode="before")
    @classmethod
    def _short_blocks(cls, value: Any) -> Any:
        blocks = [value] if isinstance(value, str) else value
        return [{"backbone": b} if isinstance(b, str) else b for b in blocks] if isinstance(blocks, list) else blocks

    @field_validator("candidates", mode="before")
    @classmethod
    def _all_combinations(cls, value: Any) -> Any:
        """A list of settings as it is; a mapping of keys to lists of values is all combinations of these."""
        if not isinstance(value, dict):
            return value
        lists = [values if isinstance(values, list) else [values] for values in value.values()]
        return [dict(zip(value, point, strict=True)) for point in product(*lists)]

    @model_validator(mode="after")
    def _one_way_to_choose(self) -> RowConfig:
        given = [name for name in ("candidates", "sweep", "best_of") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"expected one of candidates, sweep and best_of, got {' and '.join(given)}")
        if self.best_of and (self.experiment or self.beside or self.repeats):
            raise ValueError("best_of: expected no experiment, beside or repeats: it is one of the rows named")
        if self.samples is not None and self.sweep is None:
            raise ValueError("samples: expected a sweep, got none")
        if self.sweep is not None and {"config", "row"} & set(self.experiment):
            raise ValueError("sweep: expected values alone in experiment: the sweep says what it begins with")
        for key in ("config", "row"):
            if not isinstance(self.experiment.get(key, ""), str):
                raise ValueError(f"experiment: expected a name as {key}, got {self.experiment[key]!r:.100}")
        if {"config", "row"} <= set(self.experiment):
            raise ValueError("experiment: expected config or row, got both")
        return self

    @property
    def needs(self) -> tuple[str, ...]:
        """The rows that must be finished before this one."""
        base = [self.experiment["row"]] if "row" in self.experiment else []
        return tuple(dict.fromkeys([*self.best_of, *base, *self.networks]))

    @property
    def networks(self) -> list[str]:
        """The rows whose networks give this one's features."""
        texts = words_in([self.experiment, list(self.candidates), [block.backbone for block in self.beside]])
        named = {name.strip() for text in texts for name in text.split("+")}
        return sorted({row_of(name) for name in named if name.startswith(ROW)})


class LabelsConfig(ConfigPart):
    """The curve of a study: scores of some rows by the number of labelled images."""

    rows: tuple[str, ...] = Field(min_length=1, max_length=20, description="rows, each as it was chosen")
    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        default=(0.05, 0.1, 0.25, 0.5, 1.0), description="shares of the train lesions; 1 is all of them"
    )
    shots: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(), description="train lesions of each class, an image each"
    )
    repeats: int = Field(default=3, ge=1, le=MOST_REPEATS, description="seeds that each score is the mean of")

    @model_validator(mode="after")
    def _each_once(self) -> LabelsConfig:
        for name in ("rows", "shares", "shots"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise ValueError(f"{name}: expected values that differ, got {', '.join(map(str, given))}")
        if not (self.shares or self.shots):
            raise ValueError("expected shares or shots, got neither")
        return self

    @property
    def count(self) -> int:
        """Number of experiments."""
        return len(self.rows) * (len(self.shares) + len(self.shots)) * self.repeats


class StudyConfig(ConfigPart):
    """A study."""

    name: str = Field(
        default="study", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$", description="letters, digits and . _ -"
    )
    experiment: dict[str, Any] = Field(default={}, description="values that the experiments of all rows have")
    repeats: int = Field(default=1, ge=1, le=MOST_REPEATS, description="seeds of the split that scores are a mean of")
    reference: str | None = Field(default=None, description="row that all others are compared with; null: the first")
    resamples: int = Field(default=RESAMPLES, ge=1, le=100_000, description="resamples of the intervals")
    rows: tuple[RowConfig, ...] = Field(min_length=1, max_length=200, description="the rows of the table")
    labels: LabelsConfig | None = Field(default=None, description="scores of some rows by the number of labels")
    settings: dict[str, Any] = Field(default={}, description="settings by dotted keys, set last in every row")

    @model_validator(mode="after")
    def _rows_that_fit(self) -> StudyConfig:
        names = [row.name for row in self.rows]
        for name in names:
            if names.count(name) > 1 or name == MAJORITY:
                reason = "every study has it" if name == MAJORITY else f"got it {names.count(name)} times"
                raise ValueError(f"rows: expected names that differ, {name!r}: {reason}")
        wanted = [*([self.reference] if self.reference else []), *(need for row in self.rows for need in row.needs)]
        for name in wanted:
            if name not in names:
                raise ValueError(unknown_name("row", name, names))
        try:
            TopologicalSorter({row.name: row.needs for row in self.rows}).prepare()
        except CycleError as error:
            raise ValueError(
                f"rows: expected an order in which to run them, got {' <- '.join(error.args[1])}"
            ) from None
        for name in self.labels.rows if self.labels else ():
            if name not in names:
                raise ValueError(f"labels: {unknown_name('row', name, names)}")
            if tuned := [row for row in self._with_needs(name) if self.row(row).networks]:
                raise ValueError(
                    f"labels: expected rows without the networks of others, which have seen all labels, got {name!r} "
                    f"with those of {tuned[0]!r}"
                )
        return self

    def _with_needs(self, name: str) -> list[str]:
        """A row, and all that it needs, each once: rows may need the same ones in more ways than can be counted."""
        found = [name]
        for row in found:
            found += [need for need in self.row(row).needs if need not in found]
        return found

    def row(self, name: str) -> RowConfig:
        """The row of this name."""
        return next(row for row in self.rows if row.name == name)

    @property
    def base(self) -> str:
        """Name of the row that the others are compared with."""
        return self.reference or self.rows[0].name

    @property
    def digest(self) -> str:
        """sha256 over all that decides the rows and their scores."""
        content = self.model_dump(mode="json", exclude={"name", "resamples", "labels"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def row_of(backbone: str) -> str:
    """The row in `row:NAME` or `row:NAME:KIND`."""
    return backbone.strip().removeprefix(ROW).partition(":")[0]


def read_study(
    path_or_name: str | Path, settings: Mapping[str, Any] | None = None, repeats: int | None = None
) -> StudyConfig:
    """Read a study and check its own keys; `row_experiments.load_study` also checks the experiments.

    Args:
        path_or_name: A YAML file, or the name of a packaged study (`small`).
        settings: Values of all experiments by their dotted keys, set last.
        repeats: In place of the file's.

    Raises:
        ConfigNotFoundError: There is no such file and no such packaged study.
        ConfigError: Unknown keys (the nearest valid one is named), or rows that do not fit together.
    """
    path = find_study(path_or_name)
    content = {"name": path.stem, **read_yaml(path)}
    if repeats is not None:
        content["repeats"] = repeats
    if settings:
        content["settings"] = {**(content.get("settings") or {}), **_with_used_recipes(settings, content)}
    try:
        return StudyConfig.model_validate(content)
    except ValidationError as error:
        raise config_error(error, StudyConfig, str(path_or_name)) from None


def _with_used_recipes(settings: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without the workspace's recipes that the study does not name."""
    rest = {key: value for key, value in settings.items() if key != RECIPES}
    recipes = settings.get(RECIPES)
    kept = used(recipes, words_in([content, rest])) if isinstance(recipes, Mapping) else recipes
    return {**({RECIPES: kept} if kept else {}), **rest}


def study_names() -> list[str]:
    """Names of the packaged studies."""
    return packaged_names("studies")


def find_study(path_or_name: str | Path) -> Path:
    """The file a path or a packaged name stands for (`small`, `configs/studies/small.yaml`)."""
    return find_packaged(path_or_name, "studies", "study")


def wrong_row(row: RowConfig, reason: object) -> ConfigError:
    """The error that a row's experiment does not fit."""
    return ConfigError(f"row {row.name!r}: {reason}")
