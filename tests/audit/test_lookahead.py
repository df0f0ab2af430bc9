"""check_lookahead against strategies whose leak, or lack of one, is known by construction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from ai_backtrader.audit import check_lookahead
from ai_backtrader.audit.lookahead_report import Verdict
from ai_backtrader.market import MarketData

BARS = 260
Make = Callable[[MarketData], type]


def walk(seed: int, bars: int = BARS, symbol: str = "WALK") -> MarketData:
    """A random walk of hourly bars."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, bars)))
    before = np.concatenate(([100.0], close[:-1]))
    spread = np.exp(np.abs(rng.normal(0.0, 0.004, (2, bars))))
    frame = pd.DataFrame(
        {
            "open": before, "high": np.maximum(before, close) * spread[0], "low": np.minimum(before, close) / spread[1],
            "close": close, "volume": rng.uniform(50.0, 150.0, bars),
        },
        index=pd.date_range("2024-01-01", periods=bars, freq="h", tz="UTC"),
    )  # fmt: skip
    return MarketData.from_frame(frame, symbol=symbol)


def pair(data: MarketData) -> tuple[MarketData, MarketData]:
    """The feed and another over the same hours."""
    return data, MarketData.from_frame(
        walk(77, len(data), "OTHER").to_frame().set_index(pd.DatetimeIndex(data.times, tz="UTC")),
        symbol="OTHER", bar_seconds=data.bar_seconds,
    )  # fmt: skip


def with_line(data: MarketData, values: np.ndarray) -> MarketData:
    """The feed with a column of somebody's making."""
    return MarketData.from_frame(
        data.to_frame().assign(open_interest=values), symbol=data.symbol, bar_seconds=data.bar_seconds
    )


class Turning(bt.Strategy):
    """Base: `side()` says 1, -1 or 0; the strategy is long, short or stays as it is."""

    def side(self) -> int:
        raise NotImplementedError

    def next(self) -> None:
        side = self.side()
        if side * self.position.size <= 0 and side:
            self.order_target_size(target=side)

    @property
    def now(self) -> int:
        return len(self) - 1


class Cross(Turning):
    """Clean: two averages."""

    params = (("fast", 5), ("slow", 15))

    def __init__(self) -> None:
        self.gap = bt.ind.SMA(period=self.p.fast) - bt.ind.SMA(period=self.p.slow)

    def side(self) -> int:
        return 1 if self.gap[0] > 0 else -1


# -- strategies that know the future ------------------------------------------------------------------------------


class NextClose(Turning):
    def side(self) -> int:
        return 1 if self.data.close[1] > self.data.close[0] else -1


class GuardedCloseInTwoBars(Turning):
    def side(self) -> int:
        if len(self) + 2 > self.data.buflen():
            return 0
        return int(np.sign(self.data.close[2] - self.data.close[0]))


class GetAhead(Turning):
    def side(self) -> int:
        ahead = self.data.close.get(ago=1, size=1)
        return int(np.sign(ahead[0] - self.data.close[0])) if len(ahead) else 0


class LineArray(Turning):
    def side(self) -> int:
        array = self.data.close.array
        return int(np.sign(array[min(len(self) + 2, len(array) - 1)] - self.data.close[0]))


class Swallowed(Turning):
    def side(self) -> int:
        try:
            return 1 if self.data.open[1] > self.data.close[0] * 1.0001 or self.data.high[1] > self.data.high[0] else -1
        except IndexError:
            return 0


class FullSampleScore(Turning):
    def __init__(self) -> None:
        close = np.array(self.data.close.array)
        close = close[np.isfinite(close)] if len(close) else np.ones(1)
        self.mean, self.std = close.mean(), close.std() + 1e-12

    def side(self) -> int:
        score = (self.data.close[0] - self.mean) / self.std
        return -1 if score > 0.5 else 1 if score < -0.5 else 0


class CentredAverage(Turning):
    def __init__(self) -> None:
        self.smooth = (
            pd.Series(np.array(self.data.close.array)).rolling(9, center=True, min_periods=1).mean().to_numpy()
        )

    def side(self) -> int:
        if self.now >= len(self.smooth):
            return 0
        return 1 if self.smooth[self.now] > self.data.close[0] else -1


class DailyCloseFromHours(Turning):
    def __init__(self) -> None:
        days = pd.Series(np.floor(np.array(self.data.datetime.array)), dtype=float)
        close = pd.Series(np.array(self.data.close.array), dtype=float)
        self.daily = close.groupby(days).transform("last").to_numpy()

    def side(self) -> int:
        return int(np.sign(self.daily[self.now] - self.data.close[0])) if self.now < len(self.daily) else 0


