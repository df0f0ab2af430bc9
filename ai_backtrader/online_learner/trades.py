"""A closed trade as it comes in: checked, and the same value whichever way it came."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.events import TradeClosed
from ai_backtrader.values import Direction, Regime

__all__ = ["check_mapping", "checked_trade"]


def check_mapping(subject: str, name: str, given: object) -> None:
    """Raise SettingsError unless ``given`` maps keys to values."""
    if not isinstance(given, Mapping):
        raise SettingsError(subject, [f"{name} must be a mapping of names to values, got {given!r:.80}"])


def checked_trade(
    trade: object,
    *,
    symbol: str | None,
    strategy_id: str | None,
    entry_price: float | None,
    exit_price: float | None,
    pnl_pct: float | None,
    regime: Regime | str | None,
    indicators_at_entry: Mapping[str, float],
    hold_duration_mins: float,
    direction: Direction | str | None,
    closed_at: dt.datetime | None,
    paper: bool,
) -> TradeClosed:
    """The trade of an event, or of its facts (one of the two), with every fault found reported at once."""
    subject = "on_trade_complete"
    facts = {
        "symbol": symbol,
        "strategy_id": strategy_id,
        "entry_price": entry_price,
        "exit_price": exit_price,
        "pnl_pct": pnl_pct,
    }
    if trade is not None:
        if not isinstance(trade, TradeClosed):
            raise SettingsError(subject, [f"the positional argument must be a TradeClosed, got {trade!r:.80}"])
        given = [name for name, value in facts.items() if value is not None]
        if given:
            raise SettingsError(subject, [f"give the event or the facts, got both (also {', '.join(given)})"])
        _check(subject, trade, trade.indicators_at_entry)
        return trade
    missing = [name for name, value in facts.items() if value is None]
    if missing:
        raise SettingsError(subject, [f"{name} is missing" for name in missing])
    known = TradeClosed(
        symbol=symbol,  # type: ignore[arg-type]  # checked right below
        strategy_id=strategy_id,  # type: ignore[arg-type]  # the same
        direction=Direction.FLAT if direction is None else Direction.parse(direction),
        entry_price=entry_price,  # type: ignore[arg-type]  # the same
        exit_price=exit_price,  # type: ignore[arg-type]  # the same
        pnl_pct=pnl_pct,  # type: ignore[arg-type]  # the same
        hold_duration_mins=hold_duration_mins,
        closed_at=closed_at,
        regime=Regime.parse(regime),
        indicators_at_entry=indicators_at_entry if isinstance(indicators_at_entry, Mapping) else {},
        paper=bool(paper),
    )
    _check(subject, known, indicators_at_entry, side_known=direction is not None)
    if direction is not None:
        return known
    # Profit and price moved the same way: it was long.
    told = (known.exit_price - known.entry_price) * known.pnl_pct
    if told == 0.0:
        raise SettingsError(subject, ["direction must be given: price or profit did not move, so nothing tells it"])
    return dataclasses.replace(known, direction=Direction.LONG if told > 0.0 else Direction.SHORT)


def _check(subject: str, trade: TradeClosed, indicators: object, *, side_known: bool = True) -> None:
    faults = Faults(subject)
    for name in ("symbol", "strategy_id"):
        value = getattr(trade, name)
        if not isinstance(value, str) or not value:
            faults.add(f"{name} must be a text that is not empty, got {value!r}")
    if side_known and trade.direction not in (Direction.LONG, Direction.SHORT):
        faults.add(f"direction must be LONG or SHORT, got {trade.direction!r}")
    for name in ("entry_price", "exit_price"):
        faults.number(name, getattr(trade, name), above=0.0)
    faults.number("pnl_pct", trade.pnl_pct)
    faults.one_of("regime", trade.regime, (*Regime, None))
    faults.number("hold_duration_mins", trade.hold_duration_mins, low=0.0)
    closed_at: object = trade.closed_at
    if closed_at is not None and not isinstance(closed_at, dt.datetime):
        faults.add(f"closed_at must be a datetime or None, got {closed_at!r}")
    _indicators(faults, "indicators_at_entry", indicators)
    faults.raise_if_any()


def _indicators(faults: Faults, name: str, indicators: object) -> None:
    if not isinstance(indicators, Mapping):
        faults.add(f"{name} must map names to numbers, got {indicators!r:.80}")
        return
    for key, value in indicators.items():
        if value is not None and not _is_number(value):
            faults.add(f"{name}[{key!r}] must be a number, got {value!r}")


def _is_number(value: object) -> bool:
    if isinstance(value, (bool, str)):
        return isinstance(value, bool)  # a flag is 0 or 1; a text is none, though float() would read "3"
    return hasattr(value, "__float__") or hasattr(value, "__index__")
