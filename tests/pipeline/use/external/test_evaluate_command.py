"""`hamcache evaluate` through the real entry point, and the section of the report."""

import json

import pytest

from hamcache.pipeline.show.report.build import ReportSettings, build_report
from tests.pipeline.cli.test_app import hamcache


@pytest.fixture(scope="module")
def line(photographs, clinic) -> str:
    return f"evaluate {photographs.run().id} --dataset '{clinic.csv}' --map mel=melanoma --device cpu"


def test_scores_stand_beside_the_own_ones_and_a_second_run_does_nothing(photographs, line) -> None:
    done = hamcache(line, photographs.workspace)
    assert "clinic: 18 images of 9 lesions" in done.ok() and "own validation" in done.out
    assert "class unknown to the run 6" in done.err and "evaluation.png" in done.out
    again = hamcache(f"{line} --json", photographs.workspace)
    record = json.loads(again.ok())
    assert record["images"] == 18 and record["scores"]["mcc"]["low"] <= record["scores"]["mcc"]["high"]
    assert "found finished" in hamcache(line, photographs.workspace).ok()
    listed = hamcache("evaluations", photographs.workspace).ok()
    assert "clinic" in listed and photographs.run().id in listed
    assert "nothing wrong" in hamcache("evaluations verify", photographs.workspace).ok()


def test_the_report_has_a_section_on_other_data(photographs, line, tmp_path) -> None:
    hamcache(line, photographs.workspace).ok()
    out = tmp_path / "report.html"
    build_report([photographs.run().id], photographs.workspace, out, ReportSettings(gallery=0, resamples=50))
    page = out.read_text()
    assert 'id="evaluations"' in page and "class unknown to the run 6" in page and "own validation" in page


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("--corruptions fog", "expected blur, noise, jpeg, brightness or all, got 'fog'"),
        ("--map melanoma", "expected NAME=VALUE"),
        ("--images 0", "--images"),
    ],
)
def test_wrong_usage_is_told(photographs, line, more, words) -> None:
    done = hamcache(f"{line} {more}", photographs.workspace)
    assert done.code == 2 and words in done.err


def test_a_class_that_is_not_there_is_one_message(photographs, line) -> None:
    assert "did you mean 'melanoma'" in hamcache(f"{line} --map nv=melanom", photographs.workspace).failed()
