"""The zoo: every head by name, with its parameters and how it is built.

A configuration is checked against the parameters, so what builds a head is imported by its builder alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hamcache.heads import params as p
from hamcache.heads.errors import UnknownHeadError, UnknownNameError
from hamcache.heads.own_heads import is_own, made, offered, own_params
from hamcache.heads.validation import validated

if TYPE_CHECKING:
    from hamcache.heads.base import BaseHead
    from hamcache.heads.blocks import Block, BlockTransformer


@dataclass(frozen=True)
class Setting:
    """Circumstances of a head: the blocks it will see, the class names in code order, and its seed."""

    blocks: "tuple[Block, ...]"
    classes: tuple[str, ...] | None
    seed: int

    def transformer(self) -> "BlockTransformer":
        """The blocks' transformer, not fitted; without blocks all columns are one."""
        from hamcache.heads.blocks import BlockTransformer

        if not self.blocks:
            return BlockTransformer(seed=self.seed)
        return BlockTransformer(
            tuple(block.dim for block in self.blocks),
            tuple(block.transform for block in self.blocks),
            self.seed,
        )


Builder = Callable[[Any, Setting], "BaseHead"]


@dataclass(frozen=True)
class HeadSpec:
    """An entry of `HEADS`."""

    params: type[p.HeadParams]
    build: Builder
    description: str
    has_epochs: bool = False


def _estimator_head(classifier: Any, params: Any, setting: Setting, calibrate: bool = False) -> "BaseHead":
    from hamcache.heads.estimator import EstimatorHead

    return EstimatorHead(
        setting.classes,
        setting.transformer(),
        classifier,
        class_weight=params.class_weight,
        n_components=getattr(params, "n_components", None),
        calibrate=calibrate,
        n_folds=getattr(params, "n_folds", 5),
        seed=setting.seed,
    )


def _logreg(params: p.LogregParams, setting: Setting) -> "BaseHead":
    from sklearn.linear_model import LogisticRegression

    return _estimator_head(LogisticRegression(C=params.C, max_iter=params.max_iter), params, setting)


def _logreg_path(params: p.LogregPathParams, setting: Setting) -> "BaseHead":
    from hamcache.heads.logreg_path import LogregPathHead

    return LogregPathHead(setting.classes, setting.transformer(), **p.as_arguments(params), seed=setting.seed)


def _ridge(params: p.RidgeParams, setting: Setting) -> "BaseHead":
    from sklearn.linear_model import RidgeClassifier

    return _estimator_head(RidgeClassifier(alpha=params.alpha), params, setting, calibrate=True)


def _linear_svm(params: p.LinearSVMParams, setting: Setting) -> "BaseHead":
    from sklearn.svm import LinearSVC

    # The dual solver is the fastest at these sizes; the intercept is penalised, so it gets a large column of its own.
    classifier = LinearSVC(
        C=params.C, dual=True, intercept_scaling=10, max_iter=params.max_iter, random_state=setting.seed
    )
    return _estimator_head(classifier, params, setting, calibrate=True)


def _rbf_svm(params: p.RBFSVMParams, setting: Setting) -> "BaseHead":
    from hamcache.heads.svm import OneVsRestSVC

    classifier = OneVsRestSVC(params.C, params.gamma, setting.seed)
    return _estimator_head(classifier, params, setting, calibrate=True)


def _knn(params: p.KNNParams, setting: Setting) -> "BaseHead":
    from hamcache.heads.knn import CosineKNN

    return _estimator_head(CosineKNN(params.n_neighbors, params.temperature), params, setting)


def _nearest_centroid(params: p.NearestCentroidParams, setting: Setting) -> "BaseHead":
    from sklearn.neighbors import NearestCentroid

    priors = "uniform" if params.class_weight == "balanced" else "empirical"
    return _estimator_head(NearestCentroid(priors=priors), params, setting, calibrate=True)


def _lda(params: p.LDAParams, setting: Setting) -> "BaseHead":
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    priors = "uniform" if params.class_weight == "balanced" else None  # the head puts the numbers there
    classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=priors)
    return _estimator_head(classifier, params, setting, calibrate=True)


def _gaussian_nb(params: p.GaussianNBParams, setting: Setting) -> "BaseHead":
    from sklearn.naive_bayes import GaussianNB

    return _estimator_head(GaussianNB(), params, setting, calibrate=True)


def _random_forest(params: p.ForestParams, setting: Setting) -> "BaseHead":
    from sklearn.ensemble import RandomForestClassifier

    return _forest(RandomForestClassifier, params, setting)


def _extra_trees(params: p.ForestParams, setting: Setting) -> "BaseHead":
    from sklearn.ensemble import ExtraTreesClassifier

    return _forest(ExtraTreesClassifier, params, setting)


def _forest(kind: type, params: p.ForestParams, setting: Setting) -> "BaseHead":
    classifier = kind(
        params.n_estimators,
        min_samples_leaf=params.min_samples_leaf,
        max_features=params.max_features,
        random_state=setting.seed,
    )
    return _estimator_head(classifier, params, setting)


def _hist_gbdt(params: p.HistGBDTParams, setting: Setting) -> "BaseHead":
    from sklearn.ensemble import HistGradientBoostingClassifier

    classifier = HistGradientBoostingClassifier(
        learning_rate=params.learning_rate,
        max_iter=params.max_iter,
        max_leaf_nodes=params.max_leaf_nodes,
        l2_regularization=params.l2_regularization,
        max_bins=params.max_bins,
        early_stopping=False,
        random_state=setting.seed,
    )
    return _estimator_head(classifier, params, setting)


