"""Names of backbones, without importing a network library.

- `NAME` or `NAME.TAG`: a timm model, the tag naming its weights (`resnet34.a1_in1k`);
- `torchvision/NAME`: a torchvision model with its default ImageNet weights;
- `random/NAME`: the same network with random weights, for checks; the name says so wherever it is shown.
"""

from __future__ import annotations

EMBEDDED = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")
"""Backbones whose ImageNet weights are installed with the package: no network needed."""

ALIASES = {
    # The founding project used torchvision's ImageNet weights, which timm serves under this tag.
    "resnet34": "resnet34.tv_in1k",
    "densenet121": "densenet121.tv_in1k",
    **{f"{name}.in1k": name for name in EMBEDDED},
}
RANDOM = "random/"
TORCHVISION = "torchvision/"


def full_name(name: str) -> str:
    """The one name under which a backbone's features are stored (short names become full ones)."""
    return ALIASES.get(name, name)


def split_list(names: str) -> list[str]:
    """`"A, B+C"` as full names, repeats dropped, order kept."""
    parts = [part.strip() for part in names.replace("+", ",").split(",")]
    return list(dict.fromkeys(full_name(part) for part in parts if part))
