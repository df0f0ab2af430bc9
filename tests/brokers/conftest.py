"""Feeds from arrays, scripted strategies, and one call that runs them on a broker."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

MARKS = ("mark_open", "mark_high", "mark_low", "mark_close")


class ArrayFeed(bt.feed.DataBase):
    """Bars from arrays; mark prices and funding rates as further lines."""

    lines = (*MARKS, "funding_rate")
    params = (("columns", None), ("times", None))

    def start(self) -> None:
        super().start()
        self._at = 0
        self._columns = [(getattr(self.lines, name), values.tolist()) for name, values in self.p.columns.items()]

    def _load(self) -> bool:
        at = self._at
        if at >= len(self.p.times):
            return False
        self._at = at + 1
        self.lines.datetime[0] = self.p.times[at]
        for line, values in self._columns:
            line[0] = values[at]
        return True


@dataclass
class Run:
    """What a run left behind."""

    broker: Any
    strategy: Any
    bars: list[tuple[Any, ...]] = field(default_factory=list)
    orders: list[tuple[Any, ...]] = field(default_factory=list)
    trades: list[Any] = field(default_factory=list)


class Scripted(bt.Strategy):
    """Does at bar n (1-based, bars of the first feed) what ``plan[n]`` says, and keeps a log."""

    params = (("plan", {}), ("opening", {}))

    def __init__(self) -> None:
        self.bars: list[tuple[Any, ...]] = []
        self.orders: list[tuple[Any, ...]] = []
        self.trades: list[Any] = []
        self.told: list[Any] = []
        self.heard: list[str] = []
        self.kept: dict[str, Any] = {}
        self.first_ref: int | None = None

    def notify_order(self, order: Any) -> None:
        if self.first_ref is None:
            self.first_ref = order.ref
        self.heard.append("order")
        done = order.executed
        self.orders.append(
            (
                len(self),
                order.ref - self.first_ref,
                order.getstatusname(),
                done.size,
                done.price,
                done.comm,
                done.pnl,
                done.dt,
            )
        )

    def notify_trade(self, trade: Any) -> None:
        self.heard.append("trade")
        if trade.isclosed:
            self.trades.append(trade)

    def notify_liquidation(self, liquidation: Any) -> None:
        self.heard.append("liquidation")
        self.told.append(liquidation)

    def next_open(self) -> None:
        action = self.p.opening.get(len(self))
        if action is not None:
            action(self)

    def prenext(self) -> None:
        self.next()

    def next(self) -> None:
        broker = self.broker
        self.bars.append(
            (
                broker.getcash(),
                broker.getvalue(),
                broker.get_fundvalue(),
                *(broker.getposition(data).size for data in self.datas),
                *(broker.getposition(data).price for data in self.datas),
            )
        )
        action = self.p.plan.get(len(self))
        if action is not None:
            action(self)

    def statuses(self, ref: int) -> list[str]:
        """States that the order with the n-th reference went through."""
        return [entry[2] for entry in self.orders if entry[1] == ref]


def _feed(
    rows: Sequence[Sequence[float]] | Mapping[str, Any],
    *,
    start: str = "2024-01-01",
    freq: str = "h",
    sessionend: dt.time = dt.time(23, 59, 59, 999990),
    timeframe: int = bt.TimeFrame.Minutes,
    compression: int = 60,
    **extra: Any,
) -> ArrayFeed:
    if isinstance(rows, Mapping):
        columns = {name: values if name == "index" else np.asarray(values, float) for name, values in rows.items()}
    else:
        prices = np.asarray(rows, dtype=float)
        columns = dict(zip(("open", "high", "low", "close"), prices.T, strict=True))
    count = len(columns["open"])
    columns |= {name: np.asarray(values, dtype=float) for name, values in extra.items()}
    columns.setdefault("volume", np.full(count, 1000.0))
    for name in (*MARKS, "funding_rate"):
        columns.setdefault(name, np.full(count, np.nan))
    index = columns.pop("index", None)
    stamps = pd.date_range(start, periods=count, freq=freq) if index is None else pd.DatetimeIndex(index)
    times = [bt.date2num(stamp.to_pydatetime()) for stamp in stamps]
    return ArrayFeed(columns=columns, times=times, timeframe=timeframe, compression=compression, sessionend=sessionend)


@pytest.fixture(scope="session")
def feed() -> Callable[..., ArrayFeed]:
    """``feed(rows or columns, start=, freq=, mark_low=..., funding_rate=...)``: a Backtrader feed."""
    return _feed


@pytest.fixture(scope="session")
def run() -> Callable[..., Run]:
    """``run(broker, feeds, plan, ...)``: one Cerebro run of a scripted (or given) strategy."""

    def go(
        broker: Any,
        feeds: Any,
        plan: Mapping[int, Callable[[Any], Any]] | None = None,
        *,
        cash: float = 1000.0,
        commission: Mapping[str, Any] | None = None,
        strategy: type[bt.Strategy] = Scripted,
        params: Mapping[str, Any] | None = None,
        add: Callable[[bt.Cerebro], None] | None = None,
        **engine: Any,
    ) -> Run:
        cerebro = bt.Cerebro(stdstats=False, **engine)
        cerebro.broker = broker
        broker.setcash(cash)
        if commission is not None:
            broker.setcommission(**commission)
        for number, data in enumerate(feeds if isinstance(feeds, (list, tuple)) else [feeds]):
            cerebro.adddata(data, name=f"d{number}")
        if add is not None:
            add(cerebro)
        settings: dict[str, Any] = {"plan": plan or {}} if params is None else dict(params)
        cerebro.addstrategy(strategy, **settings)
        ran = cerebro.run()[0]
        return Run(broker, ran, getattr(ran, "bars", []), getattr(ran, "orders", []), getattr(ran, "trades", []))

    return go


@pytest.fixture(scope="session")
def scripted() -> type[Scripted]:
    """The strategy that ``run`` uses, to derive from."""
    return Scripted


def _random_bars(rng: np.random.Generator, count: int, *, scale: float = 100.0, sigma: float = 0.01) -> dict[str, Any]:
    """Bars of a jumpy price: Student-t returns, gaps between close and open, some flat bars."""
    close = scale * np.exp(np.cumsum(rng.standard_t(3, count) * sigma))
    gap = np.where(rng.random(count) < 0.2, rng.normal(0.0, sigma, count), 0.0)
    open_ = np.concatenate([[scale], close[:-1]]) * np.exp(gap)
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0.0, sigma / 2, count)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0.0, sigma / 2, count)))
    flat = rng.random(count) < 0.02
    open_, high, low = (np.where(flat, close, values) for values in (open_, high, low))
    high, low = np.maximum.reduce([high, open_, close]), np.minimum.reduce([low, open_, close])
    return {"open": open_, "high": high, "low": low, "close": close, "volume": rng.integers(1, 5000, count)}


@pytest.fixture(scope="session")
def random_bars() -> Callable[..., dict[str, Any]]:
    """``random_bars(rng, count, scale=, sigma=)``: columns of a jumpy price."""
    return _random_bars


@pytest.fixture(scope="session")
def real_bars(shared_csv: Callable[[str], Path]) -> Callable[[str, int, int], dict[str, Any]]:
    """``real_bars(file, start, count)``: columns of real market data."""
    frames: dict[str, pd.DataFrame] = {}

    def load(name: str, start: int, count: int) -> dict[str, Any]:
        if name not in frames:
            frames[name] = pd.read_csv(shared_csv(name), parse_dates=["datetime"], index_col="datetime")
        part = frames[name].iloc[start : start + count]
        return {column: part[column].to_numpy() for column in part.columns} | {"index": part.index}

    return load


class RandomTrader(bt.Strategy):
    """Sends orders of every kind at random; what it does depends on the seed and on the broker's answers only."""

    params = (("seed", 0), ("kinds", ()), ("size", 1.0))

    def __init__(self) -> None:
        self.rng = np.random.default_rng(self.p.seed)
        self.log: list[Any] = []
        self.sent: list[Any] = []
        self.first_ref: int | None = None

    def notify_order(self, order: Any) -> None:
        if self.first_ref is None:
            self.first_ref = order.ref
        bits = [
            (bit.dt, bit.size, bit.price, bit.closed, bit.closedvalue, bit.closedcomm, bit.opened, bit.openedvalue,
             bit.openedcomm, bit.pnl, bit.psize, bit.pprice)
            for bit in order.executed.exbits
        ]  # fmt: skip
        self.log.append(
            (len(self), order.ref - self.first_ref, order.status, order.created.price, order.triggered, bits)
        )

    def notify_trade(self, trade: Any) -> None:
        self.log.append((len(self), trade.status, trade.size, trade.price, trade.value, trade.pnl, trade.pnlcomm))

    def next_open(self) -> None:
        if self.rng.random() < 0.1:
            self.act()

    def next(self) -> None:
        broker = self.broker
        self.log.append(
            (
                len(self), broker.getcash(), broker.getvalue(), broker.fundvalue, broker.get_leverage(),
                [(p.size, p.price, p.adjbase) for p in map(broker.getposition, self.datas)],
                [broker.getvalue([data]) for data in self.datas],
            )
        )  # fmt: skip
        if self.rng.random() < 0.25:
            self.act()

    def act(self) -> None:
        rng = self.rng
        data = self.datas[rng.integers(len(self.datas))]
        close = float(data.close[0])
        size = float(rng.choice([0.5, 1.0, 1.5, 3.0])) * self.p.size
        if rng.random() < 0.5:
            size = float(max(1, round(size)))
        send = self.buy if rng.random() < 0.5 else self.sell
        near = close * (1 + float(rng.normal(0, 0.01)))
        kind = str(rng.choice(self.p.kinds))
        valid = None
        if "valid" in self.p.kinds and rng.random() < 0.3:
            valid = [bt.Order.DAY, dt.timedelta(hours=5), data.datetime.datetime() + dt.timedelta(days=2), 0.5][
                rng.integers(4)
            ]
        order = None
        if kind in ("market", "valid"):
            order = send(data=data, size=size)
        elif kind == "close order":
            order = send(data=data, size=size, exectype=bt.Order.Close)
        elif kind == "limit":
            order = send(data=data, size=size, exectype=bt.Order.Limit, price=near, valid=valid)
        elif kind == "stop":
            order = send(data=data, size=size, exectype=bt.Order.Stop, price=near, valid=valid)
        elif kind == "stop limit":
            limit = near * (1 + float(rng.normal(0, 0.003)))
            order = send(data=data, size=size, exectype=bt.Order.StopLimit, price=near, plimit=limit, valid=valid)
        elif kind == "trail":
            order = send(data=data, size=size, exectype=bt.Order.StopTrail, trailpercent=0.01, valid=valid)
        elif kind == "trail limit":
            trail = {"exectype": bt.Order.StopTrailLimit, "trailamount": close * 0.01}
            order = send(data=data, size=size, price=near, plimit=near, **trail)
        elif kind == "bracket":
            entry = [bt.Order.Market, bt.Order.Limit, bt.Order.Stop][rng.integers(3)]
            width = close * float(rng.choice([0.005, 0.02]))
            if rng.random() < 0.5:
                self.buy_bracket(data=data, size=size, exectype=entry, price=near, stopprice=near - width,
                                 limitprice=near + width)  # fmt: skip
            else:
                self.sell_bracket(data=data, size=size, exectype=entry, price=near, stopprice=near + width,
                                  limitprice=near - width)  # fmt: skip
        elif kind == "oco":
            first = self.buy(data=data, size=size, exectype=bt.Order.Limit, price=close * 0.99)
            order = self.sell(data=data, size=size, exectype=bt.Order.Limit, price=close * 1.01, oco=first)
        elif kind == "reverse":
            held = self.getposition(data).size
            if held:
                order = (self.sell if held > 0 else self.buy)(data=data, size=abs(held) + size)
        elif kind == "exit":
            order = self.close(data=data)
        elif kind == "reduce":
            order = self.close(data=data, size=abs(self.getposition(data).size) / 2)
        elif kind == "target":
            which = rng.integers(3)
            if which == 0:
                order = self.order_target_size(data=data, target=float(rng.integers(-3, 4)))
            elif which == 1:
                order = self.order_target_value(data=data, target=float(rng.normal(0, 0.3)) * 10_000)
            else:
                order = self.order_target_percent(data=data, target=float(rng.normal(0, 0.3)))
        elif kind == "cancel" and self.sent:
            self.cancel(self.sent[rng.integers(len(self.sent))])
        if order is not None:
            self.sent.append(order)


@pytest.fixture(scope="session")
def random_trader() -> type[RandomTrader]:
    """A strategy that sends orders of every kind at random (params ``seed``, ``kinds``, ``size``)."""
    return RandomTrader
