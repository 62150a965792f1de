"""A plugin of pytest that tries the properties of Hypothesis again and again until their time is up, and counts."""

from __future__ import annotations

import json
import os
from collections import Counter
from functools import wraps
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from hypothesis import settings

FILE, SECONDS = "HAMCACHE_STRESS_COUNTS", "HAMCACHE_STRESS_SECONDS"
BATCH = 50
"""Examples between two looks at the clock."""
_share = 0.0
examples: Counter[str] = Counter()
failures: dict[str, str] = {}


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Share the time among the properties."""
    global _share
    _share = float(os.environ[SECONDS]) / max(1, sum(hasattr(item.obj, "hypothesis") for item in items))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: Any) -> bool | None:
    """Run a property in batches; other tests once, as ever."""
    function = pyfuncitem.obj
    if not hasattr(function, "hypothesis"):
        return None
    inner, until = function.hypothesis.inner_test, monotonic() + _share

    @wraps(inner)
    def counted(*arguments: Any, **named: Any) -> Any:
        examples[pyfuncitem.nodeid] += 1
        return inner(*arguments, **named)

    function.hypothesis.inner_test = counted
    function._hypothesis_internal_use_settings = settings(
        function._hypothesis_internal_use_settings, max_examples=BATCH, derandomize=False
    )
    given = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    while True:
        function(**given)
        if monotonic() > until:
            return True


def pytest_runtest_logreport(report: Any) -> None:
    """Keep what failed."""
    if report.failed:
        failures[report.nodeid] = str(report.longrepr)[-3000:]


def pytest_sessionfinish() -> None:
    """Write the counts where the runner finds them."""
    Path(os.environ[FILE]).write_text(json.dumps({"examples": examples, "failures": failures}))
