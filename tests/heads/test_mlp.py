import numpy as np
import pytest
import torch
from sklearn.metrics import matthews_corrcoef
from skorch.callbacks import Callback
from skorch.dataset import Dataset

from hamcache.heads.batches import BatchIterator
from hamcache.heads.errors import MetricError, TrainingDivergedError
from hamcache.heads.mlp import MLPHead
from hamcache.heads.network import MLP, Dropout, geometric_sizes
from hamcache.heads.zoo import build_head

CLASSES = ("akiec", "bcc", "bkl", "df")


def mlp(blocks, name="mlp", **params) -> MLPHead:
    settings = {"hidden": [16], "lr": 0.01, "max_epochs": 8} if name == "mlp" else {}
    return build_head(name, settings | params, blocks=blocks, classes=CLASSES)


def test_the_weights_of_the_best_epoch_are_kept(blocks, features):
    X, y = features(spread=0.15)
    X_valid, y_valid = features(n=100, spread=0.15, seed=5)
    head = mlp(blocks, objective="mcc", max_epochs=40, patience=8).fit(X, y, validation=(X_valid, y_valid))
    best = max(row["valid_mcc"] for row in head.history_)
    assert matthews_corrcoef(y_valid, head.predict(X_valid)) == pytest.approx(best)
    assert len(head.history_) < 40
    assert best > head.history_[-1]["valid_mcc"]


def test_early_stopping_waits_for_patience_epochs(blocks, features):
    X, y = features(spread=0.1)
    head = mlp(blocks, objective="loss", max_epochs=60, patience=4).fit(
        X, y, validation=features(n=100, spread=0.1, seed=5)
    )
    losses = [row["valid_loss"] for row in head.history_]
    assert len(losses) == int(np.argmin(losses)) + 1 + 4


def test_without_validation_data_it_trains_for_all_epochs(blocks, features):
    head = mlp(blocks, max_epochs=7, patience=1).fit(*features())
    assert [row["epoch"] for row in head.history_] == [1, 2, 3, 4, 5, 6, 7]
    assert set(head.history_[0]) == {"epoch", "train_loss", "lr", "seconds"}
    assert all(type(value) in (int, float) for row in head.history_ for value in row.values())


def test_any_metric_can_be_the_objective(blocks, features):
    X, y = features()

    head = mlp(blocks, objective="sensitivity_df").fit(X, y, validation=(X, y))
    best = max(row["valid_sensitivity_df"] for row in head.history_)
    assert (head.predict(X) == 3)[y == 3].mean() == pytest.approx(best)
    losses = [row["valid_nll"] for row in mlp(blocks, objective="nll").fit(X, y, validation=(X, y)).history_]
    assert max(losses) < 0 and losses[-1] > losses[0]  # the gain: more is better
    with pytest.raises(MetricError, match="did you mean 'mcc'"):
        mlp(blocks, objective="mc").fit(X, y)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["none", "cosine", "onecycle", "plateau"])
def test_every_optimizer_works_with_every_schedule(blocks, features, optimizer, schedule):
    X, y = features(n=150)
    lr = 0.1 if optimizer == "sgd" else 0.01
    head = mlp(blocks, optimizer=optimizer, schedule=schedule, lr=lr, max_epochs=10, batch_size=32)
    rates = [row["lr"] for row in head.fit(X, y).history_]
    assert (head.predict(X) == y).mean() > 0.9
    assert len(rates) == 10
    if schedule == "none":
        assert set(rates) == {lr}
    if schedule in ("cosine", "onecycle"):
        assert rates[-1] < 0.1 * max(rates)


