import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hamcache.cache.plan import make_plan
from hamcache.cache.store import FeatureStore
from tests.cache.conftest import DIM, digest_of, fill, vectors_of
from tests.cache.test_store import chunk_file


def run(plan, stores, digests):
    by_folder = {store.folder: store for store in stores}
    for task in plan.tasks:
        for cell in task.cells:
            ids = [task.image_ids[row] for row in cell.rows]
            store = by_folder[cell.folder]
            place = store.place(cell.chunk, cell.view, task.image_ids)
            store.write_chunk(place, cell.rows, vectors_of(ids, cell.view), [digests[i] for i in ids])


def test_a_first_plan_is_everything_and_the_next_is_empty(make_store, ids):
    digests = {i: digest_of(i) for i in ids}
    store = make_store(views=2)
    plan = make_plan([(store, 2)], digests)
    assert plan.n_vectors == plan.n_asked == 300 and plan.n_images == 150 and len(plan.tasks) == 3
    run(plan, [store], digests)
    again = make_plan([(store, 2)], digests)
    assert again.tasks == () and again.n_reused == 300


def test_stores_of_the_same_images_share_a_task_so_that_an_image_is_decoded_once(make_store, ids):
    digests = {i: digest_of(i) for i in ids}
    stores = [(make_store(views=1), 1), (make_store(views=4, backbone="other"), 4)]
    plan = make_plan(stores, digests)
    assert len(plan.tasks) == 3 and plan.n_images == 150 and plan.n_vectors == 150 * 5


def test_no_two_tasks_share_a_chunk(make_store, ids):
    digests = {i: digest_of(i) for i in ids}
    plan = make_plan([(make_store(views=3), 3), (make_store(backbone="b"), 2)], digests)
    chunks = [(cell.folder, cell.chunk, cell.view) for task in plan.tasks for cell in task.cells]
    assert len(chunks) == len(set(chunks))


def test_more_views_plan_only_the_new_ones(make_store, ids):
    digests = {i: digest_of(i) for i in ids}
    store = make_store(views=2)
    fill(store, views=(0, 1))
    plan = make_plan([(store, 4)], digests)
    assert {cell.view for task in plan.tasks for cell in task.cells} == {2, 3} and plan.n_vectors == 300


def test_a_changed_image_and_a_new_one_are_all_that_is_planned(make_store, ids):
    digests = {i: digest_of(i) for i in ids}
    store = make_store(views=1)
    fill(store)
    digests |= {ids[70]: digest_of("other bytes"), "new": digest_of("new")}
    store.add_images(["new"])
    plan = make_plan([(store, 1)], digests)
    assert plan.n_vectors == plan.n_images == 2
    assert sorted(task.image_ids[row] for task in plan.tasks for row in task.rows) == [ids[70], "new"]


def test_images_not_asked_for_are_left_alone(make_store, ids):
    store = make_store(views=1)
    plan = make_plan([(store, 1)], {ids[3]: digest_of(ids[3])})
    assert plan.n_vectors == 1 and plan.tasks[0].rows == [3]


def opened_by_a_plan(store, digests, monkeypatch) -> int:
    """Chunk files that a plan opens; the plan lacks nothing."""
    opened = []
    for name in ("read", "read_end"):
        read = getattr(type(store.root), name)
        monkeypatch.setattr(type(store.root), name, lambda *a, read=read: opened.append(a[-1]) or read(*a))
    assert make_plan([(FeatureStore.open(store.root, store.folder), 2)], digests).tasks == ()
    monkeypatch.undo()
    return sum(str(name).startswith("features/c/") for name in opened)


def test_a_plan_of_an_untouched_store_opens_no_chunk(make_store, ids, monkeypatch):
    digests = {i: digest_of(i) for i in ids}
    store = make_store(views=2)
    fill(store, views=(0, 1))
    assert [opened_by_a_plan(store, digests, monkeypatch) for _ in range(2)] == [6, 0]
    fill(store, chunks=[1])  # the same features, but the files are others
    assert [opened_by_a_plan(store, digests, monkeypatch) for _ in range(2)] == [1, 0]


def test_of_what_a_former_version_remembered_only_labels_are_read(make_store, ids, monkeypatch):
    digests = {i: digest_of(i) for i in ids}
    store = make_store(views=2)
    fill(store, views=(0, 1))
    store.root.write_json(store.root.stamps(store.folder), store.folder, "checked.json")
    with monkeypatch.context() as patch:
        patch.setattr("hamcache.cache.survey.check", lambda *_: pytest.fail("features were read"))
        make_plan([(store, 2)], digests)
    assert opened_by_a_plan(store, digests, monkeypatch) == 0


actions = st.lists(
    st.tuples(st.sampled_from(["views", "add", "change", "corrupt", "lose"]), st.integers(0, 149), st.integers(0, 1)),
    max_size=5,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(actions=actions)
def test_whatever_happens_the_plan_after_a_run_is_empty(make_store, ids, root, tmp_path, actions):
    shutil.rmtree(root.path, ignore_errors=True)
    digests, views = {i: digest_of(i) for i in ids}, 2
    store = make_store(views=views)
    run(make_plan([(store, views)], digests), [store], digests)
    for action, number, view in actions:
        path = chunk_file(store, number // 64, view)
        if action == "views":
            views += 1
        elif action == "add":
            digests[f"added_{number}"] = digest_of(f"added_{number}")
        elif action == "change":
            digests[ids[number]] = digest_of(f"changed {number} {view}")
        elif action == "corrupt" and path.exists():
            path.write_bytes(path.read_bytes()[:-1] + b"\0\0")
        elif action == "lose" and path.exists():
            path.unlink()
        store.add_images(list(digests))
    run(make_plan([(store, views)], digests), [store], digests)
    assert make_plan([(store, views)], digests).tasks == ()
    names = list(digests)
    assert store.read(names, list(range(views)), digests).shape == (len(names), views, DIM)
