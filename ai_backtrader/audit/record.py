"""What a run did, written down bar by bar by an analyzer that only looks."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

import backtrader as bt

__all__ = ["Fill", "Record", "SentOrder", "Witness"]


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution: the step of the run, the feed's position, signed units, price, commission."""

    step: int
    feed: int
    size: float
    price: float
    commission: float
    kind: int
    stale: bool
    liquidation: bool


@dataclass(slots=True)
class SentOrder:
    """An order as it was sent, and what became of it."""

    step: int
    feed: int
    size: float
    kind: int
    price: float | None
    reduces: bool = False
    filled: float = 0.0
    refused_at: int | None = None
    reason: str = ""

    @property
    def key(self) -> tuple[int, int, float, int, float | None]:
        """What makes two orders of two runs the same order."""
        return self.step, self.feed, self.size, self.kind, self.price


@dataclass(slots=True)
class Record:
    """Histories of a run, one entry a step, and its orders and fills.

    Attributes
    ----------
    numbers
        Backtrader's date number of each step.
    cash, value
        Of the account at each step's close.
    lengths
        For each feed the number of its bars seen at each step.
    sizes
        For each feed the signed position at each step's close.
    fills, orders
        In the order in which Backtrader told of them.
    """

    numbers: array[float] = field(default_factory=lambda: array("d"))
    cash: array[float] = field(default_factory=lambda: array("d"))
    value: array[float] = field(default_factory=lambda: array("d"))
    lengths: list[array[int]] = field(default_factory=list)
    sizes: list[array[float]] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    orders: dict[int, SentOrder] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Steps written down."""
        return len(self.numbers)


class Witness(bt.Analyzer):
    """Writes a :class:`Record`. Outside of the strategy, so that what was seen stays when the strategy raises.

    Params
    ------
    record : Record
        Where to write.
    """

    params = (("record", None),)

    def start(self) -> None:
        """Find the feeds' places."""
        self._record: Record = self.p.record
        self._feeds = {data: place for place, data in enumerate(self.strategy.datas)}
        self._record.lengths = [array("q") for _ in self._feeds]
        self._record.sizes = [array("d") for _ in self._feeds]
        self._now = (0.0, 0.0)
        self._refused: dict[tuple[int, int], float] = {}

    def notify_cashvalue(self, cash: float, value: float) -> None:
        """Keep the account at this close until the step is written."""
        self._now = (cash, value)

    def next(self) -> None:
        """Write a step."""
        record = self._record
        record.numbers.append(self.strategy.lines.datetime[0])
        record.cash.append(self._now[0])
        record.value.append(self._now[1])
        positions = self.strategy.broker.positions
        for data, place in self._feeds.items():
            record.lengths[place].append(len(data))
            position = positions.get(data)
            record.sizes[place].append(0.0 if position is None else position.size)

    def notify_order(self, order: Any) -> None:
        """Write the fills that this notification brings, and whether the order was refused."""
        record, step, feed = self._record, self._record.steps, self._feeds[order.data]
        sent = record.orders.get(order.ref)
        if sent is None:
            sent = record.orders[order.ref] = SentOrder(
                step, feed, order.created.size, order.exectype, order.created.price
            )
        for bit in order.executed.iterpending():
            sent.filled += bit.size
            liquidation = bool(order.info.get("liquidation"))
            stale = bit.dt <= order.created.dt and not liquidation
            record.fills.append(Fill(step, feed, bit.size, bit.price, bit.comm, order.exectype, stale, liquidation))
        if order.status in (order.Margin, order.Rejected) and sent.refused_at is None:
            sent.refused_at, sent.reason = step, str(order.info.get("reject_reason", "cash"))
            held = record.sizes[feed][-1] if step else 0.0  # before this bar, as the broker saw it
            # Of a close and a turn sent together only the first one reduces.
            before = self._refused.get((step, feed), 0.0)
            sent.reduces = held * order.created.size < 0.0 and abs(before + order.created.size) <= abs(held)
            self._refused[step, feed] = before + order.created.size

    def get_analysis(self) -> dict[str, int]:
        """Steps and fills written."""
        return {"steps": self._record.steps, "fills": len(self._record.fills)}
