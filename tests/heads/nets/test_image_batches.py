from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hamcache.extract.augmentations import get_augmentation
from hamcache.extract.preprocess import Preprocessing
from hamcache.heads.nets.decoded import in_memory
from hamcache.heads.nets.image_batches import TrainingBatches, ViewSource, repeat_numbers, stacked

IDS = [f"i{number:02d}" for number in range(30)]
Y = np.array([0] * 20 + [1] * 7 + [2] * 3)


def source(
    augmentation: str = "original", ids: list[str] | None = None, size: tuple[int, int] = (12, 16)
) -> ViewSource:
    rng = np.random.default_rng(0)
    images = in_memory(
        {image_id: torch.from_numpy(rng.integers(0, 256, (3, 15, 20), dtype=np.uint8)) for image_id in IDS}
    )
    preprocessing = Preprocessing(size, "squash", 1.0, "bilinear", (0.5,) * 3, (0.25,) * 3)
    return ViewSource(images, ids or IDS, get_augmentation(augmentation), preprocessing, seed=3)


def batches(seed: int = 0, sampler: str = "shuffle", epoch: int = 0, augmentation: str = "original") -> TrainingBatches:
    data = SimpleNamespace(X=np.arange(len(Y)), y=Y)
    return TrainingBatches(data, source(augmentation), 8, seed, sampler, epoch)


@given(st.integers(0, 29), st.integers(0, 1000), st.integers(0, 3))
def test_a_view_depends_on_the_image_and_the_epoch_alone(row: int, epoch: int, repeat: int) -> None:
    alone = source(ids=[IDS[row]])
    assert torch.equal(source().epoch_view(row, epoch, repeat), alone.epoch_view(0, epoch, repeat))


def test_every_epoch_shows_another_view_of_an_image() -> None:
    views = [source().epoch_view(4, epoch) for epoch in range(5)]
    assert all(not torch.equal(one, other) for n, one in enumerate(views) for other in views[:n])


def test_eight_epochs_show_all_symmetries_and_one_epoch_mixes_them() -> None:
    square = source("dihedral", size=(12, 12))
    views = {source("dihedral", size=(12, 12)).epoch_view(0, epoch).numpy().tobytes() for epoch in range(8)}
    assert len(views) == 8
    plain = [square.view(row, 0) for row in range(30)]
    same = [torch.equal(square.epoch_view(row, 0), plain[row]) for row in range(30)]
    assert 0 < sum(same) < 15


def test_the_batches_of_an_epoch_depend_on_its_number_and_not_on_those_before() -> None:
    whole = batches()
    list(whole)
    second, fresh = list(whole), list(batches(epoch=1))
    assert len(second) == len(whole) == 4
    for (images, codes), (images_again, codes_again) in zip(second, fresh, strict=True):
        assert torch.equal(images, images_again) and torch.equal(codes, codes_again)
    assert not np.array_equal(whole.order(0), whole.order(1))
    assert not np.array_equal(whole.order(0), batches(seed=1).order(0))


def test_shuffled_batches_show_every_image_once_with_its_code_in_batches_of_like_size() -> None:
    seen = list(batches(augmentation="none"))
    assert [len(images) for images, _ in seen] == [8, 8, 7, 7]
    plain = {source("none").view(row, 0).numpy().tobytes(): Y[row] for row in range(30)}
    shown = [
        (image.numpy().tobytes(), int(code))
        for images, codes in seen
        for image, code in zip(images, codes, strict=True)
    ]
    assert len({pixels for pixels, _ in shown}) == 30
    assert all(plain[pixels] == code for pixels, code in shown)


def test_balanced_sampling_shows_all_classes_equally_often() -> None:
    sampler = batches(sampler="balanced")
    drawn = np.concatenate([Y[sampler.order(epoch)] for epoch in range(100)])
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), 1 / 3, atol=0.03)
    assert len(sampler.order(0)) == 30


def test_an_image_drawn_twice_in_an_epoch_shows_two_views() -> None:
    sampler = batches(sampler="balanced")
    images = torch.cat([images for images, _ in sampler])
    assert len(np.unique(sampler.order(0))) < 30
    assert len({image.numpy().tobytes() for image in images}) == 30


@given(st.lists(st.integers(0, 5), max_size=40))
def test_repeats_are_counted_in_order(values: list[int]) -> None:
    counted = repeat_numbers(np.array(values, dtype=np.int64)).tolist()
    assert counted == [values[:n].count(value) for n, value in enumerate(values)]


@pytest.mark.parametrize("views", [1, 3])
def test_prediction_batches_hold_all_views_image_by_image(views: int) -> None:
    flips = source("flip")
    found = list(stacked(flips, np.arange(30), views))
    assert np.array_equal(np.concatenate([rows for rows, _ in found]), np.arange(30))
    images = torch.cat([batch for _, batch in found])
    for row in (0, 17, 29):
        for view in range(views):
            assert torch.equal(images[row * views + view], flips.view(row, view))
