"""The meta-allocator: what a fund's manager may rely on."""

import math

import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.events import StrategyScored, TradeClosed
from ai_backtrader.meta_allocator import AllocatorSettings, MetaAllocator
from ai_backtrader.values import Direction, Regime


class Health:
    def __init__(self, **factors: float) -> None:
        self.factors = factors

    def health_factor(self, strategy_id: str) -> float:
        return self.factors.get(strategy_id, 1.0)


def trade(strategy_id: str, pnl_pct: float, regime: Regime | None = Regime.BULL, *, paper: bool = False) -> TradeClosed:
    return TradeClosed(
        symbol="BTC", strategy_id=strategy_id, direction=Direction.LONG, entry_price=100.0, exit_price=101.0,
        pnl_pct=pnl_pct, regime=regime, paper=paper,
    )  # fmt: skip


def fund(*sharpes: float, **options: object) -> MetaAllocator:
    allocator = MetaAllocator(**options)  # type: ignore[arg-type]
    for number, sharpe in enumerate(sharpes):
        allocator.register_strategy(f"s{number}", {"sharpe_ratio": sharpe})
    return allocator


def days(seed: int, n: int = 252, *, mean: float = 0.001, sd: float = 0.01) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, sd, n)


def test_two_strategies_get_forty_percent_each_and_the_rest_is_cash() -> None:
    plan = fund(1.5, 1.2).calculate_allocation(total_capital=10_000)
    assert plan.weights == {"s0": 0.4, "s1": 0.4}
    assert plan.cash_weight == pytest.approx(0.2, abs=1e-15)
    assert [allocation["capital"] for allocation in plan.allocations] == [4000.0, 4000.0]


def test_the_better_strategy_gets_more() -> None:
    weights = fund(2.0, 1.5, 1.0, 0.5).calculate_allocation(total_capital=1.0).weights
    assert weights["s0"] > weights["s1"] > weights["s2"] > weights["s3"]
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-12)


def test_a_strategy_expected_to_lose_gets_nothing_and_the_plan_says_why() -> None:
    plan = fund(1.0, -1.0).calculate_allocation(total_capital=1.0)
    assert plan.weights["s1"] == 0.0
    assert "score 0" in next(a.reason for a in plan.allocations if a.strategy_id == "s1")


def test_an_unhealthy_strategy_gets_nothing() -> None:
    plan = fund(1.0, 1.0, 1.0, health=Health(s1=0.0)).calculate_allocation(total_capital=1.0)
    assert plan.weights["s1"] == 0.0
    assert "unhealthy" in next(a.reason for a in plan.allocations if a.strategy_id == "s1")


def test_a_strategy_on_probation_gets_less() -> None:
    plan = fund(1.0, 1.0, 1.0, 1.0, health=Health(s1=0.5)).calculate_allocation(total_capital=1.0)
    assert 0.0 < plan.weights["s1"] < plan.weights["s0"]


def test_no_strategy_deserving_capital_leaves_all_in_cash() -> None:
    plan = fund(-1.0, -2.0).calculate_allocation(total_capital=1.0)
    assert plan.cash_weight == 1.0
    assert "no strategy deserves capital" in plan.warnings[-1]
    assert plan.forecast_loss == 0.0


def test_a_fund_without_strategies_is_cash() -> None:
    plan = MetaAllocator().calculate_allocation(total_capital=5.0)
    assert plan.allocations == ()
    assert plan.cash_weight == 1.0


def test_the_forecast_loss_of_one_day_stays_within_the_budget() -> None:
    allocator = MetaAllocator()
    for number in range(5):
        allocator.register_strategy(f"s{number}", {"sharpe_ratio": 1.0}, returns=days(number, sd=0.05))
    free = allocator.calculate_allocation(total_capital=1.0, risk_budget=1.0)
    tight = allocator.calculate_allocation(total_capital=1.0, risk_budget=0.02)
    assert free.forecast_loss > 0.02 >= tight.forecast_loss > 0.0199
    assert "risk budget allows" in tight.warnings[0]


