"""`hamcache data audit` on images with planted copies: they are found, proposed, and honoured by splits and runs."""

import json
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from PIL import Image, ImageDraw
from scipy import ndimage
from typer.testing import CliRunner

from hamcache.cache.errors import MissingFeaturesError
from hamcache.data.curation import read_curation
from hamcache.data.dataset import Dataset, open_dataset
from hamcache.data.splits import Split
from hamcache.data.table import ImageTable
from hamcache.data.workspace import Workspace
from hamcache.pipeline.cli.app import app
from hamcache.pipeline.errors import AuditError
from hamcache.pipeline.experiment.extraction import FeatureWords, extract_features
from hamcache.pipeline.inspect.audit import audit as run
from hamcache.pipeline.inspect.audit import textures
from hamcache.pipeline.inspect.audit.audit import AuditSettings, audit
from hamcache.pipeline.inspect.audit.audit_files import write_audit
from hamcache.pipeline.show.plots import audit as sheets
from hamcache.pipeline.show.plots.sheets import _GAP, _HEAD

NET = "random/test_resnet.r160_in1k"
CLASSES = ("bkl", "mel", "nv")
LABELS = {"copy_of_05": "nv", "crop_of_07": "bkl"}  # image 5 is nv too, image 7 is mel: that pair contradicts itself


def skin(seed: int) -> Image.Image:
    """A blotch with dots on textured skin, 96x72 pixels."""
    rng = np.random.default_rng(seed)
    noise = sum(ndimage.gaussian_filter(rng.normal(size=(72, 96)), s) * s * 6 for s in (1, 2, 4))
    y, x = np.mgrid[:72, :96]
    blotch = 70 / (1 + np.exp(np.hypot((x - 48) * 0.8, y - 36) - 18))
    pixels = np.stack([205 - blotch + noise, 165 - blotch + noise, 150 - blotch + noise], axis=2)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(14):
        at = rng.uniform((30, 20), (66, 52))
        pen.ellipse([*(at - 1), *(at + 2)], fill=(70, 40, 40))
    return image


@dataclass(frozen=True)
class Planted:
    """A data set and a workspace with its features."""

    csv: Path
    workspace: Workspace

    @property
    def dataset(self) -> Dataset:
        return open_dataset(str(self.csv), self.workspace)

    @property
    def table(self) -> ImageTable:
        return self.dataset.table

    def __call__(self, line: str) -> Result:
        """Run `hamcache LINE`."""
        words = shlex.split(line.format(data=self.csv, audit=self.workspace / "audit" / "skins"))
        return CliRunner().invoke(app, [*words, "--workspace", str(self.workspace)])


@pytest.fixture(scope="module", autouse=True)
def fewer_known_pairs() -> Iterator[None]:
    with mock.patch.object(run, "_KNOWN", 40):
        yield


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """45 lesions of one to two images and, in groups of their own, a mirrored copy, a crop and a file twice."""
    root = tmp_path_factory.mktemp("audit")
    folder = root / "images"
    folder.mkdir()
    rows = []

    def add(name: str, image: Image.Image | None, label: str, group: str) -> None:
        if image is not None:
            image.save(folder / f"{name}.jpg", quality=90)
        rows.append((name, f"images/{name}.jpg", label, group))

    for number in range(45):
        add(f"i{number:02d}", skin(number), CLASSES[number % 3], f"g{number:02d}")
        if number % 9 == 0:
            add(f"j{number:02d}", skin(number).rotate(5), CLASSES[number % 3], f"g{number:02d}")
    add("copy_of_05", skin(5).transpose(Image.Transpose.FLIP_LEFT_RIGHT), LABELS["copy_of_05"], "h1")
    add("crop_of_07", skin(7).crop((6, 4, 96, 72)), LABELS["crop_of_07"], "h2")
    for name, group in (("same_as_11", "h3"), ("twin_of_12", "g12")):
        shutil.copy(folder / f"i{name[-2:]}.jpg", folder / f"{name}.jpg")
        add(name, None, CLASSES[int(name[-2:]) % 3], group)
    (folder / "broken.jpg").write_bytes(b"no image")
    add("broken", None, "nv", "h4")
    csv = root / "skins.csv"
    pd.DataFrame(rows, columns=["image_id", "path", "label", "group"]).to_csv(csv, index=False)
    made = Planted(csv, Workspace(root / "workspace"))
    extract_features(made.dataset, made.workspace, FeatureWords([NET], ["dihedral"], views=4))
    return made


