"""Every command through the real entry point, on a small data set and tiny networks with random weights."""

import csv
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
from PIL import Image

from hamcache.data.splits import Split
from hamcache.pipeline.cli.app import main
from tests.every_command import every_command

NET, OTHER = "random/test_resnet.r160_in1k", "random/test_vit.r160_in1k"
HEAVY = (
    "torch",
    "pandas",
    "sklearn",
    "ray",
    "timm",
    "matplotlib",
    "zarr",
    "dask",
    "distributed",
    "kagglesdk",
    "skorch",
)


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    def ok(self) -> str:
        assert self.code == 0, self.err or self.out
        return self.out

    def failed(self) -> str:
        """The one message of a command that failed."""
        assert (self.code, self.err[:7]) == (1, "Error: "), (self.code, self.out, self.err)
        assert "Traceback" not in self.err
        return self.err


def hamcache(line: str, workspace: Path, answer: str = "") -> Outcome:
    """Run `hamcache LINE` in this process."""
    out, err = io.StringIO(), io.StringIO()
    words = ["hamcache", *shlex.split(line)]
    environment = {"HAMCACHE_WORKSPACE": str(workspace)}
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        mock.patch.object(sys, "argv", words),
        mock.patch.object(sys, "stdin", io.StringIO(answer)),
        mock.patch.dict("os.environ", environment),
        pytest.raises(SystemExit) as exit_,
    ):
        main()
        raise SystemExit(0)
    return Outcome(int(exit_.value.code or 0), out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Place:
    """A data set and a workspace."""

    folder: Path
    workspace: Path

    def __call__(self, line: str, answer: str = "") -> Outcome:
        """Run a command; `{data}`, `{net}`, `{other}` and `{here}` stand for the data set, networks and a folder."""
        filled = line.format(data=self.folder, net=NET, other=OTHER, here=self.workspace.parent)
        return hamcache(filled, self.workspace, answer)

    def stores(self) -> list[str]:
        """The keys of all stores."""
        return re.findall(r"[0-9a-f]{10}(?=.zarr)", " ".join(map(str, self.workspace.rglob("*.zarr"))))

    def store(self, augmentation: str, backbone: str = NET) -> Path:
        folder = self.workspace / "features" / "ham" / backbone.replace("/", "--")
        return next(folder.glob(f"{augmentation}-*.zarr"))

    def runs(self) -> list[Path]:
        return sorted(self.workspace.glob("runs/*"))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, make_ham10000: Callable[..., Path]) -> Place:
    """Features of two networks, plain and flipped, and three runs (one with its test set opened); only to be read."""
    root = tmp_path_factory.mktemp("cli")
    here = Place(make_ham10000(root / "ham"), root / "workspace")
    here("extract --dataset {data} --backbones {net},{other}").ok()
    here("extract --dataset {data} --backbones {net} --augmentations flip --views 2").ok()
    here("train --dataset {data} --features {net}").ok()
    here("train --dataset {data} --features {other} --head ridge").ok()
    here("train --dataset {data} --features {net}+{other} --test").ok()
    return here


@pytest.fixture
def own(filled: Place, tmp_path: Path) -> Place:
    """A copy of all that, to be changed."""
    shutil.copytree(filled.workspace, tmp_path / "workspace")
    return Place(filled.folder, tmp_path / "workspace")


@pytest.fixture
def empty(filled: Place, tmp_path: Path) -> Place:
    """The same data set and an empty workspace."""
    return Place(filled.folder, tmp_path / "workspace")


