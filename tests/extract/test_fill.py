import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

import hamcache.extract.worker
from hamcache.cache.catalogue import Catalogue
from hamcache.cache.costs import read_costs
from hamcache.cache.errors import CacheInUseError, MissingFeaturesError, StorageError
from hamcache.cache.lock import writing
from hamcache.cache.storage import Root
from hamcache.cache.verify import verify
from hamcache.data.errors import UnreadImageError
from hamcache.data.ham10000 import read_table
from hamcache.data.image_files import image_bytes
from hamcache.extract import scheduler
from hamcache.extract.augmentations import get_augmentation
from hamcache.extract.backbones import load_backbone
from hamcache.extract.decode import decode_image
from hamcache.extract.draws import draw_view
from hamcache.extract.errors import ExtractionFailedError, NoRoomError, SchedulerError, TooManyViewsError
from hamcache.extract.kernels import ImageViews
from tests.extract.conftest import NET, OTHER, everything
from tests.odd_files import ODD_FILES, made_odd, other_formats


def paths_of(table) -> dict[str, Path]:
    return {i: Path(p) for i, p in zip(table.frame["image_id"], table.frame["path"], strict=True)}


def test_stored_features_are_what_the_network_gives_for_that_view_of_that_image(extract, ham10000_table, tmp_path):
    """The whole way by hand, for a few images: decode, draw, resize, forward."""
    extract(augmentations=["original"], views=2)
    store = Catalogue(tmp_path / "features").one(ham10000_table.name, NET.name, "original")
    network, augmentation = load_backbone(NET), get_augmentation("original")
    for image_id in list(ham10000_table.frame["image_id"])[::25]:
        image = decode_image(paths_of(ham10000_table)[image_id].read_bytes())
        for view in (0, 1):
            seen = ImageViews(image).fitted(draw_view(augmentation, 0, image_id, view), network.preprocessing.frame)
            expected = network.features(seen[None])["pre_logits"][0].numpy()
            assert np.allclose(store.read([image_id], [view])[0, 0], expected, atol=1e-4 * np.abs(expected).max())


def test_the_second_run_decodes_nothing_and_writes_nothing(extract, tmp_path):
    first = extract(nets=[NET, OTHER], augmentations=["none", "flip", "original"], views=3)
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "features").rglob("*") if p.is_file()}
    again = extract(nets=[NET, OTHER], augmentations=["none", "flip", "original"], views=3)
    assert first.n_decoded == 78 and first.n_written == 78 * 2 * (1 + 3 + 3) and first.n_reused == 0
    costs = read_costs(Root(tmp_path / "features"), "ham10000")
    assert {folder: cost.vectors for folder, cost in costs.items()} == {f: 78 * n for f, n in first.stores}
    assert all(0 < cost.each < 10 for cost in costs.values())
    assert again.n_decoded == again.n_written == 0 and again.n_reused == first.n_written
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "features").rglob("*") if p.is_file()} == files


def test_one_worker_and_several_store_the_same_bits(extract, tmp_path):
    for workers in (1, 2, 5):
        extract(
            nets=[NET, (NET, "stages")],
            augmentations=["original"],
            views=2,
            root=tmp_path / f"w{workers}",
            workers=workers,
        )
    one, two, five = (everything(Catalogue(tmp_path / f"w{n}")) for n in (1, 2, 5))
    assert len(one) == 2 and all(np.array_equal(one[f], two[f]) and np.array_equal(one[f], five[f]) for f in one)


