"""Names of backbones, without importing a network library.

- `NAME` or `NAME.TAG`: a timm model, the tag naming its weights (`resnet34.a1_in1k`);
- `torchvision/NAME`: a torchvision model with its default ImageNet weights;
- `random/NAME`: the same network with random weights, for checks; the name says so wherever it is shown.

Behind a colon may stand the kind of features (see `extract.feature_kinds`): `NAME:stages`; without it, `pre_logits`.
"""

from __future__ import annotations

from hamcache.extract.errors import UnknownKindError

EMBEDDED = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")
"""Backbones whose ImageNet weights are installed with the package: no network needed."""

ALIASES = {
    # The founding project used torchvision's ImageNet weights, which timm serves under this tag.
    "resnet34": "resnet34.tv_in1k",
    "densenet121": "densenet121.tv_in1k",
    **{f"{name}.in1k": name for name in EMBEDDED},
}
PRE_LOGITS, STAGES = KINDS = ("pre_logits", "stages")
"""Kinds of features (see `extract.feature_kinds`)."""
RANDOM = "random/"
TORCHVISION = "torchvision/"


def split_kind(name: str) -> tuple[str, str]:
    """`"NAME:stages"` as (full name of the backbone, kind of features)."""
    backbone, colon, kind = name.partition(":")
    if colon and kind not in KINDS:
        raise UnknownKindError(f"Expected NAME or NAME:KIND with a kind out of {', '.join(KINDS)}, got {name!r}.")
    return ALIASES.get(backbone, backbone), kind or PRE_LOGITS


def full_name(name: str) -> str:
    """The one name under which features are stored: short names become full ones, the default kind is left out."""
    backbone, kind = split_kind(name)
    return backbone if kind == PRE_LOGITS else f"{backbone}:{kind}"


def split_list(names: str) -> list[str]:
    """`"A, B+C"` as full names, repeats dropped, order kept."""
    parts = [part.strip() for part in names.replace("+", ",").split(",")]
    return list(dict.fromkeys(full_name(part) for part in parts if part))
