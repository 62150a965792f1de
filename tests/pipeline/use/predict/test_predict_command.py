"""`hamcache predict` through the real entry point."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hamcache.pipeline.use.predict.prediction_tables import as_csv, predictions_frame, rows_for_people
from hamcache.pipeline.use.predict.predictor import Prediction, Predictor, Question
from tests.pipeline.cli.test_app import Outcome, hamcache
from tests.pipeline.use.predict.conftest import Photographs, probabilities


@pytest.fixture(scope="module")
def plain(photographs: Photographs) -> Predictor:
    return photographs.predictor(photographs.run())


def predict(photographs: Photographs, line: str, images: list[Path]) -> Outcome:
    quoted = " ".join(f"'{image}'" for image in images)
    return hamcache(f"predict {photographs.run().id} {quoted} --device cpu {line}", photographs.workspace)


def test_the_table_names_class_probabilities_set_flag_and_neighbours(photographs, plain, noise) -> None:
    known = photographs.paths(plain.run, "train")[0]
    found = predict(photographs, "", [known, noise, noise.with_name("gone.jpg")]).ok()
    rows = {cells[0]: cells for line in found.splitlines() if len(cells := line.split("\t")) > 4}
    (one,) = plain.predict([known])
    assert rows[known.name][1] == one.label and f"{one.label} {one.probabilities[one.label]:.3f}" in found
    assert rows[known.name][3] == ", ".join(one.prediction_set)
    assert rows[known.name][4].startswith("no (p ") and rows["noise.png"][4].startswith("UNLIKE (p ")
    assert f"{known.stem} {one.neighbours[0].label} 1.00" in rows[known.name][5]
    assert "file missing" in rows["gone.jpg"][2]
    assert "calibrated probabilities; in 90 % of images" in found and "not a medical device" in found
    assert "3 images, 1 could not be used, 1 unlike the training images" in found


def test_csv_on_standard_output_is_the_file_and_nothing_else(photographs, plain, noise) -> None:
    paths = [*photographs.paths(plain.run, "validation"), noise.with_name("gone.jpg")]
    done = predict(photographs, "--format csv --coverage 0.8 --neighbours 1", paths)
    frame = pd.read_csv(io.StringIO(done.ok()), float_precision="round_trip")
    found = plain.predict(paths, Question(coverage=0.8, neighbours=1))
    np.testing.assert_array_equal(
        frame[[f"p_{label}" for label in plain.classes]].to_numpy()[:-1], probabilities(found[:-1])
    )
    assert list(frame["image"]) == [str(path) for path in paths]
    assert [tuple(text.split()) for text in frame["prediction_set"][:-1]] == [one.prediction_set for one in found[:-1]]
    assert list(frame["neighbour_1"][:-1]) == [one.neighbours[0].image_id for one in found[:-1]]
    assert frame["error"].tolist()[-1] == "file missing" and frame["error"].notna().sum() == 1
    assert "not a medical device" in done.err and "images/s" in done.err


def test_json_holds_every_prediction_and_how_it_came_about(photographs, plain, tmp_path) -> None:
    path = photographs.paths(plain.run, "validation")[0]
    line = f"--out '{tmp_path}/new/p.json' --raw --sets aps --class-conditional"
    assert f"Wrote {tmp_path}/new/p.json" in predict(photographs, line, [path]).ok()
    content = json.loads((tmp_path / "new" / "p.json").read_text())
    (one,) = plain.predict([path], Question(raw=True, sets="aps", class_conditional=True))
    assert content["predictions"][0]["probabilities"] == one.probabilities
    assert content["predictions"][0]["neighbours"][0] == vars(one.neighbours[0])
    assert content["run"] == plain.run.id and content["calibrated"] is False
    assert content["sets"] == {
        **{"coverage": 0.9, "score": "aps", "class_conditional": True},
        "validation_images": len(plain.run.part("validation")),
    }
    assert any("In every set" in note for note in content["notes"]) and "medical" in content["disclaimer"]


def test_a_folder_is_predicted_whole_and_the_table_may_be_short(photographs, tmp_path) -> None:
    done = predict(photographs, f"--limit 2 --out '{tmp_path}/all.csv'", [photographs.folder])
    assert "78 images by" in done.ok() and "and 76 more" in done.out
    assert len(pd.read_csv(tmp_path / "all.csv")) == 78


def test_hostile_names_neither_break_the_table_nor_reach_the_terminal(tmp_path: Path) -> None:
    names = ["[red]a[x]b.jpg", "\x1b[2Jx.jpg", "broken\udcff.jpg", "n" * 200]
    predictions = [Prediction(f"{tmp_path}/{name}", error="file missing") for name in names]
    rows = rows_for_people(predictions)
    assert rows[0][0] == "[red]a[x]b.jpg" and rows[1][0] == "\ufffd[2Jx.jpg" and len(rows[3][0]) == 48
    frame = pd.read_csv(io.StringIO(as_csv(predictions, ("a", "b"))))
    assert frame["image"][2].endswith("broken\\udcff.jpg") and frame["p_a"].isna().all()
    assert predictions_frame([], ("a", "b")).empty


def test_markup_in_a_file_name_is_shown_as_it_is(photographs, tmp_path) -> None:
    done = predict(photographs, "", [photographs.paths(photographs.run(), "train")[0], tmp_path / "[bold]y.jpg"])
    assert "[bold]y.jpg" in done.ok()


def test_files_of_the_same_name_are_shown_with_their_folders(tmp_path: Path) -> None:
    rows = rows_for_people([Prediction("a/x.jpg", error="gone"), Prediction("b/x.jpg", error="gone")])
    assert [row[0] for row in rows] == ["a/x.jpg", "b/x.jpg"]


def test_it_fails_if_no_image_could_be_used(photographs, tmp_path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    done = predict(photographs, "", [tmp_path / "gone.jpg", tmp_path / "text.jpg"])
    assert "Not one of 2 images could be predicted: file missing" in done.failed()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--format xml", "expected csv or json"),
        ("--out picture.jpg", "expected a file named *.csv or *.json"),
        ("--out a.csv --format json", "expected a file named *.json"),
        ("--sets lax", "expected lac or aps"),
        ("--device tpu", "auto, cpu or cuda"),
        ("--weights x", "expected NAME=VALUE"),
        ("--unlike 2", "less than or equal to 1"),
    ],
)
def test_wrong_usage_is_told(tmp_path: Path, line: str, words: str) -> None:
    done = hamcache(f"predict some-run x.jpg {line}", tmp_path)
    assert done.code == 2 and words in done.err


def test_an_impossible_coverage_or_run_is_one_message(photographs) -> None:
    assert "between 0 and 1" in predict(photographs, "--coverage 90", [photographs.folder]).failed()
    assert "`hamcache runs` lists runs" in hamcache("predict nobody x.jpg", photographs.workspace).failed()