def test_larger_chunks_hold_the_same_bits_and_shorter_numbers_are_those_rounded(extract, tmp_path):
    for folder, options in {"small": {}, "large": {"chunk_mib": 1}, "short": {"storage": "float16"}}.items():
        extract(nets=[NET, (NET, "stages")], augmentations=["flip"], views=2, root=tmp_path / folder, **options)
    small, large, short = (everything(Catalogue(tmp_path / name)) for name in ("small", "large", "short"))
    assert len(small) == 2 and {f: x.tobytes() for f, x in small.items()} == {f: x.tobytes() for f, x in large.items()}
    rows = {name: {s.chunk_rows for s in Catalogue(tmp_path / name).stores()} for name in ("small", "large")}
    assert rows["small"] == {64} and rows["large"] == {128}
    assert all(any(np.array_equal(x.astype(np.float16), y) for x in small.values()) for y in short.values())
    assert extract(augmentations=["none"], root=tmp_path / "large").n_written == 78
    assert len({s.chunk_rows for s in Catalogue(tmp_path / "large").stores()}) == 1


def test_features_that_float16_does_not_reach_end_the_extraction(extract, monkeypatch):
    forward = hamcache.extract.worker.forward
    monkeypatch.setattr(
        "hamcache.extract.worker.forward", lambda *a: {kind: x + 1e5 for kind, x in forward(*a).items()}
    )
    with pytest.raises(StorageError, match=r"for storage float16, got 100,\d{3}. Extract with `--storage float32`"):
        extract(storage="float16")
    assert extract().n_written == 78


def test_backbones_extracted_together_or_apart_store_the_same_bits(extract, tmp_path):
    extract(nets=[NET, OTHER, (NET, "stages")], augmentations=["none", "flip"], views=4, root=tmp_path / "together")
    for net in ((NET, "stages"), OTHER, NET):
        for augmentation in ("flip", "none"):
            extract(nets=[net], augmentations=[augmentation], views=4, root=tmp_path / "apart")
    together, apart = everything(Catalogue(tmp_path / "together")), everything(Catalogue(tmp_path / "apart"))
    assert together.keys() == apart.keys() and all(np.array_equal(together[f], apart[f]) for f in together)


def test_more_views_compute_only_the_new_ones(extract, tmp_path):
    extract(augmentations=["rotate"], views=2)
    before = everything(Catalogue(tmp_path / "features"))
    summary = extract(augmentations=["rotate"], views=5)
    assert summary.n_written == 3 * 78 and summary.n_reused == 2 * 78
    after = everything(Catalogue(tmp_path / "features"))
    assert all(np.array_equal(after[f][:, :2], before[f]) for f in before)
    extract(augmentations=["rotate"], views=5, root=tmp_path / "at once")
    assert all(np.array_equal(x, after[f]) for f, x in everything(Catalogue(tmp_path / "at once")).items())


def test_more_images_compute_only_the_new_ones_and_disturb_none(extract, ham10000_table, tmp_path):
    ids = list(ham10000_table.frame["image_id"])
    extract(table=ham10000_table.subset(ids[10:60]))
    store = Catalogue(tmp_path / "features").stores()[0]
    before = store.read(ids[10:60])
    summary = extract()
    assert summary.n_decoded == summary.n_written == 28 and summary.n_reused == 50
    assert np.array_equal(Catalogue(tmp_path / "features").stores()[0].read(ids[10:60]), before)


def test_a_replaced_image_is_the_only_one_computed_again(extract, ham10000_table, tmp_path):
    extract(nets=[NET, OTHER], augmentations=["flip"], views=2)
    ids = list(ham10000_table.frame["image_id"])
    before = {f: x.copy() for f, x in everything(Catalogue(tmp_path / "features")).items()}
    Image.new("RGB", (40, 30), (10, 200, 90)).save(paths_of(ham10000_table)[ids[7]])
    summary = extract(nets=[NET, OTHER], augmentations=["flip"], views=2)
    assert (summary.n_decoded, summary.n_written) == (1, 2 * 2)
    for folder, features in everything(Catalogue(tmp_path / "features")).items():
        changed = np.flatnonzero((features != before[folder]).any(axis=(1, 2)))
        assert [ids[n] for n in changed] == [ids[7]]


