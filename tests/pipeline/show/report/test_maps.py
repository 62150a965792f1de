"""The map in the page: right colours, mistakes and thumbnails, and a canvas that answers to a mouse."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hamcache.pipeline.show.report.datasets import Datasets
from hamcache.pipeline.show.report.maps import Look, map_entry, report_maps
from hamcache.pipeline.show.web.atlas import COLUMNS, make_atlas
from tests.pipeline.cli.test_app import hamcache


@pytest.fixture(scope="module")
def entry(lab) -> dict:
    runs = [(name, lab.runs[name]) for name in ("ab", "a")]
    return map_entry(lab.runs["ab"].config, None, lab.workspace, Look("pca"), runs, "validation", lambda *_: None)


def test_every_image_has_its_class_part_and_what_runs_gave_it(lab, entry: dict) -> None:
    run = lab.runs["a"]
    part = run.part("validation").set_index("image_id")
    given = dict(zip(part.index, run.probabilities("validation").argmax(axis=1), strict=True))
    assert entry["runs"][1]["given"] == [given.get(image_id, -1) for image_id in entry["ids"]]
    parts = dict(zip(lab.runs["ab"].predictions["image_id"], lab.runs["ab"].predictions["part"], strict=True))
    assert [entry["partNames"][code] for code in entry["parts"]] == [parts.get(i, "in no part") for i in entry["ids"]]
    labels = [entry["classes"][code] for code in entry["labels"]]
    assert labels == lab_labels(lab) and max(entry["x"] + entry["y"]) == 65535


def lab_labels(lab) -> list[str]:
    return [line.split(",")[2] for line in sorted(lab.csv.read_text().splitlines()[1:])]


def test_thumbnails_are_cut_from_pages_that_are_found_again(lab, entry: dict, tmp_path: Path) -> None:
    rows = [line.split(",") for line in sorted(lab.csv.read_text().splitlines()[1:])]
    images = [(str(lab.csv.parent / path), image_id) for image_id, path, *_ in rows]
    made = make_atlas(images, tmp_path)
    assert made.cell == (72, 54) == tuple(entry["cell"]) and len(made.pages) == len(entry["pages"]) == -(
        -len(images) // 256
    )
    (first, _) = sorted(tmp_path.iterdir(), key=lambda path: -path.stat().st_size)
    with Image.open(first) as sheet:
        left, top = 72 * (37 % COLUMNS) + 4, 54 * (37 // COLUMNS) + 3  # 64x48 in the middle of a place
        cut = sheet.convert("RGB").crop((left, top, left + 64, top + 48))
    with Image.open(images[37][0]) as whole:
        assert np.abs(np.asarray(cut, float).mean((0, 1)) - np.asarray(whole, float).mean((0, 1))).max() < 4
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    first.write_bytes(first.read_bytes()[:100])  # a damaged page is drawn again
    assert make_atlas(images, tmp_path).pages == made.pages
    assert [path for path in tmp_path.iterdir() if path.stat().st_mtime_ns != stamps[path]] == [first]


def test_a_data_set_that_is_not_here_has_a_note_instead(own_lab) -> None:
    own_lab.csv.unlink()
    made = report_maps(own_lab.board(), Datasets(own_lab.workspace), Look("pca"), lambda *_: None)
    assert made["maps"] == [] and "has no map" in made["notes"][0]


def test_the_page_answers_to_the_mouse(page, page_file: Path) -> None:
    page.goto(page_file.as_uri())
    assert "Map" in page.locator("nav").inner_text()
    canvas = page.locator("#m-canvas")
    canvas.scroll_into_view_if_needed()
    data = json.loads(page.locator("#m-data").text_content())[0]
    # The pixels under the leftmost point are its class's; hovering shows its card with a picture.
    number = int(np.argmin(data["x"]))
    box = canvas.bounding_box()
    wide, high = max(data["x"]), max(data["y"])
    by = min((box["width"] - 28) / wide, (box["height"] - 28) / high)
    x = (box["width"] - wide * by) / 2 + data["x"][number] * by
    y = (box["height"] - high * by) / 2 + (high - data["y"][number]) * by
    page.mouse.move(box["x"] + x, box["y"] + y)
    card = page.locator("#m-card")
    card.wait_for(state="visible")
    assert data["ids"][number] in card.inner_text() and card.locator("canvas").first.bounding_box()["width"] > 100
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    card.wait_for(state="hidden")
    for way in page.locator("#m-colour option").all_inner_texts():
        page.locator("#m-colour").select_option(label=way)
        shown = [int(re.sub(r"\D", "", text)) for text in page.locator("#m-legend small").all_inner_texts()]
        assert sum(shown) == len(data["ids"])
    page.locator("#m-legend button").first.click()
    assert page.locator("#m-count").inner_text().startswith(str(len(data["ids"]) - shown[0]))
    page.locator("#m-lesions").check()
    page.locator("#m-find").fill(data["ids"][number])
    assert "1 found" in page.locator("#m-count").inner_text()
    canvas.press("+")
    canvas.dblclick()


def test_no_gallery_no_thumbnails_and_no_layout_no_map(lab, tmp_path: Path) -> None:
    assert "data:image/webp" not in lab.report(tmp_path / "a.html", gallery=0)
    assert 'id="map"' not in lab.report(tmp_path / "b.html", gallery=0, layout="none")


def test_a_map_of_its_own_is_a_command(lab, page, tmp_path: Path) -> None:
    out = tmp_path / "map.html"
    line = f"map {lab.runs['a'].id} {lab.runs['mlp'].id} --layout pca --out '{out}'"
    assert "by the first two principal components of net_a" in hamcache(line, lab.workspace).ok()
    assert "found, not computed again" in hamcache(f"{line} --no-thumbnails", lab.workspace).out
    page.goto(out.as_uri())
    assert page.locator("#m-colour option").all_inner_texts()[-1] == f"mistakes of {lab.runs['mlp'].id}"
    assert "expected at least one block" in hamcache(f"map --dataset '{lab.csv}'", lab.workspace).failed()
