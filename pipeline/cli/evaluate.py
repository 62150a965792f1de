"""`hamcache evaluate`: a finished run on a labelled data set that it has never seen."""

from __future__ import annotations

import sys
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hamcache.configs.defaults import CORRUPTIONS
from hamcache.pipeline.cli import bundles, options
from hamcache.pipeline.cli.console import progress_bar, say, show_table, warn
from hamcache.pipeline.cli.extraction import open_dataset

if TYPE_CHECKING:
    from hamcache.pipeline.evaluate.evaluations import Evaluation

SHOWN = ("mcc", "weighted_f1", "macro_f1", "balanced_accuracy", "accuracy", "macro_auc", "ece", "nll")


def evaluate(
    networks: bundles.Networks,
    promise: bundles.Promise,
    words: bundles.Words,
    workspace: bundles.FullWorkspace,
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or its folder.", metavar="RUN")],
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="OURS=THEIRS",
            help="A class of the run, and what the data set calls it, e.g. bcc=BCC; one class may have several labels, "
            "one label several classes.",
        ),
    ] = None,
    corruptions: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help=f"Also score corrupted copies at five severities: {', '.join(CORRUPTIONS)}; or all.",
        ),
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="Score this many images at most: whole lesions, the same mix of classes.")
    ] = None,
    test: options.Test = False,
    workers: options.Workers = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
) -> None:
    """Score a finished run on another labelled data set, and, if asked, on corrupted copies of it.

    The features are extracted as needed, just as the run's were. Images that the run was trained or calibrated on are
    left out and counted: the same bytes, or the same lesion where both data sets share their names. Scores with
    intervals over lesions stand beside the run's own; calibration, prediction sets and likeness are the run's own,
    tried on these images. A finished evaluation is found, not made again.
    """
    names = list(CORRUPTIONS) if corruptions == "all" else options.listed(corruptions)
    if unknown := [name for name in names if name not in CORRUPTIONS]:
        expected = f"expected {', '.join(CORRUPTIONS)} or all"
        raise typer.BadParameter(f"{expected}, got {unknown[0]!r:.100}", param_hint="--corruptions")
    pairs = options.pair_list(map_)

    from hamcache.pipeline.runs.records import load_run

    found = load_run(run, workspace)
    found.require_trust(networks["trust"])  # mistakes are told before torch is imported
    dataset = open_dataset(words, workspace)
    from hamcache.pipeline.use.external.external import Evaluating, evaluate_run

    chosen = Evaluating(
        tuple(pairs),
        tuple(dict.fromkeys(names)),
        images,
        test,
        *promise,
    )
    with progress_bar("asking", None, "images") as advance_to:
        evaluation = evaluate_run(
            found,
            dataset,
            workspace,
            chosen,
            networks=networks,
            workers=workers,
            force=force,
            on_progress=lambda what, done, total: advance_to(done, total),
        )
    if not evaluation.picture.is_file():
        from hamcache.pipeline.show.plots.evaluation import plot_evaluation  # imports matplotlib

        plot_evaluation(evaluation)
    if as_json:
        from hamcache.data.files import json_text

        sys.stdout.write(json_text(evaluation.record))
    else:
        _show(evaluation)


def _show(evaluation: Evaluation) -> None:
    record = evaluation.record
    part, objective = record["part"], record["objective"]
    names = evaluation.scored(SHOWN)
    names += [name for name in record["scores"] if name.startswith("sensitivity_") or "_at_" in name]
    rows = [(name, *(_bound(record[of].get(name)) for of in ("scores", "own", "difference"))) for name in names]
    rows.append(("ece, calibrated", *(_bound(record[of]["ece"]) for of in ("calibrated", "own_calibrated")), "-"))
    coverage = record["coverage"]
    promised = f"sets of {100 * coverage['promised']:g} % hold the class"
    rows.append((promised, _bound(coverage["share"]), _bound(coverage["own"]), "-"))
    rows.append(("classes in a set", _bound(coverage["size"]), "-", "-"))
    if record["unlike"] is not None:
        rows.append(("unlike the training images", _bound(record["unlike"]), f"{record['unlike_at']:.3f}", "-"))
    show_table(
        f"{record['run']} on {record['dataset']}: {record['images']:,} images of {record['lesions']:,} lesions",
        ("score", record["dataset"], f"own {part}", "difference"),
        rows,
        caption=f"[95 % interval over lesions]; own {part}: {record['own_images']:,} images of the same classes",
    )
    if curves := evaluation.curves:
        _, *severities = (str(row["severity"]) for row in next(iter(curves.values())))
        show_table(
            f"{objective} of corrupted copies, by severity",
            ("corruption", "as it is", *severities),
            [(kind, *(_bound(row["scores"].get(objective)) for row in rows)) for kind, rows in curves.items()],
        )
    left_out = ", ".join(f"{reason} {count:,}" for reason, count in record["left_out"].items())
    if left_out:
        warn(f"Left out: {left_out}.")
    for note in record["notes"]:
        warn(note)
    found = " (found finished, not made again)" if evaluation.reused else f" in {record['seconds']:.0f} s"
    say(f"Wrote {evaluation.folder}: {', '.join(sorted(p.name for p in evaluation.folder.iterdir()))}{found}")


def _bound(entry: dict[str, Any] | None) -> str:
    from hamcache.pipeline.evaluate.evaluations import bound_of

    bound = bound_of(entry)
    if bound is None:
        return "-"
    return str(bound) if isfinite(bound.low) else f"{bound.value:.3f}"
