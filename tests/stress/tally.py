"""Outcomes of trials, counted by kind, and the table they end in."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hamcache.data.files import write_json, write_text

SURVIVED = ("right", "mended", "refused")
LOST, WRONG = "lost", "wrong"
BEGIN, END = "<!-- table -->", "<!-- end -->"
HEADER = ("trials", "tried", "survived", "lost", "wrong", "of these")


def shortened(detail: str, most: int = 500) -> str:
    """Both ends of what a trial says: what was wrong stands first, what was printed last stands last."""
    return detail if len(detail) <= most else f"{detail[: most // 2]} … {detail[-(most // 2) :]}"


@dataclass
class Tally:
    """Outcomes of one kind of trial.

    A trial has survived if the answer was right, if the same command mended what was damaged, or if it was refused
    with a message of ours. It is lost if something that was stored, or could be made, is not there in the end. It is
    wrong if an answer differs from that of an undisturbed machine, or is none: a traceback, a crash, a hang.
    """

    kind: str
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, str]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self, outcome: str, trial: str, detail: str = "") -> None:
        """Count one trial: one of `SURVIVED`, `LOST` or `WRONG`, with what was tried and what came of it."""
        assert outcome in (*SURVIVED, LOST, WRONG), outcome
        self.outcomes[outcome] += 1
        if outcome not in SURVIVED:
            self.failures.append({"outcome": outcome, "trial": trial, "detail": shortened(detail, 2000)})

    def note(self, name: str, number: int = 1) -> None:
        """Add to one of the numbers that the last column of the table shows."""
        self.notes[name] = self.notes.get(name, 0) + number

    @property
    def tried(self) -> int:
        """All trials."""
        return self.outcomes.total()

    @property
    def survived(self) -> int:
        """Trials that ended as they should."""
        return sum(self.outcomes[name] for name in SURVIVED)

    @property
    def row(self) -> tuple[str, ...]:
        """The row of the table."""
        ways = [f"{self.outcomes[name]:,} {name}" for name in SURVIVED if self.outcomes[name]]
        notes = [
            f"{value:,} {name}" if isinstance(value, int) else f"{name}: {value}" for name, value in self.notes.items()
        ]
        numbers = (self.tried, self.survived, self.outcomes[LOST], self.outcomes[WRONG])
        return (self.kind, *(f"{number:,}" for number in numbers), "; ".join(ways + notes))


def markdown(tallies: Sequence[Tally]) -> str:
    """The table as Markdown, with a last row for the sum."""
    return _table([tally.row for tally in tallies])


def recorded(text: str, tallies: Sequence[Tally], order: Sequence[str]) -> str:
    """A document's text with these kinds in its table, between two marks; the other kinds' rows stay.

    Args:
        text: of the document.
        tallies: of the kinds that were tried.
        order: all kinds, as the table calls them.
    """
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    lines = [tuple(cell.strip() for cell in line[1:-1].split("|")) for line in old.splitlines()]
    rows = {line[0]: line for line in lines if line[0] in order} | {tally.kind: tally.row for tally in tallies}
    return before + BEGIN + "\n" + _table([rows[kind] for kind in order if kind in rows]) + END + after


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    sums = [sum(int(row[column].replace(",", "")) for row in rows) for column in range(1, 5)]
    total = ("**all**", *(f"{number:,}" for number in sums), "")
    lines = [HEADER, ("---", "---:", "---:", "---:", "---:", "---"), *rows, total]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_tallies(tallies: Sequence[Tally], stem: Path, about: dict[str, Any]) -> None:
    """Write `<stem>.md` with the table, and `<stem>.json` with every number and every failure."""
    write_text(stem.with_suffix(".md"), markdown(tallies))
    kinds = [
        {
            "kind": tally.kind,
            "tried": tally.tried,
            "survived": tally.survived,
            "lost": tally.outcomes[LOST],
            "wrong": tally.outcomes[WRONG],
            "outcomes": dict(tally.outcomes),
            "notes": tally.notes,
            "seconds": round(tally.seconds, 1),
            "failures": tally.failures,
        }
        for tally in tallies
    ]
    write_json(stem.with_suffix(".json"), json.loads(json.dumps({**about, "kinds": kinds}, default=str)))
