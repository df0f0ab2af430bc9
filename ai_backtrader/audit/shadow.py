"""The exchange's view of a run that Backtrader's broker simulated.

The fills of the run are followed a second time, with the margin that an exchange asks for: initial margin
``notional / leverage``, maintenance by tier, isolated. Nothing here knows what LeverageBroker did. In doubt the
strategy is spared: funding does not eat into the margin, an exit on the near side of the liquidation price came first,
and for a stop entry only the close of its bar counts.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from dataclasses import dataclass

import backtrader as bt
import numpy as np
from numpy.typing import NDArray

from ai_backtrader.analyzers.recording import times_of
from ai_backtrader.audit.findings import AuditEvent, FindingKind
from ai_backtrader.audit.record import Fill, Record
from ai_backtrader.audit.settings import AuditSettings
from ai_backtrader.market import MarketData
from ai_backtrader.market.margin import MaintenanceTiers, liquidation_price

__all__ = ["Found", "follow"]

Found = tuple[FindingKind, AuditEvent]

_SHARE = 1e-6  # of the starting cash: what rounding may leave over, far below anything a trader sees
_STOPS = (bt.Order.Stop, bt.Order.StopLimit, bt.Order.StopTrail, bt.Order.StopTrailLimit)


@dataclass(slots=True)
class _Book:
    """One feed: its mark prices, and the position as an exchange would book it."""

    name: str
    times: NDArray[np.datetime64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    rates: NDArray[np.float64]
    leverage: float
    tiers: MaintenanceTiers
    size: float = 0.0
    entry: float = 0.0
    posted: float = 0.0
    liquidation: float | None = None
    dead: bool = False  # the exchange has liquidated it; Backtrader still holds it
    dead_price: float = 0.0
    recovered: float = 0.0
    inside_bar: bool = False  # raised by a stop within the current bar
    seen: int = 0
    seen_before: int = 0

    @property
    def is_new(self) -> bool:
        return self.seen > self.seen_before

    @property
    def bar(self) -> int:
        return self.seen - 1

    @property
    def side(self) -> str:
        return "long" if self.size > 0 else "short"

    def revalue(self) -> None:
        self.liquidation = None
        if self.size:
            self.liquidation = liquidation_price(
                side=self.side, entry_price=self.entry, size=abs(self.size), margin=self.posted, tiers=self.tiers
            )

    def is_beyond(self, price: float, limit: float | None) -> bool:
        if limit is None:
            return False
        return price <= limit if self.size > 0 else price >= limit

    def milder(self, before: float | None) -> float | None:
        """The liquidation price farther from the market, of the one before this bar's additions and the one after."""
        now = self.liquidation
        if before is None or now is None:
            return None if self.size > 0 else (now if before is None else before)
        return min(before, now) if self.size > 0 else max(before, now)

    @property
    def extreme(self) -> float:
        return float((self.low if self.size > 0 else self.high)[self.bar])


def follow(record: Record, data: tuple[MarketData, ...], names: list[str], settings: AuditSettings) -> list[Found]:
    """Everything that an exchange would have done otherwise, in order of time.

    Parameters
    ----------
    record
        The run on Backtrader's broker.
    data, names
        The feeds and their names.
    settings
        Leverage, tiers, funding.
    """
    books = [_book(feed, name, settings) for feed, name in zip(data, names, strict=True)]
    fills: dict[int, list[Fill]] = {}
    for fill in record.fills:
        fills.setdefault(fill.step, []).append(fill)
    found: list[Found] = []
    balance = settings.cash
    times: list[dt.datetime] = times_of(record.numbers).astype("datetime64[s]").tolist()
    for step in range(record.steps):
        for place, book in enumerate(books):
            book.seen_before, book.seen = book.seen, int(record.lengths[place][step])
        if step not in fills and not any(book.size for book in books):
            continue
        when = times[step]
        before = [book.liquidation for book in books]
        for book in books:
            if book.size and book.is_new:
                book.inside_bar = False
                found += _funding(book, step, when)
                found += _gap(book, step, when)
        for fill in fills.get(step, ()):
            book = books[fill.feed]
            balance -= fill.commission
            closing, opening = _parts(book.size, fill.size)
            if closing:
                found += _reached_by_exit(book, fill, step, when)
                balance += closing * (book.entry - fill.price)
                found += _close(book, closing, fill.price, step, when)
            if opening:
                found += _margin_missing(books, fill, opening, balance, settings, step, when)
                _open(book, fill, opening)
                found += _above_tier(book, fill.price, step, when)
            if fill.stale:
                found.append(_stale(book, fill, step, when))
        for book, limit in zip(books, before, strict=True):
            if book.size and book.is_new:
                found += _at_the_close(book, limit, step, when)
    return found


