import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamcache.cache.keys import FeatureKey, canonical_json, explain, safe_name

KEY = FeatureKey(
    dataset="ham",
    backbone="torchvision/resnet34",
    weights="ab" * 32,
    preprocessing={"size": [224, 224], "mean": [0.5, 0.5, 0.5]},
    augmentation={"name": "rotate", "affine": {"degrees": 20.0}},
    seed=0,
    precision="bf16",
)


def test_every_field_is_in_the_key():
    others = {
        "dataset": "other",
        "backbone": "resnet34",
        "weights": "cd" * 32,
        "preprocessing": {"size": [240, 240], "mean": [0.5, 0.5, 0.5]},
        "augmentation": {"name": "rotate", "affine": {"degrees": 21.0}},
        "seed": 1,
        "precision": "fp32",
        "kind": "other",
        "schema": 99,
    }
    assert set(others) == set(KEY.to_dict())
    digests = {replace(KEY, **{field: value}).digest for field, value in others.items()}
    assert len(digests | {KEY.digest}) == len(others) + 1


def test_the_order_of_fields_does_not_change_the_key():
    shuffled = {"mean": [0.5, 0.5, 0.5], "size": (224, 224)}
    assert replace(KEY, preprocessing=shuffled).digest == KEY.digest


def test_the_key_of_a_known_spec_never_changes():
    # A changed digest makes everybody's cache worthless: raise SCHEMA_VERSION on purpose instead.
    assert KEY.digest == "70fb9ebaa41cf4ea7ac85b08d0508d7a47a141120779dc456f3e3690dabd8aa7"


def test_a_key_survives_json():
    assert FeatureKey.from_dict(json.loads(json.dumps(KEY.to_dict()))) == replace(KEY, **KEY.to_dict())
    assert FeatureKey.from_dict(KEY.to_dict()).digest == KEY.digest


def test_explain_names_the_differing_fields_and_nothing_else():
    other = replace(KEY, precision="fp32", augmentation={"name": "rotate", "affine": {"degrees": 30.0}})
    assert explain(KEY, other) == [("augmentation.affine.degrees", 20.0, 30.0), ("precision", "bf16", "fp32")]
    assert explain(KEY, KEY) == []


def test_explain_shows_a_field_that_only_one_key_has():
    other = replace(KEY, augmentation={"name": "rotate"})
    assert ("augmentation.affine.degrees", 20.0, "(absent)") in explain(KEY, other)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(plain, plain)
def test_two_augmentations_share_a_key_only_if_they_are_the_same_document(a, b):
    keys = [replace(KEY, augmentation={"name": "x", "steps": steps}) for steps in (a, b)]
    assert (keys[0].digest == keys[1].digest) == (canonical_json(a) == canonical_json(b))
    assert (explain(*keys) == []) == (keys[0].to_dict() == keys[1].to_dict())


def test_a_key_refuses_what_is_not_plain_data():
    with pytest.raises(TypeError):
        _ = replace(KEY, preprocessing={"resize": print}).digest
    with pytest.raises(ValueError):
        _ = replace(KEY, preprocessing={"mean": float("nan")}).digest


def test_a_folder_name_has_no_separator_from_the_backbone():
    assert safe_name("torchvision/resnet34") == "torchvision--resnet34"
    assert KEY.folder == f"ham/torchvision--resnet34/rotate-{KEY.short}.zarr"
