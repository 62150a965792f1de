"""`hamcache export`: a finished run as one portable file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hamcache.pipeline.cli import options


def export(
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or its folder.", metavar="RUN")],
    out: Annotated[
        Path | None,
        typer.Option(help="A folder, or NAME.onnx (default: exports/RUN in the workspace)."),
    ] = None,
    coverage: Annotated[float, typer.Option(help="Chance that a prediction set holds the true class.")] = 0.9,
    sets: Annotated[str, typer.Option(help="lac (smallest sets) or aps (larger for hard images).")] = "lac",
    class_conditional: Annotated[
        bool, typer.Option("--class-conditional", help="Promise the coverage for each class, not only on average.")
    ] = False,
    checked: Annotated[
        int, typer.Option("--check", min=1, help="Images that file and run are both asked about, to compare them.")
    ] = 16,
    licence: Annotated[str, typer.Option(help="Licence of the data (known for HAM10000).")] = "",
    citation: Annotated[str, typer.Option(help="Whom users of the data have to cite (known for HAM10000).")] = "",
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
    weights: Annotated[list[str], typer.Option(help="BACKBONE=FILE, if the features were extracted with such.")] = [],  # noqa: B006
    recipes: Annotated[
        Path | None, typer.Option(exists=True, help="The YAML file of recipes that the features were extracted with.")
    ] = None,
    workspace: options.WorkspacePath = options.DEFAULT_WORKSPACE,
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
    from hamcache.pipeline.evaluate.conformal import SCORES
    from hamcache.pipeline.use.predict.predictor import load_predictor

    options.one_of(sets, SCORES, "--sets")
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
        weights=options.pairs(weights, "--weights"),
        recipes_file=recipes,
        device="cpu",
    )
    done = export_run(
        predictor,
        place,
        out,
        ExportSettings(coverage, sets, class_conditional, Terms(licence, citation), checked),
        force=force,
        say=lambda line: console.print(line, highlight=False),
    )
    console.print(f"Parity: {done.parity}.", highlight=False, soft_wrap=True)
    for path in (done.model, done.card):
        console.print(
            f"Wrote {path}: {human_bytes(path.stat().st_size)}", highlight=False, markup=False, soft_wrap=True
        )
    console.print(DISCLAIMER, highlight=False)
