"""Heads of one's own: any classifier by its name, used as far as it can be, exactly named, kept or refused."""

import importlib.metadata
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from hamcache.heads import own_heads
from hamcache.heads.blocks import Block
from hamcache.heads.errors import HeadFileError, HeadParamsError, ModelFailedError, OwnHeadError
from hamcache.heads.own_heads import own_identity
from hamcache.heads.own_probe import require_kept
from hamcache.heads.persist import load_head, save_head
from hamcache.heads.zoo import build_head, head_params

CLASSES = ("akiec", "bcc", "bkl", "df")
MINE = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from distances import distance


class Centroid(ClassifierMixin, BaseEstimator):
    def __init__(self, power=2.0):
        self.power = power

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.means_ = np.stack([X[y == c].mean(axis=0) for c in self.classes_])
        return self

    def predict(self, X):
        return self.classes_[distance(X, self.means_, self.power).argmin(axis=1)]


class Drawn(Centroid):
    def fit(self, X, y):
        print("drawing")
        rows = np.random.permutation(len(X))[: len(X) // 2]
        return super().fit(X[rows], y[rows])


class Folded(Centroid):
    def __init__(self, cv=3, class_weight=None):
        self.cv = cv
        self.class_weight = class_weight

    power = 2.0

    def fit(self, X, y):
        self.folds_, self.weights_ = list(self.cv), dict(self.class_weight or {})
        return super().fit(X, y)


class Forgetful(Centroid):
    def __getstate__(self):
        return super().__getstate__() | {"means_": np.zeros((4, 24))}


class Generator(Centroid):
    def fit(self, X, y):
        self.rows_ = (row for row in X)
        return super().fit(X, y)


class Broken(Centroid):
    def fit(self, X, y):
        return {}["nothing"]


class NoClassifier:
    pass


def pipe(C=1.0):
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC
    return make_pipeline(PCA(8), SVC(C=C))


unnamed = lambda: Centroid()
"""
BESIDE = (
    "import numpy as np\n\n\ndef distance(X, means, power):\n    return (abs(X[:, None] - means) ** power).sum(2)\n"
)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A file of classifiers, named from the current folder, and a file beside it that it imports."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "distances.py").write_text(BESIDE)
    monkeypatch.chdir(tmp_path)
    forget()
    yield "mine.py"
    forget()


def forget() -> None:
    """Import files anew, as another process does."""
    for name in [name for name in sys.modules if name == "distances" or name.startswith("hamcache_own_")]:
        del sys.modules[name]


def built(name, params=None):
    return build_head(name, params or {}, blocks=[Block("a", 20), Block("b", 12)], classes=CLASSES, seed=3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("sklearn.svm:SVC", {"C": 2.0}),
        ("sklearn.naive_bayes:GaussianNB", {}),
        ("mine.py:Centroid", {"power": 1.5}),
        ("mine.py:pipe", {"C": 3.0, "svc__gamma": 0.05}),
        ("average", {"heads": [{"name": "mine.py:Centroid"}, {"name": "logreg"}]}),
    ],
)
def test_a_head_of_ones_own_learns_averages_views_and_is_kept(mine, name, params, features, tmp_path):
    X, y = features()
    X_test, y_test = features(seed=1)
    head = built(name, params).fit(X, y)
    probabilities = head.predict_proba(X_test)
    assert (head.predict(X_test) == y_test).mean() > 0.8
    apart = np.mean([head.predict_proba(X_test[:, view]) for view in range(2)], axis=0)
    np.testing.assert_allclose(probabilities, apart, atol=1e-6)
    trust = ["mine.py:Centroid"] if "Centroid" in str((name, params)) else []
    assert save_head(head, tmp_path / "run", trust) == trust
    forget()
    np.testing.assert_array_equal(load_head(tmp_path / "run", trust).predict_proba(X_test), probabilities)


def test_types_of_ones_own_are_kept_and_loaded_only_by_name(mine, features, tmp_path):
    head = built("mine.py:Centroid").fit(*features())
    with pytest.raises(OwnHeadError, match=r"--trust mine\.py:Centroid"):
        save_head(head, tmp_path / "run")
    for trusted in ("mine.py.Centroid", "./mine.py:Centroid", "mine.py"):
        assert save_head(head, tmp_path / "run", [trusted]) == ["mine.py:Centroid"]
    forget()
    with pytest.raises(HeadFileError, match=r"--trust mine\.py:Centroid"):
        load_head(tmp_path / "run")
    assert not [name for name in sys.modules if name.startswith("hamcache_own_")], "its code ran before it was trusted"
    Path("mine.py").write_text(MINE.replace("mean(axis=0)", "max(axis=0)"))
    with pytest.raises(HeadFileError, match="got other code"):
        load_head(tmp_path / "run", ["mine.py:Centroid"])


def test_who_only_predicts_classes_gives_probabilities_of_which_they_are_the_largest(mine, features):
    X, y = features(views=1)
    with pytest.warns(UserWarning, match="predicted classes, by a temperature"):
        head = built("mine.py:Centroid").fit(X, y)
    rows = head.blocks_.transform(X[:, 0])
    np.testing.assert_array_equal(head.predict(X), head.classifier_.predict(rows))
    largest = head.predict_proba(X).max(axis=1)
    assert largest.min() == pytest.approx(largest.max()) and 0.5 < largest.max() < 1


def test_folds_keep_lesions_together_and_classes_are_weighted_as_the_class_can(mine, features):
    X, y = features(n=120)
    lesions = np.arange(120) // 2
    y = np.repeat(y[::2], 2)
    head = built("mine.py:Folded", {"cv": 4, "class_weight": {"akiec": 1, "bcc": 2, "bkl": 3, "df": 4}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = head.fit(X, y, groups=lesions).classifier_
    rows = np.repeat(lesions, 2)
    assert len(fitted.folds_) == 4 and fitted.cv == 4
    assert not any(set(rows[train]) & set(rows[held_out]) for train, held_out in fitted.folds_)
    assert fitted.weights_[3] == pytest.approx(4 * fitted.weights_[0])
    with pytest.raises(HeadParamsError, match="takes no weights"):
        built("mine.py:Centroid", {"class_weight": "balanced"})
    with pytest.warns(UserWarning, match="takes no weights"):
        built("mine.py:Centroid").fit(X, y)


def test_what_draws_from_global_generators_gives_the_same_bits_and_leaves_them_alone(mine, features):
    X, y = features()
    np.random.seed(5)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    with pytest.warns(UserWarning, match="drawing"):
        first = built("mine.py:Drawn").fit(X, y).classifier_.means_
        second = built("mine.py:Drawn").fit(X, y).classifier_.means_
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert built("sklearn.ensemble:RandomForestClassifier", {"n_estimators": 3}).fit(X, y).classifier_.random_state == 3


@pytest.mark.parametrize(
    ("name", "params", "reason"),
    [
        ("sklearn.svn:SVC", {}, "did you mean sklearn.svm"),
        ("sklearn.svm:SVCC", {}, "did you mean SVC"),
        ("mine.py:Centriod", {}, "did you mean Centroid"),
        ("nowhere.py:Centroid", {}, "no file nowhere.py"),
        ("sklearn.svm:SVR", {}, "a regressor"),
        ("sklearn.decomposition:PCA", {}, "none of predict_proba"),
        ("mine.py:NoClassifier", {}, "lacks fit"),
        ("builtins:int", {}, "no signature"),
        ("unittest.mock:Mock", {}, "when it was looked at"),
        ("sklearn.ensemble:VotingClassifier", {}, "estimators"),
        ("sklearn.svm:SVC", {"CC": 1}, "did you mean 'C'"),
        ("sklearn.svm:SVC", {"C": -1}, "must be a float in the range"),
        ("sklearn.svm:SVC", {"decision_function_shape": "ovo"}, "one score a class"),
        ("mine.py:pipe", {"svc__gama": 1}, "did you mean 'svc__gamma'"),
    ],
)
def test_what_is_no_head_is_refused_with_the_reason(mine, name, params, reason):
    with pytest.raises((OwnHeadError, HeadParamsError), match=reason):
        built(name, params)


def test_the_identity_is_a_digest_of_ones_own_code_and_the_versions_of_packages(mine, tmp_path):
    def identity(name="mine.py:Centroid"):
        forget()
        return own_identity([name])[name]

    version = importlib.metadata.version("scikit-learn")
    assert own_identity(["sklearn.svm:SVC"]) == {"sklearn.svm:SVC": {"scikit-learn": version}}
    first = identity()
    assert first == identity() and first["scikit-learn"] == version and "numpy" in first
    Path("distances.py").write_text(BESIDE.replace("sum(2)", "max(2)"))
    assert identity()["code"] != first["code"]
    with pytest.raises(OwnHeadError, match="lambda"):
        identity("mine.py:unnamed")


def test_a_package_in_a_folder_of_its_own_is_known_by_its_version(tmp_path, monkeypatch):
    """As `pip install --target` leaves it; without a record of what was installed it is somebody's own code."""
    for name in ("ownboost", "owntrees"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("from sklearn.svm import SVC\nclass Booster(SVC):\n    pass\n")
        about = tmp_path / f"{name}-1.2.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (about / "top_level.txt").write_text(name)
    (tmp_path / "ownboost-1.2.dist-info" / "RECORD").write_text("ownboost/__init__.py,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    known = own_identity(["ownboost:Booster", "owntrees:Booster"])
    assert known["ownboost:Booster"] == {"ownboost": "1.2", "scikit-learn": importlib.metadata.version("scikit-learn")}
    assert known["owntrees:Booster"].keys() == {"code", "scikit-learn"}


def test_packages_offer_heads(mine, monkeypatch):
    monkeypatch.setattr(
        own_heads, "entry_points", lambda group: [importlib.metadata.EntryPoint("mean", "mine.py:Centroid", group)]
    )
    assert built("mean", {"power": 1.0}).classifier.power == 1.0
    assert own_identity(["mean"])["mean"] == own_identity(["mine.py:Centroid"])["mine.py:Centroid"]
    with pytest.raises(Exception, match="did you mean 'mean'"):
        head_params("meann")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Centroid", "--trust mine.py:Centroid"),
        ("Generator", "skops cannot write it"),
        ("Forgetful", "got other probabilities"),
    ],
)
def test_what_could_not_be_kept_is_known_before_it_is_trained(mine, name, reason):
    trust = () if name == "Centroid" else [f"mine.py:{name}", "builtins.generator"]
    with pytest.raises(OwnHeadError, match=reason):
        require_kept(f"mine.py:{name}", {}, CLASSES, 32, trust)
    assert require_kept("mine.py:Centroid", {}, CLASSES, 32, ["mine.py:Centroid"]) is None
    assert "KeyError" in str(require_kept("mine.py:Broken", {}, CLASSES, 32, ["mine.py:Broken"]))


def test_code_that_fails_is_an_error_of_ours_that_names_it(mine, features):
    with pytest.warns(UserWarning), pytest.raises(ModelFailedError, match=r"mine.py:Broken .*KeyError: 'nothing'"):
        built("mine.py:Broken").fit(*features())