def _mlp(params: p.MLPParams, setting: Setting) -> "BaseHead":
    from hamcache.heads.mlp import MLPHead

    return MLPHead(setting.classes, setting.transformer(), **p.as_arguments(params), seed=setting.seed)


def _hybrid_mlp(params: p.HybridMLPParams, setting: Setting) -> "BaseHead":
    from hamcache.heads.mlp import MLPHead

    arguments = p.as_arguments(params)
    hidden = arguments.pop("hidden_layers")
    return MLPHead(setting.classes, setting.transformer(), hidden=hidden, **arguments, seed=setting.seed)


def _average(params: p.AverageParams, setting: Setting) -> "BaseHead":
    from hamcache.heads.ensemble import AverageHead

    one_per_block = [params.each.model_copy(update={"blocks": [block.name]}) for block in setting.blocks] or [
        params.each
    ]
    members = [_member(member, setting) for member in params.heads or one_per_block]
    return AverageHead(setting.classes, members)


def _stack(params: p.StackParams, setting: Setting) -> "BaseHead":
    from hamcache.heads.ensemble import StackHead

    return StackHead(
        setting.classes,
        [_member(member, setting) for member in params.heads],
        C=params.C,
        class_weight=params.class_weight,
        n_folds=params.n_folds,
        seed=setting.seed,
    )


def _own(params: Any, setting: Setting) -> "BaseHead":
    from hamcache.heads.own_estimator import OwnHead

    classifier = made(params.head_name, params.of_class)
    return OwnHead(
        setting.classes,
        setting.transformer(),
        classifier,
        class_weight=params.class_weight,
        name=params.head_name,
        seed=setting.seed,
    )


def _member(member: p.MemberParams, setting: Setting) -> "BaseHead":
    """A member on its own blocks; it drops the columns of the others."""
    names = [block.name for block in setting.blocks]
    for name in member.blocks or ():
        if name not in names:
            raise UnknownNameError(name, names, "block")
    wanted = names if member.blocks is None else member.blocks
    blocks = [block if block.name in wanted else replace(block, transform="drop") for block in setting.blocks]
    return build_head(member.name, member.params, blocks=blocks, classes=setting.classes, seed=setting.seed)


HEADS: dict[str, HeadSpec] = {
    "logreg": HeadSpec(p.LogregParams, _logreg, "multinomial logistic regression"),
    "logreg_path": HeadSpec(p.LogregPathParams, _logreg_path, "logistic regression, its penalty chosen on validation"),
    "ridge": HeadSpec(p.RidgeParams, _ridge, "ridge regression on the class indicators"),
    "linear_svm": HeadSpec(p.LinearSVMParams, _linear_svm, "linear support vector machine"),
    "rbf_svm": HeadSpec(p.RBFSVMParams, _rbf_svm, "support vector machine with a Gaussian kernel"),
    "knn": HeadSpec(p.KNNParams, _knn, "nearest neighbours by cosine similarity"),
    "nearest_centroid": HeadSpec(p.NearestCentroidParams, _nearest_centroid, "nearest class mean"),
    "lda": HeadSpec(p.LDAParams, _lda, "linear discriminant analysis with shrinkage"),
    "gaussian_nb": HeadSpec(p.GaussianNBParams, _gaussian_nb, "Gaussian naive Bayes"),
    "random_forest": HeadSpec(p.ForestParams, _random_forest, "random forest"),
    "extra_trees": HeadSpec(p.ForestParams, _extra_trees, "extremely randomised trees"),
    "hist_gbdt": HeadSpec(p.HistGBDTParams, _hist_gbdt, "gradient-boosted trees on histograms"),
    "mlp": HeadSpec(p.MLPParams, _mlp, "multilayer perceptron on the concatenated blocks", True),
    "hybrid_mlp": HeadSpec(p.HybridMLPParams, _hybrid_mlp, "the founding project's hybrid network", True),
    "average": HeadSpec(p.AverageParams, _average, "mean of the probabilities of several heads"),
    "stack": HeadSpec(p.StackParams, _stack, "logistic regression on the probabilities of several heads"),
}


def head_spec(name: str) -> HeadSpec:
    """The entry of a head of the zoo, or that of one's own (see `heads.own_heads`).

    Raises:
        UnknownHeadError: no head has this name; offers the nearest.
        OwnHeadError: a class or function of one's own is not there.
    """
    if name in HEADS:
        return HEADS[name]
    if is_own(name):
        return HeadSpec(own_params(name), _own, f"{name}, not of the zoo")
    raise UnknownHeadError(name, [*HEADS, *offered()])


def head_params(name: str) -> type[p.HeadParams]:
    """The parameter model of a head; raises like `head_spec`."""
    return head_spec(name).params


def build_head(
    name: str,
    params: Mapping[str, Any],
    *,
    blocks: "Sequence[Block]" = (),
    classes: Sequence[str] | None = None,
    seed: int = 0,
) -> "BaseHead":
    """The head `name`, not fitted.

    Args:
        name: a key of `HEADS`, or a head of one's own.
        params: its parameters; what is left out keeps its default.
        blocks: the blocks in the order of the feature columns; none: all columns are one.
        classes: class names in code order; None: those of the labels.
        seed: of everything the head draws.

    Raises:
        UnknownHeadError: an unknown name, with the nearest valid one.
        HeadParamsError: unknown parameters or unfit values.
    """
    spec = head_spec(name)
    checked = validated(spec.params, params, f"head {name}")
    return spec.build(checked, Setting(tuple(blocks), None if classes is None else tuple(classes), seed))
