import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.errors import MissingFeaturesError
from hamcache.cache.keys import FeatureKey
from hamcache.cache.store import FeatureStore
from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import ArtefactNotFoundError, DamagedError, PredictionError
from hamcache.pipeline.runs.records import read_run
from hamcache.pipeline.use.predict.predictor import Predictor, Question, load_predictor
from hamcache.pipeline.use.predict.seen import _distances
from tests.pipeline.conftest import without_checksums
from tests.pipeline.use.predict.conftest import CNN, FINE, NET, OTHER, Photographs, probabilities


@pytest.fixture(scope="module")
def plain(photographs: Photographs) -> Predictor:
    return photographs.predictor(photographs.run())


def test_probabilities_are_calibrated_unless_raw_ones_are_asked_for(photographs, plain) -> None:
    paths = photographs.paths(plain.run, "validation")
    raw, calibrated = (probabilities(plain.predict(paths, Question(raw=raw))) for raw in (True, False))
    np.testing.assert_array_equal(plain.temperature(raw), calibrated)
    assert plain.temperature.value != 1 and (raw != calibrated).any()


def test_a_prediction_says_all_that_is_known_of_an_image(photographs, plain) -> None:
    path = photographs.paths(plain.run, "validation")[0]
    (found,) = plain.predict([path], Question(coverage=0.8, neighbours=3))
    top = max(found.probabilities, key=found.probabilities.get)
    assert found.image == str(path) and found.error is None and found.label == top == found.prediction_set[0]
    assert tuple(found.probabilities) == plain.classes and sum(found.probabilities.values()) == pytest.approx(1)
    inside = plain.sets(0.8)(np.array([list(found.probabilities.values())]))[0]
    assert set(found.prediction_set) == {label for label, one in zip(plain.classes, inside, strict=True) if one}
    shown = [found.probabilities[label] for label in found.prediction_set]
    assert shown == sorted(shown, reverse=True) and found.coverage == 0.8
    assert len(found.neighbours) == 3 and found.unlike is False and 0 < found.unlike_p <= 1


def test_sets_of_validation_images_hold_the_promised_share_of_true_classes(photographs, plain) -> None:
    part = plain.run.part("validation")
    for coverage in (0.5, 0.8):
        found = plain.predict(photographs.paths(plain.run, "validation"), Question(coverage=coverage))
        hits = [label in one.prediction_set for label, one in zip(part["label"], found, strict=True)]
        assert np.mean(hits) >= coverage


def test_a_training_image_is_its_own_nearest_neighbour(photographs, plain) -> None:
    part = plain.run.part("train")
    found = plain.predict(photographs.paths(plain.run, "train"), Question(neighbours=2))
    assert [one.neighbours[0].image_id for one in found] == list(part["image_id"])
    assert [one.neighbours[0].label for one in found] == list(part["label"])
    assert all(one.neighbours[0].similarity == pytest.approx(1, abs=1e-5) for one in found)
    assert all(one.neighbours[0].similarity >= one.neighbours[1].similarity for one in found)


def test_noise_is_unlike_anything_seen_and_known_kinds_of_images_are_not(photographs, plain, noise) -> None:
    (strange,) = plain.predict([noise])
    assert strange.unlike and strange.unlike_p == plain.seen.least_p() and strange.error is None
    assert not any(one.unlike for one in plain.predict(photographs.paths(plain.run, "train")))
    # As many validation images are flagged as the share says, and no more.
    p_values = [one.unlike_p for one in plain.predict(photographs.paths(plain.run, "validation"))]
    for share in (0.1, 0.25, 0.5):
        assert np.mean(np.array(p_values) <= share) <= share
    assert max(p_values) == 1


def test_a_photograph_of_something_else_is_unlike_by_statistics_of_stages(photographs, tmp_path) -> None:
    """These grow with contrast and hardly turn: an angle would not tell a flower from a lesion."""
    photographs.extract((f"{NET}:stages", "none", 1))
    predictor = photographs.predictor(photographs.run(blocks=[(f"{NET}:stages", "none", 1)]))
    Image.fromarray(load_sample_image("flower.jpg")).save(tmp_path / "flower.jpg")
    (flower,) = predictor.predict([tmp_path / "flower.jpg"])
    assert flower.unlike
    assert np.mean([one.unlike for one in predictor.predict(photographs.paths(predictor.run, "train"))]) < 0.2


