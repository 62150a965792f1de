"""`hamcache demo`: the main job, start to end, on drawn images and embedded weights."""

from __future__ import annotations

import time

from hamcache.pipeline.cli import bundles, pictures
from hamcache.pipeline.cli.console import lines_console, progress_bar, say, show_table
from hamcache.pipeline.cli.extraction import extract_behind_bar, open_dataset, show_summary

BACKBONES = ("tf_efficientnet_lite0", "tf_efficientnet_lite1")
AUGMENTATION, VIEWS, LESIONS = "flip", 2, 280
METRICS = ("mcc", "weighted_f1", "balanced_accuracy")
EXPECTED = "0.55 to 0.85"
"""Validation MCC of the heads below on the demo's data set."""


def demo(workspace: bundles.PlainWorkspace) -> None:
    """Draw a small data set, run two backbones over it once, train heads and a hybrid, and run it again for nothing."""
    from hamcache.data.dataset import DatasetWords
    from hamcache.data.synthetic.collection import synthesize
    from hamcache.pipeline.config.schema import blocks_from, validate_config
    from hamcache.pipeline.experiment.extraction import FeatureWords
    from hamcache.pipeline.experiment.inputs import open_inputs
    from hamcache.pipeline.experiment.runner import run_experiment

    started = time.perf_counter()
    folder = workspace.datasets / f"demo-{LESIONS}"
    lines_console().rule("1. A data set of drawn lesions, shaped like HAM10000", align="left")
    if not (folder / "HAM10000_metadata.csv").exists():
        with progress_bar("drawing", None, "images") as advance_to:
            synthesize(folder, lesions=LESIONS, progress=advance_to)
    dataset = open_dataset(DatasetWords(str(folder)), workspace)
    say(f"{len(dataset.table):,} images of {dataset.table.frame['group'].nunique():,} lesions in {folder}")

    lines_console().rule("2. Every frozen backbone runs once", align="left")
    wanted = FeatureWords(BACKBONES, [AUGMENTATION], VIEWS)
    show_summary(extract_behind_bar(dataset, workspace, wanted))

    lines_console().rule("3. Heads train on cached features", align="left")
    rows, runs = [], []
    for features in (*BACKBONES, "+".join(BACKBONES)):
        for head in ("logreg", "mlp"):
            config = validate_config(
                {
                    "dataset": str(folder),
                    "split": {"train_images": "all"},
                    "features": {"blocks": blocks_from(features, AUGMENTATION, VIEWS)},
                    "head": head,
                }
            )
            run = run_experiment(config, workspace, inputs=open_inputs(config, workspace, dataset=dataset))
            runs.append(run)
            scores = [run.metrics["validation"][name] for name in METRICS]
            rows.append((features, head, *scores, float(run.provenance["seconds"]["total"])))
    pictures.draw_pictures(runs)
    chance = runs[0].baseline("validation")
    rows.append(("majority class", "", *(chance[name] for name in METRICS), 0.0))
    show_table(
        "Validation scores",
        ("features", "head", "MCC", "weighted F1", "balanced accuracy", "seconds"),
        rows,
        caption=f"Expect an MCC of {EXPECTED}; guessing scores 0. Drawn images: no statement about medicine.",
    )

    lines_console().rule("4. The same extraction again", align="left")
    again = extract_behind_bar(dataset, workspace, wanted)
    show_summary(again)
    say(f"Decoded {again.n_decoded} images: everything was in the cache.")
    say(f"Done in {time.perf_counter() - started:.0f} s. Runs: `hamcache runs --workspace {workspace}`")
