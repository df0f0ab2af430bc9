"""Margin arithmetic of leveraged positions: maintenance tiers, liquidation and bankruptcy price, margin ratio.

A position of ``size`` units opened at ``entry_price`` with ``margin`` posted has the equity
``margin + sign * size * (price - entry_price)`` and must keep the maintenance margin
``rate * notional - amount (+ fee_rate * notional)``, where rate and amount are those of the tier of the notional *at
that price*. It is liquidated where the two meet.

Because rates rise from tier to tier and the maintenance margin is continuous, it is the maximum of the tiers' straight
lines (a convex function). Equity minus maintenance is then the minimum of straight lines, each strictly monotone in the
price, so it has exactly one root: for a long the largest, for a short the smallest of the roots that the tiers have one
by one. No search for "the right tier" is needed, and no tier is picked by the entry notional.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.values import Direction

__all__ = [
    "MaintenanceTiers",
    "TierRow",
    "bankruptcy_price",
    "liquidation_price",
    "maintenance_ratio",
    "margin_ratio",
]


class TierRow(NamedTuple):
    """One row of a tier table: money in quote currency, rates as fractions of the notional."""

    notional_floor: float
    notional_cap: float
    maintenance_rate: float
    maintenance_amount: float
    max_leverage: float


@dataclass(frozen=True)
class MaintenanceTiers:
    """Maintenance margin by notional, as derivatives exchanges publish it ("leverage brackets", "risk limits").

    Parameters
    ----------
    rows
        ``(notional_floor, notional_cap, maintenance_rate, maintenance_amount, max_leverage)`` a row, lowest first. The
        first floor is 0, each floor is the cap before it, rates do not fall and leverage does not rise. A
        ``maintenance_amount`` of None is computed so that the maintenance margin is continuous:
        ``amount before + floor * (rate - rate before)``; a given one may differ from that by rounding only (0.01 or a
        millionth of the floor).

    Raises
    ------
    SettingsError
        With every fault of the table.

    Notes
    -----
    A notional above the last cap has maximum leverage 0 (the exchange takes no such position); should the price carry
    an open position there, its maintenance follows the last row.

    Examples
    --------
    >>> tiers = MaintenanceTiers([(0, 50_000, 0.004, 0, 125), (50_000, 250_000, 0.005, None, 100)])
    >>> tiers.rate_and_amount(60_000)
    (0.005, 50.0)
    >>> tiers.maintenance(60_000)
    250.0
    """

    rows: tuple[TierRow, ...]
    caps: tuple[float, ...] = field(init=False, repr=False, compare=False)
    rates: tuple[float, ...] = field(init=False, repr=False, compare=False)
    amounts: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __init__(self, rows: Iterable[Sequence[float | None]]) -> None:
        checked = _checked_rows(list(rows))
        for name, value in (
            ("rows", checked),
            ("caps", tuple(row.notional_cap for row in checked)),
            ("rates", tuple(row.maintenance_rate for row in checked)),
            ("amounts", tuple(row.maintenance_amount for row in checked)),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def flat(cls, rate: float, max_leverage: float = 125.0) -> MaintenanceTiers:
        """Table of one row: the same rate for every notional."""
        return cls([(0.0, math.inf, rate, 0.0, max_leverage)])

    def row(self, notional: float) -> TierRow:
        """Row that holds the notional (a cap belongs to the row below it); the last one above the last cap."""
        for row, cap in zip(self.rows, self.caps, strict=True):
            if notional <= cap:
                return row
        return self.rows[-1]

    def rate_and_amount(self, notional: float) -> tuple[float, float]:
        """Maintenance rate (fraction) and maintenance amount (money) of a notional."""
        row = self.row(notional)
        return row.maintenance_rate, row.maintenance_amount

    def maintenance(self, notional: float) -> float:
        """Maintenance margin of a notional, in money: ``rate * notional - amount``."""
        row = self.row(notional)
        return notional * row.maintenance_rate - row.maintenance_amount

    def max_leverage(self, notional: float) -> float:
        """Highest leverage at which a notional may be opened; 0 above the last cap."""
        return self.row(notional).max_leverage if notional <= self.caps[-1] else 0.0


def _checked_rows(rows: list[Sequence[float | None]]) -> tuple[TierRow, ...]:
    faults = Faults("MaintenanceTiers")
    if not rows:
        faults.add("rows must hold at least one row (notional_floor, notional_cap, rate, amount, max_leverage)")
    checked: list[TierRow] = []
    for number, raw in enumerate(rows):
        if not isinstance(raw, Sequence) or len(raw) != 5:
            faults.add(f"row {number} must have 5 entries (floor, cap, rate, amount, max leverage), got {raw!r}")
            continue
        floor, cap, rate, amount, leverage = raw
        before = len(faults.found)
        faults.number(f"row {number} notional_floor", floor, low=0.0)
        if cap != math.inf:
            faults.number(f"row {number} notional_cap", cap)
        faults.number(f"row {number} maintenance_rate", rate, low=0.0)
        faults.number(f"row {number} max_leverage", leverage, low=1.0)
        if amount is not None:
            faults.number(f"row {number} maintenance_amount", amount)
        if len(faults.found) > before or floor is None or cap is None or rate is None or leverage is None:
            continue
        last = checked[-1] if checked else None
        due = 0.0 if last is None else last.maintenance_amount + floor * (rate - last.maintenance_rate)
        given = due if amount is None else float(amount)
        row = TierRow(float(floor), float(cap), float(rate), given, float(leverage))
        _check_row(faults, number, row, last, due)
        checked.append(row)
    faults.raise_if_any()
    return tuple(checked)


def _check_row(faults: Faults, number: int, row: TierRow, last: TierRow | None, due: float) -> None:
    expected = 0.0 if last is None else last.notional_cap
    if row.notional_floor != expected:
        faults.add(f"row {number} notional_floor must be {expected:g} (the cap before it), got {row.notional_floor!r}")
    if not row.notional_cap > row.notional_floor:
        faults.add(f"row {number} notional_cap must exceed its floor {row.notional_floor:g}, got {row.notional_cap!r}")
    if not row.maintenance_rate < 1.0:
        faults.add(f"row {number} maintenance_rate must be a fraction below 1, got {row.maintenance_rate!r}")
    if last is not None and row.maintenance_rate < last.maintenance_rate:
        faults.add(f"row {number} maintenance_rate must not fall below {last.maintenance_rate:g}, the row before")
    if last is not None and row.max_leverage > last.max_leverage:
        faults.add(f"row {number} max_leverage must not exceed {last.max_leverage:g}, the row before")
    if abs(row.maintenance_amount - due) > max(0.01, 1e-6 * row.notional_floor):
        faults.add(
            f"row {number} maintenance_amount must be {due:g} for a continuous maintenance margin, "
            f"got {row.maintenance_amount!r}; pass None to compute it"
        )


def _sign(side: Direction | str, subject: str) -> int:
    direction = side if isinstance(side, Direction) else Direction.parse(side)
    if direction is Direction.FLAT:
        raise SettingsError(subject, [f"side must be long or short, got {side!r}"])
    return direction.sign


def _check_position(subject: str, entry_price: float, size: float, margin: float) -> None:
    faults = Faults(subject)
    faults.number("entry_price", entry_price, above=0.0)
    faults.number("size", size, above=0.0)
    faults.number("margin", margin)
    faults.raise_if_any()


def liquidation_root(
    sign: int, entry_price: float, size: float, margin: float, fee_rate: float, tiers: MaintenanceTiers
) -> float | None:
    """:func:`liquidation_price` without argument checks, for the broker's loop; ``sign`` is +1 or -1."""
    value = size * entry_price
    rates, amounts = tiers.rates, tiers.amounts
    if sign > 0:
        owed = value - margin
        root = max(
            (owed - amount) / (size * (1.0 - rate - fee_rate)) for rate, amount in zip(rates, amounts, strict=True)
        )
        return root if root > 0.0 else None
    backed = value + margin
    root = min(
        (backed + amount) / (size * (1.0 + rate + fee_rate)) for rate, amount in zip(rates, amounts, strict=True)
    )
    return root if root > 0.0 else 0.0


