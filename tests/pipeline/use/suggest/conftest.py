"""The photographs that predictions are tested on, and their runs."""

from tests.pipeline.use.predict.conftest import photographs, threads

__all__ = ["photographs", "threads"]
