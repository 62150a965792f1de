"""The model card: what a run is, what it was made from, what it is worth, and what it must not be used for.

After Mitchell et al., Model Cards for Model Reporting, FAT* 2019 (arXiv:1810.03993), in its order of sections.
"""

from collections.abc import Sequence
from pathlib import Path

from hamcache.cache.keys import split_digits
from hamcache.data.ham10000 import CLASS_NAMES, LICENCE
from hamcache.data.readers.imported import Terms
from hamcache.extract.names import EMBEDDED, split_kind
from hamcache.heads.metrics import METRICS
from hamcache.pipeline.config.schema import ExperimentConfig, NetConfig, resolved_yaml
from hamcache.pipeline.evaluate.conformal import PredictionSets
from hamcache.pipeline.evaluate.intervals import Interval
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.use.export.card_figures import PartFigures, SetFigures
from hamcache.pipeline.use.export.run_module import precision_of
from hamcache.pipeline.use.predict.predictor import Predictor

HEADLINES = ("mcc", "balanced_accuracy", "accuracy", "weighted_f1", "macro_f1", "macro_auc", "nll", "brier", "ece")
_POLICIES = {
    "one_per_lesion": "one image a lesion; a test set that is the same whatever the seed, then validation and train",
    "single_image_lesions": "test and validation from lesions with one image; all images of the others train",
    "grouped": "all images; the images of a lesion are all in one part",
}


def model_card(
    predictor: Predictor,
    sets: PredictionSets,
    figures: Sequence[PartFigures],
    terms: Terms,
    parity: str,
    file: str,
    n_bytes: int,
) -> str:
    """The card as Markdown.

    Args:
        predictor: The run.
        sets: The sets that the file gives.
        figures: Of each part that was opened.
        terms: Licence and citation of the data, maybe empty.
        parity: Comparison of the file with the run, in words.
        file: Name of the ONNX file.
        n_bytes: Its size.
    """
    run = predictor.run
    sections = [
        f"# Model card: {run.id}",
        "**For research only. This is not a medical device: no output of it is a diagnosis, and none may be used to "
        "make or to put off a decision about a patient.**",
        _details(predictor, sets, file, n_bytes),
        _use(run),
        _factors(terms, any(part.subgroups for part in figures)),
        _metrics(),
        _data(run, terms),
        _analyses(predictor, figures),
        _ethics(terms),
        _caveats(predictor, parity),
        _how_to(file, sets),
        _provenance(run),
    ]
    return "\n\n".join(sections) + "\n"


def _details(predictor: Predictor, sets: PredictionSets, file: str, n_bytes: int) -> str:
    run = predictor.run
    names = "\n".join(f"| `{_cell(label)}` | {_cell(CLASS_NAMES.get(label, label))} |" for label in run.classes)
    whom = "for each class" if sets.class_conditional else "on average over all images"
    version = run.provenance.get("versions", {}).get("hamcache", "")
    return f"""## Model details

- {_model(run.config)} Arithmetic of the networks: {precision_of(predictor)}.
- Trained by `hamcache` {version}, finished {run.provenance.get("finished", "at an unknown time")}, run `{run.id}`.
- File: `{file}`, about {n_bytes / 1e6:.1f} MB of ONNX (opset 20), with this card and all names inside.
- Input `images`: uint8 `[n, height, width, 3]`, RGB, upright, all of one size, any size from 8 pixels on. The graph
  crops and resizes as in training, to the last bit{_views(predictor)}.
- Output `probabilities`: float32 `[n, {len(run.classes)}]`, calibrated by one temperature
  ({predictor.temperature.value:.3f}, fitted on {predictor.temperature.images} validation images).
- Output `prediction_set`: bool `[n, {len(run.classes)}]`, the classes that together hold the true one with a chance of
  {100 * sets.coverage:g} % {whom} (split conformal prediction, score `{sets.score}`).
- Licences: the code of `hamcache` is under Apache-2.0; {_weights(run.config)}.

| class | meaning |
|---|---|
{names}"""


def _model(config: ExperimentConfig) -> str:
    adjusted = "" if config.tau is None else ", with post-hoc logit adjustment"
    folds = f"; the mean of {config.split.folds} models, one a fold" if config.split.folds else ""
    if config.net is not None:
        backbone = config.net.params.get("backbone")
        of = f", a fine-tuned {_cell(backbone)}" if backbone else ""
        return f"A network trained from the images: `{config.net.name}`{of}{adjusted}{folds}."
    blocks = ", ".join(
        f"`{_cell(block.backbone)}` (views {block.augmentation} x{block.views}, {block.transform})"
        for block in config.features.blocks
    )
    own = f", not one of hamcache ({', '.join(config.trust)} trusted)" if config.trust else ""
    return f"A head `{_cell(config.head.name)}`{own} on features of frozen networks: {blocks}{adjusted}{folds}."


