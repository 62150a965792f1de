import json
import pickle
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pandas as pd
import pytest
import zarr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, matthews_corrcoef
from sklearn.preprocessing import StandardScaler

from hamcache.cache.errors import MissingFeaturesError, StaleFeaturesError
from hamcache.cache.keys import FeatureKey
from hamcache.cache.quarantine import BadImage, Quarantine
from hamcache.cache.storage import Root
from hamcache.data.splits import make_split
from hamcache.data.workspace import Workspace
from hamcache.heads.errors import ClassAbsentError, HeadError, MetricError
from hamcache.heads.metrics import compute_metrics
from hamcache.pipeline.errors import FeaturesError, RunError
from hamcache.pipeline.experiment.fitting import fit_folds, fit_of
from hamcache.pipeline.experiment.inputs import open_inputs
from hamcache.pipeline.experiment.preparation import prepare
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.runs.artefacts import partial_folders
from hamcache.pipeline.runs.records import all_runs, load_run
from tests.power_loss import recorded

RUN_FILES = {
    "config.yaml",
    "metrics.json",
    "predictions.csv",
    "history.csv",
    "provenance.json",
    "classes.json",
    "log.txt",
}


def test_a_run_writes_everything_that_is_promised(world) -> None:
    world.extract()
    run = run_experiment(world.config(), world.workspace)
    files = {path.name for path in run.folder.iterdir()}
    assert files >= RUN_FILES and any(name.startswith("head.") for name in files)
    assert run.folder.parent == world.workspace / "runs"
    assert run.id.startswith("logreg-net_a-") and run.id.endswith(run.config.digest[:4])
    assert json.loads((run.folder / "classes.json").read_text())[1] == {"code": 1, "class": "mel", "name": "Melanoma"}
    assert run.config == world.config()
    assert run.provenance["seconds"].keys() == {"load", "fit", "predict", "total", "processor"}
    assert partial_folders(world.workspace.runs) == []


def test_two_equal_trainings_at_once_give_one_run(world) -> None:
    world.extract()
    start, said = Barrier(2), []

    def train(_: int):
        start.wait()
        return run_experiment(world.config(), world.workspace, on_progress=said.append)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(train, range(2))
    assert one.id == other.id and sorted([one.reused, other.reused]) == [False, True]
    assert [run.id for run in all_runs(world.workspace)] == [one.id]
    assert [path.name for path in world.workspace.runs.iterdir()] == [one.id]


def test_after_a_power_cut_a_run_is_whole_or_absent(world, tmp_path: Path) -> None:
    world.extract()
    world.workspace.runs.mkdir(parents=True, exist_ok=True)
    with recorded(world.workspace.runs) as disk:
        run = run_experiment(world.config(), world.workspace)
    after = Workspace(tmp_path / "after")
    found = set()
    for state in disk.states():
        state.restore(after.runs)
        there = all_runs(after)
        assert [flaw for run in there for flaw in run.flaws()] == [], state.moment
        assert len(there) == len([path for path in after.runs.iterdir() if path.name[0] != "."]), state.moment
        found |= {(one.id, one.metrics["validation"]["mcc"]) for one in there}
    assert found == {(run.id, run.metrics["validation"]["mcc"])}
    for state in disk.last_states():
        state.restore(after.runs)
        assert [one.id for one in all_runs(after)] == [run.id]


