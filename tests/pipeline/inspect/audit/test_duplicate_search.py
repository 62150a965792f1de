"""The parts of an audit before and after the pixels: descriptors, candidates, labels, tables, proposals."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.errors import MissingFeaturesError
from hamcache.cache.survey import Survey
from hamcache.data.curation import Curation, merge
from hamcache.data.table import build_table
from hamcache.pipeline.inspect.audit import descriptors
from hamcache.pipeline.inspect.audit.descriptors import choose_sources, describe, searchable
from hamcache.pipeline.inspect.audit.duplicate_search import Candidates, choose_candidates, find_neighbours
from hamcache.pipeline.inspect.audit.duplicate_verdicts import SAME_LESION, SAME_PICTURE, calibrate, least_cosine
from hamcache.pipeline.inspect.audit.findings import (
    duplicates_table,
    merged_groups,
    outliers_table,
    pairs_table,
    propose_exclusions,
    propose_merges,
)
from hamcache.pipeline.inspect.audit.label_errors import confident_errors, find_label_errors, out_of_fold
from hamcache.pipeline.inspect.audit.pixel_alignment import Alignment
from hamcache.pipeline.inspect.neighbours import unit_rows


def unit(seed: int, n: int, dim: int = 6) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).normal(size=(n, dim)))


# -- descriptors


def sources(world, backbones: tuple[str, ...] = ()) -> list:
    table = world.table()
    return choose_sources(Catalogue(world.workspace / "features"), table.name, list(table.frame["image_id"]), backbones)


def test_the_store_with_most_symmetries_is_taken_and_one_that_lacks_images_is_not(world) -> None:
    ids = list(world.table().frame["image_id"])
    world.extract("net_a", "none")
    world.extract("net_a", "dihedral", 5)  # the first four are a group, five are none
    world.extract("net_a", "rotate", 3)  # drawn at random: no plain image
    world.extract("net_b", "none")
    world.extract("net_b", "dihedral", 4, images=ids[:-1])
    assert [one.words for one in sources(world)] == ["net_a (dihedral x4)", "net_b (none x1)"]
    assert [one.words for one in sources(world, ("net_b",))] == ["net_b (none x1)"]


def test_float32_is_taken_before_bfloat16(world) -> None:
    world.extract("net_a", precision="bf16")
    world.extract("net_a", precision="fp32")
    assert [one.store.key.precision for one in sources(world)] == ["fp32"]


def test_absent_features_are_said_with_the_command_that_makes_them(world) -> None:
    with pytest.raises(MissingFeaturesError, match=r"hamcache extract .*dihedral"):
        sources(world)
    world.extract("net_a", "none")
    with pytest.raises(MissingFeaturesError, match=r"by net_c.*--backbones net_c "):
        sources(world, ("net_a", "net_c"))


def test_a_mirrored_copy_has_the_descriptor_of_its_original(world) -> None:
    """Its view k is the original's view k ^ 1: the same four vectors in another order."""
    table = world.table()
    store = world.extract("net_a", "flip", 4)
    ids = list(table.frame["image_id"])
    first, second = ids[0], ids[100]
    for view in range(4):
        chunk, row = divmod(store.row_of[second], 64)
        digest = Survey(store).made_from(view)[second]
        store.write_chunk(store.place(chunk, view), [row], store.read([first], [view ^ 1])[:, 0], [digest])
    rows = describe(sources(world), ids, {})
    assert rows[0] @ rows[100] == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose((rows**2).sum(axis=1), 1, rtol=1e-5)


def test_every_backbone_counts_the_same_and_no_column_by_its_scale(world) -> None:
    world.extract("net_a")
    world.extract("net_b")
    store = sources(world, ("net_b",))[0].store
    rows = describe(sources(world), store.image_ids, {})
    assert rows.shape == (len(store.image_ids), 16)
    np.testing.assert_allclose((rows[:, :8] ** 2).sum(axis=1), 0.5, rtol=1e-5)
    for chunk in range(store.n_chunks):
        ids = store.chunk_ids(chunk)
        scaled = store.read(ids)[:, 0] * np.float32([1, 100, 0.01, 1, 1, 1, 7, 1]) + 5
        made_from = Survey(store).made_from(0)
        digests = [made_from[i] for i in ids]
        store.write_chunk(store.place(chunk, 0), range(len(ids)), scaled, digests)
    np.testing.assert_allclose(describe(sources(world), store.image_ids, {}), rows, atol=2e-3)


