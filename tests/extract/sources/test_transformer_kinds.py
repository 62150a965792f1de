"""Transformers: class token, mean of the patches, both; from timm's hub and folder names, OpenCLIP, transformers."""

import json

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from hamcache.extract.backbones import BackboneSpec, describe_backbone, load_backbone
from hamcache.extract.errors import HubUnreachableError, UnknownBackboneError, UnknownKindError, WeightsError
from hamcache.extract.names import full_name, split_kind, split_list

TOKENS = ("pre_logits", "stages", "cls", "mean", "cls_mean")


def images_for(backbone, n=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, *backbone.preprocessing.size), dtype=torch.uint8, generator=generator)


def close(ours, theirs):
    return np.allclose(ours.numpy(), theirs.float().numpy(), atol=1e-4)


def check_describes(backbone):
    """What is said before anything runs is what comes out."""
    about = describe_backbone(backbone.spec)
    assert about.kinds == backbone.dims(backbone.forward.kinds) and about.preprocessing == backbone.preprocessing
    return about


def test_names_with_colons_are_not_cut():
    assert split_kind("hf-hub:timm/resnet18.a1_in1k:stages") == ("hf-hub:timm/resnet18.a1_in1k", "stages")
    assert split_kind("local-dir:models/mean") == ("local-dir:models/mean", "pre_logits")
    assert split_kind("local-dir:mean") == ("local-dir:mean", "pre_logits")
    assert split_kind("./nets.py:build:cls_mean") == ("nets.py:build", "cls_mean")
    assert full_name("random/local-dir:nets/a/:pre_logits") == "random/local-dir:nets/a"
    assert split_list("open_clip/ViT-B-32@openai:cls, pkg.nets:build") == [
        "open_clip/ViT-B-32@openai:cls",
        "pkg.nets:build",
    ]
    for wrong in ("resnet34:stage", "torchvision/resnet18:build", "a:b:c", "nets.py:class_mean2:x"):
        with pytest.raises(UnknownKindError, match="cls_mean"):
            split_kind(wrong)


def test_tokens_of_a_timm_transformer():
    backbone = load_backbone(BackboneSpec("random/test_vit"))
    assert backbone.forward.kinds == TOKENS
    images = images_for(backbone)
    features = backbone.features(images, TOKENS)
    with torch.inference_mode():
        tokens = backbone.module.forward_features(backbone.preprocessing.normalize(images))
    assert close(features["cls"], tokens[:, 0]) and close(features["mean"], tokens[:, 1:].mean(1))
    assert close(features["cls_mean"], torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], dim=1))
    assert torch.equal(features["pre_logits"], backbone.features(images)["pre_logits"])
    check_describes(backbone)
    registers = load_backbone(BackboneSpec("random/test_vit2"))  # a register, but no class token
    assert registers.forward.kinds == ("pre_logits", "stages", "mean")
    with pytest.raises(UnknownKindError, match="pre_logits, stages, mean"):
        registers.dims(["cls"])


def test_a_folder_of_timm_is_a_backbone(tmp_path, monkeypatch):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = timm.create_model("test_vit", num_classes=3)
    folder = tmp_path / "net"
    timm.models.save_for_hf(model, folder, model_config={"num_classes": 3}, safe_serialization=True)
    monkeypatch.chdir(tmp_path)
    backbone = load_backbone(BackboneSpec(full_name("local-dir:net")))
    images = images_for(backbone)
    with torch.inference_mode():
        expected = model.eval().forward_features(backbone.preprocessing.normalize(images))[:, 0]
    assert close(backbone.features(images, ["cls"])["cls"], expected)
    assert "the folder net" in check_describes(backbone).origin
    assert load_backbone(BackboneSpec("random/local-dir:net")).digest != backbone.digest
    state = load_file(folder / "model.safetensors")
    save_file({key: value for key, value in state.items() if "blocks.1" not in key}, folder / "model.safetensors")
    for name in ("local-dir:net", "local-dir:absent"):
        with pytest.raises(UnknownBackboneError, match=name):
            load_backbone(BackboneSpec(name))


def test_a_hub_that_is_out_of_reach_is_said_for_every_source(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubUnreachableError, match="hf-hub:nobody/nothing"):
        load_backbone(BackboneSpec("hf-hub:nobody/nothing"))


# -- OpenCLIP


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    """A small model of OpenCLIP, known by a name, with a file of its weights."""
    open_clip = pytest.importorskip("open_clip", reason="the extra open-clip is not installed")
    folder = tmp_path_factory.mktemp("clip")
    vision = {"image_size": 32, "layers": 7, "width": 64, "head_width": 32, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    (folder / "tiny-clip.json").write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(folder)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = open_clip.create_model("tiny-clip").eval()
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "weights.safetensors")
    return model, folder / "weights.safetensors"


