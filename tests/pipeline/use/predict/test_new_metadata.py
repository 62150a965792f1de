"""Runs on metadata asked about images: predict, evaluate and export, through the real entry point and the library."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hamcache.data.dataset import DatasetWords, open_dataset
from hamcache.data.errors import MetadataAbsentError, MetadataError
from hamcache.pipeline.config.schema import load_config
from hamcache.pipeline.errors import PredictionError
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.use.external.external import Evaluating, evaluate_run
from hamcache.pipeline.use.predict.new_metadata import read_metadata, require_metadata
from hamcache.pipeline.use.predict.predictor import Predictor, Question
from tests.pipeline.cli.test_app import hamcache
from tests.pipeline.use.predict.conftest import NET, Photographs, probabilities

RAW = Question(raw=True, neighbours=0)


@pytest.fixture(scope="module")
def known(photographs: Photographs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs as a CSV with ages and sites; some are not known."""
    frame = photographs.table.frame[["image_id", "path", "label", "group"]]
    codes = np.arange(len(frame))
    ages, sites = (codes * 7 % 60 + 20).astype(str), np.array(["arm", "back", "face"], dtype=object)[codes % 3]
    ages[codes % 8 == 0], sites[codes % 5 == 0] = "", ""
    path = tmp_path_factory.mktemp("known") / "ham10000.csv"  # by its name its features are found
    frame.assign(age=ages, localization=sites).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def run(photographs: Photographs, known: Path) -> Run:
    config = load_config(None, base={"dataset": str(known), "features": f"metadata+{NET}"})
    return run_experiment(config, photographs.workspace)


@pytest.fixture(scope="module")
def predictor(photographs: Photographs, run: Run) -> Predictor:
    return photographs.predictor(run)


def rows(known: Path) -> pd.DataFrame:
    return pd.read_csv(known, dtype=str, keep_default_na=False).set_index("image_id")


def test_predictions_are_those_of_the_run(photographs: Photographs, known: Path, run: Run, predictor) -> None:
    found = predictor.predict(photographs.paths(run, "validation"), RAW, metadata=rows(known))
    np.testing.assert_allclose(probabilities(found), run.probabilities("validation"), rtol=1e-5)
    empty = predictor.predict(
        photographs.paths(run, "validation"), RAW, metadata=rows(known).assign(age="", localization="")
    )
    assert np.abs(probabilities(empty) - probabilities(found)).max() > 1e-3
    assert len(predictor.predict(photographs.paths(run, "train")[:1], metadata=rows(known))[0].neighbours) == 5


def test_a_run_on_metadata_without_them_is_told_before_anything_is_loaded(
    photographs: Photographs, run: Run, monkeypatch
) -> None:
    monkeypatch.setattr(
        "hamcache.pipeline.use.predict.predictor.load_predictor", lambda *_, **__: pytest.fail("loaded")
    )
    path = photographs.paths(run, "validation")[0]
    said = hamcache(f"predict {run.id} '{path}'", photographs.workspace).failed()
    assert "--metadata CSV, with the columns image_id, age, localization" in said
    said = hamcache(f"export {run.id}", photographs.workspace).failed()
    assert "takes age, localization: the exported file gets an image and nothing else" in said
    assert f"Train one without: --features {NET}" in said


def test_the_csv_may_lack_columns_images_and_values_and_that_is_said(
    photographs: Photographs, run: Run, tmp_path: Path
) -> None:
    first, second = photographs.paths(run, "validation")[:2]
    (tmp_path / "m.csv").write_text(f"file,localization,note\nwhere/ever/{first.name},elbow,x\n")
    line = f"predict {run.id} '{first}' '{second}' --device cpu --metadata '{tmp_path}/m.csv'"
    said = hamcache(line, photographs.workspace).ok()
    assert "Not given, so taken as absent: age." in said and "localization is absent of 1 of 2 images." in said
    assert "(elbow) of 1 of 2 images" in said and "Known: arm, back, face." in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,age\na,1\n", "expected a column image_id or file"),
        ("image_id,sex\na,m\n", "one of the columns age, localization, got image_id, sex"),
        ("file,age\nx/a.jpg,1\ny/a.png,2\n", r"more of a \(line 2\), a \(line 3\)"),
        ("image_id,age\na,old\n", r"m.csv: Expected numbers in the column 'age', got old"),
    ],
)
def test_a_csv_that_does_not_fit_is_told(run: Run, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    assert run.metadata is not None
    with pytest.raises(MetadataError, match=words):
        read_metadata(tmp_path / "m.csv", run.metadata)


def test_rows_of_other_images_and_metadata_that_nobody_asked_for_are_errors(
    photographs: Photographs, run: Run, predictor
) -> None:
    path = photographs.paths(run, "validation")[0]
    with pytest.raises(MetadataAbsentError, match="got rows of other"):
        predictor.predict([path], metadata=pd.DataFrame({"age": [1]}, index=["other"]))
    with pytest.raises(PredictionError, match="images alone"):
        require_metadata(photographs.run(), True)


def test_another_data_set_is_scored_with_what_its_table_knows(
    photographs: Photographs, known: Path, run: Run, predictor, tmp_path: Path
) -> None:
    held_out = rows(known).loc[run.part("validation")["image_id"]]
    ids = [f"c{n}" for n in range(len(held_out))]
    other = held_out.assign(path=[str(path) for path in photographs.paths(run, "validation")], group=ids)
    other.index = pd.Index(ids, name="image_id")
    for row, image_id in zip(other.itertuples(), ids, strict=True):  # other bytes: not the run's own images
        (tmp_path / f"{image_id}.jpg").write_bytes(Path(row.path).read_bytes() + b"\0")
    other = other.assign(path=[str(tmp_path / f"{i}.jpg") for i in ids])
    records = {}
    for name, frame in (("with", other), ("without", other.drop(columns="age"))):
        frame.to_csv(tmp_path / f"{name}.csv")
        dataset = open_dataset(DatasetWords(str(tmp_path / f"{name}.csv")), photographs.workspace)
        evaluation = evaluate_run(
            run, dataset, photographs.workspace, Evaluating(resamples=20), networks={"device": "cpu"}
        )
        records[name] = evaluation
    p = [f"p_{label}" for label in run.classes]
    whole = records["with"].predictions.set_index("image_id").loc[ids, p].to_numpy()
    np.testing.assert_allclose(whole, run.probabilities("validation"), atol=1e-5)
    lacking = records["without"].predictions.set_index("image_id").loc[ids, p].to_numpy()
    raw = predictor.predict([tmp_path / f"{i}.jpg" for i in ids], RAW, metadata=other.drop(columns="age"))
    np.testing.assert_allclose(lacking, probabilities(raw), atol=1e-5)
    assert "Not given, so taken as absent: age." in records["without"].record["notes"]


def test_a_run_that_does_not_say_its_columns_is_damaged(run: Run) -> None:
    broken = replace(run, provenance={key: value for key, value in run.provenance.items() if key != "metadata"})
    with pytest.raises(Exception, match="does not say which metadata"):
        _ = broken.metadata
