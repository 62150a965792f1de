"""The page in a real browser: it sorts, filters, opens and shows, on any screen, and asks nobody for anything."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hamcache.data.workspace import Workspace
from hamcache.pipeline.runs.records import read_run
from hamcache.pipeline.show.report.build import ReportSettings, build_report
from hamcache.pipeline.show.report.render import content_policy


@pytest.fixture
def report(page: Any, page_file: Path) -> Any:
    """The lab's report, opened from disk."""
    return opened(page, page_file)


def opened(page: Any, path: Path) -> Any:
    page.goto(path.as_uri())
    return page


def column(page: Any, name: str) -> list[str]:
    """The leaderboard's column with this heading, from top to bottom, without rows that are hidden."""
    heads = page.locator("#board thead th").all_inner_texts()
    (place,) = [n for n, text in enumerate(heads) if text.strip() == name]
    rows = "[...document.querySelectorAll('#board tbody tr:not([hidden])')]"
    return page.evaluate(f"n => {rows}.map(row => row.cells[n].innerText.trim())", place)


def test_a_click_on_a_heading_sorts_and_another_turns_the_order(report) -> None:
    heading = report.locator("#board thead th", has_text="accuracy").filter(has_not_text="balanced")
    assert heading.get_attribute("aria-sort") == "none"
    heading.locator("button").click()
    values = [float(text) for text in column(report, "accuracy")]
    assert values == sorted(values, reverse=True) and len(set(values)) > 2
    assert heading.get_attribute("aria-sort") == "descending"
    heading.locator("button").press("Enter")  # by keyboard as well
    assert [float(text) for text in column(report, "accuracy")] == sorted(values)
    assert heading.get_attribute("aria-sort") == "ascending"
    report.locator("#board thead th", has_text="head").locator("button").click()
    assert column(report, "head") == sorted(column(report, "head")) and heading.get_attribute("aria-sort") == "none"


def test_it_starts_with_the_best_by_the_metric(report, board) -> None:
    assert column(report, "MCC") == [f"{row.value:.3f}".replace("-", "−") for row in board.rows]


def test_a_long_leaderboard_begins_with_its_first_rows(page, lab, tmp_path: Path) -> None:
    """Forty runs: 25 are shown, the best by whatever they are sorted; the panel steps through all."""
    (tmp_path / "runs").mkdir()
    for number in range(40):
        (tmp_path / "runs" / f"run{number:02d}").symlink_to(lab.runs["a" if number % 2 else "knn"].folder)
    build_report((), Workspace(tmp_path), tmp_path / "page.html", ReportSettings(resamples=50, gallery=0))
    opened(page, tmp_path / "page.html")
    shown = page.locator("#board tbody tr:visible")
    assert shown.count() == 25 and page.locator("#f-count").inner_text() == "40 of 40 runs"
    page.locator("#board thead th", has_text="run").locator("button").click()
    page.locator("#board thead th", has_text="run").locator("button").click()
    assert shown.first.get_attribute("data-id") == "run39" and shown.count() == 25
    page.locator("#f-head").select_option("knn")
    assert shown.count() == 20 and not page.locator("#f-more").is_visible()
    page.locator("#f-head").select_option("")
    shown.nth(24).locator("td.main").click()
    page.locator("#panel").wait_for()
    page.locator("#panel").press("ArrowRight")
    assert "26 of 40" in page.locator("#panel .where").inner_text()
    page.keyboard.press("Escape")
    page.get_by_text("Show all 40 runs").click()
    assert shown.count() == 40


def test_filters_by_text_head_features_and_data_work_together(report, lab) -> None:
    count = report.locator("#f-count")
    assert count.inner_text() == "6 of 6 runs"
    report.locator("#f-head").select_option("logreg")
    assert set(column(report, "head")) == {"logreg"} and count.inner_text() == "4 of 6 runs"
    report.locator("#f-features").select_option("net_a")
    assert count.inner_text() == "2 of 6 runs"
    report.locator("#f-data").select_option("1")
    assert column(report, "seed") == ["1"]
    dimmed = report.locator("#cost .dot.dim")
    assert dimmed.count() == 5
    report.locator("#filters button[type=reset]").click()
    report.get_by_text("6 of 6 runs", exact=True).wait_for()
    report.locator("#f-text").fill("KNN net_a")
    assert column(report, "head") == ["knn"]
    report.locator("#f-text").fill("nothing is called so")
    assert report.locator("#f-none").is_visible() and column(report, "head") == []


