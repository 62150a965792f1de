"""The photographs and runs that predictions are tested on, and a data set of another clinic with other words."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hamcache.data.dataset import Dataset, DatasetWords, open_dataset
from tests.conftest import COLOURS
from tests.pipeline.use.predict.conftest import Photographs, photographs, threads

__all__ = ["photographs", "threads"]
LABELS = {"bcc": "BCC", "mel": "melanoma", "nv": "nv", "vasc": "scar"}


@dataclass(frozen=True)
class Clinic:
    """A CSV of 24 photographs of 12 patients: `BCC`, `melanoma`, `nv`, and `scar`, which no run here knows."""

    csv: Path

    def open(self, photographs: Photographs, csv: Path | None = None) -> Dataset:
        return open_dataset(DatasetWords(str(csv or self.csv)), photographs.workspace)

    def with_rows(self, path: Path, *rows: str) -> Path:
        path.write_text(self.csv.read_text() + "".join(f"{row}\n" for row in rows))
        return path


@pytest.fixture(scope="session")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    folder = tmp_path_factory.mktemp("clinic")
    rng = np.random.default_rng(3)
    rows = ["image_id,path,label,group"]
    for number in range(24):
        ours = list(LABELS)[number // 2 % 4]
        pixels = rng.normal(COLOURS[ours], 14, (36, 44, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"c{number:02d}.png")
        rows.append(f"c{number:02d},{folder}/c{number:02d}.png,{LABELS[ours]},patient{number // 2}")
    (folder / "clinic.csv").write_text("\n".join(rows) + "\n")
    return Clinic(folder / "clinic.csv")
