"""`hamcache suggest` through the real entry point: new images only, lesions once, and nothing decoded twice."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hamcache.data.dataset import DatasetWords
from hamcache.pipeline.use.suggest.suggestions import Wish, open_pool, suggest
from tests.pipeline.cli.test_app import hamcache
from tests.pipeline.use.predict.conftest import CNN, Photographs


@pytest.fixture
def run(photographs: Photographs) -> str:
    return photographs.run("split.train_share=0.4").id


def test_a_folder_of_new_images_is_suggested_from(photographs, run: str, noise_folder: Path) -> None:
    line = f"suggest {run} --pool '{noise_folder}' -n 3 --device cpu --strategy coverage"
    done = hamcache(line, photographs.workspace)
    assert "3 of 6 images of pool to label next (coverage)" in done.ok()
    assert "known to the run" in done.err and "can't be read 1" in done.err
    (path,) = (photographs.workspace / "suggestions").glob("pool-*.csv")
    table = pd.read_csv(path)
    assert table["label"].isna().all() and table["rank"].tolist() == [1, 2, 3] and path.with_suffix(".png").is_file()
    assert [Path(image).is_file() for image in table["path"]] == [True] * 3
    assert table["distance"].between(0, 2).all() and table["predicted"].isin(photographs.table.classes).all()
    again = hamcache(f"{line} --json", photographs.workspace)
    rows = json.loads(again.ok())["tables"][0]["rows"]
    assert [row["image_id"] for row in rows] == table["image_id"].tolist()


@pytest.fixture
def noise_folder(photographs: Photographs, tmp_path: Path) -> Path:
    """Six new pictures at two depths, one file that is none, and one image that the run was trained on."""
    folder = tmp_path / "pool"
    (folder / "deep").mkdir(parents=True)
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / ("deep" if number % 2 else ".") / f"n{number}.png")
    (folder / "broken.jpg").write_bytes(b"no image")
    known = photographs.run("split.train_share=0.4").part("train")["image_id"].iloc[0]
    shutil.copy(photographs.path(known), folder / "known.jpg")
    return folder


def test_of_the_runs_own_data_set_only_new_lesions_come_one_image_each(photographs: Photographs) -> None:
    run = photographs.run("split.train_share=0.4")
    pool = open_pool(DatasetWords(str(photographs.folder)), photographs.workspace)
    predictor = photographs.predictor(run)
    made = suggest(predictor, pool, Wish(n=100))
    assert made.frame["group"].is_unique and len(made.frame) == made.lesions < made.images
    assert not set(made.frame["group"]) & set(run.predictions["group"])
    assert made.left_out.keys() == {f"known to the run ({part})" for part in ("train", "validation", "test")}
    assert made.frame["margin"].is_monotonic_increasing
    answers = predictor.predict(made.frame["path"].head(3), ids=made.frame["image_id"].head(3).tolist())
    given = [list(answer.probabilities.values()) for answer in answers]
    columns = [f"p_{label}" for label in predictor.classes]
    np.testing.assert_allclose(made.frame[columns].head(3), given, rtol=1e-6)


def test_a_csv_needs_no_labels_and_tells_lesions(photographs, run: str, noise_folder: Path) -> None:
    rows = [
        f"{path},{'one' if number < 4 else number}" for number, path in enumerate(sorted(noise_folder.rglob("*.png")))
    ]
    (noise_folder / "pool.csv").write_text("\n".join(["file,patient", *rows]))
    line = f"suggest {run} --pool '{noise_folder}/pool.csv' --column path=file --column group=patient --device cpu"
    assert "3 of 6 images" in hamcache(line, photographs.workspace).ok()


@pytest.mark.parametrize(
    ("pool", "words"),
    [("nowhere", "there is no data set"), ("empty", "Expected images in"), ("known", "that run")],
)
def test_a_pool_without_new_images_is_refused(photographs, run: str, tmp_path: Path, pool: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "known").mkdir()
    known = photographs.run("split.train_share=0.4").part("train")["image_id"].iloc[0]
    shutil.copy(photographs.path(known), tmp_path / "known")
    assert words in hamcache(f"suggest {run} --pool '{tmp_path / pool}' --device cpu", photographs.workspace).failed()


def test_the_trial_is_a_command_too(photographs) -> None:
    line = "--start 10 -n 3 --rounds 2 --repeats 2 --strategies margin"
    done = hamcache(f"suggest-demo {photographs.run().id} {line}", photographs.workspace)
    assert "mcc above random choice" in done.ok() and "With every label of the pool" in done.out
    assert len(list((photographs.workspace / "suggestions").glob("trial-*.png"))) == 1


def test_a_net_without_features_is_told_so(photographs) -> None:
    line = f"suggest-demo {photographs.run(blocks=(), net=CNN).id}"
    assert "Expected a head on cached features" in hamcache(line, photographs.workspace).failed()
