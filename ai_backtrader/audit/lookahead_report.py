"""What a look-ahead check found, as values."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from typing import Any

__all__ = ["Difference", "LookaheadReport", "OrderEvent", "Verdict"]


class Verdict(enum.Enum):
    """Outcome of a look-ahead check."""

    CLEAN = "clean"
    LEAKING = "leaking"
    NOT_DETERMINISTIC = "not deterministic"
    NOTHING_TO_CHECK = "nothing to check"


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """Something that a run did at a bar.

    Attributes
    ----------
    bar
        Step of the run, from 0; -1 before the first bar.
    time
        Label of the bar, UTC.
    feed
        Name of the feed; empty for an error.
    kind
        ``"order"`` (sent), ``"cancel"``, ``"fill"`` or ``"error"``.
    side
        ``"buy"`` or ``"sell"``; empty for an error.
    order_type
        Backtrader's name of the execution type (Market, Limit, …); for an error the exception.
    size
        Units, positive.
    price
        Of the fill, or what was asked for; None for a market order.
    extra
        Limit of a stop-limit order, trailing amount and percent.
    """

    bar: int
    time: dt.datetime | None
    feed: str
    kind: str
    side: str = ""
    order_type: str = ""
    size: float = 0.0
    price: float | None = None
    extra: tuple[float | None, ...] = ()

    def __str__(self) -> str:
        if self.kind == "error":
            return f"error {self.order_type}"
        at = "" if self.price is None else f" at {self.price:.10g}"
        return f"{self.kind} {self.side} {self.size:.10g} {self.feed} {self.order_type}{at}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "bar": self.bar, "time": None if self.time is None else self.time.isoformat(), "feed": self.feed,
            "kind": self.kind, "side": self.side, "order_type": self.order_type, "size": self.size, "price": self.price,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Difference:
    """The first bar and order in which a run differs from the full one.

    Attributes
    ----------
    bar, time
        Where.
    full
        What the run over all data did; None where it did nothing.
    other
        What the other run did in its place; None where it did nothing.
    test
        How the other run was made.
    """

    bar: int
    time: dt.datetime | None
    full: OrderEvent | None
    other: OrderEvent | None
    test: str

    @property
    def kind(self) -> str:
        """``"order"``, ``"cancel"``, ``"fill"`` or ``"error"``."""
        return self._event.kind

    @property
    def side(self) -> str:
        """``"buy"`` or ``"sell"``; empty for an error."""
        return self._event.side

    @property
    def size(self) -> float:
        """Units, positive."""
        return self._event.size

    @property
    def price(self) -> float | None:
        """Of the fill, or what was asked for; None for a market order."""
        return self._event.price

    @property
    def _event(self) -> OrderEvent:
        one, two = self.full, self.other
        # A difference has at least one side.
        return one or two  # type: ignore[return-value]  # not both are None

    def __str__(self) -> str:
        when = "" if self.time is None else f" ({self.time:%Y-%m-%d %H:%M})"
        other = self.other if self.other is not None else "nothing"
        return f"bar {self.bar}{when}: {self.full or 'nothing'} in the full run, {other} with {self.test}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "bar": self.bar, "time": None if self.time is None else self.time.isoformat(), "kind": self.kind,
            "side": self.side, "size": self.size, "price": self.price, "test": self.test,
            "full": None if self.full is None else self.full.to_dict(),
            "other": None if self.other is None else self.other.to_dict(),
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LookaheadReport:
    """Whether a strategy knows the future.

    Attributes
    ----------
    strategy, feeds
        Names.
    bars, orders
        Steps of the full run, and orders it sent.
    verdict
        Clean, leaking, not deterministic (two runs over the same data differ) or nothing to check (no order sent).
    first_difference
        First bar and order that depend on what comes later; for a strategy that is not deterministic the first that
        two equal runs do not share; None when clean.
    runs
        Runs beside the full one.
    checked_bars
        Bars after which the future was taken away or changed.
    warm_up
        Fewest bars to let pass before a run that starts later sends the orders (feed, side, type) of the full run, as
        measured on two later starts; at least the indicators' own. None where that never showed, or not clean.
    notes
        What else is worth knowing.
    """

    strategy: str
    feeds: tuple[str, ...]
    bars: int
    orders: int
    verdict: Verdict
    first_difference: Difference | None
    runs: int
    checked_bars: tuple[int, ...] = ()
    warm_up: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """True where orders were checked and none of them knew the future."""
        return self.verdict is Verdict.CLEAN

    def __str__(self) -> str:
        head = f"{self.strategy} on {', '.join(self.feeds)}: {self.verdict.value}"
        head += f" ({self.orders:,} orders on {self.bars:,} bars, {self.runs} extra runs)"
        lines = [head]
        if self.first_difference is not None:
            lines.append(f"  first difference: {self.first_difference}")
        if self.clean:
            warm_up = "did not settle within the data" if self.warm_up is None else f"{self.warm_up} bars"
            lines.append(f"  smallest safe warm-up: {warm_up}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        first = self.first_difference
        return {
            "strategy": self.strategy, "feeds": list(self.feeds), "bars": self.bars, "orders": self.orders,
            "verdict": self.verdict.value, "clean": self.clean, "runs": self.runs,
            "first_difference": None if first is None else first.to_dict(),
            "checked_bars": list(self.checked_bars), "warm_up": self.warm_up, "notes": list(self.notes),
        }  # fmt: skip
