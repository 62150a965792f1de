"""Images to label next: each strategy against its definition written out, and lesions once."""

import numpy as np
import pytest

from hamcache.configs.defaults import STRATEGIES
from hamcache.pipeline.errors import SuggestionError
from hamcache.pipeline.inspect.label_choice import Unlabelled, choose
from hamcache.pipeline.inspect.neighbours import unit_rows


@pytest.fixture
def images() -> Unlabelled:
    rng = np.random.default_rng(0)
    proba = rng.dirichlet([0.5] * 3, 60)
    return Unlabelled(proba, unit_rows(rng.normal(size=(60, 5))), np.arange(60), unit_rows(rng.normal(size=(7, 5))))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_lesion_is_chosen_once_and_the_same_again(images: Unlabelled, strategy: str) -> None:
    lesions = Unlabelled(images.proba, images.places, np.arange(60) // 3, images.labelled)
    chosen = choose(strategy, lesions, 50, seed=1)
    assert sorted(chosen // 3) == list(range(20))
    assert np.array_equal(chosen, choose(strategy, lesions, 50, seed=1))
    assert np.array_equal(chosen[:8], choose(strategy, lesions, 8, seed=1))  # fewer are the first of more


def test_margin_takes_the_least_differences(images: Unlabelled) -> None:
    first, second = np.sort(images.proba, axis=1)[:, ::-1][:, :2].T
    assert np.array_equal(choose("margin", images, 10), np.argsort(first - second)[:10])


def test_coverage_takes_the_farthest_from_all_that_is_labelled_or_chosen(images: Unlabelled) -> None:
    covered = list(images.labelled)
    for row in choose("coverage", images, 12):
        gaps = [min(np.linalg.norm(place - other) for other in covered) for place in images.places]
        assert gaps[row] == pytest.approx(max(gaps), abs=1e-4)
        covered.append(images.places[row])


def test_badge_draws_by_squared_distance_of_gradients(images: Unlabelled) -> None:
    """As often as the gradients of a linear head say, written out as outer products."""
    sure = np.eye(3)[images.proba.argmax(axis=1)]
    gradients = np.einsum("nc,nd->ncd", images.proba - sure, images.places).reshape(60, -1)
    longest = int(np.square(gradients).sum(axis=1).argmax())
    distances = np.square(gradients - gradients[longest]).sum(axis=1)
    drawn = np.array([choose("badge", images, 2, seed=seed) for seed in range(1500)])
    assert (drawn[:, 0] == longest).all()
    shares = np.bincount(drawn[:, 1], minlength=60) / 1500
    assert np.abs(shares - distances / distances.sum()).max() < 0.02


def test_a_head_that_is_sure_of_everything_still_gets_images(images: Unlabelled) -> None:
    sure = Unlabelled(np.eye(3)[np.arange(60) % 3], images.places, images.groups, images.labelled)
    assert len(set(choose("badge", sure, 9))) == 9


def test_an_unknown_strategy_is_named(images: Unlabelled) -> None:
    with pytest.raises(SuggestionError, match="margin"):
        choose("margins", images, 3)
