"""The configuration of a sweep: an experiment, the values of it that are open, and how they are searched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hamcache.configs.defaults import MOST_SEED, MOST_TRIALS
from hamcache.extract.errors import AugmentationError
from hamcache.pipeline.config.messages import config_error
from hamcache.pipeline.config.overrides import merged, read_yaml
from hamcache.pipeline.config.own_recipes import RECIPES, used, words_in
from hamcache.pipeline.config.packaged import find_packaged, packaged_names
from hamcache.pipeline.config.renamed import RENAMED_IN_SWEEPS, former, refuse_former, renamed
from hamcache.pipeline.config.schema import (
    ExperimentConfig,
    expand_short_forms,
    read_config,
    validate_config,
    with_settings,
)
from hamcache.pipeline.errors import ConfigError
from hamcache.pipeline.studies.sweeps.space import (
    MOST_VALUES,
    Dimension,
    Point,
    Space,
    fits,
    in_use,
    is_below,
    label,
)

STRUCTURE = ("dataset", "dataset_name", "columns", "features", "split", "seed", "net.stored_side")
"""Keys that decide what a trial reads. That is read once, before all trials, so their values must be few."""
FIXED = ("dataset", "dataset_name", "columns", "objective", "positive")
"""Keys that cannot be searched: trials with other values of these could not be compared."""
SHORT = {"f1": "weighted_f1"}
PROBES = 25


class SweepConfig(BaseModel):
    """One sweep."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        default="sweep", pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", description="what the sweep's folder begins with"
    )
    experiment: dict[str, Any] = Field(description="the experiment that is searched: a name, a file, or its values")
    space: dict[str, Dimension] = Field(min_length=1, description="key of the experiment -> its possible values")
    samples: int = Field(default=20, ge=1, le=MOST_TRIALS, description="trials; with search grid, at most so many")
    search: Literal["optuna", "random", "grid"] = Field(
        default="optuna", description="Optuna's TPE, random points, or all points one after the other"
    )
    stopping: Literal["asha", "none"] = Field(
        default="asha", description="asha stops trials early that are worse than most at the same epoch"
    )
    grace: int = Field(default=4, ge=1, description="asha: epochs that every trial gets")
    reduction: int = Field(default=3, ge=2, description="asha: one in so many goes on at each rung")
    seed: int = Field(
        default=0, ge=0, le=MOST_SEED, description="seed of the search; that of the experiment is its own"
    )

    @property
    def dimensions(self) -> Space:
        """The searched space."""
        return Space(dimensions=self.space)

    @property
    def objective(self) -> str:
        """The metric that is searched for, on validation."""
        return str(self.experiment["objective"])

    @property
    def digest(self) -> str:
        """sha256 over all but the name and the number of trials; sweeps with equal digests can be resumed."""
        content = _with_keys(self.model_dump(mode="json", by_alias=True, exclude={"name", "samples"}), former)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def is_rung(self, epoch: int) -> bool:
        """True if trials are compared after this epoch: grace, grace x reduction, and so on."""
        rung = self.grace
        while rung < epoch:
            rung *= self.reduction
        return self.stopping == "asha" and rung == epoch

    def config_at(self, point: Point) -> ExperimentConfig:
        """The experiment at one point.

        Raises:
            ConfigError: The values do not fit together, or what stops a training early is not the objective.
        """
        config = validate_config(with_settings(self.experiment, point, merge=True), "the sweep's experiment")
        watched = None if config.net is not None else config.head.params.get("objective")
        if watched not in (None, self.objective):
            raise ConfigError(
                f"head.objective: expected the sweep's objective, {self.objective}, got {watched!r}: trials are "
                "stopped and chosen by one and the same score; leave it out"
            )
        return config

    def to_yaml(self) -> str:
        """YAML that `kept_settings` reads back to an equal sweep."""
        content = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        content["space"] = {
            key: {name: value for name, value in dimension.items() if value != {}}
            for key, dimension in content["space"].items()
        }
        content["experiment"] = self.experiment  # with its nulls
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def kept_settings(content: dict[str, Any], source: str) -> SweepConfig:
    """The settings that a sweep wrote into its folder, from the values in that file.

    Raises:
        ConfigError: The file was changed to what is no sweep.
    """
    try:
        return SweepConfig.model_validate(_with_keys(content, renamed))
    except ValidationError as error:
        raise config_error(error, SweepConfig, source) from None


