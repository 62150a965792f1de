"""The leakage demonstration: it finds leakage where there is some, none where there is none, and opens no test set."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from hamcache.data.workspace import Workspace
from hamcache.pipeline.cli.app import app
from hamcache.pipeline.errors import ArtefactNotFoundError, LeakageError
from hamcache.pipeline.evaluate.intervals import difference, holm, paired_bootstrap, resampled_scores
from hamcache.pipeline.studies.experiments import Template, plan
from hamcache.pipeline.studies.leakage.gaps import Images, mean_scores
from hamcache.pipeline.studies.leakage.measure import demonstrate as run
from hamcache.pipeline.studies.leakage.outcome import IMAGES, LeakageDemo, all_demos, in_words, load_demo


def demonstrate(world, heads: list[str], features: str = "net_a", seeds: int = 5, settings: dict | None = None):
    template = Template(settings={"dataset": str(world.csv), **(settings or {})})
    experiments = plan([features], heads, template)
    return run(experiments, world.workspace, seeds=seeds, workers=1)


@pytest.fixture(scope="module")
def memorable(make_world):
    """Features that tell lesions apart and know nothing of classes, beside those that know classes and no lesions."""
    world = make_world()
    world.extract("lesions", skill=0.0, lesion=8.0)
    world.extract("classes", skill=1.0)
    return world


@pytest.fixture(scope="module")
def demo(memorable):
    return demonstrate(memorable, ["knn", "logreg"], "lesions", seeds=4, settings={"head.class_weight": "none"})


def test_who_remembers_lesions_is_flattered_exactly_where_one_was_seen_before(memorable) -> None:
    found = demonstrate(memorable, ["knn"], "lesions", seeds=4, settings={"head.n_neighbors": 1})
    by_images = {images: found.rows(images, "accuracy").iloc[0] for images in IMAGES}
    assert by_images["sibling"]["leaky"] > 0.97  # its lesion was in train, with its label
    assert by_images["no sibling"]["gap"] == pytest.approx(0, abs=0.1)
    assert by_images["all"]["gap_low"] > 0.1 and by_images["all"]["p_holm"] < 0.01
    assert by_images["own"]["gap"] > 0.1
    honest = found.rows().iloc[0]
    assert honest["honest_low"] < 0 < honest["honest_high"]  # guessing, as it should be
    share = found.sibling_share
    assert by_images["all"]["gap"] == pytest.approx(
        share * by_images["sibling"]["gap"] + (1 - share) * by_images["no sibling"]["gap"], abs=0.02
    )


def test_where_images_of_a_lesion_have_nothing_in_common_no_head_is_flattered(memorable) -> None:
    rows = demonstrate(memorable, ["knn", "logreg", "nearest_centroid"], "classes", seeds=4).rows()
    assert (rows["honest"] > 0.5).all()
    assert (rows["gap"].abs() < 0.05).all() and ((rows["gap_low"] < 0) & (rows["gap_high"] > 0)).all()


def test_the_table_holds_every_head_metric_and_kind_of_image(demo) -> None:
    table = demo.table
    assert list(table["metric"].drop_duplicates()) == ["mcc", "balanced_accuracy", "weighted_f1", "accuracy"]
    assert len(table) == 4 * len(IMAGES) * 2
    np.testing.assert_allclose(table["gap"], table["leaky"] - table["honest"])
    assert (table["gap_low"] <= table["gap_high"]).all()
    for (_, _), rows in table.groupby(["metric", "images"]):
        np.testing.assert_allclose(rows["p_holm"], holm(list(rows["p"])))
    assert list(demo.rows()["head"]) == ["knn", "logreg"] and sorted(demo.ranking("leaky")) == ["knn", "logreg"]
    pd.testing.assert_frame_equal(pd.read_csv(demo.folder / "leakage.csv", float_precision="round_trip"), table)


def test_the_means_are_those_of_the_seeds(demo) -> None:
    seeds = pd.DataFrame(demo.summary["by_seed"])
    assert set(seeds["seed"]) == {0, 1, 2, 3}
    for images in IMAGES:
        for row in demo.rows(images, "accuracy").to_dict("records"):
            for arm in ("honest", "leaky"):
                mine = seeds[(seeds["images"] == images) & (seeds["head"] == row["head"]) & (seeds["arm"] == arm)]
                assert mine["accuracy"].mean() == pytest.approx(row[arm], abs=1e-5)


def test_the_summary_says_what_was_used_and_leaves_the_test_set_closed(demo, memorable) -> None:
    summary = json.loads((demo.folder / "leakage.json").read_text())
    assert summary["not_used"] > 0 and summary["images"] + summary["not_used"] == len(memorable.table())
    for sizes in summary["draws"]:
        assert sizes["honest"] == sizes["leaky"] and sizes["replaced"] > 0
    words = in_words(demo)
    assert f"{100 * demo.sibling_share:.0f} % of its test images" in words and "mcc" in words
    changed = demo.ranking("honest") != demo.ranking("leaky")
    assert ("The order of the heads changes" in words) == changed


def test_a_ranking_is_by_the_score_whichever_way_is_better(demo) -> None:
    scores = {"head": ["a", "b", "c"], "honest": [0.2, 0.1, 0.3], "leaky": [0.2, 0.5, 0.3], "gap": [0.0, 0.4, 0.0]}
    for metric, expected in (("mcc", ["c", "a", "b"]), ("nll", ["b", "a", "c"])):
        table = pd.DataFrame({"metric": metric, "images": "all", **scores})
        made = LeakageDemo(demo.folder, table, {**demo.summary, "metric": metric})
        assert made.ranking("honest") == expected
    assert "honest b, a, c; leaky a, c, b." in in_words(made)


def test_a_finished_demonstration_is_found(demo, memorable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "hamcache.pipeline.studies.leakage.measure.in_processes", lambda *_: pytest.fail("something was to be trained")
    )
    options = {"seeds": 4, "settings": {"head.class_weight": "none"}}
    again = demonstrate(memorable, ["knn", "logreg"], "lesions", **options)
    assert again.reused and again.folder == demo.folder and again.table.equals(demo.table)
    assert demo.id in [one.id for one in all_demos(memorable.workspace)]
    assert load_demo(demo.id, memorable.workspace).summary == demo.summary
    for other in ({**options, "seeds": 3}, {"seeds": 4}):
        with pytest.raises(pytest.fail.Exception, match="trained"):
            demonstrate(memorable, ["knn", "logreg"], "lesions", **other)


def test_one_that_is_not_whole_is_made_again(world) -> None:
    world.extract("net_a", lesion=2.0)
    first = demonstrate(world, ["knn"], seeds=1)
    (first.folder / "leakage.json").unlink()
    again = demonstrate(world, ["knn"], seeds=1)
    assert not again.reused and again.folder == first.folder
    pd.testing.assert_frame_equal(again.table, first.table)
    assert [path.name for path in first.folder.parent.iterdir()] == [first.id]


def test_a_head_that_fails_is_told_and_costs_no_other(world, monkeypatch: pytest.MonkeyPatch) -> None:
    world.extract("net_a")

    def fails(config, *rest, **named):
        if config.head.name == "lda":
            raise ValueError("no such luck")
        return real(config, *rest, **named)

    from hamcache.pipeline.experiment.learning import fit_head as real

    monkeypatch.setattr("hamcache.pipeline.studies.leakage.measure.fit_head", fails)
    found = demonstrate(world, ["lda", "knn"], seeds=1)
    assert list(found.rows()["head"]) == ["knn"]
    assert list(found.summary["failed"]) == ["lda"] and "no such luck" in found.summary["failed"]["lda"]
    assert "lda could not be trained" in in_words(found) and "no such luck" in in_words(found)
    with pytest.raises(LeakageError, match=r"at least one of 1 heads .* no such luck"):
        demonstrate(world, ["lda"], seeds=1)


def test_the_command_shows_two_tables_and_writes_its_files(world) -> None:
    world.extract("net_a", "flip", 2, lesion=2.0)
    words = ["leakage-demo", "--dataset", str(world.csv), "--workspace", str(world.workspace), "--workers", "1"]
    words += ["--features", "net_a", "--augmentation", "flip", "--views", "2", "--heads", "knn, lda", "--repeats", "2"]
    words += ["--set", "objective=balanced_accuracy"]
    for found in ("", " (found finished, not run again)"):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        text = " ".join(result.output.split())
        assert "balanced_accuracy on one test set" in text and "each kind of split on a test set of its own" in text
        assert ("leakage.csv, leakage.json, leakage.png" + found) in text
    (folder,) = (world.workspace / "leakage").iterdir()
    assert (folder / "leakage.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert not (world.workspace / "runs").exists()  # its predictors are no runs


def test_what_is_not_there_is_named(world) -> None:
    with pytest.raises(ArtefactNotFoundError, match=r"moles-1.*`hamcache leakage-demo` makes one"):
        load_demo("moles-1", world.workspace)
    with pytest.raises(LeakageError, match="1 seed or more"):
        demonstrate(world, ["knn"], seeds=0)


# -- scores


def images(seed: int, rows: int = 60, groups: int = 25, name: str = "all") -> Images:
    rng = np.random.default_rng(seed)
    y = np.r_[0, 1, 2, rng.integers(0, 3, rows - 3)]
    lesions = rng.integers(0, groups, rows).astype(str).astype(object)
    return Images(seed, name, y, lesions, {key: rng.dirichlet(np.ones(3), rows) for key in ("a", "b")})


@settings(max_examples=10)
@given(seed=st.integers(0, 50))
def test_one_seed_is_scored_as_everywhere_else(seed: int) -> None:
    one = images(seed)
    scores = mean_scores([one], ["mcc"], resamples=200)
    expected = resampled_scores(one.y, [one.probas["a"], one.probas["b"]], one.groups, "mcc", resamples=200)
    np.testing.assert_allclose([scores["all", "a", "mcc"], scores["all", "b", "mcc"]], expected)
    gap = difference(scores["all", "a", "mcc"], scores["all", "b", "mcc"], 25)
    by_hand = paired_bootstrap(one.y, one.probas["a"], one.probas["b"], one.groups, "mcc", resamples=200)
    assert (gap.value, gap.low, gap.high, gap.p_value) == pytest.approx(
        (by_hand.value, by_hand.low, by_hand.high, by_hand.p_value)
    )


def test_seeds_on_the_same_lesions_are_not_taken_for_more_lesions() -> None:
    one = images(3)
    alone, thrice = (mean_scores([one] * n, ["accuracy"], resamples=300) for n in (1, 3))
    np.testing.assert_allclose(alone["all", "a", "accuracy"], thrice["all", "a", "accuracy"])


def test_scores_are_means_over_the_seeds_that_have_such_images() -> None:
    sets = [images(1), images(2), images(3).only("all", np.zeros(60, dtype=bool))]
    scores = mean_scores(sets, ["accuracy"], resamples=50)
    points = [mean_scores([one], ["accuracy"], resamples=1)["all", "a", "accuracy"][0] for one in sets[:2]]
    assert scores["all", "a", "accuracy"][0] == pytest.approx(np.mean(points))
    assert len(scores["all", "a", "accuracy"]) == 51


def test_a_resample_without_any_such_image_counts_for_nothing() -> None:
    one = images(4)
    few = one.only("few", np.arange(60) == 5)
    values = mean_scores([one, few], ["mcc", "accuracy"], resamples=200)
    missing = np.isnan(values["few", "a", "accuracy"][1:])
    assert 0.2 < missing.mean() < 0.5  # a lesion is not drawn with chance 1/e
    assert (np.isnan(values["few", "a", "mcc"][1:]) == missing).all()
    assert not np.isnan(values["all", "a", "mcc"]).any()


def test_leftovers_of_a_killed_demonstration_are_no_demonstration(tmp_path: Path) -> None:
    folder = tmp_path / "leakage" / ".partial-1"
    folder.mkdir(parents=True)
    (folder / "leakage.json").write_text("{}")
    assert all_demos(Workspace(tmp_path)) == []
