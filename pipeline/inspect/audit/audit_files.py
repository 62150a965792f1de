"""Files of an audit: its tables, its proposals and a summary."""

import hashlib
from dataclasses import asdict
from pathlib import Path

from hamcache.data.documents import parse_json
from hamcache.data.files import csv_text, write_json, write_text
from hamcache.pipeline.inspect.audit.audit import Audit
from hamcache.pipeline.runs.provenance import versions

EXCLUDE, MERGE_GROUPS = "exclude.csv", "merge_groups.csv"


def write_audit(audit: Audit, folder: Path) -> list[Path]:
    """Write the tables, the proposals and a summary.

    Proposals of an earlier audit that were edited since are kept beside, as `exclude.edited-1.csv` and so on.

    Returns:
        Files that were kept so.
    """
    tables = {
        "pairs.csv": audit.pairs,
        "labels.csv": audit.labels,
        "outliers.csv": audit.outliers,
        "duplicates.csv": audit.duplicates,
        EXCLUDE: audit.exclusions,
        MERGE_GROUPS: audit.merges,
    }
    texts = {name: csv_text(table) for name, table in tables.items()}
    kept = _keep_edited(folder, texts)
    for name, text in texts.items():
        write_text(folder / name, text)
    summary = {
        "dataset": audit.table.name,
        "images": len(audit.table),
        "groups": int(audit.table.frame["group"].nunique()),
        "table": audit.table.fingerprint,
        "features": audit.sources,
        "settings": asdict(audit.settings),
        "split": audit.split,
        "candidates": audit.candidates,
        "least_cosine": round(audit.least_cosine, 4),
        "least_score": {verdict: round(score, 4) for verdict, score in audit.least_score.items()},
        "calibration": {k: None if v != v else round(v, 4) for k, v in asdict(audit.calibration).items()},
        "counts": audit.counts,
        "label_mcc": None if audit.label_mcc != audit.label_mcc else round(audit.label_mcc, 4),
        "notes": audit.notes,
        "seconds": audit.seconds,
        "versions": versions(),
        "written": {name: _sha256(texts[name]) for name in (EXCLUDE, MERGE_GROUPS)},
    }
    write_json(folder / "summary.json", summary)
    return kept


def _keep_edited(folder: Path, texts: dict[str, str]) -> list[Path]:
    """Give another name to proposals that a person has edited."""
    try:
        summary = parse_json((folder / "summary.json").read_bytes())
    except (OSError, ValueError):
        summary = None
    written = summary.get("written") if isinstance(summary, dict) else None
    written = written if isinstance(written, dict) else {}
    kept = []
    for name in (EXCLUDE, MERGE_GROUPS):
        path = folder / name
        if not path.is_file():
            continue
        here = hashlib.sha256(path.read_bytes()).hexdigest()
        if here in (written.get(name), _sha256(texts[name])):
            continue
        number = 1
        while (beside := path.with_name(f"{path.stem}.edited-{number}.csv")).exists():
            number += 1
        path.rename(beside)
        kept.append(beside)
    return kept


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
