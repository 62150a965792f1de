import numpy as np
import pytest
import torch

from hamcache.extract.backbones import BackboneSpec, load_backbone
from hamcache.heads.nets.finetune import FineTuned, build_finetune, layer_depths
from hamcache.heads.nets.net_params import FinetuneParams

SMALL = (32, 32)


def build(backbone: str = "random/test_resnet", seed: int = 0, **params) -> FineTuned:
    return build_finetune(FinetuneParams(backbone=backbone, image_size=SMALL, **params), 3, "fp32", seed)


def pixels(count: int = 4, size: tuple[int, int] = SMALL) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def step(network: FineTuned, phase: str) -> set[str]:
    """One step of SGD; names of what changed in the state dict."""
    for name, value in network.backbone.named_parameters():
        if value.ndim == 1 and name.endswith("weight"):
            torch.nn.init.ones_(value)  # timm begins with residual branches multiplied by 0
    layers = network.trained_layers(phase)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    torch.nn.functional.cross_entropy(network(pixels(12, (96, 96))), torch.arange(12) % 3).backward()
    torch.optim.Adam([p for parameters, _ in layers for p in parameters], lr=0.1).step()
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


def test_extraction_changes_the_last_layer_alone_and_no_statistics() -> None:
    assert step(build(), "extraction") == {"last.weight", "last.bias"}


def test_tuning_changes_every_layer_and_the_batch_norm_statistics() -> None:
    network = build(batch_norm="train")
    changed = step(network, "tuning")
    assert {name for name, _ in network.named_parameters()} <= changed
    assert any("running_mean" in name for name in changed)


def test_batch_norm_learns_but_keeps_its_statistics_unless_told_otherwise() -> None:
    changed = step(build(), "tuning")
    assert not any("running" in name for name in changed)
    assert "backbone.bn1.weight" in changed


def test_frozen_layers_keep_weights_and_statistics() -> None:
    network = build(freeze_depth=0.5, batch_norm="train")
    changed = step(network, "tuning")
    depths = layer_depths(network.backbone)
    frozen = {f"backbone.{name}" for name, depth in depths.items() if depth < round((max(depths.values()) + 1) / 2)}
    assert frozen and not frozen & changed
    assert not any(name.startswith("backbone.bn1") for name in changed)
    assert any(name.startswith("backbone.layer4") for name in changed)
    assert step(build(freeze_depth=1.0), "tuning") == {"last.weight", "last.bias"}


@pytest.mark.parametrize("backbone", ["random/test_resnet", "random/test_vit", "random/torchvision/resnet18"])
def test_learning_rates_fall_layer_by_layer_towards_the_image(backbone: str) -> None:
    network = build_finetune(FinetuneParams(backbone=backbone, layer_decay=0.5), 3, "fp32", 0)
    layers = network.trained_layers("tuning")
    assert layers[0][0][0] is network.last.weight
    assert [share for _, share in layers] == [0.5**n for n in range(len(layers))]
    assert len(layers) > 3
    trained = [id(parameter) for parameters, _ in layers for parameter in parameters]
    assert sorted(trained) == sorted(id(parameter) for parameter in network.parameters())


@pytest.mark.parametrize("backbone", ["random/test_resnet", "random/torchvision/resnet18"])
def test_features_are_those_the_cache_holds(backbone: str) -> None:
    network = build_finetune(FinetuneParams(backbone=backbone), 3, "fp32", 0).eval()
    images = pixels(size=network.preprocessing.size)
    cached = load_backbone(BackboneSpec(backbone)).features(images)["pre_logits"]
    with torch.inference_mode():
        np.testing.assert_allclose(network.features(images).numpy(), cached.numpy(), rtol=1e-3, atol=1e-4)


def test_the_backbones_own_classifier_is_gone() -> None:
    assert not any(value.shape[0] == 1000 for value in build().state_dict().values() if value.ndim)


def test_building_draws_from_the_seed_and_leaves_the_global_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = build(seed=1), build(seed=1), build(seed=2)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one.last.weight, same.last.weight) and not torch.equal(one.last.weight, other.last.weight)
