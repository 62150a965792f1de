"""bfloat16 arithmetic for runtimes that have none: every result is rounded, and everything is computed in float32."""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

EXACT = {"Clip", "Concat", "Flatten", "Identity", "MaxPool", "Pad", "Relu", "Reshape", "Slice", "Split", "Squeeze"}
EXACT |= {"Transpose", "Unsqueeze", "Where"}
"""Operators that give back numbers they were given: nothing is left to be rounded."""
BFLOAT16, FLOAT = TensorProto.BFLOAT16, TensorProto.FLOAT


def emulate_bfloat16(model: ModelProto) -> None:
    """Replace the graph's bfloat16 values by float32 ones that are rounded to bfloat16, in place.

    A processor's bfloat16 operators multiply rounded numbers, sum in float32 and round the sum, so this gives the same
    numbers but for the order of summation.

    Args:
        model: Its `value_info` knows the type of every value.
    """
    graph = model.graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    for tensor in graph.initializer:
        kinds[tensor.name] = tensor.data_type
        if tensor.data_type == BFLOAT16:
            values = np.asarray(numpy_helper.to_array(tensor), dtype=np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type == "Cast":
            nodes += _cast(node, kinds)
        elif BFLOAT16 in (kinds.get(name) for name in node.output) and node.op_type not in EXACT:
            nodes += _rounded(node, kinds)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _cast(node: NodeProto, kinds: dict[str, int]) -> list[NodeProto]:
    (given,), (made,) = node.input, node.output
    to = next(attribute.i for attribute in node.attribute if attribute.name == "to")
    if kinds.get(given) == BFLOAT16 and to in (BFLOAT16, FLOAT):
        return [helper.make_node("Identity", [given], [made], name=node.name)]
    return _rounding(given, made) if to == BFLOAT16 else [node]


def _rounded(node: NodeProto, kinds: dict[str, int]) -> list[NodeProto]:
    added = [node]
    for number, name in enumerate(node.output):
        if kinds.get(name) == BFLOAT16:
            node.output[number] = f"{name}/exact"
            added += _rounding(f"{name}/exact", name)
    return added


def _rounding(given: str, made: str) -> list[NodeProto]:
    """A float32 value rounded to bfloat16, as float32."""
    return [
        helper.make_node("Cast", [given], [f"{made}/bfloat16"], name=f"{made}/round", to=BFLOAT16),
        helper.make_node("Cast", [f"{made}/bfloat16"], [made], name=f"{made}/widen", to=FLOAT),
    ]