@pytest.fixture(scope="module")
def found(planted: Planted):
    return audit(planted.dataset, planted.workspace, AuditSettings(candidates=200, policy="grouped", workers=1))


def test_planted_copies_are_found_and_nothing_else(found) -> None:
    confirmed = found.pairs[found.pairs["verdict"] != "look-alike"]
    pairs = {frozenset(pair) for pair in zip(confirmed["image_id"], confirmed["other"], strict=True)}
    expected = [("i05", "copy_of_05"), ("i07", "crop_of_07"), ("i11", "same_as_11")]
    assert pairs == {frozenset(pair) for pair in expected}
    by_name = confirmed.set_index("image_id")
    assert by_name.loc["copy_of_05", "mirrored"] and not by_name.loc["copy_of_05", "conflict"]
    assert by_name.loc["crop_of_07", "conflict"]
    assert found.calibration.strangers_score < 0.3 < found.least_score["same lesion, likely"]


def test_pairs_straddle_where_their_groups_are_in_two_parts(found, planted: Planted) -> None:
    frame = found.pairs.merge(planted.table.frame, on="image_id")
    for row in frame.itertuples():
        assert row.straddles == (row.part != row.other_part)
    assert set(found.pairs["part"]) <= {"train", "validation", "test"}
    assert found.split


def test_equal_files_are_listed_within_groups_and_across_them(found) -> None:
    listed = found.duplicates.set_index("image_id")["across_groups"]
    assert listed.to_dict() == {"i11": True, "same_as_11": True, "i12": False, "twin_of_12": False}


def test_what_cannot_be_decoded_is_left_out_and_said(found) -> None:
    assert "broken" not in set(found.table.frame["image_id"])
    assert any("1 quarantined" in note for note in found.notes)


def test_proposals_remove_every_pair_that_straddles(found, planted: Planted, tmp_path: Path) -> None:
    write_audit(found, tmp_path)
    curation = read_curation(planted.table, tmp_path / "exclude.csv", tmp_path / "merge_groups.csv")
    assert curation.excluded.keys() == {"i07", "crop_of_07", "same_as_11", "twin_of_12"}
    assert curation.merged == {"h1": "g05", "h2": "g07", "h3": "g11"}
    settings = AuditSettings(candidates=200, policy="grouped", workers=1)
    again = audit(planted.dataset, planted.workspace, settings, curation=curation)
    assert not again.pairs["verdict"].isin(["same picture", "same lesion, likely"]).any()
    assert len(again.duplicates) == 0
    pd.testing.assert_frame_equal(again.exclusions, found.exclusions)
    assert set(again.merges["group"]) == {"h1", "h2", "h3"}


def test_the_same_audit_writes_the_same_tables(found, planted: Planted, tmp_path: Path) -> None:
    write_audit(found, tmp_path / "a")
    write_audit(audit(planted.dataset, planted.workspace, found.settings), tmp_path / "b")
    for path in sorted((tmp_path / "a").glob("*.csv")):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert summary["counts"]["same picture"] + summary["counts"]["same lesion, likely"] == 3
    assert summary["features"] == [f"{NET} (dihedral x4)"]


