"""A run as one torch module: from what its networks see of some images to calibrated probabilities and sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hamcache.cache.keys import DEFAULT_STORAGE
from hamcache.extract.augmentations import Augmentation
from hamcache.extract.backbones import Backbone, shared_backbone
from hamcache.extract.draws import ViewDraw, draw_view
from hamcache.extract.preprocess import Preprocessing
from hamcache.heads.logit_adjustment import LogitAdjusted
from hamcache.heads.nets.finetune import FineTuned
from hamcache.heads.views import ViewPolicy
from hamcache.pipeline.errors import ExportError
from hamcache.pipeline.evaluate.calibration import SMALLEST
from hamcache.pipeline.evaluate.conformal import SLACK, PredictionSets
from hamcache.pipeline.use.export.onnx_heads import Adjusted, module_of
from hamcache.pipeline.use.predict.new_features import BlockSource
from hamcache.pipeline.use.predict.predictor import Predictor


@dataclass(frozen=True)
class Seen:
    """Input of one network: the views of an image that it must see.

    Attributes:
        preprocessing: How the network wants it.
        draws: Symmetries of the image.
        stored_side: See `use.export.onnx_pixels.network_input`.
    """

    preprocessing: Preprocessing
    draws: tuple[ViewDraw, ...]
    stored_side: int | None = None


class Portable(nn.Module):
    """The computation of `Predictor.predict`, in the run's own arithmetic, without reading anything.

    Attributes:
        seen: What its inputs hold, one a network.
    """

    def __init__(self, predictor: Predictor, sets: PredictionSets) -> None:
        super().__init__()
        run, model = predictor.run, predictor.model
        self.run: _HeadRun | _NetRun
        if run.config.net is None:
            self.run = _HeadRun(model.sources, model.heads, run.config.features.views)
        else:
            self.run = _NetRun(model.heads, run.config.net.params)
        self.seen: tuple[Seen, ...] = self.run.seen
        self.temperature = predictor.temperature.value
        self.sets = _Sets(sets)
        self.eval().requires_grad_(False)

    def forward(self, pixels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Probabilities float32 `[n, C]` and sets bool `[n, C]` of float32 `[draws, n, 3, *size]` for each network."""
        logs = self.run(pixels).clamp_min(SMALLEST).log()
        proba = (logs / self.temperature).softmax(dim=1)
        return proba.float(), self.sets(proba)


def precision_of(predictor: Predictor) -> str:
    """The arithmetic that the run itself computes in: `bf16` if any of its networks does, else `fp32`."""
    if predictor.run.config.net is None:
        precisions = {source.spec.precision for source in predictor.model.sources}
    else:
        precisions = {getattr(head, "head", head).network_.precision for head in predictor.model.heads}
    return "bf16" if "bf16" in precisions else "fp32"


class _HeadRun(nn.Module):
    """Backbones, each once for all of its views; blocks joined; the mean of the folds' heads."""

    def __init__(self, sources: Sequence[BlockSource], heads: Sequence[Any], policy: ViewPolicy) -> None:
        super().__init__()
        self.is_independent = policy.pairing == "independent"
        specs = list(dict.fromkeys(source.spec for source in sources))
        backbones = [shared_backbone(spec) for spec in specs]
        draws = [_draws(source.augmentation, source.views) for source in sources]
        seen = []
        for spec, backbone in zip(specs, backbones, strict=True):
            wanted = [d for source, listed in zip(sources, draws, strict=True) if source.spec == spec for d in listed]
            seen.append(Seen(backbone.preprocessing, tuple(dict.fromkeys(wanted))))
        self.seen = tuple(seen)
        kinds = [tuple(sorted({source.kind for source in sources if source.spec == spec})) for spec in specs]
        self.networks = nn.ModuleList(_Backbone(b, k) for b, k in zip(backbones, kinds, strict=True))
        numbers = [specs.index(source.spec) for source in sources]
        self.blocks = [
            (number, source, [self.seen[number].draws.index(draw) for draw in listed])
            for number, source, listed in zip(numbers, sources, draws, strict=True)
        ]
        self.heads = nn.ModuleList(module_of(head) for head in heads)

    def forward(self, pixels: list[Tensor]) -> Tensor:
        features = [network(views) for network, views in zip(self.networks, pixels, strict=True)]
        blocks = [_chosen(_stored(features[number], source), places) for number, source, places in self.blocks]
        count = max(len(block) for block in blocks)
        if self.is_independent:
            blocks = [_chosen(block, [view % len(block) for view in range(count)]) for block in blocks]
        joined = torch.cat([block.expand(count, -1, -1) for block in blocks], dim=2)
        return torch.stack([head(joined) for head in self.heads]).mean(dim=0)


