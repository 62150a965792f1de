from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from hamcache.extract.augmentations import Augmentation, get_augmentation, load_augmentations
from hamcache.extract.draws import PLAIN, ViewDraw, draw_view
from hamcache.extract.errors import AugmentationError

RECIPES = load_augmentations()
names = st.sampled_from(sorted(RECIPES))
keys = st.tuples(names, st.integers(0, 2**32), st.text(max_size=20), st.integers(0, 10_000))


def picture(height=45, width=60) -> torch.Tensor:
    ramp = torch.linspace(0, 255, width).expand(height, width)
    return torch.stack([ramp, ramp.flip(1), torch.linspace(0, 255, height)[:, None].expand(height, width)]).byte()


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
    image = picture()
    assert torch.equal(apply_view(image, PLAIN), image)


def test_dihedral_views_are_the_eight_symmetries_and_all_differ():
    image = picture(40, 40)
    views = [apply_view(image, draw_view(RECIPES["dihedral"], 0, "x", k)) for k in range(8)]
    by_turning = [torch.rot90(side, turns, (1, 2)) for side in (image, image.flip(2)) for turns in range(4)]
    assert all(sum(torch.equal(view, turned) for turned in by_turning) == 1 for view in views)
    assert len({view.numpy().tobytes() for view in views}) == 8
    assert draw_view(RECIPES["dihedral"], 0, "x", 8) == PLAIN


def test_flip_views_are_the_first_four_symmetries():
    draws = [draw_view(RECIPES["flip"], 0, "x", k) for k in range(4)]
    assert draws == [draw_view(RECIPES["dihedral"], 0, "x", k) for k in range(4)]
    image = picture()
    assert torch.equal(apply_view(image, draws[1]), image.flip(2))
    assert torch.equal(apply_view(image, draws[2]), image.flip(1))
    assert (RECIPES["none"].distinct_views, RECIPES["flip"].distinct_views, RECIPES["dihedral"].distinct_views) == (
        1,
        4,
        8,
    )


@pytest.mark.parametrize("angle", [-20.0, 7.5, 20.0, 90.0])
def test_rotation_agrees_with_torchvision(angle):
    smooth = F.gaussian_blur(picture(60, 80), [9, 9], [3.0, 3.0])
    ours = apply_view(smooth, ViewDraw(angle=angle))
    theirs = F.affine(smooth, angle, [0, 0], 1.0, [0, 0], interpolation=InterpolationMode.BILINEAR)
    inner = (slice(None), slice(15, -15), slice(15, -15))  # the two cut edges differently
    assert (ours[inner].int() - theirs[inner].int()).abs().max() <= 1


def test_scale_and_shift_move_a_dot_where_they_should():
    image = torch.zeros(3, 100, 200, dtype=torch.uint8)
    image[:, 48:53, 118:123] = 255  # 20 pixels right of the centre
    scaled = apply_view(image, ViewDraw(scale=2.0))
    shifted = apply_view(image, ViewDraw(shift=(0.1, -0.2)))

    def centre(seen):
        rows, columns = torch.nonzero(seen[0] > 100, as_tuple=True)
        return float(rows.float().mean()), float(columns.float().mean())

    assert centre(image) == (50.0, 120.0)  # the middle of the image is at (49.5, 99.5)
    assert centre(scaled) == (50.5, 140.5)
    assert centre(shifted) == (30.0, 140.0)


def test_reflected_corners_are_never_black():
    white = torch.full((3, 45, 60), 255, dtype=torch.uint8)
    assert apply_view(white, ViewDraw(angle=30, corners="black")).min() == 0
    for view in range(20):
        draw = draw_view(RECIPES["dermoscopy"], 0, "x", view)
        geometry = ViewDraw(angle=draw.angle, scale=draw.scale, shift=draw.shift, corners=draw.corners)
        assert apply_view(white, geometry).min() == 255


def test_large_images_are_reduced_to_the_canvas_and_small_ones_left():
    draw = draw_view(RECIPES["rotate"], 0, "x", 0)
    assert apply_view(picture(450, 600), draw).shape == (3, 320, 426)
    assert apply_view(picture(150, 200), draw).shape == (3, 150, 200)
    assert apply_view(picture(450, 600), PLAIN).shape == (3, 450, 600)


def test_every_recipe_gives_uint8_and_changes_something_after_view_0():
    image = F.gaussian_blur(picture(64, 64), [5, 5], [1.0, 1.0])
    for name, recipe in RECIPES.items():
        seen = apply_view(image, draw_view(recipe, 0, "x", 1))
        assert seen.dtype == torch.uint8 and seen.shape == image.shape
        assert torch.equal(seen, image) == (name == "none")


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
