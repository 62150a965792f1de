"""One run as pages show it: scores, classes, pictures, configuration, provenance."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

import numpy as np
import yaml
from markupsafe import Markup

from hamcache.configs.defaults import PARTS
from hamcache.heads.metrics import METRICS
from hamcache.heads.scored import scored
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.show.plots.confusion import MOST_NUMBERS
from hamcache.pipeline.show.plots.runs import CAPTIONS
from hamcache.pipeline.show.web.markup import score, seconds

MOST_PAIRS = 10


@dataclass(frozen=True)
class ClassScores:
    """One class of one run: its images, the images that were given it, and its scores (maybe NaN)."""

    name: str
    images: int
    given: int
    sensitivity: float
    specificity: float
    precision: float
    f1: float
    auc: float


@dataclass(frozen=True, eq=False)
class RunView:
    """One run on one part.

    Attributes:
        run: The run.
        part: Part that classes are scored on, and whose scores at fixed thresholds are listed.
        pictures: Name (see `CAPTIONS`) -> address.
        pictures_absent: Reason why there are no pictures; empty if there are.
    """

    run: Run
    part: str
    pictures: Mapping[str, str]
    pictures_absent: str = ""

    @property
    def parts(self) -> list[str]:
        """Parts that were scored."""
        return [name for name in PARTS if name in self.run.metrics]

    @property
    def metrics(self) -> list[str]:
        """Scores to list: those of the whole set, then those at fixed thresholds."""
        names = self.run.metrics[self.part]
        return [*(name for name in METRICS if name in names), *(name for name in names if "_at_" in name)]

    @cached_property
    def chance(self) -> dict[str, float]:
        """Scores of always guessing the most frequent class of train."""
        return self.run.baseline(self.part)

    @cached_property
    def names(self) -> dict[str, str]:
        """Readable name of each class."""
        return self.run.class_names

    @property
    def figures(self) -> list[tuple[str, str]]:
        """Caption and address of each picture, in the order of `CAPTIONS`."""
        return [(CAPTIONS[name], self.pictures[name]) for name in CAPTIONS if name in self.pictures]

    @property
    def classes(self) -> list[ClassScores]:
        """One entry a class, in code order."""
        counts, scores = self._confusion, self.run.metrics[self.part]
        found = []
        for code, name in enumerate(self.run.classes):
            hits, images, given = counts[code, code], counts[code].sum(), counts[:, code].sum()
            found.append(
                ClassScores(
                    name=name,
                    images=int(images),
                    given=int(given),
                    sensitivity=scores.get(f"sensitivity_{name}", np.nan),
                    specificity=scores.get(f"specificity_{name}", np.nan),
                    precision=hits / given if given else np.nan,
                    f1=2 * hits / (images + given) if images else np.nan,
                    auc=scores.get(f"auc_{name}", np.nan),
                )
            )
        return found

    @property
    def confusions(self) -> list[tuple[str, str, int]]:
        """The most frequent confusions: true class, given class, images. Only where the picture has no numbers."""
        if len(self.run.classes) <= MOST_NUMBERS:
            return []
        wrong = self._confusion - np.diag(np.diag(self._confusion))
        order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
        pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
        return [(self.run.classes[t], self.run.classes[p], int(wrong[t, p])) for t, p in pairs if wrong[t, p]]

    @cached_property
    def _confusion(self) -> np.ndarray:
        labels, proba = self.run.labels(self.part), self.run.probabilities(self.part)
        return scored(labels, proba).confusion[0].astype(np.int64)

    @property
    def yaml(self) -> str:
        """The configuration as it was run."""
        return yaml.safe_dump(self.run.config.content(), sort_keys=False, allow_unicode=True)

    @property
    def command(self) -> str:
        """The command that runs it again, from inside the workspace."""
        config = shlex.quote(f"runs/{self.run.id}/config.yaml")
        return f"hamcache train --config {config}" + (" --test" if "test" in self.run.metrics else "")

    @property
    def provenance(self) -> list[tuple[str, str]]:
        """Name and value of what the run was made from."""
        known = self.run.provenance

        def listed(name: str, words: str = "{} {}") -> str:
            return ", ".join(words.format(key, value) for key, value in known.get(name, {}).items())

        split = known.get("split", "")
        times = ", ".join(f"{name} {seconds(value)}" for name, value in known.get("seconds", {}).items())
        thresholds = ", ".join(f"{name}: {score(value)}" for name, value in known.get("thresholds", {}).items())
        pairs = [
            *((name, str(known.get(name, ""))) for name in ("finished", "fingerprint", "table", "files")),
            ("split", ", ".join(map(str, split)) if isinstance(split, list) else str(split)),
            *((f"store {folder}", str(key)) for folder, key in known.get("stores", {}).items()),
            ("metadata", ", ".join(column["name"] for column in known.get("metadata", {}).get("columns", []))),
            ("images", listed("images", "{} {:,}")),
            ("seconds", times),
            ("quarantined images left out", str(len(known["left_out"])) if known.get("left_out") else ""),
            ("tau of logit adjustment", "" if known.get("tau") is None else str(known["tau"])),
            (f"thresholds of {known.get('positive')}", thresholds),
            ("test set", "opened" if known.get("test_opened") else "closed"),
            ("versions", listed("versions")),
        ]
        return [(name, value) for name, value in pairs if value]


def data_uri(svg: str) -> Markup:
    """An SVG as an address: shown as an image it can run nothing and load nothing, whoever wrote it.

    Of what an attribute in double quotes may hold only these and `&` are special, so the rest stays short.

    >>> str(data_uri('<svg fill="#000">"&amp;</svg>'))
    "data:image/svg+xml,<svg fill='%23000'>%22%26amp;</svg>"
    """
    single = re.sub("<[^>]*>", lambda tag: tag[0].replace("'", "&#39;").replace('"', "'"), svg)
    return Markup("data:image/svg+xml,") + Markup(quote(single, safe=" <>/:=;,.-+()'{}*"))
