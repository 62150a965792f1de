"""`docs/other-tools.md` keeps its word: its Python runs in its order, with a stand-in for FiftyOne."""

import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hamcache.data.synthetic.collection import synthesize

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs/other-tools.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
)


class FiftyOne(ModuleType):
    """The part of FiftyOne's interface that the recipe uses."""

    class Classification(SimpleNamespace):
        """A label, maybe with its confidence."""

    class Sample(SimpleNamespace):
        """A file and its fields."""

    class Dataset:
        """Samples by a name."""

        kept: list[Any] = []

        def __init__(self, name: str) -> None:
            self.name = name

        def add_samples(self, samples: list[Any]) -> None:
            FiftyOne.Dataset.kept = samples


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = synthesize(tmp_path / "drawn", lesions=42, size=(64, 48))
    rows = ["file,diagnosis,patient"]
    for line in (drawn / "HAM10000_metadata.csv").read_text().splitlines()[1:]:
        lesion, image, label = line.split(",")[:3]
        folder = tmp_path / "photos" / "by_class" / label
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(next(drawn.rglob(f"{image}.jpg")), folder)
        rows.append(f"by_class/{label}/{image}.jpg,{label},{lesion}")
    (tmp_path / "photos" / "moles.csv").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HAMCACHE_WORKSPACE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setitem(sys.modules, "fiftyone", FiftyOne("fiftyone"))
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in BLOCKS:
        if "import datasets" not in block or find_spec("datasets"):
            exec(compile(block, "other-tools.md", "exec"), names)
    assert 0.4 < float(capsys.readouterr().out.split()[-1]) <= 1
    samples = FiftyOne.Dataset.kept
    assert len(samples) == len(names["part"]) > 5
    for sample in samples:
        assert Path(sample.filepath).is_file() and sample.prediction.label in names["run"].classes
        assert sample.embedding.dtype == np.float32 and sample.embedding.shape == (1280,)