def _stored(features: Mapping[str, Tensor], source: BlockSource) -> Tensor:
    """Features of a block, rounded as those of its store."""
    of_kind = features[source.kind]
    return of_kind if source.key.storage == DEFAULT_STORAGE else of_kind.half().float()


class _Backbone(nn.Module):
    def __init__(self, backbone: Backbone, kinds: Sequence[str]) -> None:
        super().__init__()
        self.module, self.features, self.kinds = backbone.module, backbone.forward, kinds
        self.precision = backbone.spec.precision
        self.normalized = _Normalized(backbone.preprocessing)

    def forward(self, views: Tensor) -> dict[str, Tensor]:
        """Features `[draws, n, dim]` of each kind."""
        of_kind = self.features(self.normalized(views.flatten(0, 1)), self.kinds, self.precision)
        return {kind: features.unflatten(0, views.shape[:2]) for kind, features in of_kind.items()}


class _NetRun(nn.Module):
    """The mean of the folds' nets."""

    def __init__(self, heads: Sequence[Any], params: Mapping[str, Any]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(_Net(head) for head in heads)
        listed = _draws(getattr(heads[0], "head", heads[0]).predict_augmentation, params["predict_views"])
        draws = tuple(dict.fromkeys(listed))
        self.places = [draws.index(draw) for draw in listed]
        preprocessing = getattr(heads[0], "head", heads[0]).network_.preprocessing
        self.seen = (Seen(preprocessing, draws, params["stored_side"]),)

    def forward(self, pixels: list[Tensor]) -> Tensor:
        views = _chosen(pixels[0], self.places)
        return torch.stack([net(views) for net in self.nets]).mean(dim=0)


class _Net(nn.Module):
    def __init__(self, head: Any) -> None:
        super().__init__()
        net = getattr(head, "head", head)
        self.network, self.loss = net.network_, net._loss()
        self.adjusted = Adjusted(head.prior_, head.tau) if isinstance(head, LogitAdjusted) else nn.Identity()

    def forward(self, views: Tensor) -> Tensor:
        images = views.flatten(0, 1)
        if isinstance(self.network, FineTuned):  # its own `forward` switches gradients, which no graph can hold
            logits = self.network.last(self.network.features(images))
        else:
            logits = self.network(images)
        proba = self.loss.probabilities(logits).unflatten(0, views.shape[:2]).mean(dim=0).double()
        return self.adjusted(proba / proba.sum(dim=1, keepdim=True))


class _Normalized(nn.Module):
    """`Preprocessing.normalize`."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.tensor(preprocessing.mean).view(3, 1, 1) * 255)
        self.std = nn.Buffer(torch.tensor(preprocessing.std).view(3, 1, 1) * 255)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class _Sets(nn.Module):
    """Prediction sets bool `[n, C]` of probabilities."""

    def __init__(self, sets: PredictionSets) -> None:
        super().__init__()
        self.score = sets.score
        self.thresholds = nn.Buffer(torch.from_numpy(sets.thresholds.copy()))

    def forward(self, proba: Tensor) -> Tensor:
        if self.score == "lac":
            scores = 1 - proba
        else:
            place = torch.arange(proba.shape[1])
            this, other = proba.unsqueeze(2), proba.unsqueeze(1)
            is_above = (other > this) | ((other == this) & (place < place.unsqueeze(1)))
            scores = torch.where(is_above, other, 0.0).sum(dim=2)
        return (scores <= self.thresholds + SLACK) | (proba == proba.amax(dim=1, keepdim=True))


def _chosen(views: Tensor, places: Sequence[int]) -> Tensor:
    """Some of the first axis, in this order."""
    return views if list(places) == list(range(len(views))) else torch.stack([views[place] for place in places])


def changed_by(augmentation: Augmentation) -> str:
    """The reason why no file can make the views of an augmentation, as the end of a sentence."""
    if augmentation.is_random:
        return f"are drawn at random ({augmentation.name!r}), from a generator that no ONNX graph has"
    return f"are prepared by steps that no ONNX graph has ({augmentation.name!r})"


def _draws(augmentation: Augmentation, views: int) -> list[ViewDraw]:
    """Draws of an image, one a view.

    Raises:
        ExportError: Views that are drawn at random.
    """
    if not augmentation.starts_plain:
        raise ExportError(
            f"Expected a run that predicts from whole images or their symmetries, but its views "
            f"{changed_by(augmentation)}. Train with features.views.predict=plain, or with an augmentation such as "
            "dihedral."
        )
    return [draw_view(augmentation, 0, "", view) for view in range(views)]
