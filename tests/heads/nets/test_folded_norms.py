import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hamcache.heads.nets.finetune import FineTuned, build_finetune
from hamcache.heads.nets.folded_norms import foldable_pairs, norms_folded
from hamcache.heads.nets.net_params import FinetuneParams

SIZE = (64, 64)


def build(backbone: str, **params) -> FineTuned:
    network = build_finetune(FinetuneParams(backbone=backbone, image_size=SIZE, **params), 3, "fp32", 0)
    generator = torch.Generator().manual_seed(0)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):  # as in a trained network: no two channels alike
            norm.running_mean.copy_(torch.randn(norm.running_mean.shape, generator=generator) / 4)
            norm.running_var.copy_(torch.rand(norm.running_var.shape, generator=generator) + 0.5)
            nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(norm.bias, generator=generator)
    network.trained_layers("tuning")
    return network.train()


def gradients(network: FineTuned) -> dict[str, torch.Tensor]:
    images = torch.randint(0, 256, (4, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    network.zero_grad()
    F.cross_entropy(network(images), torch.arange(4) % 3).backward()
    return {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize(
    "backbone", ["random/test_resnet", "random/tf_efficientnet_lite0", "random/torchvision/resnet18"]
)
def test_folded_norms_give_the_same_gradients_to_the_same_parameters(backbone: str) -> None:
    network = build(backbone)
    plain, names = gradients(network), list(network.state_dict())
    with network.in_training():
        folded = gradients(network)
        assert list(network.state_dict()) == names
    assert network._pairs
    assert folded.keys() == plain.keys()
    largest = max(float(gradient.norm()) for gradient in plain.values())
    for name, gradient in plain.items():
        assert float((folded[name] - gradient).norm()) <= 1e-3 * float(gradient.norm()) + 1e-4 * largest, name


def test_afterwards_the_network_is_as_it_was() -> None:
    network = build("random/test_resnet")
    before = gradients(network)
    with pytest.raises(ZeroDivisionError), network.in_training():
        gradients(network)
        raise ZeroDivisionError
    after = gradients(network)
    assert all(torch.equal(after[name], gradient) for name, gradient in before.items())
    convs = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    assert not any({"weight", "bias"} & part.__dict__.keys() or part._forward_hooks for part in convs)


def test_a_forward_pass_that_fails_leaves_no_folded_weights() -> None:
    network = build("random/test_resnet")
    with network.in_training():
        with pytest.raises(RuntimeError):
            network.backbone(torch.zeros(1, 5, *SIZE))
        assert network.backbone.get_submodule(network._pairs[0][0]).weight.is_leaf


def test_norms_that_follow_the_batches_are_not_folded() -> None:
    network = build("random/test_resnet", batch_norm="train")
    with network.in_training():
        assert not any("forward" in part.__dict__ for part in network.modules())


class UsedTwice(nn.Module):
    """A convolution whose output goes into its norm, and elsewhere too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        nn.init.uniform_(self.norm.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.conv(images)
        return (self.norm(maps) + maps).mean((2, 3))


def test_a_network_whose_outputs_would_change_is_left_alone() -> None:
    module = UsedTwice().eval()
    assert foldable_pairs(module, torch.rand(1, 3, 8, 8), module) == ()


def test_convolutions_with_an_offset_and_norms_without_parameters_are_folded_too() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU()).eval()
    module[1].running_mean.fill_(0.3)
    images = torch.rand(2, 3, 8, 8)
    pairs = foldable_pairs(module, images, module)
    assert pairs == [("0", "1")]
    with norms_folded(module, pairs):
        folded = module(images)
    torch.testing.assert_close(folded, module(images))
