"""The series of Backtrader's indicators equal those on arrays, bit for bit, and wait as long."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.market import MarketData
from ai_backtrader.rules import CATALOGUE, Series, SeriesBank, random_series
from ai_backtrader.strategies.series_lines import SafeADX, SafeDI, SeriesLines


class Reads(bt.Strategy):
    """Writes down the values of its series at every bar."""

    params = (("series", ()),)

    def __init__(self) -> None:
        lines = SeriesLines(self.data)
        self.lines_read = [lines.line(series) for series in self.p.series]
        self.rows: list[list[float]] = []

    def next(self) -> None:
        self.rows.append([line[0] for line in self.lines_read])


def read(data: MarketData, series: list[Series], **cerebro: Any) -> np.ndarray:
    engine = bt.Cerebro(stdstats=False, **cerebro)
    engine.adddata(PerpetualData(dataname=data))
    engine.addstrategy(Reads, series=tuple(series))
    return np.array(engine.run()[0].rows)


def some_of_each(count: int, seed: int) -> list[Series]:
    rng = np.random.default_rng(seed)
    return [random_series(rng, name) for name in CATALOGUE for _ in range(count)]


def assert_equal(data: MarketData, series: list[Series], **cerebro: Any) -> None:
    rows = read(data, series, **cerebro)
    bank = SeriesBank(data)
    assert len(rows) == len(data) - max(one.strategy_period for one in series) + 1
    for column, one in enumerate(series):
        expected = bank.values(one)[-len(rows) :]
        assert rows[:, column].tobytes() == expected.tobytes(), one.describe()


@pytest.mark.parametrize("runonce", [True, False], ids=["at once", "bar by bar"])
@pytest.mark.parametrize("still", [False, True], ids=["walk", "walk that stops"])
def test_series_equal_those_on_arrays(walk: Callable[..., MarketData], runonce: bool, still: bool) -> None:
    assert_equal(walk(650, seed=3, still=still), some_of_each(2, seed=11), runonce=runonce)


def test_series_equal_those_on_arrays_on_real_bars(shared_csv: Callable[[str], Path]) -> None:
    data = MarketData.from_csv(shared_csv("BTCUSDT-perp-1h-2020-2023.csv.gz")).between("2020-03-01", "2020-04-15")
    assert_equal(data, some_of_each(3, seed=12))


def test_each_series_alone_waits_as_the_catalogue_says(walk: Callable[..., MarketData]) -> None:
    data = walk(420)
    for series in some_of_each(2, seed=13):
        assert len(read(data, [series])) == len(data) - series.strategy_period + 1, series.describe()


def test_safe_movement_equals_backtraders_where_that_does_not_raise(walk: Callable[..., MarketData]) -> None:
    class Both(bt.Strategy):
        def __init__(self) -> None:
            adx, plus, minus = bt.ind.ADX(period=9), bt.ind.PlusDI(period=9), bt.ind.MinusDI(period=9)
            safe = SafeDI(period=9)
            self.pairs = [(SafeADX(period=9), adx), (safe.plus_di, plus), (safe.minus_di, minus)]
            self.bars = 0

        def next(self) -> None:
            self.bars += 1
            for ours, theirs in self.pairs:
                assert ours[0] == theirs[0]

    engine = bt.Cerebro(stdstats=False)
    engine.adddata(PerpetualData(dataname=walk(300, seed=1)))
    engine.addstrategy(Both)
    assert engine.run()[0].bars == 283