def test_distances_are_those_to_the_nearest_five_rows_of_other_groups() -> None:
    base = np.arange(8, dtype=np.float32)[:, None] ** 2  # 0 1 4 9 16 25 36 49
    queries = np.array([[0.0], [16.0]], dtype=np.float32)
    np.testing.assert_allclose(
        _distances(queries, base), [(0 + 1 + 4 + 9 + 16) / 5, (0 + 7 + 9 + 12 + 15) / 5], rtol=1e-5
    )
    groups = np.array([0, 1, 2, 3, 4, 5, 6, 7])
    apart = _distances(queries, base, np.array([0, 4]), groups)
    np.testing.assert_allclose(apart, [(1 + 4 + 9 + 16 + 25) / 5, (7 + 9 + 12 + 15 + 16) / 5], rtol=1e-5)
    np.testing.assert_allclose(_distances(queries, base[:2]), [0.5, 15.5])


def test_neighbours_and_the_flag_are_not_available_without_the_stores_and_the_reader_is_told(
    photographs, plain, tmp_path
) -> None:
    path = photographs.paths(plain.run, "validation")[0]
    alone = Predictor(plain.run, Workspace(tmp_path / "elsewhere"), device="cpu")
    (here,), (there,) = plain.predict([path]), alone.predict([path])
    assert there.probabilities == here.probabilities and there.prediction_set == here.prediction_set
    assert (there.unlike, there.unlike_p, there.neighbours) == (None, None, ())
    assert any("features" not in note and "is not here" in note for note in alone.notes(alone.sets()))
    assert not any("not available" in note for note in plain.notes(plain.sets()))


def test_images_of_a_net_are_looked_up_by_the_features_of_another_network(photographs, noise, tmp_path) -> None:
    run = photographs.run(blocks=(), net=CNN, test=True)
    net = photographs.predictor(run)
    paths = [*photographs.paths(run, "train"), tmp_path / "gone.jpg", noise]
    *train, gone, strange = net.predict(paths, Question(neighbours=1))
    assert [one.neighbours[0].image_id for one in train] == list(run.part("train")["image_id"])
    assert strange.unlike and not any(one.unlike for one in train) and gone.error == "file missing"
    assert any(f"looked up by the features of {NET}" in note for note in net.notes(net.sets()))
    alone = Predictor(run, Workspace(tmp_path / "elsewhere"), device="cpu")
    (same,) = alone.predict(paths[:1])
    assert same.probabilities == pytest.approx(train[0].probabilities, abs=1e-6) and same.unlike is None
    assert any("keeps no features" in note for note in alone.notes(alone.sets()))


def test_a_finetuned_net_is_looked_up_by_its_own_backbone(photographs) -> None:
    for backbone in (OTHER, NET):
        photographs.extract((backbone, "none", 1))
        net = photographs.predictor(photographs.run(blocks=(), net={**FINE, "backbone": backbone}, test=True))
        assert [source.spec.name for source in net.model.sources] == [backbone]


def test_notes_name_what_validation_is_too_small_for(plain) -> None:
    few = plain.notes(plain.sets(0.9, class_conditional=True))
    assert any("takes 9 a class" in note and "vasc" in note for note in few)
    assert any("further from the training images than all" in note for note in few)
    assert plain.notes(plain.sets(0.5), unlike=0.5) == []


