"""The photographs and runs that predictions are tested on, and one export that several tests look at."""

from pathlib import Path

import pytest

from hamcache.pipeline.use.export.export import Exported, ExportSettings, export_run
from hamcache.pipeline.use.predict.predictor import Predictor
from tests.pipeline.use.predict.conftest import CNN, Photographs, photographs, threads

__all__ = ["photographs", "threads"]


@pytest.fixture(scope="session")
def cnn(photographs: Photographs) -> Predictor:
    """A small net that averages views, with its test set opened."""
    settings = ["net.predict_augmentation=dihedral", "net.predict_views=8", "net.stored_side=24", "tau=0.5"]
    return photographs.predictor(photographs.run(*settings, blocks=(), net=CNN, test=True))


@pytest.fixture(scope="session")
def exported(photographs: Photographs, cnn: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The export of `cnn`."""
    out: Path = tmp_path_factory.mktemp("exported") / "small"
    return export_run(cnn, photographs.workspace, out, ExportSettings(resamples=50))
