"""One file says what the run says: asked by onnxruntime, about images of many shapes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from hamcache.data.workspace import Workspace
from hamcache.extract.precision import has_bf16
from hamcache.pipeline.errors import ExportError
from hamcache.pipeline.runs.records import read_run
from hamcache.pipeline.use.export.export import Exported, ExportSettings, check_images, export_run, targets
from hamcache.pipeline.use.export.onnx_file import build_model
from hamcache.pipeline.use.export.run_module import Portable
from hamcache.pipeline.use.predict.predictor import Predictor, Question
from tests.pipeline.conftest import without_checksums
from tests.pipeline.use.predict.conftest import FINE, NET, OTHER, Photographs, probabilities


def pictures(count: int = 4) -> list[Image.Image]:
    """Smooth pictures of several shapes: landscape, portrait, square, larger and smaller than the networks' inputs."""
    rng = np.random.default_rng(5)
    sizes = [(40, 30), (90, 200), (160, 160), (500, 333)]
    small = [Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)) for _ in range(count)]
    return [one.resize(size, Image.Resampling.BICUBIC) for one, size in zip(small, sizes, strict=False)]


def asked(model: Path | onnx.ModelProto, images: list[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
    """What an ONNX file says of images, one at a time."""
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source)
    answers = [session.run(None, {"images": np.asarray(image)[None]}) for image in images]
    return np.concatenate([proba for proba, _ in answers]), np.concatenate([inside for _, inside in answers])


def same(predictor: Predictor, model: Path | onnx.ModelProto, images: list[Image.Image], atol: float) -> None:
    proba, inside = asked(model, images)
    predictions = predictor.predict(images, Question(coverage=0.8))
    np.testing.assert_allclose(proba, probabilities(predictions), rtol=0, atol=atol)
    if atol < 1e-4:  # else an image may be at the threshold
        assert [set(np.array(predictor.classes)[row]) for row in inside] == [set(p.prediction_set) for p in predictions]


def test_a_hybrid_with_views_folds_and_tau_is_one_graph(photographs: Photographs) -> None:
    """Two networks, two kinds of features, different views in each block, a head a fold, and all that comes after."""
    blocks = [(f"{NET}:stages", "dihedral", 5), (NET, "flip", 3), (OTHER, "dihedral", 2)]
    photographs.extract(*blocks)
    settings = ["features.views.pairing=independent", "split.policy=grouped", "split.folds=2", "tau=0.5"]
    predictor = photographs.predictor(photographs.run(*settings, blocks=blocks))
    same(predictor, build_model(Portable(predictor, predictor.sets(0.8)), 7), pictures(), 1e-5)


def test_features_are_rounded_as_their_store_was(photographs: Photographs) -> None:
    photographs.extract((NET, "dihedral", 2), storage="float16")
    run = photographs.run("features.storage=float16", blocks=[(NET, "dihedral", 2)])
    predictor = photographs.predictor(run)
    model = build_model(Portable(predictor, predictor.sets(0.8)), 7)
    casts = [node.attribute[0].i for node in model.graph.node if node.op_type == "Cast"]
    assert onnx.TensorProto.FLOAT16 in casts
    same(predictor, model, pictures(), 1e-3)  # a number at the middle of two may be rounded to either


@pytest.mark.skipif(not has_bf16(), reason="no bfloat16 here")
def test_bfloat16_is_imitated_by_rounding(photographs: Photographs) -> None:
    """Without that, probabilities are ten times further away."""
    photographs.extract((NET, "original", 1), (NET, "none", 1), precision="bf16")
    settings = ["features.views.predict=plain", "features.precision=bf16", "head.C=1"]
    predictor = photographs.predictor(photographs.run(*settings, blocks=[(NET, "original", 1)]))
    model = build_model(Portable(predictor, predictor.sets(0.8, "aps", class_conditional=True)), 7)
    assert not any(tensor.data_type == onnx.TensorProto.BFLOAT16 for tensor in model.graph.initializer)
    same(predictor, model, pictures(), 3e-3)


def test_a_finetuned_net_is_one_graph(photographs: Photographs) -> None:
    predictor = photographs.predictor(photographs.run(blocks=(), net=FINE, test=True))
    same(predictor, build_model(Portable(predictor, predictor.sets(0.8)), 7), pictures(), 1e-5)


def test_a_net_that_averages_views_of_reduced_images_is_one_file(cnn: Predictor, exported: Exported) -> None:
    images = pictures()
    proba, _ = asked(exported.model, images)
    np.testing.assert_allclose(proba, probabilities(cnn.predict(images)), rtol=0, atol=1e-5)
    parity, there = exported.parity, len(cnn.run.part("validation"))
    assert (parity.images, parity.of, parity.same_class, parity.same_set) == (there, "validation images", there, there)
    assert parity.largest < 1e-5


def test_a_batch_says_what_its_images_say_alone(exported: Exported) -> None:
    rng = np.random.default_rng(0)
    batch = rng.integers(0, 256, (5, 33, 47, 3), dtype=np.uint8)
    together = onnxruntime.InferenceSession(exported.model).run(None, {"images": batch})[0]
    alone, _ = asked(exported.model, [Image.fromarray(image) for image in batch])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)


