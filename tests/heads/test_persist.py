import json
from collections import Counter

import pytest
import skops.io

from hamcache.heads.errors import HeadFileError
from hamcache.heads.persist import load_head, save_head
from hamcache.heads.zoo import build_head

CLASSES = ("akiec", "bcc", "bkl", "df")


@pytest.fixture
def head(blocks, features):
    return build_head("logreg", {}, blocks=blocks, classes=CLASSES).fit(*features())


def test_a_saved_head_says_in_words_what_it_is(head, tmp_path):
    save_head(head, tmp_path / "run")
    described = json.loads((tmp_path / "run" / "head.json").read_text())
    assert described["classes"] == list(CLASSES)
    assert described["features"] == 32
    assert load_head(tmp_path / "run").classes == CLASSES


def test_types_that_are_not_ours_are_refused(head, tmp_path):
    head.classifier_.smuggled = Counter  # stands for any type that nobody allowed
    save_head(head, tmp_path)
    with pytest.raises(HeadFileError, match="Counter"):
        load_head(tmp_path)


def test_missing_and_damaged_files_are_clear_errors(head, tmp_path):
    with pytest.raises(HeadFileError, match="got none"):
        load_head(tmp_path)
    save_head(head, tmp_path)
    (tmp_path / "head.skops").write_bytes((tmp_path / "head.skops").read_bytes()[:500])
    with pytest.raises(HeadFileError, match="cannot be read"):
        load_head(tmp_path)


def test_something_else_in_the_file_is_refused(tmp_path):
    skops.io.dump({"not": "a head"}, tmp_path / "head.skops")
    with pytest.raises(HeadFileError, match="got a dict"):
        load_head(tmp_path)