def _with_keys(content: dict[str, Any], change: Callable[..., Any]) -> dict[str, Any]:
    """The settings of a sweep with its own keys, those of its experiment, of its space and of each `when` changed."""
    rest = {key: value for key, value in content.items() if key not in ("experiment", "space")}
    space = {
        key: dimension | {"when": change(dimension.get("when", {}))}
        for key, dimension in change(content.get("space", {})).items()
    }
    return change(rest, RENAMED_IN_SWEEPS) | {"experiment": change(content.get("experiment", {})), "space": space}


def sweep_names() -> list[str]:
    """Names of the packaged sweeps."""
    return packaged_names("sweeps")


def load_sweep_config(
    path_or_name: str | Path,
    settings: Mapping[str, Any] | None = None,
    *,
    changes: Mapping[str, Any] | None = None,
) -> SweepConfig:
    """Read a sweep, set values of its experiment, and check the experiment at points all over the space.

    Args:
        path_or_name: A YAML file, or the name of a packaged sweep (`mlp`).
        settings: Values of the experiment by their dotted keys; a key that is set is not searched.
        changes: Values of the sweep itself: `samples`, `search`, ...

    Raises:
        ConfigNotFoundError: There is no such file and no such packaged sweep.
        ConfigError: Unknown keys (the nearest valid one is named), or values that do not fit.
    """
    path = find_sweep_config(path_or_name)
    source = str(path_or_name)
    content = {"name": path.stem, **read_yaml(path)}
    refuse_former(content, source, RENAMED_IN_SWEEPS)
    content |= {key: value for key, value in (changes or {}).items() if value is not None}
    fixed = dict(settings or {})
    content["experiment"] = with_settings(_experiment(content.get("experiment"), source), fixed)
    space = content.get("space")
    if isinstance(space, dict):
        content["space"] = _open_dimensions(space, fixed)
        if space and not content["space"]:
            raise ConfigError(f"{source}: expected a key to search, but all of them are set: {', '.join(fixed)}")
        for key, dimension in content["space"].items():
            try:
                Dimension.model_validate(dimension)
            except ValidationError as error:
                raise config_error(error, Dimension, source, prefix=f"space.{key}.") from None
    if RECIPES in content["experiment"]:
        _keep_used_recipes(content, source)
    objective = content["experiment"].get("objective", "mcc")
    content["experiment"]["objective"] = SHORT.get(objective, objective) if isinstance(objective, str) else objective
    try:
        sweep = SweepConfig.model_validate(content)
        _ = sweep.dimensions
    except ValidationError as error:
        raise config_error(error, SweepConfig, source) from None
    check_space(sweep, source)
    return sweep


def _keep_used_recipes(content: dict[str, Any], source: str) -> None:
    """Leave out the recipes that neither the experiment nor the space names."""
    recipes = content["experiment"].pop(RECIPES)
    try:
        kept = used(recipes, words_in(content)) if isinstance(recipes, dict) else recipes
    except AugmentationError as error:
        raise ConfigError(f"{source}: recipes: {error}") from None
    if kept:
        content["experiment"][RECIPES] = kept


def find_sweep_config(path_or_name: str | Path) -> Path:
    """The file a path or a packaged name stands for (`mlp`, `configs/sweeps/mlp.yaml`)."""
    return find_packaged(path_or_name, "sweeps", "sweep")


def check_space(settings: SweepConfig, source: str) -> None:
    """Every choice, and both ends of every range, give a valid experiment together with some of the other values.

    Raises:
        ConfigError: A key cannot be searched or is unknown, or a value fits nowhere.
    """
    for key, dimension in settings.space.items():
        if is_below(key, FIXED):
            raise ConfigError(f"{source}: space.{key}: expected a key whose values give comparable trials; set it once")
        if _decides_structure(key) and dimension.values() is None:
            raise ConfigError(
                f"{source}: space.{key}: expected choice, grid or a short int, since features and parts are read "
                "before the trials; got a range that cannot be counted through"
            )
    if settings.search == "grid" and not settings.dimensions.is_countable:
        wide = [key for key, dimension in settings.space.items() if dimension.values() is None]
        raise ConfigError(f"{source}: space.{wide[0]}: search grid counts through all values, but this is a range")
    rng = np.random.default_rng(0)
    points = [_random_point(settings.dimensions, rng) for _ in range(PROBES)]
    if problem := _first_problem(settings, points):
        raise ConfigError(f"{source}: no point of the space is a valid experiment, for example:\n{problem}")
    for key, dimension in settings.space.items():
        for value in dimension.values() or dimension.ends:
            tried = [_random_point(settings.dimensions, rng, {key: value}) for _ in range(PROBES)]
            using = [point for point in tried if key in point]
            if using and (problem := _first_problem(settings, using)):
                raise ConfigError(f"{source}: space.{key}: {label(value)} fits nowhere, for example:\n{problem}")