class ShiftedIndicator(Turning):
    def __init__(self) -> None:
        close = pd.Series(np.array(self.data.close.array), dtype=float)
        self.returns = close.pct_change(fill_method=None).shift(-1).fillna(0.0).to_numpy()

    def side(self) -> int:
        return int(np.sign(self.returns[self.now])) if self.now < len(self.returns) else 0


class StopUnderTheFutureLow(bt.Strategy):
    def next(self) -> None:
        if not self.position and len(self) % 7 == 0:
            low = min(list(self.data.low.array)[len(self) : len(self) + 5] or [self.data.low[0]])
            self.buy_bracket(
                size=1, exectype=bt.Order.Market, stopprice=low * 0.999, limitprice=self.data.close[0] * 1.02
            )


class ExitOnTheLastBar(Cross):
    def next(self) -> None:
        if len(self) >= self.data.buflen() - 1:
            self.close()
        else:
            super().next()


class KnowsTheLastTime(Turning):
    def __init__(self) -> None:
        self.middle = np.mean(self.data.market_data.times[[0, -1]].astype(np.int64)) / 1e9

    def side(self) -> int:
        return (
            1
            if self.data.datetime.datetime(0).replace(tzinfo=pd.Timestamp.now("UTC").tz).timestamp() < self.middle
            else -1
        )


class RanksByFutureReturn(bt.Strategy):
    def next(self) -> None:
        ahead = [list(data.close.array)[len(self) : len(self) + 3] or [data.close[0]] for data in self.datas]
        best = int(np.argmax([path[-1] / data.close[0] for path, data in zip(ahead, self.datas, strict=True)]))
        for place, data in enumerate(self.datas):
            self.order_target_size(data, target=int(place == best))


class CheatsOnClose(Cross):
    def start(self) -> None:
        self.broker.set_coc(True)


class RemembersTheEarlierRun(Turning):
    seen: ClassVar[list[float]] = []

    def start(self) -> None:
        self.mine: list[float] = []

    def side(self) -> int:
        self.mine.append(self.data.close[0])
        if len(self.seen) > len(self):
            return int(np.sign(self.seen[len(self)] - self.data.close[0]))
        return 1 if len(self) % 9 < 5 else -1

    def stop(self) -> None:
        type(self).seen = self.mine


class CancelsByTheFuture(bt.Strategy):
    """The order is honest; whether it is withdrawn is not."""

    def next(self) -> None:
        if len(self) % 6 == 1:
            self.resting = self.buy(exectype=bt.Order.Limit, price=self.data.close[0] * 0.9)
        elif (
            len(self) % 6 == 3 and min(list(self.data.low.array)[len(self) : len(self) + 3] or [0.0]) > self.data.low[0]
        ):
            self.cancel(self.resting)


class SizesByTomorrow(bt.Strategy):
    """Only the size knows."""

    def next(self) -> None:
        if len(self) % 5 == 0:
            close = self.data.close.array
            change = close[len(self)] / close[len(self) - 1] - 1.0 if len(self) < len(close) else 0.0
            self.buy(size=round(1.0 + 20.0 * abs(change), 4))


def shifted_frame(data: MarketData) -> type:
    frame = data.to_frame()

    class ShiftedFrame(Turning):
        signal = frame["close"].shift(-1) > frame["close"]

        def side(self) -> int:
            return 1 if self.signal.iloc[self.now] else -1

    return ShiftedFrame


def normalised_frame(data: MarketData) -> type:
    close = data.to_frame()["close"]
    score = (close - close.mean()) / close.std()

    class NormalisedFrame(Turning):
        def side(self) -> int:
            value = score.iloc[self.now]
            return -1 if value > 0.5 else 1 if value < -0.5 else 0

    return NormalisedFrame


def future_rows(data: MarketData) -> type:
    class FutureRows(Turning):
        closes = data.close.tolist()

        def side(self) -> int:
            return int(np.sign(self.closes[min(len(self), len(self.closes) - 1)] - self.data.close[0]))

    return FutureRows


