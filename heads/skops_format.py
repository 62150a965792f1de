"""The format of skops, written without skops: its import costs more than fitting a linear head.

`skops.io` first lists all estimators of scikit-learn and all functions of NumPy and SciPy. Most heads hold nothing but
estimators, arrays, numbers and text: those are written here, to the same schema, and skops reads them.
"""

import json
from collections.abc import Callable
from importlib.metadata import version
from io import BytesIO
from types import FunctionType
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
from sklearn.base import BaseEstimator

PROTOCOL = 2
"""Version of the format, `skops.io._protocol.PROTOCOL`."""
COMPRESSION = {"compression": ZIP_DEFLATED, "compresslevel": 1}
_PLAIN = (type(None), bool, int, float, str)


class _OtherTypeError(TypeError):
    """An object that only skops can write."""


def skops_bytes(thing: Any) -> bytes | None:
    """The content of a file that `skops.io.load` reads; None where skops itself must write it (trees, boosters)."""
    content = BytesIO()
    with ZipFile(content, "w", **COMPRESSION) as archive:  # type: ignore[call-overload]
        try:
            schema = _Writer(archive).node(thing)
        except _OtherTypeError:
            return None
        schema |= {"protocol": PROTOCOL, "_skops_version": version("skops")}
        archive.writestr("schema.json", json.dumps(schema, indent=2))
    return content.getvalue()


class _Writer:
    """Puts the arrays of a thing into an archive and makes the nodes of its schema."""

    def __init__(self, archive: ZipFile) -> None:
        self.archive = archive
        self.count = 0

    def node(self, thing: Any) -> dict[str, Any]:
        """The node of one thing and of all that it holds."""
        self.count += 1
        number = self.count
        return {**self._content(thing, number), "__id__": number}

    def _content(self, thing: Any, number: int) -> dict[str, Any]:
        kind = type(thing)
        if kind in _PLAIN:
            return {**_named(str, "JsonNode"), "content": json.dumps(thing), "is_json": True}
        if kind is dict and all(type(key) in _PLAIN for key in thing):
            types = self.node([type(key) for key in thing])
            return {
                **_named(dict, "DictNode"),
                "content": {k: self.node(v) for k, v in thing.items()},
                "key_types": types,
            }
        if kind in (list, tuple):
            items = [self.node(item) for item in thing]
            return {**_named(kind, "ListNode" if kind is list else "TupleNode"), "content": items}
        if isinstance(thing, np.ndarray | np.generic) and thing.dtype != object:
            return {**_named(kind, "NdArrayNode"), "type": "numpy", "file": self._file(np.asarray(thing), number)}
        if isinstance(thing, type):
            return _named(thing, "TypeNode")
        if isinstance(thing, FunctionType):
            return _named(thing, "FunctionNode")
        if isinstance(thing, BaseEstimator):
            return {**_named(kind, "ObjectNode"), "content": self.node(thing.__getstate__())}
        raise _OtherTypeError

    def _file(self, array: Any, number: int) -> str:
        name, content = f"{number}.npy", BytesIO()
        np.save(content, array, allow_pickle=False)
        self.archive.writestr(name, content.getbuffer())
        return name


def _named(thing: type | Callable[..., Any], loader: str) -> dict[str, Any]:
    return {"__class__": thing.__name__, "__module__": thing.__module__, "__loader__": loader}
