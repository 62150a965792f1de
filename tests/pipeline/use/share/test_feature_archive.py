"""Features that travel: a head trained on what was imported is the head trained where the images are."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from PIL import Image

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.errors import FeatureArchiveError, MissingFeaturesError
from hamcache.cache.quarantine import BadImage, Quarantine
from hamcache.cache.storage import Root
from hamcache.data.dataset import DatasetWords, open_dataset
from hamcache.data.errors import ImagesAbsentError, TableError
from hamcache.data.readers.imported import Terms
from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import FeaturesError
from hamcache.pipeline.experiment.extraction import FeatureWords, extract_features
from hamcache.pipeline.experiment.inputs import open_inputs
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.use.share.feature_archive import (
    chosen_stores,
    dataset_of,
    export_features,
    file_digests_of,
    import_features,
    terms_of,
)
from hamcache.pipeline.use.share.feature_files import write_feature_file
from tests.pipeline.conftest import DIM, World

NET, OTHER = "random/test_resnet.r160_in1k", "random/test_vit.r160_in1k"


UNKNOWN = Terms()


def send(world: World, file: Path, names=("moles",), terms: Terms = UNKNOWN) -> Path:
    stores = chosen_stores(Catalogue(world.workspace / "features"), names)
    export_features(stores, dataset_of(stores, DatasetWords(str(world.csv)), world.workspace).table, file, terms)
    return file


def take_in(file: Path, workspace: Workspace):
    return import_features(file, workspace, Root(workspace / "features"))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "elsewhere")


def test_a_head_trained_without_the_images_is_the_same(world: World, tmp_path: Path, elsewhere: Workspace) -> None:
    world.extract("net_a"), world.extract("net_b", "flip", views=2)
    imported = take_in(send(world, tmp_path / "f.zip"), elsewhere)
    for config in (
        world.config(),
        world.config(base={"features": "net_a+net_b"}).model_copy(update={"seed": 3}),
    ):
        if len(config.features.blocks) == 2:
            blocks = [config.features.blocks[0], config.features.blocks[1].model_copy(update={"augmentation": "flip"})]
            config = config.model_copy(
                update={"features": config.features.model_copy(update={"blocks": tuple(blocks)})}
            )
        ours = run_experiment(config, world.workspace, test=True)
        theirs = run_experiment(config.model_copy(update={"dataset": str(imported.dataset)}), elsewhere, test=True)
        assert theirs.metrics == ours.metrics
        assert theirs.predictions.equals(ours.predictions)
        assert theirs.provenance["fingerprint"] == ours.provenance["fingerprint"]


def test_images_without_features_make_the_same_split_elsewhere(
    world: World, tmp_path: Path, elsewhere: Workspace
) -> None:
    ids = list(world.table().frame["image_id"])
    world.extract(images=ids[:-5])
    digests = open_inputs(world.config(), world.workspace).digests
    bad = [BadImage(image_id, digests[image_id], "not an image") for image_id in ids[-5:]]
    Quarantine(Root(world.workspace / "features"), "moles").add(*bad)
    imported = take_in(send(world, tmp_path / "f.zip"), elsewhere)
    assert len(imported.table) == len(ids)
    config = world.config().model_copy(update={"dataset": str(imported.dataset)})
    assert open_inputs(config, elsewhere).left_out == {image.image_id: "not an image" for image in bad}
    ours, theirs = run_experiment(world.config(), world.workspace), run_experiment(config, elsewhere)
    assert theirs.metrics == ours.metrics
    assert theirs.provenance["fingerprint"] == ours.provenance["fingerprint"]


def test_importing_twice_touches_nothing(world: World, tmp_path: Path, elsewhere: Workspace) -> None:
    world.extract()
    file = send(world, tmp_path / "f.zip")
    take_in(file, elsewhere)
    before = {path: path.stat().st_mtime_ns for path in elsewhere.path.rglob("*") if path.name != ".lock"}
    assert [store.n_written for store in take_in(file, elsewhere).stores] == [0]
    after = {path: path.stat().st_mtime_ns for path in elsewhere.path.rglob("*") if path.name != ".lock"}
    assert {p: t for p, t in after.items() if p.is_file()} == {p: t for p, t in before.items() if p.is_file()}
    assert set(after) == set(before)


def test_what_was_imported_can_be_sent_on(world: World, tmp_path: Path, elsewhere: Workspace) -> None:
    world.extract()
    first = send(world, tmp_path / "first.zip", terms=Terms("CC0", "Me"))
    imported = take_in(first, elsewhere)
    stores = chosen_stores(Catalogue(elsewhere / "features"), ["moles"])
    dataset = dataset_of(stores, DatasetWords(str(imported.dataset)), elsewhere)
    table, terms = dataset.table, terms_of(dataset)
    assert terms == Terms("CC0", "Me")
    export_features(stores, table, tmp_path / "second.zip", terms)
    again = take_in(tmp_path / "second.zip", Workspace(tmp_path / "third"))
    assert again.table.fingerprint == imported.table.fingerprint and again.table.digests == imported.table.digests


def test_an_archive_says_in_words_what_it_is(world: World, tmp_path: Path) -> None:
    world.extract()
    with zipfile.ZipFile(send(world, tmp_path / "f.zip", terms=Terms("CC BY-NC 4.0", "Tschandl"))) as archive:
        text = archive.read("README.txt").decode()
        table = archive.read("table.csv").decode()
    assert "net_a, augmentation none, 1 views, 8 numbers each, fp32" in text
    assert "CC BY-NC 4.0" in text and "Tschandl" in text and "cache import" in text
    assert table.startswith("image_id,label,group,sha256\nimg0001,bkl,lesion000,")
    assert str(tmp_path) not in text + table


def test_another_label_refuses_the_archive_and_changes_nothing(own_world: World, tmp_path: Path) -> None:
    own_world.extract()
    elsewhere = Workspace(tmp_path / "elsewhere")
    take_in(send(own_world, tmp_path / "f.zip"), elsewhere)
    own_world.csv.write_text(own_world.csv.read_text().replace(",bkl,lesion000", ",mel,lesion000"))
    own_world.extract("net_b")
    before = sorted(elsewhere.path.rglob("*"))
    with pytest.raises(TableError, match="img0001"):
        take_in(send(own_world, tmp_path / "g.zip"), elsewhere)
    assert sorted(elsewhere.path.rglob("*")) == before


def test_a_second_archive_adds_its_stores_and_images(own_world: World, tmp_path: Path, elsewhere: Workspace) -> None:
    ids = list(own_world.table().frame["image_id"])
    own_world.extract()
    take_in(send(own_world, tmp_path / "f.zip"), elsewhere)
    (own_world.csv.parent / "images" / "more.jpg").write_text("pixels")
    own_world.csv.write_text(own_world.csv.read_text() + "more,images/more.jpg,nv,lesion_more\n")
    own_world.extract("net_b")
    imported = take_in(send(own_world, tmp_path / "g.zip", ["moles/net_b"]), elsewhere)
    assert list(imported.table.frame["image_id"]) == [*ids, "more"]
    assert len(Catalogue(elsewhere / "features").stores("moles")) == 2


def test_stores_are_chosen_by_key_backbone_or_data_set(world: World) -> None:
    a, b = world.extract("net_a"), world.extract("net_b")
    catalogue = Catalogue(world.workspace / "features")
    assert [s.folder for s in chosen_stores(catalogue, [a.key.short])] == [a.folder]
    assert [s.folder for s in chosen_stores(catalogue, ["moles/net_b/", b.folder])] == [b.folder]
    assert [s.folder for s in chosen_stores(catalogue, ["moles", a.key.short])] == [a.folder, b.folder]
    with pytest.raises(MissingFeaturesError, match="cache ls"):
        chosen_stores(catalogue, ["mole"])


def test_stores_are_chosen_by_paths_from_the_current_folder_as_a_shell_completes_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = world.extract("net_a"), world.extract("net_b")
    monkeypatch.chdir(world.workspace.path.parent)
    home = f"{world.workspace.path.name}/features"
    catalogue = Catalogue(f"{world.workspace.path.name}/features")
    assert [s.folder for s in chosen_stores(catalogue, [f"{home}/{a.folder}/"])] == [a.folder]
    assert [s.folder for s in chosen_stores(catalogue, [f"./{home}/moles/net_b"])] == [b.folder]
    assert catalogue.by_prefix(f"{home}/{b.folder}").folder == b.folder


def test_a_data_set_that_is_gone_or_another_is_asked_for(world: World, tmp_path: Path, ham10000_folder: Path) -> None:
    store = world.extract()
    with pytest.raises(FeaturesError, match="--dataset"):
        dataset_of([store], DatasetWords(str(tmp_path / "gone")), world.workspace)
    with pytest.raises(FeaturesError, match=r"lacks .* of them .*--dataset"):
        dataset_of([store], DatasetWords(str(ham10000_folder)), world.workspace)


def test_stores_made_from_two_versions_of_an_image_do_not_travel(own_world: World) -> None:
    first = own_world.extract("net_a")
    (own_world.csv.parent / "images" / "img0003.jpg").write_text("retouched")
    second = own_world.extract("net_b")
    with pytest.raises(FeaturesError, match="img0003"):
        file_digests_of([first, second])
    assert file_digests_of([second])["img0003"] != file_digests_of([first])["img0003"]


def test_an_archive_without_its_table_is_refused(world: World, tmp_path: Path, elsewhere: Workspace) -> None:
    from hamcache.cache.sharing.archive import write_archive

    write_archive(tmp_path / "f.zip", [world.extract()], {})
    with pytest.raises(FeatureArchiveError, match=r"table\.csv"):
        take_in(tmp_path / "f.zip", elsewhere)
    assert not elsewhere.path.exists()


# -- with a real extraction


def test_extract_computes_nothing_and_what_needs_images_says_so(
    ham10000_folder: Path, workspace: Workspace, tmp_path: Path, elsewhere: Workspace
) -> None:
    dataset = open_dataset(str(ham10000_folder), workspace)
    table = dataset.table
    extract_features(dataset, workspace, FeatureWords([NET], ["flip"], 2))
    stores = chosen_stores(Catalogue(workspace / "features"), [table.name])
    export_features(stores, table, tmp_path / "f.zip", Terms())
    imported = take_in(tmp_path / "f.zip", elsewhere)
    theirs = open_dataset(str(imported.dataset), elsewhere)
    for views in (1, 2):
        done = extract_features(theirs, elsewhere, FeatureWords([NET], ["flip"], views))
        assert (done.n_written, done.n_decoded, done.n_reused) == (0, 0, len(table) * views)
    before = sorted(elsewhere.path.rglob("*"))
    for nets, recipes, views in (([OTHER], ["flip"], 2), ([NET], ["flip"], 4), ([NET], ["none"], 1)):
        with pytest.raises(ImagesAbsentError, match="needs the images themselves"):
            extract_features(theirs, elsewhere, FeatureWords(nets, recipes, views))
    net = {"dataset": str(imported.dataset), "net": {"name": "simple_cnn", "epochs": 1}}
    from hamcache.pipeline.config.schema import load_config

    with pytest.raises(ImagesAbsentError, match="Training simple_cnn needs"):
        run_experiment(load_config(base=net), elsewhere)
    assert sorted(elsewhere.path.rglob("*")) == before

    for part in ham10000_folder.glob("HAM10000_images_part_*"):
        shutil.copytree(part, imported.dataset / part.name)
    done = extract_features(open_dataset(str(imported.dataset), elsewhere), elsewhere, FeatureWords([NET], ["flip"], 4))
    assert (done.n_written, done.n_reused) == (2 * len(table), 2 * len(table))


# -- for other tools


def test_npz_and_parquet_hold_what_the_store_holds(world: World, tmp_path: Path) -> None:
    store, table = world.extract("net_b", "flip", views=2), world.table()
    for name in ("f.npz", "f.parquet"):
        written = write_feature_file(store, table, tmp_path / name, Terms("CC0", "Me"))
        assert (written.n_images, written.n_left_out) == (len(table), 0)
    expected = store.read(list(table.frame["image_id"]), [0, 1])
    with np.load(tmp_path / "f.npz") as file:
        assert file["features"].dtype == np.float32 and np.array_equal(file["features"], expected)
        for name in ("image_id", "label", "group"):
            assert file[name].tolist() == table.frame[name].tolist()
        assert json.loads(str(file["key"])) == store.key.to_dict()
        assert json.loads(str(file["classes"])) == list(table.classes)
        assert (str(file["licence"]), str(file["citation"])) == ("CC0", "Me")
    rows = pyarrow.parquet.read_table(tmp_path / "f.parquet")
    X = rows["features"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
    assert np.array_equal(X, expected.reshape(-1, DIM)) and X.dtype == np.float32
    frame = pd.read_parquet(tmp_path / "f.parquet")
    assert list(frame.columns) == ["image_id", "view", "label", "group", "features"]
    assert frame["view"].tolist() == [0, 1] * len(table)
    assert frame["label"].tolist() == [label for label in table.frame["label"] for _ in range(2)]
    assert json.loads(rows.schema.metadata[b"hamcache.key"]) == store.key.to_dict()


def test_images_that_lack_a_view_are_left_out_and_counted(world: World, tmp_path: Path) -> None:
    table = world.table()
    ids = list(table.frame["image_id"])
    store = world.extract(images=ids[:70])
    store.add_images(ids)
    written = write_feature_file(store, table, tmp_path / "f.npz", Terms())
    assert (written.n_images, written.n_left_out) == (70, len(ids) - 70)
    with np.load(tmp_path / "f.npz") as file:
        assert file["image_id"].tolist() == ids[:70]
    store.set_views(2)
    with pytest.raises(FeaturesError, match="all 2 views"):
        write_feature_file(store, table, tmp_path / "g.npz", Terms())
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["f.npz"]


def test_npz_of_the_same_store_is_the_same_file(world: World, tmp_path: Path) -> None:
    store, table = world.extract(), world.table()
    for name in ("a.npz", "b.npz"):
        write_feature_file(store, table, tmp_path / name, Terms())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_another_suffix_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(FeaturesError, match=r"\.npz or \.parquet"):
        write_feature_file(world.extract(), world.table(), tmp_path / "f.csv", Terms())


# -- the commands


def hamcache(*words: str | Path) -> subprocess.CompletedProcess:
    command = [str(Path(sys.executable).with_name("hamcache")), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_commands_carry_features_over_and_say_what_to_do(
    world: World, tmp_path: Path, elsewhere: Workspace
) -> None:
    world.extract("net_a", "flip", views=2)
    file, there = tmp_path / "f.zip", ["--workspace", world.workspace]
    done = hamcache("cache", "export", "moles", file, "--licence", "CC0", *there)
    assert done.returncode == 0, done.stderr
    assert "1 stores" in done.stdout and "CC0" in done.stdout
    again = hamcache("cache", "export", "moles", file, *there)
    assert again.returncode == 2 and "--force" in again.stderr.replace("\n", " ")
    done = hamcache("cache", "import", file, "--workspace", elsewhere)
    assert done.returncode == 0, done.stderr
    assert "heads train without them" in done.stdout and "Licence of the data: CC0" in done.stdout
    command = done.stdout.split("Train with: ")[1].split()
    assert command[:2] == ["hamcache", "train"]
    done = hamcache(*command[1:])  # it names the workspace
    assert done.returncode == 0, done.stderr
    assert "validation" in done.stdout


def test_commands_refuse_in_words(world: World, tmp_path: Path) -> None:
    world.extract("net_a"), world.extract("net_b")
    there = ["--workspace", world.workspace]
    two = hamcache("cache", "export", "moles", tmp_path / "f.npz", "--format", "npz", *there)
    assert two.returncode == 2 and "one store" in two.stderr
    suffix = hamcache("cache", "export", "moles/net_a", tmp_path / "f.zip", "--format", "parquet", *there)
    assert suffix.returncode == 2 and "*.parquet" in suffix.stderr
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
    wrong = hamcache("cache", "import", tmp_path / "picture.png", *there)
    assert wrong.returncode == 1 and "is no archive of features" in wrong.stderr and "Traceback" not in wrong.stderr