def test_one_bad_image_costs_itself_only(photographs, plain, tmp_path) -> None:
    good = photographs.paths(plain.run, "validation")[:3]
    (tmp_path / "text.jpg").write_text("no image")
    Image.new("RGB", (4, 4)).save(tmp_path / "tiny.png")
    mixed = [tmp_path / "gone.jpg", good[0], tmp_path / "text.jpg", good[1], good[2], tmp_path / "tiny.png"]
    found = plain.predict(mixed, Question(raw=True))
    reasons = ["file missing", None, "not an image", None, None, "only 4x4 pixels"]
    assert [one.error and one.error.partition(" of a kind")[0] for one in found] == reasons
    np.testing.assert_allclose(
        probabilities([found[1], found[3], found[4]]), probabilities(plain.predict(good, Question(raw=True)))
    )
    assert all(one.label is None and one.prediction_set == () and one.probabilities == {} for one in found if one.error)
    only_bad = plain.predict([tmp_path / "gone.jpg"])
    assert [one.error for one in only_bad] == ["file missing"]


def test_features_that_are_not_finite_cost_the_image_only(photographs, plain, monkeypatch) -> None:
    paths = photographs.paths(plain.run, "validation")[:3]
    made = plain.model._maker.features

    def broken(*arguments: object) -> list:
        blocks = made(*arguments)
        blocks[0].views[1] = np.nan
        return blocks

    monkeypatch.setattr(plain.model._maker, "features", broken)
    found = plain.predict(paths)
    assert [one.error for one in found] == [None, "its features are not finite", None]


def test_opened_images_are_predicted_like_files(photographs, plain) -> None:
    paths = photographs.paths(plain.run, "validation")[:2]
    opened = [Image.open(path) for path in paths]
    np.testing.assert_array_equal(probabilities(plain.predict(opened)), probabilities(plain.predict(paths)))


def test_progress_counts_every_image(photographs, plain) -> None:
    seen: list[tuple[int, int]] = []
    paths = photographs.paths(plain.run, "train")
    plain.predict(paths, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(paths), len(paths)) and seen == sorted(seen)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"coverage": 1.5}, "between 0 and 1"),
        ({"sets": "asp"}, "did you mean 'aps'"),
        ({"neighbours": -1}, "0 neighbours or more"),
        ({"unlike": 2.0}, "from 0 to 1"),
    ],
)
def test_choices_that_do_not_exist_are_refused(plain, options: dict, words: str) -> None:
    with pytest.raises(PredictionError, match=words):
        plain.predict([], Question(**options))


def test_a_run_is_found_by_the_beginning_of_its_id_or_by_its_folder(photographs, tmp_path) -> None:
    run = photographs.run()
    assert load_predictor(run.id, photographs.workspace, device="cpu").run.id == run.id
    shutil.copytree(run.folder, tmp_path / "sent")
    sent = load_predictor(tmp_path / "sent", Workspace(tmp_path / "no-workspace"), device="cpu")
    (one,) = sent.predict(photographs.paths(run, "validation")[:1])
    assert one.error is None and one.unlike is None
    with pytest.raises(ArtefactNotFoundError):
        load_predictor("nobody", photographs.workspace)


def test_another_network_than_the_runs_is_refused(photographs, tmp_path) -> None:
    """Weights are part of the key, so a run can't be asked with others' features; here its record is changed."""
    run = photographs.run()
    without_checksums(Path(shutil.copytree(run.folder, tmp_path / "old")))
    text = (tmp_path / "old" / "provenance.json").read_text()
    (folder, digest) = next(iter(run.provenance["stores"].items()))
    (tmp_path / "old" / "provenance.json").write_text(text.replace(digest, digest[::-1]))
    with pytest.raises(PredictionError, match=r"fits neither precision.*--weights random/test_resnet.*=FILE"):
        Predictor(read_run(tmp_path / "old"), Workspace(tmp_path), device="cpu")
    assert folder.startswith("ham10000/")


def test_the_fields_in_which_another_network_differs_are_told(photographs, tmp_path) -> None:
    run = photographs.run()
    without_checksums(Path(shutil.copytree(run.folder, tmp_path / "other")))
    provenance = json.loads((tmp_path / "other" / "provenance.json").read_text())
    ((folder, key),) = provenance["keys"].items()
    other = replace(FeatureKey.from_dict(key), weights="0" * 64)
    provenance |= {"keys": {folder: other.to_dict()}, "stores": {folder: other.digest}}
    (tmp_path / "other" / "provenance.json").write_text(json.dumps(provenance))
    with pytest.raises(PredictionError, match=rf"here: weights is {key['weights']}, but was 0{{64}}\."):
        Predictor(read_run(tmp_path / "other"), photographs.workspace, device="cpu")