def structures(settings: SweepConfig) -> Iterator[ExperimentConfig]:
    """One experiment for each combination of values that decide what is read.

    Raises:
        ConfigError: There are too many.
    """
    space = settings.dimensions.only(*filter(_decides_structure, settings.space))
    number = int(np.prod([len(dimension.values() or []) for dimension in space.dimensions.values()]))
    if number > MOST_VALUES:
        raise ConfigError(
            f"expected at most {MOST_VALUES} combinations of features, splits and seeds, got {number}: "
            f"{', '.join(space.dimensions)}"
        )
    rng, problem, is_empty = np.random.default_rng(0), None, True
    for point in space.grid():
        for _ in range(PROBES):  # other values may have to fit to these
            try:
                config = settings.config_at(_random_point(settings.dimensions, rng, point) | point)
            except ConfigError as error:
                problem = error
            else:
                is_empty = False
                yield config
                break
    if is_empty:
        raise problem or ConfigError("no valid experiment")


def searched_heads(settings: SweepConfig) -> Iterator[ExperimentConfig]:
    """One experiment for each head that a sweep searches by its name."""
    rng, space = np.random.default_rng(0), settings.dimensions
    for key in ("head", "head.name"):
        for head in (space.dimensions[key].values() or []) if key in space.dimensions else []:
            with suppress(ConfigError):  # other values may not fit to it: its trials will say so
                yield settings.config_at(_random_point(space, rng, {key: head}))


def _decides_structure(key: str) -> bool:
    return is_below(key, STRUCTURE) or any(is_below(decisive, [key]) for decisive in STRUCTURE)


def _first_problem(settings: SweepConfig, points: Iterable[Point]) -> ConfigError | None:
    """The problem of the first of these points, unless one of them is right."""
    problems = []
    for point in points:
        try:
            settings.config_at(point)
            return None
        except ConfigError as error:
            problems.append(error)
    return problems[0]


def _random_point(space: Space, rng: np.random.Generator, given: Point | None = None) -> Point:
    """A point drawn without Optuna, whose import takes a while; some values may be given."""
    point: Point = {}
    for key, dimension in space.dimensions.items():
        if not in_use(dimension, point):
            continue
        values = dimension.values()
        if given is not None and key in given:
            point[key] = given[key]
        elif values is not None:
            point[key] = values[int(rng.integers(len(values)))]
        elif dimension.int_ is not None:
            point[key] = int(rng.integers(dimension.int_[0], dimension.int_[1] + 1))
        else:
            point[key] = float(rng.uniform(*dimension.ends))
    return point


def _open_dimensions(space: dict[str, Any], fixed: dict[str, Any]) -> dict[str, Any]:
    """The dimensions that are left when some keys are set; a `when` on one of these is decided."""
    left = {}
    for key, dimension in space.items():
        if is_below(str(key), fixed):
            continue
        when = dimension.get("when") if isinstance(dimension, dict) else None
        if isinstance(when, dict):
            if any(other in fixed and not fits(fixed[other], wanted) for other, wanted in when.items()):
                continue
            dimension = dimension | {"when": {other: v for other, v in when.items() if other not in fixed}}
        left[key] = dimension
    return left


def _experiment(value: Any, source: str) -> dict[str, Any]:
    """The plain values of an experiment that is given by name, by its values, or by name and differences."""
    if isinstance(value, str):
        value = {"config": value}
    if isinstance(value, dict):
        named = value.get("config")
        base = read_config(named) if isinstance(named, str) else {}
        return merged(base, expand_short_forms({key: entry for key, entry in value.items() if key != "config"}))
    raise ConfigError(
        f"{source}: experiment: expected the name of a configuration, or the values of an experiment (beside `config: "
        f"NAME`, those that differ from it), got {value!r}"
    )
