import numpy as np
import pytest

from hamcache.pipeline.errors import EvaluationError
from hamcache.pipeline.evaluate.class_map import map_classes

OURS = ("bcc", "mel", "nv")


def test_names_that_differ_in_case_alone_map_by_themselves() -> None:
    found = map_classes(OURS, ["MEL", "nv", "BCC"])
    assert found.classes == OURS and found.codes == {"MEL": 1, "nv": 2, "BCC": 0} and found.absent == []


def test_an_ambiguous_case_is_left_to_the_user() -> None:
    assert map_classes(("a", "nv", "NV"), ["Nv", "a"]).codes == {"a": 0}
    assert map_classes(OURS, ["BCC", "Bcc", "mel"]).codes == {"mel": 1}


def test_labels_that_no_class_stands_for_and_classes_without_a_label_are_told() -> None:
    found = map_classes(OURS, ["mel", "scar"])
    assert found.codes == {"mel": 1} and [found.classes[code] for code in found.absent] == ["bcc", "nv"]


def test_one_class_may_have_several_labels() -> None:
    found = map_classes(OURS, ["melanoma", "lentigo", "nv"], [("mel", "melanoma"), ("mel", "lentigo")])
    assert found.codes == {"melanoma": 1, "lentigo": 1, "nv": 2}


def test_probabilities_and_sets_of_classes_that_one_label_stands_for_are_joined() -> None:
    found = map_classes(OURS, ["malignant", "nv"], [("bcc", "malignant"), ("mel", "malignant")])
    assert found.classes == ("bcc+mel", "nv") and found.columns.tolist() == [0, 0, 1]
    np.testing.assert_allclose(found.merged(np.array([[0.2, 0.3, 0.5]])), [[0.5, 0.5]])
    assert found.merged(np.array([[False, True, False]])).tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("theirs", "pairs", "words"),
    [
        (["x"], [], "share, got none.*--map bcc=x"),
        (["mel"], [("mell", "mel")], "unknown class of the run 'mell'; did you mean 'mel'"),
        (["mel"], [("mel", "Mel")], "unknown label of the data set 'Mel'"),
        (["x", "mel"], [("mel", "x"), ("bcc", "x")], r"share mel: bcc\+mel and mel"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(theirs, pairs, words) -> None:
    with pytest.raises(EvaluationError, match=words):
        map_classes(OURS, theirs, pairs)
