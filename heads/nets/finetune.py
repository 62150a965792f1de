"""Fine-tuning: a pretrained backbone with a new last layer, all of it trainable."""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hamcache.extract.backbones import Backbone, BackboneSpec, load_backbone
from hamcache.extract.errors import BackboneCodeError
from hamcache.extract.feature_kinds import FeatureForward
from hamcache.extract.names import PRE_LOGITS, RANDOM, full_name
from hamcache.heads.nets.folded_norms import Pairs, foldable_pairs, norms_folded
from hamcache.heads.nets.image_network import ImageNetwork, Layers
from hamcache.heads.nets.net_params import FinetuneParams
from hamcache.heads.network import draw_linear


class FineTuned(ImageNetwork):
    """A backbone and a linear layer on its features.

    In the phase `extraction` only the last layer is trained and the backbone stays in eval mode: it gives just the
    features the cache holds. In the phase `tuning` all layers are, but for the frozen ones; what is frozen keeps its
    batch norm statistics as well, and with `batch_norm: frozen` so does all the rest.
    """

    _features: FeatureForward

    def __init__(self, backbone: Backbone, params: FinetuneParams, n_classes: int, seed: int = 0):
        super().__init__()
        self.backbone = backbone.module
        self.preprocessing = backbone.preprocessing
        if params.image_size:
            self.preprocessing = replace(self.preprocessing, size=params.image_size)
        self.digest = backbone.digest
        self.precision = backbone.spec.precision
        self._features = backbone.forward
        self._params = params
        self.dropout = nn.Dropout(params.dropout)
        with torch.device("meta"):
            self.last = nn.Linear(backbone.dims()[PRE_LOGITS], n_classes)
        self.last.to_empty(device="cpu")
        draw_linear(self.last, torch.Generator().manual_seed(seed))
        self._phase = "extraction"
        self._pairs: Pairs | None = None
        _drop_classifier(self.backbone)

    def in_training(self) -> AbstractContextManager[None]:
        """Context in which norms with frozen statistics are computed inside the convolutions before them."""
        if self._params.batch_norm == "train":
            return super().in_training()
        if self._pairs is None:
            example = torch.zeros(1, 3, *self.preprocessing.size, device=self.last.weight.device)
            example[..., ::3, ::2] = 1.0  # not constant, so that a wrong fold can't hide
            was_training = self.backbone.training
            self._pairs = foldable_pairs(
                self.backbone.eval(), example, lambda batch: self._features(batch, (PRE_LOGITS,))[PRE_LOGITS]
            )
            self.train(was_training)
        return norms_folded(self.backbone, self._pairs)

    def forward(self, images: Tensor) -> Tensor:
        """Logits float32 `[n, C]` of images uint8 `[n, 3, *preprocessing.size]`."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._phase != "extraction"):
            features = self.features(images)
        return self.last(self.dropout(features))

    def features(self, images: Tensor) -> Tensor:
        """Features float32 `[n, dim]`, computed as `extract.backbones.Backbone` does."""
        return self._features(self.preprocessing.normalize(images), (PRE_LOGITS,), self.precision)[PRE_LOGITS]

    def trained_layers(self, phase: str) -> Layers:
        """The last layer alone (`extraction`), or with all layers that are not frozen (`tuning`)."""
        self._phase = phase
        depths = layer_depths(self.backbone)
        deepest = max(depths.values(), default=0)
        frozen = round(self._params.freeze_depth * (deepest + 1))
        by_depth: dict[int, list[nn.Parameter]] = {}
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(phase == "tuning" and depths[name] >= frozen)
            if parameter.requires_grad:
                by_depth.setdefault(depths[name], []).append(parameter)
        decay = self._params.layer_decay
        layers = [(by_depth[depth], decay ** (deepest + 1 - depth)) for depth in sorted(by_depth, reverse=True)]
        return [(list(self.last.parameters()), 1.0), *layers]

    def train(self, mode: bool = True) -> "FineTuned":
        """Train or eval mode; what is not trained stays in eval mode."""
        super().train(mode)
        if mode and self._phase == "extraction":
            self.backbone.eval()
        elif mode:
            for module in self.backbone.modules():
                parameters = list(module.parameters(recurse=False))
                is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
                is_frozen = bool(parameters) and not any(p.requires_grad for p in parameters)
                if is_frozen or (is_norm and self._params.batch_norm == "frozen"):
                    module.eval()
        return self


def layer_depths(backbone: Any) -> dict[str, int]:
    """Parameter name -> layer, counted from the image: timm's own grouping, else each module with parameters is one."""
    if hasattr(backbone, "group_matcher"):
        from timm.models import group_parameters

        return dict(group_parameters(backbone, backbone.group_matcher(coarse=False), reverse=True))
    owners = list(dict.fromkeys(name.rpartition(".")[0] for name, _ in backbone.named_parameters()))
    return {name: owners.index(name.rpartition(".")[0]) for name, _ in backbone.named_parameters()}


def build_finetune(
    params: FinetuneParams, n_classes: int, precision: str, seed: int, pretrained: bool = True
) -> FineTuned:
    """The network with the backbone's weights, or (for weights that are loaded afterwards) without."""
    name, weights = full_name(params.backbone), params.weights or None
    if not pretrained:
        name, weights = RANDOM + name.removeprefix(RANDOM), None
    spec = BackboneSpec(name, weights, params.fit, precision)
    backbone = load_backbone(spec, fold=False)
    if backbone.code is not None:  # which the fingerprint of a run does not hold
        raise BackboneCodeError(
            f"Expected a library's backbone to fine-tune, got {params.backbone!r}, code of your own. Extract its "
            "features instead."
        )
    return FineTuned(backbone, params, n_classes, seed)


def _drop_classifier(backbone: nn.Module) -> None:
    """Remove a timm network's classifier, which features do not pass through."""
    names = getattr(backbone, "pretrained_cfg", {}).get("classifier") or ()
    for name in (names,) if isinstance(names, str) else names:
        parent, _, child = name.rpartition(".")
        setattr(backbone.get_submodule(parent), child, nn.Identity())