def test_image_towers_of_openclip(tiny_clip):
    model, file = tiny_clip
    backbone = load_backbone(BackboneSpec("open_clip/tiny-clip", weights=str(file)))
    assert backbone.forward.kinds == TOKENS and backbone.preprocessing.mean[0] == pytest.approx(0.4814, abs=1e-3)
    images = images_for(backbone)
    features = backbone.features(images, TOKENS)
    with torch.inference_mode():
        pixels = backbone.preprocessing.normalize(images)
        expected = model.encode_image(pixels)
        model.visual.output_tokens = True
        pooled, tokens = model.visual(pixels)
        model.visual.output_tokens = False
        projected = features["cls"] @ model.visual.proj
    assert close(features["pre_logits"], expected) and close(pooled, projected)
    assert close(features["mean"], tokens.mean(dim=1))
    assert torch.equal(features["pre_logits"], backbone.features(images)["pre_logits"])
    assert backbone.dims(["stages"])["stages"] == 6 * 2 * 64
    check_describes(load_backbone(BackboneSpec("random/open_clip/tiny-clip")))
    with pytest.raises(UnknownBackboneError, match="TAG"):
        load_backbone(BackboneSpec("open_clip/tiny-clip"))
    with pytest.raises(UnknownBackboneError, match=r"Did you mean .*ViT-B-32"):
        load_backbone(BackboneSpec("open_clip/ViT-B-3"))
    with pytest.raises(UnknownBackboneError, match="openai"):
        load_backbone(BackboneSpec("open_clip/RN50@opennai"))
    state = load_file(file)
    save_file({k: v for k, v in state.items() if "resblocks.3" not in k}, file.with_name("holed.safetensors"))
    with pytest.raises(WeightsError, match="missing"):
        load_backbone(BackboneSpec("open_clip/tiny-clip", weights=str(file.with_name("holed.safetensors"))))


# -- transformers


def saved_model(folder, config, processor):
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = transformers.AutoModel.from_config(config).eval()
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return model


PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 32, "width": 32},
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 7,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("transformers", reason="the extra transformers is not installed")


def test_transformers_of_the_transformers_library(library, tmp_path):
    model = saved_model(tmp_path, library.Dinov2Config(**VISION), PROCESSOR)
    backbone = load_backbone(BackboneSpec(f"transformers/{tmp_path}"))
    assert backbone.forward.kinds == TOKENS and backbone.preprocessing.mean == (0.5, 0.5, 0.5)
    images = images_for(backbone)
    features = backbone.features(images, TOKENS)
    with torch.inference_mode():
        output = model(backbone.preprocessing.normalize(images))
    assert close(features["pre_logits"], output.pooler_output)
    assert close(features["cls"], output.last_hidden_state[:, 0])
    assert close(features["mean"], output.last_hidden_state[:, 1:].mean(dim=1))
    assert backbone.dims(["stages"])["stages"] == 6 * 2 * 32
    assert "the folder" in check_describes(backbone).origin
    state = load_file(tmp_path / "model.safetensors")
    holed = {key: value for key, value in state.items() if "layer.3" not in key}
    save_file(holed, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnknownBackboneError, match="missing"):
        load_backbone(BackboneSpec(f"transformers/{tmp_path}"))


def test_a_pooling_layer_that_weights_often_lack_is_left_out_and_of_a_pair_the_image_tower_is_taken(library, tmp_path):
    vit = saved_model(tmp_path / "vit", library.ViTConfig(**VISION), PROCESSOR)
    backbone = load_backbone(BackboneSpec(f"transformers/{tmp_path / 'vit'}"))
    images = images_for(backbone)
    with torch.inference_mode():
        expected = vit(backbone.preprocessing.normalize(images)).last_hidden_state[:, 0]
    assert close(backbone.features(images)["pre_logits"], expected)
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = library.SiglipConfig(text_config={**text, "vocab_size": 100}, vision_config=VISION)
    processor = {**PROCESSOR, "image_processor_type": "SiglipImageProcessor"}
    pair = saved_model(tmp_path / "pair", config, processor)
    backbone = load_backbone(BackboneSpec(f"transformers/{tmp_path / 'pair'}"))
    assert backbone.forward.kinds == ("pre_logits", "stages", "mean")
    with torch.inference_mode():
        expected = pair.vision_model(backbone.preprocessing.normalize(images)).pooler_output
    assert close(backbone.features(images)["pre_logits"], expected)


def test_maps_of_the_transformers_library(library, tmp_path):
    config = library.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2)
    processor = {**PROCESSOR, "image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}}
    saved_model(tmp_path, config, processor)
    backbone = load_backbone(BackboneSpec(f"transformers/{tmp_path}"))
    assert backbone.dims(backbone.forward.kinds) == {"pre_logits": 16, "stages": 48}
    assert backbone.preprocessing.size == (32, 32)
