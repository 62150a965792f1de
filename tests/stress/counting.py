"""A plugin of pytest that counts the examples of Hypothesis, and lets properties end when their time is up."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from functools import wraps
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

FILE, SECONDS = "HAMCACHE_STRESS_COUNTS", "HAMCACHE_STRESS_SECONDS"
examples: Counter[str] = Counter()
failures: dict[str, str] = {}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: Any) -> Iterator[None]:
    """Wrap the inner test: after its time an example is passed over."""
    handle = getattr(item.obj, "hypothesis", None)
    if handle is not None:
        inner, until = handle.inner_test, monotonic() + float(os.environ[SECONDS])

        @wraps(inner)
        def counted(*arguments: Any, **named: Any) -> Any:
            if monotonic() > until:
                return None
            examples[item.nodeid] += 1
            return inner(*arguments, **named)

        handle.inner_test = counted
    yield


def pytest_runtest_logreport(report: Any) -> None:
    """Keep what failed."""
    if report.failed:
        failures[report.nodeid] = str(report.longrepr)[-3000:]


def pytest_sessionfinish() -> None:
    """Write the counts where the runner finds them."""
    Path(os.environ[FILE]).write_text(json.dumps({"examples": examples, "failures": failures}))
