"""From the rows of a study to experiments: what each row begins with, its candidates, and its networks' features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hamcache.configs.defaults import MOST_SEED
from hamcache.pipeline.config.overrides import merged
from hamcache.pipeline.config.schema import (
    ExperimentConfig,
    expand_short_forms,
    read_config,
    validate_config,
    with_settings,
)
from hamcache.pipeline.errors import ConfigError
from hamcache.pipeline.studies.study.study_config import ROW, RowConfig, StudyConfig, read_study, row_of, wrong_row

if TYPE_CHECKING:
    from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig

SHARED = ("dataset", "dataset_name", "columns", "seed", "objective", "positive")
"""Keys that a row cannot set: rows with other values of these could not be compared."""
Chosen = Mapping[str, ExperimentConfig]
"""Row -> the experiment that was chosen for it; backbones `row:NAME` are still called so."""


@dataclass(frozen=True)
class RowExperiments:
    """The experiments of a study.

    Attributes:
        study: The study.
    """

    study: StudyConfig

    @property
    def first(self) -> ExperimentConfig:
        """The experiment of the first row that has one of its own; its data set, seed and objective are all rows'."""
        return next(iter(self.provisional.values()))

    @cached_property
    def provisional(self) -> dict[str, ExperimentConfig]:
        """For each row one of the experiments that may be chosen, in an order in which rows can be run."""
        made: dict[str, ExperimentConfig] = {}
        for name in TopologicalSorter({row.name: row.needs for row in self.study.rows}).static_order():
            row = self.study.row(name)
            made[name] = made[row.best_of[0]] if row.best_of else self.candidates(row, made)[0]
        return made

    def foreseen(self) -> list[ExperimentConfig]:
        """Experiments of the first seed that are known before any is run, of those with features of their own."""
        from hamcache.pipeline.studies.sweeps.sweep_config import structures

        made: list[ExperimentConfig] = []
        for row in self.study.rows:
            if row.sweep is not None:
                made += structures(self.sweep(row))
            elif not row.best_of and not row.networks:
                made += self.candidates(row, self.provisional)
        return [config for config in made if not any(b.backbone.startswith(ROW) for b in config.features.blocks)]

    def count(self, test: bool) -> int:
        """Number of experiments of all rows, all seeds included, trials of sweeps not; with `test`, again for that."""
        rows = [row for row in self.study.rows if not row.best_of]
        further = sum(len(self.seeds(row)) for row in rows)
        chosen = sum(max(len(row.candidates), 1) - 1 for row in rows) + further * (2 if test else 1)
        return chosen + (self.study.labels.count if self.study.labels else 0)

    def seeds(self, row: RowConfig) -> list[int]:
        """The seeds of a row's runs, the first of them the one that choices are made with."""
        seed = int(self.study.settings.get("seed", self.study.experiment.get("seed", 0)))
        return list(range(seed, seed + (row.repeats or self.study.repeats)))

    def candidates(self, row: RowConfig, chosen: Chosen) -> list[ExperimentConfig]:
        """The experiments of which one is chosen; of a sweep, one of its points.

        Raises:
            ConfigError: One of them is no experiment; names the row.
        """
        if row.sweep is not None:
            from hamcache.pipeline.studies.sweeps.sweep_config import structures

            return [next(iter(structures(self.sweep(row))))]
        content = self._content(row, chosen)
        made = []
        for number, settings in enumerate(row.candidates or ({},), start=1):
            self._refuse_shared(row, settings)
            source = f"row {row.name!r}, candidate {number}" if row.candidates else f"row {row.name!r}"
            made.append(validate_config(with_settings(content, {**settings, **self.study.settings}), source))
        return made

    def sweep(self, row: RowConfig) -> SweepConfig:
        """The sweep of a row, on the study's data set and split."""
        from hamcache.pipeline.studies.sweeps.sweep_config import load_sweep_config

        values = over(self.study.experiment, row.experiment)
        self._refuse_shared(row, row.experiment)
        assert row.sweep is not None
        try:
            return load_sweep_config(row.sweep, {**values, **self.study.settings}, changes={"samples": row.samples})
        except ConfigError as error:
            raise wrong_row(row, error) from None

    def _content(self, row: RowConfig, chosen: Chosen) -> dict[str, Any]:
        self._refuse_shared(row, row.experiment)
        own = {key: value for key, value in row.experiment.items() if key not in ("config", "row")}
        shared = dict(self.study.experiment)
        if "row" in row.experiment:
            content = chosen[row.experiment["row"]].content()
        else:
            name = row.experiment.get("config", shared.pop("config", None))
            content = over(_packaged(row, name), {key: v for key, v in shared.items() if key != "config"})
        content = over(content, own)
        if row.beside:
            features = content.get("features") or {}
            blocks = list(features.get("blocks") or [])
            content["features"] = {**features, "blocks": blocks + [block.model_dump() for block in row.beside]}
        return content

    def _refuse_shared(self, row: RowConfig, settings: Mapping[str, Any]) -> None:
        for key in settings:
            if str(key).split(".")[0] in SHARED:
                raise wrong_row(row, f"expected {key} in the study's experiment, which all rows share; set it there")


def load_study(
    path_or_name: str | Path, settings: Mapping[str, Any] | None = None, repeats: int | None = None
) -> RowExperiments:
    """Read a study and check every experiment in it; the arguments and errors are those of `read_study`."""
    loaded = RowExperiments(read_study(path_or_name, settings, repeats))
    last = loaded.first.seed + max(len(loaded.seeds(row)) for row in loaded.study.rows) - 1
    if last > MOST_SEED:
        raise ConfigError(f"{path_or_name}: expected seeds up to {MOST_SEED}, got {last}; lower seed or repeats")
    return loaded


def over(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of an experiment with others set in them; another head or net does not keep parameters."""
    base, values = expand_short_forms(dict(base)), expand_short_forms(dict(values))
    for key in ("head", "net"):
        old, new = base.get(key), values.get(key)
        if (
            isinstance(old, Mapping)
            and isinstance(new, Mapping)
            and new.get("name", old.get("name")) != old.get("name")
        ):
            base = {name: value for name, value in base.items() if name != key}
    return merged(base, values)


def networks_named(config: ExperimentConfig, run_ids: Mapping[str, str]) -> ExperimentConfig:
    """The experiment with each backbone `row:NAME` called by the run that it is: `run:RUN_ID`.

    Args:
        config: The experiment.
        run_ids: Row -> id of its run of the same seed.
    """
    blocks = []
    for block in config.features.blocks:
        name = block.backbone
        if name.startswith(ROW):
            _, _, kind = name.removeprefix(ROW).partition(":")
            name = f"run:{run_ids[row_of(name)]}" + (f":{kind}" if kind else "")
        blocks.append(block.model_copy(update={"backbone": name}))
    features = config.features.model_copy(update={"blocks": tuple(blocks)})
    return config.model_copy(update={"features": features})


def differences(candidates: Sequence[Mapping[str, Any]], number: int) -> str:
    """A candidate in few words: `C=0.01, tau=auto`."""
    if not candidates:
        return ""
    return ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in candidates[number].items()) or "as it is"


def _packaged(row: RowConfig, name: object) -> dict[str, Any]:
    if name is None:
        return {}
    if not isinstance(name, str):
        raise wrong_row(row, f"expected a name or a file as the study's experiment.config, got {name!r:.100}")
    return read_config(name)
