"""Kelly from realised trades, and which leverage worked where."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from scipy.optimize import minimize_scalar

from ai_backtrader.errors import SettingsError
from ai_backtrader.events import TradeClosed
from ai_backtrader.leverage import LeverageManager, LeverageSettings, kelly_estimate
from ai_backtrader.values import Direction, Regime

MakeTrade = Callable[..., TradeClosed]

TREND = {"close": 100.0, "atr_pct": 0.2, "ema_alignment": 1.0, "trend_direction": 1.0, "adx": 40.0}


def test_the_kelly_bet_maximises_the_growth_of_the_log() -> None:
    settings = LeverageSettings(kelly_prior_trades=0.0, kelly_fraction=1.0)
    for wins, losses, win, loss in ((20, 20, 2.0, 1.0), (33, 12, 0.7, 1.1), (15, 40, 9.0, 2.5)):
        estimate = kelly_estimate([win] * wins + [-loss] * losses, settings)
        p, b = wins / (wins + losses), win / loss
        growth = minimize_scalar(
            lambda f, p=p, b=b: -(p * math.log1p(b * f) + (1 - p) * math.log1p(-f)),
            bounds=(0.0, 0.999),
            method="bounded",
            options={"xatol": 1e-10},
        )
        assert estimate.share == pytest.approx(growth.x, abs=1e-6)


def test_the_shrunk_bet_is_what_a_pencil_gives() -> None:
    estimate = kelly_estimate([2.0] * 20 + [-1.0] * 20, LeverageSettings())
    # 40 trades and 20 pseudo trades at the win rate without edge, 1 / (1 + 2).
    shrunk = (40 * 0.5 + 20 / 3) / 60
    assert estimate.win_rate == 0.5
    assert estimate.payoff == 2.0
    assert estimate.shrunk_win_rate == pytest.approx(shrunk)
    assert estimate.full == pytest.approx(shrunk - (1 - shrunk) / 2.0)
    assert estimate.share == pytest.approx(0.25 * estimate.full)
    assert estimate.enough


def test_the_bet_is_above_zero_exactly_if_the_mean_return_is() -> None:
    rng = random.Random(5)
    settings = LeverageSettings(max_payoff=1e9)
    signs = set()
    for _ in range(10_000):
        returns = [rng.choice([0.0, rng.gauss(rng.choice([-0.3, 0.3]), 1.0)]) for _ in range(rng.randint(1, 12))]
        mean = math.fsum(returns)
        if abs(mean) > 1e-12:
            assert (kelly_estimate(returns, settings).share > 0.0) == (mean > 0.0), returns
            signs.add(mean > 0.0)
    assert signs == {True, False}


@pytest.mark.parametrize(
    ("returns", "payoff", "edge"),
    [([], 0.0, False), ([0.0] * 40, 0.0, False), ([-1.0] * 40, 0.0, False), ([1.0] * 40, 5.0, True)],
)
def test_one_sided_histories_have_a_bet_too(returns: list[float], payoff: float, edge: bool) -> None:
    estimate = kelly_estimate(returns, LeverageSettings())
    assert estimate.payoff == payoff
    assert (estimate.share > 0.0) == edge
    assert estimate.full < 1.0


def test_only_the_latest_trades_count() -> None:
    settings = LeverageSettings(kelly_window=30)
    assert kelly_estimate([-5.0] * 100 + [1.0] * 30, settings) == kelly_estimate([1.0] * 30, settings)


def test_before_thirty_trades_the_prior_stands_in_and_says_so(closed_trade: MakeTrade) -> None:
    manager = LeverageManager()
    for count in range(30):
        decision = manager.calculate_optimal_leverage(indicators=TREND, account_balance=10_000, confidence=1.0)
        assert decision.position_size_pct > 0.0
        assert decision.risk_metrics["risk_fraction"] == pytest.approx(0.01)
        assert any(f"needs 30 realised trades and has {count}" in warning for warning in decision.warnings)
        manager.on_trade_complete(closed_trade(-1.0))
    decision = manager.calculate_optimal_leverage(indicators=TREND, account_balance=10_000, confidence=1.0)
    assert decision.position_size_pct == 0.0, "30 losers: no edge, and no smallest size either"
    assert decision.reasoning == "FLAT: the last 30 trades show no edge"
    assert decision.steps[-1].before == decision.steps[-2].after > 1.0, "the leverage it would have had stays visible"
    assert not any("realised trades" in warning for warning in decision.warnings)
    assert decision.risk_metrics["kelly_fraction"] == 0.0


def test_with_an_edge_the_fractional_kelly_bet_is_risked_at_the_stop(closed_trade: MakeTrade) -> None:
    manager = LeverageManager(LeverageSettings(max_margin_fraction=1.0))
    for index in range(40):
        manager.on_trade_complete(closed_trade(1.05 if index % 2 else -1.0))
    decision = manager.calculate_optimal_leverage(
        indicators=TREND, account_balance=10_000, confidence=1.0, risk_budget=1.0
    )
    assert 0.0 < manager.kelly.share < 0.01
    assert decision.risk_metrics["risk_fraction"] == pytest.approx(manager.kelly.share)
    assert decision.risk_metrics["kelly_fraction"] == manager.kelly.share


def test_new_winners_end_a_pause_for_want_of_an_edge(closed_trade: MakeTrade) -> None:
    manager = LeverageManager(LeverageSettings(kelly_window=40))
    for _ in range(40):
        manager.on_trade_complete(closed_trade(-1.0))
    assert manager.calculate_optimal_leverage(indicators=TREND, account_balance=1e4).position_size_pct == 0.0
    for _ in range(30):
        manager.on_trade_complete(closed_trade(1.0))
    assert manager.calculate_optimal_leverage(indicators=TREND, account_balance=1e4).position_size_pct > 0.0


def test_the_table_shows_what_was_traded(closed_trade: MakeTrade) -> None:
    manager = LeverageManager()
    for pnl, leverage in ((3.0, 4.0), (-1.0, 5.0), (4.0, 4.5), (-9.0, 8.0)):
        manager.on_trade_complete(closed_trade(pnl, leverage=leverage))
    manager.on_trade_complete(closed_trade(-2.0, leverage=1.0, direction=Direction.SHORT, regime=None))
    short, middle, high = manager.experience_table()
    assert (short.regime, short.direction, short.above, short.up_to) == (None, Direction.SHORT, 0.0, 1.0)
    assert (middle.regime, middle.direction, middle.above, middle.up_to) == (Regime.BULL, Direction.LONG, 3.0, 5.0)
    assert (middle.trades, middle.wins) == (3, 2)
    assert middle.win_rate == pytest.approx(2 / 3)
    assert middle.mean_pnl_pct == pytest.approx(2.0)
    assert middle.score == pytest.approx(6.0 / 13.0)
    assert (high.above, high.up_to, high.trades, high.mean_pnl_pct) == (5.0, 10.0, 1, -9.0)


def test_a_leverage_that_lost_enough_trades_is_lowered_where_it_lost(closed_trade: MakeTrade) -> None:
    manager = LeverageManager(LeverageSettings(min_kelly_trades=200))
    call = {"indicators": TREND, "account_balance": 1e4, "direction": "LONG", "confidence": 1.0}
    free = manager.calculate_optimal_leverage(**call, regime="bull").recommended_leverage
    assert free > 5.0
    for _ in range(9):
        manager.on_trade_complete(closed_trade(-1.0, leverage=8.0))
    assert manager.calculate_optimal_leverage(**call, regime="bull").recommended_leverage == free, "too few to tell"
    manager.on_trade_complete(closed_trade(-1.0, leverage=8.0))
    lowered = manager.calculate_optimal_leverage(**call, regime="bull")
    assert lowered.recommended_leverage == 5.0
    step = next(step for step in lowered.steps if step.name == "experience")
    assert step.reason == "LONG in bull lost money above 5x"
    assert manager.calculate_optimal_leverage(**call, regime="sideways").recommended_leverage > 5.0
    assert manager.calculate_optimal_leverage(**(call | {"direction": "SHORT"}), regime="bull").steps[5].after > 3.0
    for _ in range(10):
        manager.on_trade_complete(closed_trade(-1.0, leverage=4.0))
    assert manager.calculate_optimal_leverage(**call, regime="bull").recommended_leverage == 3.0
    for _ in range(10):
        manager.on_trade_complete(closed_trade(5.0, leverage=8.0))
    assert manager.calculate_optimal_leverage(**call, regime="bull").recommended_leverage == free, "it works again"


def test_experience_never_raises_leverage_and_keeps_its_order(closed_trade: MakeTrade) -> None:
    rng = random.Random(3)
    lowered = 0
    for _ in range(500):
        manager = LeverageManager(LeverageSettings(min_kelly_trades=200, max_leverage=20.0, trend_floor=1.0))
        for leverage in (0.5, 2.0, 4.0, 8.0, 15.0):
            value = rng.choice([-1.0, 1.0])
            for _ in range(rng.choice([0, 9, 10])):
                manager.on_trade_complete(closed_trade(value, leverage=leverage))
        afters = []
        for atr_pct in sorted(10.0 ** rng.uniform(-1.5, 0.5) for _ in range(12)):
            decision = manager.calculate_optimal_leverage(
                indicators=TREND | {"atr_pct": atr_pct},
                account_balance=1e4,
                direction="LONG",
                confidence=1.0,
                regime="bull",
            )
            step = decision.steps[5]
            assert step.name == "experience"
            assert step.after <= step.before
            lowered += step.after < step.before
            afters.append(step.after)
        assert afters == sorted(afters, reverse=True)
    assert lowered > 300


@pytest.mark.parametrize(
    ("facts", "fault"),
    [
        ({"pnl_pct": math.nan}, "pnl_pct must be finite"),
        ({"pnl_pct": 1.0, "leverage": 0.0}, "leverage must be greater than 0"),
        ({"pnl_pct": 1.0, "direction": Direction.FLAT}, "direction must be LONG or SHORT"),
    ],
)
def test_a_trade_that_cannot_be_learnt_from_is_refused(
    closed_trade: MakeTrade, facts: dict[str, object], fault: str
) -> None:
    manager = LeverageManager()
    with pytest.raises(SettingsError, match=fault):
        manager.on_trade_complete(closed_trade(**facts))
    assert manager.experience_table() == []