def test_marked_rows_stand_out_and_give_the_command_that_compares_them(report, lab) -> None:
    boxes = report.locator("#board tbody input[type=checkbox]")
    boxes.nth(0).check()
    boxes.nth(2).check()
    assert report.locator("#board tr.picked").count() == 2 and report.locator("#cost .dot.picked").count() == 2
    command = report.locator("#picked code").inner_text()
    names = re.findall(r"'([^']+)'", command)
    assert command.startswith("hamcache compare ") and set(names) < {run.id for run in lab.runs.values()}
    report.locator("#f-picked").check()
    assert len(column(report, "head")) == 2


def test_a_row_opens_the_run_and_arrows_go_to_the_next(report, board) -> None:
    report.locator("#board tbody tr").nth(1).locator("td.main").click()
    panel = report.locator("#panel")
    panel.wait_for()
    assert board.rows[1].run.id in panel.inner_text()
    assert report.evaluate("location.hash") == f"#{board.rows[1].anchor}"
    for part in ("Scores", "Confusion", "ROC", "Precision and recall", "Reliability", "Each class", "Configuration"):
        assert part in panel.inner_text()
    panel.press("ArrowRight")
    assert board.rows[2].run.id in panel.inner_text()
    panel.locator("[data-step='-1']").click()
    assert board.rows[1].run.id in panel.inner_text()
    panel.get_by_text("Configuration", exact=True).click()
    assert "max_iter" in panel.inner_text() or "head:" in panel.inner_text()
    report.keyboard.press("Escape")
    panel.wait_for(state="hidden")
    report.wait_for_url(lambda url: "#" not in url)


def test_a_link_to_a_run_opens_it_at_once(page, page_file: Path, board) -> None:
    page.goto(f"{page_file.as_uri()}#{board.rows[3].anchor}")
    assert board.rows[3].run.id in page.locator("#panel").inner_text()