# -- the entry point


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['hamcache', '--help']\n"
        "from hamcache.pipeline.cli.app import main\n"
        "try: main()\n"
        f"finally: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "extract" in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("--help", 0, "Usage:"),
        ("runs show nothing", 1, "Error: Expected the id"),
        ("train --sed 1", 2, "No such option"),
    ],
)
def test_installed_command_ends_with_the_documented_code(line: str, code: int, words: str, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("hamcache")), *line.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"PATH": "", "COLUMNS": "120"})
    assert done.returncode == code
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [words for words, _ in every_command()])
def test_every_command_explains_itself(name: str, tmp_path: Path) -> None:
    text = hamcache(f"{name} --help", tmp_path).ok()
    assert "Usage: hamcache" in text
    assert len(text.split("\n\n")[1].strip()) > 20


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("data summary --dataset {here}/hm", "did you mean"),
        ("data split --dataset {data} --test-fraction 2", "test + validation < 1"),
        ("data synthesize {data}", "holds something else"),
        ("extract --dataset {data} --backbones random/test_resnt", "Did you mean test_resnet"),
        ("extract --dataset {data} --backbones {net}:stage", "stages"),
        ("extract --dataset {data} --backbones {net} --augmentations flp", "Did you mean 'flip'"),
        (
            "extract --dataset {data} --backbones tf_efficientnet_lite0 --weights tf_efficientnet_lite0=no",
            "got no file no",
        ),
        ("show-views --dataset {data} --image-id nobody", "nobody"),
        ("cache info abc", "hamcache cache ls"),
        ("train --dataset {data} --features {net} --head logrg", "did you mean 'logreg'"),
        ("train --dataset {data} --features {net} --set split.polcy=grouped", "did you mean split.policy"),
        ("train --dataset {data} --features {net} --set objective=mmc", "did you mean 'mcc'"),
        ("train --dataset {data} --features {net} --set nonsense", "expected key=value"),
        ("train --dataset {data} --features {net}+", "empty name"),
        ("train --dataset {data}", "empty hybrid"),
        ("train --config logrge", "did you mean 'logreg'"),
        ("runs --sort mmc", "did you mean 'mcc'"),
        ("runs show nobody", "hamcache runs"),
        ("compare logreg ridge", "2 runs begin with it"),
        ("compare ridge", "two or more"),
    ],
)
def test_what_cannot_be_done_is_one_message(filled: Place, line: str, words: str) -> None:
    assert words in filled(line).failed()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "extrct",
        "data summary --datset x",
        "extract --backbones ,",
        "extract --views 0",
        "extract --fit stretch",
        "extract --device tpu",
        "extract --weights resnet34",
        "show-views --out views.xyz",
        "cache rm",
        "cache ls --features-url nowhere://x",
        "train --column label",
        "runs --part tset",
        "compare a b --part tset",
        "report --part train",
        "train --features a,b",
    ],
)
def test_wrong_usage_ends_with_code_2(tmp_path: Path, line: str) -> None:
    outcome = hamcache(line, tmp_path / "workspace")
    assert outcome.code == 2
    assert "Usage: hamcache" in outcome.out + outcome.err
    assert not (tmp_path / "workspace").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "data split --policy groupd",
            "single_image_lesions or grouped, got 'groupd'; did you mean 'grouped'",
        ),
        ("extract --precision fp8", "expected auto, fp32 or bf16, got 'fp8'"),
        ("sweep --config mlp --stopping ahsa", "expected asha or none, got 'ahsa'; did you mean 'asha'?"),
        ("predict run image.jpg --out file.txt", "expected a file named *.csv or *.json, got 'file.txt'"),
        ("sweep --resume x --stopping none", "a sweep goes on with its own settings"),
    ],
)
def test_wrong_words_are_told_before_anything_heavy_is_imported(line: str, words: str, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.argv = ['hamcache', *{line.split()}]\n"
        "from hamcache.pipeline.cli.app import main\n"
        "try: main()\n"
        f"finally: print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())
    assert done.stdout.strip() == "[]"


def test_a_folder_that_cannot_be_made_is_one_message(filled: Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    message = Place(filled.folder, tmp_path / "file")("extract --dataset {data} --backbones {net}").failed()
    assert str(tmp_path / "file") in message


# -- data


def test_summary_counts_images_and_lesions(filled: Place) -> None:
    text = filled("data summary --dataset {data}").ok()
    assert "78 images -> 51 lesions" in text
    found = json.loads(filled("data summary --dataset {data} --json").ok())
    assert (found["images"], found["groups"], found["missing_files"]) == (78, 51, [])


def test_summary_reads_a_csv_by_column_names(empty: Place, tmp_path: Path) -> None:
    images = sorted(empty.folder.rglob("*.jpg"))[:20]
    rows = [f"{path},{'ab'[n % 2]},{n // 2}" for n, path in enumerate(images)]
    (tmp_path / "moles.csv").write_text("\n".join(["file,diagnosis,patient", *rows]))
    line = f"data summary --dataset {tmp_path}/moles.csv --json --column path=file --column label=diagnosis"
    assert "mixed" in empty(f"{line} --column group=patient").ok()
    assert json.loads(empty(f"{line} --dataset-name derm").ok())["name"] == "derm"


def test_split_is_written_without_a_lesion_in_two_parts(empty: Place, tmp_path: Path) -> None:
    target = tmp_path / "new" / "split.csv"
    text = empty(f"data split --dataset {{data}} --policy grouped --seed 3 --out {target}").ok()
    split = Split.load(target)
    assert (split.policy, len(split.frame)) == ("grouped", 78)
    assert split.frame.groupby("group")["part"].nunique().max() == 1
    assert split.fingerprint[:12] in text


def test_synthesized_data_set_can_be_read_and_drawn_again(empty: Place, tmp_path: Path) -> None:
    for name in ("a", "b"):
        empty(f"data synthesize {tmp_path / name} --lesions 8 --width 64 --height 48 --seed 5").ok()
    a, b = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()} for name in ("a", "b")
    )
    assert a == b
    assert json.loads(empty(f"data summary --dataset {tmp_path / 'a'} --json").ok())["groups"] == 8