# -- candidates


@given(st.integers(0, 50), st.integers(4, 30), st.integers(1, 5), st.integers(1, 40))
def test_candidates_are_the_neighbours_that_stand_out_most(seed: int, n: int, top: int, most: int) -> None:
    rows = unit(seed, n)
    groups = np.random.default_rng(seed).integers(0, 4, n)
    near = find_neighbours(rows, groups, top, seed=0)
    found = choose_candidates(near, most, least_cosine=-1)
    cosines = rows @ rows.T
    cosines[groups[:, None] == groups] = -np.inf
    lists = [[j for j in np.argsort(-cosines[i])[:top] if np.isfinite(cosines[i, j])] for i in range(n)]
    level = np.array([np.mean(cosines[i, js]) if js else 0 for i, js in enumerate(lists)])
    pairs = {(min(i, j), max(i, j)) for i, js in enumerate(lists) for j in js}
    margin = {(i, j): cosines[i, j] - (level[i] + level[j]) / 2 for i, j in pairs}
    assert len(found) == min(most, len(pairs)) == len(set(map(tuple, found.pairs)))
    expected = sorted(margin.values(), reverse=True)[:most]
    np.testing.assert_allclose(found.margin, expected, atol=1e-5)
    np.testing.assert_allclose([margin[tuple(pair)] for pair in found.pairs], expected, atol=1e-5)
    np.testing.assert_allclose([cosines[tuple(pair)] for pair in found.pairs], found.cosine, atol=1e-5)


def test_a_least_cosine_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    near = find_neighbours(unit(0, 60), np.arange(60), 5, seed=0)
    found = choose_candidates(near, 1000, least_cosine=0.8)
    assert 0 < len(found) < len(choose_candidates(near, 1000, -1)) and found.cosine.min() >= 0.8


def test_wide_features_are_searched_by_components_and_compared_in_full_width(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = unit_rows(rng.normal(size=(400, 12)) @ rng.normal(size=(12, 90)) + 0.3 * rng.normal(size=(400, 90)))
    rows[300:] = unit_rows(rows[:100] + 0.02 * rng.normal(size=(100, 90)))  # near copies
    groups = np.arange(400)
    exact = find_neighbours(rows, groups, 3, seed=0)
    monkeypatch.setattr(descriptors, "REDUCED", 16)
    monkeypatch.setattr(descriptors, "_FULL_WORK", 1e3)
    assert searchable(rows, 0).shape == (400, 16)
    near = find_neighbours(rows, groups, 3, seed=0)
    assert (near.nearest.index[:100, 0] == np.arange(300, 400)).all()
    np.testing.assert_allclose(near.nearest.similarity[:100, 0], exact.nearest.similarity[:100, 0], rtol=1e-5)
    assert (near.nearest.index == exact.nearest.index).mean() > 0.5
    assert (np.diff(near.nearest.similarity, axis=1) <= 0).all()


def test_the_share_that_the_search_would_find_is_that_of_pairs_that_are_hidden_in_other_groups() -> None:
    """Pairs of one group, searched again as strangers: the search finds what it said it would."""
    rng = np.random.default_rng(1)
    rows = unit(1, 300, 20)
    rows[100:200] = unit_rows(rows[:100] + rng.uniform(0, 0.5, (100, 1)) * rng.normal(size=(100, 20)))
    groups = np.r_[np.arange(100), np.arange(100), 100 + np.arange(100)]
    same = np.stack([np.arange(100), np.arange(100, 200)], axis=1)
    near = find_neighbours(rows, groups, 5, seed=0)
    chosen = choose_candidates(near, 150, -1)
    said = calibrate(same, np.ones(100, bool), np.array([0.1, 0.2, 0.9]), near, chosen)
    assert said.same_confirmed == 1 and said.strangers_score == pytest.approx(0.2)
    found = 0
    for number in range(100):
        strangers = groups.copy()
        strangers[100 + number] = 999
        again = choose_candidates(find_neighbours(rows, strangers, 5, seed=0), 10**6, -1)
        place = np.flatnonzero((again.pairs == same[number]).all(axis=1))
        found += bool(len(place)) and again.margin[place[0]] >= chosen.margin.min() - 0.05
    assert abs(said.same_found - found / 100) < 0.1
    assert least_cosine(same, near) == pytest.approx(np.quantile((rows[:100] * rows[100:200]).sum(1), 0.05), abs=1e-5)
    assert least_cosine(same[:3], near) == -1


# -- labels


def test_confident_learning_counts_as_the_paper_does() -> None:
    y = np.array([0, 0, 0, 1, 1, 1])
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.45, 0.55], [0.7, 0.3]])
    # Thresholds: class 0 (0.9 + 0.8 + 0.1) / 3 = 0.6, class 1 (0.8 + 0.55 + 0.3) / 3 = 0.55.
    rows, suggested = confident_errors(y, p)
    assert rows.tolist() == [2, 5] and suggested.tolist() == [1, 0]
    rare = np.array([[0.9, 0.1], [0.6, 0.4], [0.95, 0.05], [0.7, 0.3]])  # class 1: threshold 0.175
    assert confident_errors(np.array([0, 0, 1, 1]), rare)[0].tolist() == [2]


