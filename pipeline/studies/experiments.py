"""Many experiments on the same images at once: heads by feature sets, in parallel, into one leaderboard."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from hamcache.data.splits import Split
from hamcache.data.workspace import Workspace
from hamcache.heads.zoo import HEADS, head_params
from hamcache.pipeline.config.overrides import in_order, read_yaml
from hamcache.pipeline.config.schema import (
    ExperimentConfig,
    HeadConfig,
    SplitConfig,
    blocks_from,
    expand_short_forms,
    find_config,
    load_config,
)
from hamcache.pipeline.errors import ConfigError, RunError
from hamcache.pipeline.experiment.inputs import Inputs, open_inputs
from hamcache.pipeline.experiment.learning import parts_of
from hamcache.pipeline.experiment.runner import identify, make_splits, run_experiment
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.runs.run_index import find_run
from hamcache.pipeline.studies.parallel import in_processes, workers_that_fit

COPIES = 6
"""How often a head holds its training features, about: joined, transformed, and in float64 inside scikit-learn."""

Splits = dict[tuple[int, SplitConfig], list[Split]]  # by seed and settings


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
class Outcome:
    """What became of an experiment: a run, or the error that kept it from being one."""

    experiment: Experiment
    run: Run | None = None
    error: Exception | None = None

    @property
    def reused(self) -> bool:
        """Whether the run was there before."""
        return self.run is not None and self.run.reused

    @property
    def reason(self) -> str:
        """The error in one line, or nothing."""
        if self.error is None:
            return ""
        return f"{type(self.error).__name__}: {' '.join(str(self.error).split())}"


def plan(
    features: Sequence[str],
    heads: Sequence[str] = (),
    *,
    config: str | None = None,
    augmentation: str = "none",
    views: int = 1,
    settings: Mapping[str, Any] | None = None,
) -> list[Experiment]:
    """Every head on every feature set.

    Args:
        features: Feature sets, each a backbone or several joined by `+`; none: the blocks of `config`.
        heads: Names; none: the whole zoo. The head that `config` is about keeps the parameters it has there.
        config: A configuration that gives everything else.
        augmentation: Of the `features`.
        views: Of the `features`.
        settings: Values by their dotted keys, such as `head.class_weight`, set last; each head must know them.

    Raises:
        UnknownHeadError: An unknown head; offers the nearest name.
        ConfigError: An empty feature set, or a configuration that does not fit.
    """
    for name in heads:
        head_params(name)
    own_head = head_of(config)
    sets = {name: {"features.blocks": blocks_from(name, augmentation, views)} for name in features}
    experiments = []
    for name, blocks in (sets or {"": {}}).items():
        for head in dict.fromkeys(heads or HEADS):
            chosen = {} if head == own_head else {"head": head}
            one = load_config(config, in_order(blocks, chosen, settings or {}))
            label = name or "+".join(block.backbone for block in one.features.blocks)
            experiments.append(Experiment(head, label, one))
    return experiments


def head_of(config: str | None) -> str:
    """The head that a configuration is about; without one, the default."""
    content = expand_short_forms(read_yaml(find_config(config))) if config else {}
    if content.get("net") is not None:
        raise ConfigError(f"{config}: expected heads on cached features, got a net from images; leave `net` out")
    return str((content.get("head") or {}).get("name", HeadConfig().name))


def all_features(experiments: Sequence[Experiment]) -> ExperimentConfig:
    """A configuration that reads every block of these experiments, which are of one data set and view policy."""
    first = experiments[0].config
    blocks = dict.fromkeys(block for one in experiments for block in one.config.features.blocks)
    return first.model_copy(update={"features": first.features.model_copy(update={"blocks": tuple(blocks)})})


def run_all(
    experiments: Sequence[Experiment],
    workspace: Workspace,
    *,
    test: bool = False,
    workers: int | None = None,
    plots: bool = True,
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
        plots: Draw each run's pictures, in the process that makes the run.
        on_outcome: Takes each outcome as it comes.

    Returns:
        The outcomes in the order of the experiments.

    Raises:
        hamcache.cache.errors.MissingFeaturesError: The cache lacks features; names the commands that make them all.
        RunError: Every experiment failed.
    """
    inputs = open_inputs(all_features(experiments), workspace)
    splits = _splits(experiments, inputs)
    outcomes: dict[int, Outcome] = {}

    def record(number: int, result: Run | Exception) -> None:
        one = experiments[number]
        outcomes[number] = Outcome(one, result) if isinstance(result, Run) else Outcome(one, error=result)
        if on_outcome:
            on_outcome(outcomes[number])

    for number, run in _finished(experiments, splits, workspace, inputs, test).items():
        record(number, run)
    order = list(HEADS)
    todo = sorted(
        (number for number in range(len(experiments)) if number not in outcomes),
        key=lambda n: (-_width(experiments[n].config, inputs), -order.index(experiments[n].head)),
    )
    if todo:
        configs = [experiments[number].config for number in todo]
        n_train = _load(configs, splits, inputs, test)
        need = COPIES * 4 * n_train * max(_width(config, inputs) for config in configs)
        job = partial(_run, workspace=workspace, test=test, inputs=inputs, plots=plots)
        for position, result in in_processes(job, configs, workers or workers_that_fit(need, len(todo))):
            record(todo[position], result)
    if all(outcome.run is None for outcome in outcomes.values()):
        raise RunError(
            f"expected at least one of {len(experiments)} experiments to finish, all failed; "
            f"{experiments[0].head} on {experiments[0].features}: {outcomes[0].reason}"
        )
    return [outcomes[number] for number in range(len(experiments))]


def _run(
    config: ExperimentConfig,
    *,
    workspace: Workspace,
    test: bool,
    inputs: Inputs,
    plots: bool,
) -> Run:
    return run_experiment(config, workspace, test=test, inputs=inputs, plots=plots)


def _splits(experiments: Sequence[Experiment], inputs: Inputs) -> Splits:
    """The splits of all experiments, each made once."""
    configs = {(one.config.seed, one.config.split): one.config for one in experiments}
    return {key: make_splits(config, inputs.table) for key, config in configs.items()}


def _finished(
    experiments: Sequence[Experiment], splits: Splits, workspace: Workspace, inputs: Inputs, test: bool
) -> dict[int, Run]:
    """The latest finished run of each experiment that has one."""
    finished = {}
    for number, experiment in enumerate(experiments):
        config = experiment.config
        identity = identify(config, inputs, splits[config.seed, config.split])
        run = find_run(workspace, identity["fingerprint"], test=test)
        if run is not None:
            finished[number] = replace(run, reused=True)
    return finished


def _load(configs: Sequence[ExperimentConfig], splits: Splits, inputs: Inputs, test: bool) -> int:
    """Read all features that these experiments use, and say how many images the largest train part has."""
    names = ["train", "validation", "test"] if test else ["train", "validation"]
    most = 0
    for config in configs:
        made = splits[config.seed, config.split]
        folds = [parts_of(split, inputs.table, names, inputs.left_out) for split in made]
        inputs.load(config.features, sorted({i for parts in folds for part in parts.values() for i in part.ids}))
        most = max(most, *(len(parts["train"]) for parts in folds))
    return most


def _width(config: ExperimentConfig, inputs: Inputs) -> int:
    """Numbers a training image has: features of all blocks, times views."""
    blocks = inputs.blocks_of(config.features)
    return sum(block.dim for block in blocks) * max(block.n_views for block in blocks)