def test_scores_equal_a_script_without_any_of_our_code(world) -> None:
    """The silent-error check: read the features by hand, fit scikit-learn's classifier, score with scikit-learn."""
    store = world.extract()
    run = run_experiment(world.config("head.C=0.5", "head.class_weight=none", "seed=3"), world.workspace)
    table = world.table().frame.set_index("image_id")
    array = zarr.open_group(store.root.join(store.folder), mode="r")["features"]
    features = dict(zip(store.image_ids, array[:, 0], strict=True))
    parts = {}
    for part in ("train", "validation"):
        ids = list(run.part(part)["image_id"])
        parts[part] = np.stack([features[i] for i in ids]), table.loc[ids, "label"].to_numpy(dtype=str)
    scaler = StandardScaler().fit(parts["train"][0])
    head = LogisticRegression(C=0.5, max_iter=2000).fit(scaler.transform(parts["train"][0]), parts["train"][1])
    for part, (x, labels) in parts.items():
        guess = head.predict(scaler.transform(x))
        assert run.metrics[part]["mcc"] == pytest.approx(matthews_corrcoef(labels, guess))
        assert run.metrics[part]["accuracy"] == pytest.approx(accuracy_score(labels, guess))
        assert run.metrics[part]["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, guess))
        np.testing.assert_allclose(run.probabilities(part), head.predict_proba(scaler.transform(x)), atol=2e-3)


def test_shuffled_labels_score_no_better_than_chance(world) -> None:
    """Features that know nothing must not score: any leak from validation into training would show here."""
    world.extract(skill=0.0)
    scores = [run_experiment(world.config(f"seed={s}"), world.workspace).metrics["validation"]["mcc"] for s in range(5)]
    assert abs(np.mean(scores)) < 0.15


def test_predictions_are_those_of_the_split_and_metrics_those_of_the_predictions(world) -> None:
    world.extract()
    run = run_experiment(world.config("seed=5"), world.workspace)
    split = make_split(world.table(), seed=5)
    for part in ("train", "validation"):
        assert list(run.part(part)["image_id"]) == split.ids(part)
        again = compute_metrics(
            run.labels(part),
            run.probabilities(part),
            run.classes,
            positive="mel",
            thresholds={float(k): v for k, v in run.provenance["thresholds"].items()},
        )
        assert again == run.metrics[part]
    assert set(run.predictions["part"]) == {"train", "validation"}
    assert run.metrics["validation"]["mel_specificity_at_90"] >= 0.9


def test_the_saved_head_predicts_what_was_saved(world) -> None:
    world.extract("net_a", "dihedral", 4)
    config = world.config(
        "features.blocks.0.augmentation=dihedral", "features.blocks.0.views=4", "tau=0.5", "head.C=0.1"
    )
    run = run_experiment(config, world.workspace)
    inputs = open_inputs(config, world.workspace)
    ids = list(run.part("validation")["image_id"])
    (block,) = inputs.load(config.features, ids)
    np.testing.assert_array_equal(
        run.load_head().predict_proba(block.arrays(ids).views), run.probabilities("validation")
    )


def test_test_set_stays_closed_until_it_is_asked_for(world) -> None:
    world.extract()
    closed = run_experiment(world.config(), world.workspace)
    assert "test" not in closed.metrics and "TEST" not in (closed.folder / "log.txt").read_text()
    opened = run_experiment(world.config(), world.workspace, test=True)
    assert opened.id != closed.id and "test" in opened.metrics and opened.provenance["test_opened"]
    assert "THE TEST SET IS OPENED" in (opened.folder / "log.txt").read_text()
    assert opened.metrics["validation"] == closed.metrics["validation"]
    other_seed = run_experiment(world.config("seed=9"), world.workspace, test=True)
    assert list(other_seed.part("test")["image_id"]) == list(opened.part("test")["image_id"])
    threshold = opened.provenance["thresholds"]["0.9"]
    mel = opened.labels("test") == 1
    expected = (opened.probabilities("test")[mel, 1] > threshold).mean()
    assert opened.metrics["test"]["mel_sensitivity_at_90"] == pytest.approx(expected)


def test_the_same_experiment_is_not_run_twice(world) -> None:
    world.extract()
    first = run_experiment(world.config(), world.workspace)
    lines: list[str] = []
    second = run_experiment(world.config(), world.workspace, on_progress=lines.append)
    assert second.id == first.id and second.reused and not first.reused
    assert lines == [f"the same experiment was run before: {first.id}"]
    forced = run_experiment(world.config(), world.workspace, force=True)
    assert forced.id != first.id and forced.metrics == first.metrics
    pd.testing.assert_frame_equal(forced.predictions, first.predictions)


def test_anything_that_changes_the_numbers_is_another_experiment(own_world) -> None:
    own_world.extract()
    first = run_experiment(own_world.config(), own_world.workspace)
    assert run_experiment(own_world.config("seed=1"), own_world.workspace).id != first.id
    assert run_experiment(own_world.config("head.C=3"), own_world.workspace).id != first.id
    image = own_world.csv.parent / "images" / f"{first.part('train')['image_id'][0]}.jpg"
    image.write_text("other pixels")
    with pytest.raises(StaleFeaturesError, match="other bytes"):
        run_experiment(own_world.config(), own_world.workspace)


def test_mlp_keeps_its_history_and_watches_any_of_our_metrics(world) -> None:
    world.extract("net_a", "flip", 4)
    base = {
        "features": {
            "blocks": [{"backbone": "net_a", "augmentation": "flip", "views": 4}],
            "views": {"train": "random"},
        }
    }
    config = world.config("head=mlp", "head.max_epochs=4", "head.objective=nll", base=base)
    run = run_experiment(config, world.workspace)
    assert len(run.history) == 4 and {"epoch", "train_loss", "valid_nll"} <= set(run.history)
    assert run.history["valid_nll"].max() <= 0  # a loss is handed over as "higher is better"
    again = run_experiment(config, world.workspace, force=True)
    pd.testing.assert_frame_equal(run.predictions, again.predictions)


def test_callbacks_hear_of_every_epoch(world) -> None:
    from skorch.callbacks import Callback

    class Count(Callback):
        epochs = 0

        def on_epoch_end(self, net, **kwargs) -> None:
            type(self).epochs += 1

    world.extract()
    config = world.config("head=mlp", "head.max_epochs=3")
    prepared = prepare(config, world.workspace)
    fit_folds(config, prepared.inputs, prepared.folds, fit_of(config), log=print, callbacks=[Count()])
    assert Count.epochs == 3


def test_hybrids_join_blocks_by_image_whatever_the_row_order_of_their_stores(world) -> None:
    world.extract("net_a")
    world.extract("net_b", images=list(reversed(world.table().frame["image_id"])))
    run = run_experiment(world.config(base={"features": "net_a+net_b"}), world.workspace)
    alone = run_experiment(world.config(base={"features": "net_a"}), world.workspace)
    assert run.metrics["validation"]["mcc"] > alone.metrics["validation"]["mcc"]
    assert len(run.provenance["stores"]) == 2
    digests = {folder: FeatureKey.from_dict(key).digest for folder, key in run.provenance["keys"].items()}
    assert digests == run.provenance["stores"]


def test_plain_policy_reads_the_plain_image_whatever_the_augmentation(world) -> None:
    world.extract("net_a", "none")
    world.extract("net_a", "original", 3)
    world.extract("net_a", "dihedral", 3)
    plain = run_experiment(world.config(), world.workspace)
    for augmentation in ("original", "dihedral"):
        block = {"backbone": "net_a", "augmentation": augmentation, "views": 3}
        features = {"blocks": [block], "views": {"train": "plain", "predict": "plain"}}
        run = run_experiment(world.config(base={"features": features}), world.workspace)
        np.testing.assert_array_equal(run.probabilities("validation"), plain.probabilities("validation"))
        mixed = {"blocks": [block], "views": {"train": "all", "predict": "plain"}}
        assert run_experiment(world.config(base={"features": mixed}), world.workspace).id != run.id


def test_asking_for_more_views_than_a_symmetry_has_takes_all_it_has(world) -> None:
    world.extract("net_a", "flip", 4)
    block = {"backbone": "net_a", "augmentation": "flip", "views": 9}
    config = world.config(base={"features": {"blocks": [block]}})
    assert open_inputs(config, world.workspace).blocks_of(config.features)[0].n_views == 4
    run_experiment(config, world.workspace)


def test_tau_is_chosen_on_validation_and_saved_with_the_head(world) -> None:
    world.extract(skill=0.6)
    raw = run_experiment(world.config("head.class_weight=none"), world.workspace)
    auto = run_experiment(world.config("head.class_weight=none", "tau=auto"), world.workspace)
    assert auto.metrics["validation"]["mcc"] >= raw.metrics["validation"]["mcc"]
    tau, counts = auto.provenance["tau"], np.bincount(raw.labels("train"))
    shifted = raw.probabilities("validation") * (counts / counts.sum()) ** -tau
    np.testing.assert_allclose(auto.probabilities("validation"), shifted / shifted.sum(1, keepdims=True), atol=1e-12)
    fixed = run_experiment(world.config("head.class_weight=none", f"tau={tau}"), world.workspace)
    np.testing.assert_array_equal(fixed.probabilities("train"), auto.probabilities("train"))


def test_cross_validation_pools_predictions_of_heads_that_have_not_seen_the_lesion(world) -> None:
    world.extract()
    config = world.config("split.policy=grouped", "split.folds=3", "head.C=0.1")
    run = run_experiment(config, world.workspace, test=True)
    validation, test = run.part("validation"), run.part("test")
    assert validation["image_id"].is_unique and test["image_id"].is_unique
    assert sorted([*validation["image_id"], *test["image_id"]]) == list(world.table().frame["image_id"])
    assert not set(validation["group"]) & set(test["group"])
    assert sorted(run.part("train")["image_id"]) == list(validation["image_id"])
    assert len(run.provenance["split"]) == 3
    # Fold 1's images: the saved head of fold 1 gives exactly the pooled rows.
    from hamcache.data.splits import make_folds

    ids = make_folds(world.table(), 3, seed=0)[0].ids("validation")
    (block,) = open_inputs(config, world.workspace).load(config.features, ids)
    rows = validation.set_index("image_id").loc[ids, [f"p_{c}" for c in run.classes]].to_numpy()
    np.testing.assert_allclose(run.load_head(fold=1).predict_proba(block.arrays(ids).views), rows, atol=1e-12)
    assert (
        compute_metrics(run.labels("validation"), run.probabilities("validation"), run.classes)["mcc"]
        == (run.metrics["validation"]["mcc"])
    )


def test_quarantined_images_are_left_out_and_move_no_other(world) -> None:
    before = world.extract()
    whole = run_experiment(world.config(), world.workspace)
    bad = whole.part("train")["image_id"][0]
    before.root.remove(before.folder)
    world.extract(images=[i for i in before.image_ids if i != bad])
    quarantine = Quarantine(Root(world.workspace / "features"), "moles")
    inputs = open_inputs(world.config(), world.workspace)
    quarantine.add(BadImage(bad, inputs.digests[bad], "truncated"))
    run = run_experiment(world.config(), world.workspace)
    assert run.id != whole.id
    assert run.provenance["left_out"] == {bad: "truncated"}
    assert set(whole.predictions["image_id"]) - set(run.predictions["image_id"]) == {bad}
    assert list(run.part("validation")["image_id"]) == list(whole.part("validation")["image_id"])
    assert f"1 quarantined images are left out: {bad} (truncated)" in (run.folder / "log.txt").read_text()


def test_missing_features_name_one_command_for_all_of_them(world) -> None:
    with pytest.raises(MissingFeaturesError) as caught:
        run_experiment(world.config(base={"features": "net_a+resnet34"}), world.workspace)
    command = f"hamcache extract --dataset {world.csv} --backbones net_a,resnet34 --augmentations none --views 1"
    assert command in str(caught.value)
    world.extract("net_a", "flip", 2)
    block = {"backbone": "net_a", "augmentation": "flip", "views": 4}
    with pytest.raises(MissingFeaturesError, match="--augmentations flip --views 4"):
        run_experiment(world.config(base={"features": {"blocks": [block]}}), world.workspace)
    assert all_runs(world.workspace) == [] and partial_folders(world.workspace.runs) == []


def test_missing_features_tell_of_a_store_that_cannot_be_read(world) -> None:
    store = world.extract("net_a")
    Path(world.workspace.features, store.folder, "zarr.json").write_text("{")
    with pytest.raises(MissingFeaturesError, match=f"it has: {re.escape(store.folder)}, which can't be read"):
        run_experiment(world.config(), world.workspace)


def test_features_lacking_images_of_the_table_are_missing_features(world) -> None:
    ids = list(world.table().frame["image_id"])
    world.extract(images=ids[: len(ids) // 2])
    with pytest.raises(MissingFeaturesError, match="images"):
        run_experiment(world.config(), world.workspace)


def test_an_image_file_that_is_gone_does_not_take_its_features_along(own_world) -> None:
    own_world.extract()
    first = run_experiment(own_world.config(), own_world.workspace)
    for image in (own_world.csv.parent / "images").iterdir():
        image.unlink()
    again = run_experiment(own_world.config(), own_world.workspace)
    np.testing.assert_array_equal(again.probabilities("train"), first.probabilities("train"))


def test_both_precisions_in_the_cache_take_the_exact_one(world) -> None:
    world.extract(precision="bf16")
    auto = run_experiment(world.config(), world.workspace)
    world.extract(precision="fp32")
    exact = run_experiment(world.config(), world.workspace)
    rough = run_experiment(world.config("features.precision=bf16"), world.workspace)
    assert exact.provenance["stores"] != auto.provenance["stores"] == rough.provenance["stores"]


def test_an_exact_store_with_fewer_views_is_passed_over(world) -> None:
    world.extract("net_a", "flip", 1, precision="fp32")
    rough = world.extract("net_a", "flip", 2, precision="bf16")
    block = "features.blocks=[{backbone: net_a, augmentation: flip, views: 2}]"
    run = run_experiment(world.config(block), world.workspace)
    assert list(run.provenance["stores"]) == [rough.folder]


def test_both_storages_in_the_cache_take_the_exact_one_and_no_digest_knows_of_a_choice_not_made(world) -> None:
    world.extract(storage="float16")
    auto = run_experiment(world.config(), world.workspace)
    world.extract()
    exact = run_experiment(world.config(), world.workspace)
    short = run_experiment(world.config("features.storage=float16"), world.workspace)
    assert exact.provenance["stores"] != auto.provenance["stores"] == short.provenance["stores"]
    assert "storage" not in world.config().content()["features"]
    assert short.config.features.storage == "float16" and exact.config.features.storage == "auto"


def test_inputs_are_shared_between_runs_and_travel_to_other_processes(world) -> None:
    world.extract("net_a")
    world.extract("net_b")
    hybrid = world.config(base={"features": "net_a+net_b"})
    inputs = open_inputs(hybrid, world.workspace)
    inputs.load(hybrid.features, list(world.table().frame["image_id"]))
    there = pickle.loads(pickle.dumps(inputs))
    for block in there.blocks.values():
        block._views.flags.writeable = False  # as Ray hands arrays out
    shared = run_experiment(hybrid, world.workspace, inputs=there)
    alone = run_experiment(hybrid, world.workspace, force=True)
    np.testing.assert_array_equal(shared.probabilities("validation"), alone.probabilities("validation"))
    single = run_experiment(world.config(base={"features": "net_b"}), world.workspace, inputs=there)
    assert list(single.provenance["stores"]) == [there.blocks_of(single.config.features)[0].stores[0].folder]


def test_nan_features_name_the_block_and_the_images(world) -> None:
    world.extract()
    config = world.config()
    inputs = open_inputs(config, world.workspace)
    ids = list(world.table().frame["image_id"])
    (block,) = inputs.load(config.features, ids)
    block._views[3, 0, 1] = np.nan
    with pytest.raises(FeaturesError, match=f"net_a.*1 images.*{ids[3]}"):
        block.arrays(ids)
    with pytest.raises(FeaturesError, match="another table"):
        block.arrays(["img0001", "nobody"])


def test_a_class_absent_from_train_is_a_clear_error(world) -> None:
    world.extract()
    inputs = open_inputs(world.config(), world.workspace)
    frame = inputs.table.frame
    inputs.left_out |= dict.fromkeys(frame.loc[frame["label"] == "mel", "image_id"], "gone")
    with pytest.raises((ClassAbsentError, HeadError), match="mel"):
        run_experiment(world.config(), world.workspace, inputs=inputs)


def test_scores_that_validation_cannot_give_are_left_out_and_the_log_says_so(world) -> None:
    world.extract()
    inputs = open_inputs(world.config(), world.workspace)
    split = make_split(inputs.table)
    inputs.left_out |= dict.fromkeys(split.frame.query("part == 'validation' and label == 'mel'")["image_id"], "gone")
    run = run_experiment(world.config(), world.workspace, inputs=inputs)
    assert "sensitivity_mel" not in run.metrics["validation"] and "sensitivity_mel" in run.metrics["train"]
    assert "validation has no image of mel" in (run.folder / "log.txt").read_text()
    json.loads((run.folder / "metrics.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} in JSON"))


def test_warnings_of_the_fit_go_to_the_log(world) -> None:
    world.extract()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = run_experiment(world.config("head.max_iter=1", "head.C=1000"), world.workspace)
    assert "warning: lbfgs failed to converge" in (run.folder / "log.txt").read_text()


def test_wrong_requests_are_refused_before_anything_is_written(world) -> None:
    world.extract()
    with pytest.raises(MetricError, match="positive: unknown class 'mell'; did you mean 'mel'"):
        run_experiment(world.config("positive=mell"), world.workspace)
    with pytest.raises(RunError, match=r"split\.test_fraction above 0"):
        run_experiment(world.config("split.test_fraction=0"), world.workspace, test=True)
    assert not (world.workspace / "runs").exists()


def test_a_failed_run_leaves_nothing_behind(world, monkeypatch) -> None:
    world.extract()
    monkeypatch.setattr("hamcache.heads.persist.save_head", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        run_experiment(world.config(), world.workspace)
    assert list((world.workspace / "runs").iterdir()) == []
    with pytest.raises(FileNotFoundError):
        load_run("logreg", world.workspace)


def test_every_saved_head_of_the_zoo_loads_from_its_run(world) -> None:
    """As the zoo does it: one reading of the cache for all heads."""
    world.extract()
    inputs = open_inputs(world.config(), world.workspace)
    for head in ("logreg", "knn", "gaussian_nb", "mlp"):
        epochs = ["head.max_epochs=2"] if head == "mlp" else []
        run = run_experiment(world.config(f"head={head}", *epochs, "tau=auto"), world.workspace, inputs=inputs)
        ids = list(run.part("validation")["image_id"])
        features = inputs.blocks_of(run.config.features)[0].arrays(ids).views
        np.testing.assert_array_equal(run.load_head().predict_proba(features), run.probabilities("validation"))


def test_a_run_whose_features_do_not_fit_into_memory_has_the_same_numbers(world, tmp_path, monkeypatch) -> None:
    world.extract("net_a")
    world.extract("net_b")
    config = world.config(base={"features": "net_a+net_b"})
    inside = run_experiment(config, world.workspace)
    monkeypatch.setattr("hamcache.data.large_arrays.free_memory", lambda: 0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    outside = run_experiment(config, world.workspace, force=True)
    for part in ("train", "validation"):
        np.testing.assert_array_equal(outside.probabilities(part), inside.probabilities(part))
