"""Augmentations of one's own in a configuration: it carries the recipes that it uses, so that it works elsewhere."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hamcache.extract.augmentations import load_augmentations, packaged_augmentations, unknown_augmentation
from hamcache.extract.recipes import Recipes
from hamcache.pipeline.errors import ConfigError

RECIPES = "recipes"
"""Key of a configuration: name -> steps."""


def recipe_settings(recipes: Recipes) -> dict[str, Any]:
    """Recipes as settings of a configuration: those given for this command go over its own, those of the workspace do
    not, since a run's configuration says what it was trained with."""
    found = {name: own.steps for name, own in recipes.own.items() if name not in recipes.given}
    given = {f"{RECIPES}.{name}": recipes.own[name].steps for name in sorted(recipes.given)}
    return {**({RECIPES: found} if found else {}), **given}


def with_known(own: Any, found: Any) -> Any:
    """The recipes of a configuration, and under them others that are known."""
    is_both = isinstance(own, Mapping) and isinstance(found, Mapping)
    return {**found, **own} if is_both else found


def from_file(recipes: Any) -> Any:
    """Steps by name, where a file of them may be named instead."""
    if not isinstance(recipes, str):
        return recipes
    return {name: augmentation.steps for name, augmentation in load_augmentations(Path(recipes)).items()}


def in_use(recipes: Mapping[str, Any], blocks: Iterable[str], net: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The recipes of a configuration that its blocks and its net name.

    Args:
        recipes: Steps by name.
        blocks: Augmentations of the blocks, which may be known to the cache alone.
        net: Parameters of the net, whose augmentations must be known.
        source: Where the configuration came from, for the error.

    Raises:
        ConfigError: A net's augmentation is unknown, or code of one's own can't be used.
    """
    named = {key: str(net[key]) for key in ("augmentation", "predict_augmentation") if key in net}
    book = Recipes.of_steps(recipes)
    for key, name in named.items():
        if name not in book:
            raise ConfigError(f"{source}: net.{key}: {unknown_augmentation(name, book.names)}")
    return used(recipes, {*blocks, *named.values()})


def used(recipes: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The recipes of these names that are not packaged; code in them by its digest."""
    book, packaged = Recipes.of_steps(recipes), packaged_augmentations()
    return {
        name: book.get(name).steps for name in sorted({*names} & {*book.own}) if book.own[name] != packaged.get(name)
    }


def words_in(content: Any) -> set[str]:
    """Every text among the values of a configuration that is not checked yet."""
    if isinstance(content, Mapping):
        return set().union(*map(words_in, content.values()))
    if isinstance(content, list | tuple):
        return set().union(*map(words_in, content))
    return {content} if isinstance(content, str) else set()
