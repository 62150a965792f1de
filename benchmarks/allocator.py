"""Forward passes with and without the memory that `extract` keeps."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

from benchmarks.apart import Work, apart
from benchmarks.harness import Costs, LeftOutError, Round, Setting, cores
from hamcache.extract.allocator import keep_memory


def kept_memory(setting: Setting, backbone: str) -> Iterator[Round]:
    """Forward passes in as many threads as there are cores: a process that keeps memory beside one that does not."""
    if not keep_memory():
        raise LeftOutError("the C library is not glibc")
    batches = setting.of(24, 12, 2)
    with apart(passes, False, backbone, batches) as base, apart(passes, True, backbone, batches) as ours:
        while True:
            plain = base()
            yield {"kept": Costs(ours(), plain)}


def passes(keep: bool, backbone: str, batches: int) -> Work:
    """Forward passes of that many batches, in a process that keeps memory or does not."""
    import torch

    from hamcache.extract.backbones import BackboneSpec, load_backbone
    from hamcache.extract.forward import BATCH, use_one_thread
    from hamcache.extract.precision import resolve_precision

    with mock.patch("hamcache.extract.backbones.keep_memory", keep_memory if keep else lambda: False):
        network = load_backbone(BackboneSpec(backbone, precision=resolve_precision("auto")))
    images = torch.zeros((BATCH, 3, *network.preprocessing.size), dtype=torch.uint8)

    def one(_: int) -> None:
        use_one_thread()
        network.features(images)

    def work() -> None:
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(one, range(batches)))

    return work
