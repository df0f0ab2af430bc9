"""Strategies with nothing to hide, on real data: the audit accuses none of them."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from ai_backtrader.audit import audit_strategy
from ai_backtrader.datafeeds import load_sample
from ai_backtrader.market import MarketData


class HoldAtOne(bt.Strategy):
    """Everything into the market, once, at 1x."""

    def next(self) -> None:
        if not self.position:
            self.buy(size=0.95 * self.broker.getcash() / self.data.close[0])


class CrossLongOnly(bt.Strategy):
    def __init__(self) -> None:
        self.cross = bt.ind.CrossOver(bt.ind.SMA(period=10), bt.ind.SMA(period=30))

    def next(self) -> None:
        if not self.position and self.cross[0] > 0:
            self.buy(size=0.9 * self.broker.getvalue() / self.data.close[0])
        elif self.position and self.cross[0] < 0:
            self.close()


class BothWaysWithMargin(CrossLongOnly):
    """Turns around at 1x with half of the account."""

    def next(self) -> None:
        if self.cross[0]:
            self.close()
            send = self.buy if self.cross[0] > 0 else self.sell
            send(size=0.5 * self.broker.getvalue() / self.data.close[0])


class TightBrackets(CrossLongOnly):
    """Leverage of 10 behind stops of 1 %: the liquidation price lies nine times as far."""

    params = (("share", 2.0), ("stop", 0.01))

    def next(self) -> None:
        if self.position or not self.cross[0]:
            return
        sign, price = self.cross[0], self.data.close[0]
        send = self.buy_bracket if sign > 0 else self.sell_bracket
        send(
            size=self.p.share * self.broker.getvalue() / price, exectype=bt.Order.Market,
            stopprice=price * (1 - sign * self.p.stop), limitprice=price * (1 + sign * 2 * self.p.stop),
        )  # fmt: skip


class ModestLeverage(TightBrackets):
    params = (("share", 1.5), ("stop", 0.05))


class TrailingPyramid(bt.Strategy):
    """Adds three times, each a tenth of the account, behind a trailing stop."""

    def __init__(self) -> None:
        self.high = bt.ind.Highest(self.data.close(-1), period=20)
        self.guard: Any = None

    def next(self) -> None:
        if self.data.close[0] > self.high[0] and self.position.size < 3_000:
            self.buy(size=900)
            if self.guard is not None:
                self.cancel(self.guard)
                self.guard = None
        elif self.position and self.guard is None:
            self.guard = self.sell(size=self.position.size, exectype=bt.Order.StopTrail, trailpercent=0.01)

    def notify_order(self, order: Any) -> None:
        if order is self.guard and not order.alive():
            self.guard = None


class OneCancelsOther(CrossLongOnly):
    """Two limit orders, of which one may fill; exit by time."""

    def next(self) -> None:
        if not self.position and self.cross[0] > 0:
            price = self.data.close[0]
            first = self.buy(size=4_000, exectype=bt.Order.Limit, price=price * 0.999)
            self.buy(size=4_000, exectype=bt.Order.Limit, price=price * 0.998, oco=first)
            self.entered = len(self)
        elif self.position and len(self) - self.entered > 20:
            self.close()


class Targets(bt.Strategy):
    """Rebalances to 60 and 20 percent in turn."""

    def next(self) -> None:
        if len(self) % 24 == 0:
            self.order_target_percent(target=0.6 if len(self) % 48 else 0.2)


class PairWithinMargin(bt.Strategy):
    """Long one feed, short the other, a fifth of the account each."""

    def next(self) -> None:
        if len(self) == 10:
            for feed, sign in zip(self.datas, (1, -1), strict=True):
                send = self.buy if sign > 0 else self.sell
                send(feed, size=0.2 * self.broker.getvalue() / feed.close[0])
        elif len(self) == 400:
            for feed in self.datas:
                self.close(feed)


class SlowFeedAtMarket(bt.Strategy):
    """Decides on the slow feed and trades it with market orders, which wait for its next bar."""

    def __init__(self) -> None:
        self.order: Any = None

    def notify_order(self, order: Any) -> None:
        if not order.alive():
            self.order = None

    def next(self) -> None:
        slow = self.datas[1]
        if self.order is not None:
            return
        if len(slow) > 5 and not self.getposition(slow) and slow.close[0] > slow.close[-5]:
            self.order = self.buy(slow, size=1_000)
        elif self.getposition(slow) and slow.close[0] < slow.close[-5]:
            self.order = self.close(slow)


class FlatAtTheStamps(bt.Strategy):
    """3x for three hours a day on a perpetual, between two funding stamps."""

    def next(self) -> None:
        hour = self.data.datetime.time(0).hour
        if hour == 9:
            self.buy(size=2.0 * self.broker.getvalue() / self.data.close[0])
        elif hour == 12 and self.position:
            self.close()


class SmallSignal(bt.Indicator):
    lines = ("signal",)

    def __init__(self) -> None:
        self.lines.signal = bt.ind.SMA(period=10) - bt.ind.SMA(period=30)


class Signals(bt.SignalStrategy):
    """Long only by signal, one unit."""

    def __init__(self) -> None:
        self.signal_add(bt.SIGNAL_LONG, SmallSignal())


@pytest.fixture(scope="module")
def eurusd() -> MarketData:
    return load_sample().head(1_500)


@pytest.mark.parametrize(
    ("strategy", "leverage"),
    [
        (HoldAtOne, 1), (CrossLongOnly, 1), (BothWaysWithMargin, 1), (TightBrackets, 10), (ModestLeverage, 3),
        (TrailingPyramid, 2), (OneCancelsOther, 1), (Targets, 1), (Signals, 1),
    ],
)  # fmt: skip
def test_a_sound_strategy_is_not_accused(strategy: Any, leverage: float, eurusd: MarketData) -> None:
    report = audit_strategy(strategy, eurusd, leverage=leverage, commission=0.00005)
    assert report.clean, str(report)
    assert report.backtrader.metrics["fills"] > 0
    assert "Nothing was hidden" in str(report)
    # The same code, the same fills; only targets are rounded to whole units by Backtrader.
    assert report.exchange.metrics["final_equity"] == pytest.approx(report.backtrader.metrics["final_equity"], rel=1e-5)


def test_holding_real_stocks_for_twenty_years_at_one_is_not_accused() -> None:
    assert audit_strategy(HoldAtOne, load_sample("SP500"), commission=0.0005).clean


def test_a_pair_within_its_margin_is_not_accused(eurusd: MarketData) -> None:
    other = MarketData.from_frame(eurusd.to_frame(), symbol="OTHER")
    report = audit_strategy(PairWithinMargin, [eurusd, other], leverage=2)
    assert report.clean, str(report)
    assert report.backtrader.metrics["fills"] == 4


def test_market_orders_on_a_slow_feed_are_not_accused(eurusd: MarketData) -> None:
    rules = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    slow = MarketData.from_frame(eurusd.to_frame().resample("4h").agg(rules).dropna(), symbol="SLOW")
    report = audit_strategy(SlowFeedAtMarket, [eurusd, slow], leverage=1)
    assert report.clean, str(report)
    assert report.backtrader.metrics["fills"] > 10


def test_a_day_trader_between_the_stamps_is_not_accused() -> None:
    rng = np.random.default_rng(3)
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.003, 1_000)))
    opens = np.concatenate(([100.0], closes[:-1]))
    frame = pd.DataFrame(
        {
            "open": opens, "high": np.maximum(opens, closes), "low": np.minimum(opens, closes), "close": closes,
            "volume": 1.0, "funding_rate": np.where(np.arange(1_000) % 8 == 0, 0.0001, 0.0),
        },
        index=pd.date_range("2024-01-01", periods=1_000, freq="h", tz="UTC"),
    )  # fmt: skip
    report = audit_strategy(FlatAtTheStamps, MarketData.from_frame(frame, symbol="PERP"), leverage=3)
    assert report.clean, str(report)
    assert report.backtrader.metrics["fills"] > 50
