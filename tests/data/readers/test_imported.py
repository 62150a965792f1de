import csv
import shutil
from dataclasses import replace

import pandas as pd
import pytest

from hamcache.data.digests import MISSING, file_digests
from hamcache.data.errors import ImagesAbsentError, TableError
from hamcache.data.ham10000 import is_ham10000
from hamcache.data.readers.imported import Terms, joined, read_imported, read_terms, write_imported
from hamcache.data.readers.resolve import read_dataset
from hamcache.data.splits import make_split
from hamcache.data.table import build_table
from hamcache.data.workspace import Workspace


@pytest.fixture
def imported(ham10000_table, tmp_path):
    """The table's digests, and its folder as an import writes it."""
    digests = file_digests(ham10000_table)
    folder = tmp_path / "elsewhere" / "ham10000-imported"
    write_imported(folder, replace(ham10000_table, digests=digests), Terms("CC BY 4.0", "Somebody 2020"))
    return folder


def test_a_table_without_images_is_the_same_table(ham10000_table, imported):
    table = read_dataset(str(imported), workspace=Workspace(imported))
    assert table.fingerprint == ham10000_table.fingerprint and table.name == ham10000_table.name
    assert file_digests(table) == file_digests(ham10000_table)
    assert make_split(table).fingerprint == make_split(ham10000_table).fingerprint
    assert list(table.frame.columns) == ["image_id", "path", "label", "group"]
    assert len(table.missing_files()) == len(table)
    assert read_terms(imported) == Terms("CC BY 4.0", "Somebody 2020")


def test_classes_without_an_image_stay_classes(tmp_path):
    row = {"image_id": "1", "path": str(tmp_path / "1"), "label": "a", "group": "g"}
    write_imported(tmp_path, build_table("toy", pd.DataFrame([row]), classes=("c", "b", "a")), Terms())
    assert read_imported(tmp_path).classes == ("c", "b", "a")


def test_images_put_below_the_folder_are_found_and_digested(ham10000_folder, ham10000_table, imported):
    parts = sorted(ham10000_folder.glob("HAM10000_images_part_*"))
    shutil.copytree(parts[0], imported / parts[0].name)
    table = read_imported(imported)
    here = set(table.frame["image_id"]) - set(table.missing_files())
    assert len(here) == len(list(parts[0].iterdir()))
    changed = sorted(here)[0]
    (imported / parts[0].name / f"{changed}.jpg").write_bytes(b"another picture")
    before, now = file_digests(ham10000_table), file_digests(table)
    assert {image_id for image_id in now if now[image_id] != before[image_id]} == {changed}


def test_what_needs_images_says_that_they_are_not_here(ham10000_table, imported):
    ham10000_table.require_images("Looking")
    table = read_imported(imported)
    with pytest.raises(ImagesAbsentError, match=f"Looking needs the images.*{len(table)} are not here.*--dataset"):
        table.require_images("Looking")
    one = table.frame["image_id"][0]
    with pytest.raises(ImagesAbsentError, match=f"1 are not here .{one}"):
        table.require_images("Looking", [one])
    (imported / f"{one}.jpg").write_bytes(b"x")
    read_imported(imported).require_images("Looking", [one])


def test_missing_files_stay_missing(ham10000_table, imported, tmp_path):
    digests = {i: d for i, d in file_digests(ham10000_table).items() if i != ham10000_table.frame["image_id"][3]}
    write_imported(tmp_path / "other", replace(ham10000_table, digests=digests), Terms())
    found = file_digests(read_imported(tmp_path / "other"))
    assert [i for i, digest in found.items() if digest == MISSING] == [ham10000_table.frame["image_id"][3]]


def test_tables_that_agree_are_joined(imported):
    table = read_imported(imported)
    ids = list(table.frame["image_id"])
    both = joined(table.subset(ids[10:40]), table.subset(ids[:30]))
    assert list(both.frame["image_id"]) == ids[:40]
    assert both.fingerprint == table.subset(ids[:40]).fingerprint


@pytest.mark.parametrize("what", ["label", "group", "digest", "classes"])
def test_tables_that_contradict_each_other_are_not_joined(imported, what):
    table = read_imported(imported)
    one = table.frame["image_id"][5]
    other = replace(table, frame=table.frame.copy(), digests=dict(table.digests))
    if what == "digest":
        other.digests[one] = "0" * 64
    elif what == "classes":
        other = replace(other, classes=other.classes[::-1])
    else:
        other.frame.loc[5, what] = "bcc" if table.frame["label"][5] != "bcc" else "nv"
    with pytest.raises(TableError, match="another workspace" if what == "classes" else one):
        joined(table, other)


def test_writing_what_is_there_already_touches_nothing(imported):
    before = {path: path.stat().st_mtime_ns for path in imported.iterdir()}
    write_imported(imported, read_imported(imported), read_terms(imported))
    assert {path: path.stat().st_mtime_ns for path in imported.iterdir()} == before


@pytest.mark.parametrize("content", ["", "[]", '{"name": 3, "classes": []}', '{"name": "x", "classes": [1]}'])
def test_a_damaged_description_is_an_error(imported, content):
    (imported / "imported.json").write_text(content)
    with pytest.raises(TableError, match="Import the features again"):
        read_imported(imported)


def test_a_table_without_digests_is_an_error(imported):
    rows = list(csv.reader((imported / "table.csv").open(newline="")))
    (imported / "table.csv").write_text("\n".join(",".join(row[:3]) for row in rows))
    with pytest.raises(TableError, match="sha256"):
        read_imported(imported)


def test_ham10000_is_known_by_its_ids(ham10000_table):
    assert not is_ham10000(ham10000_table)  # ids of the right form, outside its range
    ids = {i: f"ISIC_{24306 + n:07d}" for n, i in enumerate(ham10000_table.frame["image_id"])}
    frame = ham10000_table.frame.assign(image_id=ham10000_table.frame["image_id"].map(ids))
    assert is_ham10000(build_table("any", frame, ham10000_table.classes))


def test_the_real_ham10000_is_known(real_ham10000):
    assert is_ham10000(read_dataset(str(real_ham10000), workspace=Workspace(real_ham10000)))
