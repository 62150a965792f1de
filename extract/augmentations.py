"""Augmentations: recipes declared in `configs/augmentations.yaml`, checked here, and part of every feature key."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hamcache.cache.keys import FeatureKey
from hamcache.data.documents import parse_yaml, read_file
from hamcache.data.errors import DocumentError
from hamcache.data.unfit import unfit
from hamcache.extract.errors import AugmentationError

Share = Annotated[float, Field(ge=0, le=1)]
KERNELS = 2
"""Version of what carries out random steps (`extract.kernels`): part of every key of random views, and of no other.
Keys of version 1, which resampled and recoloured at the canvas's size, do not name it."""
UNBOUNDED = 1_000_000
"""Distinct views of an augmentation that draws from a continuum."""


class _Step(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Flip(_Step):
    """Mirror left-right and top-bottom, each with a probability."""

    horizontal: Share = 0.0
    vertical: Share = 0.0


class Affine(_Step):
    """Rotate, scale and shift in one resampling."""

    degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1.0, 1.0)
    translate: Share = 0.0
    corners: Literal["black", "reflect"] = "black"


class Color(_Step):
    """Brightness, contrast and saturation factors from [1 - x, 1 + x], hue shift from [-x, x]."""

    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0


class Blur(_Step):
    """Gaussian blur, sigma in thousandths of the image's short side."""

    sigma: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    probability: Share = 1.0


class Augmentation(_Step):
    """A named augmentation. Steps run in the order of these fields.

    `canvas`: an image whose short side is longer, in pixels, is reduced to it (antialiased) before random steps, which
    would otherwise cost more than the networks; choose it larger for backbones with inputs above 280 pixels.
    """

    name: str
    canvas: Annotated[int, Field(ge=32)] = 320
    symmetry: Literal["flips", "dihedral"] | None = None
    flip: Flip | None = None
    affine: Affine | None = None
    color: Color | None = None
    blur: Blur | None = None

    @classmethod
    def of(cls, key: FeatureKey) -> Augmentation:
        """The augmentation that a key of features holds."""
        return cls.model_validate({name: step for name, step in key.augmentation.items() if name != "kernels"})

    @model_validator(mode="after")
    def _one_kind_of_flip(self) -> Augmentation:
        if self.symmetry and self.flip:
            raise ValueError(
                "Expected either symmetry or flip, got both, which mirror the image: drop flip or symmetry"
            )
        return self

    @property
    def is_random(self) -> bool:
        """True if anything is drawn at random (beside the symmetries, which are counted through)."""
        return any((self.flip, self.affine, self.color, self.blur))

    @property
    def distinct_views(self) -> int:
        """Number of different views; asking for more gives these."""
        if self.is_random:
            return UNBOUNDED
        return {None: 1, "flips": 4, "dihedral": 8}[self.symmetry]

    @property
    def starts_plain(self) -> bool:
        """True if view 0 is the plain image."""
        return not self.is_random

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the key; what has no effect is left out, so that a later kind of step changes no key."""
        if not self.is_random:
            return self.model_dump(mode="json", exclude_none=True, exclude={"canvas"})
        return {**self.model_dump(mode="json", exclude_none=True), "kernels": KERNELS}


def drawn_as_now(key: FeatureKey) -> bool:
    """True if views under this key look as this version draws them: random ones of an older version do not."""
    return not Augmentation.of(key).is_random or key.augmentation.get("kernels", 1) == KERNELS


def load_augmentations(path: Path | None = None) -> dict[str, Augmentation]:
    """Every augmentation of a YAML file (default: the one that comes with the package), by name.

    Raises:
        AugmentationError: a recipe is ill-formed; says which, and where.
    """
    packaged = Path(str(files("hamcache.configs").joinpath("augmentations.yaml")))
    try:
        declared = parse_yaml(read_file(path or packaged).decode("utf-8"))
    except (OSError, DocumentError, UnicodeDecodeError) as error:
        raise AugmentationError(f"{path}: cannot be read: {error}. See configs/augmentations.yaml.") from None
    if not isinstance(declared, dict):
        raise AugmentationError(
            f"Expected recipes by name in {path}, got {type(declared).__name__}. See configs/augmentations.yaml."
        )
    augmentations = {}
    for name, steps in declared.items():
        try:
            augmentations[name] = Augmentation(name=name, **(steps or {}))
        except (ValidationError, TypeError) as error:
            fields = Augmentation.model_fields
            problems = unfit(error, fields) if isinstance(error, ValidationError) else str(error)
            raise AugmentationError(
                f"Expected a well-formed recipe of {name!r}, got {problems}. See configs/augmentations.yaml."
            ) from None
    return augmentations


def get_augmentation(name: str, path: Path | None = None) -> Augmentation:
    """The augmentation of a name; an unknown name offers the nearest one."""
    augmentations = load_augmentations(path)
    if name not in augmentations:
        near = get_close_matches(name, augmentations, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise AugmentationError(f"Expected an augmentation out of {', '.join(augmentations)}, got {name!r}.{hint}")
    return augmentations[name]
