"""What holds in every run with leverage, whatever a strategy does."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.market.margin import MaintenanceTiers

KINDS = (
    "market", "bracket", "reverse", "reduce", "exit", "cancel", "close order", "limit", "stop", "stop limit", "trail",
    "trail limit", "oco", "target", "valid",
)  # fmt: skip
TIERS = MaintenanceTiers([(0, 20_000, 0.01, 0, 50), (20_000, 60_000, 0.03, None, 20), (60_000, 1e9, 0.1, None, 10)])


def _run(seed: int, mode: str, feed: Any, random_bars: Any, random_trader: Any) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    settings: dict[str, Any] = {"leverage": float(rng.choice([2, 5, 10])), "tiers": TIERS, "liquidation_fee": 0.004}
    settings |= {"funding": 0.0005, "margin_mode": "cross" if mode == "cross" else "isolated"}
    settings["partial_liquidation"] = mode == "partial"
    if rng.random() < 0.3:
        settings |= {"slip_perc": 0.001, "slip_open": True}
    if rng.random() < 0.2:
        settings["filler"] = bt.broker.fillers.FixedBarPerc(perc=float(rng.choice([0.5, 5.0])))
    if rng.random() < 0.2:
        settings["coc"] = True
    engine = {"runonce": bool(rng.random() < 0.7), "cheat_on_open": bool(rng.random() < 0.2)}
    broker = LeverageBroker(**settings)
    cerebro = bt.Cerebro(stdstats=False, **engine)
    cerebro.broker = broker
    broker.setcash(10_000.0)
    broker.setcommission(commission=0.0005, mult=float(rng.choice([1.0, 2.0])), interest=float(rng.choice([0.0, 0.2])))
    columns = random_bars(rng, 200, sigma=0.012)
    slow = {key: values[::3] for key, values in random_bars(rng, 200, sigma=0.012).items()}
    marks = {f"mark_{name}": columns[name] * 1.002 for name in ("open", "high", "low", "close")}
    cerebro.adddata(feed(columns, **(marks if rng.random() < 0.5 else {})), name="d0")
    cerebro.adddata(feed(slow, freq="3h"), name="d1")
    kinds = tuple(map(str, rng.choice(KINDS, size=rng.integers(4, 12), replace=False)))
    cerebro.addstrategy(
        random_trader, seed=seed, kinds=kinds, size=float(rng.choice([20.0, 60.0])) * (5 if mode == "cross" else 1)
    )
    return broker, cerebro.run()[0]


@pytest.mark.parametrize("mode", ["isolated", "partial", "cross"])
def test_money_is_conserved_and_the_account_never_owes(
    mode: str, feed: Any, random_bars: Any, random_trader: Any
) -> None:
    liquidated = reduced = 0
    for seed in range(20):
        broker, strategy = _run(seed, mode, feed, random_bars, random_trader)
        profits = sum(order.executed.pnl for order in broker.orders)
        costs = sum(order.executed.comm for order in broker.orders) + sum(broker.d_credit.values())
        posted = sum(broker.position_margin(data) for data in strategy.datas)
        assert broker.getcash() + posted == pytest.approx(10_000 + profits - costs, abs=1e-6), seed
        bars = [entry for entry in strategy.log if len(entry) == 7 and isinstance(entry[5], list)]
        assert min(entry[2] for entry in bars) >= -1e-6, seed
        if mode != "cross":
            assert min(entry[1] for entry in bars) >= -1e-9, seed
            assert all(record.loss <= record.margin * (1 + 1e-12) for record in broker.liquidations), seed
        for data in strategy.datas:
            size = broker.getposition(data).size
            assert bool(size) == (broker.liquidation_price(data) is not None or bool(broker.position_margin(data)))
        assert not [order for order in broker.pending if not order.alive()]
        liquidated += len(broker.liquidations)
        reduced += sum(record.reason == "partial" for record in broker.liquidations)
    assert liquidated > (4 if mode == "cross" else 30)
    assert (reduced > 5) == (mode == "partial")


def test_two_strategies_on_one_feed_are_each_told_and_their_trades_close(feed: Any, scripted: Any) -> None:
    flat = (100.0, 100.0, 100.0, 100.0)
    broker = LeverageBroker(leverage=10)
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = broker
    broker.setcash(1000.0)
    cerebro.adddata(feed([flat, flat, (100, 100, 85, 90), flat]), name="d0")
    for size in (6, 4):
        cerebro.addstrategy(scripted, plan={1: lambda s, size=size: s.buy(size=size)})
    strategies = cerebro.run()
    assert [len(strategy.told) for strategy in strategies] == [1, 1]
    assert [strategy.trades[0].pnl for strategy in strategies] == pytest.approx(
        [-size * (100 - 90 / 0.995) for size in (6, 4)]
    )