def prophetic_dict(data: MarketData) -> type:
    frame = data.to_frame()
    rise = frame["close"].shift(-1) > frame["close"]

    class PropheticDict(Turning):
        signals = dict(zip(rise.index.tz_localize(None).to_pydatetime(), rise.tolist(), strict=True))  # type: ignore[attr-defined]  # a DatetimeIndex

        def side(self) -> int:
            return 1 if self.signals[self.data.datetime.datetime(0)] else -1

    return PropheticDict


def held_market(data: MarketData) -> type:
    class HeldMarket(Turning):
        market = data

        def side(self) -> int:
            ahead = self.market.high[min(len(self), len(self.market) - 1)]
            return 1 if ahead > self.data.high[0] else -1

    return HeldMarket


class SeldomPeeks(bt.Strategy):
    """One order in twelve has a size of the future."""

    def next(self) -> None:
        if len(self) % 5 == 0:
            close = self.data.close.array
            rises = len(self) % 60 == 0 and len(self) < len(close) and close[len(self)] > self.data.close[0]
            self.buy(size=2 if rises else 1)


class SignalLine(Turning):
    def side(self) -> int:
        return 1 if self.data.open_interest[0] > 0 else -1


def same(kind: type) -> Make:
    return lambda data: kind


def prophecy(data: MarketData) -> MarketData:
    rise = np.append(np.diff(data.close), 0.0) > 0
    return with_line(data, rise.astype(float))


Case = tuple[Make, Callable[[MarketData], Any]]


def plain(data: MarketData) -> MarketData:
    return data


LEAKING: dict[str, Case] = {
    **{
        kind.__name__: (same(kind), plain)
        for kind in (
            NextClose, GuardedCloseInTwoBars, GetAhead, LineArray, Swallowed, FullSampleScore, CentredAverage,
            DailyCloseFromHours, ShiftedIndicator, StopUnderTheFutureLow, ExitOnTheLastBar, KnowsTheLastTime,
            CheatsOnClose, RemembersTheEarlierRun, CancelsByTheFuture, SizesByTomorrow,
            SeldomPeeks,
        )
    },
    "RanksByFutureReturn": (same(RanksByFutureReturn), pair),
    "ShiftedFrame": (shifted_frame, plain),
    "NormalisedFrame": (normalised_frame, plain),
    "FutureRows": (future_rows, plain),
    "PropheticDict": (prophetic_dict, plain),
    "HeldMarket": (held_market, plain),
    "SignalLine": (same(SignalLine), prophecy),
}  # fmt: skip


# -- strategies that do not ---------------------------------------------------------------------------------------


class Momentum(bt.Strategy):
    def __init__(self) -> None:
        self.rsi, self.atr = bt.ind.RSI(period=7), bt.ind.ATR(period=7)

    def next(self) -> None:
        if not self.position and self.rsi[0] > 55:
            price = self.data.close[0]
            self.buy_bracket(
                exectype=bt.Order.Market, stopprice=price - 2 * self.atr[0], limitprice=price + 3 * self.atr[0]
            )


class RestingLimits(bt.Strategy):
    """Limits that expire, an OCO pair, cancellations."""

    def next(self) -> None:
        price = self.data.close[0]
        if len(self) % 8 == 1:
            one = self.buy(exectype=bt.Order.Limit, price=price * 0.995)
            self.sell(exectype=bt.Order.Stop, price=price * 0.98, oco=one)
            self.late = self.buy(exectype=bt.Order.Limit, price=price * 0.9)
        elif len(self) % 8 == 5:
            self.cancel(self.late)
            self.close()


class Calendar(Turning):
    def side(self) -> int:
        return 1 if self.data.datetime.datetime(0).hour < 12 else -1


class BuyAndHold(bt.Strategy):
    def next(self) -> None:
        if not self.position:
            self.buy()


class ExpandingScore(Turning):
    """Normalises with what it has seen."""

    def side(self) -> int:
        past = np.array(self.data.close.get(size=len(self)))
        score = (past[-1] - past.mean()) / (past.std() + 1e-12)
        return -1 if score > 0.5 else 1 if score < -0.5 else 0


class CausalArray(Turning):
    """Reads the arrays, up to now only."""

    def side(self) -> int:
        past = np.array(self.data.close.array)[: len(self)]
        return 1 if past[-1] > past[-20:].mean() else -1


class SeededCoin(Turning):
    def start(self) -> None:
        self.rng = np.random.default_rng(4)

    def side(self) -> int:
        return int(self.rng.integers(-1, 2))


class Rotation(bt.Strategy):
    def next(self) -> None:
        if len(self) > 10:
            best = int(np.argmax([data.close[0] / data.close[-10] for data in self.datas]))
            for place, data in enumerate(self.datas):
                self.order_target_size(data, target=int(place == best))


