"""The parameters of every network trained from images: documented, typed, unknown names refused."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hamcache.heads.errors import UnknownNetError
from hamcache.heads.params import GradientParams

Share = Annotated[float, Field(ge=0, le=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Pixels = Annotated[int, Field(ge=8)]
Channels = tuple[Count, Count, Count, Dropout]
"""One convolution: output channels, kernel, pool, dropout."""


class NetParams(GradientParams):
    """Parameters that all networks have in common: the images they see, and how they are trained."""

    weight_decay: float = Field(1e-2, ge=0, description="of weights; biases and norms are not decayed")
    batch_size: int = Field(32, ge=2, description="images a step")
    schedule: Literal["none", "cosine", "onecycle", "plateau"] = Field("cosine", description="runs once a phase")
    sampler: Literal["shuffle", "balanced"] = Field(
        "shuffle",
        description="shuffle: every image once an epoch; balanced: as many draws, all classes equally likely "
        "(class_weight auto then means none)",
    )
    augmentation: str = Field("dihedral", description="for training; every epoch shows another view of an image")
    predict_augmentation: str = Field("none", description="for validation and prediction; none: the plain image")
    predict_views: Count = Field(1, description="views whose probabilities are averaged, in every scored epoch too")
    fit: Literal["crop", "squash"] = Field("crop", description="central window, or the whole image out of shape")
    stored_side: Pixels | None = Field(
        320, description="images whose short side is longer, in pixels, are reduced to it when decoded; null: never"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="arithmetic of convolutions; auto takes bf16 where it is fast"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one")


class SimpleCNNParams(NetParams):
    """The founding project's network: convolutions (ReLU, max pooling, dropout), then fully connected layers."""

    conv: list[Channels] = Field(
        [(32, 5, 2, 0.1), (64, 3, 2, 0.1), (128, 3, 4, 0.1)],
        min_length=1,
        description="layers of [channels, kernel, pool, dropout]",
    )
    fc: list[tuple[Count, Dropout]] = Field(
        [(256, 0.5), (128, 0.25), (64, 0.0)], description="hidden layers of [units, dropout] before the class logits"
    )
    image_size: tuple[Pixels, Pixels] = Field((96, 128), description="height and width images are resized to")
    batch_norm: bool = Field(False, description="normalise after each convolution")
    fit: Literal["crop", "squash"] = Field("squash", description="central window, or the whole image out of shape")
    lr: float = Field(1e-3, gt=0, description="learning rate (the peak of onecycle)")
    epochs: Count = Field(30, description="epochs of training")


class FinetuneParams(NetParams):
    """Any timm or torchvision backbone, in two phases: the new last layer alone, then all layers."""

    backbone: str = Field("tf_efficientnet_lite0", min_length=1, description="as `hamcache extract` takes it")
    weights: str = Field("", description="a file of weights; empty for the backbone's own")
    image_size: tuple[Pixels, Pixels] | None = Field(None, description="height and width; null: the backbone's own")
    warm_start: Literal["none", "cache"] = Field(
        "none", description="cache: the last layer starts as `head`, trained on the cached features of `features`"
    )
    epochs_extraction: Annotated[int, Field(ge=0)] | None = Field(
        None, description="epochs with only the last layer trained; null: 2, or none after a warm start"
    )
    lr_extraction: float = Field(1e-3, gt=0, description="learning rate of the last layer alone")
    epochs_tuning: Annotated[int, Field(ge=0)] = Field(10, description="epochs with all layers trained")
    lr_tuning: float = Field(1e-4, gt=0, description="learning rate of all layers")
    freeze_depth: Share = Field(0.0, description="share of the backbone's layers, from the image on, never trained")
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="learning rate of each layer as a share of that of the layer after it"
    )
    batch_norm: Literal["train", "frozen"] = Field(
        "frozen",
        description="in tuning: frozen keeps the statistics of the pretrained network, which scoring uses too; train "
        "takes those of each batch, and the kept ones follow slowly: for long trainings",
    )
    dropout: Dropout = Field(0.0, description="share of the features set to zero before the last layer")

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        if self.epochs_extraction is None:
            self.epochs_extraction = 0 if self.warm_start == "cache" else 2
        if self.epochs_extraction + self.epochs_tuning == 0:
            raise ValueError("expected at least one epoch, got none; set epochs_extraction or epochs_tuning above 0")
        return self


NETS: dict[str, type[NetParams]] = {"simple_cnn": SimpleCNNParams, "finetune": FinetuneParams}


def net_params(name: str) -> type[NetParams]:
    """The parameter model of the network `name`; UnknownNetError offers the nearest name."""
    if name not in NETS:
        raise UnknownNetError(name, NETS)
    return NETS[name]
