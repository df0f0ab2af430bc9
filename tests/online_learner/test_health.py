"""Health: the rules by name, their known rates, the calibrated rule, the way out and back."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_backtrader.errors import SettingsError
from ai_backtrader.online_learner import (
    HealthMonitor,
    HealthSettings,
    HealthState,
    broken_rules,
    cusum_threshold,
    losses_in_a_row,
    rank_score,
)
from ai_backtrader.online_learner.sequential import simulated_maxima

HEALTHY, DEGRADED, PROBATION = HealthState


def feed(monitor: HealthMonitor, results: list[float], *, paper: bool = False) -> HealthMonitor:
    for pnl in results:
        monitor.record(pnl, paper=paper)
    return monitor


# ------------------------------------------------------------------------------------------------------- plain rules


def test_the_three_rules_of_the_design_are_the_defaults() -> None:
    assert HealthSettings().rules == ("consecutive_losses", "win_rate", "average_pnl")
    assert HealthSettings().window == 50


@pytest.mark.parametrize(
    ("results", "clauses"),
    [
        ([-0.1] * 4, ()),
        ([-0.1] * 5, ("5 losses in a row",)),
        ([-0.1] * 3 + [0.0] + [-0.1] * 2, ("5 losses in a row",)),
        ([-0.1] * 3 + [0.1] + [-0.1] * 2, ()),
        ([1.0, -0.1, -0.1] * 6 + [-0.1, -0.1], ("win rate 30% over 20 trades is below 35%",)),
        ([1.0, -0.1, -0.1] * 6 + [1.0, -0.1], ()),
        ([1.0, -4.0] * 10, ("average P&L -1.50 % over 20 trades is below -1 %",)),
        ([1.0, -2.9] * 10, ()),
        ([-9.0] + [1.0, -0.9] * 25, ()),
    ],
)
def test_each_plain_rule_says_what_it_found(results: list[float], clauses: tuple[str, ...]) -> None:
    assert broken_rules(results, HealthSettings()) == clauses


def test_only_the_rules_named_count() -> None:
    assert broken_rules([-3.0] * 20, HealthSettings(rules=("average_pnl",))) == (
        "average P&L -3.00 % over 20 trades is below -1 %",
    )
    assert broken_rules([-3.0] * 20, HealthSettings(rules=())) == ()


def test_five_losses_in_a_row_flag_a_healthy_strategy_as_often_as_a_markov_chain_says() -> None:
    # States: length of the run of losses; the fifth absorbs.
    step = np.zeros((6, 6))
    for run in range(5):
        step[run, 0], step[run, run + 1] = 0.55, 0.45
    step[5, 5] = 1.0
    exact = np.linalg.matrix_power(step, 100)[0, 5]
    assert exact == pytest.approx(0.65, abs=0.015)
    rng = np.random.default_rng(1)
    only = HealthSettings(rules=("consecutive_losses",))
    flagged = 0
    for _ in range(1500):
        monitor = feed(HealthMonitor(only), np.where(rng.random(100) < 0.55, 1.0, -1.0).tolist())
        flagged += monitor.state is not HEALTHY or monitor.reason != "no rule broken"
    assert flagged / 1500 == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 1500))


# ---------------------------------------------------------------------------------------------------- calibrated rule


def test_the_rank_score_is_that_of_the_middle_rank() -> None:
    baseline = np.array([1.0, 2.0, 2.0, 3.0])
    for x, rank in ((0.0, 1.0), (1.0, 1.5), (2.0, 3.0), (2.5, 4.0), (9.0, 5.0)):
        assert rank_score(baseline, x) == pytest.approx(math.sqrt(12) * (0.5 - (rank - 0.5) / 5))


def normal(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.normal(0.1, 1.0, n)


def brackets(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.55, 1.0, -1.0)


def lottery(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.3, 3.0, -1.0) * rng.lognormal(0.0, 1.0, n)


@pytest.mark.parametrize("draw", [normal, brackets, lottery])
@pytest.mark.parametrize("traded", [30, 300])
def test_the_calibrated_rule_keeps_to_its_false_alarm_rate_at_the_own_baseline(
    draw: Callable[[np.random.Generator, int], np.ndarray], traded: int
) -> None:
    only = HealthSettings(rules=("calibrated",))
    alarms, runs = 0, 500
    for seed in range(runs):
        results = draw(np.random.default_rng([seed, traded]), traded + 100)
        monitor = HealthMonitor(only)
        monitor.learn_baseline(results[:traded].tolist())
        alarms += any(monitor.record(float(pnl)) for pnl in results[traded:])
    assert alarms / runs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)


def test_the_calibrated_rule_finds_a_win_rate_that_fell() -> None:
    delays = []
    for seed in range(100):
        rng = np.random.default_rng([seed, 5])
        monitor = HealthMonitor(HealthSettings(rules=("calibrated",)))
        monitor.learn_baseline(np.where(rng.random(200) < 0.6, 1.0, -1.0).tolist())
        after = np.where(rng.random(600) < 0.2, 1.0, -1.0)
        delays.append(next((i for i, pnl in enumerate(after) if monitor.record(float(pnl))), 600))
    assert np.median(delays) < 40
    assert max(delays) < 600


def test_the_calibrated_rule_finds_larger_losses_at_the_same_win_rate() -> None:
    rng = np.random.default_rng(6)
    monitor = HealthMonitor(HealthSettings(rules=("calibrated",)))
    monitor.learn_baseline((np.where(rng.random(200) < 0.5, 1.0, -1.0) * rng.uniform(0.5, 1.5, 200)).tolist())
    after = np.where(rng.random(500) < 0.5, 0.3, -3.0) * rng.uniform(0.5, 1.5, 500)
    assert next(i for i, pnl in enumerate(after) if monitor.record(float(pnl))) < 150
    assert monitor.reason.startswith("results rank low among the last 200 (CUSUM ")


def test_the_calibrated_rule_is_silent_before_it_has_a_baseline() -> None:
    monitor = feed(HealthMonitor(HealthSettings(rules=("calibrated",))), [-float(i) for i in range(30)])
    assert monitor.state is HEALTHY


def test_other_settings_have_their_threshold_simulated() -> None:
    strict = cusum_threshold(rate=0.01, horizon=100, allowance=0.5, window=60, learning=20)
    loose = cusum_threshold(rate=0.2, horizon=100, allowance=0.5, window=60, learning=20)
    assert 2.0 < loose < strict < 9.0
    rng = np.random.default_rng(123)
    over = [simulated_maxima(rng.random(120), 60, 20, 0.5, 100)[1] > loose for _ in range(2000)]
    assert np.mean(over) <= 0.2 + 0.02


@pytest.mark.slow
def test_the_tabled_threshold_is_what_the_simulation_gives() -> None:
    from ai_backtrader.online_learner import sequential

    tabled = cusum_threshold(rate=0.05, horizon=100, allowance=0.25, window=200, learning=30)
    maxima = sequential._maxima(np.random.default_rng(77), 20_000, 530, 200, 30, 0.25, 100)
    assert sequential._quantile(maxima, 0.05) == pytest.approx(tabled, abs=0.2)


# -------------------------------------------------------------------------------------------------- the way and back


def test_a_strategy_that_fails_and_recovers_is_trading_again() -> None:
    monitor = feed(HealthMonitor(), [1.0] * 10 + [-1.0] * 5)
    assert monitor.state is DEGRADED
    assert (monitor.size_factor, monitor.reason) == (0.0, "5 losses in a row")
    feed(monitor, [-1.0] * 30, paper=True)
    assert monitor.state is DEGRADED
    feed(monitor, [1.0, 1.0, -1.0] * 9, paper=True)
    assert monitor.state is PROBATION
    assert monitor.size_factor == 0.5
    feed(monitor, [1.0, 1.0, -1.0] * 9)
    assert monitor.state is HEALTHY
    assert monitor.size_factor == 1.0


def test_probation_ends_at_the_first_broken_rule() -> None:
    monitor = feed(feed(HealthMonitor(), [-1.0] * 5), [1.0] * 20, paper=True)
    assert monitor.state is PROBATION
    feed(monitor, [-1.0] * 4)
    assert monitor.state is PROBATION
    feed(monitor, [-1.0])
    assert monitor.state is DEGRADED


def test_trades_on_paper_count_only_while_degraded() -> None:
    monitor = feed(HealthMonitor(), [-1.0] * 100, paper=True)
    assert monitor.state is HEALTHY
    assert monitor.health().n_trades == 0


def test_a_position_still_open_when_it_was_degraded_counts_for_recovery() -> None:
    monitor = feed(HealthMonitor(), [-1.0] * 5)
    feed(monitor, [1.0] * 19, paper=True)
    assert monitor.record(1.0)
    assert monitor.state is PROBATION


def test_a_degraded_strategy_that_nobody_follows_is_tried_again() -> None:
    monitor = feed(HealthMonitor(HealthSettings(shadow_timeout_bars=10)), [-1.0] * 5)
    assert [monitor.on_bar() for _ in range(10)] == [False] * 9 + [True]
    assert monitor.state is PROBATION
    followed = feed(HealthMonitor(HealthSettings(shadow_timeout_bars=10)), [-1.0] * 5)
    for _ in range(10):
        for _ in range(9):
            assert not followed.on_bar()
        followed.record(-1.0, paper=True)
    never = feed(HealthMonitor(HealthSettings(shadow_timeout_bars=None)), [-1.0] * 5)
    assert not any(never.on_bar() for _ in range(5000))


def test_what_is_reported_is_the_window() -> None:
    monitor = feed(HealthMonitor(HealthSettings(rules=())), [5.0] + [1.0, -0.5] * 25)
    health = monitor.health()
    assert (health.n_trades, health.win_rate, health.average_pnl_pct) == (50, 0.5, 0.25)
    assert health.consecutive_losses == 1
    empty = HealthMonitor().health()
    assert (empty.n_trades, empty.win_rate, empty.average_pnl_pct) == (0, None, None)


results = st.lists(
    st.tuples(st.sampled_from(["real", "paper", "bar"]), st.floats(-20.0, 20.0, allow_nan=False)), max_size=300
)
rules = st.sampled_from([HealthSettings().rules, ("calibrated",), (*HealthSettings().rules, "calibrated"), ()])
LEGAL = {(HEALTHY, DEGRADED), (DEGRADED, PROBATION), (PROBATION, DEGRADED), (PROBATION, HEALTHY)}


@settings(max_examples=60, deadline=None)
@given(results, rules)
def test_the_state_machine_obeys_its_laws(steps: list[tuple[str, float]], names: tuple[str, ...]) -> None:
    config = HealthSettings(
        rules=names, window=20, min_trades=5, max_consecutive_losses=3, recovery_trades=4, probation_trades=4,
        shadow_timeout_bars=6,
    )  # fmt: skip
    monitor, restored = HealthMonitor(config), HealthMonitor(config)
    for i, (kind, pnl) in enumerate(steps):
        before = monitor.state
        changed = monitor.on_bar() if kind == "bar" else monitor.record(pnl, paper=kind == "paper")
        assert changed == (before is not monitor.state)
        if changed:
            assert (before, monitor.state) in LEGAL
            assert kind == "real" or before is DEGRADED  # paper and bars only ever lead out of DEGRADED
            if before is HEALTHY:
                assert names
        health = monitor.health()
        assert health.size_factor == {HEALTHY: 1.0, DEGRADED: 0.0, PROBATION: 0.5}[health.state]
        assert 0 <= health.n_trades <= 20
        assert health.win_rate is None or 0.0 <= health.win_rate <= 1.0
        if i == len(steps) // 2:
            restored.load_state(json.loads(json.dumps(monitor.state_dict(), allow_nan=False)))
        elif i > len(steps) // 2:
            _ = restored.on_bar() if kind == "bar" else restored.record(pnl, paper=kind == "paper")
    if steps:
        assert restored.state_dict() == monitor.state_dict()


@given(st.lists(st.sampled_from([1.0, -1.0, 0.0])))
def test_losses_in_a_row_are_what_a_plain_reading_gives(pnls: list[float]) -> None:
    moved = [pnl for pnl in pnls if pnl != 0.0]
    assert losses_in_a_row(pnls) == len(list(itertools.takewhile(lambda pnl: pnl < 0.0, reversed(moved))))


# --------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("pnl", [float("nan"), float("inf"), None, "1", True])
def test_a_result_that_is_no_finite_number_is_refused_and_changes_nothing(pnl: object) -> None:
    monitor = feed(HealthMonitor(), [-1.0] * 4)
    before = monitor.state_dict()
    with pytest.raises(SettingsError, match="pnl_pct must be"):
        monitor.record(pnl)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"pnl_pcts\[1\] must be"):
        monitor.learn_baseline([1.0, pnl])  # type: ignore[list-item]
    assert monitor.state_dict() == before


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"rules": ("win_rates",)}, "rules must be one of 'consecutive_losses', 'win_rate'"),
        ({"rules": "win_rate"}, "tuple of names"),
        ({"window": 10}, "min_trades must be at most window"),
        ({"min_baseline_trades": 300}, "min_baseline_trades must be at most baseline_trades"),
        ({"min_win_rate": 35, "probation_size": 0.0, "shadow_timeout_bars": 0}, "3 faults"),
    ],
)
def test_bad_settings_are_named(given: dict[str, object], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        HealthSettings(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", [{"state": "ILL"}, {"window": [float("nan")]}, {"level": "x"}, {"losses": None}])
def test_a_damaged_state_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="the state is damaged"):
        HealthMonitor().load_state(HealthMonitor().state_dict() | damage)
