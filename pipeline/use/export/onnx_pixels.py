"""From raw pixels to a network's input inside an ONNX graph, to the last bit what `extract` does.

Antialiased resizing of 8-bit images is integer arithmetic in PyTorch: the filter's weights are rounded to 16 bits, one
axis is resized after the other, and each result is rounded to 8 bits. ONNX has an operator for resizing, but none that
rounds like this, so it is written here as two matrix products whose matrices the graph makes from the image's size. In
double precision these products are exact.
"""

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from hamcache.extract.draws import ViewDraw
from hamcache.extract.preprocess import Preprocessing
from hamcache.pipeline.use.export.onnx_graph import Graph

HEIGHT, WIDTH = 2, 3
_LAST = np.iinfo(np.int64).min  # the end of an axis that is walked backwards
_HALF_WIDTHS = {"bicubic": 2.0, "bilinear": 1.0}
_SHARPNESS = -0.5
"""The cubic filter's parameter (Keys 1981) where it is antialiased."""
_MOST_BITS = 22


def network_input(
    graph: Graph, images: str, preprocessing: Preprocessing, draws: Sequence[ViewDraw], stored_side: int | None = None
) -> str:
    """Add what a network must see of some images: float32 `[draws, n, 3, *size]`, values 0 to 255.

    Args:
        graph: Gets the nodes.
        images: uint8 `[n, height, width, 3]`.
        preprocessing: The network's.
        draws: Symmetries of the image, nothing else.
        stored_side: Images with a longer short side are first reduced to it (for nets, see `heads.nets.decoded`).
    """
    image = graph("Transpose", images, perm=[0, 3, 1, 2])
    if stored_side is not None:
        image = _reduced(graph, image, stored_side)
    views = [_fitted(graph, _turned(graph, image, draw), preprocessing) for draw in draws]
    stacked = [graph("Unsqueeze", view, graph.ints(0)) for view in views]
    return graph.cast(graph("Concat", *stacked, axis=0), TensorProto.FLOAT)


def _turned(graph: Graph, image: str, draw: ViewDraw) -> str:
    """One of the eight symmetries, as `extract.kernels.turned` makes them."""
    if draw.symmetry & 1:
        image = graph.sliced(image, graph.ints(-1), graph.ints(_LAST), WIDTH, -1)
    if draw.symmetry & 2:
        image = graph.sliced(image, graph.ints(-1), graph.ints(_LAST), HEIGHT, -1)
    return graph("Transpose", image, perm=[0, 1, 3, 2]) if draw.symmetry & 4 else image


def _fitted(graph: Graph, image: str, preprocessing: Preprocessing) -> str:
    """The arithmetic of `Preprocessing.resize`."""
    if preprocessing.fit == "crop":
        height, width = graph.size(image, HEIGHT), graph.size(image, WIDTH)
        short = graph.cast(graph("Min", height, width), TensorProto.DOUBLE)
        side = graph("Round", graph("Mul", short, graph.constant([preprocessing.crop_pct])))
        side = graph("Max", side, graph.constant([1.0]))
        target = preprocessing.size[0] / preprocessing.size[1]
        for axis, length, share in ((HEIGHT, height, min(1, target)), (WIDTH, width, min(1, 1 / target))):
            kept = graph("Round", graph("Mul", side, graph.constant([float(share)])))
            spare = graph("Sub", graph.cast(length, TensorProto.DOUBLE), kept)
            start = graph("Round", graph("Div", spare, graph.constant([2.0])))
            start, end = (graph.cast(v, TensorProto.INT64) for v in (start, graph("Add", start, kept)))
            image = graph.sliced(image, start, end, axis)
    size = [graph.constant([float(length)]) for length in preprocessing.size]
    return _resized(graph, image, size, preprocessing.interpolation)


def _reduced(graph: Graph, image: str, stored_side: int) -> str:
    """The arithmetic of `heads.nets.decoded.reduced`; a small enough image is resized to its own size: no change."""
    lengths = [graph.cast(graph.size(image, axis), TensorProto.DOUBLE) for axis in (HEIGHT, WIDTH)]
    side, short = graph.constant([float(stored_side)]), graph("Min", *lengths)
    is_longer = graph("Greater", short, side)
    reduced = [graph("Floor", graph("Div", graph("Mul", side, length), short)) for length in lengths]
    size = [graph("Where", is_longer, less, length) for less, length in zip(reduced, lengths, strict=True)]
    return _resized(graph, image, size, "bilinear")


