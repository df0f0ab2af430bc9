"""Ten thousand random paths with gaps, against an oracle written from the exchange's definition."""

from __future__ import annotations

import datetime as dt
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.values import Direction

LENGTH = 7
ROWS = (
    (0.0, 5_000.0, 0.004, 0.0, 125.0),
    (5_000.0, 20_000.0, 0.01, None, 50.0),
    (20_000.0, 100_000.0, 0.05, None, 10.0),
    (100_000.0, 1e12, 0.125, None, 4.0),
)


def _paths(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """``count`` paths of LENGTH bars, one after the other: calm, drifting and crashing ones, gaps of up to half."""
    sigma = rng.choice([0.002, 0.01, 0.05], size=(count, 1))
    moves = rng.standard_t(3, (count, LENGTH)) * sigma
    gaps = np.where(rng.random((count, LENGTH)) < 0.15, rng.normal(0, 0.15, (count, LENGTH)), 0.0)
    gaps[:, 1] = 0.0  # the entry: a gap there would have the order refused for lack of cash
    close = 100.0 * np.exp(np.clip(np.cumsum(moves + gaps, axis=1), -3, 3))
    before = np.concatenate([np.full((count, 1), 100.0), close[:, :-1]], axis=1)
    open_ = before * np.exp(gaps)
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0, sigma, (count, LENGTH))))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, sigma, (count, LENGTH))))
    return {name: values.ravel() for name, values in zip("ohlc", (open_, high, low, close), strict=True)}


class PathTrader(bt.Strategy):
    """One position a path: opened at the second bar's open, closed at the last bar's, unless liquidated before."""

    params = (("seed", 0),)

    def __init__(self) -> None:
        self.rng = np.random.default_rng(self.p.seed)
        self.entries: dict[int, tuple[Any, ...]] = {}
        self.lowest = np.inf

    def notify_order(self, order: Any) -> None:
        if order.status == order.Completed and order.info.get("entry") is not None:
            path = order.info["entry"]
            self.entries[path] = (order.executed.size, order.executed.price, order.executed.margin)

    def next(self) -> None:
        broker = self.broker
        self.lowest = min(self.lowest, broker.getcash(), broker.getvalue())
        path, step = divmod(len(self) - 1, LENGTH)
        if step == 0:
            assert not self.position.size
            cash = broker.getcash()
            if cash < 500.0:
                broker.add_cash(1000.0)
            leverage = float(self.rng.choice([1, 2, 3, 5, 10, 20, 50, 100]))
            share = float(self.rng.choice([0.3, 0.97]))
            leverage = min(leverage, broker.max_leverage_for(self.data, cash * share * leverage))
            notional = cash * share * leverage / (1 + 0.002 * leverage)
            send = self.buy if self.rng.random() < 0.5 else self.sell
            send(size=notional / self.data.close[0], leverage=leverage, entry=path)
        elif step == LENGTH - 2 and self.position.size:
            self.close()
        elif step == LENGTH - 1 and broker.getcash() > 3000.0:
            broker.add_cash(1000.0 - broker.getcash())


def _oracle(
    size: float, entry: float, margin: float, tiers: MaintenanceTiers, bars: np.ndarray
) -> tuple[int, str] | None:
    """First bar (1-based in the path) at which margin + unrealised profit <= maintenance; rows scanned one by one.

    ``bars``: mark open, high, low of the bars 1..LENGTH-1 of a path. The entry bar's open is the entry itself; of the
    last bar only the open counts, where the position is closed.
    """

    def is_dead(price: np.ndarray) -> np.ndarray:
        notional = np.abs(size) * price
        maintenance = np.full_like(price, np.nan)
        for row in tiers.rows:
            inside = (notional > row.notional_floor) & (notional <= row.notional_cap)
            maintenance[inside] = (notional * row.maintenance_rate - row.maintenance_amount)[inside]
        return margin + size * (price - entry) <= maintenance

    for number, (open_, high, low) in enumerate(bars, start=1):
        if is_dead(np.array([open_]))[0]:
            return number, "gap"
        if number < LENGTH - 1 and is_dead(np.linspace(open_, low if size > 0 else high, 40)).any():
            return number, "bar"
    return None


@pytest.mark.parametrize(("seed", "with_marks"), [(1, False), (2, True)])
def test_the_bar_of_every_liquidation_is_the_oracles_and_no_loss_exceeds_the_margin(
    seed: int, with_marks: bool, feed: Any, run: Any
) -> None:
    count = 5_250
    rng = np.random.default_rng(seed)
    prices = _paths(rng, count)
    columns = {"open": prices["o"], "high": prices["h"], "low": prices["l"], "close": prices["c"]}
    marks = dict(prices)
    if with_marks:
        shift = np.exp(rng.normal(0, 0.01, count * LENGTH))
        marks = {name: values * shift for name, values in prices.items()}
        columns |= {f"mark_{name}": marks[name[0]] for name in ("open", "high", "low", "close")}
    tiers = MaintenanceTiers(ROWS)
    broker = LeverageBroker(tiers=tiers, liquidation_fee=0.003)
    ran = run(
        broker, feed(columns, freq="h"), strategy=PathTrader, params={"seed": seed}, commission={"commission": 0.0005}
    )

    found = {}
    for liquidation in broker.liquidations:
        path, bar = divmod((liquidation.bar_time - dt.datetime(2024, 1, 1)) // dt.timedelta(hours=1), LENGTH)
        found[path] = (bar, liquidation)
    assert len(found) == len(broker.liquidations)
    assert len(ran.strategy.entries) >= 5_000, broker.rejections
    grid = np.stack([marks["o"], marks["h"], marks["l"]], axis=1).reshape(count, LENGTH, 3)
    reasons = {"gap": 0, "bar": 0}
    for path, (size, entry, margin) in ran.strategy.entries.items():
        expected = _oracle(size, entry, margin, tiers, grid[path, 1:])
        if expected is None:
            assert path not in found
            continue
        bar, liquidation = found.pop(path)
        assert (bar, liquidation.reason) == expected
        assert liquidation.side is (Direction.LONG if size > 0 else Direction.SHORT)
        assert liquidation.margin == pytest.approx(margin, rel=1e-12)
        assert liquidation.loss <= liquidation.margin * (1 + 1e-12)
        assert liquidation.fee >= 0.0
        reasons[liquidation.reason] += 1
    assert not found
    assert min(reasons.values()) > 100
    assert ran.strategy.lowest >= 0.0
