"""Every indicator equals Backtrader's, bit for bit, and waits exactly as long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.market import MarketData, indicators

BT = bt.indicators
SETS = [
    ("BTCUSDT-1h-2018-2023", 20_000),
    ("ETHUSDT-perp-1h-2020-2023", 12_000),
    ("LTCUSDT-1h-2020-2023", 3_000),
    ("EURUSD-1h-2017-2022", 9_000),
    ("SP500-1d-1999-2018", 0),
    ("ORCL-1d-1995-2014-backtrader-sample", 1_000),
    ("EURUSD-ask-1h-2017", 0),
]


class ArrayFeed(bt.feed.DataBase):
    """The bars of MarketData one by one: Backtrader's own way through a feed."""

    params = (("bars", None),)

    def start(self) -> None:
        super().start()
        self._at = -1

    def _load(self) -> bool:
        self._at += 1
        if self._at >= len(self.p.bars):
            return False
        for name in ("open", "high", "low", "close", "volume"):
            getattr(self.lines, name)[0] = getattr(self.p.bars, name)[self._at]
        self.lines.openinterest[0] = 0.0
        self.lines.datetime[0] = 730_000.0 + self._at / 24.0
        return True


def theirs(data: Any) -> dict[str, Any]:
    close = data.close
    macd = BT.MACDHisto(close, period_me1=12, period_me2=26, period_signal=9)
    odd = BT.MACDHisto(close, period_me1=30, period_me2=7, period_signal=5)
    bands = BT.BollingerBands(close, period=20, devfactor=2.0)
    movement = BT.DirectionalMovementIndex(data, period=14)
    fast, slow = BT.SMA(close, period=3), BT.EMA(close, period=8)
    return {
        "sma 20": BT.SMA(close, period=20).sma,
        "sma 1": BT.SMA(close, period=1).sma,
        "sma 233": BT.SMA(close, period=233).sma,
        "ema 50": BT.EMA(close, period=50).ema,
        "smma 14": BT.SMMA(close, period=14).smma,
        "rsi 14": BT.RSI_Safe(close, period=14).rsi,
        "rsi 2": BT.RSI_Safe(close, period=2).rsi,
        "atr 14": BT.ATR(data, period=14).atr,
        "true range": BT.TrueRange(data).tr,
        "+di": movement.plusDI,
        "-di": movement.minusDI,
        "adx 14": movement.adx,
        "adx 5": BT.ADX(data, period=5).adx,
        "macd": macd.macd,
        "macd signal": macd.signal,
        "macd histogram": macd.histo,
        "macd with the slow one first": odd.histo,
        "bollinger middle": bands.mid,
        "bollinger upper": bands.top,
        "bollinger lower": bands.bot,
        "std dev 10": BT.StdDev(close, period=10).stddev,
        "highest 20": BT.Highest(data.high, period=20).highest,
        "lowest 20": BT.Lowest(data.low, period=20).lowest,
        "momentum 12": BT.Momentum(close, period=12).momentum,
        "rate of change 12": BT.ROC(close, period=12).roc,
        "non zero difference": BT.NonZeroDifference(fast, slow).nzd,
        "cross up": BT.CrossUp(fast, slow).cross,
        "cross down": BT.CrossDown(fast, slow).cross,
        "cross up of the macd": BT.CrossUp(macd.macd, macd.signal).cross,
        "cross down of prices that often meet": BT.CrossDown(data.close, data.open).cross,
        "sma of the macd line": BT.SMA(macd.macd, period=4).sma,
        "rsi of an ema": BT.RSI_Safe(BT.EMA(close, period=5), period=9).rsi,
        "volume ratio 20": bt.DivByZero(data.volume, BT.SMA(data.volume, period=20), zero=0.0),
    }


def ours(d: MarketData) -> dict[str, np.ndarray]:
    i = indicators
    macd = i.macd(d.close, 12, 26, 9)
    bands = i.bollinger(d.close, 20, 2.0)
    movement = i.directional_movement(d.high, d.low, d.close, 14)
    fast, slow = i.sma(d.close, 3), i.ema(d.close, 8)
    return {
        "sma 20": i.sma(d.close, 20),
        "sma 1": i.sma(d.close, 1),
        "sma 233": i.sma(d.close, 233),
        "ema 50": i.ema(d.close, 50),
        "smma 14": i.smma(d.close, 14),
        "rsi 14": i.rsi(d.close, 14),
        "rsi 2": i.rsi(d.close, 2),
        "atr 14": i.atr(d.high, d.low, d.close, 14),
        "true range": i.true_range(d.high, d.low, d.close),
        "+di": movement.plus_di,
        "-di": movement.minus_di,
        "adx 14": movement.adx,
        "adx 5": i.adx(d.high, d.low, d.close, 5),
        "macd": macd.line,
        "macd signal": macd.signal,
        "macd histogram": macd.histogram,
        "macd with the slow one first": i.macd(d.close, 30, 7, 5).histogram,
        "bollinger middle": bands.middle,
        "bollinger upper": bands.upper,
        "bollinger lower": bands.lower,
        "std dev 10": i.std_dev(d.close, 10),
        "highest 20": i.highest(d.high, 20),
        "lowest 20": i.lowest(d.low, 20),
        "momentum 12": i.momentum(d.close, 12),
        "rate of change 12": i.rate_of_change(d.close, 12),
        "non zero difference": i.non_zero_difference(fast, slow),
        "cross up": i.cross_up(fast, slow),
        "cross down": i.cross_down(fast, slow),
        "cross up of the macd": i.cross_up(macd.line, macd.signal),
        "cross down of prices that often meet": i.cross_down(d.close, d.open),
        "sma of the macd line": i.sma(macd.line, 4),
        "rsi of an ema": i.rsi(i.ema(d.close, 5), 9),
        "volume ratio 20": i.volume_ratio(d.volume, 20),
    }


