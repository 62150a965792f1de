"""Checked parameters: pydantic's complaints as one readable error."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hamcache.data.unfit import unfit
from hamcache.heads.errors import HeadParamsError

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], values: Mapping[str, Any], owner: str) -> Model:
    """Fill `model` with `values`.

    Raises:
        HeadParamsError: unknown names (with the nearest valid one) or unfit values, all of them in one message.
    """
    try:
        return model(**values)
    except ValidationError as error:
        raise HeadParamsError(f"Unfit parameters of {owner}: {unfit(error, model.model_fields)}.") from None
