"""The network that a run fine-tuned, from the files that the run left."""

from __future__ import annotations

from pathlib import Path

from hamcache.data.documents import parse_json
from hamcache.extract.errors import UnknownBackboneError, WeightsError
from hamcache.extract.feature_kinds import is_timm
from hamcache.extract.names import RANDOM, full_name
from hamcache.extract.sources.libraries import library_of
from hamcache.extract.sources.source import BackboneSpec, Built
from hamcache.extract.sources.timm_models import classifier_of
from hamcache.extract.weights import file_state, load_every_key

WEIGHTS, DESCRIPTION = "head.safetensors", "head.json"
"""Files of a run's network, as `heads.nets.classifier` writes them."""
NET = "finetune"
INSIDE = "backbone."
"""Beginning of the names of the backbone's tensors in them."""


def build(spec: BackboneSpec, name: str, pretrained: bool) -> Built:
    """Build the network that a run fine-tuned; see `Source`. `spec.weights` is the run's folder."""
    if not pretrained or spec.weights is None:
        raise UnknownBackboneError(f"Expected a run of this workspace for {spec.name!r}, got none. Name it run:RUN_ID.")
    folder = Path(spec.weights)
    try:
        content = parse_json((folder / DESCRIPTION).read_bytes())
        net, params = content["net"], content.get("params", {})
        base, size, fit = params.get("backbone"), params.get("image_size"), params.get("fit", "crop")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnknownBackboneError(
            f"Expected the network of a fine-tuning in {folder}, got none ({type(error).__name__}: {error}). Name a "
            "run of `hamcache train --config finetune`."
        ) from error
    if net != NET:
        raise UnknownBackboneError(
            f"Expected a run that fine-tuned a backbone for {name!r}, got a run of {net}. Name another."
        )
    base = full_name(str(base)).removeprefix(RANDOM)
    built = library_of(base).build(BackboneSpec(base), base, False)
    state = {
        key.removeprefix(INSIDE): tensor
        for key, tensor in file_state(folder / WEIGHTS).items()
        if key.startswith(INSIDE)
    }
    if not state:
        raise WeightsError(f"Expected the tensors of a backbone in {folder / WEIGHTS}, got none. Train the run again.")
    classifier = classifier_of(built.module) if is_timm(built.module) else None
    load_every_key(built.module, state, classifier, str(folder / WEIGHTS))
    config = {**built.config, "fit": fit}
    if size:
        config["input_size"] = (3, *size)
    return Built(built.module, config, built.forward)


def origin(name: str) -> str:
    """Origin of the weights; see `Source`."""
    return f"the run {name.partition(':')[2]} of the workspace"
