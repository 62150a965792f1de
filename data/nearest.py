"""The message for a name that nobody knows, and the name that was probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST = 200
"""Letters of a name that are looked at; what is longer is no name."""
MOST = 100
"""Valid names that a message lists."""


def nearest(name: object, valid: Iterable[str]) -> str | None:
    """The one of `valid` that `name` was probably meant to be, in any case; None where none is like it.

    >>> nearest("NV", ["mel", "nv"])
    'nv'
    """
    by_lower_case = {candidate.lower(): candidate for candidate in valid}
    near = get_close_matches(str(name)[:LONGEST].lower(), by_lower_case, n=1)
    return by_lower_case[near[0]] if near else None


def unknown_name(kind: str, name: object, valid: Iterable[str]) -> str:
    """The clause for a name that is none of `valid`: the nearest one, then all of them in their order.

    >>> unknown_name("metric", "mmc", ["mcc", "accuracy"])
    "unknown metric 'mmc'; did you mean 'mcc'? Valid: mcc, accuracy"
    """
    valid = list(valid)
    near = nearest(name, valid)
    hint = "." if near is None else f"; did you mean {near!r}?"
    more = f" and {len(valid) - MOST} more" if len(valid) > MOST else ""
    return f"unknown {kind} {name!r:.{LONGEST}}{hint} Valid: {', '.join(valid[:MOST])}{more}"