def _resized(graph: Graph, image: str, size: Sequence[str], interpolation: str) -> str:
    """Images `[n, 3, h, w]` at another size (double `[1]` each): double, whole numbers from 0 to 255."""
    image = graph.cast(image, TensorProto.DOUBLE)
    for axis in (WIDTH, HEIGHT):
        old = graph.cast(graph.size(image, axis), TensorProto.DOUBLE)
        weights, unit = _weights(graph, old, size[axis - HEIGHT], interpolation)
        if axis == WIDTH:
            image = graph("MatMul", image, graph("Transpose", weights, perm=[1, 0]))
        else:
            image = graph("MatMul", weights, image)
        image = graph("Floor", graph("Add", graph("Div", image, unit), graph.constant(0.5)))
        image = graph("Clip", image, graph.constant(0.0), graph.constant(255.0))
    return image


def _weights(graph: Graph, old: str, new: str, interpolation: str) -> tuple[str, str]:
    """Weight of each old pixel in each new one, whole numbers `[new, old]` (double), and what stands for 1."""
    unity, half = graph.constant([1.0]), graph.constant([0.5])
    scale = graph("Div", old, new)
    stretch = graph("Max", scale, unity)
    support = graph("Mul", stretch, graph.constant([_HALF_WIDTHS[interpolation]]))
    centres = graph("Mul", scale, graph("Add", _counted(graph, new), half))
    centres = graph("Unsqueeze", centres, graph.ints(1))
    first = graph("Floor", graph("Add", graph("Sub", centres, support), half))
    first = graph("Max", first, graph.constant([0.0]))
    end = graph("Min", graph("Floor", graph("Add", graph("Add", centres, support), half)), old)
    pixels = _counted(graph, old)
    distance = graph("Abs", graph("Div", graph("Add", graph("Sub", pixels, centres), half), stretch))
    near = graph("And", graph("GreaterOrEqual", pixels, first), graph("Less", pixels, end))
    weights = graph("Where", near, _filter(graph, distance, interpolation), graph.constant([0.0]))
    weights = graph("Div", weights, graph("ReduceSum", weights, graph.ints(1), keepdims=1))
    # As many bits as the largest weight leaves in 16.
    largest = graph("ReduceMax", weights, keepdims=0)
    powers = graph.constant(2.0 ** np.arange(1, _MOST_BITS + 1))
    fitting = graph(
        "Less", graph("Floor", graph("Add", graph("Mul", powers, largest), half)), graph.constant([2.0**15])
    )
    bits = graph("ReduceSum", graph.cast(fitting, TensorProto.DOUBLE), graph.ints(0), keepdims=0)
    unit = graph("Pow", graph.constant(2.0), bits)
    size = graph("Floor", graph("Add", graph("Mul", graph("Abs", weights), unit), half))
    return graph("Mul", graph("Sign", weights), size), unit


def _filter(graph: Graph, x: str, interpolation: str) -> str:
    """The filter at distances `x` from its centre."""
    zero, unity, a = graph.constant([0.0]), graph.constant([1.0]), _SHARPNESS
    if interpolation == "bilinear":
        return graph("Max", graph("Sub", unity, x), zero)

    def times(value: str, factor: float) -> str:
        return graph("Mul", value, graph.constant([factor]))

    def plus(value: str, summand: float) -> str:
        return graph("Add", value, graph.constant([summand]))

    inner = graph("Mul", graph("Mul", plus(times(x, a + 2), -(a + 3)), x), x)
    outer = graph("Mul", plus(graph("Mul", plus(x, -5.0), x), 8.0), x)
    far = graph("Where", graph("Less", x, graph.constant([2.0])), times(plus(outer, -4.0), a), zero)
    return graph("Where", graph("Less", x, unity), plus(inner, 1.0), far)


def _counted(graph: Graph, length: str) -> str:
    """0, 1, ... below a length (double `[1]`)."""
    end = graph("Squeeze", length, graph.ints(0))
    return graph("Range", graph.constant(0.0), end, graph.constant(1.0))
