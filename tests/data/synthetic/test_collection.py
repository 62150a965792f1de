import csv
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hamcache.data.errors import SynthesisError
from hamcache.data.ham10000 import METADATA, read_table
from hamcache.data.synthetic.collection import COLUMNS, PARTS, _plan, class_counts, synthesize
from hamcache.data.synthetic.drawing import Lesion
from hamcache.data.synthetic.traits import CLASSES, TRAITS, draw_traits

SMALL = (120, 90)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / METADATA).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".jpg", ".csv")
    }


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.float64)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("synthetic") / "made", lesions=40, seed=3, size=SMALL)


def test_the_same_arguments_give_the_same_bytes(made: Path, tmp_path: Path) -> None:
    assert bytes_of(synthesize(tmp_path / "again", lesions=40, seed=3, size=SMALL)) == bytes_of(made)


def test_another_seed_gives_other_images(made: Path, tmp_path: Path) -> None:
    other = synthesize(tmp_path / "other", lesions=40, seed=4, size=SMALL)
    assert not set(bytes_of(other).values()) & set(bytes_of(made).values())


def test_an_image_does_not_depend_on_the_order_of_drawing_or_on_threads() -> None:
    def draw(work: tuple[int, int]) -> bytes:
        lesion, photograph = work
        return Lesion(0, lesion, CLASSES[lesion], 0.5, SMALL).photograph(photograph).tobytes()

    work = [(lesion, photograph) for lesion in range(7) for photograph in range(3)]
    in_order = [draw(item) for item in work]
    backwards = [draw(item) for item in reversed(work)]
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(draw, work))
    assert backwards[::-1] == in_order
    assert threaded == in_order
    lesion = Lesion(0, 6, CLASSES[6], 0.5, SMALL)
    assert [lesion.photograph(photograph).tobytes() for photograph in (2, 0, 1)] == [in_order[i] for i in (20, 18, 19)]


def test_files_and_columns_are_those_of_ham10000(made: Path) -> None:
    rows = rows_of(made)
    assert tuple(rows[0]) == COLUMNS
    files = {path.stem: path for part in PARTS for path in (made / part).glob("*.jpg")}
    assert sorted(files) == sorted(row["image_id"] for row in rows)
    assert len({row["image_id"] for row in rows}) == len(rows)
    assert all(any((made / part).iterdir()) for part in PARTS)
    for path in files.values():
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", SMALL)


def test_the_size_is_that_of_ham10000_unless_told_otherwise(tmp_path: Path) -> None:
    folder = synthesize(tmp_path / "full", lesions=7)
    with Image.open(next(folder.rglob("*.jpg"))) as image:
        assert image.size == (600, 450)


def test_a_lesion_has_one_class_one_patient_and_one_or_more_photographs(made: Path) -> None:
    rows = rows_of(made)
    lesions: dict[str, set[tuple[str, ...]]] = {}
    for row in rows:
        lesions.setdefault(row["lesion_id"], set()).add((row["dx"], row["dx_type"], row["age"], row["sex"]))
    assert len(lesions) == 40
    assert all(len(facts) == 1 for facts in lesions.values())
    assert Counter(dx for ((dx, *_),) in lesions.values()) == class_counts(40)
    assert len(rows) > len(lesions)


def test_classes_are_imbalanced_as_in_ham10000_but_none_is_tiny() -> None:
    counts = class_counts(400)
    assert sum(counts.values()) == 400
    assert min(counts.values()) == 8
    assert counts["nv"] > 0.65 * 400
    assert class_counts(7) == dict.fromkeys(counts, 1)
    assert class_counts(7470)["df"] >= 73
    assert all(sum(class_counts(lesions).values()) == lesions for lesions in range(7, 500))
    assert all(min(class_counts(lesions).values()) >= 1 for lesions in range(7, 500))


def test_some_ages_are_not_known() -> None:
    ages = [entry.age for entry in _plan(2000, seed=0)]  # the metadata alone: images take time
    assert 0 < ages.count("") < 0.03 * len(ages)
    assert all(float(age) % 5 == 0 and 0 <= float(age) <= 85 for age in ages if age)


def test_photographs_of_one_lesion_differ_but_less_than_lesions_of_one_class_do() -> None:
    def thumbnail(lesion: Lesion, photograph: int) -> np.ndarray:
        return pixels(lesion.photograph(photograph).resize((12, 9), Image.Resampling.BOX))

    within, between = [], []
    for label in CLASSES:
        lesions = [Lesion(1, number, label, 0.5, SMALL) for number in range(6)]
        first, second = ([thumbnail(lesion, photograph) for lesion in lesions] for photograph in (0, 1))
        within += [np.abs(first[i] - second[i]).mean() for i in range(6)]
        between += [np.abs(first[i] - second[j]).mean() for i in range(6) for j in range(6) if i != j]
    assert min(within) > 1
    assert np.mean(within) < 0.85 * np.mean(between)