# -- extract


def test_second_extraction_decodes_nothing(own: Place) -> None:
    text = own("extract --dataset {data} --backbones {net},{other}").ok()
    assert "0 vectors written, 156 reused, 0 images decoded" in text


def test_more_views_compute_only_the_new_ones(own: Place) -> None:
    text = own("extract --dataset {data} --backbones {net} --augmentations flip,none --views 3").ok()
    assert "78 vectors written, 234 reused, 78 images decoded" in text


def test_a_bad_image_is_quarantined_and_may_be_retried(empty: Place, tmp_path: Path) -> None:
    shutil.copytree(empty.folder, tmp_path / "ham")
    here = Place(tmp_path / "ham", empty.workspace)
    bad = next((tmp_path / "ham").rglob("*.jpg"))
    good = bad.read_bytes()
    bad.write_text("no picture")
    assert "77 vectors written" in (text := here("extract --dataset {data} --backbones {net}").ok())
    assert bad.stem in text
    assert "1 quarantined (0 new)" in here("extract --dataset {data} --backbones {net}").ok()
    assert "1 quarantined (1 new)" in here("extract --dataset {data} --backbones {net} --retry-quarantined").ok()
    bad.write_bytes(good)
    text = here("extract --dataset {data} --backbones {net} --rehash").ok()
    assert "1 vectors written, 77 reused, 1 images decoded, 0 quarantined" in text


def test_show_views_writes_a_picture(filled: Place, tmp_path: Path) -> None:
    filled(f"show-views --dataset {{data}} --augmentations flip,original --views 3 --out {tmp_path}/new/v.png").ok()
    with Image.open(tmp_path / "new" / "v.png") as sheet:
        assert sheet.format == "PNG"
        assert len(sheet.getcolors(sheet.width * sheet.height)) > 100


def test_backbones_are_listed_by_part_of_a_name(filled: Place) -> None:
    text = filled("backbones lite0").ok()
    assert re.search(r"tf_efficientnet_lite0\tweights are installed", text)
    assert "torchvision/resnet50" in filled("backbones torchvision/resnet5").ok()
    assert "narrow it down" in filled("backbones --limit 3").ok()


# -- cache


def test_cache_lists_and_describes_stores(filled: Place) -> None:
    text = filled("cache ls").ok()
    assert "3 stores" in text
    assert all(key in text for key in filled.stores())
    about = json.loads(filled(f"cache info {filled.stores()[0]}").ok())
    assert (about["images"], about["filled"], about["key"]["dataset"]) == (78, 1.0, "ham")
    assert "0 stores" in filled("cache ls --dataset other").ok()


