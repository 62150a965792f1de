import pytest
import torch

from hamcache.heads.errors import NetShapeError
from hamcache.heads.nets.net_params import SimpleCNNParams
from hamcache.heads.nets.simple_cnn import build_simple_cnn, pooled_size


def tiny(**params) -> SimpleCNNParams:
    return SimpleCNNParams(**{"conv": [[4, 3, 2, 0.1]] * 3, "fc": [[8, 0.1]] * 3, "image_size": [16, 24], **params})


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (64, 40)])
@pytest.mark.parametrize("kernel", [1, 2, 5])
def test_any_input_size_gives_one_row_of_logits_an_image(size: tuple[int, int], kernel: int) -> None:
    params = tiny(image_size=size, conv=[[4, kernel, 2, 0.0], [5, 3, 1, 0.0], [6, 3, 2, 0.2]])
    network = build_simple_cnn(params, n_classes=7, precision="fp32", seed=0)
    logits = network(torch.randint(0, 256, (5, 3, *size), dtype=torch.uint8))
    assert logits.shape == (5, 7) and logits.dtype == torch.float32


def test_layers_are_those_of_the_parameters() -> None:
    network = build_simple_cnn(SimpleCNNParams(), 7, "fp32", 0)
    shapes = {name: tuple(value.shape) for name, value in network.named_parameters() if value.ndim > 1}
    assert shapes == {
        "conv.0.0.weight": (32, 3, 5, 5),
        "conv.1.0.weight": (64, 32, 3, 3),
        "conv.2.0.weight": (128, 64, 3, 3),
        "fc.0.0.weight": (256, 128 * 6 * 8),
        "fc.1.0.weight": (128, 256),
        "fc.2.0.weight": (64, 128),
        "last.weight": (7, 64),
    }


def test_pools_that_leave_nothing_of_the_image_are_refused() -> None:
    with pytest.raises(NetShapeError, match="nothing is left of 16x24 pixels after pool 3: set a larger image_size"):
        pooled_size((16, 24), [4, 4, 2])


def test_building_draws_from_the_seed_and_leaves_the_global_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (build_simple_cnn(tiny(), 3, "fp32", seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one.conv[0][0].weight, same.conv[0][0].weight)
    assert not torch.equal(one.conv[0][0].weight, other.conv[0][0].weight)


def test_batch_norm_stands_between_convolution_and_activation() -> None:
    network = build_simple_cnn(tiny(batch_norm=True), 3, "fp32", 0)
    assert [type(layer).__name__ for layer in network.conv[1]] == [
        "Conv2d",
        "BatchNorm2d",
        "ReLU",
        "MaxPool2d",
        "Dropout",
    ]