def _book(data: MarketData, name: str, settings: AuditSettings) -> _Book:
    def mark(column: str) -> NDArray[np.float64]:
        values: NDArray[np.float64] | None = getattr(data, f"mark_{column}")
        own: NDArray[np.float64] = getattr(data, column)
        return own if values is None else np.where(np.isnan(values), own, values)

    return _Book(
        name=name, times=data.times, open=mark("open"), high=mark("high"), low=mark("low"), close=mark("close"),
        rates=_rates(data, settings), leverage=settings.leverage, tiers=settings.table,
    )  # fmt: skip


def _rates(data: MarketData, settings: AuditSettings) -> NDArray[np.float64]:
    """Funding rate due at the start of each bar."""
    if settings.funding is None:
        return np.zeros(len(data)) if data.funding_rate is None else np.nan_to_num(data.funding_rate)
    period = np.int64(round(settings.funding_hours * 3_600e9))
    stamps = data.times.astype("datetime64[ns]").astype(np.int64) // period
    return np.diff(stamps, prepend=stamps[0]) * settings.funding


def _parts(held: float, size: float) -> tuple[float, float]:
    """Signed units of a fill that close and that open."""
    if held * size >= 0.0:
        return 0.0, size
    closing = math.copysign(min(abs(size), abs(held)), size)
    return closing, size - closing


def _funding(book: _Book, step: int, when: dt.datetime) -> Iterator[Found]:
    rate = float(book.rates[book.bar])
    if not rate or book.dead:
        return
    amount = rate * book.size * float(book.open[book.bar])
    verb = "owed" if amount > 0 else "was owed"
    text = f"a {book.side} of {abs(book.size):g} {verb} {abs(amount):,.2f} at a rate of {100 * rate:+.4f} %"
    yield FindingKind.FUNDING_NOT_CHARGED, AuditEvent(bar=step, time=when, feed=book.name, money=amount, text=text)


def _gap(book: _Book, step: int, when: dt.datetime) -> Iterator[Found]:
    opened = float(book.open[book.bar])
    if not book.dead and book.is_beyond(opened, book.liquidation):
        yield _die(book, step, when, opened, f"the bar opened at {opened:,.6g}, beyond it")


def _reached_by_exit(book: _Book, fill: Fill, step: int, when: dt.datetime) -> Iterator[Found]:
    if book.dead or not book.is_new or not book.is_beyond(book.extreme, book.liquidation):
        return
    if book.is_beyond(fill.price, book.liquidation):
        text = f"the mark reached {book.extreme:,.6g}, and Backtrader closed it only at {fill.price:,.6g}"
        yield _die(book, step, when, None, text)


def _at_the_close(book: _Book, before: float | None, step: int, when: dt.datetime) -> Iterator[Found]:
    if book.dead:
        return
    limit = book.liquidation if before is None else book.milder(before)
    price = float(book.close[book.bar]) if book.inside_bar else book.extreme
    if book.is_beyond(price, limit):
        yield _die(book, step, when, None, f"the mark reached {price:,.6g}, and Backtrader kept it open")


def _die(book: _Book, step: int, when: dt.datetime, gap: float | None, how: str) -> Found:
    limit = book.liquidation
    if limit is None:
        raise RuntimeError("a position without a liquidation price cannot be liquidated")
    sign = 1.0 if book.size > 0 else -1.0
    bankruptcy = book.entry - sign * book.posted / abs(book.size)
    price = limit if gap is None else (max(gap, bankruptcy) if book.size > 0 else min(gap, bankruptcy))
    book.dead, book.dead_price, book.recovered = True, price, 0.0
    text = (
        f"a {book.leverage:g}x {book.side} of {abs(book.size):g} from {book.entry:,.6g} (margin {book.posted:,.2f}) "
        f"is liquidated at {limit:,.6g}; {how}"
    )
    return FindingKind.LIQUIDATION_SURVIVED, AuditEvent(
        bar=step, time=when, feed=book.name, money=book.posted, text=text
    )


