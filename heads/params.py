"""The parameters of every head in the zoo: documented, typed, unknown names refused."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from heads.class_weights import ClassWeight
from heads.losses import loss_spec
from heads.validation import validated

Weighting = Annotated[
    ClassWeight,
    Field(description="none, balanced (inverse to the class's count), or one weight a class by name or in order"),
]


class HeadParams(BaseModel):
    """Base of the parameter models."""

    model_config = ConfigDict(extra="forbid")


class LogregParams(HeadParams):
    """Multinomial logistic regression with an L2 penalty."""

    C: float = Field(0.01, gt=0, description="inverse of the penalty, per image")
    class_weight: Weighting = "balanced"
    max_iter: int = Field(500, ge=1, description="iterations of L-BFGS at most")


class NetworkParams(HeadParams):
    """What `mlp` and `hybrid_mlp` have in common: regularisation, optimiser, loss and stopping."""

    dropout: float = Field(0.5, ge=0, lt=1, description="share of hidden outputs set to zero in training")
    batch_norm: bool = Field(False, description="normalise hidden layers over the batch")
    activation: Literal["relu", "gelu", "silu", "leaky_relu", "tanh"] = "relu"
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    lr: float = Field(1e-3, gt=0, description="learning rate (the peak of onecycle)")
    weight_decay: float = Field(1e-2, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd only")
    schedule: Literal["none", "cosine", "onecycle", "plateau"] = "none"
    batch_size: int = Field(128, ge=2, description="rows a step")
    max_epochs: int = Field(50, ge=1)
    patience: int = Field(10, ge=1, description="epochs without a better validation score before stopping")
    monitor: str = Field("loss", description="what early stopping watches: loss, or a metric such as mcc")
    loss: str = Field("cross_entropy", description="a name in heads.losses.LOSSES")
    loss_params: dict[str, float] = Field({}, description="parameters of that loss: gamma, alpha, beta, tau")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")
    class_weight: Annotated[
        Weighting | Literal["auto"],
        Field(description="auto: none for losses that correct imbalance themselves, balanced for the others"),
    ] = "auto"
    mixup: float = Field(0.0, ge=0, description="alpha of feature mixup; 0 for none")

    @model_validator(mode="after")
    def _check_loss(self) -> Self:
        validated(loss_spec(self.loss).params, self.loss_params, f"loss {self.loss}")
        return self


class MLPParams(NetworkParams):
    """A multilayer perceptron on the concatenated blocks."""

    hidden: list[Annotated[int, Field(ge=1)]] = Field([256], description="sizes; [] is a linear classifier")


class HybridMLPParams(NetworkParams):
    """The founding project's hybrid: an embedding per block, concatenated, then layers falling geometrically."""

    embedding_dim: int = Field(512, ge=1, description="size of each block's embedding (linear layer and ReLU)")
    hidden_layers: int = Field(2, ge=0, description="layers between the embeddings and the class logits")


def as_arguments(params: HeadParams) -> dict[str, Any]:
    """A model's fields as keyword arguments."""
    return {name: getattr(params, name) for name in type(params).model_fields}