def liquidation_price(
    *,
    side: Direction | str,
    entry_price: float,
    size: float,
    margin: float,
    tiers: MaintenanceTiers,
    fee_rate: float = 0.0,
) -> float | None:
    """Price at which a position's equity equals its maintenance margin, the tier taken at that price.

    For a long ``(size * entry - margin - amount) / (size * (1 - rate - fee_rate))``, for a short
    ``(size * entry + margin + amount) / (size * (1 + rate + fee_rate))``: the isolated-margin formula of the
    USD-margined exchanges (Binance, "How to Calculate Liquidation Price of USD-M Futures Contracts"), which also serves
    cross margin when ``margin`` is the balance that stands behind the position.

    Parameters
    ----------
    side
        ``Direction`` or text: LONG/SHORT, BUY/SELL, in any case.
    entry_price
        Average entry, quote currency a unit.
    size
        Units, positive.
    margin
        Money that stands behind the position (notional / leverage at entry, less funding taken from it).
    tiers
        Maintenance table.
    fee_rate
        Fee of the liquidation as a fraction of the notional, when the venue counts it into the maintenance margin.

    Returns
    -------
    float or None
        None for a long that no positive price can liquidate (leverage 1 or less).

    Raises
    ------
    SettingsError
        If a number is not finite, price or size are not positive, or the side is none.

    Examples
    --------
    >>> liquidation_price(side="long", entry_price=100, size=10, margin=100, tiers=MaintenanceTiers.flat(0.005))
    90.45226130653266
    """
    _check_position("liquidation_price", entry_price, size, margin)
    faults = Faults("liquidation_price")
    faults.number("fee_rate", fee_rate, low=0.0)
    if not faults.found and fee_rate + tiers.rates[-1] >= 1.0:
        faults.add(
            f"fee_rate plus the highest maintenance rate {tiers.rates[-1]:g} must stay below 1, got {fee_rate!r}"
        )
    faults.raise_if_any()
    return liquidation_root(_sign(side, "liquidation_price"), entry_price, size, margin, fee_rate, tiers)


