"""Outcome patterns: neighbours against NumPy, shrinkage, verdicts on planted and on no patterns."""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from ai_backtrader.errors import SettingsError
from ai_backtrader.online_learner import PatternMemory, PatternSettings, shrunk_win_rate
from ai_backtrader.online_learner.neighbour_search import encode, judged, nearest_coded
from ai_backtrader.online_learner.pattern_kernels import binomial_tail, inverse_scales, nearest

Array = NDArray[Any]
Conditions = Callable[[np.random.Generator], dict[str, float]]


def sorted_neighbours(
    memory: Array, sides: Array, n: int, inverse: Array, cap: float, query: Array, side: int, k: int
) -> tuple[Array, Array]:
    """Places of the k nearest by a full sort, of equal distances the lower ones, and all distances."""
    used = [d for d in range(len(query)) if np.isfinite(query[d]) and inverse[d] > 0.0]
    parts = np.abs(query[used, None] - memory[used, :n]) * inverse[used, None]
    parts = np.where(np.isnan(parts), cap, np.minimum(parts, cap))
    distance = np.zeros(n)
    for pair in range(0, len(used), 2):  # added up in pairs, so that equal is equal
        distance += parts[pair : pair + 2].sum(axis=0)
    distance[side * sides[:n] < 0] = np.inf
    order = np.argsort(distance, kind="stable")[: min(k, int(np.isfinite(distance).sum()))]
    return np.sort(order), distance


def made_up(rng: np.random.Generator, kind: str, n: int, width: int) -> Array:
    if kind == "flags":
        return rng.integers(0, 2, (width, n)).astype(float)
    if kind == "steps":
        return np.round(rng.normal(size=(width, n)), 1)
    if kind == "heavy tails":
        return rng.standard_t(1, (width, n))
    return rng.normal(size=(width, n))


@pytest.mark.parametrize("kind", ["normal", "heavy tails", "steps", "flags"])
def test_the_neighbours_are_those_that_a_full_sort_finds(kind: str) -> None:
    rng = np.random.default_rng(len(kind))
    for n in (1, 7, 15, 16, 17, 511, 513, 1_500, 8_192, 8_193, 20_000):
        width = int(rng.integers(1, 12))
        memory = made_up(rng, kind, n + 3, width)
        memory[rng.random(memory.shape) < 0.05] = np.nan
        sides = rng.integers(-1, 2, n + 3).astype(np.int8)
        inverse, cap = inverse_scales(memory, n), float(rng.choice([0.01, 3.0, 1e4]))
        codes = np.zeros((width + 1, n + 3), dtype=np.int16)
        encode(memory, sides, 0, n, inverse, cap, codes)
        query = made_up(rng, kind, 1, width)[:, 0]
        query[rng.random(width) < 0.1] = np.nan
        for side in (0, 1, -1):
            expected, _ = sorted_neighbours(memory, sides, n, inverse, cap, query, side, 40)
            found = nearest(memory, codes[width], n, inverse, cap, query, side, 40)
            assert found.tolist() == expected.tolist()
            told = nearest_coded(memory, codes, n, inverse, cap, query, side, 40)
            assert told.tolist() in (expected.tolist(), []), (n, width, cap, side)
            pnl_pcts = rng.normal(size=n)
            wins, total = judged(memory, codes, pnl_pcts, n, inverse, cap, query, side, 40)
            assert wins == (pnl_pcts[expected] > 0.0).sum()
            # Number by number: from Python 3.12 on, sum() carries the rounding errors along.
            assert total == functools.reduce(operator.add, pnl_pcts[expected].tolist(), 0.0)


def test_for_what_markets_give_few_trades_are_measured() -> None:
    rng, told = np.random.default_rng(5), 0
    n, sides = 10_000, np.ones(10_000, dtype=np.int8)
    memory, codes = np.asfortranarray(rng.standard_t(4, (10, n))), np.zeros((11, n), dtype=np.int16)
    inverse = inverse_scales(memory, n)
    encode(memory, sides, 0, n, inverse, 3.0, codes)
    for _ in range(200):
        query = rng.standard_t(4, 10)
        found = nearest_coded(memory, codes, n, inverse, 3.0, query, 1, 50)
        told += len(found) > 0
        if len(found):
            expected, _ = sorted_neighbours(memory, sides, n, inverse, 3.0, query, 1, 50)
            assert found.tolist() == expected.tolist()
    assert told >= 198


