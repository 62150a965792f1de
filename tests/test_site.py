"""The site builds without a warning and without network, is whole, and makes a reader fetch nothing from elsewhere."""

import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hamcache.heads.zoo import HEADS
from tests.every_command import every_command

ROOT = Path(__file__).parents[1]


class Page(HTMLParser):
    """The anchors of a page, its links, and what a browser loads with it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = {""}
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors.add(values.get("id", ""))
        if tag == "a" and "href" in values:
            self.links.add(values["href"])
        elif tag in ("script", "img", "iframe") and "src" in values:
            self.loaded.add(values["src"])
        elif tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload"):
            self.loaded.add(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built by a process that cannot open a connection; a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    words = ["-W", "--keep-going", "-q", "-d", str(folder / "doctrees"), str(ROOT / "docs"), str(folder / "html")]
    offline = "import socket, sys; socket.socket.connect = None; from sphinx.cmd.build import main"
    built = subprocess.run(
        [sys.executable, "-c", f"{offline}; sys.exit(main(sys.argv[1:]))", *words], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert built.stderr == ""
    return folder / "html"


def test_every_link_and_file_of_the_site_is_there(site: Path) -> None:
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for link in page.links | page.loaded:
            if "://" in link or link.startswith("mailto:"):
                continue
            target, _, anchor = link.partition("#")
            file = (path.parent / target.split("?")[0]).resolve() if target else path
            if not file.is_file() or (anchor and file in pages and anchor not in pages[file].anchors):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert len(pages) > 25
    assert broken == []


def test_a_reader_fetches_nothing_from_elsewhere(site: Path) -> None:
    loaded = {item for path in site.rglob("*.html") for item in Page(path.read_text(encoding="utf-8")).loaded}
    assert [item for item in loaded if "//" in item.replace("data:", "")] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)]*", styles) == []


def test_every_command_option_and_head_is_on_its_page(site: Path) -> None:
    text = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    sections = {
        found[1]: unescape(re.sub(r"<[^>]+>", "", found[2]))
        for found in re.finditer(r'<section id="([^"]+)">(.*?)(?=<section id=|\Z)', text, flags=re.DOTALL)
    }
    for words, command in every_command():
        section = sections[words.replace(" ", "-")]
        for option in command.params:
            if option.name not in ("help", "quiet", "verbose", "as_json"):
                assert all(name in section for name in option.opts if name.startswith("-")), (words, option.opts)
                assert (option.help or "").replace("`", "") in section, (words, option.opts)
    settings = Page((site / "reference" / "settings.html").read_text(encoding="utf-8"))
    assert {name.replace("_", "-") for name in HEADS} <= settings.anchors


def test_the_methods_of_a_lab_are_described(site: Path) -> None:
    anchors = Page((site / "reference" / "python.html").read_text(encoding="utf-8")).anchors
    for method in ("extract", "train", "zoo", "sweep", "finalize", "compare", "predictor", "evaluate"):
        assert f"hamcache.Lab.{method}" in anchors
