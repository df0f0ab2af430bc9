"""Published maintenance tables that ship with the package, each with its source and date."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from importlib import resources

from ai_backtrader.errors import SettingsError
from ai_backtrader.market.margin import MaintenanceTiers

__all__ = ["TierTable", "load_tiers", "tier_tables"]


@dataclass(frozen=True, kw_only=True)
class TierTable:
    """A published maintenance table with its origin.

    Attributes
    ----------
    name
        What :func:`load_tiers` takes (``"binance-BTCUSDT"``).
    venue, symbol
        Exchange and instrument.
    date
        Day on which the table was in force. Exchanges change them: a backtest over other years uses today's rules.
    source
        Where it was published.
    tiers
        The table.
    """

    name: str
    venue: str
    symbol: str
    date: dt.date
    source: str
    tiers: MaintenanceTiers


def tier_tables() -> tuple[str, ...]:
    """Names of the tables that ship with the package."""
    folder = resources.files("ai_backtrader.market") / "tiers"
    return tuple(sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json")))


def load_tiers(name: str) -> TierTable:
    """Read one of the tables that ship with the package.

    Raises
    ------
    SettingsError
        If there is none of that name; the message lists those there are.

    Examples
    --------
    >>> load_tiers("binance-BTCUSDT").tiers.max_leverage(1_000_000)
    75.0
    """
    known = tier_tables()
    if name not in known:
        raise SettingsError("load_tiers", [f"name must be one of {', '.join(known)}, got {name!r}"])
    text = (resources.files("ai_backtrader.market") / "tiers" / f"{name}.json").read_text(encoding="utf-8")
    table = json.loads(text)
    return TierTable(
        name=name,
        venue=table["venue"],
        symbol=table["symbol"],
        date=dt.date.fromisoformat(table["date"]),
        source=table["source"],
        tiers=MaintenanceTiers.from_brackets_json(table),
    )