def test_a_flipped_byte_is_mended_by_the_same_command_which_recomputes_only_that_chunk(extract, tmp_path):
    extract(nets=[NET, OTHER], augmentations=["flip"], views=2)
    catalogue = Catalogue(tmp_path / "features")
    before = everything(catalogue)
    store = catalogue.stores()[0]
    chunk = tmp_path / "features" / store.folder / "features" / "c" / "1" / "1" / "0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 4
    chunk.write_bytes(content)
    assert len(list(verify(store))) == 1
    summary = extract(nets=[NET, OTHER], augmentations=["flip"], views=2)
    assert summary.n_written == summary.n_decoded == 78 - 64
    assert list(verify(store)) == []
    assert all(np.array_equal(x, before[f]) for f, x in everything(catalogue).items())


def test_precision_weights_recipe_and_seed_never_hit_each_other(extract, tmp_path):
    first = extract(augmentations=["rotate"])
    changed = get_augmentation("rotate").model_copy(
        update={"affine": get_augmentation("original").affine.model_copy(update={"degrees": 5})}
    )
    others = [
        extract(augmentations=["rotate"], seed=1),
        extract(augmentations=[changed]),
        extract(nets=[replace(NET, fit="squash")], augmentations=["rotate"]),
    ]
    assert first.n_written == 78 and [o.n_written for o in others] == [78] * 3
    assert len(Catalogue(tmp_path / "features").stores()) == 4
    assert (
        extract(augmentations=["flip"]).n_written == 78 and extract(augmentations=["flip"], seed=1).n_written == 0
    )  # nothing drawn


@pytest.fixture
def damaged(ham10000_folder, ham10000_table):
    """One file of each kind that a folder of photographs may hold, and what should become of it."""
    ids = list(ham10000_table.frame["image_id"])
    files = paths_of(ham10000_table)
    picture = Image.open(files[ids[0]]).resize((80, 60))
    files[ids[1]].write_bytes(files[ids[1]].read_bytes()[:-200])
    files[ids[2]].write_bytes(b"")
    files[ids[3]].write_text("not a picture at all")
    picture.convert("CMYK").save(files[ids[4]])
    picture.convert("L").save(files[ids[5]])
    Image.fromarray((np.arange(60 * 80) * 13).reshape(60, 80).astype(np.uint16)).save(files[ids[6]], "PNG")
    files[ids[7]].unlink()
    reasons = {1: "can't be decoded", 2: "empty file", 3: "not an image", 7: "file missing"}
    return {ids[n]: reason for n, reason in reasons.items()}


def test_a_bad_image_costs_that_image_only(extract, ham10000_folder, damaged, tmp_path):
    table = read_table(ham10000_folder)
    summary = extract(table=table, nets=[NET, OTHER], augmentations=["none", "flip"], views=2)
    assert {bad.image_id for bad in summary.quarantined} == set(damaged) and summary.n_new_bad == 4
    assert all(damaged[bad.image_id] in bad.reason for bad in summary.quarantined)
    good = [i for i in table.frame["image_id"] if i not in damaged]
    for store in Catalogue(tmp_path / "features").stores():
        assert np.isfinite(store.read(good, list(range(store.n_views)))).all()
        with pytest.raises(MissingFeaturesError):
            store.read([next(iter(damaged))])
    again = extract(table=table, nets=[NET, OTHER], augmentations=["none", "flip"], views=2)
    assert again.n_decoded == again.n_written == again.n_new_bad == 0 and len(again.quarantined) == 4


@pytest.fixture
def odd(ham10000_table):
    """One of everything that a path may name instead of an image, in the place of an image each; the reasons by id."""
    ids, files = list(ham10000_table.frame["image_id"]), paths_of(ham10000_table)
    with ExitStack() as stack:
        reasons = {i: stack.enter_context(made_odd(kind, files[i])) for i, kind in zip(ids, ODD_FILES, strict=False)}
        for image_id, content in zip(ids[len(ODD_FILES) :], other_formats().values(), strict=False):
            files[image_id].write_bytes(content)
            reasons[image_id] = "not an image of a kind that is read here"
        yield reasons


