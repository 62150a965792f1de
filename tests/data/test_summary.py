import json
from pathlib import Path

import pytest

from hamcache.data.digests import file_digests
from hamcache.data.ham10000 import read_table
from hamcache.data.summary import summarise
from hamcache.data.table import ImageTable


def test_counts_of_images_groups_and_classes(ham10000_table: ImageTable) -> None:
    summary = summarise(ham10000_table)
    assert (summary.images, summary.groups) == (len(ham10000_table), 51)
    assert {share.label: share.groups for share in summary.classes} == {
        "akiec": 6, "bcc": 6, "bkl": 7, "df": 5, "mel": 7, "nv": 15, "vasc": 5
    }  # fmt: skip
    assert sum(share.images for share in summary.classes) == len(ham10000_table)
    assert sum(share.images_percent for share in summary.classes) == pytest.approx(100)
    assert sum(share.groups_percent for share in summary.classes) == pytest.approx(100)
    assert sum(size * count for size, count in summary.images_per_group.items()) == len(ham10000_table)


def test_a_class_without_images_is_listed_with_zero(ham10000_table: ImageTable) -> None:
    frame = ham10000_table.frame
    part = ham10000_table.subset(list(frame["image_id"][frame["label"] != "df"]))
    assert [(share.images, share.groups) for share in summarise(part).classes if share.label == "df"] == [(0, 0)]


def test_missing_files_are_listed(ham10000_table: ImageTable) -> None:
    Path(ham10000_table.frame["path"][0]).unlink()
    assert summarise(ham10000_table).missing_files == (ham10000_table.frame["image_id"][0],)


def test_the_same_bytes_in_two_groups_are_found_and_within_a_group_are_not(ham10000_table: ImageTable) -> None:
    frame = ham10000_table.frame.set_index("image_id")
    sizes = frame.groupby("group").size()
    inside = list(frame.index[frame["group"] == sizes.index[sizes > 1][0]])[:2]
    across = [frame.index[frame["group"] == group][0] for group in sizes.index[sizes == 1][:2]]
    for first, second in (inside, across):
        Path(frame["path"][second]).write_bytes(Path(frame["path"][first]).read_bytes())
    assert summarise(ham10000_table).twins is None
    assert summarise(ham10000_table, file_digests(ham10000_table)).twins == (tuple(sorted(across)),)


def test_a_summary_can_be_written_as_json(ham10000_table: ImageTable) -> None:
    assert json.loads(json.dumps(summarise(ham10000_table).to_dict()))["groups"] == 51


def test_real_ham10000_has_its_known_numbers(real_ham10000: Path) -> None:
    table = read_table(real_ham10000)
    summary = summarise(table)
    assert (summary.images, summary.groups) == (10015, 7470)
    assert summary.images_per_group == {1: 5514, 2: 1423, 3: 490, 4: 34, 5: 5, 6: 4}
    assert {share.label: (share.images, share.groups) for share in summary.classes} == {
        "akiec": (327, 228),
        "bcc": (514, 327),
        "bkl": (1099, 727),
        "df": (115, 73),
        "mel": (1113, 614),
        "nv": (6705, 5403),
        "vasc": (142, 98),
    }
    percents = ((share.label, share.images_percent, share.groups_percent) for share in summary.classes)
    assert {label: (round(images, 1), round(groups, 1)) for label, images, groups in percents} == {
        "akiec": (3.3, 3.1),
        "bcc": (5.1, 4.4),
        "bkl": (11.0, 9.7),
        "df": (1.1, 1.0),
        "mel": (11.1, 8.2),
        "nv": (66.9, 72.3),
        "vasc": (1.4, 1.3),
    }
    assert summary.mixed_groups == ()
    assert summary.missing_files == ()
    assert int(table.frame["age"].isna().sum()) == 57
