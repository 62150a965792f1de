"""Any YAML as a configuration, a sweep or a file of recipes: read as it stands, or refused by one short error."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import hamcache.configs
from hamcache.data.documents import MOST_BYTES, parse_json, parse_yaml
from hamcache.data.errors import DocumentError
from hamcache.extract.augmentations import load_augmentations
from hamcache.pipeline.config.overrides import parse_settings
from hamcache.pipeline.config.schema import load_config, resolved_yaml
from hamcache.pipeline.errors import ConfigError
from hamcache.pipeline.studies.study.row_experiments import load_study
from hamcache.pipeline.studies.sweeps.sweep_config import load_sweep_config
from tests.fuzz.conftest import STRESS, examples, is_refused_or
from tests.fuzz.words import hostile, values

CONFIGS = Path(hamcache.configs.__file__).parent
EXPERIMENTS = {path.stem: path.read_text() for path in sorted((CONFIGS / "experiments").glob("*.yaml"))}
SWEEPS = {path.stem: path.read_text() for path in sorted((CONFIGS / "sweeps").glob("*.yaml"))}
STUDIES = {path.stem: path.read_text() for path in sorted((CONFIGS / "studies").glob("*.yaml"))}
RECIPES = (CONFIGS / "augmentations.yaml").read_text()
DIGITS, NINES = "9" * 100_000, "[x,x,x,x,x,x,x,x,x]"
HOSTILE_YAML = {
    "deep list": "a: " + "[" * 20_000 + "]" * 20_000,
    "deep mappings": "".join("  " * level + "a:\n" for level in range(400)),
    "aliases that multiply": f"a0: &a0 {NINES}\n"
    + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)),
    "an alias of itself": "a: &a [*a]",
    "an alias of nothing": "a: *b",
    "an object": "a: !!python/object/apply:os.system ['exit 1']",
    "binary": "a: !!binary aGk=",
    "a set": "a: !!set {b, c}",
    "a tag of its own": "a: !b 1",
    "a repeated key": "seed: 1\nseed: 2",
    "a repeated key below": "head: {name: mlp, lr: 1, lr: 2}",
    "a list as key": "[1, 2]: 3",
    "true as key": "yes: 3",
    "many digits": f"seed: {DIGITS}",
    "many digits as key": f"? {DIGITS}\n: 1",
    "many hexadecimal digits": "seed: 0x" + "f" * 100_000,
    "many minutes": "seed: " + ":".join(["59"] * 50_000),
    "a number without end": "tau: 1e400",
    "infinity": "tau: .inf",
    "not a number": "tau: .nan",
    "60,000 unknown keys": "".join(f"key{n}: {n}\n" for n in range(60_000)),
    "too long": "a: " + "x" * MOST_BYTES,
    "a NUL": 'dataset: "a\\0b"',
    "half a character": 'dataset: "\\ud800"',
    "two documents": "seed: 1\n---\nseed: 2",
    "a tab": "\tseed: 1",
}


@pytest.mark.parametrize("text", HOSTILE_YAML.values(), ids=HOSTILE_YAML)
def test_hostile_yaml_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(DocumentError) as told:
        parse_yaml(text)
    assert len(str(told.value)) < 700 and "\n" not in str(told.value)


@pytest.mark.parametrize("text", HOSTILE_YAML.values(), ids=HOSTILE_YAML)
def test_every_reader_of_yaml_refuses_it_by_an_error_of_its_own(text: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.yaml"
    path.write_text(text)
    assert is_refused_or(lambda: load_config(path, base={"features": "net_a"})) is None
    assert is_refused_or(lambda: load_sweep_config(path)) is None
    assert is_refused_or(lambda: load_study(path)) is None
    assert is_refused_or(lambda: load_augmentations(path)) is None


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        DIGITS,
        "NaN",
        "[Infinity]",
        "1e400",
        '{"a": 1, "a": 2}',
        "",
        "nul",
        b"\xff",
        "\ufeff1",
        '"\\ud800',
    ],
)
def test_hostile_json_is_refused_in_one_line(text: str | bytes) -> None:
    with pytest.raises(DocumentError) as told:
        parse_json(text)
    assert len(str(told.value)) < 700


def test_a_hybrid_of_thousands_of_blocks_is_refused() -> None:
    blocks = "+".join(f"net{number}" for number in range(3000))
    with pytest.raises(ConfigError, match="at most 100"):
        load_config(None, base={"features": blocks})


def test_aliases_stand_for_copies() -> None:
    value = parse_yaml("a: &a {b: [1]}\nc: *a")
    value["a"]["b"].append(2)
    assert value["c"] == {"b": [1]}


@pytest.mark.parametrize("place", ["/dev/zero", "/dev/null", "/dev/urandom", "/", "/proc/self/mem"])
def test_what_is_no_file_is_refused_at_once(place: str) -> None:
    for read in (load_config, load_sweep_config, load_study, lambda path: load_augmentations(Path(path))):
        assert is_refused_or(lambda read=read: read(place)) is None


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside nested lists and mappings."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(*path, key) for key, _ in inside] + [p for key, entry in inside for p in places(entry, (*path, key))]


@st.composite
def changed(draw: st.DrawFn, texts: dict[str, str]) -> str:
    """A packaged file with values changed, taken out or put in, or with other letters in it."""
    text = draw(st.sampled_from(sorted(texts.values())))
    if not draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(text)))
        return text[:at] + draw(hostile()) + text[at + draw(st.integers(0, 20)) :]
    content = deepcopy(yaml.safe_load(text))
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(places(content) or [("new",)]))
        there = content
        for key in way:
            there = there[key]
        match draw(st.integers(0, 3)):
            case 0:
                del there[last]
            case 1 if isinstance(there, dict):
                there[draw(hostile() | st.integers())] = draw(values())
            case _:
                there[last] = draw(values())
    return yaml.safe_dump(content, allow_unicode=True)


def written(folder: Path, text: str) -> Path:
    path = folder / "changed.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configurations")


@examples(120)
@given(text=changed(EXPERIMENTS))
def test_a_changed_experiment_is_refused_or_read_back_as_it_is_written(folder: Path, text: str) -> None:
    path = written(folder, text)
    config = is_refused_or(lambda: load_config(path, base={"features": "net_a"}))
    if config is not None:
        assert load_config(written(folder, resolved_yaml(config))).digest == config.digest


@pytest.mark.parametrize("name", ["mlp", "hybrid"])
def test_every_key_of_a_sweep_is_refused_with_any_other_kind_of_value(folder: Path, name: str) -> None:
    for way in places(yaml.safe_load(SWEEPS[name])):
        for value in ([], {}, None, -1, "x", [[]], {"a": 1}):
            content = yaml.safe_load(SWEEPS[name])
            there = content
            for key in way[:-1]:
                there = there[key]
            there[way[-1]] = value
            path = written(folder, yaml.safe_dump(content))
            if STRESS or len(way) < 2:
                is_refused_or(lambda path=path: load_sweep_config(path))


@examples(25)
@given(text=changed(SWEEPS))
def test_a_changed_sweep_is_refused_or_read(folder: Path, text: str) -> None:
    path = written(folder, text)
    is_refused_or(lambda: load_sweep_config(path))


@examples(25)
@given(text=changed(STUDIES))
def test_a_changed_study_is_refused_or_read(folder: Path, text: str) -> None:
    path = written(folder, text)
    is_refused_or(lambda: load_study(path))


@examples(60)
@given(text=changed({"augmentations": RECIPES}))
def test_changed_recipes_are_refused_or_read(folder: Path, text: str) -> None:
    path = written(folder, text)
    is_refused_or(lambda: load_augmentations(path))


@examples(100)
@given(texts=st.lists(hostile() | st.builds("{}={}".format, hostile(), hostile()), max_size=3))
def test_any_settings_are_refused_or_read(texts: list[str]) -> None:
    is_refused_or(lambda: load_config(None, parse_settings(texts), base={"features": "net_a"}))


@examples(150)
@given(content=st.binary(max_size=60) | hostile().map(lambda text: text.encode("utf-8", "surrogatepass")))
@pytest.mark.parametrize("parse", [parse_yaml, parse_json])
def test_any_bytes_are_refused_or_read(parse: Callable[[Any], Any], content: bytes) -> None:
    text = content.decode("utf-8", "surrogateescape")
    is_refused_or(lambda: parse(text))