class Holder(bt.Strategy):
    params = (("build", None),)

    def __init__(self) -> None:
        self.held = self.p.build(self.data)
        self.first_call: int | None = None

    def next(self) -> None:
        if self.first_call is None:
            self.first_call = len(self)


def run(data: MarketData, build: Callable[[Any], Any], *, runonce: bool) -> Any:
    cerebro = bt.Cerebro(stdstats=False, runonce=runonce)
    cerebro.adddata(ArrayFeed(bars=data))
    cerebro.addstrategy(Holder, build=build)
    return cerebro.run()[0]


def differences(data: MarketData, *, runonce: bool) -> list[str]:
    held = run(data, theirs, runonce=runonce).held
    mine = ours(data)
    assert held.keys() == mine.keys()
    wrong = []
    for name, line in held.items():
        expected = np.array(line.array[: len(data)])
        # Backtrader fills a delayed line's warm-up with what lay before the array; it starts where ours does.
        start = indicators.first_valid(mine[name])
        same_start = start == indicators.first_valid(expected)
        if not same_start or expected[start:].tobytes() != mine[name][start:].tobytes():
            wrong.append(name)
    return wrong


@pytest.mark.parametrize("runonce", [True, False], ids=["runonce", "runnext"])
@pytest.mark.parametrize(("name", "start"), SETS, ids=[name for name, _ in SETS])
def test_every_indicator_has_backtraders_bits_on_a_slice_of_real_bars(
    real_data: Callable[..., MarketData], name: str, start: int, runonce: bool
) -> None:
    bars = 1_500 if runonce else 900  # bar by bar Backtrader takes four times as long
    assert differences(real_data(name, start, start + bars), runonce=runonce) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, _ in SETS])
def test_every_indicator_has_backtraders_bits_on_the_whole_data_set(
    real_data: Callable[..., MarketData], name: str
) -> None:
    assert differences(real_data(name), runonce=True) == []


WAITS = [
    ("sma", (20,), lambda d: BT.SMA(d.close, period=20)),
    ("ema", (7,), lambda d: BT.EMA(d.close, period=7)),
    ("smma", (9,), lambda d: BT.SMMA(d.close, period=9)),
    ("rsi", (14,), lambda d: BT.RSI_Safe(d.close, period=14)),
    ("true_range", (), BT.TrueRange),
    ("atr", (14,), lambda d: BT.ATR(d, period=14)),
    ("plus_di", (14,), lambda d: BT.PlusDI(d, period=14)),
    ("minus_di", (6,), lambda d: BT.MinusDI(d, period=6)),
    ("adx", (14,), lambda d: BT.ADX(d, period=14)),
    ("macd_line", (12, 26, 9), lambda d: BT.MACD(d.close)),
    ("macd_line", (30, 7, 5), lambda d: BT.MACD(d.close, period_me1=30, period_me2=7, period_signal=5)),
    ("macd_signal", (12, 26, 9), lambda d: BT.MACD(d.close).signal),
    ("macd_histogram", (12, 26, 9), lambda d: BT.MACDHisto(d.close).histo),
    ("bollinger", (20,), lambda d: BT.BollingerBands(d.close, period=20)),
    ("std_dev", (15,), lambda d: BT.StdDev(d.close, period=15)),
    ("highest", (5,), lambda d: BT.Highest(d.high, period=5)),
    ("lowest", (5,), lambda d: BT.Lowest(d.low, period=5)),
    ("momentum", (12,), lambda d: BT.Momentum(d.close, period=12)),
    ("rate_of_change", (3,), lambda d: BT.ROC(d.close, period=3)),
    ("volume_ratio", (20,), lambda d: bt.DivByZero(d.volume, BT.SMA(d.volume, period=20))),
]


@pytest.mark.parametrize(("name", "periods", "build"), WAITS, ids=[f"{name}{list(p)}" for name, p, _ in WAITS])
def test_a_strategy_is_first_called_after_the_indicators_min_period(
    random_bars: Callable[..., dict[str, np.ndarray]], name: str, periods: tuple[int, ...], build: Any
) -> None:
    data = _market_data(random_bars(80))
    strategy = run(data, build, runonce=True)
    wait = indicators.min_period(name, *periods)
    assert strategy.first_call == wait.indicator
    line = strategy.held.lines[0] if hasattr(strategy.held, "lines") else strategy.held
    assert indicators.first_valid(np.array(line.array)) == wait.line - 1


def _market_data(bars: dict[str, np.ndarray]) -> MarketData:
    times = np.datetime64("2024-01-01", "ns") + np.arange(bars["close"].size) * np.timedelta64(3600, "s")
    return MarketData(symbol="RANDOM", times=times, bar_seconds=3600, **bars)
