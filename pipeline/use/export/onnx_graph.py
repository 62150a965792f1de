"""Writing an ONNX graph node by node."""

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

OPSET = 20


class Graph:
    """Nodes and constants that are added one by one; a value is called by its name.

    Args:
        prefix: Begins every name, so that graphs can be joined.
    """

    def __init__(self, prefix: str) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._prefix = prefix
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def __call__(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; returns the output's name."""
        name = f"{self._prefix}{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.float64) -> str:
        """A constant; equal ones are kept once."""
        array = np.asarray(value, dtype=dtype)
        known = (array.dtype.str, array.shape, array.tobytes())
        if known not in self._known:
            self._known[known] = f"{self._prefix}constant_{len(self._known)}"
            self.initializers.append(numpy_helper.from_array(array, self._known[known]))
        return self._known[known]

    def ints(self, *values: int) -> str:
        """A constant int64 vector."""
        return self.constant(values, np.int64)

    def cast(self, value: str, to: int) -> str:
        """The same numbers as another type, e.g. `TensorProto.DOUBLE`."""
        return self("Cast", value, to=to)

    def size(self, value: str, axis: int) -> str:
        """Length of one axis, int64 `[1]`."""
        return self("Shape", value, start=axis, end=axis + 1)

    def sliced(self, value: str, start: str, end: str, axis: int, step: int = 1) -> str:
        """Part of one axis; `start` and `end` are int64 `[1]`."""
        return self("Slice", value, start, end, self.ints(axis), self.ints(step))
