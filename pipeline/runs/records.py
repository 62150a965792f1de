"""Finished runs on disk: written whole or not at all, listed, loaded and found again.

A run is written into a hidden sibling folder and renamed when its last file is closed, so a process that dies on the
way leaves nothing that looks like a run. Its provenance holds the checksums of its files (see `runs.sealed`).
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hamcache.cache.keys import split_digits
from hamcache.data.files import csv_text, json_text, write_json, write_text
from hamcache.data.metadata import Metadata
from hamcache.data.workspace import Workspace
from hamcache.extract.names import PRE_LOGITS, split_kind
from hamcache.heads.metrics import majority_baseline
from hamcache.heads.trusted_types import refuse_untrusted
from hamcache.pipeline.config.renamed import renamed
from hamcache.pipeline.config.schema import ExperimentConfig, resolved_yaml
from hamcache.pipeline.errors import DamagedError, RunError
from hamcache.pipeline.runs.artefacts import Artefact, Kind
from hamcache.pipeline.runs.sealed import DIGESTS, Files, sealed
from hamcache.pipeline.runs.shapes import CLASSES, METRICS, PROVENANCE

PARTS = ("train", "validation", "test")
UNSEALED = ("log.txt", "provenance.json")
"""Files of a run without a checksum: one is still added to when it is made, one holds the checksums."""
_OLD_COLUMNS = {"split": "part"}  # of `predictions.csv`, as it was written until version 0.1


@dataclass(frozen=True, eq=False)
class Run(Artefact):
    """One finished run. Small files are read at once, tables when they are asked for.

    Attributes:
        metrics: Part -> name -> score; `test` only where the test set was opened.
        provenance: Where the numbers come from (store keys, fingerprints, versions, seconds).
        classes: Class names in code order.
        reused: Whether `run_experiment` found it finished instead of running it.
    """

    metrics: dict[str, dict[str, float]]
    provenance: dict[str, Any]
    classes: tuple[str, ...]
    reused: bool = False

    def __repr__(self) -> str:
        scores = (f"{part} mcc {values['mcc']:.3f}" for part, values in self.metrics.items() if "mcc" in values)
        return f"<Run {self.id}: {', '.join(scores)}>"

    @property
    def files(self) -> Files:
        """Its files, to be read strictly."""
        return _files(self.folder, self.provenance.get(DIGESTS))

    @cached_property
    def config(self) -> ExperimentConfig:
        """The resolved configuration, as it was run (head parameters are not checked again)."""
        content = self.files.mapping("config.yaml", ("dataset", "seed"))
        try:
            return ExperimentConfig.model_validate(renamed(content))
        except ValueError as error:
            raise self.files.damaged("config.yaml", f"is no experiment ({error})") from error

    @cached_property
    def metadata(self) -> Metadata | None:
        """Columns of the image table that it was trained on beside features; None without any."""
        if not self.config.features.has_metadata:
            return None
        if "metadata" not in self.provenance:
            raise self.files.damaged("provenance.json", "does not say which metadata it was trained on")
        return Metadata.from_list(self.provenance["metadata"]["columns"])

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """`image_id, group, label, part` and `p_<class>` for each class, one row an image."""
        text, files = ("image_id", "group", "label", "part"), self.files
        columns = [f"p_{label}" for label in self.classes]
        rows = files.table(
            "predictions.csv",
            (*text, *columns),
            columns,
            names=lambda header: [_OLD_COLUMNS.get(name, name) for name in header],
            dtype=dict.fromkeys(text, "str"),
            keep_default_na=False,
        )
        proba = rows[columns].to_numpy(np.float64)
        if not (np.isfinite(proba) & (proba >= 0) & (proba <= 1 + 1e-6)).all():
            raise files.damaged("predictions.csv", "holds something else than probabilities")
        counts = rows["part"].value_counts().to_dict()
        if not set(rows["label"]) <= set(self.classes) or set(counts) != set(self.metrics):
            raise files.damaged("predictions.csv", "is about other classes or parts than the run's scores")
        if counts != self.provenance.get("images", counts) or rows.duplicated(["image_id", "part"]).any():
            raise files.damaged("predictions.csv", "is about other images than the run")
        return rows

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row an epoch; without rows for heads that have no epochs."""
        return self.files.table("history.csv", ("epoch",))

    @property
    def plots(self) -> list[Path]:
        """The pictures that were drawn of it (see `show.plots.runs`), by name."""
        return sorted(plots_folder(self.folder).glob("[!.]*.png"))

    def part(self, name: str) -> pd.DataFrame:
        """The predictions of one part, sorted by image.

        Raises:
            RunError: The run has no such part (a test set that was not opened).
        """
        if name not in self._parts:
            parts = sorted(self._parts)
            hint = " Train again with --test to open the test set." if name == "test" else ""
            raise RunError(
                f"Expected predictions of {name}, got a run that has no {name!r} predictions, only "
                f"{', '.join(parts)}: {self.id}.{hint}"
            )
        return self._parts[name]

    @cached_property
    def _parts(self) -> dict[str, pd.DataFrame]:
        return {
            str(name): rows.sort_values("image_id", ignore_index=True)
            for name, rows in self.predictions.groupby("part", sort=False)
        }

    def labels(self, name: str) -> np.ndarray:
        """int64 codes of one part's labels, in the order of `part(name)`."""
        return pd.Index(self.classes).get_indexer(pd.Index(self.part(name)["label"])).astype(np.int64)

    def probabilities(self, name: str) -> np.ndarray:
        """float64 `[n, C]` of one part, in the order of `part(name)`."""
        return self.part(name)[[f"p_{label}" for label in self.classes]].to_numpy(np.float64)

    def answers(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels, probabilities and groups of one part: all that a score with an interval is made of."""
        return self.labels(name), self.probabilities(name), self.part(name)["group"].to_numpy(dtype=object)

    def baseline(self, name: str) -> dict[str, float]:
        """Scores on one part of the predictor that knows only the class frequencies of train."""
        return majority_baseline(self.labels("train"), self.labels(name), self.classes)

    @property
    def class_names(self) -> dict[str, str]:
        """Readable name of each class, in code order."""
        entries = self.files.json("classes.json", CLASSES)
        return {entry["class"]: entry.get("name") or entry["class"] for entry in entries}

    @property
    def trusted(self) -> list[str]:
        """Types in its heads that must be trusted before they are loaded, since they may run code."""
        return list(self.provenance.get("trusted", ()))

    def require_trust(self, trust: Collection[str]) -> None:
        """Refuse to load its heads where they hold types that are not trusted; imports nothing.

        Raises:
            RunError: Names the types.
        """
        refuse_untrusted(self.trusted, trust, f"the head of {self.id}", RunError)

    def load_head(self, fold: int | None = None, trust: Collection[str] = ()) -> Any:
        """The fitted head, ready to predict; of a cross-validated run, that of fold 1, 2, ...

        `trust` names the types of heads of one's own that may be loaded (see `trusted`).

        Raises:
            DamagedError: Its files are not those that were written.
            HeadFileError: They are missing, or cannot be read.
        """
        from hamcache.heads.persist import load_head

        inside = "" if fold is None else f"fold{fold}/"
        for name in self.files.digests or ():
            if name.startswith(f"{inside}head."):
                self.files.read(name)
        return load_head(self.folder / inside, trust)

    def flaws(self) -> list[DamagedError]:
        """Flaws of its files, one a file; without checksums, as far as they can be seen without them."""
        readers = (lambda: self.config, lambda: self.predictions, lambda: self.history, lambda: self.class_names)
        return self.files.flaws(*readers, *([self._check_heads] if self.files.digests is None else []))

    def _check_heads(self) -> None:
        folds = self.config.split.folds
        for inside in [""] if folds is None else [f"fold{number}/" for number in range(1, folds + 1)]:
            self.files.read(f"{inside}head.json")
            self.files.read(f"{inside}head.{'skops' if self.config.net is None else 'safetensors'}")


def predictions_table(frame: pd.DataFrame, proba: np.ndarray, classes: Sequence[str], part: str) -> pd.DataFrame:
    """One part's rows of `predictions.csv`, from rows with `image_id, group, label` and their probabilities."""
    table = frame[["image_id", "group", "label"]].reset_index(drop=True)
    table["part"] = part
    return table.assign(**{f"p_{label}": proba[:, code] for code, label in enumerate(classes)})


def write_run(
    folder: Path,
    *,
    config: ExperimentConfig,
    metrics: Mapping[str, Mapping[str, float]],
    predictions: pd.DataFrame,
    history: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Any],
    classes: Mapping[str, str],
) -> None:
    """Write everything of a run but its head and its log, which are there already, into an `artefacts.new_folder`.

    `classes` maps each class, in code order, to its readable name.
    """
    columns = list(dict.fromkeys(key for row in history for key in row)) or ["epoch"]
    named = [{"code": code, "class": label, "name": name} for code, (label, name) in enumerate(classes.items())]
    texts = {
        "config.yaml": resolved_yaml(config),
        "metrics.json": json_text(metrics),
        "classes.json": json_text(named),
        "predictions.csv": csv_text(predictions),
        "history.csv": csv_text(pd.DataFrame(history, columns=columns)),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    written = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = [name for name in written if name not in UNSEALED]
    write_json(folder / "provenance.json", sealed(provenance, folder, names))


def run_id(config: ExperimentConfig, when: datetime | None = None) -> str:
    """A readable name: `<head>-<features>-<yyyymmdd-hhmmss>-<4 hex digits of the configuration>`."""
    stamp = (when or datetime.now()).strftime("%Y%m%d-%H%M%S")
    model = config.model_name.rpartition(":")[2]  # of a head of one's own the class
    name = f"{model}-{short_features(config)}-{stamp}-{config.digest[:4]}"
    return re.sub(r"[^A-Za-z0-9+._-]", "_", name)


def short_features(config: ExperimentConfig, most: int = 48) -> str:
    """The features of an experiment in few letters: `effnet_lite0+resnet34`; for a net its backbone, or `images`."""
    names = [short_name(block.backbone) for block in config.features.blocks]
    if config.net is not None:
        names = [short_name(str(config.net.params.get("backbone", "images")))]
    joined = "+".join(names)
    return joined if len(joined) <= most else f"{names[0][: most - 8]}+{len(names) - 1}more"


def short_name(backbone: str) -> str:
    """A backbone in few letters: `effnet_lite0-stages` for `tf_efficientnet_lite0:stages`."""
    name, kind = split_kind(split_digits(backbone)[0])
    name = re.split(r"[/:]", name)[-1].split("@")[0].split(".")[0]
    name = name if kind == PRE_LOGITS else f"{name}-{kind}"
    return name.removeprefix("tf_").replace("efficientnet", "effnet")


def plots_folder(run_folder: Path) -> Path:
    """The folder of a run's pictures, if they were drawn."""
    return run_folder / "plots"


def read_run(folder: Path) -> Run:
    """The run in one folder.

    Raises:
        DamagedError: A file is missing, damaged, or not the one that was written.
    """
    provenance, files = _files(folder).record("provenance.json", PROVENANCE)
    metrics, classes = files.json("metrics.json", METRICS), files.json("classes.json", CLASSES)
    return Run(folder, metrics, provenance, tuple(entry["class"] for entry in classes))


def _files(folder: Path, digests: Mapping[str, str] | None = None) -> Files:
    return Files(folder, "run", "`hamcache runs rm` removes it; train again to replace it.", digests)


def by_age(run: Run) -> tuple[str, str]:
    """Sort key of runs, the oldest first."""
    return str(run.provenance.get("finished", "")), run.id


RUNS = Kind("run", attrgetter("runs"), "metrics.json", read_run, by_age, "`hamcache runs` lists runs.")
all_runs, load_run = RUNS.all, RUNS.load


def list_runs(workspace: Workspace) -> pd.DataFrame:
    """One row a run, latest first: what it is, and each part's scores as `<part>_<metric>`."""
    rows = []
    for run in reversed(all_runs(workspace)):
        about = run.provenance.get("summary", {})
        scores = {f"{part}_{name}": v for part, values in run.metrics.items() for name, v in values.items()}
        seconds = run.provenance.get("seconds", {}).get("total")
        finished = run.provenance.get("finished")
        rows.append({"run": run.id, **about, "finished": finished, "seconds": seconds, **scores})
    columns = ["run", "head", "features", "dataset", "policy", "seed", "finished", "seconds"]
    table = pd.DataFrame(rows)
    return table.reindex(columns=[*columns, *(c for c in table.columns if c not in columns)])
