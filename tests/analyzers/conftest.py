"""Runs to analyse: scripted ones with figures known by hand, and a moving-average cross on seeded or real bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

Frame = pd.DataFrame


class Scripted(bt.Strategy):
    """Buys (positive) or sells (negative) at market on the bars named; ``feed`` picks the data."""

    params = (("plan", {}), ("feed", 0))

    def next(self) -> None:
        size = self.p.plan.get(len(self) - 1)
        if size:
            (self.buy if size > 0 else self.sell)(data=self.datas[self.p.feed], size=abs(size))


class PicklableCross(bt.Strategy):  # Backtrader keeps classes by name: another Cross would be pickled in its place
    """Always in the market: long above, short below a slower average."""

    params = (("fast", 5), ("slow", 15), ("share", 0.5))

    def __init__(self) -> None:
        averages = (bt.ind.SMA(self.data, period=period) for period in (self.p.fast, self.p.slow))
        self.cross = bt.ind.CrossOver(*averages)

    def next(self) -> None:
        if self.cross[0]:
            size = self.p.share * self.broker.getvalue() / self.data.close[0]
            if self.position:
                self.close()
            (self.buy if self.cross[0] > 0 else self.sell)(size=size)


@pytest.fixture(scope="session")
def scripted() -> type[bt.Strategy]:
    return Scripted


@pytest.fixture(scope="session")
def cross() -> type[bt.Strategy]:
    return PicklableCross


@pytest.fixture(scope="session")
def frame_of() -> Callable[..., Frame]:
    """Bars that open at the close before, so that an order fills at the price of its decision."""

    def build(closes: Sequence[float], *, start: str = "2024-01-01", freq: str = "D") -> Frame:
        close = np.asarray(closes, dtype=float)
        open_ = np.concatenate((close[:1], close[:-1]))
        columns = {"open": open_, "high": np.maximum(open_, close), "low": np.minimum(open_, close), "close": close}
        index = pd.date_range(start, periods=close.size, freq=freq, name="datetime")
        return pd.DataFrame(columns | {"volume": 1.0}, index=index)

    return build


@pytest.fixture(scope="session")
def walk(frame_of: Callable[..., Frame]) -> Frame:
    rng = np.random.default_rng(11)
    return frame_of(100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, 800))), freq="h")


@pytest.fixture(scope="session")
def oracle_daily(shared_csv: Callable[[str], Path]) -> Frame:
    path = shared_csv("ORCL-1d-1995-2014-backtrader-sample.csv.gz")
    return pd.read_csv(path, parse_dates=["datetime"], index_col="datetime").iloc[:1500]


@pytest.fixture(scope="session")
def run() -> Callable[..., Any]:
    """Run one strategy on frames in Cerebro; gives the strategy."""

    def go(
        frames: Frame | Sequence[Frame],
        strategy: type[bt.Strategy],
        analyzers: Mapping[str, tuple[type, dict[str, Any]] | type],
        *,
        broker: Any = None,
        cash: float = 10_000.0,
        commission: float = 0.0,
        cerebro: Mapping[str, Any] | None = None,
        prepare: Callable[[bt.Cerebro], None] | None = None,
        **params: Any,
    ) -> Any:
        engine = bt.Cerebro(stdstats=False, **(cerebro or {}))
        if broker is not None:
            engine.broker = broker
        engine.broker.setcash(cash)
        engine.broker.setcommission(commission)
        for position, frame in enumerate([frames] if isinstance(frames, pd.DataFrame) else frames):
            hourly = len(frame) > 1 and frame.index[1] - frame.index[0] == pd.Timedelta(hours=1)
            kind = (
                {"timeframe": bt.TimeFrame.Minutes, "compression": 60} if hourly else {"timeframe": bt.TimeFrame.Days}
            )
            engine.adddata(bt.feeds.PandasData(dataname=frame, **kind), name=f"feed{position}")
        engine.addstrategy(strategy, **params)
        for name, analyzer in analyzers.items():
            kind, options = analyzer if isinstance(analyzer, tuple) else (analyzer, {})
            engine.addanalyzer(kind, _name=name, **options)
        if prepare is not None:
            prepare(engine)
        return engine.run()[0]

    return go
