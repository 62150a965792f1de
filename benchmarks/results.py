"""Results of benchmarks: their medians, the table, and the files that keep them."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import HIGHER, Costs, Row
from benchmarks.rows import BENCHMARKS
from hamcache.data.files import write_json, write_text

LIBRARIES = ("hamcache", "torch", "torchvision", "timm", "numpy", "scikit-learn", "skorch", "zarr", "dask", "ray")
HEADER = ("what", "rounds", "median", "least to most", "target", "met")
TABLE = re.compile(r"<!-- table -->.*<!-- end -->", re.DOTALL)
Machine = Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """The outcome of one row.

    Attributes:
        row: what was measured.
        benchmark: name of the benchmark that it belongs to.
        rounds: the costs of each.
        why: why there are none, or fewer than there should be; None where all went well.
    """

    row: Row
    benchmark: str
    rounds: Sequence[Costs] = ()
    why: str | None = None

    @property
    def ratios(self) -> list[float]:
        """The ratio of each round."""
        return [self.row.ratio(costs) for costs in self.rounds]

    @property
    def ratio(self) -> float | None:
        """The median ratio; None where there is no round."""
        return median(self.ratios) if self.rounds else None

    @property
    def is_met(self) -> bool:
        """True where the target is reached."""
        return self.ratio is not None and self.row.is_met(self.ratio)

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        target = f"{'≥' if self.row.better == HIGHER else '≤'} {self.row.target:g}"
        if self.ratio is None:
            return self.row.name, "0", "-", "-", target, f"not run: {self.why}"
        spread = f"{short(min(self.ratios))} to {short(max(self.ratios))}"
        return (
            self.row.name,
            str(len(self.rounds)),
            short(self.ratio),
            spread,
            target,
            "yes" if self.is_met else "no",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        numbers = {"ratio": self.ratio, "ratios": self.ratios}
        costs = {"ours": [costs.ours for costs in self.rounds], "base": [costs.base for costs in self.rounds]}
        medians = {f"median_{name}": median(values) if values else None for name, values in costs.items()}
        about = {"benchmark": self.benchmark, "met": self.is_met, "why": self.why}
        return rounded({**asdict(self.row), **numbers, **medians, **costs, **about})

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Result:
        """Result as `to_dict` wrote it."""
        row = Row(content["name"], content["target"], content["better"])
        rounds = [Costs(*costs) for costs in zip(content["ours"], content["base"], strict=True)]
        return cls(row, content["benchmark"], rounds, content["why"])


def short(number: float) -> str:
    """Three digits of a number."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def rounded(value: Any) -> Any:
    """The same with six digits of each number."""
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def markdown(results: Sequence[Result]) -> str:
    """The table as Markdown."""
    rows = [HEADER, ("---", "---:", "---:", "---:", "---:", "---"), *(result.cells for result in results)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def summary(results: Sequence[Result]) -> str:
    """One line: how many rows reach their targets."""
    measured = [result for result in results if result.rounds]
    met = sum(result.is_met for result in results)
    left = len(results) - len(measured)
    return f"{met} of {len(measured)} rows reach their targets" + (f", {left} not run" if left else "")


def this_machine() -> dict[str, Any]:
    """The machine, and the versions of what is measured."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "machine": {**_processor(), "system": platform.platform(), "python": platform.python_version()},
        "versions": versions,
    }


def _processor() -> dict[str, Any]:
    import psutil  # type: ignore[import-untyped]

    model = platform.processor() or platform.machine()
    about = Path("/proc/cpuinfo")
    if about.is_file():
        names = re.findall(r"^model name\s*: (.+)$", about.read_text(encoding="utf-8"), re.MULTILINE)
        model = names[0] if names else model
    memory = round(psutil.virtual_memory().total / 2**30, 1)
    return {"processor": model, "cores": len(os.sched_getaffinity(0)), "memory_gib": memory}


def write_results(results: Sequence[Result], file: Path, about: Mapping[str, Any]) -> None:
    """Write every number, and a plot beside it."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(file, {"when": now, **about, **this_machine(), "rows": [result.to_dict() for result in results]})
    plot(results, file.with_suffix(".png"))


def kept(results: Sequence[Result], file: Path) -> list[Result]:
    """These results, and of the rows that were not run those that the file has of the same machine and versions."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return list(results)
    ours = this_machine()
    if any(content.get(name) != ours[name] for name in ours):
        return list(results)
    before = {result.row: result for result in map(Result.from_dict, content["rows"])}
    now = {result.row: result for result in results if result.rounds or result.row not in before}
    return in_order((before | now).values())


def in_order(results: Iterable[Result]) -> list[Result]:
    """Results of rows that there are, in the order of the table."""
    of_row = {result.row: result for result in results}
    order = [row for benchmark in BENCHMARKS for row in benchmark.rows.values()]
    return [of_row[row] for row in order if row in of_row]


def write_table(results: Sequence[Result], document: Path) -> None:
    """Put the table between the markers of a document."""
    about = this_machine()
    machine, versions = about["machine"], about["versions"]
    words = (
        f"{datetime.now(UTC):%d %B %Y}, {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"Python {machine['python']}, torch {versions['torch']}. {summary(results)}."
    )
    table = f"<!-- table -->\n{words}\n\n{markdown(results)}<!-- end -->"
    text = document.read_text(encoding="utf-8")
    write_text(document, TABLE.sub(lambda _: table, text))


def plot(results: Sequence[Result], file: Path) -> None:
    """Draw every ratio over its target, so that 1 is reached and more is better."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    measured = [result for result in results if result.ratio]
    if not measured:
        return
    names = [result.row.name for result in measured]
    reached = [_reached(result, float(result.ratio or 1)) for result in measured]
    figure, axes = plt.subplots(figsize=(10, 0.6 + 0.26 * len(measured)))
    for place, (result, value) in enumerate(zip(measured, reached, strict=True)):
        spread = [_reached(result, ratio) for ratio in (min(result.ratios), max(result.ratios))]
        colour = "tab:green" if result.is_met else "tab:orange"
        axes.plot(spread, [place, place], color=colour, linewidth=3, alpha=0.4)
        axes.plot(value, place, "o", color=colour, markersize=5)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), [name if len(name) < 95 else f"{name[:92]}..." for name in names], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("median and range over the target (1: reached; right: better)", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    figure.savefig(file, dpi=100, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


def _reached(result: Result, ratio: float) -> float:
    """A ratio over its target, turned so that more is better."""
    return ratio / result.row.target if result.row.better == HIGHER else result.row.target / ratio
