"""The parameters of every head in the zoo: documented, typed, unknown names refused."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hamcache.heads.class_weights import ClassWeight
from hamcache.heads.loss_params import loss_spec
from hamcache.heads.validation import validated

Weighting = Annotated[
    ClassWeight,
    Field(description="none, balanced (inverse to the class's count), or one weight a class by name or in order"),
]

PriorWeighting = Annotated[
    Literal["none", "balanced"],
    Field(description="none: classes as frequent as in training; balanced: all equally frequent"),
]
Components = Annotated[
    int | None,
    Field(ge=1, description="principal components put in front where the features are wider; null for none"),
]
Folds = Annotated[int, Field(ge=2, description="folds for out-of-fold scores")]


class HeadParams(BaseModel):
    """Base of the parameter models."""

    model_config = ConfigDict(extra="forbid")


class LogregParams(HeadParams):
    """Multinomial logistic regression with an L2 penalty."""

    C: float = Field(0.01, gt=0, description="inverse of the penalty, per image")
    class_weight: Weighting = "balanced"
    max_iter: int = Field(500, ge=1, description="iterations of L-BFGS at most")


class LogregPathParams(HeadParams):
    """Multinomial logistic regression, its L2 penalty chosen among many that are fitted together."""

    Cs: list[Annotated[float, Field(gt=0)]] = Field(
        [float(f"{C:.2g}") for C in (10 ** (-4 + number * 0.2) for number in range(16))],
        min_length=1,
        description="inverses of the penalty, per image",
    )
    class_weight: Weighting = "balanced"
    choose_by: Literal[
        "mcc", "accuracy", "balanced_accuracy", "weighted_f1", "macro_f1", "macro_auc", "nll", "brier", "ece"
    ] = Field("mcc", description="score on the validation images by which one is kept")
    max_iter: int = Field(500, ge=1, description="steps of L-BFGS at most, for each penalty")
    n_folds: Folds = 5


class RidgeParams(HeadParams):
    """Ridge regression on the class indicators; probabilities by temperature."""

    alpha: float = Field(2000.0, gt=0, description="penalty")
    class_weight: Weighting = "balanced"


class LinearSVMParams(HeadParams):
    """Linear support vector machine, one class against all; probabilities by temperature."""

    C: float = Field(1e-3, gt=0, description="inverse of the penalty, per image")
    class_weight: Weighting = "balanced"
    max_iter: int = Field(2000, ge=1, description="passes over the rows at most")
    n_folds: Folds = 3


class RBFSVMParams(HeadParams):
    """Support vector machine with a Gaussian kernel on principal components; probabilities by temperature."""

    C: float = Field(1.0, gt=0, description="inverse of the penalty, per image")
    gamma: float | Literal["scale"] = Field("scale", description="1 / squared width; scale fits it to the data")
    n_components: Components = 256
    class_weight: Weighting = "balanced"
    n_folds: Folds = 3


class KNNParams(HeadParams):
    """Nearest neighbours by cosine similarity on principal components."""

    n_neighbors: int = Field(20, ge=1, description="rows that vote; views of one image are rows of their own")
    temperature: float = Field(0.07, gt=0, description="how fast a vote fades with lower similarity")
    n_components: Components = 256
    class_weight: Weighting = "none"


class NearestCentroidParams(HeadParams):
    """The nearest class mean, columns scaled by their spread within classes; probabilities by temperature."""

    n_components: Components = 256
    class_weight: PriorWeighting = "balanced"


class LDAParams(HeadParams):
    """Linear discriminant analysis with Ledoit-Wolf shrinkage; probabilities by temperature."""

    n_components: Components = 512
    class_weight: PriorWeighting = "balanced"


class GaussianNBParams(HeadParams):
    """Gaussian naive Bayes on principal components; probabilities by temperature."""

    n_components: Components = 16
    class_weight: Weighting = "balanced"


class ForestParams(HeadParams):
    """A forest of decision trees, all features in view."""

    n_estimators: int = Field(300, ge=1, description="trees")
    min_samples_leaf: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] = Field(
        0.002, description="rows in a leaf at least; below 1: their share of all rows, whatever the number of views"
    )
    max_features: float | Literal["sqrt", "log2"] = Field("sqrt", description="columns tried at a split")
    n_components: Components = None
    class_weight: Weighting = "balanced"


class HistGBDTParams(HeadParams):
    """Gradient-boosted trees on histograms of principal components."""

    learning_rate: float = Field(0.1, gt=0)
    max_iter: int = Field(100, ge=1, description="rounds; each grows one tree a class")
    max_leaf_nodes: int = Field(15, ge=2)
    l2_regularization: float = Field(1.0, ge=0)
    max_bins: int = Field(
        32, ge=2, le=255, description="histogram bins a column; with row weights each one costs a sort of the column"
    )
    n_components: Components = 128
    class_weight: Weighting = "balanced"


class GradientParams(HeadParams):
    """Parameters of everything trained by gradient descent: optimiser, schedule, loss and stopping."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    weight_decay: float = Field(1e-2, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd only")
    schedule: Literal["none", "cosine", "onecycle", "plateau"] = "none"
    batch_size: int = Field(128, ge=2, description="rows a step")
    patience: int = Field(10, ge=1, description="epochs without a better validation score before stopping")
    loss: str = Field("cross_entropy", description="a name in hamcache.heads.loss_params.LOSSES")
    loss_params: dict[str, float] = Field({}, description="parameters of that loss: gamma, alpha, beta, tau")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")
    class_weight: Annotated[
        Weighting | Literal["auto"],
        Field(description="auto: none for losses that correct imbalance themselves, balanced for the others"),
    ] = "auto"

    @model_validator(mode="after")
    def _check_loss(self) -> Self:
        validated(loss_spec(self.loss).params, self.loss_params, f"loss {self.loss}")
        return self


