"""Fitting of classifiers of one's own: seeds, threads, row weights and lesion folds, as far as each can take them."""

from __future__ import annotations

import io
import random
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import has_fit_parameter

from hamcache.heads.errors import HeadError, ModelFailedError
from hamcache.heads.folds import image_folds

MOST_WORDS = 20
"""Lines of what a library prints that are passed on."""
FOLDS = 5
"""Folds of a class that is to choose their number itself."""


def fit_keyword(classifier: Any, name: str) -> str | None:
    """The argument of `fit` that reaches the classifier under this name, through pipelines and searches; or None."""
    if has_fit_parameter(classifier, name):
        return name
    if getattr(classifier, "steps", None):
        step, last = classifier.steps[-1]
        inner = fit_keyword(last, name)
        return None if inner is None else f"{step}__{inner}"
    searched = getattr(classifier, "estimator", None)
    return fit_keyword(searched, name) if searched is not None and hasattr(classifier, "refit") else None


def takes_weights(classifier: Any) -> bool:
    """True where classes can be weighted: by rows in `fit`, or by a parameter `class_weight`."""
    return fit_keyword(classifier, "sample_weight") is not None or bool(_named(classifier, "class_weight"))


def weighs_itself(classifier: Any) -> bool:
    """True where the classifier was made with class weights."""
    return any(value is not None for value in _named(classifier, "class_weight").values())


def settle(classifier: Any, seed: int) -> None:
    """Give an unfitted classifier the seed and one thread, where it was made without."""
    found = {
        **dict.fromkeys(_named(classifier, "random_state"), seed),
        **dict.fromkeys(_named(classifier, "n_jobs"), 1),
    }
    now = classifier.get_params()
    classifier.set_params(**{key: value for key, value in found.items() if now[key] is None})


def weigh_classes(classifier: Any, factors: NDArray[np.float64]) -> None:
    """Set class weights as a parameter."""
    weights = dict(enumerate(factors.tolist()))
    classifier.set_params(**dict.fromkeys(_named(classifier, "class_weight"), weights))


@contextmanager
def lesion_folds(
    classifier: Any, y: NDArray[np.int64], groups: NDArray[Any], seed: int, classes: Sequence[str]
) -> Iterator[None]:
    """Inside, the folds of a classifier that cross-validates keep groups together.

    Its parameter `cv` (or that of a pipeline's last step), where it is a number or None, is replaced by folds of rows.
    """
    params = _named(classifier, "cv")
    outer = [key for key in params if key == "cv" or key == f"{_last_step(classifier)}__cv"]
    before = {key: params[key] for key in outer if params[key] is None or type(params[key]) is int}
    for key in params.keys() - before.keys():
        warnings.warn(f"the folds of {key} are its own: a lesion may lie on both sides", stacklevel=2)
    for key, value in _named(classifier, "early_stopping").items():
        if value is True or (value == "auto" and len(y) > 10_000):
            warnings.warn(f"{key} holds out rows of its own: a lesion may lie on both sides", stacklevel=2)
    folds = {key: image_folds(y, groups, count or FOLDS, seed, classes) for key, count in before.items()}
    classifier.set_params(**folds)
    try:
        yield
    finally:
        classifier.set_params(**before)


def watching(classifier: Any, validation: tuple[NDArray[np.float32], NDArray[np.int64]] | None) -> dict[str, Any]:
    """Arguments of `fit` by which a booster that is to stop early watches the validation rows."""
    rounds = [classifier.get_params().get(f"early_stopping_round{s}") for s in ("s", "")]
    if not any(rounds) or validation is None or not has_fit_parameter(classifier, "eval_set"):
        return {}
    quiet = {"verbose": False} if has_fit_parameter(classifier, "verbose") else {}
    return {"eval_set": [validation], **quiet}


@contextmanager
def by_itself(name: str, seed: int) -> Iterator[None]:
    """Inside, code of others draws from generators with this seed, and what it prints becomes warnings.

    Raises:
        ModelFailedError: It raised something; names it.
    """
    torch = sys.modules.get("torch")
    state, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002  (what others may draw from)
    drawn = torch.get_rng_state() if torch is not None else None
    printed = io.StringIO()
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    if torch is not None:
        torch.manual_seed(seed)
    try:
        with redirect_stdout(printed):
            yield
    except HeadError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:500] or "no reason given"
        raise ModelFailedError(
            f"Expected {name} to fit and predict, but it failed: {type(error).__name__}: {reason}. Change its "
            "parameters, or its code."
        ) from error
    finally:
        random.setstate(state)
        np.random.set_state(numbers)  # noqa: NPY002
        if torch is not None:
            torch.set_rng_state(drawn)
        for line in list(dict.fromkeys(printed.getvalue().splitlines()))[:MOST_WORDS]:
            warnings.warn(line, stacklevel=2)


def _named(classifier: Any, name: str) -> dict[str, Any]:
    """Parameters with this last name, those of nested classifiers too."""
    params = classifier.get_params()
    return {key: value for key, value in sorted(params.items()) if key.rpartition("__")[2] == name}


def _last_step(classifier: Any) -> str | None:
    return classifier.steps[-1][0] if getattr(classifier, "steps", None) else None
