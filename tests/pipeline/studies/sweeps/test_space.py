import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hamcache.pipeline.config.schema import with_settings
from hamcache.pipeline.studies.sweeps.space import (
    Dimension,
    Space,
    in_use,
    is_below,
    label,
    short_key,
    short_label,
    words,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def space(**dimensions: dict) -> Space:
    return Space(dimensions={key.replace("__", "."): Dimension(**one) for key, one in dimensions.items()})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "exactly one of choice, grid, uniform, loguniform, int, got none"),
        ({"choice": [1], "uniform": [0, 1]}, "got choice, uniform"),
        ({"uniform": [1, 0]}, "the lower one first"),
        ({"loguniform": [0, 1]}, "above 0"),
        ({"int": [3, 3]}, "the lower one first"),
        ({"choice": []}, "at least 1"),
        ({"choice": [1], "step": 1}, "step"),
        ({"int": [0.5, 2]}, "integer"),
        ({"normal": [0, 1]}, "normal"),
    ],
)
def test_a_dimension_that_means_nothing_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Dimension(**wrong)


def test_a_condition_names_a_key_that_stands_above() -> None:
    with pytest.raises(ValidationError, match="stands above, got 'b'"):
        space(a={"choice": [1], "when": {"b": 1}}, b={"choice": [1, 2]})


@given(st.integers(0, 10_000))
def test_suggested_values_lie_in_their_ranges(seed: int) -> None:
    chosen = space(
        a={"uniform": (0.5, 2.0), "step": 0.5},
        b={"loguniform": (1e-4, 1e-1)},
        c={"int": (2, 9)},
        d={"choice": [[], [64], {"x": None}]},
        e={"uniform": (0, 1), "when": {"c": [2, 3]}},
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    point = chosen.suggest(study.ask())
    assert point["a"] in (0.5, 1.0, 1.5, 2.0) and 1e-4 <= point["b"] <= 1e-1
    assert isinstance(point["c"], int) and 2 <= point["c"] <= 9
    assert point["d"] in ([], [64], {"x": None})
    assert ("e" in point) == (point["c"] in (2, 3))


def test_a_grid_holds_every_point_once() -> None:
    chosen = space(
        loss={"grid": ["ce", "focal"]}, gamma={"choice": [1, 2], "when": {"loss": "focal"}}, n={"int": (1, 2)}
    )
    assert [tuple(point.values()) for point in chosen.grid()] == [
        ("ce", 1),
        ("ce", 2),
        ("focal", 1, 1),
        ("focal", 1, 2),
        ("focal", 2, 1),
        ("focal", 2, 2),
    ]
    assert chosen.is_countable
    with pytest.raises(ValueError, match=r"^lr: expected choice"):
        list(space(lr={"uniform": (0, 1)}).grid())


@given(VALUES, VALUES)
def test_different_values_have_different_labels(one: object, other: object) -> None:
    same = label(one) == label(other)
    assert same == (repr(one) == repr(other)) or one == other
    assert label(one) != ""


def test_text_that_looks_like_another_value_keeps_apart_from_it() -> None:
    values = ["1", 1, "null", None, "", "true", True, " a", "a", '"a"', "[1]", [1]]
    assert len({label(value) for value in values}) == len(values)
    assert label("focal") == "focal"


def test_setting_a_point_changes_nothing_else() -> None:
    before = {"head": {"name": "mlp", "lr": 1}, "features": "a+b"}
    after = with_settings(
        before, {"head.loss_params.gamma": 2.0, "features.views.train": "random", "split.folds": None}, merge=True
    )
    assert before == {"head": {"name": "mlp", "lr": 1}, "features": "a+b"}
    assert after["head"] == {"name": "mlp", "lr": 1, "loss_params": {"gamma": 2.0}}
    assert [block["backbone"] for block in after["features"]["blocks"]] == ["a", "b"]
    assert after["features"]["views"] == {"train": "random"} and after["split"] == {"folds": None}


def test_a_point_does_not_share_its_lists_with_the_experiment() -> None:
    hidden = [64]
    made = with_settings({"head": "mlp"}, {"head.hidden": hidden}, merge=True)
    made["head"]["hidden"].append(1)
    assert hidden == [64]


def test_keys_below_others_are_found_by_whole_names() -> None:
    assert is_below("split.seed", ["split"]) and is_below("split", ["split"])
    assert not is_below("splitter", ["split"]) and not is_below("split", ["split.seed"])
    assert in_use(Dimension(choice=[1], when={"a": [1, 2]}), {"a": 2})
    assert not in_use(Dimension(choice=[1], when={"a": [1, 2]}), {})


def test_values_are_shown_in_few_letters() -> None:
    kind = {"augmentation": "dihedral", "views": 4}
    blocks = [{"backbone": "tf_efficientnet_lite0:stages", **kind}, {"backbone": "b"}]
    assert short_label(blocks) == "effnet_lite0-stages (dihedral x4)+b"
    assert short_label([blocks[0], {"backbone": "b", **kind}]) == "effnet_lite0-stages+b, dihedral x4"
    assert short_label([{"backbone": "a", "transform": "l2"}, {"backbone": "b", "transform": "l2"}]) == "a+b, l2"
    assert short_label([{"backbone": "a"}, {"backbone": "b"}]) == "a+b"
    assert short_label([{"backbone": "a"}, "metadata"]) == "a+metadata" and short_label(["age"]) == '["age"]'
    assert short_label({"name": "logreg", "C": 0.12345}) == "logreg (C 0.1235)"
    assert short_label([]) == "[]" and short_label(None) == "null"
    assert short_key("head.lr", ["head.lr", "net.lr"]) == "head.lr"
    assert short_key("features.views.train", ["features.views.train", "head.lr"]) == "views.train"
    assert words({"head.lr": 0.001, "head.loss": "focal"}) == "lr=0.001, loss=focal"


def test_a_choice_of_mappings_sets_what_it_has_and_leaves_the_rest() -> None:
    base = {"net": {"name": "simple_cnn", "epochs": 12, "conv": [[1, 3, 1, 0]]}}
    made = with_settings(base, {"net": {"conv": [[2, 3, 1, 0]], "fc": []}, "net.lr": 0.5}, merge=True)
    assert made["net"] == {"name": "simple_cnn", "epochs": 12, "conv": [[2, 3, 1, 0]], "fc": [], "lr": 0.5}
    assert base["net"]["conv"] == [[1, 3, 1, 0]]
