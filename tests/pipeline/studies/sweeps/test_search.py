from collections.abc import Sequence
from itertools import count, islice
from types import SimpleNamespace

import optuna
import pytest

from hamcache.pipeline.studies.sweeps.search import (
    LAST,
    SCORE,
    Known,
    ListSource,
    OptunaSource,
    SweepSearch,
    points_source,
)
from hamcache.pipeline.studies.sweeps.space import Dimension, Space, label

SMALL = Space(dimensions={"a": Dimension(choice=["x", "y"]), "n": Dimension(int=(1, 3), when={"a": "y"})})
WIDE = Space(dimensions={"x": Dimension(uniform=(-1, 1)), "k": Dimension(choice=[[1], [2]])})


def sampled(space: Space, known: Sequence[Known] = (), seed: int = 0) -> OptunaSource:
    return OptunaSource(space, optuna.samplers.RandomSampler(seed=seed), known)


def asked(source, most: int = 20) -> list[dict]:
    tickets = iter(source.ask, None)
    points = []
    for ticket in islice(tickets, most):
        points.append(ticket.point)
        source.tell(ticket, Known(ticket.point, 1.0))
    return points


def test_a_small_space_is_searched_once_and_then_ends() -> None:
    points = asked(sampled(SMALL))
    assert sorted(map(label, points)) == sorted(map(label, SMALL.grid()))
    assert len(points) == 4


def test_no_point_is_given_out_twice_while_it_is_under_way() -> None:
    tickets = [sampled_ticket.point for sampled_ticket in iter(sampled(SMALL).ask, None)]
    assert len({label(point) for point in tickets}) == len(tickets) == 4


@pytest.mark.parametrize("score", [0.5, None])
def test_known_points_are_not_tried_again(score: float | None) -> None:
    known = [Known({"a": "x"}, score), Known({"a": "y", "n": 2}, score, 3 if score else None)]
    assert sorted(map(label, asked(sampled(SMALL, known)))) == sorted(
        map(label, [{"a": "y", "n": 1}, {"a": "y", "n": 3}])
    )
    settings = SimpleNamespace(search="grid", dimensions=SMALL)
    assert [ticket.point for ticket in iter(points_source(settings, known).ask, None)] == [
        {"a": "y", "n": 1},
        {"a": "y", "n": 3},
    ]


def test_tpe_goes_where_scores_are_high_and_goes_on_from_known_ones(sweep_of) -> None:
    settings = sweep_of({"head.lr": {"loguniform": [1e-4, 1]}}, experiment={"features": "net_a", "head": "mlp"})
    low = [Known({"head.lr": 10**-e}, -abs(e - 1.0)) for e in (0.1, 0.6, 1.0, 1.3, 2.0, 2.5, 3.0, 3.5, 3.8, 3.9, 4.0)]
    source = points_source(settings, low)
    values = [source.ask().point["head.lr"] for _ in range(12)]
    assert sum(value > 0.01 for value in values) >= 8
    assert points_source(settings, low).ask().point == points_source(settings, low).ask().point
    assert points_source(settings, low[:-1]).ask().point != points_source(settings, low).ask().point


def test_trials_that_were_stopped_rank_below_those_that_were_not() -> None:
    source = sampled(WIDE)
    for score, stopped in ((0.1, None), (0.9, 2)):
        ticket = source.ask()
        source.tell(ticket, Known(ticket.point, score, stopped))
    states = [trial.state.name for trial in source._study.trials]
    assert states == ["COMPLETE", "PRUNED"] and source._study.best_value == 0.1


def test_ray_gets_numbers_and_the_source_gets_scores() -> None:
    source, told = sampled(WIDE), []
    source.tell = lambda ticket, outcome: told.append(outcome)  # type: ignore[method-assign]
    search = SweepSearch(source, count(5))
    first, second, third = (search.suggest(name) for name in "abc")
    assert [one["number"] for one in (first, second, third)] == [5, 6, 7]
    search.on_trial_complete("b", {SCORE: 0.5, "epoch": 3, LAST: False})
    search.on_trial_complete("a", {SCORE: 0.7, "epoch": 9, LAST: True})
    search.on_trial_complete("c", {"error": "broken", LAST: True})
    assert told == [Known(second["point"], 0.5, 3), Known(first["point"], 0.7), Known(third["point"], None)]


def test_a_worker_that_died_is_a_failure() -> None:
    source = ListSource(SMALL.grid())
    search = SweepSearch(source, count())
    search.suggest("a")
    search.on_trial_complete("a", None, error=True)
    assert [search.suggest(name) for name in "bcd"][-1]["point"] == {"a": "y", "n": 3}
    assert search.suggest("e") == SweepSearch.FINISHED
