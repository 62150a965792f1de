"""Vision towers of the transformers library, from a model hub or a folder; an extra of hamcache."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hamcache.extract.errors import BackboneCodeError, HubUnreachableError, UnknownBackboneError
from hamcache.extract.feature_kinds import require_kinds, spaced, stage_features, token_features
from hamcache.extract.names import CLS, CLS_MEAN, MEAN, PRE_LOGITS, STAGES, TRANSFORMERS
from hamcache.extract.precision import arithmetic
from hamcache.extract.sources.source import BackboneSpec, Built, missing_extra
from hamcache.extract.weights import availability, file_state, is_in_hub_cache, load_every_key, require_hub_files

INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}
FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


def build(spec: BackboneSpec, name: str, pretrained: bool) -> Built:
    """Build the vision tower of a model of the transformers library; see `Source`."""
    try:
        import transformers
    except ImportError as error:
        raise missing_extra(spec.name, "transformers", error) from error
    place = name.removeprefix(TRANSFORMERS)
    if not Path(place).is_dir():
        require_hub_files(name, place, ("config.json",))
    try:
        config = transformers.AutoConfig.from_pretrained(place)
        processor = transformers.AutoImageProcessor.from_pretrained(place)
        options = {"add_pooling_layer": False} if _may_leave_out_pooling(config) else {}
        if pretrained and not spec.weights:
            model, report = transformers.AutoModel.from_pretrained(
                place, dtype=torch.float32, output_loading_info=True, **options
            )
        else:
            model, report = transformers.AutoModel.from_config(config, **options), {"missing_keys": []}
    except HubUnreachableError:
        raise
    except Exception as error:  # no such folder or repository, one of another kind, or without a processor
        raise UnknownBackboneError(
            f"Expected a model of the transformers library with config.json and preprocessor_config.json in {place}, "
            f"got an error: {error}."
        ) from error
    is_pair = hasattr(model, "vision_model")
    missing = sorted(key for key in report["missing_keys"] if not is_pair or key.startswith("vision_model."))
    if missing:
        raise UnknownBackboneError(
            f"Expected every tensor of the vision tower in {place}, got {len(missing)} missing "
            f"({', '.join(missing[:3])}). They would be random."
        )
    module = model.vision_model if is_pair else model
    if spec.weights:
        load_every_key(module, file_state(Path(spec.weights)), None, spec.weights)
    data = _data_config(processor)
    return Built(module, data, _VisionForward(module, data["input_size"]))


def origin(name: str) -> str:
    """Origin of the weights; see `Source`."""
    place = name.removeprefix(TRANSFORMERS)
    if Path(place).is_dir():
        return f"the folder {place}"
    return f"{place} on the Hugging Face hub, {availability(is_in_hub_cache(place, FILES))}"


def _may_leave_out_pooling(config: Any) -> bool:
    """True for a model whose pooling layer, which published weights often lack, is optional."""
    from transformers import MODEL_MAPPING

    model = MODEL_MAPPING.get(type(config), None)
    return inspect.isclass(model) and "add_pooling_layer" in inspect.signature(model).parameters


def _data_config(processor: Any) -> dict[str, Any]:
    """A data configuration from an image processor."""
    given = processor.to_dict()
    size, crop, factor = given["size"], given.get("crop_size"), given.get("rescale_factor") or 1 / 255
    if not abs(factor * 255 - 1) < 1e-6:
        raise BackboneCodeError(
            f"Expected an image processor that brings pixels to [0, 1], got rescale_factor {factor}. Give the network "
            "as module:factory, with the preprocessing declared."
        )
    shortest = size.get("shortest_edge") or min(size.get("height") or 0, size.get("width") or 0)
    if given.get("do_center_crop") and crop:
        target = (crop["height"], crop["width"])
    else:
        target = (size.get("height") or shortest, size.get("width") or shortest)
    do_normalize = given.get("do_normalize", True)
    return {
        "input_size": (3, *target),
        "crop_pct": given.get("crop_pct") or min(1.0, min(target) / shortest),
        "interpolation": INTERPOLATIONS.get(int(given.get("resample") or 3), "bicubic"),
        "mean": given["image_mean"] if do_normalize else (0, 0, 0),
        "std": given["image_std"] if do_normalize else (1, 1, 1),
    }


class _VisionForward:
    """Features of a vision tower: of its `last_hidden_state`, `pooler_output` and `hidden_states`."""

    def __init__(self, module: Any, input_size: Sequence[int]) -> None:
        self._module = module
        with torch.no_grad():
            image = torch.zeros(1, *input_size, device=next(module.parameters()).device)
            output = module.eval()(image, output_hidden_states=True)
        self.kinds: tuple[str, ...] = (PRE_LOGITS, STAGES)
        self._n_prefix = 0
        if output.last_hidden_state.ndim == 3:
            patch = getattr(module.config, "patch_size", None) or 1
            sides = (patch, patch) if isinstance(patch, int) else tuple(patch)
            self._grid = (input_size[1] // sides[0], input_size[2] // sides[1])
            self._n_prefix = max(0, output.last_hidden_state.shape[1] - self._grid[0] * self._grid[1])
            self.kinds += (CLS, MEAN, CLS_MEAN) if self._n_prefix else (MEAN,)

    def __call__(
        self, batch: torch.Tensor, kinds: Sequence[str] = (PRE_LOGITS,), precision: str = "fp32"
    ) -> dict[str, torch.Tensor]:
        require_kinds(kinds, self.kinds)
        with arithmetic(precision, batch.device.type):
            output = self._module(batch, output_hidden_states=STAGES in kinds)
        last = output.last_hidden_state.float()
        features = token_features(last, self._n_prefix, kinds) if last.ndim == 3 else {}
        if PRE_LOGITS in kinds:
            features[PRE_LOGITS] = self._pooled(output, last)
        if STAGES in kinds:
            features[STAGES] = stage_features(self._stages(output))
        return features

    def _pooled(self, output: Mapping[str, Any], last: torch.Tensor) -> torch.Tensor:
        """The model's own pooled vector; without one the class token, or the mean."""
        pooled = output.get("pooler_output")
        if pooled is not None:
            return pooled.float().flatten(1)
        if last.ndim == 4:
            return last.mean(dim=(2, 3))
        return last[:, 0] if self._n_prefix else last.mean(dim=1)

    def _stages(self, output: Mapping[str, Any]) -> list[torch.Tensor]:
        """Maps `[n, c, h, w]` after each stage; the first hidden state is what goes into the first one."""
        states = list(output.get("reshaped_hidden_states") or output["hidden_states"])[1:]
        taken = spaced(len(states))
        states = states if taken is None else [states[number] for number in taken]
        return [state if state.ndim == 4 else state[:, self._n_prefix :].mT.unsqueeze(-1) for state in states]
