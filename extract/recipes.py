"""Recipes: the augmentations that names stand for, packaged ones and one's own; every command asks here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hamcache.data.workspace import Workspace
from hamcache.extract.augmentations import (
    Augmentation,
    declared_augmentation,
    load_augmentations,
    packaged_augmentations,
    unknown_augmentation,
)
from hamcache.extract.own_functions import digested


@dataclass(frozen=True)
class Recipes:
    """Augmentations by name.

    Attributes:
        own: one's own; they hide packaged ones of the same name.
        given: names of those that were given for this command, and not found in the workspace.
    """

    own: Mapping[str, Augmentation] = field(default_factory=dict)
    given: frozenset[str] = frozenset()

    @classmethod
    def of_steps(cls, steps: Mapping[str, Any]) -> Recipes:
        """Those of a configuration: steps by name, as a YAML file has them."""
        return cls({name: declared_augmentation(name, inner) for name, inner in steps.items()})

    def over(self, others: Recipes) -> Recipes:
        """These, and those of others that have other names."""
        return Recipes({**others.own, **self.own}, self.given)

    @property
    def names(self) -> list[str]:
        """All names, the packaged ones first."""
        return list(dict.fromkeys([*packaged_augmentations(), *self.own]))

    def __contains__(self, name: str) -> bool:
        return name in self.own or name in packaged_augmentations()

    def get(self, name: str) -> Augmentation:
        """The augmentation of a name; code of one's own is in it by its digest.

        Raises:
            AugmentationError: an unknown name, of which the nearest one is offered; or code that can't be digested.
        """
        augmentation = self.own.get(name) or packaged_augmentations().get(name)
        if augmentation is None:
            raise unknown_augmentation(name, self.names)
        if augmentation.function is None or augmentation.function.code is not None:
            return augmentation
        return augmentation.model_copy(update={"function": digested(augmentation.function)})

    def placed(self, augmentation: Augmentation) -> Augmentation:
        """An augmentation from a key, which doesn't say where its code lies, with the place that is known here."""
        own = self.own.get(augmentation.name)
        if augmentation.function is None or own is None or own.function is None:
            return augmentation
        if own.function.call != augmentation.function.call:
            return augmentation
        function = augmentation.function.model_copy(update={"place": own.function.place})
        return augmentation.model_copy(update={"function": function})

    def placing(self, others: Recipes) -> Recipes:
        """Others, their code where it lies as these know."""
        return Recipes({name: self.placed(other) for name, other in others.own.items()}, others.given)


def recipes_of(workspace: Workspace, file: Path | None = None) -> Recipes:
    """Packaged recipes, over them those of the workspace's `augmentations.yaml`, over them those of a file.

    Raises:
        AugmentationError: a recipe of one of the files is ill-formed.
    """
    of_workspace = load_augmentations(workspace.augmentations) if workspace.augmentations.is_file() else {}
    given = load_augmentations(file) if file is not None else {}
    return Recipes({**of_workspace, **given}, frozenset(given))
