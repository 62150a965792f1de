"""Numbers, names and elements of pages: as people read them, and never markup."""

import re

import pytest

from hamcache.pipeline.evaluate.intervals import Interval
from hamcache.pipeline.show.web.labels import blocks, label
from hamcache.pipeline.show.web.markup import bracket, p_value, percent, score, seconds, short_number, signed, tag
from hamcache.pipeline.show.web.run_view import data_uri
from hamcache.pipeline.show.web.skin import style


def test_numbers_as_people_read_them() -> None:
    assert (score(0.51549), score(-0.1), score(float("nan")), score(None)) == ("0.515", "−0.100", "–", "–")
    assert (signed(0.0123), signed(-0.0123)) == ("+0.012", "−0.012")
    assert [seconds(s) for s in (0.004, 0.42, 12.3, 200, 7500)] == [
        "0.004 s",
        "0.4 s",
        "12 s",
        "3 min 20 s",
        "2 h 5 min",
    ]
    assert [p_value(p) for p in (0.0001, 0.012, 0.5)] == ["p < 0.001", "p = 0.012", "p = 0.50"]
    assert [percent(p) for p in (0, 1.14, 66.9)] == ["0 %", "1.1 %", "67 %"]
    assert [short_number(n) for n in (0, 0.25, 20.0, 1e-5, -2)] == ["0", "0.25", "20", "1e−05", "−2"]


def test_features_are_named_once_with_the_views_that_they_share() -> None:
    def words(features: str) -> str:
        return re.sub(r"<[^>]*>", "", blocks(features)).replace("\xa0", " ")

    assert words("a:stages:flip x2+b:flip x2") == "a:stages+b flip x2"
    assert words("a:flip x2+b") == "a:flip x2+b" and words("a") == "a" and words("images:a") == "images:a"
    assert words("a+\n") == "a+\n" and words("") == ""
    assert "<img" not in blocks("<img src=x>:<img> x2")


def test_a_tag_escapes_what_is_not_markup() -> None:
    assert tag("p", "<", tag("b", "&")) == "<p>&lt;<b>&amp;</b></p>"
    assert tag("a", href=None, class_='"') == '<a class="&#34;"></a>'


def test_an_interval_stands_in_brackets_where_there_is_one() -> None:
    assert bracket(Interval(0.5, -0.25, 0.75, 10, 9)) == "[−0.250, 0.750]"
    assert bracket(None) == bracket(Interval(0.5, float("nan"), float("nan"), 10, 9)) == ""


@pytest.mark.parametrize("text", ['a "quoted" name', "it's <b>", "50 % & more #1", "{curly}"])
def test_an_address_holds_a_picture_and_cannot_leave_its_attribute(text: str) -> None:
    from urllib.parse import unquote
    from xml.etree import ElementTree

    svg = ElementTree.tostring(ElementTree.fromstring("<svg><text/></svg>"), encoding="unicode")
    root = ElementTree.fromstring(svg)
    root[0].text, root[0].attrib["x"] = text, text
    uri = data_uri(ElementTree.tostring(root, encoding="unicode"))
    assert '"' not in uri and "&" not in uri and "#" not in uri
    again = ElementTree.fromstring(unquote(uri.removeprefix("data:image/svg+xml,")))
    assert (again[0].text, again[0].attrib["x"]) == (text, text)


def test_metrics_have_one_name_everywhere() -> None:
    assert label("mcc") == "MCC" and label("mel_sensitivity_at_90") == "mel sensitivity at 90 %"


def test_the_style_of_all_pages_has_the_colours_of_the_pictures() -> None:
    assert style().startswith(":root { --c0: #0072B2; ") and style().count("{") == style().count("}")
