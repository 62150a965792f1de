from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hamcache.cache.keys import FeatureKey, explain
from hamcache.extract.augmentations import Augmentation, drawn_as_now, get_augmentation, load_augmentations
from hamcache.extract.draws import PLAIN, draw_view
from hamcache.extract.errors import AugmentationError

RECIPES = load_augmentations()
names = st.sampled_from(sorted(RECIPES))
keys = st.tuples(names, st.integers(0, 2**32), st.text(max_size=20), st.integers(0, 10_000))


def test_the_recipes_of_the_founding_text_are_there():
    assert {"none", "flip", "rotate", "flip_rotate", "color_jitter", "dihedral", "original", "dermoscopy"} <= set(
        RECIPES
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(keys, min_size=2, max_size=12), st.randoms())
def test_a_draw_depends_only_on_seed_augmentation_image_and_view(wanted, random):
    """Not on the order, not on the thread, not on what was drawn before, not on any global generator."""

    def draw(key):
        name, seed, image_id, view = key
        return draw_view(RECIPES[name], seed, image_id, view)

    alone = {key: draw(key) for key in wanted}
    shuffled = list(wanted) * 3
    random.shuffle(shuffled)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    torch_state = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(draw, shuffled))
    assert all(alone[key] == found for key, found in zip(shuffled, drawn, strict=True))
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002
    assert torch.equal(torch_state, torch.get_rng_state())


def test_a_known_draw_never_changes():
    draw = draw_view(RECIPES["original"], 0, "ISIC_0027419", 3)
    assert (draw.symmetry, round(draw.angle, 6), round(draw.hue, 6)) == (1, -0.503264, 0.032672)


@given(st.integers(0, 1000), st.integers(0, 1000), st.text(max_size=9), st.text(max_size=9))
def test_other_seeds_views_and_images_draw_something_else(a, b, image, other):
    recipe = RECIPES["dermoscopy"]
    if a != b:
        assert draw_view(recipe, a, image, 0) != draw_view(recipe, b, image, 0)
        assert draw_view(recipe, 0, image, a) != draw_view(recipe, 0, image, b)
    if image != other:
        assert draw_view(recipe, a, image, b) != draw_view(recipe, a, other, b)


def test_draws_fill_their_declared_ranges_evenly():
    recipe = RECIPES["original"]
    draws = [draw_view(recipe, 0, f"img{n}", 0) for n in range(2000)]
    angles = np.array([d.angle for d in draws])
    assert angles.min() < -19.5 and angles.max() > 19.5 and abs(angles.mean()) < 1
    assert np.allclose(np.bincount([d.symmetry for d in draws]) / 2000, 0.25, atol=0.05)
    for values, low, high in (
        ([d.brightness for d in draws], 0.9, 1.1),
        ([d.contrast for d in draws], 0.9, 1.1),
        ([d.hue for d in draws], -0.1, 0.1),
    ):
        assert low <= min(values) < low + 0.01 * (high - low) and high >= max(values) > high - 0.01 * (high - low)
        assert abs(np.corrcoef(values, angles)[0, 1]) < 0.07
    assert {d.saturation for d in draws} == {1.0} and {d.scale for d in draws} == {1.0}


def test_view_0_of_none_flip_and_dihedral_is_the_plain_image():
    for name in ("none", "flip", "dihedral"):
        assert draw_view(RECIPES[name], 5, "x", 0) == PLAIN and RECIPES[name].starts_plain


def test_an_unknown_recipe_offers_the_nearest_and_an_ill_formed_one_says_where(tmp_path):
    with pytest.raises(AugmentationError, match="Did you mean 'dihedral'"):
        get_augmentation("dihedrel")
    file = tmp_path / "mine.yaml"
    file.write_text("mine: {affine: {degres: 20}}")
    with pytest.raises(AugmentationError, match=r"'mine'.*affine.degres"):
        load_augmentations(file)
    for text in ("- a list", "", "broken: ["):
        file.write_text(text)
        with pytest.raises(AugmentationError, match=r"mine\.yaml"):
            load_augmentations(file)
    file.write_text("mine: {symmetry: flips, flip: {horizontal: 0.5}}")
    with pytest.raises(AugmentationError, match="drop flip or symmetry"):
        load_augmentations(file)


def test_what_has_no_effect_is_not_in_the_recipes_key():
    assert RECIPES["dihedral"].to_dict() == {"name": "dihedral", "symmetry": "dihedral"}
    assert Augmentation(name="x", canvas=64).to_dict() == Augmentation(name="x").to_dict()
    assert RECIPES["rotate"].to_dict()["canvas"] == 320


def key(augmentation: dict) -> FeatureKey:
    return FeatureKey("data", "net", "w", {}, augmentation, 0, "fp32")


def test_keys_of_random_views_say_which_kernels_made_them_and_no_other_key_does(tmp_path):
    for recipe in RECIPES.values():
        declared = recipe.to_dict()
        assert declared.get("kernels") == (None if recipe.starts_plain else 2)
        assert Augmentation.of(key(declared)) == recipe and drawn_as_now(key(declared))
        older = {name: step for name, step in declared.items() if name != "kernels"}
        assert Augmentation.of(key(older)) == recipe
        assert drawn_as_now(key(older)) == recipe.starts_plain
        differences = [] if recipe.starts_plain else [("augmentation.kernels", 2, "(absent)")]
        assert explain(key(declared), key(older)) == differences
    (tmp_path / "mine.yaml").write_text("mine: {flip: {horizontal: 0.5}, kernels: 1}")
    with pytest.raises(AugmentationError, match="kernels"):
        load_augmentations(tmp_path / "mine.yaml")


def test_keys_of_symmetries_are_those_of_the_first_version():
    """Their bits never changed, so neither did the names of their stores."""
    digests = {name: key(RECIPES[name].to_dict()).short for name in ("none", "flip", "dihedral")}
    assert digests == {"none": "d5591074db", "flip": "085d15418f", "dihedral": "de0f30b1ee"}