def test_proposals_that_were_edited_are_kept(found, tmp_path: Path) -> None:
    assert write_audit(found, tmp_path) == [] and write_audit(found, tmp_path) == []
    edited = "image_id,reason\ni01,mine\n"
    for number in (1, 2):
        (tmp_path / "exclude.csv").write_text(edited)
        assert write_audit(found, tmp_path) == [tmp_path / f"exclude.edited-{number}.csv"]
    assert (tmp_path / "exclude.edited-2.csv").read_text() == edited
    assert "i07" in (tmp_path / "exclude.csv").read_text()
    other = replace(found, exclusions=found.exclusions.iloc[:1])
    assert write_audit(other, tmp_path) == []  # our own of before is not kept


def test_features_of_changed_files_are_not_compared(planted: Planted, tmp_path: Path) -> None:
    shutil.copytree(planted.csv.parent, tmp_path / "data", ignore=shutil.ignore_patterns("workspace"))
    skin(99).save(tmp_path / "data" / "images" / "i01.jpg")
    shutil.copytree(planted.workspace / "features", tmp_path / "workspace" / "features")
    own = Planted(tmp_path / "data" / "skins.csv", Workspace(tmp_path / "workspace"))
    with pytest.raises(Exception, match="other bytes"):
        audit(own.dataset, own.workspace, AuditSettings(workers=1))


def test_images_that_are_gone_are_counted_and_labels_are_still_judged(planted: Planted, tmp_path: Path) -> None:
    shutil.copytree(planted.csv.parent, tmp_path / "data", ignore=shutil.ignore_patterns("workspace", "images"))
    shutil.copytree(planted.workspace / "features", tmp_path / "workspace" / "features")
    own = Planted(tmp_path / "data" / "skins.csv", Workspace(tmp_path / "workspace"))
    table = own.table.subset([i for i in own.table.frame["image_id"] if i != "broken"])
    found = audit(replace(own.dataset, table=table), own.workspace, AuditSettings(workers=1))
    assert len(found.pairs) == 0 and any("can't be read" in note for note in found.notes)
    assert np.isfinite(found.label_mcc) and len(found.outliers) > 0