def bankruptcy_price(*, side: Direction | str, entry_price: float, size: float, margin: float) -> float:
    """Price at which the margin is used up: ``entry - margin/size`` for a long, ``entry + margin/size`` for a short.

    Zero for a long that posted its whole value (leverage 1 or less). Arguments and errors as for
    :func:`liquidation_price`.
    """
    _check_position("bankruptcy_price", entry_price, size, margin)
    return max(0.0, entry_price - _sign(side, "bankruptcy_price") * margin / size)


def margin_ratio(*, equity: float, maintenance: float, equity_at_entry: float, maintenance_at_entry: float) -> float:
    """Share of the liquidation buffer used up: 0 right after the last change of size, 1 at liquidation.

    ``1 - clip((equity - maintenance) / (equity_at_entry - maintenance_at_entry), 0, 1)``, a fraction; all arguments in
    money. Isolated margin: equity is margin plus unrealised profit; cross margin: that of the account. Where there was
    no buffer at entry the answer is 1.
    """
    buffer = equity_at_entry - maintenance_at_entry
    if not buffer > 0.0:
        return 1.0
    return 1.0 - min(1.0, max(0.0, (equity - maintenance) / buffer))


def maintenance_ratio(*, equity: float, maintenance: float) -> float:
    """Ratio that exchanges show: maintenance margin over equity; 1 at liquidation, infinite without equity."""
    return maintenance / equity if equity > 0.0 else math.inf