def _close(book: _Book, closing: float, price: float, step: int, when: dt.datetime) -> Iterator[Found]:
    share = abs(closing) / abs(book.size)
    if book.dead:
        book.recovered += closing * (book.dead_price - price)
    side, entry = book.side, book.entry
    book.posted -= book.posted * share
    book.size = 0.0 if share >= 1.0 else book.size + closing
    if book.size:
        book.revalue()
        return
    if book.dead and book.recovered > 0.0:
        text = (
            f"the {side} from {entry:,.6g}, dead since {book.dead_price:,.6g}, was closed at {price:,.6g}: "
            f"{book.recovered:,.2f} won after its death"
        )
        yield (
            FindingKind.GHOST_RECOVERY,
            AuditEvent(bar=step, time=when, feed=book.name, money=book.recovered, text=text),
        )
    book.posted, book.liquidation, book.dead = 0.0, None, False


def _open(book: _Book, fill: Fill, opening: float) -> None:
    total = book.size + opening
    book.entry = (book.entry * book.size + fill.price * opening) / total if book.size else fill.price
    book.posted += abs(opening) * fill.price / book.leverage
    book.size = total
    book.inside_bar = fill.kind in _STOPS and fill.price != float(book.open[book.bar])
    book.revalue()


def _margin_missing(
    books: list[_Book],
    fill: Fill,
    opening: float,
    balance: float,
    settings: AuditSettings,
    step: int,
    when: dt.datetime,
) -> Iterator[Found]:
    """An opening fill whose initial margin the account does not have.

    Open profits count as free (cross margin), open losses only up to the margin posted (isolated): the milder of both.
    """
    own = books[fill.feed]
    free = balance + fill.commission
    for book in books:
        if book.size:
            price = fill.price if book is own else float(book.open[book.bar] if book.is_new else book.close[book.bar])
            free += max(0.0, book.size * (price - book.entry)) - book.posted
    needed = abs(opening) * fill.price / own.leverage
    missing = needed - free
    if missing <= _SHARE * settings.cash:
        return
    kind = FindingKind.LONG_WITHOUT_MARGIN if opening > 0 else FindingKind.SHORT_WITHOUT_MARGIN
    text = (
        f"{'bought' if opening > 0 else 'sold short'} {abs(opening):g} at {fill.price:,.6g}: "
        f"{needed:,.2f} of margin at {own.leverage:g}x, {max(0.0, free):,.2f} there"
    )
    yield kind, AuditEvent(bar=step, time=when, feed=own.name, money=missing, text=text)


def _above_tier(book: _Book, price: float, step: int, when: dt.datetime) -> Iterator[Found]:
    notional = abs(book.size) * price
    cap = book.tiers.max_leverage(notional)
    if book.leverage <= cap * (1.0 + 1e-12):
        return
    allowed = f"at most {cap:g}x" if cap else "no position of that size at all"
    text = f"a position of {notional:,.0f} at {book.leverage:g}x: the tier allows {allowed}"
    yield (
        FindingKind.LEVERAGE_ABOVE_TIER,
        AuditEvent(bar=step, time=when, feed=book.name, money=notional, text=text),
    )


def _stale(book: _Book, fill: Fill, step: int, when: dt.datetime) -> Found:
    began = str(book.times[book.bar].astype("datetime64[m]")).replace("T", " ")
    text = (
        f"{'bought' if fill.size > 0 else 'sold'} {abs(fill.size):g} at {fill.price:,.6g} from the bar of {began}, "
        "which was over before the order was sent"
    )
    money = abs(fill.size) * fill.price
    return FindingKind.STALE_FILL, AuditEvent(bar=step, time=when, feed=book.name, money=money, text=text)
