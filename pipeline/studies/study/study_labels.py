"""Rows of a study with fewer labels: the experiments of its curve."""

from __future__ import annotations

from collections.abc import Mapping

from hamcache.pipeline.config.schema import ExperimentConfig, validate_config, with_settings
from hamcache.pipeline.studies.curves import Amount, Point
from hamcache.pipeline.studies.experiments import Experiment
from hamcache.pipeline.studies.study.study_config import LabelsConfig


def label_points(labels: LabelsConfig, chosen: Mapping[str, ExperimentConfig]) -> list[Point]:
    """The experiments of a study's curve, amount by amount; with a seed, fewer labels are part of more.

    Args:
        labels: Which rows, amounts and seeds.
        chosen: Row -> the experiment that was chosen for it; rows without one are left out.
    """
    amounts = [Amount(shots=count) for count in labels.shots] + [Amount(share=share) for share in labels.shares]
    points = []
    for amount in amounts:
        for number in range(labels.repeats):
            for name in labels.rows:
                if (config := chosen.get(name)) is None:
                    continue
                settings = {**amount.settings, "seed": config.seed + number}
                fewer = validate_config(with_settings(config.content(), settings), f"row {name!r}, {amount}")
                experiment = Experiment(fewer.model_name, name, fewer)
                points.append(Point(amount, fewer.seed, name, experiment))
    return points
