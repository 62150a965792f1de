"""Heads of one's own: a classifier that follows scikit-learn's contract, by the name of its class or of a function.

`package.module:Class` and `file.py:Class` are made by `Class(**parameters)`, `file.py:function` is what a function
returns; a package offers names by entry points. What decides its results is part of a run's identity.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from types import FunctionType
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, create_model, model_serializer, model_validator

from hamcache.data.errors import CodeError, CodeNotFoundError
from hamcache.data.named_code import is_place, named_code
from hamcache.data.nearest import unknown_name
from hamcache.heads.errors import OwnHeadError
from hamcache.heads.library_versions import LibraryTeller
from hamcache.heads.params import HeadParams, Weighting

GROUP = "hamcache.heads"
"""Entry points by which an installed package offers heads: `name = "package.module:Class"`."""
MADE_OF_HEADS = ("average", "stack")
SCORES = ("predict_proba", "decision_function", "predict")
"""Methods that probabilities are made of, the best first."""


def offered() -> dict[str, EntryPoint]:
    """Heads that installed packages offer, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def is_own(name: str) -> bool:
    """True for the name of a head of one's own; a head of the zoo is meant where both have a name."""
    return is_place(name) or name in offered()


def place_of(name: str) -> str:
    """The class or function behind a name: `package.module:Class` or `file.py:Class`."""
    return name if is_place(name) else offered()[name].value


