"""Charts: points stay where they belong, ticks lie on the axis, nothing of the data becomes markup."""

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hamcache.pipeline.show.report.charts import LEAST, UNIT, Chart, linear, logarithmic, path
from hamcache.pipeline.show.report.markup import p_value, percent, score, seconds, short_number, signed, tag
from hamcache.pipeline.show.report.render import blocks

numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3))


@given(st.lists(numbers, min_size=1, max_size=30))
def test_a_linear_axis_holds_its_values_and_its_ticks(values: list[float]) -> None:
    scale = linear(values)
    assert all(0 <= scale(value) <= 1 for value in values)
    assert scale.ticks and all(0 <= scale(tick) <= 1 for tick in scale.ticks)
    assert list(scale.ticks) == sorted(set(scale.ticks))


@given(st.lists(st.floats(1e-4, 1e6), min_size=1, max_size=30))
def test_a_logarithmic_axis_holds_its_values_and_has_few_ticks(values: list[float]) -> None:
    scale = logarithmic(values)
    assert all(0 <= scale(value) <= 1 for value in values)
    assert len(scale.ticks) <= 6 and all(-1e-9 <= scale(tick) <= 1 + 1e-9 for tick in scale.ticks)


def test_equal_factors_are_equal_lengths_on_a_logarithmic_axis() -> None:
    scale = logarithmic([1, 1000])
    assert np.allclose(np.diff([scale(v) for v in (1, 10, 100, 1000)]), scale(10) - scale(1))


def corners(d: str) -> list[tuple[int, int]]:
    """The points that a path goes through."""
    at, found = np.zeros(2, dtype=int), []
    for kind, rest in re.findall(r"([Mlhv])([^Mlhv]*)", d):
        numbers = list(map(int, re.findall(r"-?\d+", rest)))
        move = {"h": [numbers[0], 0], "v": [0, numbers[0]]}.get(kind, numbers)
        at = np.array(move) if kind == "M" else at + move
        found.append((int(at[0]), int(at[1])))
    return found


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=2, max_size=200))
def test_a_thinned_line_keeps_its_ends_and_leaves_no_visible_point_out(points: list[tuple[int, int]]) -> None:
    kept = corners(path(points))
    assert kept[0] == points[0] and kept[-1] == points[-1] and set(kept) <= set(points)
    for point in points:
        assert min(max(abs(point[0] - x), abs(point[1] - y)) for x, y in kept) <= LEAST


def test_steps_keep_their_height_until_the_next_point() -> None:
    expected = [(0, 900), (100, 900), (100, 500), (300, 500), (300, 100)]
    assert corners(path([(0, 900), (100, 500), (300, 100)], step=True)) == expected


def test_a_chart_places_its_marks_by_their_values() -> None:
    chart = Chart(linear([0, 10], margin=0), UNIT, "x", "y", "about")
    chart.dot((2.5, 0.75), "c0", "1", href="#run-1")
    assert 'style="left:25.00%;bottom:75.00%"' in chart.render()
    chart.marks([(5, 0.25)], "c1", name="some")
    assert "M500 750h0" in chart.render() and "some" in chart.render()


def test_text_in_a_chart_is_never_markup() -> None:
    chart = Chart(UNIT, UNIT, "<b>x", '"y', "a <script>")
    chart.line([(0, 0), (1, 1)], "c0", name="</script><img src=x>")
    chart.dot((0, 0), "c0", "<i>", data_tip='" onload="x')
    drawn = str(chart.render())
    assert "<script" not in drawn and "<img" not in drawn and "<b>x" not in drawn and "<i>" not in drawn
    assert 'onload="x' not in drawn and "&lt;script&gt;" in drawn


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
