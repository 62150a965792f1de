"""The gallery: real mistakes, the surest first, their true neighbours, and pictures that are small copies of files."""

import base64
import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image
from sklearn.metrics import confusion_matrix

from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.inspect.neighbours import JointSpace, nearest
from hamcache.pipeline.show.report.datasets import SMALL, Datasets, picture
from hamcache.pipeline.show.report.gallery import NEIGHBOURS, chosen_rows, galleries, mistakes, nearest_training_images


def test_mistakes_are_wrong_and_the_surest_of_each_pair_come_first(lab) -> None:
    run = lab.runs["b"]
    part = run.part("validation").set_index("image_id")
    every = mistakes(run, "validation", most=10_000)
    assert len(every) == (run.labels("validation") != run.probabilities("validation").argmax(1)).sum() > 3
    assert [one.proba.max() for one in every] == sorted((one.proba.max() for one in every), reverse=True)
    for one in every:
        assert one.true != one.given == one.proba.argmax()
        assert part.loc[one.image_id, "label"] == run.classes[one.true]
        assert part.loc[one.image_id, "group"] == one.lesion
    few = mistakes(run, "validation", most=1)
    pairs = [(one.true, one.given) for one in few]
    assert len(pairs) == len(set(pairs)) == len({(one.true, one.given) for one in every})
    first = {pair: next(one for one in every if (one.true, one.given) == pair) for pair in pairs}
    assert all(first[one.true, one.given].image_id == one.image_id for one in few)


def test_neighbours_are_the_most_similar_training_images_of_all_blocks(lab) -> None:
    run = lab.runs["ab"]
    asked = list(run.part("validation")["image_id"][:5])
    found = nearest_training_images(run, asked, "validation", Datasets(lab.workspace))
    train = run.part("train")
    datasets = Datasets(lab.workspace)
    inputs = datasets.inputs(run.config, run)
    cosines = np.zeros((len(asked), len(train)))
    for block in inputs.load(run.config.features, [*train["image_id"], *asked]):
        own = block.arrays(list(train["image_id"])).views[:, 0].astype(np.float64)
        centre, scale = own.mean(0), own.std(0)
        a, b = (own - centre) / scale, (block.arrays(asked).views[:, 0] - centre) / scale
        cosines += (b / np.linalg.norm(b, axis=1, keepdims=True)) @ (a / np.linalg.norm(a, axis=1, keepdims=True)).T / 2
    for row, neighbours in zip(cosines, found, strict=True):
        best = np.argsort(-row)[:NEIGHBOURS]
        assert [one.image_id for one in neighbours] == list(train["image_id"].iloc[best])
        assert [one.label for one in neighbours] == list(train["label"].iloc[best])
        assert np.allclose([one.similarity for one in neighbours], row[best], atol=1e-5)


def test_in_cross_validation_an_image_and_its_lesion_are_no_neighbours_of_it(own_lab) -> None:
    config = own_lab.runs["a"].config.model_copy(
        update={"split": own_lab.runs["a"].config.split.model_copy(update={"policy": "grouped", "folds": 3})}
    )
    run = run_experiment(config, own_lab.workspace)
    rows = run.part("validation")
    assert set(rows["image_id"]) & set(run.part("train")["image_id"])
    lesion = dict(zip(rows["image_id"], rows["group"], strict=True))
    asked = list(rows["image_id"][:40])
    for image_id, neighbours in zip(
        asked, nearest_training_images(run, asked, "validation", Datasets(own_lab.workspace)), strict=True
    ):
        assert len(neighbours) == NEIGHBOURS
        assert lesion[image_id] not in {lesion[one.image_id] for one in neighbours}


def test_a_joint_space_lets_no_block_outweigh_another() -> None:
    rng = np.random.default_rng(0)
    wide, narrow = rng.normal(size=(30, 50)) * 1000, rng.normal(size=(30, 3)) * 0.01
    space = JointSpace.of([wide, narrow])
    rows = space.place([wide, narrow])
    alone = [JointSpace.of([block]).place([block]) for block in (wide, narrow)]
    assert rows.shape == (30, 53) and np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert np.allclose(rows @ rows.T, np.mean([a @ a.T for a in alone], axis=0), atol=1e-5)
    assert nearest(rows, rows, 1).index[:, 0].tolist() == list(range(30))


def test_features_that_are_gone_stale_or_others_are_said_and_cost_no_report(own_lab, lab) -> None:
    run = own_lab.runs["a"]
    asked = list(run.part("validation")["image_id"][:2])

    def look() -> str:
        found = nearest_training_images(run, asked, "validation", Datasets(own_lab.workspace))
        assert isinstance(found, str)
        return found

    assert not isinstance(nearest_training_images(run, asked, "validation", Datasets(own_lab.workspace)), str)
    recorded = run.provenance["stores"].copy()
    run.provenance["stores"] = dict.fromkeys(recorded, "another key")
    assert "only others" in look()
    run.provenance["stores"] = recorded
    changed = Path(Datasets(own_lab.workspace).of(run).table.frame.set_index("image_id").loc[asked[0], "path"])
    changed.write_bytes(changed.read_bytes() + b" ")
    assert "other bytes" in look() or "changed" in look()
    own_lab.csv.unlink()
    assert "no data set" in look()


def test_a_network_trained_from_images_has_no_cached_neighbours(lab) -> None:
    run = SimpleNamespace(config=SimpleNamespace(net="simple_cnn"))
    assert "no cached features" in nearest_training_images(run, [], "validation", Datasets(lab.workspace))


def test_pictures_are_small_copies_and_what_is_no_image_has_none(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (600, 450), (200, 100, 50)).save(path)
    uri = picture(path, SMALL)
    assert uri is not None and uri.startswith("data:image/webp;base64,")
    small = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert small.size == (128, 96) and np.allclose(np.asarray(small).mean((0, 1)), (200, 100, 50), atol=6)
    path.write_text("<svg onload=alert(1)>")
    assert picture(path, SMALL) is None and picture(tmp_path / "absent.jpg", SMALL) is None


def test_the_gallery_holds_each_picture_once_and_names_what_is_missing(own_lab) -> None:
    board = own_lab.board()
    found = galleries(board, 2, Datasets(own_lab.workspace))
    assert [one["run"] for one in found["runs"]] == [row.run.id for row in chosen_rows(board)]
    assert len(found["pictures"]) == len(set(found["pictures"]))
    entry = found["runs"][0]
    shown = entry["mistakes"][0]
    assert shown["picture"] is not None and len(shown["near"]) == NEIGHBOURS and entry["note"] == ""
    run = board.rows[0].run
    given, true = run.probabilities("validation").argmax(1), run.labels("validation")
    assert entry["counts"] == confusion_matrix(true, given).tolist() and entry["images"] == len(true)
    table = Datasets(own_lab.workspace).of(run).table
    Path(table.frame.set_index("image_id").loc[shown["id"], "path"]).unlink()
    again = galleries(board, 2, Datasets(own_lab.workspace))["runs"][0]["mistakes"][0]
    assert again["id"] == shown["id"] and again["picture"] is None and len(again["near"]) == NEIGHBOURS


def test_each_cohort_has_a_gallery(board) -> None:
    rows = chosen_rows(board)
    assert [row.cohort for row in rows] == [0, 0, 0, 1] and rows[0] is board.cohorts[0].best
