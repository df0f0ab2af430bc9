"""What the systems are set beside: buy and hold, volatility target, flat, and Backtrader's classics, as plain classes.

Nothing of these is searched for: periods and levels are those that every textbook prints, the same on all markets.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import backtrader as bt
import numpy as np
from numpy.typing import NDArray

from ai_backtrader.brokers import LeverageBroker, TradeRecorder
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.market import MarketData
from ai_backtrader.pipeline import BuyAndHold, PipelineSettings, from_bar
from ai_backtrader.pipeline.fund import fees_paid

__all__ = ["CLASSICS", "Played", "play"]

_WARM_UP = 250  # bars before the walk that the indicators have seen


class Played(NamedTuple):
    """What a strategy did: the account's value at each close, the first one before any trade, and what it cost."""

    values: NDArray[np.float64]
    trades: int
    liquidations: int
    fees: float
    funding: float


class _Sided(bt.Strategy):
    """All in on one side, at 1x, or out of the market."""

    params = (("share", 0.99), ("short", True))

    def side(self) -> int:
        """+1, -1 or 0."""
        raise NotImplementedError

    def next(self) -> None:
        """Turn to the side that is wanted."""
        wanted, held = self.side(), self.position.size
        wanted = max(wanted, 0) if not self.p.short else wanted
        if wanted == (held > 0.0) - (held < 0.0):
            return
        if held:
            self.close()
        if wanted:
            size = self.p.share * self.broker.getvalue() / self.data.close[0]
            (self.buy if wanted > 0 else self.sell)(size=size)


class Flat(_Sided):
    """Never in the market."""

    def side(self) -> int:
        """Out."""
        return 0


class SmaCross(_Sided):
    """The crossing of two averages, with the periods of Backtrader's own ``MA_CrossOver``."""

    params = (("fast", 10), ("slow", 30))

    def __init__(self) -> None:
        self.fast, self.slow = (bt.ind.SMA(self.data, period=period) for period in (self.p.fast, self.p.slow))

    def side(self) -> int:
        """With the faster average."""
        return 1 if self.fast[0] > self.slow[0] else -1


class RsiReversion(_Sided):
    """Against an extreme of the RSI until it is over."""

    params = (("period", 14), ("low", 30), ("high", 70), ("middle", 50))

    def __init__(self) -> None:
        self.rsi = bt.ind.RSI(self.data, period=self.p.period, safediv=True)

    def side(self) -> int:
        """In below ``low`` or above ``high``, out at ``middle``."""
        held, rsi = self.position.size, self.rsi[0]
        if rsi < self.p.low:
            return 1
        if rsi > self.p.high:
            return -1
        return (held > 0.0 and rsi < self.p.middle) - (held < 0.0 and rsi > self.p.middle)


class BollingerBreakout(_Sided):
    """With a close outside the bands until the average is crossed."""

    params = (("period", 20), ("deviations", 2.0))

    def __init__(self) -> None:
        self.bands = bt.ind.BollingerBands(self.data, period=self.p.period, devfactor=self.p.deviations)

    def side(self) -> int:
        """In outside the bands, out at the average."""
        held, close = self.position.size, self.data.close[0]
        if close > self.bands.top[0]:
            return 1
        if close < self.bands.bot[0]:
            return -1
        middle = self.bands.mid[0]
        return (held > 0.0 and close > middle) - (held < 0.0 and close < middle)


class MacdCross(_Sided):
    """The MACD against its signal line."""

    params = (("fast", 12), ("slow", 26), ("signal", 9))

    def __init__(self) -> None:
        self.macd = bt.ind.MACD(self.data, period_me1=self.p.fast, period_me2=self.p.slow, period_signal=self.p.signal)

    def side(self) -> int:
        """Above the signal line long, below it short."""
        return 1 if self.macd.macd[0] > self.macd.signal[0] else -1


class VolatilityTarget(bt.Strategy):
    """Always long, the less the stormier: the volatility of the design over that of the last 100 bars, up to 1x."""

    params = (("usual", 0.01), ("share", 0.99), ("window", 100), ("off_by", 0.1))

    def next(self) -> None:
        """Hold what the target says, where the position is off by more than a tenth of the account."""
        closes = np.array(self.data.close.get(0, self.p.window + 1))
        now = float(np.std(np.diff(np.log(closes))))
        wanted = self.p.share * min(1.0, self.p.usual / max(now, 1e-12))
        value, close = self.broker.getvalue(), self.data.close[0]
        change = wanted * value / close - self.position.size
        if abs(change) * close > self.p.off_by * value:
            (self.buy if change > 0.0 else self.sell)(size=abs(change))


CLASSICS: dict[str, tuple[type[Any], str]] = {
    "buy_and_hold": (BuyAndHold, "Buy and hold"),
    "volatility_target": (VolatilityTarget, "Volatility target"),
    "flat": (Flat, "Flat"),
    "sma_cross": (SmaCross, "SMA cross 10/30"),
    "rsi_reversion": (RsiReversion, "RSI reversion 14"),
    "bollinger_breakout": (BollingerBreakout, "Bollinger breakout 20"),
    "macd_cross": (MacdCross, "MACD 12/26/9"),
}
"""Class and title by name."""


class _Watch(bt.Analyzer):
    """Value at each close, and the closed trades."""

    def start(self) -> None:
        self.values: list[float] = []
        self.recorder = TradeRecorder(self.strategy.broker, "classic")
        self.closed: list[Any] = []

    def prenext(self) -> None:
        self.next()

    def next(self) -> None:
        self.values.append(self.strategy.broker.getvalue())

    def notify_order(self, order: Any) -> None:
        self.recorder.on_order(order)

    def notify_trade(self, trade: Any) -> None:
        closed = self.recorder.on_trade(trade)
        if closed is not None:
            self.closed.append(closed)


def play(name: str, data: MarketData, first: int, settings: PipelineSettings) -> Played:
    """Trade bars from ``first`` on, deciding first at the close of the bar before, at the costs of the settings."""
    kind = CLASSICS[name][0]
    params: dict[str, Any] = {}
    if issubclass(kind, _Sided):
        params["short"] = settings.allow_short
    elif issubclass(kind, VolatilityTarget):
        params["usual"] = float(np.std(np.diff(np.log(data.close[:first]))))
    begin = first - 1 - min(first - 1, _WARM_UP)
    feed = data.between(data.times[begin], None)
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker(
        max_leverage=settings.max_leverage, tiers=settings.tiers, funding=settings.funding,
        liquidation_fee=settings.liquidation_fee, slip_perc=settings.slippage, slip_open=True,
    )  # fmt: skip
    cerebro.broker.setcash(settings.cash)
    cerebro.broker.setcommission(commission=settings.commission)
    cerebro.adddata(PerpetualData(dataname=feed))
    cerebro.addstrategy(from_bar(kind, first - 1 - begin), **params)
    cerebro.addanalyzer(_Watch, _name="watch")
    watch = cerebro.run()[0].analyzers.watch
    account = cerebro.broker
    return Played(
        values=np.array(watch.values[first - 1 - begin :]), trades=len(watch.closed),
        liquidations=sum(trade.liquidated for trade in watch.closed), fees=fees_paid(account),
        funding=float(account.funding_paid()),
    )  # fmt: skip
