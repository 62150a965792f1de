"""Resuming a sweep: the sweep of equal settings, and how its earlier trials stood at every rung."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

from ray import tune

from hamcache.data.workspace import Workspace
from hamcache.pipeline.studies.sweeps.results import Sweep, all_sweeps
from hamcache.pipeline.studies.sweeps.search import SCORE
from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig
from hamcache.pipeline.studies.sweeps.trial_table import TrialTable

_log = logging.getLogger(__name__)
FOREVER = 1_000_000
"""More epochs than any trial has."""


def sweep_like(settings: SweepConfig, fingerprint: str, workspace: Workspace) -> Sweep | None:
    """The latest sweep with these settings on the data with this fingerprint, which can be resumed.

    One whose files are damaged is passed over with a warning.
    """
    for sweep in reversed(all_sweeps(workspace)):
        if sweep.settings.digest == settings.digest and sweep.summary.get("data") == fingerprint:
            if not (flaws := sweep.flaws()):
                return sweep
            _log.warning("%s", flaws[0])
    return None


def stopping_rule(settings: SweepConfig, table: TrialTable) -> Any:
    """ASHA that knows how earlier trials stood at its rungs; or none."""
    if settings.stopping == "none":
        return None
    asha = tune.schedulers.ASHAScheduler(
        time_attr="epoch",
        metric=SCORE,
        mode="max",
        max_t=FOREVER,
        grace_period=settings.grace,
        reduction_factor=settings.reduction,
    )
    controller: Any = None  # it is not asked for anything
    for number in dict.fromkeys(number for number, _, _ in table.epochs):
        before: Any = SimpleNamespace(trial_id=f"before-{number}")
        asha.on_trial_add(controller, before)
        for other, epoch, score in table.epochs:
            if other == number:
                asha.on_trial_result(controller, before, {"epoch": epoch, SCORE: score})
    return asha
