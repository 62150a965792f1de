import re
import shutil

import numpy as np
import pytest
import yaml

from hamcache.data.readers.imported import Terms
from hamcache.pipeline.evaluate.intervals import bootstrap
from hamcache.pipeline.use.export.card_figures import part_figures, set_figures
from hamcache.pipeline.use.export.export import Exported
from hamcache.pipeline.use.export.model_card import _cell, model_card
from hamcache.pipeline.use.predict.predictor import Predictor
from tests.pipeline.use.predict.conftest import Photographs

SECTIONS = (
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data and training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
    "How to use it",
    "Provenance",
)


@pytest.fixture(scope="module")
def card(exported: Exported) -> str:
    return exported.card.read_text(encoding="utf-8")


def cells(card: str, first: str, after: str = "") -> list[str]:
    """Cells of the table row that begins with `first`, behind some text."""
    line = next(line for line in card[card.index(after) :].splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_card_has_the_sections_of_its_form(card: str, cnn: Predictor) -> None:
    assert tuple(re.findall(r"^## (.+)$", card, flags=re.MULTILINE)) == SECTIONS
    assert card.startswith(f"# Model card: {cnn.run.id}\n") and "not a medical device" in card.split("## ")[0]
    assert f"on {len(cnn.run.part('validation'))} validation images its probabilities differ from the run's by" in card


def test_its_figures_are_those_of_the_run(card: str, cnn: Predictor) -> None:
    run = cnn.run
    for part in ("validation", "test"):
        heading = (
            f"### {part.capitalize()}: {len(run.part(part))} images of {run.part(part)['group'].nunique()} lesions"
        )
        groups = run.part(part)["group"].to_numpy(object)
        y, proba = run.labels(part), cnn.temperature(run.probabilities(part))
        names = ["mcc", "sensitivity_nv"]
        mcc, nv = bootstrap(y, proba, groups, names, classes=run.classes, resamples=50)
        assert cells(card, "mcc", heading)[1] == str(mcc) and mcc.value == pytest.approx(run.metrics[part]["mcc"])
        assert cells(card, "nv", heading)[1:3] == [str((run.part(part)["label"] == "nv").sum()), str(nv)]
        assert cells(card, "ece", heading)[1] == f"{part_figures(cnn, part, 20).scores['ece'].value:.3f}"
        (men,) = [group for group in part_figures(cnn, part, 50).subgroups if group.name == "male"]
        row = cells(card, "sex", heading)
        assert row[1:5] == ["male", str(men.images), str(men.lesions), str(men.scores["mcc"])]
        assert men.scores["mcc"].value == pytest.approx(mcc.value)  # all of them are men
    assert "by what the data set tells of its patients" in card
    assert cells(card, "train")[1] == str(len(run.part("train")))


def test_coverage_is_counted_by_hand(cnn: Predictor) -> None:
    proba = np.array([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9], [0.55, 0.45]])
    y = np.array([0, 1, 1, 1])
    sets = cnn.sets(0.9)
    hand = type(sets)(0.9, "lac", False, np.array([0.5, 0.5]), np.array([4, 4]))
    found = set_figures(hand, proba, y, np.arange(4), ("a", "b"), resamples=50)
    assert found.covered.value == 0.5 and found.class_covered == {"a": 1.0, "b": pytest.approx(1 / 3)}
    assert found.size == 1.0 and found.single == 1.0
    assert found.covered.low <= 0.5 <= found.covered.high


def test_a_closed_test_set_is_said_to_be_closed(photographs: Photographs) -> None:
    predictor = photographs.predictor(photographs.run())
    figures = [part_figures(predictor, "validation", 20)]
    card = model_card(predictor, predictor.sets(), figures, Terms(), "parity", "x.onnx", 1000)
    assert "The test set was not opened" in card and "### Test" not in card
    assert "licence of the data: not stated" in card and "Cite:" not in card and "light skin" not in card.split("\n")


def test_the_licence_of_ham10000_and_its_limits_are_named(photographs: Photographs) -> None:
    predictor = photographs.predictor(photographs.run())
    terms = Terms("CC BY-NC 4.0", "Tschandl and others")
    card = model_card(predictor, predictor.sets(), [], terms, "parity", "x.onnx", 1000)
    assert "no commercial use" in card and "- Cite: Tschandl and others" in card
    assert "records no skin tone" in card


def test_the_code_in_the_card_runs(
    card: str, exported: Exported, cnn: Predictor, photographs, tmp_path, capsys
) -> None:
    code = re.search(r"```python\n(.*?)```", card, flags=re.DOTALL).group(1)
    photo = photographs.paths(cnn.run, "validation")[0]
    shutil.copy(exported.model, tmp_path / "model.onnx")
    shutil.copy(photo, tmp_path / "photo.jpg")
    there = code.replace('"model.onnx"', repr(str(tmp_path / "model.onnx")))
    exec(there.replace('"photo.jpg"', repr(str(tmp_path / "photo.jpg"))), {})
    (found,) = cnn.predict([photo])
    first, second = capsys.readouterr().out.splitlines()
    assert yaml.safe_load(first) == pytest.approx(found.probabilities, abs=1e-3)
    assert sorted(yaml.safe_load(second.partition(":")[2])) == sorted(found.prediction_set)
    assert len([line for line in code.splitlines() if line]) <= 11


def test_the_configuration_in_the_card_is_the_runs_without_folders_of_this_machine(
    card: str, cnn: Predictor, photographs: Photographs
) -> None:
    text = re.search(r"```yaml\n(.*?)```", card, flags=re.DOTALL).group(1)
    there = (cnn.run.folder / "config.yaml").read_text()
    assert text == there.replace(str(photographs.folder), photographs.folder.name)
    assert str(photographs.folder.parent) in there and str(photographs.folder.parent) not in card


def test_names_from_users_break_neither_tables_nor_the_page() -> None:
    assert _cell("a|b\n<script>`x`") == "a\\|b &lt;script>'x'"
