"""What an audit finds, as frozen values."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from typing import Any

__all__ = ["AuditEvent", "Finding", "FindingKind"]


class FindingKind(enum.StrEnum):
    """What Backtrader's own broker hid. The money of each kind is in account currency."""

    LIQUIDATION_SURVIVED = "liquidation survived"
    """A position lived on beyond its liquidation price. Money: the margin that the exchange would have kept."""

    GHOST_RECOVERY = "recovery after liquidation"
    """A position that the exchange had closed won back money. Money: what it won back after its liquidation price."""

    NEGATIVE_EQUITY = "negative equity"
    """The account owed more than it had at a bar's close, and traded on. Money: the most it owed."""

    NEGATIVE_CASH = "negative cash"
    """The broker lent cash without saying so. Money: the most it lent."""

    FUNDING_NOT_CHARGED = "funding not charged"
    """Funding fell due on an open position. Money: net amount not paid (negative: not received)."""

    SHORT_WITHOUT_MARGIN = "short without margin"
    """A short was opened whose margin the account did not have. Money: the largest margin missing."""

    LONG_WITHOUT_MARGIN = "long without margin"
    """A long was paid with the proceeds of shorts. Money: the largest margin missing."""

    LEVERAGE_ABOVE_TIER = "leverage above the tier"
    """A position was opened larger than its tier allows at that leverage. Money: the largest notional."""

    STALE_FILL = "fill from a stale bar"
    """An order was filled from a bar that was over before the order existed. Money: notional filled."""

    EXIT_REFUSED = "exit refused"
    """An order that would only have reduced a position was refused for want of cash. Money: largest notional."""

    REFUSED_BY_EXCHANGE = "order the exchange refuses"
    """The first order that Backtrader filled and LeverageBroker refused. Money: its notional."""

    STRATEGY_FAILS = "strategy fails on the exchange"
    """The strategy raised on LeverageBroker, not on Backtrader's broker. Money: 0."""


@dataclass(frozen=True, kw_only=True)
class AuditEvent:
    """One occurrence of a finding.

    Attributes
    ----------
    bar
        Step of the run, 0-based (with one feed: the bar's position in the data).
    time
        Start of the bar (naive UTC).
    feed
        Name of the feed; ``"account"`` where the whole account is meant.
    money
        In account currency; its meaning is that of the finding's kind.
    text
        What happened, in plain words.
    """

    bar: int
    time: dt.datetime
    feed: str
    money: float
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the time as ISO 8601, UTC."""
        return {
            "bar": self.bar,
            "time": self.time.isoformat() + "Z",
            "feed": self.feed,
            "money": self.money,
            "text": self.text,
        }


@dataclass(frozen=True, kw_only=True)
class Finding:
    """All occurrences of one kind on one feed.

    Attributes
    ----------
    kind, feed
        What was found, and where (``"account"``: the whole account).
    count
        How many: positions, orders, stamps; for equity and cash the bars that closed below zero.
    money
        In account currency; see :class:`FindingKind`.
    text
        The finding in one or two plain sentences.
    events
        The occurrences, in order of time; for equity and cash the beginning of each stretch below zero. What is found
        on the first bars of a series does not change when bars are added.
    """

    kind: FindingKind
    feed: str
    count: int
    money: float
    text: str
    events: tuple[AuditEvent, ...]

    @property
    def first_bar(self) -> int:
        """Step of the first occurrence, 0-based."""
        return self.events[0].bar

    @property
    def first_time(self) -> dt.datetime:
        """Time of the first occurrence (naive UTC)."""
        return self.events[0].time

    @property
    def last_time(self) -> dt.datetime:
        """Time of the last occurrence (naive UTC)."""
        return self.events[-1].time

    def to_dict(self, *, max_events: int | None = 20) -> dict[str, Any]:
        """Plain values; at most ``max_events`` events (None: all)."""
        return {
            "kind": self.kind.value,
            "feed": self.feed,
            "count": self.count,
            "money": self.money,
            "first_bar": self.first_bar,
            "first_time": self.first_time.isoformat() + "Z",
            "last_time": self.last_time.isoformat() + "Z",
            "text": self.text,
            "events": [event.to_dict() for event in self.events[:max_events]],
        }