def test_the_gallery_filters_by_pair_of_classes_and_enlarges(report) -> None:
    cards = report.locator("#g-list .mistake")
    pairs = {(card.get_attribute("data-true"), card.get_attribute("data-given")) for card in cards.all()}
    assert len(pairs) > 1
    true, given = sorted(pairs)[0]
    choose(report, "#g-true", true)
    assert {card.get_attribute("data-true") for card in cards.all()} == {true}
    choose(report, "#g-given", given)
    assert {card.get_attribute("data-given") for card in cards.all()} == {given}
    report.locator("#g-all").click()
    report.get_by_text("Pick a pair from the matrix").click()
    report.locator(f"#g-matrix button[aria-label$='{true} given {given}']").click()
    assert {(c.get_attribute("data-true"), c.get_attribute("data-given")) for c in cards.all()} == {(true, given)}
    number = report.locator(f"#g-matrix button[aria-label$='{true} given {given}']").inner_text()
    assert f"of {number} such mistakes" in report.locator("#g-count").inner_text()
    first = cards.first
    assert first.locator(".near img").count() == 5
    assert first.locator("img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    first.locator("button.picture").click()
    report.locator("#large").wait_for()
    assert report.locator("#large img").count() == 6
    report.keyboard.press("Escape")
    report.locator("#large").wait_for(state="hidden")


def choose(page: Any, select: str, label: str) -> None:
    """The option whose text begins with a class; behind it stands the number of mistakes."""
    options = page.locator(f"{select} option")
    (value,) = [o.get_attribute("value") for o in options.all() if o.text_content().rpartition(" (")[0] == label]
    page.locator(select).select_option(value)


def test_the_gallery_shows_other_runs(report, board) -> None:
    before = report.locator("#g-count").inner_text()
    report.locator("#g-run").select_option("3")  # the other cohort's
    assert report.locator("#g-count").inner_text() != before
    assert report.locator("#g-run option").count() == 4


def test_trials_sort_and_failed_ones_show_their_error(report) -> None:
    table = report.locator("#sweeps table")
    assert "ValueError: expected a rate above 0" in table.locator("tr.failed").inner_text()
    table.locator("th", has_text="MCC").locator("button").click()
    scores = [row.locator("td").nth(2).inner_text() for row in table.locator("tbody tr").all()]
    assert scores == ["0.600", "0.400", "0.100", "–"]  # what has no number comes last, in either order
    table.locator("th", has_text="MCC").locator("button").click()
    assert table.locator("tbody tr").last.locator("td").nth(2).inner_text() == "–"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_no_screen_scrolls_sideways(browser, page_file: Path, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = opened(context.new_page(), page_file)
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    page.locator("#board tbody tr a").first.click()
    page.locator("#panel").wait_for()
    assert 0 < page.evaluate("document.getElementById('panel').scrollWidth") <= width
    light = (
        sum(map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[:3])) > 380
    )
    assert light == (scheme == "light")
    context.close()


def test_the_page_asks_nobody_for_anything(browser, page_file: Path) -> None:
    context = browser.new_context(offline=True)
    page, asked, said = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    opened(page, page_file)
    page.locator("#g-list .picture").first.click()
    page.wait_for_load_state("networkidle")
    assert {url for url in asked if not url.startswith("data:")} == {page_file.as_uri()} and said == []
    context.close()


def test_without_scripts_the_runs_can_still_be_read(browser, page_file: Path, board) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = opened(context.new_page(), page_file)
    assert page.locator("article.run").first.is_visible() and page.locator("article.run").count() == 6
    assert not page.locator("#filters").is_visible()
    context.close()


def test_the_page_may_run_its_own_scripts_only(report, page_file: Path) -> None:
    said: list[str] = []
    report.on("console", lambda message: said.append(message.text))
    report.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.injected = true";
            document.body.append(script);
            const image = document.createElement("img");
            image.setAttribute("onerror", "window.injected = true");
            image.src = "data:image/png;base64,xx";
            document.body.append(image);
        }"""
    )
    report.locator("img[onerror]").evaluate("image => image.decode().catch(() => null)")  # it has tried and failed
    assert report.evaluate("window.injected") is None
    assert any("Content Security Policy" in text for text in said)
    policy = content_policy(["1"])
    assert policy.startswith("default-src 'none'") and "sha256-" in policy and "http" not in policy


HOSTILE = "</script><script>window.bad = 1</script>\"'<img src=x onerror=bad()>"


def test_names_from_data_are_text_wherever_they_stand(page, own_lab, tmp_path: Path) -> None:
    """Class names, lesions, image ids, run folders, readable names, errors and titles that try to be markup."""
    label, image = HOSTILE, HOSTILE.replace("/", "")
    for name, run in list(own_lab.runs.items()):
        folder = run.folder.rename(run.folder.with_name(f"{name}-{image}"))
        predictions = pd.read_csv(folder / "predictions.csv", dtype="str")
        predictions = predictions.rename(columns={"p_mel": f"p_{label}"}).replace({"label": {"mel": label}})
        predictions["image_id"] = image + predictions["image_id"]
        predictions["group"] = HOSTILE + predictions["group"]
        predictions.to_csv(folder / "predictions.csv", index=False)
        entries = json.loads((folder / "classes.json").read_text())
        entries[1] |= {"class": label, "name": f"long {HOSTILE}"}
        (folder / "classes.json").write_text(json.dumps(entries))
        provenance = json.loads((folder / "provenance.json").read_text())
        provenance["summary"] |= {"head": HOSTILE, "dataset": HOSTILE, "features": f"net_a+{HOSTILE}"}
        provenance["versions"] = {HOSTILE: HOSTILE}
        (folder / "provenance.json").write_text(json.dumps(provenance))
        assert read_run(folder).classes[1] == label
    (sweep,) = (own_lab.workspace / "sweeps").glob("*/trials.csv")
    quoted = '"' + HOSTILE.replace('"', '""') + '"'
    sweep.write_text(sweep.read_text().replace("ValueError: expected a rate above 0", quoted))
    sweep.parent.rename(sweep.parent.with_name(f"mlp-{image}"))
    out = tmp_path / "report.html"
    text = own_lab.report(out, title=HOSTILE)
    assert "<script>window.bad" not in text and "<img src=x" not in text
    opened(page, out)
    assert page.evaluate("window.bad") is None
    assert page.locator("img[src=x]").count() == 0 and page.locator("script").count() == 7
    assert page.title() == HOSTILE and page.locator("h1").inner_text() == HOSTILE
    page.locator("#board tbody tr a").first.click()
    panel = page.locator("#panel")
    panel.wait_for()
    assert HOSTILE in panel.locator("h3").inner_text() and f"long {HOSTILE}" in panel.inner_text()
    page.keyboard.press("Escape")
    card = page.locator("#g-list .mistake", has_text=HOSTILE).first
    assert card.is_visible() and image in card.inner_text()
    assert HOSTILE in page.locator("#sweeps tr.failed").inner_text()
    page.locator("#cost .dot").first.hover()
    page.locator("#tip").wait_for()
    assert HOSTILE in page.locator("#tip").inner_text()


def test_without_a_gallery_the_page_holds_no_images(lab, tmp_path: Path) -> None:
    text = lab.report(tmp_path / "small.html", gallery=0)
    assert "data:image/webp" not in text and 'id="gallery"' not in text
    assert len(text) < 700_000
