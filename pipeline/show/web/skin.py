"""The templates of pages, which escape all that comes from data, and the style and scripts beside them."""

from functools import cache
from importlib import resources
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hamcache.heads.metrics import METRICS
from hamcache.pipeline.evaluate import DISCLAIMER
from hamcache.pipeline.show.plots.style import COLOURS
from hamcache.pipeline.show.web import labels, markup

WEB = "hamcache.pipeline.show.web"
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#0a66a3"/>'
    '<g fill="#fff"><rect x="7" y="17" width="4" height="8" rx="1"/><rect x="14" y="11" width="4" height="14" rx="1"/>'
    '<rect x="21" y="7" width="4" height="18" rx="1"/></g></svg>'
)


@cache
def templates(package: str) -> Environment:
    """The templates of a package, and those that all pages share."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, ""), PackageLoader(WEB, "")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"disclaimer": DISCLAIMER, "mark": Markup(FAVICON), "known_metrics": METRICS}
    filters: dict[str, Any] = {
        "score": markup.score,
        "signed": markup.signed,
        "seconds": markup.seconds,
        "p": markup.p_value,
        "percent": markup.percent,
        "short": markup.short_number,
        "bracket": markup.bracket,
        "label": labels.label,
        "blocks": labels.blocks,
        "run_id": labels.run_id,
    }
    environment.filters |= filters
    return environment


def text_of(name: str, package: str = WEB) -> str:
    """The text of a file in a package."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def style() -> str:
    """The style sheet of all pages; its colours of charts are those of the pictures."""
    colours = " ".join(f"--c{number}: {colour};" for number, colour in enumerate(COLOURS))
    return f":root {{ {colours} }}\n{text_of('style.css')}"
