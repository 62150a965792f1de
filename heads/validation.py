"""Turns pydantic's complaints about parameters into one readable error."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hamcache.heads.errors import HeadParamsError

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], values: Mapping[str, Any], owner: str) -> Model:
    """`model` filled with `values`.

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
        return f"{name}: {detail['msg']}, but got {detail['input']!r}"
    near = get_close_matches(name, valid, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    return f"unknown {name!r}{hint} (valid: {', '.join(valid) or 'none'})"
