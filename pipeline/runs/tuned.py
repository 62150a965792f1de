"""Runs as backbones: `run:RUN_ID` is the network that a run fine-tuned, and it has seen that run's images."""

from collections.abc import Iterable, Sequence

from hamcache.cache.keys import split_digits
from hamcache.data.splits import Split
from hamcache.data.workspace import Workspace
from hamcache.extract.names import RUN, split_kind
from hamcache.pipeline.errors import RunError
from hamcache.pipeline.runs.records import Run, load_run


def tuned_weights(backbones: Iterable[str], workspace: Workspace) -> dict[str, str]:
    """The folder of each run among some backbones, as `BackboneSpec.weights` takes it."""
    return {name: str(run.folder) for name, run in _tuned_runs(backbones, workspace).items()}


def refuse_seen_images(backbones: Iterable[str], splits: Sequence[Split], workspace: Workspace) -> None:
    """Refuse to score a head on images that the network behind its features was tuned on.

    The images that the network was *trained* on, and all of their lesions, may be in train only. Those that its epoch
    was *chosen* on may be in train and in validation, where a head's settings are chosen again, but not in test.

    Args:
        backbones: The networks of the head's features.
        splits: The experiment's, one a fold; the test part counts even where it stays closed.
        workspace: Holds the runs.

    Raises:
        RunError: Names the number of images.
    """
    for name, run in _tuned_runs(backbones, workspace).items():
        seen = {part: run.predictions[run.predictions["part"] == part] for part in ("train", "validation")}
        for split in splits:
            frame, count = split.frame, {"validation": 0, "test": 0}
            for part in count:
                images = frame[frame["part"] == part]
                tuned = ("train",) if part == "validation" else ("train", "validation")
                ids = set().union(*(seen[of]["image_id"] for of in tuned))
                groups = set().union(*(seen[of]["group"] for of in tuned))
                count[part] = int((images["image_id"].isin(ids) | images["group"].isin(groups)).sum())
            if any(count.values()):
                raise RunError(
                    f"Expected features of a network that has not seen the images it is judged on, but {name} was "
                    f"tuned on {count['validation']} of the validation images and {count['test']} of the test images, "
                    f"or on others of their groups. Use the split that the run has: seed {run.config.seed}, "
                    f"split.policy {run.config.split.policy}, without folds."
                )


def _tuned_runs(backbones: Iterable[str], workspace: Workspace) -> dict[str, Run]:
    """The runs behind those backbones that are runs, by the backbone's full name.

    Raises:
        RunError: a run is named by less than its whole id, which its features are to be called by, or has folds.
        ArtefactNotFoundError: there is none.
    """
    runs: dict[str, Run] = {}
    for backbone in backbones:
        name = split_kind(split_digits(backbone)[0])[0]
        if name.startswith(RUN):
            run = load_run(name.removeprefix(RUN), workspace)
            if run.id != name.removeprefix(RUN):
                raise RunError(f"Expected the whole id of a run as a backbone, got {name!r}. Name it {RUN}{run.id}.")
            if run.config.split.folds is not None:
                raise RunError(
                    f"Expected a run with one network as a backbone, got {name!r}, which has one a fold. Train without "
                    "split.folds."
                )
            runs[name] = run
    return runs