def _views(predictor: Predictor) -> str:
    config = predictor.run.config
    if config.net is not None:
        views = config.net.params["predict_views"]
    else:
        views = max(source.views for source in predictor.model.sources)
    return f", and averages over {views} symmetries of the image" if views > 1 else ""


def _weights(config: ExperimentConfig) -> str:
    names = (
        [str(config.net.params.get("backbone") or "")] if config.net else [b.backbone for b in config.features.blocks]
    )
    networks = list(dict.fromkeys(split_kind(split_digits(name)[0])[0] for name in names if name))
    if not networks:
        return "the network has no weights of others"
    if set(networks) <= set(EMBEDDED):
        return "the backbones' ImageNet weights (EfficientNet-Lite) are under Apache-2.0"
    return f"the weights of {', '.join(map(_cell, networks))} are under the terms of whoever published them"


def _use(run: Run) -> str:
    classes = ", ".join(f"`{_cell(label)}`" for label in run.classes)
    return f"""## Intended use

- Research on, and teaching of, image classification: comparing features, heads and calibration on this data set.
- Users: people who know what the figures below mean.

Out of scope:

- Diagnosis, triage, screening or any other use in the care of patients, by professionals or by anybody else.
- Images of another kind than those it was trained on (other devices, other body parts, photographs by phone).
- Anything that is none of {classes}: every image gets one of these classes, whatever it shows."""


def _factors(terms: Terms, by_group: bool) -> str:
    broken_down = (
        "by class and by what the data set tells of its patients, which is not their skin tone."
        if by_group
        else "by class; they are not broken down by age, sex, body site or skin tone."
    )
    lines = [
        "## Factors",
        "",
        "Results depend on the device and its light, on how the image was cut, on hair, ink, rulers and bubbles in it, "
        "and on the skin around a lesion. The figures below are for images like those of the data set, and are given "
        + broken_down,
    ]
    if terms.licence == LICENCE:
        lines[-1] += (
            " HAM10000 records no skin tone. Its patients were treated in Austria and Australia, and most have light "
            "skin: on dark skin nothing is known of this model, and worse results must be expected."
        )
    return "\n".join(lines)


def _metrics() -> str:
    lines = [f"- `{name}`: {METRICS[name].description}" for name in HEADLINES]
    return "\n".join(
        [
            "## Metrics",
            "",
            *lines,
            "",
            "Intervals are 95 % percentile bootstraps over lesions (all images of a lesion are drawn together). All "
            "scores are those of the calibrated probabilities.",
        ]
    )


def _data(run: Run, terms: Terms) -> str:
    split, about = run.config.split, run.provenance
    sizes = {part: run.part(part) for part in ("train", "validation", "test") if part in run.metrics}
    rows = [
        [part, len(frame), frame["group"].nunique(), *((frame["label"] == label).sum() for label in run.classes)]
        for part, frame in sizes.items()
    ]
    folds = ""
    if split.folds:
        folds = (
            f" Cross-validated in {split.folds} folds: an image's validation score is that of the model that has not "
            "seen its lesion, and images are in train and in validation, by turns."
        )
    dealt = _cell(split.words) if split.is_given else f"`{split.policy}` ({_POLICIES[split.policy]})"
    left_out = len(about.get("left_out", {}))
    cite = f"\n- Cite: {_cell(terms.citation)}" if terms.citation else ""
    return f"""## Evaluation data and training data

- Data set `{_cell(about["summary"]["dataset"])}`; licence of the data: {_cell(terms.licence) or "not stated"}.{cite}
- Split {dealt}, seed {run.config.seed}. No lesion is in two parts.{folds}
- {left_out} images could not be read and were left out.
- Fingerprints (sha256): table `{about["table"][:16]}`, files `{about["files"][:16]}`.

{_table(["part", "images", "lesions", *run.classes], rows)}"""


def _analyses(predictor: Predictor, figures: Sequence[PartFigures]) -> str:
    warning = "The test set was not opened. Validation was used to make choices, so its figures are too good."
    if any(part.part == "test" for part in figures):
        warning = "The test set was opened for this run: its figures are the ones to quote."
    parts = [_part(predictor, part) for part in figures]
    return "\n\n".join(["## Quantitative analyses", warning, *parts])


def _part(predictor: Predictor, figures: PartFigures) -> str:
    # Resamples are worse calibrated than the images they are drawn from, so a bootstrap of this error misses it.
    ece = figures.scores["ece"].value
    shown = figures.scores | {"ece": ece}
    scores = [[name, shown[name], figures.baseline.get(name, float("nan"))] for name in HEADLINES]
    classes = [
        [label, n, figures.scores[f"sensitivity_{label}"], figures.scores[f"specificity_{label}"]]
        for label, n in figures.class_images.items()
        if n
    ]
    temperature = predictor.temperature
    held_out = fitted = ""
    if figures.part == "validation":
        held_out = f" On validation itself, each image scaled without its own fold: {temperature.ece_after:.3f}."
        fitted = " The thresholds come from these very images, so the shares are what they were set to."
    columns = ["promised", "kind", "kept", "in the worst class", "classes a set", "single"]
    return f"""### {figures.part.capitalize()}: {figures.images:,} images of {figures.lesions:,} lesions

{_table(["score", "this model", "majority class"], scores)}

{_table(["class", "images", "sensitivity", "specificity"], classes)}

Calibration: the expected calibration error is {figures.raw_ece:.3f} without and {ece:.3f} with the
temperature.{held_out}

Prediction sets: how many images' sets hold the true class.{fitted}

{_table(columns, [_set_row(sets) for sets in figures.sets])}{_subgroups(figures)}"""