def test_whatever_a_path_names_costs_that_image_only_and_at_once(extract, odd):
    summary = extract()
    assert {bad.image_id for bad in summary.quarantined} == set(odd) and summary.n_new_bad == len(odd)
    assert all(odd[bad.image_id] in bad.reason for bad in summary.quarantined)
    assert summary.n_written == 78 - len(odd)
    again = extract()
    assert (again.n_decoded, again.n_new_bad, len(again.quarantined)) == (0, 0, len(odd))


def test_an_image_that_breaks_the_drawing_of_its_view_costs_that_image_only(extract, ham10000_table, monkeypatch):
    ids = list(ham10000_table.frame["image_id"])
    Image.new("RGB", (33, 30)).save(paths_of(ham10000_table)[ids[5]])

    def fragile(views, draw, frame):
        if views.image.shape[2] == 33:
            raise ZeroDivisionError("an odd shape")
        return fitted(views, draw, frame)

    fitted = ImageViews.fitted
    monkeypatch.setattr(ImageViews, "fitted", fragile)
    summary = extract(augmentations=["flip"], views=2)
    assert [(bad.image_id, bad.reason) for bad in summary.quarantined] == [
        (ids[5], "can't be drawn: ZeroDivisionError an odd shape")
    ]
    assert summary.n_written == 2 * 77


def test_an_image_that_memory_ran_out_for_is_tried_again(extract, ham10000_table, monkeypatch):
    ids = list(ham10000_table.frame["image_id"])
    content = paths_of(ham10000_table)[ids[5]].read_bytes()

    def hungry(data):
        if data == content:
            raise UnreadImageError("not enough memory to be decoded")
        return decode_image(data)

    with monkeypatch.context() as patched:
        patched.setattr("hamcache.extract.worker.decode_image", hungry)
        summary = extract()
    assert [bad.image_id for bad in summary.quarantined] == [ids[5]] and summary.n_written == 77
    again = extract()
    assert again.quarantined == () and again.n_written == 1


def test_a_file_that_vanishes_under_the_extraction_is_named_and_tried_again(extract, ham10000_table, monkeypatch):
    ids, files = list(ham10000_table.frame["image_id"]), paths_of(ham10000_table)
    content = files[ids[5]].read_bytes()

    def vanishing(path):
        files[ids[5]].unlink(missing_ok=True)
        return image_bytes(path)

    with monkeypatch.context() as patched:
        patched.setattr("hamcache.extract.worker.image_bytes", vanishing)
        summary = extract(workers=1)
    assert [(bad.image_id, bad.reason) for bad in summary.quarantined] == [(ids[5], "file missing")]
    files[ids[5]].write_bytes(content)
    again = extract()
    assert again.quarantined == () and again.n_written == 1


def test_a_mended_image_leaves_quarantine_by_itself(extract, ham10000_folder, damaged, tmp_path):
    extract(table=read_table(ham10000_folder))
    table = read_table(ham10000_folder)
    for image_id in damaged:
        Image.new("RGB", (40, 30), (200, 150, 140)).save(paths_of(table)[image_id], "JPEG")
    summary = extract(table=table)
    assert summary.quarantined == () and summary.n_written == 4
    assert Catalogue(tmp_path / "features").stores()[0].read(list(damaged)).shape[0] == 4


def test_if_no_image_can_be_used_the_run_fails(extract, ham10000_table):
    for path in paths_of(ham10000_table).values():
        path.write_bytes(b"nothing")
    with pytest.raises(ExtractionFailedError, match="Not one of 78 images could be used: not an image"):
        extract()


def test_a_second_writer_is_turned_away(extract, ham10000_table, tmp_path):
    with writing(Root(tmp_path / "features"), ham10000_table.name), pytest.raises(CacheInUseError):
        extract()


