"""Recipes of one's own: found by every name, in the key by what decides their views, code in them exactly named."""

import sys
from pathlib import Path

import pytest
import torch

from hamcache.data.workspace import Workspace
from hamcache.extract import own_functions
from hamcache.extract.augmentations import Augmentation, get_augmentation
from hamcache.extract.draws import draw_view
from hamcache.extract.errors import AugmentationError
from hamcache.extract.kernels import ImageViews
from hamcache.extract.recipes import Recipes, recipes_of

STEPS = """
import numpy as np
from shades import darker
count = 0

def speckled(image, rng):
    return darker(np.where(rng.random(image.shape[:2])[..., None] < 0.2, 255, image).astype(np.uint8))

def halved(image, rng):
    return image[::2]

def floating(image, rng):
    return image / 255

def listed(image, rng):
    return image.tolist()

def broken(image, rng):
    return image.sharpened()

def counting(image, rng):
    global count
    count += 1
    return np.full_like(image, count)

def painted(image, rng):
    image[:] = 7
    return image

class Speckles:
    def __call__(self, image, rng):
        return image

speckles = Speckles()
sharp = lambda image, rng: image
"""
PICTURE = torch.randint(0, 256, (3, 45, 60), generator=torch.Generator().manual_seed(1)).byte()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with recipes, and a file of steps with one beside it that it imports."""
    made = Workspace(tmp_path / "workspace")
    made.path.mkdir()
    (made.path / "steps.py").write_text(STEPS)
    (made.path / "shades.py").write_text("def darker(image):\n    return image // 2\n")
    write(made, "speckled")
    forget()
    return made


def write(workspace: Workspace, function: str) -> None:
    workspace.augmentations.write_text(
        f"mine:\n  function: steps.py:{function}\n  symmetry: flips\nrotate:\n  affine: {{degrees: 90}}\n"
    )


def forget() -> None:
    """Import files anew, as another process does."""
    own_functions._verified.cache_clear()
    for name in [name for name in sys.modules if name == "shades" or name.startswith("hamcache_own_")]:
        del sys.modules[name]


def view(augmentation: Augmentation, number: int = 0) -> torch.Tensor:
    return ImageViews(PICTURE).whole(draw_view(augmentation, 0, "x", number))


def test_names_stand_for_the_file_given_then_the_workspace_then_the_package(workspace: Workspace, tmp_path: Path):
    (tmp_path / "given.yaml").write_text("rotate: {affine: {degrees: 45}}\nother: {}\n")
    recipes = recipes_of(workspace, tmp_path / "given.yaml")
    assert (recipes.get("rotate").affine.degrees, recipes_of(workspace).get("rotate").affine.degrees) == (45, 90)
    assert recipes.get("flip") == get_augmentation("flip") and recipes.given == {"rotate", "other"}
    assert recipes.names[-2:] == ["mine", "other"] and recipes_of(Workspace(tmp_path)).names == Recipes().names
    with pytest.raises(AugmentationError, match=r"'mime'\. Did you mean 'mine'\?.*--recipes"):
        recipes.get("mime")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("none: {flip: {horizontal: 1}}", "no steps in 'none'"),
        ("../mine: {}", "letters, digits"),
        ("3: {}", "letters, digits"),
        ("mine: {name: x}", "a step `name`"),
        ("mine: 3", "got 3"),
        ("mine: {function: steps}", "function.call"),
        ("mine: {hairs: {count: [9, 2]}}", "fewest"),
    ],
)
def test_an_ill_formed_recipe_is_told_with_its_name(workspace: Workspace, text: str, words: str):
    workspace.augmentations.write_text(text)
    with pytest.raises(AugmentationError, match=words):
        recipes_of(workspace)


def test_a_function_is_a_step_whose_draws_are_the_views_own(workspace: Workspace):
    mine = recipes_of(workspace).get("mine")
    assert mine.is_random and not mine.starts_plain and torch.equal(view(mine), view(mine))
    assert (
        not torch.equal(view(mine), view(mine, 4))
        and 0.15 < float((view(mine) == 127).all(dim=0).float().mean()) < 0.25
    )
    assert torch.equal(PICTURE, torch.randint(0, 256, (3, 45, 60), generator=torch.Generator().manual_seed(1)).byte())


def test_the_key_names_a_function_and_its_code_and_not_where_it_lies(workspace: Workspace, tmp_path: Path):
    mine = recipes_of(workspace).get("mine")
    key = mine.to_dict()
    assert key["function"].keys() == {"call", "code"} and key["function"]["call"] == "steps.py:speckled"
    moved = workspace.path.rename(tmp_path / "elsewhere")
    forget()
    assert recipes_of(Workspace(moved)).get("mine").to_dict() == key
    for file in ("steps.py", "shades.py"):  # what it imports from beside it decides its views as well
        forget()
        (moved / file).write_text((moved / file).read_text() + "# changed\n")
        changed = recipes_of(Workspace(moved)).get("mine").to_dict()
        assert changed["function"]["code"] != key["function"]["code"]
        key = changed


def test_a_recipe_of_a_key_finds_its_code_again_and_refuses_another(workspace: Workspace):
    recipes = recipes_of(workspace)
    mine = recipes.get("mine")
    recorded = Augmentation.model_validate({k: step for k, step in mine.to_dict().items() if k != "kernels"})
    assert torch.equal(view(recipes.placed(recorded)), view(mine))
    with pytest.raises(AugmentationError, match=r"steps\.py.*Bring the file"):
        view(recorded)
    forget()
    (workspace.path / "shades.py").write_text("def darker(image):\n    return image // 3\n")
    with pytest.raises(AugmentationError, match=r"code of steps\.py:speckled that the features are named by"):
        view(recipes_of(workspace).placed(recorded))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("halved", r"uint8 \(48, 64, 3\), as the image is, got uint8 \(24, 64, 3\)"),
        ("floating", r"got float64 \(48, 64, 3\)"),
        ("listed", "got a list"),
        ("broken", "AttributeError"),
        ("counting", "random number from `rng`"),
        ("absent", "got none.*There are .*speckled"),
        ("speckles", "got a Speckles"),
        ("sharp", "a lambda is used"),
    ],
)
def test_a_function_that_cannot_be_a_step_is_refused_before_any_image(workspace: Workspace, function: str, words: str):
    write(workspace, function)
    with pytest.raises(AugmentationError, match=words):
        recipes_of(workspace).get("mine")


def test_a_function_may_paint_over_the_image_that_it_is_given(workspace: Workspace):
    write(workspace, "painted")
    image = PICTURE.clone()
    ImageViews(image).whole(draw_view(recipes_of(workspace).get("mine"), 0, "x", 0))
    assert torch.equal(image, PICTURE)


def test_a_step_that_fails_ends_the_extraction_and_blames_no_image(workspace: Workspace, extract, tmp_path: Path):
    """It passes the trial on small images and fails on the data set's."""
    write(workspace, "small")
    (workspace.path / "steps.py").write_text(
        "def small(image, rng):\n    assert image.shape[0] in (40, 48), 'too large'\n    return image\n"
    )
    mine = recipes_of(workspace).get("mine")
    with pytest.raises(AugmentationError, match="too large"):
        extract(augmentations=[mine], workers=1)
    assert not list((tmp_path / "features").rglob("quarantine*"))
