"""Augmentations: recipes declared in `configs/augmentations.yaml`, checked here, and part of every feature key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hamcache.cache.keys import FeatureKey
from hamcache.data.documents import parse_yaml, read_file
from hamcache.data.errors import DocumentError
from hamcache.data.named_code import CODE
from hamcache.data.nearest import nearest
from hamcache.data.unfit import unfit
from hamcache.extract.errors import AugmentationError

Share = Annotated[float, Field(ge=0, le=1)]
KERNELS = 2
"""Version of what carries out random steps (`extract.kernels`): part of every key of random views, and of no other.
Keys of version 1, which resampled and recoloured at the canvas's size, do not name it."""
PLAIN_IMAGE = "none"
"""Name of the augmentation that does nothing."""
NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
UNBOUNDED = 1_000_000
"""Distinct views of an augmentation that draws from a continuum."""


class _Step(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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


class HairRemoval(_Step):
    """Paint thin dark lines over with what lies beside them.

    `contrast`: levels of 255 by which a hair is darker. `width`: of the widest hair, in thousandths of the image's
    short side.
    """

    contrast: Annotated[float, Field(gt=0, le=255)] = 10.0
    width: Annotated[float, Field(gt=0, le=100)] = 25.0


class Constancy(_Step):
    """Divide the colours by that of the light: shades of grey, the mean of a Minkowski norm (Finlayson, Trezzi 2004).

    `power`: of the norm; 1 is the grey world, a large one the white patch. `strength`: 1 for all of it.
    """

    power: Annotated[float, Field(ge=1, le=100)] = 6.0
    strength: Share = 1.0


class Hairs(_Step):
    """Draw hairs over the image: a number of them from `count`, with a probability."""

    count: tuple[Annotated[int, Field(ge=1, le=200)], Annotated[int, Field(ge=1, le=200)]] = (2, 16)
    probability: Share = 1.0

    @model_validator(mode="after")
    def _fewest_first(self) -> Hairs:
        if self.count[0] > self.count[1]:
            raise ValueError("expected the fewest and then the most")
        return self


class OwnFunction(_Step):
    """A function of one's own (see `extract.own_functions`).

    Attributes:
        call: `package.module:function` or `file.py:function`.
        code: digest of what decides its output; None until the recipe is used.
        place: the file, as it can be found from here; it names nothing.
    """

    call: Annotated[str, Field(pattern=f"^{CODE.pattern}$")]
    code: str | None = None
    place: str | None = None


class Augmentation(_Step):
    """A named augmentation. Steps run in the order of these fields.

    `canvas`: an image whose short side is longer, in pixels, is reduced to it (antialiased) before random steps, those
    on hairs and those of one's own, which would otherwise cost more than the networks; choose it larger for backbones
    with inputs above 280 pixels.
    """

    name: str
    canvas: Annotated[int, Field(ge=32)] = 320
    hair_removal: HairRemoval | None = None
    constancy: Constancy | None = None
    hairs: Hairs | None = None
    function: OwnFunction | None = None
    symmetry: Literal["flips", "dihedral"] | None = None
    flip: Flip | None = None
    affine: Affine | None = None
    color: Color | None = None
    blur: Blur | None = None

    @classmethod
    def of(cls, key: FeatureKey) -> Augmentation:
        """The augmentation that a key of features holds."""
        return cls.model_validate({name: step for name, step in key.augmentation.items() if name != "kernels"})

    @field_validator("function", mode="before")
    @classmethod
    def _in_one_word(cls, function: Any) -> Any:
        return {"call": function} if isinstance(function, str) else function

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
        return any((self.hairs, self.function, self.flip, self.affine, self.color, self.blur))

    @property
    def distinct_views(self) -> int:
        """Number of different views; asking for more gives these."""
        if self.is_random:
            return UNBOUNDED
        return {None: 1, "flips": 4, "dihedral": 8}[self.symmetry]

    @property
    def starts_plain(self) -> bool:
        """True if view 0 is the plain image, and the others are its symmetries."""
        return not (self.is_random or self.hair_removal or self.constancy)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the key; what has no effect is left out, so that a later kind of step changes no key."""
        unnamed: dict[str, Any] = {"function": {"place"}}
        if self.starts_plain:
            unnamed["canvas"] = True
        content = self.model_dump(mode="json", exclude_none=True, exclude=unnamed)
        return content if self.starts_plain else {**content, "kernels": KERNELS}

    @property
    def steps(self) -> dict[str, Any]:
        """The recipe as a YAML file has it below the name."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"name"})


def drawn_as_now(key: FeatureKey) -> bool:
    """True if views under this key look as this version draws them: drawn ones of an older version do not."""
    return Augmentation.of(key).starts_plain or key.augmentation.get("kernels", 1) == KERNELS


@cache
def packaged_augmentations() -> Mapping[str, Augmentation]:
    """Every augmentation that comes with the package, by name."""
    return load_augmentations()


def load_augmentations(path: Path | None = None) -> dict[str, Augmentation]:
    """Every augmentation of a YAML file (default: the one that comes with the package), by name.

    Raises:
        AugmentationError: a recipe is ill-formed; says which, and where.
    """
    path = path or Path(str(files("hamcache.configs").joinpath("augmentations.yaml")))
    try:
        declared = parse_yaml(read_file(path).decode("utf-8"))
    except (OSError, DocumentError, UnicodeDecodeError) as error:
        raise AugmentationError(f"{path}: cannot be read: {error}. See configs/augmentations.yaml.") from None
    if not isinstance(declared, dict):
        raise AugmentationError(
            f"Expected recipes by name in {path}, got {type(declared).__name__}. See configs/augmentations.yaml."
        )
    return {str(name): declared_augmentation(name, steps, path.parent) for name, steps in declared.items()}


def declared_augmentation(name: Any, steps: Any, folder: Path | None = None) -> Augmentation:
    """One recipe of a YAML file.

    Args:
        name: its name.
        steps: what stands below it.
        folder: where files with functions are looked for, if not here.

    Raises:
        AugmentationError: it is ill-formed; says where.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise AugmentationError(
            f"Expected letters, digits, - and _ as the name of an augmentation, got {name!r:.100}. Call it otherwise."
        )
    if not isinstance(steps, dict | None) or (steps and "name" in steps):
        got = "a step `name`" if isinstance(steps, dict) else f"{steps!r:.100}"
        raise AugmentationError(f"Expected steps below {name!r}, got {got}. See configs/augmentations.yaml.")
    try:
        augmentation = Augmentation(name=name, **(steps or {}))
    except (ValidationError, TypeError) as error:
        problems = unfit(error, Augmentation.model_fields) if isinstance(error, ValidationError) else str(error)
        raise AugmentationError(
            f"Expected a well-formed recipe of {name!r}, got {problems}. See configs/augmentations.yaml."
        ) from None
    if name == PLAIN_IMAGE and not (augmentation.starts_plain and augmentation.distinct_views == 1):
        raise AugmentationError(f"Expected no steps in {name!r}, the plain image, got some. Call them otherwise.")
    return (
        augmentation
        if augmentation.function is None
        else augmentation.model_copy(update={"function": _placed(augmentation.function, folder)})
    )


def _placed(function: OwnFunction, folder: Path | None) -> OwnFunction:
    """A function whose file, if it is one, can be found from here; by its own name, wherever it lies."""
    file, _, attribute = function.call.rpartition(":")
    if function.place is not None or not file.endswith(".py"):
        return function
    place = Path(file) if folder is None else folder / file
    return function.model_copy(update={"call": f"{place.name}:{attribute}", "place": str(place)})


def get_augmentation(name: str) -> Augmentation:
    """The packaged augmentation of a name (`extract.recipes` knows one's own as well)."""
    augmentations = packaged_augmentations()
    if name not in augmentations:
        raise unknown_augmentation(name, augmentations)
    return augmentations[name]


def unknown_augmentation(name: str, known: Iterable[str]) -> AugmentationError:
    """The error for a name that no augmentation has; offers the nearest one."""
    near = nearest(name, known)
    hint = "" if near is None else f" Did you mean {near!r}?"
    return AugmentationError(
        f"Expected an augmentation out of {', '.join(known)}, got {name!r:.100}.{hint} Recipes of your own stand in "
        "augmentations.yaml in the workspace, or in the file that --recipes names."
    )
