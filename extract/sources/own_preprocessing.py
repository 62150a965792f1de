"""Preprocessing that a user declares, as a data configuration: plain data only, for it is part of the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timm.data import resolve_data_config

from hamcache.extract.errors import BackboneCodeError
from hamcache.extract.preprocess import Preprocessing
from hamcache.extract.sources.torchvision_models import preset_config

DEFAULTS = {
    "size": 224,
    "crop_pct": 0.875,
    "interpolation": "bicubic",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}
"""What ImageNet's networks are evaluated with; for all that is not declared."""


def declared_config(declared: Any, module: Any) -> dict[str, Any]:
    """A data configuration from what was given beside a network.

    Args:
        declared: None (timm's own for a network of timm, else `DEFAULTS`), a mapping with some of the keys of
            `DEFAULTS`, a `Preprocessing`, or torchvision's preset of some weights (`weights.transforms()`).
        module: the network.

    Raises:
        BackboneCodeError: it is something else, or ill-formed.
    """
    if declared is None and getattr(module, "pretrained_cfg", None):
        return dict(resolve_data_config({}, model=module))
    if all(hasattr(declared, name) for name in ("crop_size", "resize_size", "mean", "std", "interpolation")):
        return preset_config(declared)
    if isinstance(declared, Preprocessing):
        declared = {name: getattr(declared, name) for name in DEFAULTS}
    if not isinstance(declared, Mapping | None):
        raise _refused(
            f"{declared!r}: code that can't be named exactly", "Further steps belong into the network's forward"
        )
    if unknown := sorted(set(declared or {}) - DEFAULTS.keys()):
        raise _refused(", ".join(map(repr, unknown)), "How images are fitted is said by --fit")
    given = {**DEFAULTS, **(declared or {})}
    try:
        size = (given["size"], given["size"]) if isinstance(given["size"], int) else tuple(given["size"])
        height, width = (int(side) for side in size)
        means, deviations = (tuple(float(value) for value in given[name]) for name in ("mean", "std"))
        crop = float(given["crop_pct"])
    except (TypeError, ValueError) as error:
        raise _refused(f"{dict(given)} ({error})", "Give numbers") from error
    is_fit = min(height, width) > 0 and 0 < crop <= 1 and min(deviations) > 0
    if not is_fit or not len(means) == len(deviations) == 3 or given["interpolation"] not in ("bilinear", "bicubic"):
        raise _refused(f"{dict(given)}", "Give three positive deviations, bilinear or bicubic, a share up to 1")
    return {
        "input_size": (3, height, width),
        "crop_pct": crop,
        "interpolation": given["interpolation"],
        "mean": means,
        "std": deviations,
    }


def _refused(got: str, advice: str) -> BackboneCodeError:
    return BackboneCodeError(
        f"Expected preprocessing as plain data, with keys out of {', '.join(DEFAULTS)}, got {got}. {advice}; a network "
        "that wants pixels in [0, 1] has mean (0, 0, 0) and std (1, 1, 1)."
    )
