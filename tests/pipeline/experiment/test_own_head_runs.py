"""Runs of heads of one's own: found again by what they are, marked where they were trusted, and refused without."""

import sys
from pathlib import Path

import pytest

from hamcache.heads.errors import HeadFileError, OwnHeadError
from hamcache.pipeline.errors import ConfigError, RunError
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.studies.experiments import Template, plan, run_all

MINE = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin


class Centroid(ClassifierMixin, BaseEstimator):
    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        self.means_ = np.stack([X[y == c].mean(axis=0) for c in self.classes_])
        return self

    def predict_proba(self, X):
        p = np.exp(-((X[:, None] - self.means_) ** 2).sum(axis=2))
        return p / p.sum(axis=1, keepdims=True)
"""
NAME = "mine.py:Centroid"


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    yield
    for name in [name for name in sys.modules if name.startswith("hamcache_own_")]:
        del sys.modules[name]


def test_a_run_is_found_by_the_code_that_it_ran_and_says_whom_it_trusts(world):
    world.extract()
    asked = world.config(f"head={NAME}")
    with pytest.raises(OwnHeadError, match=r"--trust mine\.py:Centroid"):
        run_experiment(asked, world.workspace)
    assert not list(world.workspace.runs.glob("*"))
    trusting = world.config(f"head={NAME}", f"trust=[{NAME}]")
    run = run_experiment(trusting, world.workspace)
    assert run.trusted == [NAME] and run.config.trust == (NAME,) and run.id.startswith("Centroid-")
    assert set(run.provenance["own_heads"][NAME]) == {"code", "numpy", "scikit-learn"}
    with pytest.raises(RunError, match="--trust"):
        run.require_trust(())
    with pytest.raises(HeadFileError, match="--trust"):
        run.load_head()
    assert run.load_head(trust=[NAME]).predict_proba([[0.0] * 8]).shape == (1, 3)
    assert run_experiment(asked, world.workspace).id == run.id, "trust changes no number"
    Path("mine.py").write_text(MINE.replace("** 2", "** 4"))
    assert run_experiment(trusting, world.workspace).id != run.id


def test_a_zoo_takes_heads_of_ones_own_beside_ours(world):
    world.extract()
    template = Template(settings={"dataset": str(world.csv)})
    experiments = plan(["net_a"], ["sklearn.naive_bayes:GaussianNB", "logreg"], template)
    outcomes = run_all(experiments, world.workspace, workers=1)
    assert [outcome.run.metrics["validation"]["mcc"] > 0.3 for outcome in outcomes] == [True, True]


def test_mistakes_are_told_when_the_configuration_is_read(world):
    for settings, reason in {
        ("head=sklearn.svm:SVCC",): "head.name: .*did you mean SVC",
        ("head=sklearn.svm:SVC", "head.CC=1"): "head: .*did you mean 'C'",
        ("head=sklearn.svm:SVC", "head.class_weight=balancd"): "class_weight",
    }.items():
        with pytest.raises(ConfigError, match=reason):
            world.config(*settings)
