"""The peak of an account's equity: capital that comes or goes is neither gain nor loss."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.brokers import EquityPeak, LeverageBroker


def test_without_transfers_it_is_the_highest_equity_to_the_last_bit() -> None:
    rng = np.random.default_rng(1)
    equities = 1e4 * np.exp(np.cumsum(rng.normal(0.0, 0.02, 500)))
    peak, highest = EquityPeak(SimpleNamespace(fundshares=100.0)), -np.inf
    for equity in equities:
        peak.update(equity)
        highest = max(highest, equity)
        assert peak.value == highest
        assert peak.drawdown(equity) == max(0.0, 1.0 - equity / highest)
    assert peak.start == equities[0]


class Holding(bt.Strategy):
    """Buys once; has its peak and drawdown written down."""

    def __init__(self) -> None:
        self.peak = EquityPeak(self.broker)
        self.drawdowns: list[float] = []
        self.prices: list[float] = []

    def next(self) -> None:
        if len(self) == 1:
            self.buy(size=50)
        equity = self.broker.getvalue()
        self.peak.update(equity)
        self.drawdowns.append(self.peak.drawdown(equity))
        self.prices.append(self.broker.fundvalue)
        if len(self) in (20, 40):
            self.broker.add_cash(-3_000.0 if len(self) == 20 else 5_000.0)


@pytest.mark.parametrize("broker", [bt.brokers.BackBroker, LeverageBroker])
def test_money_taken_out_is_no_loss_and_money_paid_in_no_gain(broker: Any, feed: Any) -> None:
    rng = np.random.default_rng(2)
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, 80)))
    cerebro = bt.Cerebro()
    cerebro.broker = broker(cash=10_000.0, fundmode=True)
    cerebro.adddata(feed(np.repeat(closes[:, None], 4, axis=1)))
    cerebro.addstrategy(Holding)
    (run,) = cerebro.run()
    prices = np.array(run.prices)
    np.testing.assert_allclose(run.drawdowns, 1.0 - prices / np.maximum.accumulate(prices), atol=1e-12)
    assert run.broker.fundshares != 100.0
    assert max(run.drawdowns) > 0.0


def test_an_account_that_has_lost_everything_and_starts_anew_is_not_in_drawdown_for_ever() -> None:
    broker = SimpleNamespace(fundshares=100.0)
    peak = EquityPeak(broker)
    peak.update(10_000.0)
    peak.update(0.0)
    assert peak.drawdown(0.0) == 1.0
    broker.fundshares = 5.0
    peak.update(500.0)
    assert peak.drawdown(500.0) == 0.0
