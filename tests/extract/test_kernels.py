from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import repeat
from multiprocessing import get_context

import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from hamcache.extract.augmentations import Augmentation, load_augmentations
from hamcache.extract.draws import PLAIN, ViewDraw, draw_view
from hamcache.extract.kernels import ImageViews, turned
from hamcache.extract.preprocess import Frame
from hamcache.extract.recipes import Recipes

RECIPES = load_augmentations()
FRAMES = [Frame((64, 64), "crop", 0.875, "bicubic"), Frame((40, 56), "squash", 1.0, "bilinear")]


def picture(height=45, width=60) -> torch.Tensor:
    ramp = torch.linspace(0, 255, width).expand(height, width)
    return torch.stack([ramp, ramp.flip(1), torch.linspace(0, 255, height)[:, None].expand(height, width)]).byte()


def whole(image: torch.Tensor, draw: ViewDraw) -> torch.Tensor:
    return ImageViews(image).whole(draw)


def test_the_plain_view_is_the_image():
    assert torch.equal(whole(picture(), PLAIN), picture())


def test_dihedral_views_are_the_eight_symmetries_and_all_differ():
    image = picture(40, 40)
    views = [whole(image, draw_view(RECIPES["dihedral"], 0, "x", k)) for k in range(8)]
    by_turning = [torch.rot90(side, turns, (1, 2)) for side in (image, image.flip(2)) for turns in range(4)]
    assert all(sum(torch.equal(view, turned) for turned in by_turning) == 1 for view in views)
    assert len({view.numpy().tobytes() for view in views}) == 8
    assert draw_view(RECIPES["dihedral"], 0, "x", 8) == PLAIN


def test_flip_views_are_the_first_four_symmetries():
    draws = [draw_view(RECIPES["flip"], 0, "x", k) for k in range(4)]
    assert draws == [draw_view(RECIPES["dihedral"], 0, "x", k) for k in range(4)]
    image = picture()
    assert torch.equal(whole(image, draws[1]), image.flip(2))
    assert torch.equal(whole(image, draws[2]), image.flip(1))
    assert (RECIPES["none"].distinct_views, RECIPES["flip"].distinct_views, RECIPES["dihedral"].distinct_views) == (
        1,
        4,
        8,
    )


@pytest.mark.parametrize("angle", [-20.0, 7.5, 20.0, 90.0])
def test_rotation_agrees_with_torchvision(angle):
    smooth = F.gaussian_blur(picture(60, 80), [9, 9], [3.0, 3.0])
    ours = whole(smooth, ViewDraw(angle=angle))
    theirs = F.affine(smooth, angle, [0, 0], 1.0, [0, 0], interpolation=InterpolationMode.BILINEAR)
    inner = (slice(None), slice(15, -15), slice(15, -15))  # the two cut edges differently
    assert (ours[inner].int() - theirs[inner].int()).abs().max() <= 1


def test_scale_and_shift_move_a_dot_where_they_should():
    image = torch.zeros(3, 100, 200, dtype=torch.uint8)
    image[:, 48:53, 118:123] = 255  # 20 pixels right of the centre
    scaled = whole(image, ViewDraw(scale=2.0))
    shifted = whole(image, ViewDraw(shift=(0.1, -0.2)))

    def centre(seen):
        rows, columns = torch.nonzero(seen[0] > 100, as_tuple=True)
        return float(rows.float().mean()), float(columns.float().mean())

    assert centre(image) == (50.0, 120.0)  # the middle of the image is at (49.5, 99.5)
    assert centre(scaled) == (50.5, 140.5)
    assert centre(shifted) == (30.0, 140.0)


def test_reflected_corners_are_never_black():
    white = torch.full((3, 45, 60), 255, dtype=torch.uint8)
    assert whole(white, ViewDraw(angle=30, corners="black")).min() == 0
    for view in range(20):
        draw = draw_view(RECIPES["dermoscopy"], 0, "x", view)
        geometry = ViewDraw(angle=draw.angle, scale=draw.scale, shift=draw.shift, corners=draw.corners)
        assert whole(white, geometry).min() == 255


def test_large_images_are_reduced_to_the_canvas_and_small_ones_left():
    draw = draw_view(RECIPES["rotate"], 0, "x", 0)
    assert whole(picture(450, 600), draw).shape == (3, 320, 426)
    assert whole(picture(150, 200), draw).shape == (3, 150, 200)
    assert whole(picture(450, 600), PLAIN).shape == (3, 450, 600)


def test_every_recipe_gives_uint8_and_changes_something_after_view_0():
    image = F.gaussian_blur(picture(64, 64), [5, 5], [1.0, 1.0])
    for name, recipe in RECIPES.items():
        seen = whole(image, draw_view(recipe, 0, "x", 1))
        assert seen.dtype == torch.uint8 and seen.shape == image.shape
        # no hair in it, and as much light of each colour
        assert torch.equal(seen, image) == (name in ("none", "hairless", "shades_of_grey"))