def test_regularisers_do_something_and_stay_reproducible(blocks, features):
    X, y = features(n=120)
    plain = mlp(blocks, dropout=0.0).fit(X, y).predict_proba(X)
    for change in (
        {"dropout": 0.5},
        {"batch_norm": True},
        {"mixup": 0.4},
        {"label_smoothing": 0.1},
        {"activation": "gelu"},
    ):
        first, second = (mlp(blocks, **{"dropout": 0.0, **change}).fit(X, y).predict_proba(X) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert (first != plain).any(), change


def test_a_diverging_training_says_so(blocks, features):
    with pytest.raises(TrainingDivergedError, match="lower lr"):
        mlp(blocks, optimizer="sgd", lr=1e30).fit(*features())


@pytest.mark.parametrize("epoch", [1, 3, 4])
@pytest.mark.parametrize("moment", ["on_epoch_begin", "on_batch_end", "on_epoch_end"])
def test_ctrl_c_never_leaves_a_half_trained_head(blocks, features, epoch, moment):
    def press(self, net, **kwargs):
        if len(net.history) == epoch:
            raise KeyboardInterrupt

    X, y = features()
    ctrl_c = type("CtrlC", (Callback,), {moment: press})()
    with pytest.raises(KeyboardInterrupt):
        mlp(blocks, max_epochs=4).fit(X, y, validation=(X, y), callbacks=[ctrl_c])


def test_callbacks_see_every_epoch(blocks, features):
    class Report(Callback):
        seen: list[float] = []

        def on_epoch_end(self, net, **kwargs):
            self.seen.append(net.history[-1]["valid_mcc"])

    X, y = features()
    head = mlp(blocks, objective="mcc").fit(X, y, validation=(X, y), callbacks=[Report()])
    assert Report.seen == [row["valid_mcc"] for row in head.history_]


def batches_of(images=10, views=3, epochs=1, **params):
    X = torch.arange(images * views).reshape(images, views, 1).float()
    iterator = BatchIterator(Dataset(X, torch.arange(images)), **{"batch_size": 4, "seed": 0, **params})
    return [[(batch.flatten(), y) for batch, y in iterator] for _ in range(epochs)]


def test_an_epoch_has_every_view_of_every_image_once():
    for epoch in batches_of(epochs=2):
        rows, y = (torch.cat(part) for part in zip(*epoch, strict=True))
        assert sorted(rows.tolist()) == list(range(30))
        assert torch.equal(rows.long() // 3, y)


def test_random_views_show_every_image_once_an_epoch_with_changing_views():
    first, second = (torch.cat([rows for rows, _ in epoch]) for epoch in batches_of(epochs=2, random_view=True))
    assert sorted((first.long() // 3).tolist()) == list(range(10))
    views = [
        dict(zip((rows.long() // 3).tolist(), (rows.long() % 3).tolist(), strict=True)) for rows in (first, second)
    ]
    assert views[0] != views[1]


def test_batches_depend_on_seed_and_epoch_only():
    def flat(**params):
        return [[rows.tolist() for rows, _ in epoch] for epoch in batches_of(epochs=3, **params)]

    assert flat() == flat()
    assert flat() != flat(seed=1)
    assert flat()[0] != flat()[1]


def test_no_batch_is_a_small_rest():
    sizes = [len(rows) for rows, _ in batches_of(images=13, views=1)[0]]
    assert sum(sizes) == 13 and max(sizes) <= 4 and min(sizes) >= 3


def test_dropout_keeps_the_mean_and_draws_from_its_own_generator():
    dropout = Dropout(0.3, torch.Generator().manual_seed(0))
    X = torch.ones(200, 200)
    out = dropout(X)
    assert out.mean() == pytest.approx(1, abs=0.02)
    assert (out == 0).float().mean() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(dropout.eval()(X), X)


def test_the_hybrid_embeds_every_block_and_its_layers_fall_geometrically():
    network = MLP([30, 20], 7, geometric_sizes(16, 7, 2), embedding_dim=8)
    assert [tuple(layer[0].weight.shape) for layer in network.embeddings] == [(8, 30), (8, 20)]
    assert [layer.out_features for layer in network.layers if isinstance(layer, torch.nn.Linear)] == [12, 9, 7]
    assert geometric_sizes(1024, 8, 2) == [203, 40]
    X = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    embedded = torch.cat([network.embeddings[0](X[:, :30]), network.embeddings[1](X[:, 30:])], 1)
    torch.testing.assert_close(network(X), network.layers(embedded))


def test_a_network_starts_as_torch_starts_it():
    layer = MLP([400], 300, seed=1).layers[0]
    assert layer.weight.abs().max() <= 1 / 20
    assert layer.weight.detach().std() == pytest.approx(1 / 20 / np.sqrt(3), rel=0.02)
    assert not torch.equal(layer.weight, MLP([400], 300, seed=2).layers[0].weight)


def test_the_hybrid_ignores_dropped_blocks(features):
    from hamcache.heads.blocks import Block

    X, y = features()
    head = mlp([Block("a", 20), Block("b", 12, "drop")], "hybrid_mlp", embedding_dim=8, max_epochs=2).fit(X, y)
    assert [name for name in head.weights_ if name.startswith("embeddings")] == [
        "embeddings.0.0.weight",
        "embeddings.0.0.bias",
    ]