def test_copies_of_a_strategy_share_what_one_would_get() -> None:
    allocator = MetaAllocator(AllocatorSettings(max_weight=0.9, min_weight=0.01))
    for name, seed in (("original", 1), ("copy", 1), ("other", 2), ("another", 3)):
        allocator.register_strategy(name, {"sharpe_ratio": 1.0}, returns=days(seed))
    weights = allocator.calculate_allocation(total_capital=1.0, risk_budget=1.0).weights
    # Ledoit-Wolf keeps the correlation of copies a little below 1.
    assert weights["original"] + weights["copy"] == pytest.approx(weights["other"], rel=0.2)
    assert weights["original"] == pytest.approx(weights["copy"], rel=1e-12)


def test_small_changes_stay_in_the_no_trade_band() -> None:
    allocator = fund(1.0, 1.0, 1.0, 1.0)
    first = allocator.calculate_allocation(total_capital=1.0)
    allocator.register_strategy("s0", {"sharpe_ratio": 1.02})
    second = allocator.calculate_allocation(total_capital=1.0)
    assert second.weights == first.weights
    assert not second.changed
    allocator.register_strategy("s0", {"sharpe_ratio": 2.0})
    assert allocator.calculate_allocation(total_capital=1.0).changed


def test_the_band_does_not_protect_a_strategy_that_fell_ill() -> None:
    health = Health()
    allocator = MetaAllocator(AllocatorSettings(no_trade_band=1.0), health=health)
    for name in ("a", "b", "c"):
        allocator.register_strategy(name, {"sharpe_ratio": 1.0})
    allocator.calculate_allocation(total_capital=1.0)
    health.factors["b"] = 0.0
    assert allocator.calculate_allocation(total_capital=1.0).weights["b"] == 0.0


def test_the_regime_moves_capital() -> None:
    allocator = MetaAllocator()
    for name, bull, bear in (("trend", 2.0, -0.5), ("reversion", 0.2, 1.5), ("carry", 1.0, 1.0)):
        allocator.register_strategy(name, {"sharpe_ratio": 1.0, "sharpe_bull": bull, "sharpe_bear": bear})
    bull = allocator.calculate_allocation(total_capital=1.0, current_regime="bull").weights
    bear = allocator.calculate_allocation(total_capital=1.0, current_regime="bear").weights
    assert bull["trend"] > bear["trend"]
    assert bear["reversion"] > bull["reversion"]


def test_one_closed_trade_does_not_overwrite_a_record() -> None:
    allocator = fund(1.5, 1.5, 1.5)
    before = allocator.calculate_allocation(total_capital=1.0).weights
    allocator.on_trade_complete(trade("s0", -50.0))
    after = allocator.calculate_allocation(total_capital=1.0).weights
    assert after["s0"] == pytest.approx(before["s0"], abs=0.08)


def test_trades_on_paper_and_of_strangers_are_not_counted() -> None:
    allocator = fund(1.0)
    state = allocator.state_dict()
    allocator.on_trade_complete(trade("s0", 5.0, paper=True))
    allocator.on_trade_complete(trade("nobody", 5.0))
    assert allocator.state_dict() == state


def test_figures_told_go_to_the_journal() -> None:
    kept: list[object] = []

    class Journal:
        def record(self, event: object) -> None:
            kept.append(event)

    allocator = MetaAllocator(journal=Journal())  # type: ignore[arg-type]
    allocator.register_strategy("a", {"sharpe_ratio": 1.0}, symbol="BTC")
    assert kept == [StrategyScored(symbol="BTC", strategy_id="a", figures={"sharpe_ratio": 1.0})]


def test_a_restart_goes_on_where_it_was() -> None:
    allocator = fund(1.0, 2.0, 0.5, 0.7)
    allocator.register_strategy("s0", returns=days(3))
    allocator.on_trade_complete(trade("s1", 3.0))
    allocator.on_trade_complete(trade("s1", -1.0))
    allocator.calculate_allocation(total_capital=1.0)
    other = MetaAllocator()
    other.load_state(allocator.state_dict())
    assert other.state_dict() == allocator.state_dict()
    plans = [one.calculate_allocation(total_capital=7.0, current_regime="bull") for one in (other, allocator)]
    assert repr(plans[0]) == repr(plans[1])  # as text: a forecast that is not a number equals nothing


