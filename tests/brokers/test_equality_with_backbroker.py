"""At leverage 1 and without funding LeverageBroker is BackBroker, to the last bit."""

from __future__ import annotations

import datetime as dt
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.brokers import LeverageBroker

BARS = 160
SETS = (
    "synthetic calm",
    "synthetic wild",
    "BTCUSDT-perp-1h-2020-2023.csv.gz",
    "EURUSD-1h-2017-2022.csv.gz",
    "ORCL-1d-1995-2014-backtrader-sample.csv.gz",
)
FAST, FULL = 60, 240


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


PHASE_ONE = ("market", "bracket", "reverse", "reduce", "exit", "cancel")
ALL_KINDS = (
    *PHASE_ONE, "close order", "limit", "stop", "stop limit", "trail", "trail limit", "oco", "target", "valid",
)  # fmt: skip


def _columns(name: str, rng: np.random.Generator, random_bars: Any, real_bars: Any, count: int) -> dict[str, Any]:
    if name.startswith("synthetic"):
        return random_bars(
            rng, count, scale=float(rng.choice([0.5, 100.0, 20_000.0])), sigma=0.02 if "wild" in name else 0.005
        )
    columns = real_bars(name, int(rng.integers(0, 4500)), count)
    # Mark prices and funding stay away: the equality is about a broker without them.
    return {key: columns[key] for key in ("open", "high", "low", "close", "volume", "index")}


def _compare(name: str, seed: int, feed: Any, random_bars: Any, real_bars: Any, *, everything: bool) -> int:
    rng = np.random.default_rng([seed, SETS.index(name)])
    tables = [_columns(name, rng, random_bars, real_bars, BARS)]
    daily = name.startswith("ORCL")
    if everything and rng.random() < 0.4:
        slow = {key: values[::3] for key, values in tables[0].items()}
        slow["index"] = (
            tables[0]["index"][::3]
            if "index" in tables[0]
            else np.datetime64("2024-01-01T00", "ns") + np.arange(len(slow["open"])) * np.timedelta64(3, "h")
        )
        tables.append(slow)
    price = float(tables[0]["close"][0])
    kinds = (
        rng.choice(ALL_KINDS, size=rng.integers(3, 9), replace=False) if everything or rng.random() < 0.5 else PHASE_ONE
    )
    trader = {
        "seed": seed,
        "kinds": tuple(map(str, kinds)),
        "size": float(rng.choice([0.02, 0.1, 0.4])) * 10_000 / price,
    }
    if trader["size"] > 3:
        trader["size"] = round(trader["size"])
    settings: dict[str, Any] = {"shortcash": bool(rng.random() < 0.5)}
    commission: dict[str, Any] = {"commission": float(rng.choice([0.0, 0.0005, 0.002]))}
    if rng.random() < 0.4:
        settings["slip_perc" if rng.random() < 0.5 else "slip_fixed"] = 0.001
        settings |= {key: bool(rng.random() < 0.5) for key in ("slip_open", "slip_match", "slip_limit", "slip_out")}
    engine: dict[str, Any] = {}
    if everything:
        settings |= {key: True for key in ("coc", "fundmode") if rng.random() < 0.15}
        settings |= {key: False for key in ("checksubmit", "int2pnl") if rng.random() < 0.15}
        if rng.random() < 0.2:
            settings["filler"] = bt.broker.fillers.FixedBarPerc(perc=float(rng.choice([1.0, 20.0])))
        draw = rng.random()
        if draw < 0.15:
            commission |= {"interest": 0.1, "interest_long": bool(rng.random() < 0.5)}
        elif draw < 0.3:
            commission |= {"margin": price / 5, "mult": float(rng.choice([1.0, 2.0]))}
        elif draw < 0.4:
            commission |= {"commtype": bt.CommInfoBase.COMM_FIXED, "stocklike": True, "commission": 0.5}
        engine["runonce"] = bool(rng.random() < 0.7)
        engine["preload"] = bool(rng.random() < 0.7)
        engine["exactbars"] = int(rng.choice([0, 0, 0, 1, -1]))
        engine["cheat_on_open"] = bool(rng.random() < 0.15)
        engine["quicknotify"] = bool(rng.random() < 0.15)

    logs = []
    for broker in (bt.brokers.BackBroker(**settings), LeverageBroker(**settings)):
        cerebro = bt.Cerebro(stdstats=False, **engine)
        cerebro.broker = broker
        broker.setcash(10_000.0)
        broker.setcommission(**commission)
        for number, columns in enumerate(tables):
            frame = {"timeframe": bt.TimeFrame.Days, "compression": 1} if daily else {}
            cerebro.adddata(feed(columns, **frame), name=f"d{number}")
        cerebro.addstrategy(RandomTrader, **trader)
        try:
            logs.append(cerebro.run()[0].log)
        except (IndexError, ZeroDivisionError, TypeError) as error:
            # Backtrader's own faults (exactbars with a slow feed, ...): then ours must be the same.
            logs.append([(type(error), str(error))])
    theirs, ours = logs
    for expected, found in zip(theirs, ours, strict=False):
        assert found == expected, (seed, settings, commission, engine, trader)
    assert len(ours) == len(theirs)
    return sum(1 for entry in theirs if len(entry) == 6 and entry[5])


@pytest.mark.parametrize("name", SETS)
def test_random_strategies_fill_and_are_valued_as_on_backbroker(
    name: str, feed: Any, random_bars: Any, real_bars: Any
) -> None:
    fills = sum(_compare(name, seed, feed, random_bars, real_bars, everything=False) for seed in range(FAST))
    assert fills > 10 * FAST


@pytest.mark.parametrize("name", SETS)
def test_every_order_type_and_engine_setting_gives_what_backbroker_gives(
    name: str, feed: Any, random_bars: Any, real_bars: Any
) -> None:
    fills = sum(
        _compare(name, seed, feed, random_bars, real_bars, everything=True) for seed in range(1000, 1000 + FAST // 3)
    )
    assert fills > FAST


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_a_thousand_strategies_of_every_kind_equal_backbroker(
    name: str, feed: Any, random_bars: Any, real_bars: Any
) -> None:
    for seed in range(2000, 2000 + FULL):
        _compare(name, seed, feed, random_bars, real_bars, everything=True)