def test_the_file_tells_what_it_is(cnn: Predictor, exported: Exported) -> None:
    session = onnxruntime.InferenceSession(exported.model)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == list(cnn.classes) and about["run"] == cnn.run.id
    assert json.loads(about["class_names"])["mel"] == "Melanoma" and about["coverage"] == "0.9"
    assert (
        "not a medical device" in about["disclaimer"] and "not a medical device" in session.get_modelmeta().description
    )
    assert about["model_card"] == exported.card.read_text(encoding="utf-8")
    assert [(value.name, value.type) for value in session.get_inputs()] == [("images", "tensor(uint8)")]
    assert [(value.name, value.shape) for value in session.get_outputs()] == [
        ("probabilities", ["n", 7]),
        ("prediction_set", ["n", 7]),
    ]
    onnx.checker.check_model(str(exported.model), full_check=True)


def test_the_same_run_gives_the_same_bytes_and_nothing_of_this_machine(
    photographs: Photographs, cnn: Predictor, exported: Exported, tmp_path: Path
) -> None:
    reloaded = Predictor(cnn.run, photographs.workspace, device="cpu")
    again = export_run(reloaded, photographs.workspace, tmp_path / "again", ExportSettings(resamples=50))
    content = exported.model.read_bytes()
    assert again.model.read_bytes() == content and again.card.read_bytes() == exported.card.read_bytes()
    outside_the_card = content.replace(exported.card.read_bytes(), b"")
    assert b".py" not in outside_the_card and b"site-packages" not in outside_the_card


def test_files_that_are_there_are_not_written_over(photographs, cnn, exported, tmp_path) -> None:
    with pytest.raises(ExportError, match=r"model.onnx and .*model_card.md is there already.*--force"):
        export_run(cnn, photographs.workspace, exported.model.parent)
    (tmp_path / "a.md").write_text("mine")
    with pytest.raises(ExportError, match=r"a.md is there already"):
        targets(cnn.run, photographs.workspace, tmp_path / "a.onnx")
    assert targets(cnn.run, tmp_path, tmp_path / "a.onnx", force=True)[1] == tmp_path / "a.md"
    assert targets(cnn.run, tmp_path, None)[0] == tmp_path / "exports" / cnn.run.id / "model.onnx"
    with pytest.raises(ExportError, match=r"a folder or a file named \*.onnx"):
        targets(cnn.run, tmp_path, tmp_path / "a.md")


def test_a_file_that_says_something_else_is_not_written(photographs, cnn, exported, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        "hamcache.pipeline.use.export.export.build_model", lambda portable, n_classes: onnx.load(exported.model)
    )
    other = Predictor(cnn.run, photographs.workspace, device="cpu")
    other.temperature = replace(cnn.temperature, value=cnn.temperature.value / 50)
    with pytest.raises(ExportError, match="says what run"):
        export_run(other, photographs.workspace, tmp_path / "out", ExportSettings(resamples=50))
    assert not (tmp_path / "out").exists()


def test_random_views_cannot_be_in_a_graph(photographs: Photographs, tmp_path: Path) -> None:
    photographs.extract((NET, "original", 3))
    predictor = photographs.predictor(photographs.run(blocks=[(NET, "original", 3)]))
    with pytest.raises(ExportError, match=r"drawn at random \('original'\).*views.predict=plain"):
        export_run(predictor, photographs.workspace, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_without_the_data_set_the_file_is_compared_on_pictures_of_noise(photographs: Photographs, tmp_path) -> None:
    run = photographs.run()
    here, of = check_images(run, photographs.workspace, 5)
    assert len(here) == 5 and of == "validation images" and here[0].size == (40, 30)
    without_checksums(Path(shutil.copytree(run.folder, tmp_path / "run")))
    config = (tmp_path / "run" / "config.yaml").read_text().replace(str(photographs.folder), str(tmp_path / "gone"))
    (tmp_path / "run" / "config.yaml").write_text(config)
    drawn, of = check_images(read_run(tmp_path / "run"), Workspace(tmp_path), 5)
    assert len(drawn) == 5 and "noise" in of and {image.size for image in drawn} == {(200, 150), (450, 600), (97, 64)}