def test_wrong_labels_come_out_on_top() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 600)
    rows = unit_rows(3 * np.eye(3, 10)[truth] + 0.7 * rng.normal(size=(600, 10)))
    y = truth.copy()
    wrong = rng.choice(600, 20, replace=False)
    y[wrong] = (truth[wrong] + 1) % 3
    found = find_label_errors(rows, y, np.arange(600), ("a", "b", "c"), seed=0)
    listed = set(found.rows.tolist())
    assert len(listed & set(wrong.tolist())) >= 10  # confident: above the mean of their class
    assert listed <= set(wrong.tolist())
    assert (found.suggested == truth[found.rows]).all()
    assert found.judged == 600 and found.mcc > 0.8
    margins = found.given_probability - found.suggested_probability
    assert (np.diff(margins) >= 0).all() and margins[0] < 0


def test_no_image_is_predicted_by_a_head_that_knows_its_group() -> None:
    """Features tell only which group an image is of, and labels are drawn by group: nothing can be predicted."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(80), 5)
    y = rng.integers(0, 2, 80)[groups]
    rows = unit_rows(rng.normal(size=(80, 100))[groups] + 0.01 * rng.normal(size=(400, 100)))
    split = out_of_fold(rows, y, groups, ("a", "b"), seed=0).argmax(axis=1)
    leaky = out_of_fold(rows, y, np.arange(400), ("a", "b"), seed=0).argmax(axis=1)
    assert (split == y).mean() < 0.65 < 0.8 < (leaky == y).mean()


def test_a_class_of_one_group_is_not_judged_and_hinders_no_other() -> None:
    rng = np.random.default_rng(0)
    y = np.r_[rng.integers(0, 2, 60), 2, 2, 3]
    groups = np.r_[np.arange(60), 60, 60, 5]  # class 3 shares a group with another class
    found = find_label_errors(unit(0, 63, 4), y, groups, ("a", "b", "c", "d", "none"), seed=0)
    assert found.judged == 60 and set(found.suggested) <= {0, 1}
    nothing = find_label_errors(unit(0, 4), np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), ("a", "b"), seed=0)
    assert (len(nothing), nothing.judged) == (0, 0) and np.isnan(nothing.mcc)


# -- tables and proposals


def table(rows: list[tuple[str, str, str]]):
    frame = pd.DataFrame(rows, columns=["image_id", "group", "label"]).assign(path="x.jpg")
    return build_table("table", frame)


TABLE = table([("i1", "A", "nv"), ("i2", "A", "nv"), ("i3", "B", "nv"), ("i4", "C", "mel"), ("i5", "D", "mel"),
               ("i6", "E", "mel"), ("i7", "E", "mel")])  # fmt: skip


def pairs(*found: tuple[int, int, float]) -> pd.DataFrame:
    ends = np.array([[a, b] for a, b, _ in found], dtype=np.int64).reshape(-1, 2)
    score = np.array([s for _, _, s in found], dtype=np.float32)
    ones = np.ones(len(score), np.float32)
    alignment = Alignment(score, ones, np.zeros(len(score), bool), 0 * ones, ones)
    return pairs_table(TABLE.frame, Candidates(ends, ones, ones), alignment, None)


NO_PAIRS = pairs()
NO_TWINS = duplicates_table(TABLE.frame, {})


def test_pairs_are_named_by_their_verdict_and_those_without_are_dropped() -> None:
    found = pairs((0, 2, 0.5), (1, 3, 0.95), (4, 5, 0.1), (2, 4, 0.35))
    assert list(found["image_id"] + found["other"]) == ["i2i4", "i1i3", "i3i5"]
    assert list(found["verdict"]) == [SAME_PICTURE, SAME_LESION, "look-alike"]
    assert list(found["conflict"]) == [True, False, True]
    assert not found["straddles"].any()


def test_confirmed_pairs_become_merges_into_the_larger_group() -> None:
    merges = propose_merges(TABLE, pairs((0, 2, 0.9), (3, 4, 0.5), (4, 5, 0.39)), NO_TWINS)
    assert list(zip(merges["group"], merges["into"], strict=True)) == [("B", "A"), ("D", "C")]
    assert merges["reason"][0] == "i1 and i3: same picture (0.90)"
    codes = merged_groups(TABLE, merges)
    assert codes.tolist() == [0, 0, 0, 1, 1, 2, 2]


def test_of_equal_files_all_but_one_are_proposed_to_go_and_their_groups_to_be_merged() -> None:
    twins = duplicates_table(TABLE.frame, {"i1": "x", "i2": "x", "i3": "x", "i4": "y", "i5": "z", "i6": "missing"})
    assert list(twins["image_id"]) == ["i1", "i2", "i3"] and twins["across_groups"].all()
    out = propose_exclusions(TABLE, NO_PAIRS, twins)
    assert dict(zip(out["image_id"], out["reason"], strict=True)) == {
        "i2": "same bytes as i1",
        "i3": "same bytes as i1",
    }
    merges = propose_merges(TABLE, NO_PAIRS, twins)
    assert merges.to_numpy().tolist() == [["B", "A", "i1 and i3: same bytes"]]


def test_where_labels_contradict_each_other_all_images_of_both_are_proposed_to_go() -> None:
    out = propose_exclusions(TABLE, pairs((1, 3, 0.7), (0, 4, 0.35)), NO_TWINS)
    assert list(out["image_id"]) == ["i1", "i2", "i4"]
    assert out["reason"][0] == "nv, but i4 (same lesion, likely) is mel"
    twins = duplicates_table(TABLE.frame, {"i3": "x", "i4": "x"})
    assert list(propose_exclusions(TABLE, NO_PAIRS, twins)["image_id"]) == ["i3", "i4"]


def test_proposals_begin_with_what_was_given() -> None:
    given_before = Curation({"i7": "blurred"}, merge([("D", "C")]))
    merges = propose_merges(TABLE, pairs((0, 2, 0.9)), NO_TWINS, given_before)
    assert merges[["group", "into"]].to_numpy().tolist() == [["D", "C"], ["B", "A"]]
    out = propose_exclusions(TABLE, NO_PAIRS, NO_TWINS, given_before)
    assert out.to_numpy().tolist() == [["i7", "blurred"]]


def test_an_image_unlike_the_rest_is_found() -> None:
    level = np.r_[np.random.default_rng(0).normal(0.6, 0.02, 6), 0.2]
    found = outliers_table(TABLE.frame, level, most=3)
    assert found["image_id"][0] == "i7" and list(found["unlike"]) == [True, False, False]
    assert not outliers_table(TABLE.frame, np.full(7, 0.5), most=3)["unlike"].any()
