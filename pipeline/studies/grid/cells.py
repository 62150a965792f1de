"""The cells of a grid of augmentations and backbones, as experiments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from hamcache.extract.recipes import Recipes
from hamcache.pipeline.errors import ConfigError
from hamcache.pipeline.studies.experiments import Experiment, Template, plan


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
    template: Template = Template(),  # noqa: B008 (frozen)
    *,
    head: str | None = None,
    views: int = 2,
    seeds: Sequence[int] = (),
) -> list[Cell]:
    """The cells of a grid, a backbone after the other.

    Args:
        backbones: The rows; `A+B` makes a hybrid.
        augmentations: The columns; names of augmentations.
        template: Gives everything else.
        head: The head of every cell; None: that of the template.
        views: Views of each augmentation that has as many.
        seeds: Seeds of split and head; none: that of the template.

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
    recipes = template.augmentations
    n_views = {name: min(views, recipes.get(name).distinct_views) for name in augmentations}
    seeded = [replace(template, settings={**template.settings, "seed": seed}) for seed in seeds] or [template]
    cells = []
    for backbone, augmentation, one_seed in product(backbones, augmentations, seeded):
        (planned,) = plan(
            [backbone], [head or template.head], one_seed, augmentation=augmentation, views=n_views[augmentation]
        )
        seed, words = planned.config.seed, f"{backbone}, {augmentation} x{n_views[augmentation]}"
        named = replace(planned, features=f"{words}, seed {seed}")
        cells.append(Cell(backbone, augmentation, n_views[augmentation], seed, named))
    if len({cell.experiment.config.digest for cell in cells}) < len(cells):
        raise ConfigError(
            "expected a configuration that leaves backbone, augmentation and seed to the grid, got one that makes "
            "cells equal; leave features.blocks out of the settings"
        )
    return cells


def same_views(augmentations: Mapping[str, int], recipes: Recipes = Recipes()) -> list[list[str]]:  # noqa: B008
    """Augmentations, by the views of each, whose views are the same pictures, so that their columns are equal.

    Symmetries are counted through in one order, the plain image first, so equally many of two augmentations are equal.

    >>> same_views({"none": 1, "flip": 2, "dihedral": 2, "rotate": 2})
    [['flip', 'dihedral']]
    """
    alike: dict[int, list[str]] = {}
    for name, views in augmentations.items():
        if recipes.get(name).starts_plain:
            alike.setdefault(views, []).append(name)
    return [names for names in alike.values() if len(names) > 1]
