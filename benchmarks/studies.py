"""Many experiments: the founding project's way beside ours, a sweep's overhead, an audit's comparison of pixels."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import yaml

from benchmarks import pictures
from benchmarks.apart import apart
from benchmarks.harness import Costs, Round, Setting, processor, wall
from benchmarks.made_up import write_dataset, write_store
from hamcache.cache.storage import Root
from hamcache.data.workspace import Workspace

FOUNDING = ("random/resnet34", "random/densenet121")
TRIALS, EPOCHS, VIEWS, BATCH = 10, 12, 2, 16
IMAGES = 10_015
"""Of HAM10000."""


def founding(setting: Setting) -> Iterator[Round]:
    """Processor time of ten trials that re-run the networks in each epoch, over extracting once and ten trials.

    The first is measured on batches (decode, `original`, both networks in eager float32, the head's step) and
    multiplied by the images, epochs and trials. Ours is measured in full: two views of `original` of every train and
    validation image through both networks, then ten whole trials of the hybrid head.
    """
    from benchmarks.competitors import hybrid_batch
    from benchmarks.extraction import TINY
    from hamcache.data.digests import file_digests
    from hamcache.extract.augmentations import get_augmentation
    from hamcache.extract.backbones import BackboneSpec
    from hamcache.extract.fill import ExtractionRequest, run_extraction
    from hamcache.extract.precision import resolve_precision
    from hamcache.pipeline.config.schema import blocks_from, validate_config
    from hamcache.pipeline.experiment.inputs import open_inputs
    from hamcache.pipeline.experiment.learning import parts_of
    from hamcache.pipeline.experiment.preparation import make_splits
    from hamcache.pipeline.experiment.runner import run_experiment

    names = setting.of(FOUNDING, FOUNDING, (TINY, "random/test_byobnet.r160_in1k"))
    epochs = setting.of(EPOCHS, EPOCHS, 1)
    table = pictures.table_of(setting.images, setting.of(160, 80, 20))
    table.frame.to_csv(setting.folder / "pictures.csv", index=False)
    features = {"blocks": blocks_from("+".join(names), "original", VIEWS), "views": {"train": "random"}}

    def config(lr: float) -> Any:
        head = {"name": "hybrid_mlp", "max_epochs": epochs, "patience": epochs, "lr": lr}
        return validate_config({"dataset": str(setting.folder / "pictures.csv"), "features": features, "head": head})

    split = make_splits(config(1e-3), table)[0]
    parts = parts_of(split, table, ("train", "validation"), {})
    table = table.subset([image_id for part in parts.values() for image_id in part.ids])
    digests = file_digests(table)
    specs = [(BackboneSpec(name, precision=resolve_precision("auto")), "pre_logits") for name in names]
    rounds = count()

    def ours() -> None:
        workspace = Workspace(setting.folder / f"workspace{next(rounds)}")
        request = ExtractionRequest(table, digests, specs, [get_augmentation("original")], VIEWS)
        run_extraction(request, workspace.features)
        inputs = None
        for lr in np.geomspace(1e-4, 1e-2, setting.of(TRIALS, TRIALS, 2)):
            inputs = open_inputs(config(float(lr)), workspace, inputs=inputs)
            run_experiment(config(float(lr)), workspace, inputs=inputs)
        shutil.rmtree(workspace.path)

    paths = list(table.frame["path"][:BATCH])
    with (
        apart(hybrid_batch, names, paths, True, timer=processor) as train,
        apart(hybrid_batch, names, paths, False, timer=processor) as validation,
    ):
        ours()
        while True:
            epoch = train() * len(parts["train"].ids) + validation() * len(parts["validation"].ids)
            yield {"founding": Costs(processor(ours), TRIALS * EPOCHS * epoch / BATCH)}


def sweep(setting: Setting) -> Iterator[Round]:
    """Seconds of a sweep's trial beside its own training, on a worker that had one before; one trial a round."""
    from hamcache.pipeline.config.schema import blocks_from
    from hamcache.pipeline.studies.sweeps.sweep_config import load_sweep_config
    from hamcache.pipeline.studies.sweeps.tuning import run_sweep

    folder, views, dim = setting.folder, 4, setting.of(1280, 640, 8)
    dataset, ids, digests, classes = write_dataset(folder, setting.of(1500, 700, 700))
    for name in ("net_a", "net_b"):
        root, shape = Root(folder / "features"), (dim, views)
        write_store(root, ids, digests, shape, classes=classes, backbone=name, augmentation="dihedral")
    epochs, trials, workers = setting.of((5, 12, 2), (2, 6, 2), (1, 2, 1))
    content = {
        "experiment": {
            "dataset": str(dataset),
            "features": {"blocks": blocks_from("net_a+net_b", "dihedral", views), "views": {"train": "random"}},
            "head": {"name": "mlp", "max_epochs": epochs, "patience": epochs, "hidden": [64]},
        },
        "space": {"head.lr": {"grid": [float(lr) for lr in np.geomspace(1e-4, 1e-2, trials)]}},
        "search": "grid",
        "stopping": "none",
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(content))
    done = run_sweep(load_sweep_config(folder / "sweep.yaml"), Workspace(folder), workers=workers)
    for seconds in done.trials["overhead"].dropna():
        yield {"overhead": Costs(float(seconds))}


def audit(setting: Setting) -> Iterator[Round]:
    """Seconds in which an audit of 10,015 images compares pixels: those of fewer images, two pairs an image, scaled.

    The pairs are those that an audit would look at, candidates by their features.
    """
    import torch

    from hamcache.extract.backbones import BackboneSpec, shared_backbone
    from hamcache.extract.decode import decode_file
    from hamcache.pipeline.inspect.audit.duplicate_search import choose_candidates, find_neighbours
    from hamcache.pipeline.inspect.audit.duplicate_verdicts import LOOK_ALIKE, VERDICTS, align_all
    from hamcache.pipeline.inspect.audit.textures import read_thumbnails

    images = setting.of(320, 160, 14)
    folder = pictures.draw(setting.folder / "drawn", images, (200, 150))
    paths = [str(path) for path in pictures.find_pictures(folder)]
    backbone = shared_backbone(BackboneSpec("random/test_resnet.r160_in1k"))
    fitted = torch.stack([backbone.preprocessing.resize(decode_file(path)) for path in paths])
    features = backbone.features(fitted)["pre_logits"].numpy()
    rows = features / np.linalg.norm(features, axis=1, keepdims=True)
    near = find_neighbours(rows, np.arange(len(rows)), 10, 0)
    pairs = choose_candidates(near, 2 * len(paths), -1.0).pairs

    def compare() -> None:
        align_all(read_thumbnails(paths), pairs, least=VERDICTS[LOOK_ALIKE])

    compare()
    while True:
        yield {"pixels": Costs(wall(compare) * IMAGES / len(paths))}
