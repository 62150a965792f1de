import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from hamcache.heads.errors import HeadParamsError, UnknownLossError
from hamcache.heads.loss_params import LOSSES
from hamcache.heads.losses import build_loss, effective_number_weights
from hamcache.heads.zoo import build_head

CLASSES = ("akiec", "bcc", "bkl", "df")
COUNTS = np.array([50, 30, 15, 5])


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and codes in which every class is as frequent as COUNTS say."""
    generator = torch.Generator().manual_seed(0)
    y = torch.from_numpy(np.repeat(np.arange(4), COUNTS))
    return 3 * torch.randn(100, 4, generator=generator), y


def loss_of(name, batch, class_weight="none", label_smoothing=0.0, **params) -> torch.Tensor:
    loss = build_loss(
        name, params, counts=COUNTS, classes=CLASSES, class_weight=class_weight, label_smoothing=label_smoothing
    )
    return loss(*batch)


def test_cross_entropy_is_torchs_with_weights_and_smoothing(batch):
    torch.testing.assert_close(loss_of("cross_entropy", batch), F.cross_entropy(*batch))
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0])
    torch.testing.assert_close(
        loss_of("cross_entropy", batch, class_weight=weight.tolist()), F.cross_entropy(*batch, weight=weight)
    )
    torch.testing.assert_close(
        loss_of("cross_entropy", batch, label_smoothing=0.1), F.cross_entropy(*batch, label_smoothing=0.1)
    )


def test_balanced_weights_make_every_class_count_alike(batch):
    logits, y = batch
    rows = F.cross_entropy(logits, y, reduction="none")
    expected = torch.stack([rows[y == code].mean() for code in range(4)]).mean()
    torch.testing.assert_close(loss_of("cross_entropy", batch, class_weight="balanced"), expected)


def test_focal_is_its_formula_and_cross_entropy_at_gamma_zero(batch):
    logits, y = batch
    p = logits.softmax(1)[torch.arange(100), y]
    torch.testing.assert_close(loss_of("focal", batch, gamma=2.0), (-((1 - p) ** 2) * p.log()).mean())
    torch.testing.assert_close(loss_of("focal", batch, gamma=0.0), F.cross_entropy(*batch))


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 0.0), (0.9, 1.0)])
def test_focal_sigmoid_is_torchvisions(batch, alpha, gamma):
    logits, y = batch
    expected = sigmoid_focal_loss(logits, F.one_hot(y, 4).float(), alpha, gamma).sum(1).mean()
    torch.testing.assert_close(loss_of("focal_sigmoid", batch, alpha=alpha, gamma=gamma), expected)


def test_class_balanced_goes_from_plain_to_balanced_with_beta(batch):
    torch.testing.assert_close(loss_of("class_balanced", batch, beta=0.0), F.cross_entropy(*batch))
    balanced = loss_of("cross_entropy", batch, class_weight="balanced")
    torch.testing.assert_close(loss_of("class_balanced", batch, beta=1 - 1e-9), balanced, rtol=1e-4, atol=1e-5)


def test_effective_numbers_are_those_of_the_paper():
    weights = effective_number_weights(COUNTS, 0.99)
    paper = (1 - 0.99) / (1 - 0.99**COUNTS)
    np.testing.assert_allclose(weights / weights.sum(), paper / paper.sum())
    assert (weights * COUNTS).sum() == pytest.approx(COUNTS.sum())


def test_balanced_softmax_is_its_formula_and_logit_adjustment_at_tau_one(batch):
    logits, y = batch
    weighted = logits.exp() * torch.from_numpy(COUNTS)
    expected = -(weighted[torch.arange(100), y] / weighted.sum(1)).log().mean()
    torch.testing.assert_close(loss_of("balanced_softmax", batch), expected.float())
    torch.testing.assert_close(loss_of("logit_adjusted", batch, tau=1.0), expected.float())
    torch.testing.assert_close(loss_of("logit_adjusted", batch, tau=0.0), F.cross_entropy(*batch))


@pytest.mark.parametrize("name", LOSSES)
def test_mixed_targets_cost_the_mixture_of_both_losses(batch, name):
    logits, y = batch
    other = y.flip(0)
    loss = build_loss(name, {}, counts=COUNTS, classes=CLASSES, label_smoothing=0.1)
    mixed = 0.3 * loss.targets[y] + 0.7 * loss.targets[other]
    torch.testing.assert_close(loss(logits, mixed), 0.3 * loss(logits, y) + 0.7 * loss(logits, other))


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_stay_finite_at_extreme_logits(name):
    params = {"gamma": 0.5} if "gamma" in LOSSES[name].params.model_fields else {}
    loss = build_loss(name, params, counts=COUNTS, classes=CLASSES)
    logits = torch.tensor([[200.0, -200.0, 0.0, 0.0], [-200.0, 200.0, 0.0, 0.0]], requires_grad=True)
    value = loss(logits, torch.tensor([0, 0]))
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_training_with_any_loss_gives_proper_probabilities(name, blocks, features):
    X, y = features()
    params = {"loss": name, "max_epochs": 15, "hidden": [16], "lr": 0.01, "mixup": 0.2, "label_smoothing": 0.05}
    head = build_head("mlp", params, blocks=blocks, classes=CLASSES).fit(X, y, validation=(X, y))
    probabilities = head.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities >= 0).all() and (probabilities <= 1).all()
    assert (probabilities.argmax(axis=1) == y).mean() > 0.9


@pytest.mark.parametrize("name", LOSSES)
def test_probabilities_are_those_the_loss_is_minimised_by(name):
    # One feature-less "image" type: the best logits are constants, and the loss says which.
    loss = build_loss(name, {}, counts=COUNTS, classes=CLASSES, class_weight="none")
    y = torch.from_numpy(np.repeat(np.arange(4), COUNTS))
    logits = torch.zeros(4, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss(logits.expand(100, 4), y)
        value.backward()
        return value

    optimizer.step(closure)
    found = loss.probabilities(logits.detach()[None])[0]
    if name == "cross_entropy":
        torch.testing.assert_close(found, torch.tensor(COUNTS / 100).float(), atol=1e-3, rtol=0)
    if name in ("balanced_softmax", "logit_adjusted"):
        torch.testing.assert_close(found, torch.full((4,), 0.25), atol=1e-3, rtol=0)
    assert (found.argsort() == torch.arange(3, -1, -1)).all() or name in ("balanced_softmax", "logit_adjusted")


def test_losses_that_correct_the_imbalance_take_no_weights_by_default(batch):
    for name, spec in LOSSES.items():
        automatic = loss_of(name, batch, class_weight="auto")
        expected = "none" if spec.corrects_imbalance else "balanced"
        torch.testing.assert_close(automatic, loss_of(name, batch, class_weight=expected))


def test_unknown_losses_and_unfit_weights_are_refused(batch):
    with pytest.raises(UnknownLossError, match="did you mean 'balanced_softmax'"):
        loss_of("balanced_sofmax", batch)
    with pytest.raises(HeadParamsError, match="did you mean 'gamma'"):
        loss_of("focal", batch, gama=1.0)
    with pytest.raises(HeadParamsError, match="4 positive class weights"):
        loss_of("focal", batch, class_weight=[1.0, 2.0])
    with pytest.raises(HeadParamsError, match="each of akiec, bcc, bkl, df"):
        loss_of("focal", batch, class_weight={"akiec": 1.0})
