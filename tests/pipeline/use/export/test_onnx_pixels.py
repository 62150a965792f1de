import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from hamcache.extract.draws import ViewDraw
from hamcache.extract.kernels import ImageViews
from hamcache.extract.preprocess import Preprocessing
from hamcache.heads.nets.decoded import reduced
from hamcache.pipeline.use.export.onnx_graph import OPSET, Graph
from hamcache.pipeline.use.export.onnx_pixels import network_input

DRAWS = [ViewDraw(symmetry=number) for number in range(8)]
SIZES = [(30, 40), (151, 200), (47, 33), (450, 600), (77, 77), (9, 300)]


def session(preprocessing: Preprocessing, stored_side: int | None) -> onnxruntime.InferenceSession:
    graph = Graph("pixels/")
    made = network_input(graph, "images", preprocessing, DRAWS, stored_side)
    given = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", "height", "width", 3])
    output = helper.make_tensor_value_info(made, TensorProto.FLOAT, None)
    proto = helper.make_graph(graph.nodes, "pixels", [given], [output], graph.initializers)
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    return onnxruntime.InferenceSession(model.SerializeToString())


@pytest.mark.parametrize("fit", ["crop", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(
    ("size", "crop_pct", "stored_side"), [((64, 64), 0.875, None), ((40, 60), 0.95, None), ((60, 40), 1.0, 50)]
)
def test_every_symmetry_of_every_size_is_resized_to_the_last_bit(
    fit: str, interpolation: str, size: tuple[int, int], crop_pct: float, stored_side: int | None
) -> None:
    """Pixels, not only probabilities: what is wrong by one grey level here would be hard to find later."""
    preprocessing = Preprocessing(size, fit, crop_pct, interpolation, (0, 0, 0), (1, 1, 1))
    runs = session(preprocessing, stored_side)
    rng = np.random.default_rng(0)
    for height, width in SIZES:
        images = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        tensors = [reduced(torch.from_numpy(image).permute(2, 0, 1), stored_side) for image in images]
        expected = [[ImageViews(one).fitted(draw, preprocessing.frame).numpy() for one in tensors] for draw in DRAWS]
        np.testing.assert_array_equal(runs.run(None, {"images": images})[0], np.array(expected, dtype=np.float32))