def test_each_image_is_decoded_once(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    read = textures._read_thumbnail
    monkeypatch.setattr(textures, "_read_thumbnail", lambda path: (decoded.append(path), read(path))[1])
    paths = [path for path in planted.table.frame["path"] if "broken" not in path][:4]
    pixels = run._Pixels([*paths, "absent.jpg"], 1, run.silent)
    whole = pixels.align(np.array([[0, 1], [1, 2], [0, 4], [2, 3]]), "all")
    again = pixels.align(np.array([[2, 3], [0, 4], [0, 1]]), "again")
    assert sorted(decoded) == sorted([*paths, "absent.jpg"]) and pixels.unreadable == {4}
    np.testing.assert_allclose(again.score, whole.score[[3, 2, 0]], atol=1e-4)


def test_what_cannot_be_audited_is_refused(planted: Planted, tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="two groups or more"):
        audit(replace(planted.dataset, table=planted.table.subset(["i00", "j00"])), planted.workspace)
    with pytest.raises(MissingFeaturesError, match="hamcache extract"):
        audit(planted.dataset, Workspace(tmp_path))
    with pytest.raises(MissingFeaturesError, match=r"by resnet34.*hamcache extract"):
        audit(planted.dataset, planted.workspace, AuditSettings(backbones=("resnet34",)))


def test_a_split_that_cannot_be_made_is_a_note(planted: Planted) -> None:
    few = planted.table.subset(["i00", "i01", "i02", "i03", "i05", "copy_of_05"])
    found = audit(replace(planted.dataset, table=few), planted.workspace, AuditSettings(workers=1))
    assert any("no split" in note for note in found.notes) and not found.pairs["straddles"].any()
    assert "copy_of_05" in set(found.pairs["image_id"])


# -- the command


@pytest.fixture(scope="module")
def command(planted: Planted) -> Result:
    return planted("data audit --dataset {data} --policy grouped --candidates 200 --workers 1")


def test_the_command_writes_tables_sheets_and_proposals_and_says_how_to_use_them(command, planted: Planted) -> None:
    assert command.exit_code == 0, command.output
    folder = planted.workspace / "audit" / "skins"
    names = {path.name for path in folder.iterdir()}
    assert names >= {f"{n}.csv" for n in ("pairs", "labels", "outliers", "duplicates", "exclude", "merge_groups")}
    assert names >= {"pairs.png", "outliers.png", "summary.json"}
    assert f"--exclude {folder / 'exclude.csv'} --merge-groups {folder / 'merge_groups.csv'}" in command.output
    assert "copy_of_05" in command.output and "random pairs of two lesions 99 %" in command.output
    for picture in folder.glob("*.png"):
        with Image.open(picture) as image:
            assert image.width > 300 and len(image.convert("L").getcolors(256) or []) > 50


def test_runs_and_splits_honour_the_proposals(command, planted: Planted, tmp_path: Path) -> None:
    both = "--exclude {audit}/exclude.csv --merge-groups {audit}/merge_groups.csv"
    done = planted(f"data split --dataset {{data}} --policy grouped --out {tmp_path / 's.csv'} {both}")
    assert done.exit_code == 0, done.output
    frame = Split.load(tmp_path / "s.csv").frame
    assert not {"i07", "crop_of_07"} & set(frame["image_id"])
    assert set(frame["group"][frame["image_id"].isin(["i05", "copy_of_05"])]) == {"g05"}
    line = f"--dataset {{data}} --features {NET} --augmentation dihedral --views 4 --set split.policy=grouped {both}"
    for command_line in (f"train {line}", f"zoo --heads knn --workers 1 {line}"):
        done = planted(command_line)
        assert done.exit_code == 0, done.output
    for folder in (planted.workspace / "runs").iterdir():
        provenance = json.loads((folder / "provenance.json").read_text())
        assert provenance["curation"]["merged"] == {"h1": "g05", "h2": "g07", "h3": "g11"}


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ("--policy groupd", 2, "one_per_lesion"),
        ("--cosine 2", 2, "--cosine"),
        ("--exclude absent.csv", 2, "absent.csv"),
    ],
)
def test_wrong_usage_is_said(planted: Planted, options: str, code: int, words: str) -> None:
    done = planted(f"data audit --dataset {{data}} {options}")
    assert done.exit_code == code and words in done.output


# -- the sheets


def test_sheets_have_pages_and_old_pages_go(found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = dict(zip(found.table.frame["image_id"], found.table.frame["path"], strict=True))
    many = pd.concat([found.pairs] * 20, ignore_index=True).head(43)
    written = sheets.plot_pairs(many, paths, tmp_path / "pairs.png", "title " * 100)
    assert len(many) == 43 and [path.name for path in written] == ["pairs.png", "pairs-2.png", "pairs-3.png"]
    assert sheets.plot_pairs(found.pairs.head(1), paths, tmp_path / "pairs.png", "few") == [tmp_path / "pairs.png"]
    assert sheets.plot_pairs(found.pairs.head(0), paths, tmp_path / "pairs.png", "none") == []
    assert list(tmp_path.iterdir()) == []


def test_a_sheet_shows_names_of_any_length_and_a_cross_for_a_missing_file(tmp_path: Path) -> None:
    row = {"image_id": "<b>" + "x" * 500, "group": "g", "label": "nv", "similarity": 0.1, "z": -4.0, "unlike": True}
    gone = {row["image_id"]: str(tmp_path / "absent.jpg")}
    (sheet,) = sheets.plot_outliers(pd.DataFrame([row]), gone, tmp_path / "outliers.png", "one")
    with Image.open(sheet) as image:
        assert image.width < 400
        assert image.getpixel((_GAP + 110, _HEAD + 82)) != (238, 238, 238)
