"""`hamcache export`: a finished run as one portable file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hamcache.configs.defaults import COVERAGE
from hamcache.pipeline.cli import options


def export(
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or its folder.", metavar="RUN")],
    out: Annotated[Path | None, options.out("A folder, or NAME.onnx (default: exports/RUN in the workspace).")] = None,
    coverage: options.Coverage = COVERAGE,
    sets: options.Sets = "lac",
    class_conditional: options.ClassConditional = False,
    checked: Annotated[
        int, typer.Option("--check", min=1, help="Images that file and run are both asked about, to compare them.")
    ] = 16,
    licence: options.Licence = None,
    citation: options.Citation = None,
    force: options.Force = False,
    weights: options.Weights = None,
    recipes: options.Recipes = None,
    workspace: options.WorkspacePath = options.WORKSPACE,
    features_url: options.FeaturesUrl = None,
) -> None:
    """Write a run as one ONNX file, from raw pixels to calibrated probabilities and prediction sets, with a model card.

    Resizing, symmetries of the image, networks, head, logit adjustment and temperature are all in the file, so it needs
    nothing but an ONNX runtime. It is compared with the run before it is written, and the card says how it compares.
    """
    place = options.place(workspace, features_url)
    from hamcache.pipeline.cli.console import console, human_bytes
    from hamcache.pipeline.errors import ExportError
    from hamcache.pipeline.evaluate import DISCLAIMER
    from hamcache.pipeline.use.predict.predictor import load_predictor

    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(f"Exporting needs further packages ({error}): pip install 'hamcache[export]'.") from error
    from hamcache.data.readers.imported import Terms
    from hamcache.pipeline.runs.records import load_run
    from hamcache.pipeline.use.export.export import ExportSettings, export_run, targets

    targets(load_run(run, place), place, out, force=force)  # told before networks are loaded
    predictor = load_predictor(
        run,
        place,
        weights=options.pairs(weights),
        recipes_file=recipes,
        device="cpu",
    )
    done = export_run(
        predictor,
        place,
        out,
        ExportSettings(coverage, sets, class_conditional, Terms(licence or "", citation or ""), checked),
        force=force,
        say=lambda line: console.print(line, highlight=False),
    )
    console.print(f"Parity: {done.parity}.", highlight=False, soft_wrap=True)
    for path in (done.model, done.card):
        console.print(
            f"Wrote {path}: {human_bytes(path.stat().st_size)}", highlight=False, markup=False, soft_wrap=True
        )
    console.print(DISCLAIMER, highlight=False)