def test_a_flipped_byte_is_found_and_the_same_command_mends_it(own: Place) -> None:
    assert "nothing wrong" in own("cache verify").ok()
    chunk = own.store("flip") / "features" / "c" / "0" / "1" / "0"
    damaged = bytearray(chunk.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    chunk.write_bytes(damaged)
    outcome = own("cache verify")
    assert outcome.code == 1
    assert "features/c/0/1/0" in outcome.out and "checksum" in outcome.out
    assert "hamcache extract" in own("train --dataset {data} --features {net} --augmentation flip --views 2").failed()
    text = own("extract --dataset {data} --backbones {net} --augmentations flip --views 2").ok()
    assert "64 vectors written, 92 reused" in text
    own("cache verify").ok()


def test_explain_names_the_fields_that_differ(filled: Place) -> None:
    none, flip = filled.store("none"), filled.store("flip")
    text = filled(f"cache explain {none} {flip}").ok()
    assert "augmentation.symmetry" in text
    assert "backbone" not in text
    assert "equal" in filled(f"cache explain {none} {none}").ok()


def test_rm_asks_and_removes_one_store(own: Place) -> None:
    store = own.store("flip")
    line = f"cache rm {store}"
    assert [own(line, answer).code for answer in ("", "n\n")] == [1, 1]
    assert store.exists()
    own(line, "y\n").ok()
    assert not store.exists()
    assert "2 stores" in own("cache ls").ok()


def test_a_store_that_cannot_be_opened_is_reported_and_can_be_removed(own: Place) -> None:
    store = own.store("flip")
    (store / "zarr.json").write_text("{ not json")
    outcome = own("cache verify")
    assert outcome.code == 1
    assert store.name in outcome.out
    own(f"cache rm --yes {store.relative_to(own.workspace / 'features')}").ok()
    own("cache verify").ok()


def test_gc_shows_what_it_would_free_and_asks(own: Place) -> None:
    assert "Nothing to free" in own("cache gc").ok()
    orphan = own.store("none") / "features" / "c" / "0" / "0" / "0.abc.partial"
    orphan.write_bytes(b"x" * 7)
    outcome = own("cache gc", "n\n")
    assert outcome.code == 1
    assert orphan.name in outcome.out
    assert orphan.exists()
    assert "Freed 7 B" in own("cache gc --yes").ok()
    assert not orphan.exists()
    assert "3 stores, nothing wrong" in own("cache verify").ok()


# -- train


def test_train_without_test_keeps_the_test_set_closed(filled: Place) -> None:
    closed = next(run for run in filled.runs() if run.name.startswith("logreg-test_resnet-"))
    assert set(json.loads((closed / "metrics.json").read_text())) == {"train", "validation"}
    assert "TEST SET" not in (closed / "log.txt").read_text()
    assert set(pd.read_csv(closed / "predictions.csv")["part"]) == {"train", "validation"}


def test_train_with_test_scores_it_and_says_so_in_the_log(filled: Place) -> None:
    opened = next(run for run in filled.runs() if run.name.startswith("logreg-test_resnet+test_vit"))
    metrics = json.loads((opened / "metrics.json").read_text())
    assert set(metrics) == {"train", "validation", "test"}
    assert all(isinstance(value, float) for part in metrics.values() for value in part.values())
    assert "THE TEST SET IS OPENED" in (opened / "log.txt").read_text()


def test_a_finished_experiment_is_found_and_not_run_again(own: Place) -> None:
    before = own.runs()
    assert "found finished" in own("train --dataset {data} --features {net}").ok()
    assert own.runs() == before
    own("train --dataset {data} --features {net} --force").ok()
    assert len(own.runs()) == len(before) + 1


def test_train_takes_a_configuration_file_and_settings_over_it(own: Place, tmp_path: Path) -> None:
    config = {"dataset": str(own.folder), "features": NET, "head": {"name": "mlp", "max_epochs": 3}, "seed": 4}
    (tmp_path / "mine.yaml").write_text(json.dumps(config))
    before = set(own.runs())
    text = own(f"train --config {tmp_path}/mine.yaml --set head.max_epochs=2 --set head.hidden=[8]").ok()
    (run,) = set(own.runs()) - before
    assert run.name in text
    assert len((run / "history.csv").read_text().splitlines()) == 3
    assert "seed: 4" in (run / "config.yaml").read_text()


def test_missing_features_name_the_command_that_makes_them(own: Place) -> None:
    line = "train --dataset {data} --features {other} --augmentation flip --views 2"
    message = own(line).failed()
    (command,) = re.findall(r"`hamcache (extract [^`]+)`", message)
    own(command).ok()
    assert "validation" in own(line).ok()


def test_train_extracts_what_is_missing_when_asked_to(empty: Place) -> None:
    text = empty("train --dataset {data} --features {net} --head ridge --extract").ok()
    assert "78 vectors written" in text
    assert "majority class" in text


# -- runs and compare


def listed(text: str) -> list[str]:
    return re.findall(r"^(\S+-\d{8}-\d{6}-[0-9a-f]{4}(?:-\d+)?)\t", text, flags=re.MULTILINE)


def test_runs_are_sorted_filtered_and_written_as_csv(filled: Place, tmp_path: Path) -> None:
    ids = {run.name for run in filled.runs()}
    filled(f"runs --sort seconds --out {tmp_path}/new/runs.csv").ok()
    with (tmp_path / "new" / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["run"] for row in rows} == ids
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)
    losses = {row["run"]: float(row["validation_nll"]) for row in rows}
    assert listed(filled("runs --sort nll").ok()) == sorted(losses, key=losses.__getitem__)
    assert listed(filled("runs --sort mcc --filter ridge").ok()) == [run for run in ids if run.startswith("ridge")]
    assert len(listed(filled("runs --limit 2").ok())) == 2
    assert "No runs" in Place(filled.folder, tmp_path / "none")("runs").ok()


def test_a_run_is_shown_by_the_beginning_of_its_id(filled: Place) -> None:
    text = filled("runs show ridge").ok()
    assert "sensitivity_mel" in text
    assert "predictions.csv" in text
    assert "split:" in text


def test_runs_are_compared_on_the_same_images(filled: Place, tmp_path: Path) -> None:
    one, two, three = (run.name for run in filled.runs())
    target = tmp_path / "pairs.csv"
    text = filled(f"compare {one} {two} {three} --metric accuracy --resamples 200 --out {target}").ok()
    assert "accuracy on validation" in text
    assert "9 images of 9 lesions" in text
    assert len(pd.read_csv(target)) == 3
    filled(f"compare {one} {two} {three} --reference {two} --resamples 200 --out {target}").ok()
    assert set(pd.read_csv(target)["other"]) == {two}
    assert "--test" in filled(f"compare {one} {three} --part test").failed()