class NetworkParams(GradientParams):
    """Parameters that `mlp` and `hybrid_mlp` have in common."""

    dropout: float = Field(0.5, ge=0, lt=1, description="share of hidden outputs set to zero in training")
    batch_norm: bool = Field(False, description="normalise hidden layers over the batch")
    activation: Literal["relu", "gelu", "silu", "leaky_relu", "tanh"] = "relu"
    lr: float = Field(3e-4, gt=0, description="learning rate (the peak of onecycle)")
    max_epochs: int = Field(50, ge=1)
    objective: str = Field("mcc", description="metric that early stopping watches on validation data, or loss")
    mixup: float = Field(0.0, ge=0, description="alpha of feature mixup; 0 for none")


class MLPParams(NetworkParams):
    """A multilayer perceptron on the concatenated blocks."""

    hidden: list[Annotated[int, Field(ge=1)]] = Field([256], description="sizes; [] is a linear classifier")


class HybridMLPParams(NetworkParams):
    """The founding project's hybrid: an embedding per block, concatenated, then layers falling geometrically."""

    embedding_dim: int = Field(512, ge=1, description="size of each block's embedding (linear layer and ReLU)")
    hidden_layers: int = Field(1, ge=0, description="layers between the embeddings and the class logits")


class MemberParams(BaseModel):
    """A head inside a head: its name, the blocks it sees (default: all), and its own parameters beside them."""

    model_config = ConfigDict(extra="allow")

    name: str = "logreg"
    blocks: list[str] | None = None

    @property
    def params(self) -> dict[str, Any]:
        """The member's own parameters."""
        return dict(self.model_extra or {})


class AverageParams(HeadParams):
    """The mean of the members' probabilities."""

    heads: list[MemberParams] = Field([], description="the members; empty: one `each` per block")
    each: MemberParams = Field(MemberParams(), description="what every block gets where `heads` is empty")


class StackParams(HeadParams):
    """Logistic regression on the members' out-of-fold probabilities."""

    heads: list[MemberParams] = Field(
        [MemberParams(name="logreg"), MemberParams(name="rbf_svm"), MemberParams(name="lda")],
        min_length=1,
        description="the members",
    )
    C: float = Field(0.1, gt=0, description="inverse of the penalty of the logistic regression on top")
    class_weight: Weighting = "balanced"
    n_folds: Folds = 5


def as_arguments(params: HeadParams) -> dict[str, Any]:
    """A model's fields as keyword arguments."""
    return {name: getattr(params, name) for name in type(params).model_fields}