def test_a_run_on_views_that_an_older_version_drew_is_refused_and_new_runs_do_not_read_them(
    photographs, tmp_path
) -> None:
    """Their keys name no kernels. Such a store stays, is listed, and can be asked for by its digits."""
    blocks = [(NET, "rotate", 1)]
    photographs.extract(*blocks)
    run = photographs.run(blocks=blocks)
    ((folder, key),) = run.provenance["keys"].items()
    augmentation = {name: step for name, step in key["augmentation"].items() if name != "kernels"}
    older = replace(FeatureKey.from_dict(key), augmentation=augmentation)
    catalogue = Catalogue(photographs.workspace.features)
    store = catalogue.get(FeatureKey.from_dict(key))
    FeatureStore.prepare(catalogue.root, older, store.dim, store.image_ids, {})
    former = replace(
        run, provenance=run.provenance | {"keys": {folder: older.to_dict()}, "stores": {folder: older.digest}}
    )
    with pytest.raises(PredictionError, match=r"'rotate' that an older hamcache drew .*extract and train again"):
        Predictor(former, photographs.workspace, device="cpu")
    again = photographs.run("seed=1", blocks=blocks)
    assert list(again.provenance["stores"].values()) == [FeatureKey.from_dict(key).digest]
    catalogue.remove(folder)
    with pytest.raises(MissingFeaturesError, match=r"\(rotate, drawn by an older hamcache\).*--augmentations rotate"):
        photographs.run("seed=2", blocks=blocks)
    with pytest.raises(MissingFeaturesError) as caught:  # it is empty here
        photographs.run("seed=2", blocks=[(f"{NET}@{older.digest[:8]}", "rotate", 1)])
    assert "older hamcache" not in str(caught.value)
    catalogue.remove(older.folder)


def test_a_run_that_recorded_no_whole_keys_predicts_the_same(photographs, tmp_path) -> None:
    photographs.extract((NET, "original", 2), (NET, "none", 1), seed=5)
    overrides = ["features.views.predict=plain", "features.aug_seed=5"]
    for run in (photographs.run(), photographs.run(*overrides, blocks=[(NET, "original", 2)])):
        former = replace(run, provenance={name: value for name, value in run.provenance.items() if name != "keys"})
        for workspace in (photographs.workspace, Workspace(tmp_path)):
            predicted = Predictor(former, workspace, device="cpu").predict(
                photographs.paths(run, "validation"), Question(raw=True)
            )
            np.testing.assert_array_equal(probabilities(predicted), run.probabilities("validation"))


def test_a_recipe_that_was_changed_since_is_refused_unless_its_file_is_given(photographs, tmp_path) -> None:
    photographs.extract((NET, "original", 3))
    run = photographs.run(blocks=[(NET, "original", 3)])
    (tmp_path / "recipes.yaml").write_text("original:\n  affine: {degrees: 5}\n")
    with pytest.raises(PredictionError, match="recipe that run"):
        Predictor(run, Workspace(tmp_path / "elsewhere"), recipes_file=tmp_path / "recipes.yaml", device="cpu")
    paths = photographs.paths(run, "validation")
    away = Predictor(run, Workspace(tmp_path / "elsewhere"), device="cpu").predict(paths, Question(raw=True))
    np.testing.assert_array_equal(probabilities(away), run.probabilities("validation"))


def test_a_missing_head_is_told(photographs, tmp_path: Path) -> None:
    shutil.copytree(photographs.run().folder, tmp_path / "beheaded")
    (tmp_path / "beheaded" / "head.skops").unlink()
    with pytest.raises(DamagedError, match=r"head\.skops is missing.*train again"):
        load_predictor(tmp_path / "beheaded", photographs.workspace)
    without_checksums(tmp_path / "beheaded")
    with pytest.raises(DamagedError, match=r"head\.skops is missing.*train again"):
        load_predictor(tmp_path / "beheaded", photographs.workspace)
