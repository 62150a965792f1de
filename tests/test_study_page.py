"""The study's page says what its record says, and shows the pictures it names."""

import json
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
RECORD = json.loads((DOCS / "study.json").read_text(encoding="utf-8"))
PAGE = (DOCS / "study.md").read_text(encoding="utf-8")
ROWS = {row["name"]: row for row in RECORD["rows"]}
PART = "test" if RECORD["test_opened"] else "validation"


def table_lines() -> dict[str, list[str]]:
    """The cells of the first table, by row, without the words that say which row a best one is."""
    table = next(block for block in PAGE.split("\n\n") if block.startswith("| row | seeds |"))
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {re.sub(r" \(.*\)$", "", line[0]): line for line in cells}


def test_the_table_has_every_row_of_the_record_and_at_least_twelve() -> None:
    assert table_lines().keys() == ROWS.keys() and len(ROWS) >= 12


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_the_table_has_the_numbers_of_the_record(name: str) -> None:
    row, (_, _, mean, score, *scores, p) = ROWS[name], table_lines()[name]
    assert mean.startswith(f"{row.get('validation_mcc_mean') or row['validation_mcc']:.3f}")
    assert score.startswith(f"{row[f'{PART}_mcc']:.3f}")
    wanted = [row[f"{PART}_{metric}"] for metric in ("weighted_f1", "macro_f1", "balanced_accuracy")]
    assert scores[:3] == [f"{value:.3f}" for value in wanted]
    holm = row.get(f"{PART}_p_holm")
    assert p == ("-" if holm is None else f"{holm:.3f}")


def test_the_sentence_that_answers_the_question_stands_first_with_scores_of_the_record() -> None:
    answer = PAGE.split("\n\n")[1]
    scores = {f"{row[key]:.2f}" for row in ROWS.values() for key in (f"{PART}_mcc", "validation_mcc")}
    named = re.findall(r"0\.\d\d\b", answer)
    assert len(named) >= 3 and set(named) <= scores


def test_the_pictures_of_the_page_are_there() -> None:
    pictures = re.findall(r"\]\((static/[^)]+)\)", PAGE)
    assert pictures and all((DOCS / picture).stat().st_size > 5_000 for picture in pictures)


def test_the_table_of_one_backbone_has_the_numbers_of_its_record() -> None:
    record = json.loads((DOCS / "study-frozen.json").read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in record["rows"] if row["seeds"] and not row["of"]}
    table = next(block for block in PAGE.split("\n\n") if block.startswith("| features and head |"))
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    shown = {name: (mean, seconds) for name, mean, seconds in cells if name in rows}
    assert shown == {
        name: (f"{row['validation_mcc_mean']:.3f} ± {row['validation_mcc_sd']:.3f}", f"{row['one_more']:.0f}")
        for name, row in rows.items()
    }
