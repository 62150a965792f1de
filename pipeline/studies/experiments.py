"""Many experiments on the same images at once: heads by feature sets, in parallel, into one leaderboard."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from hamcache.data.workspace import Workspace
from hamcache.extract.recipes import Recipes
from hamcache.heads.zoo import HEADS, head_params
from hamcache.pipeline.config.overrides import in_order
from hamcache.pipeline.config.own_recipes import RECIPES
from hamcache.pipeline.config.schema import (
    ExperimentConfig,
    HeadConfig,
    blocks_from,
    load_config,
    read_config,
    with_settings,
)
from hamcache.pipeline.errors import ConfigError, RunError
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.runs.run_index import find_run
from hamcache.pipeline.studies.opened import open_experiments
from hamcache.pipeline.studies.parallel import in_processes, workers_that_fit


@dataclass(frozen=True)
class Experiment:
    """One entry of a plan.

    Attributes:
        head: Name of the head.
        features: The backbones as they were asked for: `A+B`.
        config: What is run.
    """

    head: str
    features: str
    config: ExperimentConfig


@dataclass(frozen=True)
class Template:
    """The part of a configuration that the experiments of a study have in common.

    Attributes:
        config: A YAML file or the name of a packaged configuration; None: the defaults.
        settings: Values by their dotted keys, such as `head.class_weight`, set last; each head must know them.
    """

    config: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _content(self) -> dict[str, Any]:
        return read_config(self.config) if self.config else {}

    @property
    def head(self) -> str:
        """The head that the configuration is about; without one, the default.

        Raises:
            ConfigError: The configuration is about a net.
        """
        content = self._content
        if content.get("net") is not None:
            raise ConfigError(
                f"{self.config}: expected heads on cached features, got a net from images; leave `net` out"
            )
        return str((content.get("head") or {}).get("name", HeadConfig().name))

    @property
    def augmentations(self) -> Recipes:
        """The augmentations that names stand for: packaged ones, and those of the configuration and the settings."""
        known = with_settings(
            self._content, {key: v for key, v in self.settings.items() if key.partition(".")[0] == RECIPES}
        )
        return Recipes.of_steps(known.get(RECIPES) or {})

    def experiment(self, head: str, features: str | None, augmentation: str, views: int) -> Experiment:
        """One experiment; without features on the blocks of the configuration, whose head keeps its parameters."""
        blocks = {} if features is None else {"features.blocks": blocks_from(features, augmentation, views)}
        chosen = {} if head == self.head else {"head": head}
        config = load_config(self.config, in_order(blocks, chosen, self.settings))
        return Experiment(head, features or "+".join(block.backbone for block in config.features.blocks), config)


@dataclass(frozen=True)
class Outcome:
    """Outcome of an experiment: a run, or the error that kept it from being one."""

    experiment: Experiment
    run: Run | None = None
    error: Exception | None = None

    @property
    def reused(self) -> bool:
        """True if the run was there before."""
        return self.run is not None and self.run.reused

    @property
    def reason(self) -> str:
        """The error in one line; empty for a run."""
        if self.error is None:
            return ""
        return f"{type(self.error).__name__}: {' '.join(str(self.error).split())}"


def plan(
    features: Sequence[str],
    heads: Sequence[str] = (),
    template: Template = Template(),
    *,
    augmentation: str = "none",
    views: int = 1,
) -> list[Experiment]:
    """Every head on every feature set.

    Args:
        features: Feature sets, each a backbone or several joined by `+`; none: the blocks of the template.
        heads: Names; none: the whole zoo. The head that the template is about keeps the parameters it has there.
        template: Gives everything else.
        augmentation: Of the `features`.
        views: Of the `features`.

    Raises:
        UnknownHeadError: An unknown head; offers the nearest name.
        ConfigError: An empty feature set, or a configuration that does not fit.
    """
    for name in heads:
        head_params(name)
    sets: Sequence[str | None] = features or [None]
    return [
        template.experiment(head, names, augmentation, views)
        for names in sets
        for head in dict.fromkeys(heads or HEADS)
    ]


def run_all(
    experiments: Sequence[Experiment],
    workspace: Workspace,
    *,
    test: bool = False,
    workers: int | None = None,
    apart: bool = False,
    must_finish: bool = True,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run experiments of one data set in parallel; those that are finished are found, not run again.

    The features are read once and shared by all processes. The widest features and the last heads of the zoo, which
    take longest, start first, so that no core waits at the end for one long head.

    Args:
        experiments: What `plan` gave.
        workspace: Holds `features/` and `runs/`.
        test: Open the test set.
        workers: Processes at a time; None: one per core, limited by free memory.
        apart: Run a set of backbones after the other, so that only its features are in memory.
        must_finish: Refuse that every experiment fails.
        on_outcome: Takes each outcome as it comes.

    Returns:
        The outcomes in the order of the experiments.

    Raises:
        hamcache.cache.errors.MissingFeaturesError: The cache lacks features; names the commands that make them all.
        RunError: Every experiment failed, and one must finish.
    """
    opened = open_experiments([experiment.config for experiment in experiments], workspace)
    outcomes: dict[int, Outcome] = {}

    def record(number: int, result: Run | Exception) -> None:
        run, error = (result, None) if isinstance(result, Run) else (None, result)
        outcomes[number] = Outcome(experiments[number], run, error)
        if on_outcome:
            on_outcome(outcomes[number])

    for number, config in enumerate(opened.configs):
        if (finished := find_run(workspace, opened.fingerprint_of(config), test=test)) is not None:
            record(number, replace(finished, reused=True))
    cost = {name: number for number, name in enumerate(HEADS)}  # one's own may take any time, and start first
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, experiment in enumerate(experiments):
        if number not in outcomes:
            backbones = tuple(block.backbone for block in experiment.config.features.blocks) if apart else ()
            groups.setdefault(backbones, []).append(number)
    for numbers in groups.values():
        order = sorted(
            numbers,
            key=lambda n: (-opened.width_of(opened.configs[n]), -cost.get(experiments[n].head, len(cost))),
        )
        group = opened.only([opened.configs[n] for n in order])
        processes = min(workers or workers_that_fit(group.bytes_each, len(order)), len(order))
        group.load(["train", "validation", "test"] if test else ["train", "validation"])
        job = partial(run_experiment, workspace=workspace, test=test, inputs=group.inputs)
        for position, result in in_processes(job, group.configs, processes):
            record(order[position], result)
        del group, job  # frees its features before those of the next are read
    if must_finish and all(outcome.run is None for outcome in outcomes.values()):
        raise RunError(
            f"expected at least one of {len(experiments)} experiments to finish, all failed; "
            f"{experiments[0].head} on {experiments[0].features}: {outcomes[0].reason}"
        )
    return [outcomes[number] for number in range(len(experiments))]