class Trailing(bt.Strategy):
    def __init__(self) -> None:
        self.channel = bt.ind.Highest(self.data.high(-1), period=12)

    def notify_order(self, order: bt.Order) -> None:
        if order.status == order.Completed and order.isbuy():
            self.sell(exectype=bt.Order.StopTrail, trailpercent=0.01, size=order.executed.size)

    def next(self) -> None:
        if not self.position and self.data.close[0] > self.channel[0]:
            self.buy(size=2)


class AllIn(bt.Strategy):
    """Sizes by the account, so that everything before matters."""

    def __init__(self) -> None:
        self.macd = bt.ind.MACDHisto(period_me1=5, period_me2=12, period_signal=4)

    def next(self) -> None:
        self.order_target_percent(target=0.9 if self.macd.histo[0] > 0 else 0.0)


class SlowAndFast(Turning):
    """Two bar lengths: the longer bar is read only once it is complete."""

    def side(self) -> int:
        return 1 if len(self.data1) and self.data.close[0] > self.data1.close[0] else -1


def causal_frame(data: MarketData) -> type:
    frame = data.to_frame()

    class CausalFrame(Turning):
        average = frame["close"].rolling(20).mean()

        def side(self) -> int:
            return 1 if self.data.close[0] > self.average.iloc[self.now] else -1

    return CausalFrame


def causal_line(data: MarketData) -> MarketData:
    close = pd.Series(data.close)
    return with_line(data, (close > close.rolling(10, min_periods=1).mean()).to_numpy(float))


def two_lengths(data: MarketData) -> tuple[MarketData, MarketData]:
    words = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    slow = data.to_frame()[list(words)].resample("4h").agg(words).dropna()
    return data, MarketData.from_frame(slow, symbol="SLOW", bar_seconds=4 * 3600)


CLEAN: dict[str, Case] = {
    **{
        kind.__name__: (same(kind), plain)
        for kind in (
            Cross, Momentum, RestingLimits, Calendar, BuyAndHold, ExpandingScore, CausalArray, SeededCoin, Trailing,
            AllIn,
        )
    },
    "Rotation": (same(Rotation), pair),
    "SlowAndFast": (same(SlowAndFast), two_lengths),
    "CausalFrame": (causal_frame, plain),
    "CausalLine": (same(SignalLine), causal_line),
}  # fmt: skip


@pytest.fixture(scope="module")
def real(shared_csv: Callable[[str], Path]) -> MarketData:
    return MarketData.from_csv(shared_csv("EURUSD-ask-1h-2017.csv.gz")).head(BARS)


def checked(case: Case, data: MarketData) -> Any:
    make, shape = case
    return check_lookahead(make(data), shape(data))


def assert_leak(case: Case, data: MarketData) -> None:
    report = checked(case, data)
    assert report.verdict is Verdict.LEAKING, str(report)
    assert not report.clean
    assert report.first_difference is not None
    assert report.runs <= 22


def assert_clean(case: Case, data: MarketData) -> None:
    report = checked(case, data)
    assert report.clean, str(report)
    assert report.first_difference is None
    assert report.notes == () or "warm-up" in report.notes[0]
    assert report.runs <= 22


@pytest.mark.parametrize("name", LEAKING)
def test_a_leak_is_found(name: str) -> None:
    assert_leak(LEAKING[name], walk(1))


@pytest.mark.parametrize("name", CLEAN)
def test_an_honest_strategy_is_not_accused(name: str) -> None:
    assert_clean(CLEAN[name], walk(1))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 4, 5])
@pytest.mark.parametrize("name", LEAKING)
def test_a_leak_is_found_on_every_walk(name: str, seed: int) -> None:
    assert_leak(LEAKING[name], walk(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 4, 5])
@pytest.mark.parametrize("name", CLEAN)
def test_an_honest_strategy_is_not_accused_on_any_walk(name: str, seed: int) -> None:
    assert_clean(CLEAN[name], walk(seed))


@pytest.mark.slow
@pytest.mark.parametrize("name", LEAKING)
def test_a_leak_is_found_on_real_bars(name: str, real: MarketData) -> None:
    assert_leak(LEAKING[name], real)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLEAN)
def test_an_honest_strategy_is_not_accused_on_real_bars(name: str, real: MarketData) -> None:
    assert_clean(CLEAN[name], real)
