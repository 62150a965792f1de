"""The pages in a real browser, against a real server."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pytest
from playwright.sync_api import expect

from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.use.predict.predictor import Question, load_predictor
from tests.pipeline.use.serve.conftest import HACK, HOSTILE_RUN, Served, knowing, png, serving

expect.set_options(timeout=60_000)  # the machine may be busy
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def tab(page: Any, address: str) -> Iterator[Any]:
    """A page that asks nobody but the server, and whose console stays empty."""
    requests: list[str] = []
    complaints: list[str] = []
    page.set_default_timeout(60_000)
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    yield page
    assert [url for url in requests if not url.startswith((address, "blob:" + address))] == []
    assert complaints == []


def predict_page(tab: Any, address: str, run: str = "") -> None:
    """Open the page of predictions and wait until its run is loaded."""
    tab.goto(f"{address}/?run={quote(run)}" if run else address)
    expect(tab.locator("#state")).to_have_class("state ready")


def shown(tab: Any) -> dict[str, float]:
    """The probabilities of the first card, by class."""
    bars = tab.locator("#cards .card").first.locator(".bar")
    return dict(bars.evaluate_all("bars => bars.map(bar => [bar.dataset.label, Number(bar.dataset.p)])"))


def in_set(tab: Any) -> tuple[str, ...]:
    """The classes of the first card that are marked as in the set."""
    bars = tab.locator("#cards .card").first.locator(".bar.in")
    return tuple(bars.evaluate_all("bars => bars.map(bar => bar.dataset.label)"))


def answered(tab: Any, cards: int = 1) -> None:
    expect(tab.locator("#cards .card .set b")).to_have_count(cards)


def widths(tab: Any) -> tuple[int, int]:
    return tuple(tab.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]"))


def transfer(tab: Any, *files: tuple[str, bytes]) -> Any:
    """Files as a browser hands them over in a drop or a paste."""
    code = """files => {
        const made = new DataTransfer();
        for (const [name, data] of files) {
            const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
            made.items.add(new File([bytes], name, {type: "image/png"}));
        }
        return made;
    }"""
    return tab.evaluate_handle(code, [[name, base64.b64encode(data).decode()] for name, data in files])


# -- predictions


def test_a_picked_image_shows_what_the_predictor_says(tab: Any, address: str, served: Served) -> None:
    (photo,) = served.photos(1)
    (expected,) = served.predictor.predict([photo])
    predict_page(tab, address)
    assert tab.locator("#run").input_value() == served.runs["first"]
    tab.set_input_files("#file", photo)
    answered(tab)
    assert shown(tab) == expected.probabilities
    assert in_set(tab) == expected.prediction_set
    best = max(expected.probabilities.values())
    expect(tab.locator(".answer-p")).to_have_text(f"{100 * best:.1f}\u00a0%")
    near = tab.locator(".near small").all_text_contents()
    assert near == [neighbour.image_id for neighbour in expected.neighbours]
    expect(tab.locator(".near img")).to_have_count(5)
    tab.locator(".near").last.scroll_into_view_if_needed()
    for image in tab.locator(".near img, .picture img").all():
        expect(image).not_to_have_js_property("naturalWidth", 0)
    assert expected.label in tab.locator(".bar").first.inner_text()
    assert "%" in tab.locator("#live").text_content()


@pytest.mark.parametrize(
    ("presses", "conditional", "coverage"), [("ArrowLeft", False, 0.8), ("End", False, 0.95), ("Home", True, 0.8)]
)
def test_sets_switch_without_asking_again(
    tab: Any, address: str, served: Served, presses: str, conditional: bool, coverage: float
) -> None:
    photos = served.photos(4)
    predict_page(tab, address)
    tab.set_input_files("#file", photos)
    answered(tab, 4)
    tab.route("**/api/**", lambda route: route.abort())
    tab.locator("#coverage").focus()
    tab.keyboard.press(presses)
    if conditional:
        tab.locator("#conditional").press("Space")
    expected = served.predictor.predict(photos, Question(coverage=coverage, class_conditional=conditional))
    cards = tab.locator("#cards .card")
    for number, one in enumerate(expected):
        marked = cards.nth(number).locator(".bar.in").evaluate_all("bars => bars.map(bar => bar.dataset.label)")
        assert tuple(marked) == one.prediction_set
        expect(cards.nth(number).locator(".set")).to_contain_text(f"{round(100 * coverage)}\u00a0% coverage")
    assert tab.locator("#coverage").get_attribute("aria-valuetext") == f"{round(100 * coverage)}\u00a0%"
    notes = served.predictor.notes(served.predictor.sets(coverage, class_conditional=conditional))
    assert tab.locator("#notes li").all_text_contents() == notes


def test_dropped_and_pasted_images_are_taken(tab: Any, address: str, served: Served, tmp_path: Path) -> None:
    predict_page(tab, address)
    (tmp_path / "noise.png").write_bytes(png(seed=3))
    (expected,) = served.predictor.predict([tmp_path / "noise.png"])
    tab.dispatch_event("#drop", "drop", {"dataTransfer": transfer(tab, ("noise.png", png(seed=3)))})
    answered(tab)
    assert shown(tab) == expected.probabilities
    paste = "data => document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data}))"
    tab.evaluate(paste, transfer(tab, ("pasted.png", png(seed=4))))
    answered(tab, 2)
    expect(tab.locator("#cards .card h3").first).to_have_text("pasted.png")
    assert tab.url.startswith(address)


def test_an_image_unlike_all_others_is_said_to_be_so(tab: Any, address: str, served: Served, tmp_path: Path) -> None:
    (tmp_path / "noise.png").write_bytes(png(300, 200))
    predict_page(tab, address)
    tab.set_input_files("#file", tmp_path / "noise.png")
    answered(tab)
    (expected,) = served.predictor.predict([tmp_path / "noise.png"])
    assert expected.unlike
    expect(tab.locator(".unlike")).to_contain_text("Unlike anything seen in training")
    tab.set_input_files("#file", served.photos(1, "train")[0])
    answered(tab, 2)
    expect(tab.locator(".unlike")).to_have_count(1)


def test_what_cannot_be_used_is_said_in_words_and_costs_nothing_else(
    tab: Any, address: str, served: Served, tmp_path: Path
) -> None:
    (tmp_path / "letter.jpg").write_text("no image")
    (tmp_path / "large.jpg").write_bytes(bytes(21_000_000))
    predict_page(tab, address)
    tab.set_input_files("#file", [tmp_path / "letter.jpg", tmp_path / "large.jpg", *served.photos(1)])
    answered(tab)
    failures = tab.locator(".failed .message")
    expect(failures).to_have_count(2)
    expect(failures.nth(0)).to_contain_text("not an image of a kind that is read here")
    expect(failures.nth(1)).to_contain_text("21.0 MB, and 20 MB is the most")


def test_more_images_than_are_taken_at_a_time_are_told(tab: Any, address: str, served: Served) -> None:
    predict_page(tab, address)
    tab.set_input_files("#file", [served.photos(1)[0]] * 11)
    expect(tab.locator("#message")).to_contain_text("the other 3 were left out")
    answered(tab, 8)
    tab.locator("#clear").click()
    expect(tab.locator("#cards .card")).to_have_count(0)
    expect(tab.locator("#empty")).to_be_visible()


def test_a_validation_image_can_be_tried_by_keyboard_alone(tab: Any, address: str, served: Served) -> None:
    predict_page(tab, address)
    reached = [""]
    while reached[-1] != "conditional" and len(reached) < 30:
        tab.keyboard.press("Tab")
        reached.append(tab.evaluate("document.activeElement.id || document.activeElement.className"))
    wanted = ["skip", "run", "run-link", "file", "sample", "coverage", "conditional"]
    assert [name for name in reached if name in wanted] == wanted
    tab.locator("#sample").focus()
    tab.keyboard.press("Enter")
    answered(tab)
    image_id = tab.locator("#cards .card h3").text_content()
    row = served.run().part("validation").set_index("image_id").loc[image_id]
    (expected,) = served.predictor.predict([served.photo(image_id)])
    assert shown(tab) == expected.probabilities
    right = "the same" if expected.label == row["label"] else "another one"
    expect(tab.locator(".truth")).to_contain_text(right)
    inside = "It is in the set." if row["label"] in expected.prediction_set else "It is not in the set."
    expect(tab.locator(".truth-set")).to_have_text(inside)
    tab.locator(".remove").focus()
    tab.keyboard.press("Enter")
    expect(tab.locator("#cards .card")).to_have_count(0)


def test_another_run_answers_for_itself(tab: Any, address: str, served: Served) -> None:
    predict_page(tab, address)
    tab.locator("#run").select_option(served.runs["second"])
    expect(tab.locator("#fact-head")).to_have_text(served.run("second").config.model_name)
    tab.set_input_files("#file", served.photos(1))
    answered(tab)
    expect(tab.locator("#state")).to_have_class("state ready")
    expect(tab.locator("#fact-mcc")).to_contain_text("[")
    (expected,) = load_predictor(served.runs["second"], served.workspace).predict(served.photos(1))
    assert shown(tab) == expected.probabilities
    assert served.runs["second"] in tab.url


# -- runs


def test_a_run_on_metadata_asks_for_what_is_known(page: Any, own: Served) -> None:
    run, (photo,) = knowing(own), own.photos(1)
    with serving(own) as address:
        predict_page(page, address)
        expect(page.locator("#known")).to_be_hidden()
        page.goto(f"{address}/?run={run}")
        page.get_by_label("age", exact=True).fill("45")
        page.get_by_label("sex", exact=True).select_option("male")
        page.set_input_files("#file", photo)
        answered(page)
        rows = pd.DataFrame([{"age": 45, "sex": "male"}], index=[photo.stem])
        (expected,) = load_predictor(run, own.workspace).predict([photo], metadata=rows)
        assert shown(page) == expected.probabilities


def test_runs_sort_and_filter(tab: Any, address: str, served: Served) -> None:
    tab.goto(f"{address}/runs")
    expect(tab.locator(".score[data-metric=mcc] small", has_text="[")).to_have_count(3)
    rows = tab.locator("#runs tbody tr")

    names = {run: name for name, run in served.runs.items()}

    def runs() -> list[Run]:
        """In the order of the table."""
        return [served.run(names[one]) for one in rows.evaluate_all("rows => rows.map(row => row.dataset.id)")]

    def heading(name: str) -> Any:
        return tab.locator("#runs thead th", has_text=name)

    def scores(part: str) -> list[float]:
        return [run.metrics[part]["mcc"] for run in runs() if part in run.metrics]

    assert len(scores("validation")) == 3
    assert scores("validation") == sorted(scores("validation"), reverse=True)
    heading("MCC").locator("button").click()
    expect(heading("MCC")).to_have_attribute("aria-sort", "ascending")
    assert scores("validation") == sorted(scores("validation"))
    heading("head").locator("button").click()
    assert [run.config.model_name for run in runs()] == ["knn", "logreg", "ridge"]
    tab.locator("#part").select_option("test")
    heading("MCC").locator("button").click()
    assert scores("test") == sorted(scores("test"), reverse=True)
    assert runs()[-1].id == HOSTILE_RUN  # whose test set was not opened
    test = served.run().metrics["test"]["mcc"]
    expect(tab.locator(f"tr[data-id='{served.runs['first']}'] [data-metric=mcc] b")).to_have_text(f"{test:.3f}")
    tab.locator("#filter").fill("knn")
    expect(rows.locator("visible=true")).to_have_count(1)
    expect(tab.locator("#count")).to_have_text("1 of 3 runs")
    tab.locator("#filter").fill("nothing")
    expect(tab.locator("#none")).to_be_visible()


def test_from_the_table_to_a_run_to_its_predictions(tab: Any, address: str, served: Served) -> None:
    run = served.run()
    tab.goto(f"{address}/runs")
    tab.locator(f"tr[data-id='{run.id}'] th a").click()
    expect(tab.locator("code").first).to_have_text(run.id)
    tile = tab.locator(".tile").first
    expect(tile).to_contain_text(f"{run.metrics['test']['mcc']:.3f}")
    expect(tile.locator(".tile-interval")).to_contain_text("[")
    assert [name.strip() for name in tab.locator(".scores thead").first.inner_text().split("\t")] == [
        "score",
        "test",
        "validation",
        "train",
        "majority class",
    ]
    expect(tab.locator(".pictures img")).to_have_count(1)
    tab.get_by_text("Configuration", exact=True).click()
    tab.get_by_text("Provenance", exact=True).click()
    expect(tab.locator("pre.code")).to_contain_text("name: ")
    expect(tab.locator(".provenance")).to_contain_text(run.provenance["fingerprint"])
    tab.locator("text=Predict with this run").click()
    expect(tab.locator("#run")).to_have_value(run.id)


def test_hostile_names_are_text(tab: Any, address: str, served: Served) -> None:
    tab.goto(f"{address}/runs")
    expect(tab.locator(".score[data-metric=mcc] small", has_text="[")).to_have_count(3)
    tab.goto(f"{address}/runs/{quote(HOSTILE_RUN)}")
    expect(tab.locator("code").first).to_have_text(HOSTILE_RUN)
    predict_page(tab, address, HOSTILE_RUN)
    expect(tab.locator("#run")).to_have_value(HOSTILE_RUN)
    tab.locator("#sample").click()
    answered(tab)
    data = transfer(tab, (f"{HACK}.png", png()))
    tab.dispatch_event("#drop", "drop", {"dataTransfer": data})
    answered(tab, 2)
    tab.wait_for_load_state("networkidle")
    expect(tab.locator("#cards .card h3").first).to_have_text(f"{HACK}.png")
    assert set(shown(tab)) == {HACK, "<b>bold</b>", "__proto__"}
    expect(tab.locator(".bar .name", has_text="<b>bold</b>")).to_have_count(2)
    assert tab.evaluate("[window.hacked === undefined, document.querySelectorAll('[onerror], [onload]').length]") == [
        True,
        0,
    ]
    tab.set_viewport_size(PHONE)
    assert widths(tab)[0] == widths(tab)[1]


# -- how it looks


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(tab: Any, address: str, served: Served, scheme: str) -> None:
    tab.set_viewport_size(PHONE)
    tab.emulate_media(color_scheme=scheme)
    predict_page(tab, address)
    tab.set_input_files("#file", served.photos(1))
    answered(tab)
    colour = tab.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (sum(colour) < 200) is (scheme == "dark")
    for path in ("", "/runs", f"/runs/{quote(served.runs['first'])}", "/runs/nobody"):
        if path:
            tab.goto(address + path) if path != "/runs/nobody" else tab.request.get(address + path)
        assert widths(tab) == (PHONE["width"], PHONE["width"])
        expect(tab.locator(".disclaimer")).to_be_visible()
        expect(tab.locator(".disclaimer")).to_contain_text("not a medical device")


def test_every_control_has_a_name(tab: Any, address: str, served: Served) -> None:
    predict_page(tab, address)
    tab.set_input_files("#file", served.photos(1))
    answered(tab)
    for path in ("", "/runs"):
        if path:
            tab.goto(address + path)
        nameless = tab.locator("button, input, select, a").evaluate_all(
            """all => all.filter(one => !(one.innerText || one.getAttribute("aria-label") ||
            [...(one.labels ?? [])].some(label => label.innerText))).map(one => one.outerHTML)"""
        )
        assert nameless == []
