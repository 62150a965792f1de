import numpy as np
import pytest

from hamcache.data.digests import file_digests
from hamcache.extract.augmentations import get_augmentation
from hamcache.extract.backbones import BackboneSpec
from hamcache.extract.fill import ExtractionRequest, run_extraction

NET = BackboneSpec("random/test_resnet.r160_in1k")
OTHER = BackboneSpec("random/test_byobnet.r160_in1k")


@pytest.fixture
def extract(ham10000_table, tmp_path):
    """Run an extraction into this test's cache; anything can be overridden."""

    def run(table=None, nets=(NET,), augmentations=("none",), views=1, root=None, **options):
        table = table or ham10000_table
        pairs = [net if isinstance(net, tuple) else (net, "pre_logits") for net in nets]
        drawn = [get_augmentation(name) if isinstance(name, str) else name for name in augmentations]
        asked = {
            name: options.pop(name) for name in ("seed", "device", "storage", "chunk_mib", "source") if name in options
        }
        request = ExtractionRequest(table, file_digests(table), pairs, drawn, views, **asked)
        return run_extraction(request, root or tmp_path / "features", **options)

    return run


def everything(catalogue) -> dict[str, np.ndarray]:
    """All features of all stores, by folder."""
    return {s.folder: s.read(s.image_ids, list(range(s.n_views))) for s in catalogue.stores()}
