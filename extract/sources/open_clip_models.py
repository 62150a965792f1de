"""Image towers of OpenCLIP; an extra of hamcache."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch

from hamcache.extract.errors import UnknownBackboneError
from hamcache.extract.feature_kinds import require_kinds, spaced, stage_features, token_features
from hamcache.extract.names import CLS, CLS_MEAN, MEAN, OPEN_CLIP, PRE_LOGITS, STAGES
from hamcache.extract.precision import arithmetic
from hamcache.extract.sources.source import BackboneSpec, Built, missing_extra
from hamcache.extract.weights import (
    availability,
    file_state,
    is_in_hub_cache,
    load_every_key,
    require_hub,
    require_hub_files,
)

FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
TOWER = "visual."


def build(spec: BackboneSpec, name: str, pretrained: bool) -> Built:
    """Build the image tower of a model of OpenCLIP; see `Source`.

    A file of weights may be that of the whole model: its text tower is left out.
    """
    open_clip = _library(spec.name)
    model_name, _, tag = name.removeprefix(OPEN_CLIP).partition("@")
    _require_known(open_clip, name, model_name)
    pretrained = pretrained and not spec.weights
    if pretrained:
        _require_tag(open_clip, name, model_name, tag)
        config = open_clip.get_pretrained_cfg(model_name, tag)
        if config["hf_hub"]:
            require_hub_files(name, config["hf_hub"].strip("/"), FILES)
        else:
            require_hub(name, "/".join(config["url"].split("/")[:3]))
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # that a model without weights is random is what was asked for
    try:
        model = open_clip.create_model(model_name, pretrained=tag if pretrained else None)
    finally:
        logging.disable(before)
    module = model.visual
    if spec.weights:
        state = file_state(Path(spec.weights))
        tower = {key.removeprefix(TOWER): value for key, value in state.items() if key.startswith(TOWER)}
        load_every_key(module, tower or state, None, spec.weights)
    given = module.preprocess_cfg
    size = given["size"]
    data = {
        "input_size": (3, *((size, size) if isinstance(size, int) else size)),
        "crop_pct": 1.0,
        "interpolation": given["interpolation"],
        "mean": given["mean"],
        "std": given["std"],
    }
    return Built(module, data, _TowerForward(module, data["input_size"]))


def origin(name: str) -> str:
    """Origin of the weights; see `Source`."""
    open_clip = _library(name)
    model_name, _, tag = name.removeprefix(OPEN_CLIP).partition("@")
    _require_known(open_clip, name, model_name)
    if not tag:
        tags = open_clip.list_pretrained_tags_by_model(model_name)
        return f"no tag was named (there are {', '.join(tags) or 'none'}): give one, or a file with --weights"
    _require_tag(open_clip, name, model_name, tag)
    config = open_clip.get_pretrained_cfg(model_name, tag)
    repository = config["hf_hub"].strip("/")
    is_here = bool(repository) and is_in_hub_cache(repository, FILES)
    return f"{repository or config['url']}, {availability(is_here)}"


def _library(name: str) -> Any:
    try:
        import open_clip
    except ImportError as error:
        raise missing_extra(name, "open-clip", error) from error
    return open_clip


def _require_known(open_clip: Any, name: str, model_name: str) -> None:
    if model_name in open_clip.list_models():
        return
    near = get_close_matches(model_name, open_clip.list_models(), n=3)
    hint = f" Did you mean {' or '.join(OPEN_CLIP + n for n in near)}?" if near else ""
    raise UnknownBackboneError(f"Expected a model of OpenCLIP, got {name!r}.{hint}")


def _require_tag(open_clip: Any, name: str, model_name: str, tag: str) -> None:
    tags = open_clip.list_pretrained_tags_by_model(model_name)
    if tag not in tags:
        raise UnknownBackboneError(
            f"Expected {OPEN_CLIP}{model_name}@TAG with a tag out of {', '.join(tags) or '(none)'}, got {name!r}. "
            f"Name one, or give a file: --weights {OPEN_CLIP}{model_name}=FILE."
        )


class _TowerForward:
    """Features of an image tower; `pre_logits` is what OpenCLIP's `encode_image` gives, before it is normalised."""

    def __init__(self, module: Any, input_size: Sequence[int]) -> None:
        self._module = module
        with torch.no_grad():
            image = torch.zeros(1, *input_size, device=next(module.parameters()).device)
            output = module.eval().forward_intermediates(image, output_extra_tokens=True)
        self._indices = spaced(len(output["image_intermediates"]))
        self._n_prefix = 0
        for tokens in output.get("image_intermediates_prefix") or ():
            self._n_prefix = tokens.shape[1]
        self.kinds: tuple[str, ...] = (PRE_LOGITS, STAGES)
        # Only where the last norm is that of the tokens, and not of a vector pooled from them.
        is_plain = hasattr(module, "ln_post") and module.attn_pool is None and not module.final_ln_after_pool
        if self._n_prefix and is_plain:
            self.kinds += (CLS, MEAN, CLS_MEAN)

    def __call__(
        self, batch: torch.Tensor, kinds: Sequence[str] = (PRE_LOGITS,), precision: str = "fp32"
    ) -> dict[str, torch.Tensor]:
        require_kinds(kinds, self.kinds)
        tokens = None
        with arithmetic(precision, batch.device.type):
            output = self._module.forward_intermediates(batch, indices=self._indices, output_extra_tokens=True)
            if CLS in self.kinds:
                prefix = output["image_intermediates_prefix"][-1].float()
                patches = output["image_intermediates"][-1].float().flatten(2).mT
                tokens = self._module.ln_post(torch.cat([prefix, patches], dim=1))
        features = {PRE_LOGITS: output["image_features"].float()} if PRE_LOGITS in kinds else {}
        if STAGES in kinds:
            features[STAGES] = stage_features(output["image_intermediates"])
        if tokens is not None:
            features |= token_features(tokens.float(), self._n_prefix, kinds)
        return features
