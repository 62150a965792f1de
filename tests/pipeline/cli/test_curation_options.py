"""Exclusions and merged groups, from the files to the runs."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from hamcache.data.errors import CurationError
from hamcache.pipeline.config.overrides import parse_settings
from hamcache.pipeline.experiment.learning import parts_of
from hamcache.pipeline.experiment.preparation import curation_of, make_splits
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.runs.provenance import fingerprint
from hamcache.pipeline.studies.experiments import Template, plan, run_all
from hamcache.pipeline.studies.hybrids import subsets


def files(folder: Path, world, images: int = 5, merges: int = 6) -> tuple[Path, Path, set[str], list[tuple[str, str]]]:
    """Two files: images that are in train, and pairs of groups that a split without them would tear apart."""
    frame = make_splits(world.config("split.policy=grouped"), world.table())[0].frame
    out = list(frame["image_id"][frame["part"] == "train"][:images])
    by_part = {part: list(dict.fromkeys(rows["group"])) for part, rows in frame.groupby("part")}
    pairs = list(zip(by_part["train"][-merges:], by_part["validation"], strict=False))
    folder.mkdir(exist_ok=True)
    exclude, merge = folder / "exclude.csv", folder / "merge.csv"
    exclude.write_text("image_id,reason\n" + "".join(f"{i},blurred\n" for i in out))
    merge.write_text("group,into,reason\n" + "".join(f"{a},{b},same\n" for a, b in pairs))
    return exclude, merge, set(out), pairs


def settings(exclude: Path, merge: Path) -> tuple[str, str, str]:
    return f"split.exclude={exclude}", f"split.merge_groups={merge}", "split.policy=grouped"


def test_a_run_honours_both_files_and_says_so(world, tmp_path: Path) -> None:
    world.extract()
    exclude, merge, out, pairs = files(tmp_path / "files", world)
    run = run_experiment(world.config(*settings(exclude, merge)), world.workspace, test=True)
    assert not out & set(run.predictions["image_id"])
    table = world.table().frame.set_index("image_id")["group"]
    part_of = run.predictions.assign(raw=table.reindex(run.predictions["image_id"]).to_numpy()).groupby("raw")["part"]
    for a, b in pairs:
        assert set(part_of.get_group(a)) == set(part_of.get_group(b)) == {"validation"}
        # The lesions that are one are drawn as one by the bootstrap, too.
        rows = run.predictions["group"][run.predictions["image_id"].isin(table.index[table.isin([a, b])])]
        assert set(rows) == {b}
    assert run.provenance["curation"] == {"excluded": sorted(out), "merged": dict(sorted(pairs))}
    assert "5 images are excluded, 6 groups are merged into others" in (run.folder / "log.txt").read_text()


def test_the_fingerprint_follows_what_the_files_say_and_not_where_they_are(world, tmp_path: Path) -> None:
    world.extract()
    exclude, merge, _, _ = files(tmp_path / "one", world)
    plain = run_experiment(world.config("split.policy=grouped"), world.workspace)
    run = run_experiment(world.config(*settings(exclude, merge)), world.workspace)
    assert run.provenance["fingerprint"] != plain.provenance["fingerprint"]
    assert run.provenance["split"] != plain.provenance["split"]
    there = tmp_path / "two"
    there.mkdir()
    for path in (exclude, merge):
        header, *rows = path.read_text().splitlines()
        (there / path.name).write_text("\n".join([header, *rows[::-1]]) + "\n")
    moved = world.config(*settings(there / exclude.name, there / merge.name))
    assert run_experiment(moved, world.workspace).reused
    exclude.write_text("image_id\n")
    assert not run_experiment(world.config(*settings(exclude, merge)), world.workspace).reused


def test_runs_without_a_curation_keep_their_fingerprint(world) -> None:
    """Workspaces hold runs that were made before there were exclusions."""
    config = world.config()
    content = {k: v for k, v in config.content().items() if k not in ("dataset", "dataset_name", "columns")}
    first = ("policy", "test_fraction", "validation_fraction", "train_images", "test_seed", "folds")
    content["split"] = {k: content["split"][k] for k in first}
    assert (
        fingerprint(config, x=1) == hashlib.sha256(json.dumps([content, {"x": 1}], sort_keys=True).encode()).hexdigest()
    )
    world.extract()
    assert "curation" not in run_experiment(config, world.workspace).provenance


def test_folds_honour_both_files(world, tmp_path: Path) -> None:
    world.extract()
    exclude, merge, out, pairs = files(tmp_path, world)
    config = world.config(*settings(exclude, merge), "split.folds=3")
    folds = make_splits(config, world.table())
    held_out = [set(parts_of(fold, world.table(), ["validation"], {})["validation"].groups) for fold in folds]
    assert all(sum(b in part for part in held_out) <= 1 and not any(a in p for p in held_out) for a, b in pairs)
    run = run_experiment(config, world.workspace)
    assert not out & set(run.predictions["image_id"])


def test_the_zoo_and_hybrids_honour_both_files_and_find_their_runs_again(world, tmp_path: Path) -> None:
    world.extract("net_a")
    world.extract("net_b")
    exclude, merge, out, _ = files(tmp_path, world)
    base = {"dataset": str(world.csv)}
    both = base | parse_settings(settings(exclude, merge))
    experiments = plan(subsets(["net_a", "net_b"]), ["logreg"], Template(settings=both))
    outcomes = run_all(experiments, world.workspace, workers=1)
    for outcome in outcomes:
        assert outcome.run is not None and not out & set(outcome.run.predictions["image_id"])
    assert all(outcome.reused for outcome in run_all(experiments, world.workspace, workers=1))
    ungrouped = Template(settings=base | {"split.policy": "grouped"})
    plain = run_all(plan(["net_a"], ["logreg"], ungrouped), world.workspace, workers=1)
    assert not plain[0].reused


def test_an_excluded_image_needs_no_features(world, tmp_path: Path) -> None:
    exclude, merge, out, _ = files(tmp_path, world)
    world.extract(images=[i for i in world.table().frame["image_id"] if i not in out])
    run = run_experiment(world.config(*settings(exclude, merge)), world.workspace)
    assert len(run.predictions) > 0


def test_unknown_names_stop_a_run_before_anything_is_written(world, tmp_path: Path) -> None:
    world.extract()
    path = tmp_path / "exclude.csv"
    path.write_text("image_id\nimg0001\nimg9999\n")
    with pytest.raises(CurationError, match=r"'img9999' \(line 3\)"):
        run_experiment(world.config(f"split.exclude={path}"), world.workspace)
    assert not list((world.workspace / "runs").glob("*"))


def test_scores_are_those_of_the_images_that_are_left(world, tmp_path: Path) -> None:
    """Excluding from validation takes the images out of its scores and leaves all others as they were."""
    world.extract()
    before = run_experiment(world.config("split.policy=grouped"), world.workspace)
    ids = list(before.part("validation")["image_id"])
    path = tmp_path / "exclude.csv"
    path.write_text("image_id\n" + "\n".join(ids[:3]) + "\n")
    after = run_experiment(world.config("split.policy=grouped", f"split.exclude={path}"), world.workspace)
    assert list(after.part("validation")["image_id"]) == ids[3:]
    assert list(after.part("train")["image_id"]) == list(before.part("train")["image_id"])
    np.testing.assert_array_equal(after.probabilities("validation"), before.probabilities("validation")[3:])
    assert curation_of(after.config, world.table()).excluded == dict.fromkeys(ids[:3], "")
