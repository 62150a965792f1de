"""The cells of a grid of augmentations and backbones: which experiments they are, and how they are run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from hamcache.data.workspace import Workspace
from hamcache.extract.augmentations import get_augmentation
from hamcache.pipeline.errors import ConfigError, RunError
from hamcache.pipeline.experiment.inputs import open_inputs
from hamcache.pipeline.studies.experiments import Experiment, Outcome, all_features, head_of, plan, run_all


@dataclass(frozen=True)
class Cell:
    """One experiment of a grid: one backbone, one augmentation, one seed.

    Attributes:
        views: Views of the augmentation that are used: those asked for, or all it has (`none` has one).
    """

    backbone: str
    augmentation: str
    views: int
    seed: int
    experiment: Experiment


def plan_grid(
    backbones: Sequence[str],
    augmentations: Sequence[str],
    *,
    head: str | None = None,
    views: int = 2,
    seeds: Sequence[int] = (),
    config: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[Cell]:
    """The cells of a grid, a backbone after the other.

    Args:
        backbones: The rows; `A+B` makes a hybrid.
        augmentations: The columns; names of augmentations.
        head: The head of every cell; None: that of `config`.
        views: Views of each augmentation that has as many.
        seeds: Seeds of split and head; none: that of `config`.
        config: A configuration that gives everything else.
        settings: Values by their dotted keys, as in `studies.experiments.plan`.

    Raises:
        ConfigError: No backbone or augmentation, an empty name, one that is listed twice, or one `plan` refuses.
        AugmentationError: An unknown augmentation.
    """
    for what, names in (("backbones", backbones), ("augmentations", augmentations), ("seeds", seeds)):
        if what != "seeds" and (not names or not all(names)):
            raise ConfigError(
                f"{what}: expected names separated by commas, got {', '.join(map(repr, names)) or 'none'}"
            )
        repeated = [name for name in names if names.count(name) > 1]
        if repeated:
            raise ConfigError(f"{what}: expected each once, got {repeated[0]!r} more than once")
    n_views = {name: min(views, get_augmentation(name).distinct_views) for name in augmentations}
    of_seed = [{"seed": seed} for seed in seeds] or [{}]
    cells = []
    for backbone, augmentation, setting in product(backbones, augmentations, of_seed):
        (one,) = plan(
            [backbone],
            [head or head_of(config)],
            config=config,
            augmentation=augmentation,
            views=n_views[augmentation],
            settings={**(settings or {}), **setting},
        )
        seed, words = one.config.seed, f"{backbone}, {augmentation} x{n_views[augmentation]}"
        named = replace(one, features=f"{words}, seed {seed}")
        cells.append(Cell(backbone, augmentation, n_views[augmentation], seed, named))
    if len({cell.experiment.config.digest for cell in cells}) < len(cells):
        raise ConfigError(
            "expected a configuration that leaves backbone, augmentation and seed to the grid, got one that makes "
            "cells equal; leave features.blocks out of the settings"
        )
    return cells


def same_views(augmentations: Mapping[str, int]) -> list[list[str]]:
    """Augmentations, by the views of each, whose views are the same pictures, so that their columns are equal.

    Symmetries are counted through in one order, the plain image first, so equally many of two augmentations are equal.

    >>> same_views({"none": 1, "flip": 2, "dihedral": 2, "rotate": 2})
    [['flip', 'dihedral']]
    """
    alike: dict[int, list[str]] = {}
    for name, views in augmentations.items():
        if not get_augmentation(name).is_random:
            alike.setdefault(views, []).append(name)
    return [names for names in alike.values() if len(names) > 1]


def run_grid(
    experiments: Sequence[Experiment],
    workspace: Workspace,
    *,
    test: bool = False,
    workers: int | None = None,
    plots: bool = True,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """`studies.experiments.run_all`, a set of backbones after the other, so that only its features are in memory.

    A backbone of which every cell fails costs no other. Arguments and outcomes are those of `run_all`.

    Raises:
        hamcache.cache.errors.MissingFeaturesError: The cache lacks features; names the commands that make them all.
        RunError: Every experiment failed.
    """
    open_inputs(all_features(experiments), workspace)  # all that lacks, before any work
    rows: dict[tuple[str, ...], list[Experiment]] = {}
    for one in experiments:
        rows.setdefault(tuple(block.backbone for block in one.config.features.blocks), []).append(one)
    outcomes: list[Outcome] = []
    failure: RunError | None = None
    for row in rows.values():
        seen: list[Outcome] = []

        def tell(outcome: Outcome, seen: list[Outcome] = seen) -> None:
            seen.append(outcome)
            if on_outcome:
                on_outcome(outcome)

        try:
            run_all(row, workspace, test=test, workers=workers, plots=plots, on_outcome=tell)
        except RunError as error:
            if len(seen) < len(row):  # not for failed cells
                raise
            failure = error
        outcomes += seen
    if failure is not None and all(outcome.run is None for outcome in outcomes):
        raise failure
    found = {outcome.experiment.features: outcome for outcome in outcomes}
    return [found[one.features] for one in experiments]
