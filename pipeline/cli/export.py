"""`hamcache export`: a finished run as one portable file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hamcache.pipeline.cli import bundles, options
from hamcache.pipeline.cli.console import human_bytes, progress_bar, say


def export(
    networks: bundles.NetworksOnCpu,
    promise: bundles.Promise,
    terms: bundles.DataTerms,
    workspace: bundles.FullWorkspace,
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or its folder.", metavar="RUN")],
    out: Annotated[Path | None, options.out("A folder, or NAME.onnx (default: exports/RUN in the workspace).")] = None,
    checked: Annotated[
        int,
        typer.Option(
            "--check", min=1, max=100_000, help="Images that file and run are both asked about, to compare them."
        ),
    ] = 16,
    force: options.Force = False,
) -> None:
    """Write a run as one ONNX file, from raw pixels to calibrated probabilities and prediction sets, with a model card.

    Resizing, symmetries of the image, networks, head, logit adjustment and temperature are all in the file, so it needs
    nothing but an ONNX runtime. It is compared with the run before it is written, and the card says how it compares.
    """
    from hamcache.pipeline.errors import ExportError
    from hamcache.pipeline.evaluate import DISCLAIMER
    from hamcache.pipeline.runs.records import load_run

    asked = load_run(run, workspace)  # a wrong name is told before anything heavy is loaded
    asked.require_trust(networks["trust"])
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(f"Exporting needs further packages ({error}): pip install 'hamcache[export]'.") from error
    from hamcache.pipeline.use.export.export import ExportSettings, check_inputs, export_run, targets
    from hamcache.pipeline.use.predict.predictor import load_predictor

    targets(asked, workspace, out, force=force)  # told before networks are loaded
    check_inputs(asked)
    chosen = ExportSettings(*promise, terms, checked)
    with progress_bar("exporting", None, "files"):
        predictor = load_predictor(run, workspace, **networks | {"device": "cpu"})
        done = export_run(predictor, workspace, out, chosen, force=force, say=lambda line: say(line))
    say(f"Parity: {done.parity}.")
    for path in (done.model, done.card):
        say(f"Wrote {path}: {human_bytes(path.stat().st_size)}")
    say(DISCLAIMER)
