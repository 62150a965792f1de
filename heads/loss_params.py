"""The losses by name, with their parameters: what a configuration is checked against, without PyTorch."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from hamcache.heads.errors import UnknownLossError


class LossParams(BaseModel):
    """Parameters of a loss without any."""

    model_config = ConfigDict(extra="forbid")


class FocalParams(LossParams):
    """Parameters of `focal`."""

    gamma: float = Field(2.0, ge=0, description="how much rows that are already right are discounted")


class SigmoidFocalParams(FocalParams):
    """Parameters of `focal_sigmoid`."""

    alpha: float = Field(0.25, gt=0, lt=1, description="weight of the target class against all others")


class ClassBalancedParams(LossParams):
    """Parameters of `class_balanced`."""

    beta: float = Field(0.999, ge=0, lt=1, description="0: no weights; towards 1: balanced weights")
    gamma: float = Field(0.0, ge=0, description="above 0: focal")


class LogitAdjustedParams(LossParams):
    """Parameters of `logit_adjusted`."""

    tau: float = Field(1.0, ge=0, description="0: cross-entropy; 1: balanced softmax")


@dataclass(frozen=True)
class LossSpec:
    """An entry of `LOSSES`. `corrects_imbalance`: the loss does it itself, so class weights default to none."""

    params: type[LossParams]
    corrects_imbalance: bool
    description: str


LOSSES: dict[str, LossSpec] = {
    "cross_entropy": LossSpec(LossParams, False, "cross-entropy"),
    "focal": LossSpec(FocalParams, False, "focal loss on a softmax (Lin et al. 2017)"),
    "focal_sigmoid": LossSpec(SigmoidFocalParams, False, "focal loss on one-against-all sigmoids (Lin et al. 2017)"),
    "class_balanced": LossSpec(
        ClassBalancedParams, True, "cross-entropy weighted by the effective number of images (Cui et al. 2019)"
    ),
    "balanced_softmax": LossSpec(LossParams, True, "cross-entropy of logits plus log prior (Ren et al. 2020)"),
    "logit_adjusted": LossSpec(
        LogitAdjustedParams, True, "cross-entropy of logits plus tau times log prior (Menon et al. 2021)"
    ),
}
"""`heads.losses` builds them."""


def loss_spec(name: str) -> LossSpec:
    """The entry of `LOSSES`; UnknownLossError offers the nearest name."""
    if name not in LOSSES:
        raise UnknownLossError(name, LOSSES)
    return LOSSES[name]