def test_the_scales_are_those_of_scipy_and_skip_what_is_missing() -> None:
    rng = np.random.default_rng(1)
    memory = np.stack([rng.standard_t(3, 400), rng.normal(size=400), np.full(400, 2.0), np.full(400, np.nan)])
    memory[1, ::7] = np.nan
    inverse = inverse_scales(memory, 400)
    assert 1.0 / inverse[0] == pytest.approx(stats.median_abs_deviation(memory[0], scale="normal"))
    held = memory[1][np.isfinite(memory[1])]
    assert 1.0 / inverse[1] == pytest.approx(stats.median_abs_deviation(held, scale="normal"))
    assert inverse[2] == inverse[3] == 0.0
    flag = np.array([[0.0] * 9 + [1.0]])
    assert 1.0 / inverse_scales(flag, 10)[0] == pytest.approx(0.1 * np.sqrt(np.pi / 2))


def test_the_tail_is_that_of_scipys_binomial() -> None:
    for n, probability in ((1, 0.5), (20, 0.3), (50, 0.55), (400, 0.9)):
        for wins in (0, 1, n // 3, n - 1, n):
            assert binomial_tail(wins, n, probability) == pytest.approx(stats.binom.cdf(wins, n, probability))
    assert binomial_tail(3, 10, 1.0) == 0.0
    assert binomial_tail(3, 10, 0.0) == binomial_tail(10, 10, 1.0) == 1.0


def test_a_shrunk_win_rate_is_the_mean_of_a_beta_posterior() -> None:
    assert shrunk_win_rate(30, 40, 0.5, 20) == pytest.approx(stats.beta(10 + 30, 10 + 10).mean())
    assert shrunk_win_rate(0, 0, 0.4, 0) == 0.4


def remembered(
    conditions: Conditions, n: int, won: Callable[[dict[str, float], np.random.Generator], bool], seed: int = 0
) -> PatternMemory:
    rng = np.random.default_rng(seed)
    memory = PatternMemory()
    for _ in range(n):
        found = conditions(rng)
        memory.add(found, pnl_pct=1.0 if won(found, rng) else -1.0)
    return memory


def test_a_planted_pattern_is_found(conditions: Conditions) -> None:
    def won(found: dict[str, float], rng: np.random.Generator) -> bool:
        return bool(rng.random() < (0.1 if found["rsi"] + found["adx"] > 0.5 else 0.9))

    memory = remembered(conditions, 3000, won)
    bad = memory.judge(dict.fromkeys(PatternSettings().features, 0.0) | {"rsi": 1.5, "adx": 1.5})
    good = memory.judge(dict.fromkeys(PatternSettings().features, 0.0) | {"rsi": -1.5, "adx": -1.5})
    assert bad is not None
    assert good is not None
    assert bad.win_rate < bad.shrunk_win_rate < bad.base_win_rate < good.shrunk_win_rate < good.win_rate
    assert bad.probability < 0.001
    assert bad.mean_pnl_pct < 0.0
    assert bad.shrunk_win_rate == pytest.approx((50 * bad.win_rate + 20 * bad.base_win_rate) / 70)


def test_where_there_is_no_pattern_few_like_trades_look_like_one(conditions: Conditions) -> None:
    memory = remembered(conditions, 3000, lambda _, rng: bool(rng.random() < 0.5))
    rng = np.random.default_rng(99)
    verdicts = [memory.judge(conditions(rng)) for _ in range(2000)]
    assert np.mean([verdict is not None and verdict.probability <= 0.001 for verdict in verdicts]) <= 0.004


def test_below_the_least_number_there_is_no_verdict(conditions: Conditions) -> None:
    memory = remembered(conditions, 99, lambda *_: True)
    here = conditions(np.random.default_rng(1))
    assert memory.judge(here) is None
    memory.add(here, pnl_pct=1.0)
    verdict = memory.judge(here)
    assert verdict is not None
    assert verdict.n_neighbours == 25  # a quarter
    assert memory.judge({name: here[name] for name in list(here)[:4]}) is None
    assert memory.judge({name: here[name] for name in list(here)[:5]}) is not None
    assert memory.judge(here | dict.fromkeys(list(here)[:6], float("nan"))) is None


def test_only_trades_of_the_side_are_like_trades(conditions: Conditions) -> None:
    rng = np.random.default_rng(0)
    memory = PatternMemory()
    for i in range(400):
        side = 1 if i % 2 else -1
        memory.add(conditions(rng), pnl_pct=float(side), side=side)
    here = conditions(rng)
    long, short, all_ = (memory.judge(here, side=side) for side in (1, -1, 0))
    assert long is not None
    assert short is not None
    assert all_ is not None
    assert (long.win_rate, long.base_win_rate, short.win_rate, short.base_win_rate) == (1.0, 1.0, 0.0, 0.0)
    assert all_.base_win_rate == 0.5


def test_memory_is_bounded_and_the_oldest_makes_room(conditions: Conditions) -> None:
    memory = PatternMemory(PatternSettings(capacity=300, min_trades=100))
    rng = np.random.default_rng(0)
    for i in range(1000):
        memory.add(conditions(rng), pnl_pct=-1.0 if i < 700 else 1.0)
    assert len(memory) == 300
    verdict = memory.judge(conditions(rng))
    assert verdict is not None
    assert verdict.win_rate == verdict.base_win_rate == 1.0
    assert memory.state_dict()["pnl_pcts"]["shape"] == [300]


@pytest.mark.parametrize("n", [0, 50, 300, 333, 700])
def test_a_restored_memory_goes_on_as_if_never_stopped(conditions: Conditions, n: int) -> None:
    settings = PatternSettings(capacity=320, min_trades=40)
    rng = np.random.default_rng(n)
    trades = [(conditions(rng), float(rng.normal()), int(rng.integers(-1, 2))) for _ in range(1000)]
    whole, first, second = PatternMemory(settings), PatternMemory(settings), PatternMemory(settings)
    for i, (found, pnl, side) in enumerate(trades):
        whole.add(found, pnl_pct=pnl, side=side)
        if i < n:
            first.add(found, pnl_pct=pnl, side=side)
    second.load_state(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    assert second.state_dict() == first.state_dict()
    for found, pnl, side in trades[n:]:
        assert second.judge(found, side=side) == first.judge(found, side=side)
        second.add(found, pnl_pct=pnl, side=side)
        first.add(found, pnl_pct=pnl, side=side)
    assert second.state_dict() == whole.state_dict()


def test_a_trade_without_any_feature_is_passed_over() -> None:
    memory = PatternMemory()
    memory.add({}, pnl_pct=1.0)
    memory.add({"close": 95_000.0}, pnl_pct=1.0)
    memory.add({"rsi": float("nan")}, pnl_pct=1.0)
    assert len(memory) == 0


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (lambda memory: memory.add({"rsi": 1.0}, pnl_pct=float("nan")), "pnl_pct must be finite"),
        (lambda memory: memory.add({"rsi": "high"}, pnl_pct=1.0), r"indicators\['rsi'\] must be a number, got 'high'"),
        (lambda memory: memory.add({"rsi": 1.0}, pnl_pct=1.0, side=2), "side must be 1, 0 or -1, got 2"),
        (lambda memory: memory.load_state({}), "must be of the features"),
        (lambda memory: memory.load_state({"features": list(PatternSettings().features)}), "damaged"),
        (lambda memory: memory.load_state(memory.state_dict() | {"added": 3}), r"of shape \(10, 3\)"),
        (lambda _: PatternSettings(features=()), "one or more names"),
        (lambda _: PatternSettings(features=("rsi", "rsi")), "different names"),
        (lambda _: PatternSettings(capacity=50), "min_trades must be at most capacity"),
        (lambda _: PatternSettings(veto_probability=2.0, min_features=0.0), "2 faults"),
    ],
)
def test_bad_input_is_named(call: Callable[[PatternMemory], object], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        call(PatternMemory())
