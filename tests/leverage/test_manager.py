"""The selection flow by hand, what is missing, what is refused, and the printed usage."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.events import TradeClosed
from ai_backtrader.leverage import LeverageManager, LeverageProposal, LeverageSettings
from ai_backtrader.market.margin import MaintenanceTiers, liquidation_price
from ai_backtrader.values import Direction, Regime

MakeTrade = Callable[..., TradeClosed]

INDICATORS = {
    "close": 100.0,
    "atr_pct": 0.5,
    "volatility_ratio": 1.0,
    "atr_ratio": 1.0,
    "high_volatility": 0.0,
    "adx": 35.0,
    "trend_strength": 0.5,
    "trend_direction": 1.0,
    "ema_alignment": 1.0,
}


class FixedPolicy:
    """Proposes the same every time, as a trained agent might on one bar."""

    def __init__(self, direction: Direction, leverage: float, confidence: float) -> None:
        self.proposal = LeverageProposal(direction=direction, leverage=leverage, confidence=confidence, reason="fixed")

    def propose(
        self,
        indicators: Mapping[str, float],
        current_position: Mapping[str, float],
        risk_info: Mapping[str, float],
        regime: Regime | None,
    ) -> LeverageProposal:
        return self.proposal


def test_the_printed_usage_runs_with_few_indicators(capsys: pytest.CaptureFixture[str]) -> None:
    manager = LeverageManager()
    current_indicators = {"rsi": 55.0, "adx": 28.0}

    decision = manager.calculate_optimal_leverage(
        indicators=current_indicators,
        current_position={"leverage": 3, "margin_ratio": 0.4},
        risk_budget=0.02,  # Max 2% portfolio risk
        account_balance=10000,
        regime="bull",
    )

    print(f"Direction: {decision.direction}")
    print(f"Leverage: {decision.recommended_leverage}x")
    print(f"Position Size: {decision.position_size_pct:.1%}")
    print(f"Confidence: {decision.confidence:.0%}")
    print(f"Reasoning: {decision.reasoning}")
    print(f"Max Loss: ${decision.risk_metrics['max_loss_usd']:.2f}")
    for warning in decision.warnings:
        print(f"⚠️ {warning}")

    assert capsys.readouterr().out.splitlines()[:3] == ["Direction: FLAT", "Leverage: 1.0x", "Position Size: 0.0%"]
    assert {"atr_pct", "close", "ema_alignment"} <= set(decision.missing)
    assert "rsi" not in decision.missing
    assert any("missing" in warning for warning in decision.warnings)
    assert "volatility" in decision.reasoning


def test_the_printed_usage_sizes_a_trade_when_the_volatility_is_known() -> None:
    decision = LeverageManager().calculate_optimal_leverage(
        indicators={"rsi": 55.0, "adx": 28.0, "atr_pct": 0.6},
        current_position={"leverage": 3, "margin_ratio": 0.4},
        risk_budget=0.02,
        account_balance=10000,
        regime="bull",
    )
    assert decision.direction is Direction.LONG
    assert decision.position_size_pct > 0.0
    assert "close" in decision.missing
    assert "stop_price" not in decision.risk_metrics, "no price, no price levels"
    assert decision.risk_metrics["liquidation_distance_pct"] > 0.0


def test_the_flow_is_what_a_pencil_gives() -> None:
    manager = LeverageManager(policy=FixedPolicy(Direction.SHORT, 5.0, 0.8))
    indicators = INDICATORS | {
        "volatility_ratio": 1.25,
        "trend_direction": -1.0,
        "ema_alignment": -1.0,
        "adx": 25.0,
        "trend_strength": 0.35,
    }
    decision = manager.calculate_optimal_leverage(
        indicators=indicators,
        account_balance=10_000,
        fee_rate=0.001,
        slippage=0.0,
        current_position={"margin_ratio": 0.65},
        risk_info={"drawdown": 0.20},
    )
    steps = {step.name: step.after for step in decision.steps}
    assert list(steps) == ["base", "volatility", "trend", "confidence", "protection", "experience", "caps", "sizing"]
    assert steps["base"] == 5.0
    assert steps["volatility"] == pytest.approx(5.0 / 1.25)
    # Lean -1 for a short at strength mean(0.5, 0.5): support 0.5, factor 0.5 + 0.5 * 1.5 / 2.
    assert steps["trend"] == pytest.approx(4.0 * 0.875)
    assert steps["confidence"] == pytest.approx(3.5 * 0.9)
    # Half of the way from warning to critical margin ratio, half of the way from 10 % to 30 % drawdown.
    assert steps["protection"] == pytest.approx(3.15 * 0.5 * (1 - 0.75 * 0.5))
    assert decision.recommended_leverage == 1.0, "0.98x: leverage stays 1"
    # Risk 1 % (prior) x 0.8; a stop 2 x 0.5 above 100 with fees on both sides.
    per_unit = 1.0 + 0.001 * (100 + 101)
    assert decision.risk_metrics["max_loss_usd"] == pytest.approx(
        min(80.0, 10_000 * 0.25 * 0.984375 / 100.1 * per_unit)
    )
    assert decision.risk_metrics["stop_price"] == pytest.approx(101.0)
    assert decision.risk_metrics["reduce_fraction"] == pytest.approx(0.5)


def test_each_step_starts_where_the_one_before_ended() -> None:
    decision = LeverageManager().calculate_optimal_leverage(indicators=INDICATORS, account_balance=10_000)
    leverages = decision.steps[:-1]
    for before, after in itertools.pairwise(leverages):
        assert after.before == before.after
        assert after.after <= after.before
    assert decision.steps[-1].after == decision.position_size_pct


@pytest.mark.parametrize("ratio", [1.5, 1.75, 2.0])
def test_volatility_of_one_and_a_half_to_twice_the_normal_lowers_leverage(ratio: float) -> None:
    manager = LeverageManager()
    normal = manager.calculate_optimal_leverage(indicators=INDICATORS, account_balance=10_000)
    lively = manager.calculate_optimal_leverage(
        indicators=INDICATORS | {"volatility_ratio": ratio}, account_balance=10_000
    )
    assert lively.recommended_leverage <= normal.recommended_leverage / ratio


def test_liquidation_is_near_at_ten_times_and_far_at_twice() -> None:
    distances = {}
    for leverage in (2.0, 10.0):
        manager = LeverageManager(
            LeverageSettings(trend_floor=1, confidence_floor=1), policy=FixedPolicy(Direction.LONG, leverage, 1.0)
        )
        decision = manager.calculate_optimal_leverage(indicators=INDICATORS, account_balance=10_000)
        assert decision.recommended_leverage == leverage
        distances[leverage] = decision.risk_metrics["liquidation_distance_pct"]
    assert distances[10.0] == pytest.approx(1 - 0.9 / 0.995)
    assert distances[2.0] == pytest.approx(1 - 0.5 / 0.995)


@pytest.mark.parametrize("side", ["LONG", "SHORT"])
def test_the_metrics_are_what_a_pencil_gives(side: str) -> None:
    manager = LeverageManager(
        LeverageSettings(trend_floor=1, confidence_floor=1), policy=FixedPolicy(Direction.LONG, 5.0, 1.0)
    )
    decision = manager.calculate_optimal_leverage(
        indicators={"close": 200.0, "volatility": 0.5},
        account_balance=10_000,
        direction=side,
        confidence=1.0,
        stop_distance=4.0,
        fee_rate=0.0,
        slippage=0.0,
        funding_rate=0.0002,
    )
    metrics, sign = decision.risk_metrics, 1 if side == "LONG" else -1
    assert metrics["max_loss_usd"] == pytest.approx(100.0), "the prior risk of 1 %"
    assert metrics["notional_usd"] == pytest.approx(5_000.0), "100 / 4 units at 200"
    assert metrics["margin_usd"] == pytest.approx(1_000.0)
    assert metrics["effective_leverage"] == pytest.approx(0.5)
    assert metrics["stop_price"] == pytest.approx(200.0 - sign * 4.0)
    assert metrics["funding_per_day_usd"] == pytest.approx(sign * 3.0), "longs pay a positive rate three times a day"
    assert metrics["var_95_1d_usd"] == pytest.approx(1.6448536 * 5_000 * 0.5 / math.sqrt(365.25))
    level = liquidation_price(
        side=side, entry_price=200.0, size=25.0, margin=1_000.0, tiers=MaintenanceTiers.flat(0.005)
    )
    assert level is not None
    assert metrics["liquidation_price"] == pytest.approx(level)
    assert metrics["loss_at_liquidation_usd"] == pytest.approx(25.0 * abs(200.0 - level))
    assert metrics["annual_volatility"] == 0.5
    assert "kelly_fraction" not in metrics


def test_a_wide_stop_lowers_leverage_until_liquidation_lies_beyond_it() -> None:
    manager = LeverageManager(
        LeverageSettings(trend_floor=1, confidence_floor=1, leverage_step=0.01),
        policy=FixedPolicy(Direction.LONG, 10.0, 1.0),
    )
    decision = manager.calculate_optimal_leverage(
        indicators=INDICATORS, account_balance=10_000, stop_distance=10.0, direction="LONG"
    )
    # 1.5 stop distances away is 85: margin must cover 15 and 0.5 % of 85.
    assert decision.recommended_leverage == math.floor(100 * 100 / (15 + 0.005 * 85)) / 100
    assert decision.risk_metrics["liquidation_price"] <= 85.0


def test_no_short_is_sized_whose_liquidation_cannot_lie_beyond_its_stop() -> None:
    decision = LeverageManager().calculate_optimal_leverage(
        indicators=INDICATORS, account_balance=10_000, stop_distance=80.0, direction="SHORT"
    )
    assert decision.position_size_pct == 0.0
    assert "even at 1x" in decision.reasoning


@pytest.mark.parametrize("value", [math.nan, math.inf, None, 0.0, -1.0])
def test_a_volatility_that_is_no_number_is_missing_and_nothing_is_sized(value: float | None) -> None:
    indicators = INDICATORS | {"atr_pct": value}
    decision = LeverageManager().calculate_optimal_leverage(
        indicators=indicators,  # type: ignore[arg-type]  # None on purpose
        account_balance=10_000,
        direction="LONG",
        stop_distance=1.0,
    )
    assert decision.direction is Direction.FLAT
    assert decision.position_size_pct == 0.0
    assert decision.missing == ("atr_pct",)


def test_unknown_indicators_change_nothing() -> None:
    manager = LeverageManager()
    plain = manager.calculate_optimal_leverage(indicators=INDICATORS, account_balance=10_000)
    decorated = manager.calculate_optimal_leverage(indicators=INDICATORS | {"moon": 7.0}, account_balance=10_000)
    assert plain == decorated
    assert plain.missing == ()


@pytest.mark.parametrize("name", ["close", "price", "current_price"])
def test_the_price_is_read_from_the_indicators(name: str) -> None:
    indicators = {key: value for key, value in INDICATORS.items() if key != "close"} | {name: 50.0}
    decision = LeverageManager().calculate_optimal_leverage(indicators=indicators, account_balance=10_000)
    assert decision.risk_metrics["stop_price"] == pytest.approx(49.5)


def test_the_scale_of_the_price_changes_no_fraction() -> None:
    manager = LeverageManager()
    one = manager.calculate_optimal_leverage(indicators=INDICATORS, account_balance=10_000)
    other = manager.calculate_optimal_leverage(indicators=INDICATORS | {"close": 1e-6}, account_balance=10_000)
    assert one.recommended_leverage == other.recommended_leverage
    assert one.position_size_pct == pytest.approx(other.position_size_pct, rel=1e-12)


def test_a_decision_changes_nothing_in_the_manager(closed_trade: MakeTrade) -> None:
    manager = LeverageManager()
    for value in (1.0, -0.5, 2.0):
        manager.on_trade_complete(closed_trade(value))
    before = manager.state_dict()
    first = manager.calculate_optimal_leverage(indicators=INDICATORS, account_balance=10_000)
    second = manager.calculate_optimal_leverage(indicators=INDICATORS, account_balance=10_000)
    assert first == second
    assert manager.state_dict() == before


def test_near_liquidation_nothing_is_opened_and_the_position_is_to_go() -> None:
    decision = LeverageManager().calculate_optimal_leverage(
        indicators=INDICATORS, account_balance=10_000, current_position={"margin_ratio": 0.85}
    )
    assert decision.position_size_pct == 0.0
    assert decision.risk_metrics["reduce_fraction"] == 1.0
    assert any("reduce the open position by 100%" in warning for warning in decision.warnings)


def test_the_protection_speaks_even_where_no_direction_is_wanted() -> None:
    decision = LeverageManager().calculate_optimal_leverage(
        indicators=INDICATORS, account_balance=10_000, direction="FLAT", current_position={"margin_ratio": 0.65}
    )
    assert decision.direction is Direction.FLAT
    assert decision.risk_metrics["reduce_fraction"] == pytest.approx(0.5)


def test_drawdown_is_read_as_a_fraction_or_in_percent_points() -> None:
    manager = LeverageManager()
    fraction = manager.calculate_optimal_leverage(
        indicators=INDICATORS, account_balance=10_000, risk_info={"drawdown": 0.2}
    )
    points = manager.calculate_optimal_leverage(
        indicators=INDICATORS, account_balance=10_000, risk_info={"drawdown_current": 20.0}
    )
    assert fraction == points
    assert any("drawdown of 20%" in warning for warning in fraction.warnings)


def test_a_drawdown_however_deep_still_lets_the_account_recover() -> None:
    decision = LeverageManager().calculate_optimal_leverage(
        indicators=INDICATORS, account_balance=10_000, risk_info={"drawdown": 0.95}
    )
    assert decision.position_size_pct > 0.0


@pytest.mark.parametrize("balance", [0.0, -50.0])
def test_an_account_without_equity_gets_no_size(balance: float) -> None:
    decision = LeverageManager().calculate_optimal_leverage(indicators=INDICATORS, account_balance=balance)
    assert decision.position_size_pct == 0.0
    assert "no equity" in decision.reasoning


def test_trading_against_the_policy_is_as_likely_right_as_the_policy_is_wrong() -> None:
    manager = LeverageManager(policy=FixedPolicy(Direction.LONG, 5.0, 0.7))
    against = manager.calculate_optimal_leverage(indicators=INDICATORS, account_balance=1e4, direction="SHORT")
    along = manager.calculate_optimal_leverage(indicators=INDICATORS, account_balance=1e4, direction="BUY")
    assert against.confidence == pytest.approx(0.3)
    assert along.confidence == pytest.approx(0.7)
    assert along.direction is Direction.LONG


def test_the_risk_budget_binds_where_it_is_below_the_prior() -> None:
    decision = LeverageManager().calculate_optimal_leverage(
        indicators=INDICATORS, account_balance=10_000, risk_budget=0.001, direction="LONG", confidence=1.0
    )
    assert decision.risk_metrics["max_loss_usd"] == pytest.approx(10.0)


def test_half_the_confidence_risks_half_as_much() -> None:
    manager = LeverageManager(LeverageSettings(max_margin_fraction=1.0))
    for confidence in (1.0, 0.5, 0.1):
        decision = manager.calculate_optimal_leverage(
            indicators=INDICATORS, account_balance=10_000, direction="LONG", confidence=confidence
        )
        assert decision.risk_metrics["max_loss_usd"] == pytest.approx(100.0 * confidence)
    nothing = manager.calculate_optimal_leverage(
        indicators=INDICATORS, account_balance=10_000, direction="LONG", confidence=0.0
    )
    assert nothing.position_size_pct == 0.0
    assert "nothing may be risked" in nothing.reasoning


def test_wrong_arguments_are_named_together() -> None:
    with pytest.raises(
        SettingsError, match=r"4 faults(?s:.)*account_balance(?s:.)*risk_budget(?s:.)*fee_rate(?s:.)*margin_ratio"
    ):
        LeverageManager().calculate_optimal_leverage(
            indicators=INDICATORS,
            account_balance=math.nan,
            risk_budget=2.0,
            fee_rate=-1.0,
            current_position={"margin_ratio": math.nan},
        )


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"confidence": 1.2}, "confidence must be between 0 and 1"),
        ({"price": 0.0}, "price must be greater than 0"),
        ({"stop_distance": -1.0}, "stop_distance must be greater than 0"),
        ({"risk_info": {"bars_per_year": 0.0}}, "bars_per_year"),
        ({"regime": "moon"}, "must be one of strong_bull"),
        ({"direction": "UP"}, "expected BUY, SELL, HOLD"),
        ({"account_balance": "much"}, "account_balance must be a number"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(arguments: dict[str, object], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        LeverageManager().calculate_optimal_leverage(
            **({"indicators": INDICATORS, "account_balance": 10_000} | arguments)  # type: ignore[arg-type]  # wrong on purpose
        )


def test_a_stop_distance_without_a_price_is_refused() -> None:
    with pytest.raises(SettingsError, match="stop_distance needs a price"):
        LeverageManager().calculate_optimal_leverage(
            indicators={"atr_pct": 0.5}, account_balance=10_000, stop_distance=1.0
        )


def test_faulty_settings_are_reported_together() -> None:
    with pytest.raises(SettingsError, match=r"3 faults(?s:.)*max_leverage(?s:.)*kelly_fraction(?s:.)*min_kelly_trades"):
        LeverageSettings(max_leverage=0.5, kelly_fraction=1.5, min_kelly_trades=0)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"margin_warn": 0.9}, "margin_warn must be below margin_critical"),
        ({"leverage_step": 0.3}, "leverage_step must divide 1"),
        ({"leverage_buckets": (3.0, 1.0)}, "must increase"),
        ({"leverage_buckets": ()}, "at least one bound"),
        ({"kelly_window": 5}, "kelly_window must be at least min_kelly_trades"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        LeverageSettings(**settings)  # type: ignore[arg-type]  # wrong on purpose


def test_state_survives_json_and_decides_the_same(closed_trade: MakeTrade) -> None:
    manager = LeverageManager()
    for index in range(45):
        manager.on_trade_complete(
            closed_trade(
                (-1.0) ** index + 0.3,
                leverage=float(1 + index % 7),
                direction=[Direction.LONG, Direction.SHORT][index % 2],
                regime=[None, Regime.BULL, Regime.STRONG_BEAR][index % 3],
            )
        )
    restored = LeverageManager.from_state(json.loads(json.dumps(manager.state_dict())))
    assert restored.state_dict() == manager.state_dict()
    assert restored.experience_table() == manager.experience_table()
    call = {"indicators": INDICATORS, "account_balance": 10_000.0, "regime": "bull"}
    assert restored.calculate_optimal_leverage(**call) == manager.calculate_optimal_leverage(**call)


def test_a_state_of_another_version_or_other_buckets_is_refused() -> None:
    state = LeverageManager().state_dict()
    with pytest.raises(SettingsError, match="version must be one of"):
        LeverageManager.from_state(state | {"version": "leverage-manager/0"})
    with pytest.raises(SettingsError, match="leverage_buckets must be those of the settings"):
        LeverageManager.from_state(state, LeverageSettings(leverage_buckets=(2.0, 4.0)))


@pytest.mark.parametrize(
    "damage",
    [
        {"returns": ["much"]},
        {"returns": [math.nan]},
        {"returns": None},
        {"experience": [["moon", "LONG", 1, 1, 1, 1.0]]},
    ],
)
def test_a_damaged_state_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="the state is damaged"):
        LeverageManager.from_state(LeverageManager().state_dict() | damage)


def test_single_precision_goes_in_and_double_comes_out() -> None:
    manager = LeverageManager(policy=FixedPolicy(Direction.LONG, np.float32(3.3), np.float32(0.7)))
    decision = manager.calculate_optimal_leverage(
        indicators={name: np.float32(value) for name, value in INDICATORS.items()},
        account_balance=np.float32(10_000.0),
        stop_distance=np.float32(1.1),
        current_position={"margin_ratio": np.float32(0.6)},
        risk_info={"drawdown": np.float32(0.2)},
        funding_rate=np.float32(0.0001),
    )
    figures = [decision.recommended_leverage, decision.position_size_pct, decision.confidence]
    figures += [*decision.risk_metrics.values(), *(step.after for step in decision.steps)]
    assert {type(figure) for figure in figures} == {float}
