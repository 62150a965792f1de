"""The log of a run: a line at a time, with the time before it."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from hamcache.pipeline.experiment.learning import Log
from hamcache.pipeline.experiment.preparation import Prepared
from hamcache.pipeline.runs.provenance import summary


class RunLog:
    """A log file with the time before each line, which may echo the lines."""

    def __init__(self, path: Path, echo: Callable[[str], None] | None = None) -> None:
        self._path, self._echo = path, echo
        self._path.touch()

    def __call__(self, line: str) -> None:
        """Write one line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now().isoformat(sep=' ', timespec='seconds')}  {line}\n")
        if self._echo:
            self._echo(line)


def log_start(log: Log, prepared: Prepared) -> None:
    """Log what is trained on which images, and what is left out."""
    config, inputs, folds = prepared.config, prepared.inputs, prepared.folds
    left_out = prepared.identity["left_out"]
    about = summary(config, inputs.table.name)
    log(f"{about['head']} on {about['features']}, data set {about['dataset']} ({len(inputs.table)} images)")
    sizes = ", ".join(f"{name} {len(part)}" for name, part in folds[0].items())
    log(f"split {about['policy']}, seed {config.seed}: {sizes} images" + (" in fold 1" if len(folds) > 1 else ""))
    if curation := prepared.curation:
        log(f"{len(curation.excluded)} images are excluded, {len(curation.merged)} groups are merged into others")
    if prepared.without_part:
        log(f"{prepared.without_part} images have no part in the split that was given: they are left out")
    if left_out:
        reasons = [f"{image_id} ({reason})" for image_id, reason in left_out.items()]
        listed = ", ".join([*reasons[:5], *(["..."] if len(reasons) > 5 else [])])
        log(f"{len(left_out)} quarantined images are left out: {listed}")
    for name, part in folds[0].items():
        absent = [label for code, label in enumerate(inputs.table.classes) if not (part.y == code).any()]
        if absent:
            log(f"{name} has no image of {', '.join(absent)}: these classes are left out of its scores and means")
    if prepared.opens_test:
        log("THE TEST SET IS OPENED: its scores must not be used to choose anything")
