"""Pydantic's findings about the parameters of one thing, as one clause."""

from collections.abc import Iterable

from pydantic import ValidationError

from hamcache.data.nearest import nearest


def unfit(error: ValidationError, valid: Iterable[str]) -> str:
    """All unfit values and unknown names; those offer the nearest of the `valid` names, which lie on the top level."""
    names, clauses = list(valid), []
    for detail in error.errors():
        name = ".".join(map(str, detail["loc"]))
        if not name:  # what is wrong with the whole says so itself
            clauses.append(str(detail.get("ctx", {}).get("error", detail["msg"])).rstrip("."))
            continue
        if detail["type"] != "extra_forbidden":
            clauses.append(f"{name}: {detail['msg']}, got {detail['input']!r}")
            continue
        near = nearest(name, names)
        hint = "" if near is None else f", did you mean {near!r}?"
        listed = f" (valid: {', '.join(names) or 'none'})" if len(detail["loc"]) == 1 else ""
        clauses.append(f"unknown {name!r}{hint}{listed}")
    return "; ".join(clauses)
