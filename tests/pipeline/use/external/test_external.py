"""Evaluations through the library: which images, which scores, which features, and found again."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hamcache.cache.catalogue import Catalogue
from hamcache.data.dataset import DatasetWords, open_dataset
from hamcache.heads.metrics import METRICS, compute_metrics
from hamcache.pipeline.errors import DamagedError, EvaluationError
from hamcache.pipeline.evaluate.evaluations import EVALUATIONS, Evaluation, read_evaluation
from hamcache.pipeline.show.plots.evaluation import plot_evaluation, shown
from hamcache.pipeline.use.external.external import Evaluating, evaluate_run
from hamcache.pipeline.use.external.known_images import known_images
from tests.pipeline.use.predict.conftest import CNN, NET, Photographs

PLAIN = Evaluating(pairs=[("mel", "melanoma")], resamples=50)
CPU = {"device": "cpu"}


@pytest.fixture(scope="module")
def evaluation(photographs: Photographs, clinic) -> Evaluation:
    chosen = replace(PLAIN, corruptions=("blur", "jpeg"))
    return evaluate_run(photographs.run(), clinic.open(photographs), photographs.workspace, chosen, networks=CPU)


def clean(evaluation: Evaluation):
    frame = evaluation.predictions
    return frame[frame["severity"] == 0].reset_index(drop=True)


def test_answers_are_those_of_predict_and_scores_those_of_the_answers(photographs, clinic, evaluation) -> None:
    run, rows = photographs.run(), clean(evaluation)
    predictor = photographs.predictor(run)
    found = predictor.predict([clinic.csv.with_name(f"{i}.png") for i in rows["image_id"]])
    calibrated = np.array([list(one.probabilities.values()) for one in found])
    raw = rows[[f"p_{label}" for label in run.classes]].to_numpy()
    np.testing.assert_allclose(predictor.temperature(raw), calibrated, atol=1e-9)
    assert [tuple(sorted(text.split())) for text in rows["prediction_set"]] == [
        tuple(sorted(one.prediction_set)) for one in found
    ]
    assert list(rows["nearest"]) == [one.neighbours[0].image_id for one in found]
    np.testing.assert_allclose(rows["unlike_p"], [one.unlike_p for one in found])
    y = np.array([run.classes.index(label) for label in rows["label"]])
    expected = compute_metrics(y, raw, run.classes)
    scores = evaluation.record["scores"]
    assert scores["mcc"]["value"] == pytest.approx(expected["mcc"]) and scores["mcc"]["groups"] == 9
    assert evaluation.record["unlike"]["value"] == np.mean([one.unlike for one in found])
    covered = [label in one.prediction_set for label, one in zip(rows["label"], found, strict=True)]
    assert evaluation.record["coverage"]["share"]["value"] == pytest.approx(np.mean(covered))


def test_classes_that_one_side_lacks_are_left_out_and_counted(evaluation) -> None:
    record = evaluation.record
    assert record["images"] == 18 and record["images_of"] == {"bcc": 6, "mel": 6, "nv": 6}
    assert record["labels"] == {"BCC": "bcc", "melanoma": "mel", "nv": "nv"}
    assert record["only_in_set"] == {"scar": 6} and record["left_out"] == {"class unknown to the run": 6}
    assert set(record["only_in_run"]) == {"akiec", "bkl", "df", "vasc"}
    assert any(note.startswith("scar: 6 images") for note in record["notes"])
    assert record["part"] == "validation" and any("has not opened its test set" in note for note in record["notes"])
    assert record["own_images"] > 0 and record["own_left_out"] > 0


def test_features_are_in_the_cache_under_the_keys_of_the_run(photographs, clinic, evaluation) -> None:
    (ours,) = (store.key for store in Catalogue(photographs.workspace.features).stores("ham10000"))
    (theirs,) = (store.key for store in Catalogue(photographs.workspace.features).stores("clinic"))
    assert theirs == replace(ours, dataset="clinic")
    names = {store.key.dataset for store in Catalogue(photographs.workspace.features).stores("*")}
    assert {f"clinic.{kind}-{severity}" for kind in ("blur", "jpeg") for severity in range(1, 6)} <= names
    assert not list(photographs.workspace.evaluations.glob("*/*-[1-5]"))


def test_corrupted_copies_are_scored_at_each_severity(evaluation) -> None:
    first, *others = evaluation.record["corrupted"]
    assert first["corruption"] is None and first["scores"]["mcc"] == pytest.approx(
        {**evaluation.record["scores"]["mcc"]}, nan_ok=True
    )
    assert [(row["corruption"], row["severity"]) for row in others] == [
        (kind, severity) for kind in ("blur", "jpeg") for severity in range(1, 6)
    ]
    assert others[0]["parameter"] == 1.0 and others[-1]["parameter"] == 7
    assert len(evaluation.predictions) == 18 * 11


def test_the_same_evaluation_is_found_and_another_is_made(photographs, clinic, evaluation, monkeypatch) -> None:
    run, chosen = photographs.run(), replace(PLAIN, corruptions=("blur", "jpeg"))
    before = (evaluation.folder / "evaluation.json").stat().st_mtime_ns
    with monkeypatch.context() as patched:
        patched.setattr("hamcache.pipeline.use.external.external.Predictor", None)
        again = evaluate_run(run, clinic.open(photographs), photographs.workspace, chosen)
    assert again.reused and again.folder == evaluation.folder
    assert (again.folder / "evaluation.json").stat().st_mtime_ns == before
    other = evaluate_run(
        run, clinic.open(photographs), photographs.workspace, replace(PLAIN, coverage=0.8), networks=CPU
    )
    assert not other.reused and other.id != evaluation.id


def test_a_damaged_evaluation_is_named_and_made_again(photographs, clinic, tmp_path) -> None:
    run, chosen = photographs.run(), replace(PLAIN, coverage=0.7)
    made = evaluate_run(run, clinic.open(photographs), photographs.workspace, chosen, networks=CPU)
    path = made.folder / "predictions.csv"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"c00", b"c99"))
    with pytest.raises(DamagedError, match="hamcache evaluations rm"):
        read_evaluation(made.folder).checked()
    again = evaluate_run(run, clinic.open(photographs), photographs.workspace, chosen, networks=CPU)
    assert not again.reused and path.read_bytes() == whole
    assert EVALUATIONS.load(made.id, photographs.workspace).record == again.record


def test_images_of_the_run_are_known_by_their_bytes_and_by_their_lesions(photographs, clinic, tmp_path) -> None:
    run, own = photographs.run(), photographs.table.frame.set_index("image_id")
    ids = {part: run.part(part)["image_id"].iloc[0] for part in ("train", "validation")}
    rows = [f"copy{part},{own.loc[i, 'path']},nv,somebody" for part, i in ids.items()]
    path = clinic.with_rows(tmp_path / "other.csv", *rows)
    by_bytes = known_images(run, clinic.open(photographs, path), photographs.workspace)
    assert by_bytes.parts == {"copytrain": "train", "copyvalidation": "validation"} and not by_bytes.same_names
    group = own.loc[ids["train"], "group"]
    other = f"b,{clinic.csv.parent}/c00.png,nv,{group}"
    path = clinic.with_rows(tmp_path / "same.csv", rows[0].replace("somebody", group), other)
    by_both = known_images(run, clinic.open(photographs, path), photographs.workspace)
    assert by_both.parts == {"copytrain": "train", "b": "train"} and by_both.same_names
    train = run.part("train").iloc[0]
    rows = [  # another size of a training image, and another photograph of its lesion
        f"{train['image_id']},{clinic.csv.parent}/c00.png,nv,{train['group']}",
        f"another,{clinic.csv.parent}/c01.png,nv,{train['group']}",
    ]
    path = clinic.with_rows(tmp_path / "names.csv", *rows)
    by_name = known_images(run, clinic.open(photographs, path), photographs.workspace)
    assert by_name.parts == {train["image_id"]: "train", "another": "train"} and by_name.same_names


def test_lesions_of_training_are_left_out_and_the_closed_test_set_stays_closed(photographs, tmp_path) -> None:
    run, frame = photographs.run(), photographs.table.frame
    dataset = open_dataset(DatasetWords(str(photographs.folder)), photographs.workspace)
    with pytest.raises(EvaluationError, match=r"got none \(train: \d+, validation: \d+, test: \d+\). --test opens"):
        evaluate_run(run, dataset, photographs.workspace, Evaluating(resamples=50))
    found = evaluate_run(run, dataset, photographs.workspace, Evaluating(test=True, resamples=50), networks=CPU)
    known = set(run.predictions["group"])
    kept = set(frame["image_id"][~frame["group"].isin(known)])
    assert set(found.predictions["image_id"]) == kept and "test" not in run.metrics
    assert any("must not be used to choose" in note for note in found.record["notes"])
    assert any("trained on" in note for note in found.record["notes"])


def test_a_run_whose_data_set_is_gone_is_compared_by_names_and_says_so(photographs, clinic, tmp_path) -> None:
    folder = tmp_path / "gone"
    shutil.copytree(photographs.folder, folder)
    here = Photographs(folder, photographs.workspace)
    run = here.run("dataset_name=gone", blocks=(), net=CNN)
    shutil.rmtree(folder)
    assert "not here as it was" in str(known_images(run, clinic.open(photographs), photographs.workspace).note)


def test_a_net_is_asked_image_by_image_and_an_unreadable_one_costs_itself(photographs, clinic, tmp_path) -> None:
    run = photographs.run(blocks=(), net=CNN, test=True)
    path = clinic.with_rows(tmp_path / "broken.csv", f"broken,{tmp_path}/none.png,nv,nobody")
    found = evaluate_run(run, clinic.open(photographs, path), photographs.workspace, PLAIN, networks=CPU)
    assert found.record["left_out"] == {"class unknown to the run": 6, "unreadable": 1}
    assert found.record["errors"] == {"broken": "file missing"} and found.record["part"] == "test"
    predictor = photographs.predictor(run)
    rows = clean(found)
    one = predictor.predict([clinic.csv.with_name(f"{i}.png") for i in rows["image_id"][:3]])
    raw = rows[[f"p_{label}" for label in run.classes]].to_numpy()[:3]
    np.testing.assert_allclose(
        predictor.temperature(raw), [list(each.probabilities.values()) for each in one], atol=1e-5
    )


def test_features_of_a_hybrid_with_views_are_extracted_as_the_run_has_them(photographs, clinic) -> None:
    blocks = [(NET, "dihedral", 2), (f"{NET}:stages", "dihedral", 2)]
    photographs.extract(*blocks)
    run = photographs.run(blocks=blocks)
    found = evaluate_run(run, clinic.open(photographs), photographs.workspace, PLAIN, networks=CPU)
    predictor = photographs.predictor(run)
    rows = clean(found)
    one = predictor.predict([clinic.csv.with_name(f"{i}.png") for i in rows["image_id"]])
    raw = rows[[f"p_{label}" for label in run.classes]].to_numpy()
    np.testing.assert_allclose(
        predictor.temperature(raw), [list(each.probabilities.values()) for each in one], atol=1e-9
    )


def test_fewer_images_are_whole_lesions(photographs, clinic) -> None:
    few = replace(PLAIN, images=6)
    found = evaluate_run(photographs.run(), clinic.open(photographs), photographs.workspace, few, networks=CPU)
    assert found.record["images"] == 6 and found.record["lesions"] == 3
    assert found.record["left_out"]["not drawn"] == 12


def test_the_picture_is_drawn_from_what_is_on_disk(evaluation) -> None:
    plot_evaluation(read_evaluation(evaluation.folder))
    assert evaluation.picture.stat().st_size > 10_000
    part = shown(evaluation)
    ece = evaluation.record["calibrated"]["ece"]["value"]
    assert METRICS["ece"](part.y, part.proba) == pytest.approx(ece)
    assert json.loads((evaluation.folder / "evaluation.json").read_text())["seal"]


def test_unknown_corruptions_are_refused_before_anything_is_read() -> None:
    with pytest.raises(EvaluationError, match="blur, noise, jpeg, brightness, got fog"):
        Evaluating(corruptions=["fog"])


def test_no_path_of_this_machine_is_in_the_record(evaluation, tmp_path: Path) -> None:
    assert str(tmp_path.parents[1]) not in (evaluation.folder / "evaluation.json").read_text()
