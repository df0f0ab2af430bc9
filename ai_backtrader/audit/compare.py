"""Findings from the account of the first run, and from the two runs side by side (pure)."""

from __future__ import annotations

import datetime as dt
from array import array

import numpy as np

from ai_backtrader.analyzers.recording import times_of
from ai_backtrader.audit.findings import AuditEvent, Finding, FindingKind
from ai_backtrader.audit.record import Record
from ai_backtrader.audit.shadow import Found

__all__ = ["account_findings", "first_refusal", "gathered", "refused_exits"]

ACCOUNT = "account"


def gathered(found: list[Found]) -> list[Finding]:
    """One finding for each kind and feed, in order of its first occurrence."""
    groups: dict[tuple[FindingKind, str], list[AuditEvent]] = {}
    for kind, event in found:
        groups.setdefault((kind, event.feed), []).append(event)
    return [
        Finding(
            kind=kind, feed=feed, count=len(events), money=_money(kind, events),
            text=_sentence(kind, feed, events), events=tuple(events),
        )
        for (kind, feed), events in groups.items()
    ]  # fmt: skip


_LARGEST = (
    FindingKind.SHORT_WITHOUT_MARGIN,
    FindingKind.LONG_WITHOUT_MARGIN,
    FindingKind.LEVERAGE_ABOVE_TIER,
    FindingKind.EXIT_REFUSED,
)


def _money(kind: FindingKind, events: list[AuditEvent]) -> float:
    amounts = [event.money for event in events]
    return max(amounts) if kind in _LARGEST else float(np.sum(amounts))


def _sentence(kind: FindingKind, feed: str, events: list[AuditEvent]) -> str:
    count, money, first = len(events), _money(kind, events), events[0]
    own = "its" if count == 1 else "their"
    since = f"first at {_when(first.time)}: {first.text}"
    words = {
        FindingKind.LIQUIDATION_SURVIVED: (
            f"{_times(count, 'position')} on {feed} went through {own} liquidation price and lived on; the exchange "
            f"would have closed {'it' if count == 1 else 'each'} and kept {money:,.2f} of margin in all; {since}"
        ),
        FindingKind.GHOST_RECOVERY: (
            f"{_times(count, 'position')} on {feed} that the exchange had closed went on to win back {money:,.2f}; "
            f"{since}"
        ),
        FindingKind.FUNDING_NOT_CHARGED: (
            f"{_times(count, 'funding stamp')} on {feed} passed over an open position without a payment: "
            f"{abs(money):,.2f} {'not paid' if money >= 0 else 'not received'} in all; {since}"
        ),
        FindingKind.SHORT_WITHOUT_MARGIN: (
            f"{_times(count, 'short')} on {feed} opened without the margin for it, up to {money:,.2f} missing; {since}"
        ),
        FindingKind.LONG_WITHOUT_MARGIN: (
            f"{_times(count, 'long')} on {feed} paid with money that shorts had brought in, up to {money:,.2f} of "
            f"margin missing; {since}"
        ),
        FindingKind.LEVERAGE_ABOVE_TIER: (
            f"{_times(count, 'order')} on {feed} made the position larger than its tier allows, up to a notional of "
            f"{money:,.0f}; {since}"
        ),
        FindingKind.STALE_FILL: (
            f"{_times(count, 'order')} on {feed} filled from a bar that was over before the order was sent, "
            f"{money:,.2f} traded at prices of the past; {since}"
        ),
        FindingKind.EXIT_REFUSED: (
            f"{_times(count, 'order')} on {feed} that would only have reduced a position refused for want of cash; "
            f"{since}"
        ),
        FindingKind.REFUSED_BY_EXCHANGE: f"Backtrader filled an order on {feed} that the exchange refuses; {since}",
        FindingKind.STRATEGY_FAILS: f"the strategy does not stand what the exchange does; {since}",
    }
    return words[kind] + "."


def _times(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _when(time: dt.datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"


def account_findings(record: Record, cash: float) -> list[Finding]:
    """Bars at which the account, or its cash, closed below zero."""
    return [
        *_below_zero(record, record.value, FindingKind.NEGATIVE_EQUITY, "the account was worth", cash),
        *_below_zero(record, record.cash, FindingKind.NEGATIVE_CASH, "the cash was", cash),
    ]


def _below_zero(record: Record, history: array[float], kind: FindingKind, words: str, cash: float) -> list[Finding]:
    values = np.array(history)
    below = values < -1e-6 * cash  # a rounding residue is no debt
    if not below.any():
        return []
    starts = np.flatnonzero(below & ~np.concatenate(([False], below[:-1])))
    times: list[dt.datetime] = times_of(record.numbers).astype("datetime64[s]").tolist()
    worst = float(-values.min())
    events = tuple(
        AuditEvent(
            bar=int(bar), time=times[bar], feed=ACCOUNT, money=float(-values[bar]), text=f"{words} {values[bar]:,.2f}"
        )
        for bar in starts
    )
    what = "account owed money" if kind is FindingKind.NEGATIVE_EQUITY else "broker lent cash"
    text = (
        f"the {what} at the close of {_times(int(below.sum()), 'bar')}, {worst:,.2f} at worst on "
        f"{_when(times[int(values.argmin())])}, first at {_when(events[0].time)}, and trading went on."
    )
    return [Finding(kind=kind, feed=ACCOUNT, count=int(below.sum()), money=worst, text=text, events=events)]


def refused_exits(record: Record, names: list[str]) -> list[Found]:
    """Orders of the first run that would only have reduced a position and were refused all the same."""
    times: list[dt.datetime] = times_of(record.numbers).astype("datetime64[s]").tolist()
    found = []
    for order in record.orders.values():
        if order.refused_at is None or not order.reduces or order.refused_at >= len(times):
            continue
        price = order.price or 0.0
        verb = "buy back" if order.size > 0 else "sell"
        text = f"an order to {verb} {abs(order.size):g} of an open position was refused"
        event = AuditEvent(
            bar=order.refused_at, time=times[order.refused_at], feed=names[order.feed],
            money=abs(order.size) * price, text=text,
        )  # fmt: skip
        found.append((FindingKind.EXIT_REFUSED, event))
    return found


def first_refusal(first: Record, second: Record, names: list[str]) -> list[Found]:
    """The order at which the exchange's account leaves Backtrader's because it was refused, if it left for that reason.

    Only orders up to the first bar at which the positions differ are the same orders; what comes later may differ
    because of what came before.
    """
    steps = min(first.steps, second.steps)
    apart = np.zeros(steps, dtype=np.bool_)
    for own, other in zip(first.sizes, second.sizes, strict=True):
        apart |= np.array(own[:steps]) != np.array(other[:steps])
    if not apart.any():
        return []
    last = int(np.argmax(apart))
    filled = {order.key: order for order in first.orders.values() if order.filled}
    times: list[dt.datetime] = times_of(first.numbers).astype("datetime64[s]").tolist()
    for order in second.orders.values():
        if order.refused_at is None or order.refused_at > last or order.key not in filled:
            continue
        money = abs(order.size) * (order.price or 0.0)
        text = f"{'buy' if order.size > 0 else 'sell'} {abs(order.size):g} refused: {order.reason}"
        event = AuditEvent(
            bar=order.refused_at, time=times[order.refused_at], feed=names[order.feed], money=money, text=text
        )
        return [(FindingKind.REFUSED_BY_EXCHANGE, event)]
    return []
