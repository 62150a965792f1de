"""Names of backbones, without importing a network library.

- `NAME` or `NAME.TAG`: a timm model, the tag naming its weights (`resnet34.a1_in1k`);
- `NAME`: what an installed package offers (see `extract.sources.own_code`), or what was given from Python;
- `hf-hub:ORG/NAME`, `local-dir:PATH`: a timm model from a model hub, or from a folder;
- `torchvision/NAME`: a torchvision model with its default ImageNet weights;
- `open_clip/NAME@TAG`: the image tower of an OpenCLIP model;
- `transformers/ORG/NAME`, `transformers/PATH`: the vision tower of a model of the transformers library;
- `package.module:factory`, `file.py:factory`: what a function without arguments returns;
- `run:RUN_ID`: the network that a run fine-tuned;
- `random/NAME`: the same network with random weights, for checks; the name says so wherever it is shown.

Behind a last colon may stand the kind of features (see `extract.feature_kinds`): `NAME:stages`; without it,
`pre_logits`.
"""

from __future__ import annotations

from difflib import get_close_matches

from hamcache.data.named_code import is_place
from hamcache.extract.errors import UnknownKindError

EMBEDDED = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")
"""Backbones whose ImageNet weights are installed with the package: no network needed."""

ALIASES = {
    # The founding project used torchvision's ImageNet weights, which timm serves under this tag.
    "resnet34": "resnet34.tv_in1k",
    "densenet121": "densenet121.tv_in1k",
    **{f"{name}.in1k": name for name in EMBEDDED},
}
PRE_LOGITS, STAGES, CLS, MEAN, CLS_MEAN = KINDS = ("pre_logits", "stages", "cls", "mean", "cls_mean")
"""Kinds of features (see `extract.feature_kinds`)."""
RANDOM = "random/"
TORCHVISION = "torchvision/"
OPEN_CLIP = "open_clip/"
TRANSFORMERS = "transformers/"
HF_HUB = "hf-hub:"
LOCAL_DIR = "local-dir:"
RUN = "run:"
_WITH_COLON = (HF_HUB, LOCAL_DIR, RUN)


def split_kind(name: str) -> tuple[str, str]:
    """`"NAME:stages"` as (full name of the backbone, kind of features).

    Raises:
        UnknownKindError: what stands behind the last colon is neither a kind nor a part of the backbone's name.
    """
    name = name.removeprefix("./")
    backbone, colon, kind = name.rpartition(":")
    if not colon or kind not in KINDS or f"{backbone.removeprefix(RANDOM)}:" in _WITH_COLON:
        backbone, kind = name, PRE_LOGITS
    if ":" in backbone and not backbone.removeprefix(RANDOM).startswith(_WITH_COLON) and not is_code(backbone):
        raise UnknownKindError(f"Expected NAME or NAME:KIND with a kind out of {', '.join(KINDS)}, got {name!r}.")
    return ALIASES.get(backbone, backbone.rstrip("/")), kind


def is_code(backbone: str) -> bool:
    """True for `module:factory` and `file.py:factory`; a kind that is only misspelt is no factory.

    >>> is_code("mypackage.nets:build"), is_code("models/nets.py:build"), is_code("resnet34:stage")
    (True, True, False)
    """
    misspelt = get_close_matches(backbone.rpartition(":")[2], KINDS, n=1, cutoff=0.7)
    return is_place(backbone) and not backbone.startswith(_WITH_COLON) and not misspelt


def full_name(name: str) -> str:
    """The one name under which features are stored: short names become full ones, the default kind is left out."""
    backbone, kind = split_kind(name)
    return backbone if kind == PRE_LOGITS else f"{backbone}:{kind}"


def split_list(names: str) -> list[str]:
    """`"A, B+C"` as full names, repeats dropped, order kept."""
    parts = [part.strip() for part in names.replace("+", ",").split(",")]
    return list(dict.fromkeys(full_name(part) for part in parts if part))
