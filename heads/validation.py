"""Checked parameters: pydantic's complaints as one readable error."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hamcache.data.nearest import nearest
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
        problems = [_problem(detail, list(model.model_fields)) for detail in error.errors()]
        raise HeadParamsError(f"Unfit parameters of {owner}: {'; '.join(problems)}.") from None


def _problem(detail: Any, valid: list[str]) -> str:
    name = ".".join(map(str, detail["loc"]))
    if detail["type"] != "extra_forbidden":
        return f"{name}: {detail['msg']}, got {detail['input']!r}"
    near = nearest(name, valid)
    hint = "" if near is None else f", did you mean {near!r}?"
    return f"unknown {name!r}{hint} (valid: {', '.join(valid) or 'none'})"
