import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hamcache.data.splits import POLICIES, TRAIN_IMAGES
from hamcache.heads.nets.net_params import NETS, net_params
from hamcache.heads.views import ViewPolicy
from hamcache.heads.zoo import HEADS, head_params
from hamcache.pipeline.config.overrides import in_order, parse_settings, set_value
from hamcache.pipeline.config.schema import (
    ExperimentConfig,
    SplitConfig,
    blocks_from,
    config_names,
    load_config,
    resolved_yaml,
    validate_config,
)
from hamcache.pipeline.errors import ConfigError, ConfigNotFoundError

MINIMAL = {"features": "A"}


def problems(*overrides: str, base: dict | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(None, parse_settings(overrides), base=MINIMAL if base is None else base)
    return str(caught.value)


@pytest.mark.parametrize("name", config_names())
def test_packaged_configurations_load_and_read_back_equal(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    (tmp_path / "again.yaml").write_text(resolved_yaml(config))
    again = load_config(tmp_path / "again.yaml")
    assert again == config and again.digest == config.digest


def test_resolved_configuration_holds_every_default_of_the_head() -> None:
    resolved = yaml.safe_load(resolved_yaml(load_config(None, base=MINIMAL | {"head": {"name": "logreg", "C": 2}})))
    assert resolved["head"].keys() == {"name", *head_params("logreg").model_fields}
    assert resolved["head"]["C"] == 2
    silent = {"trust", "recipes"}  # say nothing where they are empty
    assert resolved.keys() == ExperimentConfig.model_fields.keys() - silent


def test_schema_knows_the_words_of_the_packages_below() -> None:
    def options(model, field: str) -> set[str]:
        return set(get_args(model.model_fields[field].annotation))

    assert options(SplitConfig, "policy") == set(POLICIES)
    assert options(SplitConfig, "train_images") == set(TRAIN_IMAGES)


def test_every_field_is_described() -> None:
    def undescribed(model) -> list[str]:
        return [name for name, field in model.model_fields.items() if not field.description]

    for model in (ExperimentConfig, SplitConfig, ViewPolicy):
        assert undescribed(model) == []


@pytest.mark.parametrize(
    ("override", "advice"),
    [
        ("split.polcy=grouped", "unknown key split.polcy; did you mean split.policy?"),
        ("polcy=grouped", "unknown key polcy; did you mean split.policy?"),
        ("sed=1", "unknown key sed; did you mean seed?"),
        ("features.blocks.0.viws=2", "unknown key features.blocks.0.viws; did you mean features.blocks.0.views?"),
        ("features.veiws.train=all", "unknown key features.veiws; did you mean features.views?"),
        ("head.clas_weight=none", "unknown key head.clas_weight; did you mean head.class_weight?"),
        ("head.sed=3", "unknown key head.sed; did you mean seed?"),
        ("split.colum=part", "did you mean split.column"),
        ("split.shot=4", "did you mean split.shots"),
        ("split.zzz=1", "unknown key split.zzz; split has column, exclude, file, folds"),
    ],
)
def test_misspelt_keys_name_the_nearest_valid_one(override: str, advice: str) -> None:
    assert advice in problems(override)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed=abc", "seed: expected a whole number >= 0 and <= 4294967295, got 'abc' (text)"),
        ("seed=-1", "seed: expected a whole number >= 0 and <= 4294967295, got -1"),
        ("seed=1.5", "seed: expected a whole number >= 0 and <= 4294967295, got 1.5 (number)"),
        ("split.policy=groupd", "got 'groupd' (text); did you mean grouped?"),
        ("split.test_fraction=1.5", "split.test_fraction: expected a number >= 0 and < 1, got 1.5"),
        ("split=grouped", "split: expected a mapping with the keys policy,"),
        ("tau=none", "tau: expected a number or 'auto' or null, got 'none' (text)"),
        ("objective=mc", "objective: unknown metric 'mc'; did you mean 'mcc'?"),
        ("head=mpl", "unknown head 'mpl'; did you mean 'mlp'?"),
        ("head={name: mlp, objective: mc}", "head.objective: unknown metric 'mc'; did you mean 'mcc'?"),
        ("head.C=-1", "head.C: expected a number > 0, got -1"),
        ("features=A++B", "empty hybrid"),
        ("features.blocks=[]", "empty hybrid"),
        ("features=A+A", "the block A (none, 1 views) is listed 2 times"),
        ("features.blocks.0.transform=pca:x", "pca:<components>"),
        ("features.blocks.0.views=0", "features.blocks.0.views: expected a whole number >= 1 and <= 1000, got 0"),
        ("features.blocks.0=3", "features.blocks.0: expected a mapping with the keys backbone,"),
        ("features=null", "features: expected a mapping with the keys blocks,"),
        ("features.blocks.3.views=2", "is a list of 1, expected an index from 0 to 1"),
        ("seed.x=1", "seed is 0 (whole number), which has no 'x' inside"),
        ("justakey", "expected key=value"),
        ("a..b=1", "expected key=value"),
        ("seed=[1", "cannot be read"),
    ],
)
def test_values_that_do_not_fit_say_what_was_expected_and_what_came(override: str, words: str) -> None:
    text = problems(override, base=MINIMAL | {"seed": 0})
    assert words in text
    assert "pydantic" not in text and "input_value" not in text and "type=" not in text