@pytest.mark.parametrize("frame", FRAMES)
def test_symmetries_are_resized_like_the_turned_image_to_the_last_bit(frame):
    image = F.gaussian_blur(torch.randint(0, 256, (3, 121, 160), generator=torch.Generator().manual_seed(0)).byte(), 5)
    for symmetry in range(8):
        for draw in (ViewDraw(symmetry=symmetry), ViewDraw(symmetry=symmetry, canvas=64)):
            assert torch.equal(ImageViews(image).fitted(draw, frame), frame.resize(turned(image, symmetry)))


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize(("height", "width"), [(90, 121), (500, 380)])
def test_a_view_that_hardly_moves_is_nearly_the_symmetry_alone(frame, height, width):
    """Symmetry, window, reduction and resizing in one warp land where one after the other they do."""
    image = F.gaussian_blur(picture(height, width), [9, 9], [3.0, 3.0])
    for symmetry in range(8):
        still = ViewDraw(symmetry=symmetry, canvas=320)
        moved = ViewDraw(symmetry=symmetry, canvas=320, angle=1e-9, corners="reflect")
        expected = ImageViews(image).fitted(still, frame).int()
        difference = (ImageViews(image).fitted(moved, frame).int() - expected).abs()
        assert difference.float().mean() < 1.5 and difference[:, 3:-3, 3:-3].max() < 12


def test_fine_patterns_are_averaged_where_a_network_is_small():
    stripes = torch.zeros(3, 300, 300, dtype=torch.uint8)
    stripes[:, :, ::2] = 255
    seen = ImageViews(stripes).fitted(ViewDraw(angle=1.0, corners="reflect"), Frame((50, 50), "crop", 0.9, "bicubic"))
    assert seen.float().std() < 12  # without reducing first: 90 and more


def test_networks_see_the_same_scene_whatever_their_size():
    image = F.gaussian_blur(picture(150, 200), [5, 5], [2.0, 2.0])
    for view in range(8):
        draw = draw_view(RECIPES["dermoscopy"], 0, "x", view)
        small, large = (
            ImageViews(image).fitted(draw, Frame((side, side), "crop", 0.9, "bicubic")) for side in (48, 96)
        )
        difference = (F.resize(large, [48, 48], antialias=True).float() - small.float()).abs()
        assert difference.mean() < 2.5


@pytest.mark.parametrize("hue", [0.0, 0.1, -0.3])
def test_colours_agree_with_torchvision(hue):
    rng = np.random.default_rng(0)
    image = torch.from_numpy(cv2.GaussianBlur(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8), (15, 15), 4))
    image = image.permute(2, 0, 1)
    ours = whole(image, ViewDraw(brightness=1.1, contrast=0.9, saturation=0.9, hue=hue))
    exact = F.adjust_saturation(F.adjust_contrast(F.adjust_brightness(image / 255, 1.1), 0.9), 0.9)
    difference = (ours - 255 * F.adjust_hue(exact, hue)).abs()
    assert difference.mean() < 0.7 and difference.max() < 4


def test_blur_is_that_of_torchvision_at_the_networks_size():
    image = picture(64, 64)
    image[:, 20:40, 20:40] = 0
    ours = whole(image, ViewDraw(blur=20.0))
    theirs = F.gaussian_blur(image, kernel_size=7, sigma=20 * 64 / 1000)
    assert (ours.int() - theirs.int()).abs().max() <= 1


def pixels(number: int, recipe: Augmentation) -> bytes:
    image = F.gaussian_blur(picture(150, 200), [5, 5], [2.0, 2.0])
    return ImageViews(image).fitted(draw_view(recipe, 0, str(number), 0), FRAMES[0]).numpy().tobytes()


def test_threads_and_processes_make_the_same_bits(tmp_path):
    (tmp_path / "steps.py").write_text("def tinted(image, rng):\n    return image // rng.integers(1, 4, 3, 'uint8')\n")
    steps = {"hair_removal": {}, "constancy": {}, "hairs": {}, "function": f"{tmp_path}/steps.py:tinted"}
    recipe = Recipes.of_steps({"all": RECIPES["dermoscopy"].steps | steps}).get("all")
    alone = [pixels(number, recipe) for number in range(16)]
    assert len(set(alone)) == 16
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(pixels, range(16), repeat(recipe))) == alone
    cv2.setNumThreads(4)
    assert [pixels(number, recipe) for number in range(16)] == alone
    cv2.setNumThreads(0)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(pixels, range(16), repeat(recipe))) == alone


def test_known_pixels_never_change_without_another_version_of_the_kernels():
    """A change here is a change of every random view: raise KERNELS."""
    image = picture(90, 120)
    seen = ImageViews(image).fitted(ViewDraw(symmetry=5, angle=12, hue=0.05, brightness=1.1), FRAMES[0])
    assert np.allclose(seen[:, 20, 20], [167, 136, 88], atol=1)  # processors may round differently
