import json
from pathlib import Path

import pytest
import yaml

from hamcache.pipeline.config.renamed import RENAMED, former, refuse_former, renamed
from hamcache.pipeline.config.schema import load_config, resolved_yaml, validate_config
from hamcache.pipeline.errors import ConfigError
from hamcache.pipeline.runs.provenance import fingerprint
from hamcache.pipeline.runs.records import read_run
from tests.pipeline.runs.test_records import PROVENANCE

OLD = {
    "objective": "mcc",
    "head": {
        "name": "average",
        "monitor": "nll",
        "heads": [{"name": "knn"}, {"name": "mlp", "monitor": "loss"}],
        "each": {"monitor": "mcc"},
    },
}
TODAY = {
    "objective": "mcc",
    "head": {
        "name": "average",
        "objective": "nll",
        "heads": [{"name": "knn"}, {"name": "mlp", "objective": "loss"}],
        "each": {"objective": "mcc"},
    },
}


def test_former_content_reads_as_todays_and_back() -> None:
    assert renamed(OLD) == renamed(TODAY) == TODAY
    assert former(TODAY) == former(OLD) == OLD
    assert renamed({"head.monitor": 1, "head.heads.0.monitor": 2}) == {"head.objective": 1, "head.heads.0.objective": 2}
    for old, new in RENAMED.items():
        assert old.rpartition(".")[0] == new.rpartition(".")[0] and old not in RENAMED.values()


@pytest.mark.parametrize("old", ["head.monitor", "head.each.monitor", "head.heads.1.monitor"])
def test_a_former_key_in_what_a_user_writes_is_an_error_that_names_todays(old: str) -> None:
    with pytest.raises(ConfigError, match=f"{old}. Write {old.replace('monitor', 'objective')}"):
        refuse_former({old: "mcc"}, "mine.yaml")
    with pytest.raises(ConfigError, match=r"former name head.monitor. Write head.objective"):
        load_config(None, {"head": "mlp", "head.monitor": "loss"}, base={"features": "A"})


def test_digests_and_fingerprints_are_those_of_the_former_names() -> None:
    config = validate_config({"features": "A", "head": {"name": "mlp"}})
    assert config.digest == "dbe8261598c9812d6a7100de4d258394da4c73e0d2bc3bd4a9a2ded2f3eb2cd1"
    assert fingerprint(config, table="t") == "343e8fbd7df9ffa5d1e33a5ef5ae21f025f4e158ad02c8aa42876f67479d1d70"


def test_a_run_of_former_names_is_read(tmp_path: Path, world) -> None:
    config = world.config(base={"head": "mlp"})
    old = yaml.safe_dump(former(yaml.safe_load(resolved_yaml(config))))
    assert "monitor: mcc" in old
    (tmp_path / "config.yaml").write_text(old)
    about = {"metrics": {"validation": {}}, "provenance": PROVENANCE, "classes": [{"class": "a"}]}
    for name, content in about.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    assert read_run(tmp_path).config == config