def test_a_scheduler_that_does_not_answer_is_one_clear_error(extract, monkeypatch):
    monkeypatch.setattr("hamcache.extract.scheduler.CONNECT_TIMEOUT", 1.0)
    with pytest.raises(SchedulerError, match="dask scheduler"):
        extract(scheduler="tcp://127.0.0.1:9")


def test_processes_that_see_one_gpu_each_store_the_same_bits_as_threads(extract, tmp_path):
    extract(augmentations=["original"], root=tmp_path / "threads")
    with scheduler._processes(["0", "1"], threads=1) as client:
        client.wait_for_workers(2, timeout=60)
        assert sorted(client.run(os.getenv, "CUDA_VISIBLE_DEVICES").values()) == ["0", "1"]
        address = client.scheduler.address
        summary = extract(augmentations=["original"], root=tmp_path / "processes", scheduler=address)
    assert summary.n_written == 78
    a, b = (everything(Catalogue(tmp_path / kind)) for kind in ("threads", "processes"))
    assert a.keys() == b.keys() and all(np.array_equal(a[f], b[f]) for f in a)


def test_a_gpu_has_batches_ready_and_several_or_many_cores_have_processes(monkeypatch):
    monkeypatch.setattr(scheduler, "_local_cluster", lambda **options: nullcontext(options))
    monkeypatch.setattr(scheduler, "_processes", lambda gpus, threads: nullcontext((gpus, threads)))

    def place(cores: int, device: str, gpus: str):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
        with scheduler.dask_client(cores, device=device) as client:
            return client

    assert place(8, "cpu", "0") == {"threads_per_worker": 8}
    assert place(4, "cuda", "0") == {"threads_per_worker": 4 + scheduler.AHEAD}
    assert place(16, "cuda", "3") == (["3"] * 4, 4 + scheduler.AHEAD)
    assert place(6, "cuda", "0,1") == (["0", "1"], 3 + scheduler.AHEAD)


KILLED_RUN = """
import sys
from pathlib import Path
from hamcache.data.digests import file_digests
from hamcache.data.ham10000 import read_table
from hamcache.extract.backbones import BackboneSpec
from hamcache.extract.augmentations import get_augmentation
from hamcache.extract.fill import ExtractionRequest, run_extraction
folder, root = sys.argv[1:]
table = read_table(Path(folder))
nets = [(BackboneSpec("random/test_resnet.r160_in1k"), kind) for kind in ("pre_logits", "stages")]
print("ready", flush=True)
request = ExtractionRequest(table, file_digests(table), nets, [get_augmentation("original")], 6)
run_extraction(request, root, workers=2, on_progress=lambda p: print(p.done, flush=True))
"""