def _subgroups(figures: PartFigures) -> str:
    """Scores of subgroups, where there are any; a score that a group is too small or too uniform for is a dash."""
    if not figures.subgroups:
        return ""
    names = list(figures.subgroups[0].scores)
    rows = [
        [g.column, g.name, g.images, g.lesions, *(g.scores[name] or "-" for name in names), g.note]
        for g in figures.subgroups
    ]
    table = _table(["column", "group", "images", "lesions", *names, "note"], rows)
    return f"""

Subgroups, each with its own bootstrap. Many are looked at: one interval in twenty misses its value.

{table}"""


def _set_row(figures: SetFigures) -> list[object]:
    sets = figures.sets
    kind = f"{sets.score}, {'each class' if sets.class_conditional else 'on average'}"
    worst, share = min(figures.class_covered.items(), key=lambda item: item[1])
    return [
        f"{100 * sets.coverage:g} %",
        kind,
        figures.covered,
        f"{worst} {share:.3f}",
        f"{figures.size:.2f}",
        f"{100 * figures.single:.0f} %",
    ]


def _ethics(terms: Terms) -> str:
    lines = [
        "## Ethical considerations",
        "",
        "- The images are of people. Use them, and this model, only as their licence allows.",
        "- A wrong answer may look sure of itself. A missed melanoma can cost a life, and a false alarm is not free.",
        "- The classes are far from equally frequent: see sensitivity by class, not accuracy alone.",
    ]
    if "NC" in terms.licence.upper().replace("-", " ").split():
        lines.append(f"- The data are under {_cell(terms.licence)}: no commercial use, and name the source.")
    return "\n".join(lines)


def _caveats(predictor: Predictor, parity: str) -> str:
    lines = [
        "## Caveats and recommendations",
        "",
        f"- Run and file: {parity}.",
        "- Sets keep their promise for images drawn like the validation images, on average over such draws. Validation "
        "was looked at in training (stopping, choices, temperature), so it holds approximately.",
        "- The file does not say whether an image is like anything seen in training; `hamcache predict` does, with the "
        "run and its cache. Do not ask it about other images.",
        "- Test it on your own images, with their own labels, before you believe any figure of this card.",
    ]
    if precision_of(predictor) == "bf16":
        lines.insert(
            3,
            "- The run computes its networks in bfloat16. The file does the same in float32, rounding every result as "
            "bfloat16 would be; sums in another order can still round the other way, hence the differences. A run on "
            "features of `--precision fp32` has none above 1e-5 or so.",
        )
    return "\n".join(lines)


def _how_to(file: str, sets: PredictionSets) -> str:
    return f"""## How to use it

```python
import json
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("{file}")
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
probabilities, in_set = session.run(None, {{"images": np.asarray(image)[None]}})
print(dict(zip(classes, probabilities[0].round(3).tolist())))
print("{100 * sets.coverage:g} % set:", [label for label, inside in zip(classes, in_set[0]) if inside])
```"""


def _provenance(run: Run) -> str:
    about = run.provenance
    versions = ", ".join(f"{name} {version}" for name, version in about.get("versions", {}).items())
    stores = "\n".join(f"- features `{_cell(folder)}`, key `{key}`" for folder, key in about.get("stores", {}).items())
    return f"""## Provenance

- Experiment `{about["fingerprint"]}`
- {versions}
{stores}

```yaml
{resolved_yaml(_shared(run)).strip()}
```"""


def _shared(run: Run) -> ExperimentConfig:
    """A run's configuration without the folders of the machine that it was made on."""
    config = run.config
    changes: dict[str, object] = {"dataset": run.provenance["summary"]["dataset"]}
    if config.net is not None and config.net.params.get("weights"):
        params = config.net.params | {"weights": Path(config.net.params["weights"]).name}
        changes["net"] = NetConfig(name=config.net.name, **params)
    return config.model_copy(update=changes)


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(_number(cell)) for cell in line) + " |" for line in lines)


def _number(cell: object) -> str:
    if isinstance(cell, Interval):
        return str(cell)
    if isinstance(cell, float):
        return "-" if cell != cell else f"{cell:.3f}"
    return str(cell)


def _cell(text: object) -> str:
    """Text that can break neither a table nor the page: names come from users."""
    plain = " ".join(str(text).split())
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "'")
