"""A model that fails says so in one line with its name and the reason; mistakes in code are never hidden by it."""

from unittest import mock

import numpy as np
import pytest

from hamcache.heads.errors import HeadParamsError, ModelFailedError
from hamcache.pipeline.experiment.fitting import failing_as
from hamcache.pipeline.experiment.runner import run_experiment

WHERE = "hamcache.heads.estimator.EstimatorHead.fit"


@pytest.mark.parametrize(
    "error",
    [
        np.linalg.LinAlgError("SVD did not converge"),
        FloatingPointError("overflow"),
        ValueError("Input contains\nNaN"),
        MemoryError("Unable to allocate 1 PiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RecursionError("maximum recursion depth exceeded"),
        OverflowError("Python int too large to convert to C int"),
    ],
)
def test_a_model_that_fails_is_named_with_the_reason_in_one_line(world, error: Exception) -> None:
    world.extract()
    with mock.patch(WHERE, side_effect=error), pytest.raises(ModelFailedError) as told:
        run_experiment(world.config("head=lda"), world.workspace)
    message = str(told.value)
    assert "lda" in message and type(error).__name__ in message and "\n" not in message
    assert told.value.__cause__ is error


@pytest.mark.parametrize("error", [TypeError("a slip"), KeyError("x"), HeadParamsError("ours"), OSError("disk")])
def test_slips_and_errors_of_ours_pass_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as told, failing_as("lda"):
        raise error
    assert told.value is error