def test_killed_at_random_moments_and_resumed_the_store_has_the_same_bits(make_ham10000, extract, tmp_path):
    folder = make_ham10000(tmp_path / "data", lesions={"nv": 120, "mel": 80, "bcc": 40})
    table = read_table(folder)
    nets = [NET, (NET, "stages")]
    extract(table=table, nets=nets, augmentations=["original"], views=6, root=tmp_path / "undisturbed")
    generator = random.Random(0)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    kills = 0
    for _ in range(4):
        command = [sys.executable, "-c", KILLED_RUN, str(folder), str(tmp_path / "killed")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        process.stdout.readline()
        time.sleep(generator.uniform(0, 1.5))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills >= 2
    extract(table=table, nets=nets, augmentations=["original"], views=6, root=tmp_path / "killed")
    undisturbed, killed = (everything(Catalogue(tmp_path / kind)) for kind in ("undisturbed", "killed"))
    assert undisturbed.keys() == killed.keys()
    assert all(np.array_equal(undisturbed[f], killed[f]) for f in undisturbed)
    assert [flaw for s in Catalogue(tmp_path / "killed").stores() for flaw in verify(s)] == []


def test_nothing_samples_the_frames_of_running_threads(extract, tmp_path):
    """On Python 3.11 Dask's profiler can end the process with signal 11, in workers and in event loops alike."""
    from distributed import profile

    running = set()
    with patch.object(profile, "watch") as watch, patch.object(profile, "process") as process:
        extract(workers=2, on_progress=lambda _: running.update(thread.name for thread in threading.enumerate()))
    assert (watch.call_count, process.call_count) == (0, 0)
    assert any("Dask" in name for name in running) and not any("Profile" in name for name in running)


def test_ctrl_c_leaves_a_valid_store_that_the_next_run_completes(extract, tmp_path):
    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(augmentations=["original"], views=2, on_progress=interrupt)
    assert [flaw for s in Catalogue(tmp_path / "features").stores() for flaw in verify(s)] == []
    summary = extract(augmentations=["original"], views=2)
    assert summary.n_reused + summary.n_written == 156 and summary.n_reused >= 14 * 2
    shutil.rmtree(tmp_path / "features")


def test_a_complete_cache_is_found_without_a_lock_or_a_write(extract, tmp_path, monkeypatch):
    """So it works on a disk that can't be written, and while another process holds the lock."""
    from hamcache.cache.lock import writing
    from hamcache.cache.storage import Root

    extract(views=2, augmentations=["none", "flip"])
    extract(views=2, augmentations=["none", "flip"])
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "features").rglob("*.*")}
    assert len(files) > 10

    def refuse(*_, **__):
        raise PermissionError("read-only file system")

    with writing(Root(tmp_path / "features"), "ham"), monkeypatch.context() as patch:
        patch.setattr(Root, "write", refuse)
        summary = extract(views=2, augmentations=["none", "flip"])
    assert (summary.n_written, summary.n_reused) == (0, 78 * 3)
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_views_that_nobody_means_are_refused_before_anything_is_written(extract, tmp_path):
    with pytest.raises(TooManyViewsError, match="1 to 1,000 views, got 1,000,000"):
        extract(augmentations=["rotate"], views=1_000_000)
    assert not (tmp_path / "features").exists()


def test_features_for_which_the_disk_has_no_room_are_refused_before_anything_is_written(extract, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("hamcache.extract.fill.shutil.disk_usage", lambda _: usage)
    with pytest.raises(NoRoomError, match="Ask for fewer views"):
        extract(augmentations=["rotate"], views=1000)
    assert not list((tmp_path / "features").rglob("*.zarr"))


def test_room_is_made_as_it_is_filled(extract, tmp_path, monkeypatch):
    """An extraction of many views that is interrupted leaves a store of the views that there are."""
    with pytest.raises(KeyboardInterrupt):
        extract(augmentations=["rotate"], views=3, workers=1, on_progress=interrupt)
    (store,) = Catalogue(tmp_path / "features").stores()
    assert store.n_views <= 3 and list(verify(store)) == []
    extract(augmentations=["rotate"], views=1)
    assert len(store.read(store.image_ids, [0])) == 78


def interrupt(_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["zarr.json", "features/zarr.json", "rows.json", "features/c/1/0/0"])
@pytest.mark.parametrize("damage", ["removed", "cut", "another store's", "null"])
def test_the_same_command_mends_any_file_of_a_store_to_the_bit(extract, tmp_path, name, damage):
    extract(augmentations=["none", "flip"])
    catalogue = Catalogue(tmp_path / "features")
    before = everything(catalogue)
    store, other = (s.folder for s in catalogue.stores())
    path = tmp_path / "features" / store / name
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        foreign = (tmp_path / "features" / other / name).read_bytes()
        path.write_bytes({"cut": content[: len(content) // 2], "another store's": foreign, "null": b"null"}[damage])
    summary = extract(augmentations=["none", "flip"])
    assert summary.n_written <= 14
    after = Catalogue(tmp_path / "features")
    assert {f: x.tobytes() for f, x in everything(after).items()} == {f: x.tobytes() for f, x in before.items()}
    assert after.broken() == {} and [flaw for s in after.stores() for flaw in verify(s)] == []
    assert extract(augmentations=["none", "flip"]).n_written == 0