def test_all_problems_are_told_at_once_with_the_file_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("features: A\nseed: x\nsplit: {policy: all, folds: 1}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    text = str(caught.value)
    assert "mine.yaml is not a valid configuration" in text and text.count("\n  - ") == 3
    assert "Correct it there, or with --set key=value." in text


def test_features_have_to_be_named() -> None:
    assert "features: expected at least one block, got an empty hybrid" in problems(base={})
    assert "at least one block" in problems("head.C=1", base={"head": "logreg"})


def test_overrides_are_typed_as_yaml_and_applied_in_order() -> None:
    config = load_config(
        None,
        parse_settings(
            ["seed=3", "tau=1e-1", "features=A+B", "features.blocks.1.views=4", "features.views.train=random", "seed=4"]
        ),
        base=MINIMAL,
    )
    assert (config.seed, config.tau) == (4, 0.1)
    assert [(block.backbone, block.views) for block in config.features.blocks] == [("A", 1), ("B", 4)]
    assert config.features.views.train == "random"


def test_short_forms_stand_for_the_long_ones() -> None:
    long = {"features": {"blocks": [{"backbone": "A"}, {"backbone": "B"}]}, "head": {"name": "mlp"}}
    for short in (
        {"features": "A+B", "head": "mlp"},
        {"features": {"blocks": ["A", {"backbone": "B"}]}, "head": "mlp"},
    ):
        assert load_config(None, base=short) == load_config(None, base=long)
    assert ExperimentConfig(features="A+B").features == ExperimentConfig(**long).features
    assert blocks_from("A + B", "flip", 4, "l2")[1] == {
        "backbone": "B",
        "augmentation": "flip",
        "views": 4,
        "transform": "l2",
    }


def test_another_head_takes_none_of_the_first_ones_parameters() -> None:
    config = load_config("logreg", {"head": "mlp"})
    assert config.head.name == "mlp" and "C" not in config.head.params
    assert "unknown key head.C" in problems("head.name=mlp", base=MINIMAL | {"head": {"name": "logreg", "C": 1}})


def test_a_file_wins_over_the_base_and_an_override_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("seed: 2\nfeatures: A\n")
    base = {"seed": 1, "tau": 0.5}
    config = load_config(tmp_path / "c.yaml", {"seed": 3}, base=base)
    assert (config.seed, config.tau) == (3, 0.5)
    assert base == {"seed": 1, "tau": 0.5}


def test_lists_and_mappings_are_made_where_an_override_enters_them() -> None:
    content: dict = {}
    for override in ("a.b.0.c=1", "a.b.1.c=2", "a.d=[x, y]", "a.d.1=z", "e={f: null}", "e.f.g=true"):
        ((key, value),) = parse_settings([override]).items()
        set_value(content, key, value)
    assert content == {"a": {"b": [{"c": 1}, {"c": 2}], "d": ["x", "z"]}, "e": {"f": {"g": True}}}


def test_a_setting_that_comes_again_is_set_where_it_comes_last() -> None:
    assert list(in_order({"head": "mlp"}, {"head.lr": 1, "head": "logreg"})) == ["head.lr", "head"]
    assert list(parse_settings(["head=mlp", "head.lr=1", "head=logreg"]).items()) == [
        ("head.lr", 1),
        ("head", "logreg"),
    ]


def test_typed_settings_are_taken_as_they_are_and_not_changed() -> None:
    head = {"name": "mlp", "hidden": (16, 8)}
    config = load_config(None, {"head": head, "head.lr": 0.5, "dataset": "1e3: [no YAML"}, base=MINIMAL)
    assert (config.dataset, config.head.params["hidden"], config.head.params["lr"]) == ("1e3: [no YAML", [16, 8], 0.5)
    assert head == {"name": "mlp", "hidden": (16, 8)}


@given(
    st.recursive(
        st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.lists,
        max_leaves=5,
    )
)
def test_any_value_written_as_yaml_is_set_as_it_was(value) -> None:
    text = yaml.safe_dump(value, default_flow_style=True).removesuffix("\n").removesuffix("\n...")
    content: dict = {}
    set_value(content, "a.b", parse_settings([f"a.b={text}"])["a.b"])
    assert content == {"a": {"b": value}}


def test_numbers_may_be_written_with_an_exponent_only(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("features: A\nhead: {name: mlp, lr: 1e-3, weight_decay: 5E-4}\n")
    config = load_config(tmp_path / "c.yaml")
    assert config.head.params["lr"] == 0.001 and config.head.params["weight_decay"] == 0.0005


def test_a_key_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("features: A\nseed: 1\nseed: 2\n")
    with pytest.raises(ConfigError, match=r"'seed' stands twice.*line 3"):
        load_config(tmp_path / "c.yaml")


@pytest.mark.parametrize("text", ["a: [", "- a\n- b\n", "just text", "\x00"])
def test_a_file_that_is_no_mapping_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        load_config(tmp_path / "c.yaml")


def test_packaged_names_and_paths_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = load_config("logreg")
    for name in ("logreg.yaml", "experiments/logreg", "configs/experiments/logreg.yaml"):
        assert load_config(name) == expected
    with pytest.raises(ConfigNotFoundError, match="did you mean 'logreg'"):
        load_config("logrek")
    for nowhere in ("../logreg", str(tmp_path / "logreg.yaml"), ""):
        with pytest.raises((ConfigNotFoundError, ConfigError)):
            load_config(nowhere)


@pytest.mark.parametrize("net", list(NETS))
def test_every_net_resolves_without_features_or_head(net: str) -> None:
    config = validate_config({"net": net})
    content = yaml.safe_load(resolved_yaml(config))
    assert config.model_name == net and not {"features", "head"} & content.keys()
    assert content["net"].keys() == {"name", *net_params(net).model_fields}
    assert validate_config(content) == config
    assert "unknown net 'finetun'; did you mean 'finetune'" in problems("net=finetun", base={})
    assert "unknown key net.batch_sise; did you mean net.batch_size?" in problems("net.batch_sise=3", base={"net": net})


def test_a_warm_started_net_has_a_head_too() -> None:
    warm = validate_config({"net": {"name": "finetune", "backbone": "A", "warm_start": "cache"}, "features": "A"})
    content = yaml.safe_load(resolved_yaml(warm))
    assert content["head"]["name"] == "logreg" and validate_config(content) == warm


@pytest.mark.parametrize("head", list(HEADS))
def test_every_head_of_the_zoo_resolves_and_reads_back(head: str) -> None:
    config = validate_config({"features": "A", "head": head})
    again = validate_config(yaml.safe_load(resolved_yaml(config)))
    assert again == config


def test_early_stopping_watches_the_objective_unless_told_otherwise() -> None:
    def watched(*overrides: str) -> str:
        return load_config(None, parse_settings(["head=mlp", *overrides]), base=MINIMAL).head.params["objective"]

    assert watched() == "mcc"
    assert watched("objective=macro_f1") == "macro_f1"
    assert watched("objective=macro_f1", "head.objective=loss") == "loss"


def test_digest_changes_with_every_value_and_not_with_their_order() -> None:
    a = validate_config({"features": "A", "seed": 1, "head": {"name": "logreg", "C": 1.0, "max_iter": 9}})
    b = validate_config({"head": {"max_iter": 9, "C": 1.0, "name": "logreg"}, "seed": 1, "features": "A"})
    assert a.digest == b.digest
    assert a.digest != validate_config({"features": "A", "seed": 2}).digest


def test_reading_the_schema_loads_no_heavy_library() -> None:
    code = (
        "import sys, hamcache.pipeline.config.schema\n"
        "print([m for m in ('torch', 'sklearn', 'pandas', 'zarr') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
