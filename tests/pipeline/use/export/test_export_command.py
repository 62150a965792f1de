"""`hamcache export` through the real entry point."""

from pathlib import Path
from unittest import mock

import pytest

from tests.pipeline.cli.test_app import Outcome, hamcache
from tests.pipeline.use.predict.conftest import CNN, NET, Photographs


def export(photographs: Photographs, line: str) -> Outcome:
    return hamcache(f"export {line}", photographs.workspace)


def test_a_run_becomes_a_file_and_a_card(photographs: Photographs, tmp_path: Path) -> None:
    run = photographs.run(blocks=(), net=CNN, test=True)
    line = f"{run.id} --out '{tmp_path}/mole.onnx' --licence CC0 --check 3 --coverage 0.8"
    said = export(photographs, line).ok()
    assert f"Wrote {tmp_path}/mole.onnx" in said and "Parity: on 3 validation images" in said
    assert "not a medical device" in said
    card = (tmp_path / "mole.md").read_text()
    assert "CC0" in card and "80 %" in card and 'InferenceSession("mole.onnx")' in card
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mole.md", "mole.onnx"]
    assert "--force" in export(photographs, line).failed()


def test_what_cannot_be_exported_is_one_message(photographs: Photographs, tmp_path: Path) -> None:
    photographs.extract((NET, "original", 3))
    run = photographs.run(blocks=[(NET, "original", 3)])
    with mock.patch(
        "hamcache.pipeline.use.predict.predictor.load_predictor", side_effect=AssertionError
    ):  # told before
        said = export(photographs, f"{run.id} --out '{tmp_path}/x'").failed()
    assert f"`hamcache train --config {run.folder}/config.yaml --set features.views.predict=plain --extract`" in said
    assert "`hamcache runs` lists runs" in export(photographs, "nobody").failed()
    assert (
        "between 0 and 1" in export(photographs, f"{photographs.run().id} --coverage 9 --out '{tmp_path}/x'").failed()
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("line", "words"), [("--sets lax", "expected lac or aps"), ("--check 0", "greater than")])
def test_wrong_usage_is_told(tmp_path: Path, line: str, words: str) -> None:
    done = hamcache(f"export run {line}", tmp_path)
    assert done.code == 2 and words in done.err
