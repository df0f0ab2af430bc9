"""Laws of the leverage manager, 10,000 random cases each."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from ai_backtrader.events import TradeClosed
from ai_backtrader.leverage import LeverageManager, LeverageSettings
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.values import Direction, LeverageDecision

CASES = 10_000
RandomCall = Callable[[random.Random], dict[str, Any]]


def exposure(decision: LeverageDecision) -> float:
    return decision.position_size_pct * decision.recommended_leverage


def assert_no_more(safer: LeverageDecision, bolder: LeverageDecision) -> None:
    assert safer.recommended_leverage <= bolder.recommended_leverage
    assert exposure(safer) <= exposure(bolder) * (1 + 1e-12)


def owed_at(notional: float, tiers: MaintenanceTiers) -> float:
    # Maintenance margin as the area under the marginal rate: no maintenance amounts involved.
    return sum(
        row.maintenance_rate * (min(notional, cap) - row.notional_floor)
        for row in tiers.rows
        if notional > row.notional_floor
        for cap in [row.notional_cap if row is not tiers.rows[-1] else math.inf]
    )


@pytest.mark.parametrize("name", ["atr_pct", "volatility_ratio", "atr_ratio", "high_volatility", "volatility"])
def test_neither_leverage_nor_exposure_rises_with_volatility(
    name: str, managers: list[LeverageManager], random_call: RandomCall
) -> None:
    rng = random.Random(f"volatility {name}")
    changed = sized = 0
    for case in range(CASES):
        manager, call = managers[case % len(managers)], random_call(rng)
        if name == "high_volatility":
            low, high = 0.0, 1.0
        elif name == "volatility":
            low, high = sorted(10.0 ** rng.uniform(-1.5, 1.0) for _ in range(2))
        else:
            low = call["indicators"][name]
            high = low * (1.0 + rng.choice([1e-9, 0.01, 0.6, 5.0]))
        calm_call, wild_call = copy.copy(call), copy.copy(call)
        calm_call["indicators"] = call["indicators"] | {name: low}
        wild_call["indicators"] = call["indicators"] | {name: high}
        calm = manager.calculate_optimal_leverage(**calm_call)
        wild = manager.calculate_optimal_leverage(**wild_call)
        assert_no_more(wild, calm)
        sized += calm.position_size_pct > 0
        changed += wild.recommended_leverage < calm.recommended_leverage
    assert sized > CASES / 3
    assert changed > CASES / 50


@pytest.mark.parametrize(("holder", "name"), [("current_position", "margin_ratio"), ("risk_info", "drawdown")])
def test_neither_leverage_nor_exposure_rises_with_margin_ratio_or_drawdown(
    holder: str, name: str, managers: list[LeverageManager], random_call: RandomCall
) -> None:
    rng = random.Random(f"protection {name}")
    changed = 0
    for case in range(CASES):
        manager, call = managers[case % len(managers)], random_call(rng)
        low, high = sorted(rng.random() for _ in range(2))
        calm = manager.calculate_optimal_leverage(**(call | {holder: {name: low}}))
        worse = manager.calculate_optimal_leverage(**(call | {holder: {name: high}}))
        assert_no_more(worse, calm)
        changed += exposure(worse) < exposure(calm)
    assert changed > CASES / 20


def test_neither_leverage_nor_exposure_falls_with_confidence(
    managers: list[LeverageManager], random_call: RandomCall
) -> None:
    rng = random.Random("confidence")
    changed = 0
    for case in range(CASES):
        manager, call = managers[case % len(managers)], random_call(rng)
        low, high = sorted(rng.random() for _ in range(2))
        unsure = manager.calculate_optimal_leverage(**(call | {"confidence": low}))
        sure = manager.calculate_optimal_leverage(**(call | {"confidence": high}))
        assert_no_more(unsure, sure)
        changed += exposure(unsure) < exposure(sure)
    assert changed > CASES / 3


def test_leverage_never_falls_as_the_trend_turns_to_the_trade(
    managers: list[LeverageManager], random_call: RandomCall
) -> None:
    rng = random.Random("trend")
    for case in range(CASES):
        manager, call = managers[case % len(managers)], random_call(rng)
        call |= {"direction": rng.choice(["LONG", "SHORT"]), "confidence": 0.8}
        sign = 1 if call["direction"] == "LONG" else -1
        against, along = sorted(rng.uniform(-1, 1) for _ in range(2))
        worse, better = (
            manager.calculate_optimal_leverage(
                **(call | {"indicators": call["indicators"] | {"ema_alignment": sign * lean}})
            )
            for lean in (against, along)
        )
        assert_no_more(worse, better)


def test_leverage_and_size_stay_within_every_cap(managers: list[LeverageManager], random_call: RandomCall) -> None:
    rng = random.Random("caps")
    sized = at_tier = 0
    for case in range(CASES):
        manager, call = managers[case % len(managers)], random_call(rng)
        decision = manager.calculate_optimal_leverage(**call)
        settings, leverage = manager.settings, decision.recommended_leverage
        notional = decision.risk_metrics["notional_usd"]
        allowed = call["tiers"].max_leverage(notional)
        assert 1.0 <= leverage <= settings.max_leverage
        assert leverage <= allowed
        assert leverage <= max(decision.steps[0].after, 1.0), "nothing raises leverage above the policy's"
        assert leverage == round(leverage / settings.leverage_step) * settings.leverage_step or leverage == round(
            round(leverage / settings.leverage_step) * settings.leverage_step, 10
        )
        paid = decision.position_size_pct * (1 + leverage * call["fee_rate"])
        assert 0.0 <= paid <= settings.max_margin_fraction * (1 + 1e-12), "margin and entry fee"
        assert (decision.direction is Direction.FLAT) == (decision.position_size_pct == 0.0)
        assert all(math.isfinite(value) for value in decision.risk_metrics.values())
        sized += decision.position_size_pct > 0
        at_tier += allowed < settings.max_leverage
    assert sized > CASES / 3
    assert at_tier > CASES / 50


def test_the_loss_at_the_stop_stays_within_the_risk_budget(
    managers: list[LeverageManager], random_call: RandomCall
) -> None:
    rng = random.Random("risk budget")
    sized = spent = 0
    for case in range(CASES):
        manager, call = managers[case % len(managers)], random_call(rng)
        decision = manager.calculate_optimal_leverage(**call)
        if decision.position_size_pct == 0.0:
            continue
        sized += 1
        equity, price, sign = call["account_balance"], call["indicators"]["close"], decision.direction.sign
        units = decision.position_size_pct * equity * decision.recommended_leverage / price
        # The round trip as a broker books it.
        bought = price * (1 + sign * call["slippage"])
        sold = decision.risk_metrics["stop_price"] * (1 - sign * call["slippage"])
        fees = units * (bought + sold) * call["fee_rate"]
        loss = fees - sign * units * (sold - bought)
        assert loss <= call["risk_budget"] * equity * (1 + 1e-9)
        assert decision.risk_metrics["max_loss_usd"] == pytest.approx(loss, rel=1e-9)
        spent += loss > 0.2 * call["risk_budget"] * equity
    assert sized > CASES / 3
    assert spent > sized / 10


def test_the_liquidation_price_lies_beyond_the_stop_by_the_buffer(
    managers: list[LeverageManager], random_call: RandomCall
) -> None:
    rng = random.Random("liquidation")
    sized = close = 0
    for case in range(CASES):
        manager, call = managers[case % len(managers)], random_call(rng)
        call["indicators"]["atr_pct"] *= 3.0  # wide stops, so that the buffer binds
        decision = manager.calculate_optimal_leverage(**call)
        if decision.position_size_pct == 0.0:
            continue
        sized += 1
        settings, metrics, sign = manager.settings, decision.risk_metrics, decision.direction.sign
        price = call["indicators"]["close"]
        units, margin = metrics["notional_usd"] / price, metrics["margin_usd"]
        distance = sign * (price - metrics["stop_price"])
        limit = price - sign * distance * (1 + settings.liquidation_buffer)
        if limit > 0.0:
            left = margin - units * abs(price - limit)
            owed = owed_at(units * limit, call["tiers"]) + settings.liquidation_fee * units * limit
            assert left >= owed - 1e-9 * metrics["notional_usd"], "it survives at the far end of the buffer"
        if "liquidation_price" in metrics:
            assert sign * (limit - metrics["liquidation_price"]) >= -1e-9 * price
            close += metrics["liquidation_distance_pct"] < 1.5 * abs(price - limit) / price
    assert sized > CASES / 5
    assert close > sized / 50


def test_without_an_edge_in_enough_trades_the_size_is_zero(
    closed_trade: Callable[..., TradeClosed], random_call: RandomCall
) -> None:
    rng = random.Random("edge")
    outcomes = {True: 0, False: 0}
    for _ in range(CASES // 20):
        manager = LeverageManager(LeverageSettings(max_payoff=1e9))
        mean = rng.gauss(0.0, 0.5)
        returns = [rng.gauss(mean, 2.0) * rng.choice([0.2, 1.0, 3.0]) for _ in range(rng.randint(30, 60))]
        for value in returns:
            manager.on_trade_complete(closed_trade(value))
        edge = math.fsum(returns) > 0.0
        for _ in range(20):
            call = random_call(rng) | {"current_position": {}, "direction": "LONG", "confidence": 1.0}
            call["indicators"]["atr_pct"] = 0.5
            call["stop_distance"] = None
            decision = manager.calculate_optimal_leverage(**call)
            outcomes[edge] += 1
            if edge:
                assert decision.position_size_pct > 0.0
            else:
                assert decision.position_size_pct == 0.0
                assert decision.direction is Direction.FLAT
                assert decision.recommended_leverage == 1.0
                assert any("no edge" in warning for warning in decision.warnings)
    assert min(outcomes.values()) > CASES / 4
