"""A recipe of one's own with code in it, by every command: extracted, trained on, gridded, seen, predicted with."""

import csv
import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hamcache import Lab
from hamcache.cache.catalogue import Catalogue
from hamcache.extract import own_functions
from tests.pipeline.cli.test_app import Place

RECIPES = "mine:\n  function: steps.py:shaded\n  symmetry: flips\n"
STEPS = 'def shaded(image, rng):\n    return (image * rng.uniform(0.5, 1)).astype("uint8")\n'


@pytest.fixture
def place(make_ham10000: Callable[..., Path], tmp_path: Path) -> Place:
    """A data set, and a workspace with a recipe and its code."""
    made = Place(make_ham10000(tmp_path / "ham"), tmp_path / "workspace")
    made.workspace.mkdir()
    (made.workspace / "augmentations.yaml").write_text(RECIPES)
    (made.workspace / "steps.py").write_text(STEPS)
    return made


def recipe_of(run: Path) -> dict:
    return yaml.safe_load((run / "config.yaml").read_text())["recipes"]["mine"]


def probabilities(text: str) -> list[str]:
    (row,) = csv.DictReader(io.StringIO(text))
    return [value for name, value in row.items() if name.startswith("p_")]


def test_a_recipe_of_the_workspace_works_in_every_command(place: Place, tmp_path: Path) -> None:
    on_mine = "--dataset {data} --augmentation mine --views 2 --no-plots"
    place("extract --dataset {data} --backbones {net} --augmentations mine --views 2").ok()
    assert (
        "78 vectors written, 156 reused"
        in place(f"train {on_mine} --features {{net}} --extract --seed 1 --set features.views.predict=plain").ok()
    )
    (trained,) = place.runs()
    assert recipe_of(trained)["function"]["code"] and recipe_of(trained)["symmetry"] == "flips"
    cells = place(
        "grid --dataset {data} --features {net} --augmentations none,mine --head ridge --no-plots --workers 1"
    )
    assert "mine x2" in cells.ok()
    place("show-views --dataset {data} --augmentations mine --out {here}/views.png").ok()
    net = "train --dataset {data} --config simple_cnn --set net.epochs=1 --set net.augmentation=mine --no-plots"
    place(f"{net} --set net.predict_augmentation=mine --set net.predict_views=2").ok()
    lab = Lab(place.folder, place.workspace, plots=False)
    image = lab.table.frame["image_id"].iloc[0]
    assert len(lab.views(image, "mine", 3)) == 3
    assert lab.train("random/test_resnet.r160_in1k", "mine", 2, "ridge").reused
    assert len(Catalogue(lab.workspace.features).stores()) == 2

    # A run carries its recipes: it predicts in a workspace that has none, where its code is, and says so where not.
    elsewhere = Place(place.folder, tmp_path / "elsewhere")
    shutil.copytree(place.workspace / "runs", elsewhere.workspace / "runs")
    file = next(place.folder.rglob("*.jpg"))
    for run in place.runs():
        asked = f"predict {run.name} {file} --format csv"
        assert probabilities(elsewhere(asked).ok()) == probabilities(place(asked).ok())
    place.workspace.rename(tmp_path / "moved")
    own_functions._verified.cache_clear()  # as in another process
    (run,) = (run for run in elsewhere.runs() if run.name.startswith("simple_cnn"))
    assert "Bring the file" in elsewhere(f"predict {run.name} {file}").failed()
    given = f"predict {run.name} {file} --format csv --recipes {tmp_path}/moved/augmentations.yaml"
    assert probabilities(elsewhere(given).ok())


def test_a_recipe_that_was_changed_is_not_mistaken_for_what_is_stored(place: Place, tmp_path: Path) -> None:
    train = "train --dataset {data} --features {net} --augmentation mine --head ridge --no-plots"
    place(f"{train} --extract").ok()
    (place.workspace / "augmentations.yaml").write_text(RECIPES.replace("flips", "dihedral"))
    assert "mine, of another recipe" in place(train).failed()
    (run,) = place.runs()
    assert "found finished" in place(f"train --config {run}/config.yaml").ok()  # a run's own recipe is what it was
    (tmp_path / "given.yaml").write_text("mine: {affine: {degrees: 5}}")
    assert "1 stores: 78 vectors" in place(f"{train} --extract --recipes {tmp_path}/given.yaml").ok()
    assert "experiment's own" in place(f"{train} --recipes {tmp_path}/given.yaml --set features.aug_seed=4").failed()


@pytest.mark.parametrize(
    "options",
    [
        "--augmentation mine --views 2 --set features.precision=fp32 --set features.storage=float16",
        "--augmentation flip --views 2 --set features.aug_seed=3 --dataset-name other",
        "--augmentation rotate --set features.aug_seed=3 --features-url {here}/kept --set features.views.predict=plain",
    ],
)
def test_the_command_for_missing_features_makes_them(place: Place, options: str) -> None:
    moved = Place(place.folder.rename(place.folder.with_name("my moles")), place.workspace)
    line = f'train --dataset "{{data}}" --features {{net}} --head ridge --no-plots {options}'
    message = moved(line).failed()
    commands = re.findall(r"hamcache (extract .+?)(?: &&|`)", message)
    assert commands
    for command in commands:
        moved(command).ok()
    assert "validation" in moved(line).ok()
