"""Maintenance margin by notional: the tier tables of derivatives exchanges."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError

__all__ = ["MaintenanceTiers", "TierRow"]

# One bracket in the answer of Binance's /fapi/v1/leverageBracket, in the order of a row.
_BRACKET = ("notionalFloor", "notionalCap", "maintMarginRatio", "cum", "initialLeverage")


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

    @classmethod
    def from_brackets_json(
        cls, source: str | Path | Sequence[Any] | Mapping[str, Any], symbol: str | None = None
    ) -> MaintenanceTiers:
        """Table from the answer of Binance's ``GET /fapi/v1/leverageBracket``.

        Parameters
        ----------
        source
            Path of the JSON file, or the answer itself: a list of ``{"symbol": ..., "brackets": [...]}``, or one of
            them. A bracket has ``notionalFloor``, ``notionalCap``, ``maintMarginRatio``, ``cum`` and
            ``initialLeverage``, as numbers or as text.
        symbol
            Which symbol to take; may be left out when there is only one.

        Raises
        ------
        SettingsError
            If the file cannot be read, the symbol is not there, a field is missing, or the table is faulty.
        """
        return cls(_rows_of_brackets(*_symbol_brackets(source, symbol)))

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


def _symbol_brackets(source: str | Path | Sequence[Any] | Mapping[str, Any], symbol: str | None) -> tuple[str, Any]:
    """Brackets of one symbol, and its name, from a file or an answer already read."""
    if isinstance(source, (str, Path)):
        try:
            answer: Any = json.loads(Path(source).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SettingsError("from_brackets_json", [f"{source} is not a readable JSON file: {error}"]) from error
    else:
        answer = source
    entries = [answer] if isinstance(answer, Mapping) else answer
    if not isinstance(entries, Sequence) or not all(isinstance(entry, Mapping) for entry in entries):
        raise SettingsError("from_brackets_json", ["expected a list of {'symbol', 'brackets'}, or one of them"])
    tables = {str(entry.get("symbol")): entry.get("brackets") for entry in entries}
    if symbol is None and len(tables) == 1:
        symbol = next(iter(tables))
    if symbol not in tables:
        found = ", ".join(sorted(tables)[:20]) or "nothing"
        raise SettingsError("from_brackets_json", [f"symbol must be one of the file's ({found}), got {symbol!r}"])
    return symbol, tables[symbol]


def _rows_of_brackets(symbol: str, brackets: Any) -> list[tuple[float, ...]]:
    if not isinstance(brackets, Sequence) or not brackets:
        raise SettingsError("from_brackets_json", [f"{symbol} has no brackets"])
    faults = Faults("from_brackets_json")
    rows = []
    for number, bracket in enumerate(brackets):
        missing = [name for name in _BRACKET if not isinstance(bracket, Mapping) or name not in bracket]
        if missing:
            faults.add(f"bracket {number} of {symbol} lacks {', '.join(missing)}")
            continue
        try:
            rows.append(tuple(float(bracket[name]) for name in _BRACKET))
        except (TypeError, ValueError):
            faults.add(f"bracket {number} of {symbol} holds what is no number: {dict(bracket)!r}")
    faults.raise_if_any()
    return sorted(rows)
