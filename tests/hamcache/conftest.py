"""The small data set of the pipeline's tests, for the Python face."""

from tests.pipeline.conftest import _no_plots, dataset_csv, make_world

__all__ = ["_no_plots", "dataset_csv", "make_world"]