def test_difficulty_changes_the_images_and_not_the_metadata(made: Path, tmp_path: Path) -> None:
    hard = synthesize(tmp_path / "hard", lesions=40, seed=3, difficulty=0.9, size=SMALL)
    assert rows_of(hard) == rows_of(made)
    assert not {v for k, v in bytes_of(hard).items() if k.endswith("jpg")} & set(bytes_of(made).values())


def test_difficulty_moves_the_classes_together() -> None:
    def spread(difficulty: float) -> float:
        means = [
            np.mean(
                [list(draw_traits(np.random.default_rng(i), label, difficulty).values()) for i in range(60)], axis=0
            )
            for label in CLASSES
        ]
        return float(np.std(means, axis=0).mean())

    spreads = [spread(difficulty) for difficulty in (0, 0.25, 0.5, 0.75, 1)]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[-1] > 0.2 * spreads[0]


def test_traits_lie_in_their_range() -> None:
    for number in range(200):
        traits = draw_traits(np.random.default_rng(number), CLASSES[number % 7], number % 5 / 4)
        assert tuple(traits) == TRAITS
        assert traits.pop("radius") > 0
        assert all(0 <= value <= 1 for value in traits.values())


def test_simple_colour_statistics_tell_easy_lesions_apart_and_hard_ones_less() -> None:
    def describe(image: Image.Image) -> np.ndarray:
        inner = pixels(image)[25:65, 35:85]
        steps = [np.abs(np.diff(inner, axis=axis)).mean(axis=(0, 1)) for axis in (0, 1)]
        deciles = np.quantile(inner, (0.05, 0.25, 0.5, 0.75, 0.95), axis=(0, 1))
        return np.concatenate([deciles.ravel(), *steps])

    labels = np.repeat(np.arange(7), 10)

    def score(difficulty: float) -> float:
        lesions = [Lesion(0, i, CLASSES[label], difficulty, SMALL) for i, label in enumerate(labels)]
        described = np.stack([describe(lesion.photograph(0)) for lesion in lesions])
        head = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=500))
        return float(cross_val_score(head, described, labels, cv=5).mean())

    easy, hard = score(0.0), score(1.0)
    assert easy > 0.5  # chance is 1/7
    assert hard < easy - 0.1


def test_the_ham10000_reader_reads_it(made: Path) -> None:
    table = read_table(made)
    assert len(table) == len(rows_of(made))
    assert table.missing_files() == []
    assert sorted(set(table.frame["label"])) == sorted(CLASSES) == list(table.classes)


def test_a_run_that_was_stopped_has_no_metadata_and_the_next_one_finishes(made: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        synthesize(folder, lesions=40, seed=3, size=SMALL, progress=stop)
    assert not (folder / METADATA).exists()
    assert bytes_of(synthesize(folder, lesions=40, seed=3, size=SMALL)) == bytes_of(made)


def test_an_earlier_synthetic_data_set_is_replaced_without_remains(tmp_path: Path) -> None:
    synthesize(tmp_path / "set", lesions=14, size=(40, 32))
    folder = synthesize(tmp_path / "set", lesions=7, size=(40, 32))
    assert len(list(folder.rglob("*.jpg"))) == len(rows_of(folder))


def test_progress_counts_images_up_to_all_of_them(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    folder = synthesize(tmp_path / "set", lesions=8, size=(40, 32), progress=lambda *call: calls.append(call))
    images = len(rows_of(folder))
    assert calls[-1] == (images, images)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / METADATA).write_text("a real one")
    with pytest.raises(SynthesisError, match="holds something else"):
        synthesize(tmp_path, lesions=7)
    assert (tmp_path / METADATA).read_text() == "a real one"
    with pytest.raises(SynthesisError, match="is a file"):
        synthesize(tmp_path / METADATA, lesions=7)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lesions": 6}, "at least 7 lesions"),
        ({"seed": -1}, "seed of 0 or more"),
        ({"difficulty": 1.5}, "difficulty from 0"),
        ({"difficulty": float("nan")}, "difficulty from 0"),
        ({"size": (20, 450)}, "at least 32 pixels"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, wrong: dict, message: str) -> None:
    with pytest.raises(SynthesisError, match=message):
        synthesize(tmp_path / "set", **wrong)
    assert not (tmp_path / "set").exists()
