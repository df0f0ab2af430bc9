"""Partial liquidation: down to the highest lower tier in which the rest can stand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.market.margin import MaintenanceTiers

FLAT = (100.0, 100.0, 100.0, 100.0)
TIERS = MaintenanceTiers([(0, 500, 0.01, 0, 50), (500, 1_000, 0.05, None, 20), (1_000, 1e9, 0.1, None, 10)])


def _broker(**settings: Any) -> LeverageBroker:
    return LeverageBroker(leverage=5, tiers=TIERS, partial_liquidation=True, **settings)


def test_only_what_stands_above_the_lower_tiers_cap_is_closed(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (100, 100, 83, 85), (85,) * 4]
    ran = run(_broker(), feed(rows), {1: lambda s: s.buy(size=15)})
    record = ran.broker.liquidations[0]
    price = (1500 - 300 - 70) / (15 * 0.9)
    assert record.reason == "partial"
    assert record.price == pytest.approx(price)
    left = ran.broker.getposition(ran.strategy.data).size
    assert left * price == pytest.approx(1_000)
    assert ran.broker.position_margin(ran.strategy.data) == pytest.approx(300 - (15 - left) * (100 - price))
    assert ran.broker.getcash() == 700  # nothing comes back from a partial liquidation
    assert ran.broker.liquidation_price(ran.strategy.data) < 83


def test_a_deeper_fall_goes_tier_by_tier_to_the_end(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, (100, 100, 60, 65), (65,) * 4]
    ran = run(_broker(), feed(rows), {1: lambda s: s.buy(size=15)})
    assert [record.reason for record in ran.broker.liquidations] == ["partial", "partial", "bar"]
    prices = [record.price for record in ran.broker.liquidations]
    assert prices == sorted(prices, reverse=True)
    assert sum(record.size for record in ran.broker.liquidations) == pytest.approx(15)
    assert ran.broker.getposition(ran.strategy.data).size == 0
    assert len(ran.trades) == 1
    assert ran.broker.getcash() == pytest.approx(1000 + ran.trades[0].pnlcomm)
    assert ran.broker.getcash() >= 700


def test_a_gap_reduces_at_the_open_straight_to_the_tier_that_holds(feed: Any, run: Any) -> None:
    rows = [FLAT, FLAT, FLAT, (81.5, 82, 81.5, 82), (82,) * 4]
    ran = run(_broker(), feed(rows), {1: lambda s: s.buy(size=15)})
    record = ran.broker.liquidations[0]
    assert (record.reason, record.price) == ("partial", 81.5)
    equity = 300 - 15 * 18.5
    assert equity > TIERS.maintenance(500)
    assert equity < TIERS.maintenance(1_000)
    assert ran.broker.getposition(ran.strategy.data).size * 81.5 == pytest.approx(500)


def test_losses_stay_within_the_margin_and_cash_adds_up_over_random_paths(
    feed: Any, run: Any, random_bars: Any, scripted: Any
) -> None:
    class Holder(scripted):  # type: ignore[misc]
        params = (("seed", 0),)

        def next(self) -> None:
            super().next()
            rng = self.kept.setdefault("rng", np.random.default_rng(self.p.seed))
            if not self.position.size and rng.random() < 0.5:
                size = self.broker.getcash() * 0.8 * 8 / self.data.close[0]
                leverage = min(8.0, self.broker.max_leverage_for(self.data, size * self.data.close[0] * 1.1))
                (self.buy if rng.random() < 0.5 else self.sell)(size=size * leverage / 8, leverage=leverage)

    partial = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        broker = LeverageBroker(tiers=TIERS, partial_liquidation=True, liquidation_fee=0.004)
        ran = run(
            broker, feed(random_bars(rng, 400, sigma=0.01)), strategy=Holder, params={"seed": seed}, cash=600.0,
            commission={"commission": 0.0005},
        )  # fmt: skip
        partial += sum(record.reason == "partial" for record in broker.liquidations)
        for record in broker.liquidations:
            assert record.loss <= record.margin * (1 + 1e-12)
        assert min(min(bar[0], bar[1]) for bar in ran.bars) >= -1e-9
        if not ran.strategy.position.size:
            assert broker.getcash() == pytest.approx(600 + sum(trade.pnlcomm for trade in ran.trades), abs=1e-9)
    assert partial > 5