@pytest.mark.parametrize(
    ("state", "message"),
    [({"version": 0}, "version"), ({"version": 1}, "damaged"), ({"version": 1, "records": 3}, "damaged")],
)
def test_a_damaged_state_is_refused_and_changes_nothing(state: dict[str, object], message: str) -> None:
    allocator = fund(1.0)
    before = allocator.state_dict()
    with pytest.raises(SettingsError, match=message):
        allocator.load_state(state)
    assert allocator.state_dict() == before


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ({"sharp": 1.0}, "unknown keys 'sharp'"),
        ({"sharpe_ratio": math.nan}, "sharpe_ratio must be finite"),
        ({"win_rate": 55.0}, "win_rate must be between 0 and 1"),
        ({"max_drawdown": -0.2}, "max_drawdown must be between 0 and 1"),
        ({"sharpe_ratio": "high"}, "sharpe_ratio must be a number"),
        ([1.0], "must map names to numbers"),
    ],
)
def test_wrong_figures_are_named(figures: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        MetaAllocator().register_strategy("a", figures)


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        ([0.1, math.nan], "return 1 must be finite"),
        ([-1.5], "return 0 must be finite and at least -1"),
        ([[0.1]], "one series"),
        (["x"], "must be numbers"),
    ],
)
def test_wrong_returns_are_named(returns: list[float], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        MetaAllocator().register_strategy("a", returns=returns)


def test_wrong_arguments_are_named_together() -> None:
    with pytest.raises(SettingsError, match="2 faults"):
        fund(1.0).calculate_allocation(total_capital=-1.0, risk_budget=math.nan)
    with pytest.raises(SettingsError, match="Regime"):
        fund(1.0).calculate_allocation(total_capital=1.0, current_regime="sunny")
    with pytest.raises(SettingsError, match="not registered"):
        fund(1.0).add_return("nobody", 0.1)
    with pytest.raises(SettingsError, match="min_weight must be at most max_weight"):
        AllocatorSettings(min_weight=0.5, max_weight=0.4)


@pytest.mark.parametrize("method", ["hrp", "risk_parity"])
def test_risk_methods_give_the_calm_strategy_more(method: str) -> None:
    pytest.importorskip("skfolio")
    allocator = MetaAllocator(AllocatorSettings(method=method))
    for number, sd in enumerate((0.005, 0.01, 0.02, 0.01)):
        allocator.register_strategy(f"s{number}", {"sharpe_ratio": 1.0}, returns=days(number, sd=sd))
    weights = allocator.calculate_allocation(total_capital=1.0).weights
    assert weights["s0"] > weights["s2"]
    assert max(weights.values()) <= 0.4


def test_risk_methods_want_returns() -> None:
    allocator = MetaAllocator(AllocatorSettings(method="hrp"))
    allocator.register_strategy("a", {"sharpe_ratio": 1.0})
    with pytest.raises(SettingsError, match="daily returns of every strategy"):
        allocator.calculate_allocation(total_capital=1.0)


def check_random_plan(rng: np.random.Generator) -> None:
    n = int(rng.integers(0, 31))
    health = {f"s{number}": float(rng.choice([0.0, 0.5, 1.0], p=[0.2, 0.2, 0.6])) for number in range(n)}
    allocator = MetaAllocator(health=Health(**health))
    volatility = float(rng.choice([0.0, rng.uniform(0.0, 3.0), math.nan]))
    for number in range(n):
        figures = {"sharpe_ratio": float(rng.normal(0.5, 2.0))}
        if not math.isnan(volatility):
            figures["volatility"] = volatility
        allocator.register_strategy(f"s{number}", figures)
    budget = float(10.0 ** rng.uniform(-4.0, -0.5))
    plan = allocator.calculate_allocation(total_capital=1.0, risk_budget=budget)
    weights = list(plan.weights.values())
    assert all(weight == 0.0 or 0.05 <= weight <= 0.4 for weight in weights)
    assert sum(weights) <= 1.0 + 1e-12
    assert plan.cash_weight + sum(weights) == pytest.approx(1.0, abs=1e-12)
    assert not plan.forecast_loss > budget
    assert 0.0 <= plan.diversification <= 1.0


def test_the_caps_and_the_budget_always_hold() -> None:
    rng = np.random.default_rng(11)
    for _ in range(500):
        check_random_plan(rng)


@pytest.mark.slow
def test_the_caps_and_the_budget_hold_in_ten_thousand_random_calls() -> None:
    rng = np.random.default_rng(12)
    for _ in range(10_000):
        check_random_plan(rng)
