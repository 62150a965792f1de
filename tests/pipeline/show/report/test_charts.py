"""Charts: points stay where they belong, ticks lie on the axis, nothing of the data becomes markup."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from hamcache.pipeline.show.report.charts import Chart, linear, logarithmic

numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3))


@given(st.lists(numbers, min_size=1, max_size=30))
@example([0.02])
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


def test_steps_keep_their_height_until_the_next_point() -> None:
    chart = Chart(linear([0, 1000], margin=0), linear([0, 1000], margin=0), "x", "y", "about")
    chart.steps([(0, 100), (100, 500), (300, 900)], "front", "the best")
    assert 'd="M0 900H100V500H300V100" class="front"' in chart.render() and "the best" in chart.render()


def test_a_chart_places_its_marks_by_their_values() -> None:
    chart = Chart(linear([0, 10], margin=0), linear([0, 1], margin=0), "x", "y", "about")
    chart.dot((2.5, 0.75), "c0", "1", href="#run-1")
    chart.segment((5, 0.25), (5, 0.5), "whisker", data_run="run-1")
    assert 'style="left:25.00%;bottom:75.00%"' in chart.render()
    assert 'd="M500 750L500 500" class="whisker" data-run="run-1"' in chart.render()


def test_text_in_a_chart_is_never_markup() -> None:
    chart = Chart(linear([0, 1]), linear([0, 1]), "<b>x", '"y', "a <script>")
    chart.steps([(0, 0), (1, 1)], "c0", "</script><img src=x>")
    chart.dot((0, 0), "c0", "<i>", data_tip='" onload="x')
    drawn = str(chart.render())
    assert "<script" not in drawn and "<img" not in drawn and "<b>x" not in drawn and "<i>" not in drawn
    assert 'onload="x' not in drawn and "&lt;script&gt;" in drawn
