"""The trials of `make stress` are whole: each kind can be run, every damage damages, the table adds up."""

import importlib
import json
from pathlib import Path
from random import Random

import pytest

from tests.stress.__main__ import KINDS as TRIALS
from tests.stress.damages import KINDS, Patient
from tests.stress.tally import LOST, WRONG, Tally, markdown, recorded, write_tallies


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    """A folder with files of every kind, beside a sound one."""
    folders = [tmp_path / name for name in ("patient", "other")]
    for number, folder in enumerate(folders):
        (folder / "c" / "0").mkdir(parents=True)
        (folder / "c" / "1").mkdir()
        (folder / "a.json").write_text(json.dumps({"a": [1.5, {"b": number}]}))
        (folder / "b.json").write_text("[3]\n")
        (folder / "a.csv").write_text(f"x,y\n1,{number}\n2,3\n4,5\n")
        for place in ("0", "1"):
            (folder / "c" / place / "0").write_bytes(bytes([number, int(place), 7, 9] * 20))
    return Patient(folders[0], folders[1:])


@pytest.mark.parametrize("name", TRIALS)
def test_every_kind_of_trial_is_a_function(name: str) -> None:
    module, function, title, seconds = TRIALS[name]
    assert callable(getattr(importlib.import_module(module), function)) and title and seconds > 0


@pytest.mark.parametrize("name", KINDS)
def test_every_damage_fits_some_file(patient: Patient, name: str) -> None:
    random = Random(0)
    assert any(KINDS[name](patient, file, random) is not None for file in patient.files())


def test_a_damage_changes_one_thing_and_says_so(patient: Patient) -> None:
    before = {path: path.read_bytes() for path in patient.folder.rglob("*") if path.is_file()}
    words = patient.damage(Random(3))
    after = {path: path.read_bytes() for path in patient.folder.rglob("*") if path.is_file()}
    assert after != before and words.split(":")[0] in KINDS


def test_the_table_adds_up(tmp_path: Path) -> None:
    first, second = Tally("kills"), Tally("damages")
    for outcome in ("right", "mended", "refused", LOST):
        first.count(outcome, "a trial", "why")
    second.count(WRONG, "another")
    second.note("on S3", 3)
    table = markdown([first, second])
    assert "| kills | 4 | 3 | 1 | 0 | 1 right; 1 mended; 1 refused |" in table
    assert "| damages | 1 | 0 | 0 | 1 | 3 on S3 |" in table and "| **all** | 5 | 3 | 1 | 1 |  |" in table
    write_tallies([first, second], tmp_path / "stress", {"seed": 0})
    kinds = json.loads((tmp_path / "stress.json").read_text())["kinds"]
    assert kinds[0]["failures"] == [{"outcome": LOST, "trial": "a trial", "detail": "why"}]
    assert (tmp_path / "stress.md").read_text() == table


def test_kinds_that_are_tried_again_replace_their_rows_and_no_others() -> None:
    first, second = Tally("kills"), Tally("disks, full")
    for outcome in ("right", "right", "mended"):
        first.count(outcome, "trial")
    second.count("refused", "trial")
    order = [second.kind, first.kind]
    text = recorded("before\n<!-- table -->\n<!-- end -->\nafter\n", [first, second], order)
    assert text.startswith("before\n<!-- table -->\n| trials |") and text.endswith("<!-- end -->\nafter\n")
    assert "| kills | 3 | 3 | 0 | 0 | 2 right; 1 mended |" in text and "| **all** | 4 | 4 | 0 | 0 |  |" in text
    again = Tally("kills")
    again.count("wrong", "trial", "why")
    text = recorded(text, [again], order)
    assert "| kills | 1 | 0 | 0 | 1 |  |" in text and "| disks, full | 1 | 1 | 0 | 0 | 1 refused |" in text
    assert text.index("disks") < text.index("kills") and "| **all** | 2 | 1 | 0 | 1 |  |" in text