def own_heads(name: str, params: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Heads of one's own among a head and those inside it, each with its parameters."""
    if name in MADE_OF_HEADS:
        members = [*(params.get("heads") or ()), *([params["each"]] if params.get("each") else [])]
        found = []
        for member in map(dict, members):
            member.pop("blocks", None)
            found += own_heads(str(member.pop("name", "logreg")), member)
        return found
    return [(name, dict(params))] if is_own(name) else []


def made(name: str, params: Mapping[str, Any]) -> Any:
    """The classifier of a name, not fitted.

    Args:
        name: See `is_own`.
        params: Arguments of the class or function; of what a function returns also those that its `set_params` takes,
            such as `svc__C` of a pipeline.

    Raises:
        OwnHeadError: No such thing, parameters that it does not take, or a thing that is no classifier.
    """
    try:
        return _made(name, _thing(name), params)
    except OwnHeadError:
        raise
    except Exception as error:  # whatever a thing does that is no class or function of Python, or no estimator
        raise OwnHeadError(
            f"Expected {name} to give a classifier as scikit-learn has them, got {type(error).__name__} when it was "
            f"looked at: {error}. Name a class that inherits sklearn.base.ClassifierMixin and BaseEstimator."
        ) from error


def _made(name: str, thing: Any, params: Mapping[str, Any]) -> Any:
    takes = inspect.signature(thing).parameters
    takes_anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
    names = [key for key, parameter in takes.items() if parameter.kind not in (2, 4)]
    if takes_anything:  # then most names are those of its bases
        names += [key for key in _called(name, thing, {}).get_params(deep=False) if key not in names]
        misspelt = [key for key in params if key not in names and get_close_matches(key, names, 1, 0.85)]
        _require_known(name, misspelt, names)
    elif isinstance(thing, type):
        _require_known(name, (key for key in params if key not in names and "__" not in key), names)
    direct = {key: value for key, value in params.items() if key in names or (takes_anything and "__" not in key)}
    classifier = _called(name, thing, direct)
    _require_classifier(name, classifier)
    later = {key: value for key, value in params.items() if key not in direct}
    if later:
        deep = classifier.get_params()
        _require_known(name, (key for key in later if key not in deep), [*names, *deep])
        classifier.set_params(**later)
    _require_valid(name, classifier)
    return classifier


def own_identity(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """All that decides the results of each name: a digest of one's own code, and the versions of the packages it uses.

    Raises:
        OwnHeadError: That can't be said.
    """
    return {name: _identity(name, _thing(name)) for name in names}


@functools.lru_cache(maxsize=256)
def _identity(name: str, thing: Any) -> dict[str, str]:
    try:
        teller = LibraryTeller()
        place = teller.note(thing)
        own = [*teller.sources()]
        code = {"code": hashlib.sha256("\n".join([place, *own]).encode()).hexdigest()} if own else {}
        return {**code, **teller.versions()}
    except CodeError as error:
        raise OwnHeadError(f"{error} The head is {name}, and its results must be found again by what it is.") from error


@functools.lru_cache(maxsize=256)
def own_params(name: str) -> type[OwnParams]:
    """The parameters of a head of one's own.

    Raises:
        OwnHeadError: There is no such class or function.
    """
    _thing(name)
    model = create_model(name, __base__=OwnParams)
    model.head_name = name
    return model


class OwnParams(HeadParams):
    """Parameters of a class of one's own, and its class weights; only what was given is kept."""

    model_config = ConfigDict(extra="allow")
    head_name: ClassVar[str]

    class_weight: Weighting | Literal["auto"] = Field(
        "auto", description="auto: balanced where the class takes weights; else as for the heads of the zoo"
    )

    @property
    def of_class(self) -> dict[str, Any]:
        """The parameters of the class itself."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _check(self) -> Self:
        from hamcache.heads.own_fitting import takes_weights  # imports scikit-learn

        classifier = made(self.head_name, self.of_class)
        if self.class_weight not in ("auto", "none") and not takes_weights(classifier):
            raise OwnHeadError(
                f"Expected class_weight none or auto, since {self.head_name} takes no weights (neither sample_weight "
                f"in fit nor a parameter class_weight), got {self.class_weight!r}."
            )
        return self

    @model_serializer(mode="wrap")
    def _only_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if key in self.model_fields_set}


def _thing(name: str) -> Any:
    try:
        return named_code(place_of(name), (FunctionType, type), "a class or function")
    except CodeNotFoundError as error:
        raise OwnHeadError(str(error)) from error


def _called(name: str, thing: Any, params: Mapping[str, Any]) -> Any:
    try:
        return thing(**params)
    except Exception as error:  # code of others may raise anything
        raise OwnHeadError(
            f"Expected {name} to be made of its parameters ({', '.join(params) or 'none'}), got "
            f"{type(error).__name__}: {' '.join(str(error).split())}. Set them under head., or name a function that "
            "makes it."
        ) from error


def _require_known(name: str, unknown: Iterable[str], valid: Iterable[str]) -> None:
    for key in unknown:
        names = ["class_weight", *(k for k in valid if k != "class_weight")]
        raise OwnHeadError(f"Expected a parameter of {name}, got an {unknown_name('parameter', key, names)}.")


def _require_classifier(name: str, classifier: Any) -> None:
    lacks = [method for method in ("fit", "get_params", "set_params") if not hasattr(classifier, method)]
    if isinstance(classifier, type) or lacks:
        raise OwnHeadError(
            f"Expected {name} to give a classifier as scikit-learn has them, got {type(classifier).__name__}, which "
            f"lacks {', '.join(lacks) or 'an instance'}. Let it inherit sklearn.base.ClassifierMixin and BaseEstimator."
        )
    tags = classifier.__sklearn_tags__() if hasattr(classifier, "__sklearn_tags__") else None
    kind = getattr(tags, "estimator_type", None)
    if kind not in (None, "classifier") or not any(hasattr(classifier, method) for method in SCORES):
        about = f"a {kind}" if kind else f"which has none of {', '.join(SCORES)}"
        raise OwnHeadError(
            f"Expected {name} to give a classifier, got {type(classifier).__name__}, {about}. Name one that predicts "
            "classes."
        )
    shapes = [value for key, value in classifier.get_params().items() if key.endswith("decision_function_shape")]
    if "ovo" in shapes:
        raise OwnHeadError("Expected one score a class, got decision_function_shape 'ovo'. Set it to ovr.")


def _require_valid(name: str, classifier: Any) -> None:
    """Let scikit-learn's classes check the values of their parameters, which they do in `fit` otherwise."""
    try:
        if hasattr(classifier, "_parameter_constraints"):
            classifier._validate_params()
    except Exception as error:
        raise OwnHeadError(f"Expected fit parameters, got others: {' '.join(str(error).split())}") from error
