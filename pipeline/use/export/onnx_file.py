"""One ONNX file: pixels, networks, head, calibration and sets in one graph."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import onnx
import torch
from onnx import ModelProto, TensorProto, compose, helper

from hamcache.pipeline.use.export.onnx_bfloat16 import emulate_bfloat16
from hamcache.pipeline.use.export.onnx_graph import OPSET, Graph
from hamcache.pipeline.use.export.onnx_pixels import network_input
from hamcache.pipeline.use.export.run_module import Portable

IMAGES, PROBABILITIES, SETS = "images", "probabilities", "prediction_set"
IR_VERSION = 10
"""What runtimes since early 2024 read."""
_EXAMPLES = 2


def build_model(portable: Portable, n_classes: int) -> ModelProto:
    """The graph from `images` (uint8 `[n, height, width, 3]`) to `probabilities` and `prediction_set` (`[n, C]`).

    The same run gives the same bytes.
    """
    names = [f"network_{number}" for number in range(len(portable.seen))]
    graph = Graph("pixels/")
    made = [network_input(graph, IMAGES, seen.preprocessing, seen.draws, seen.stored_side) for seen in portable.seen]
    pixels = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "pixels",
            [helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, ["n", "height", "width", 3])],
            [
                helper.make_tensor_value_info(
                    name, TensorProto.FLOAT, [len(seen.draws), "n", 3, *seen.preprocessing.size]
                )
                for name, seen in zip(made, portable.seen, strict=True)
            ],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    core = _core(portable, names)
    model = compose.merge_models(pixels, core, io_map=list(zip(made, names, strict=True)), name="hamcache")
    model.ir_version = IR_VERSION
    del model.graph.value_info[:], model.opset_import[1:]
    for output, kind in zip(model.graph.output, (TensorProto.FLOAT, TensorProto.BOOL), strict=True):
        output.CopyFrom(helper.make_tensor_value_info(output.name, kind, ["n", n_classes]))
    onnx.checker.check_model(model)
    return model


def add_metadata(model: ModelProto, metadata: Mapping[str, str], about: str) -> None:
    """Write texts by name into the model, and what it is into its description."""
    model.producer_name, model.doc_string = "hamcache", about
    helper.set_model_props(model, dict(metadata))


def _core(portable: Portable, names: list[str]) -> ModelProto:
    """The networks and all behind them, by PyTorch's exporter; whatever it notes of this machine is taken out."""
    n = torch.export.Dim("n")
    examples = [torch.zeros(len(seen.draws), _EXAMPLES, 3, *seen.preprocessing.size) for seen in portable.seen]
    with _quietly(), torch.no_grad():
        program = torch.onnx.export(
            portable,
            (examples,),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=([{1: n} for _ in examples],),
            input_names=names,
            output_names=[PROBABILITIES, SETS],
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    model.ir_version = IR_VERSION
    emulate_bfloat16(model)
    for part in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
    ):
        del part.metadata_props[:]
        part.doc_string = ""
    del model.graph.value_info[:]
    return model


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's remarks on its own workings."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
