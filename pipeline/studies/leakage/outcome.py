"""Finished leakage demonstrations on disk: written whole or not at all, loaded, and put into words."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hamcache.data.files import write_csv, write_json
from hamcache.heads.metrics import get_metric
from hamcache.pipeline.errors import DamagedError
from hamcache.pipeline.runs.artefacts import Artefact, Kind, give_name, new_folder
from hamcache.pipeline.runs.sealed import DIGESTS, Files, sealed
from hamcache.pipeline.runs.shapes import DEMO

SUMMARY, TABLE = "leakage.json", "leakage.csv"
NUMBERS = (
    *("honest", "honest_low", "honest_high", "leaky", "leaky_low", "leaky_high"),
    *("gap", "gap_low", "gap_high", "p", "p_holm"),
)
"""Columns of the table that hold numbers."""
IMAGES = {
    "all": "all test images",
    "sibling": "test images with a sibling in the leaky train part",
    "no sibling": "the other test images",
    "own": "as practised: each kind of split on a test set of its own",
}
"""The images that rows of the table are about; in "own" the careful split is the honest one, the careless the leaky."""


@dataclass(frozen=True, eq=False)
class LeakageDemo(Artefact):
    """A finished demonstration, `leakage.csv` and `leakage.json` in its folder.

    Attributes:
        table: One row a metric, set of images (`IMAGES`) and head: `metric, images, head, honest, honest_low,
            honest_high, leaky, leaky_low, leaky_high, gap, gap_low, gap_high, p, p_holm`. Scores are means over the
            seeds, intervals a bootstrap over lesions; `gap` is leaky less honest; `p_holm` is corrected for the heads.
        summary: Settings, sizes, scores of each seed, and where it all comes from.
        reused: Whether it was found finished.
    """

    table: pd.DataFrame
    summary: dict[str, Any]
    reused: bool = False

    @property
    def metric(self) -> str:
        """The experiment's objective, which comes first in everything."""
        return str(self.summary["metric"])

    @property
    def sibling_share(self) -> float:
        """Share of the test images that have a sibling in the leaky train part, as in a random split of images."""
        sizes = self.summary["draws"]
        return float(sum(draw["test_with_sibling"] for draw in sizes) / sum(draw["test"] for draw in sizes))

    @property
    def picture(self) -> Path:
        """Path of its plot, which whoever asked for the demonstration draws (`show.plots.leakage`)."""
        return self.folder / "leakage.png"

    def flaws(self) -> list[DamagedError]:
        """Flaws of its files, one a file."""
        return _files(self.folder, self.summary.get(DIGESTS)).flaws()

    def rows(self, images: str = "all", metric: str | None = None) -> pd.DataFrame:
        """The rows of the table about some images (`IMAGES`), by default in the objective, one a head."""
        chosen = (self.table["images"] == images) & (self.table["metric"] == (metric or self.metric))
        return self.table[chosen].drop(columns=["metric", "images"]).reset_index(drop=True)

    def ranking(self, arm: str) -> list[str]:
        """The heads by their score on all test images, the best first; `arm` is `honest` or `leaky`."""
        ascending = not get_metric(self.metric).higher_is_better
        return list(self.rows().sort_values(arm, ascending=ascending, kind="stable")["head"])


def save_demo(table: pd.DataFrame, summary: dict[str, Any], target: Path) -> LeakageDemo:
    """Write a demonstration, in the place of one that is not whole or not the same."""
    with new_folder(target.parent) as folder:
        write_csv(folder / TABLE, table)
        summary = sealed(summary, folder, (TABLE,))
        write_json(folder / SUMMARY, summary)
        return LeakageDemo(give_name(folder, target.name, replace=True), table, summary)


def read_demo(folder: Path) -> LeakageDemo:
    """The demonstration in one folder.

    Raises:
        DamagedError: A file is missing, damaged, or not the one that was written.
    """
    summary, files = _files(folder).record(SUMMARY, DEMO)
    table = files.table(TABLE, ("metric", "images", "head", *NUMBERS), NUMBERS)
    if summary["metric"] not in set(table["metric"]):
        raise files.damaged(TABLE, "is about other metrics than the demonstration")
    return LeakageDemo(folder, table, summary)


def _files(folder: Path, digests: Mapping[str, str] | None = None) -> Files:
    advice = "Remove the folder; `hamcache leakage-demo` makes one."
    return Files(folder, "demonstration", advice, digests)


DEMOS = Kind(
    "demonstration", attrgetter("leakage"), SUMMARY, read_demo, attrgetter("id"), "`hamcache leakage-demo` makes one."
)
all_demos, load_demo = DEMOS.all, DEMOS.load


def in_words(demo: LeakageDemo) -> str:
    """The finding in a few sentences."""
    rows, metric = demo.rows(), demo.metric
    sizes = demo.summary["draws"]
    images = round(np.mean([draw["test"] for draw in sizes]))
    most = rows.iloc[int(np.argmax(rows["gap"].abs()))]
    sentences = [
        f"A random split of images puts another photograph of the same lesion into train for "
        f"{100 * demo.sibling_share:.0f} % of its test images ({images:,} a seed, "
        f"{len(sizes)} {'seeds' if len(sizes) > 1 else 'seed'}).",
        f"With them in train, {metric} on the same test images changes by {rows['gap'].min():+.3f} to "
        f"{rows['gap'].max():+.3f}; most for {most['head']} ({most['honest']:.3f} to {most['leaky']:.3f}).",
    ]
    honest, leaky = demo.ranking("honest"), demo.ranking("leaky")
    if honest != leaky:
        sentences.append(f"The order of the heads changes: honest {', '.join(honest)}; leaky {', '.join(leaky)}.")
    sentences += [f"{head} could not be trained: {reason}" for head, reason in demo.summary["failed"].items()]
    return " ".join(sentences)
