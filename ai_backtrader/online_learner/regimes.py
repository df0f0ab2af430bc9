"""Results of a strategy by market regime."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ai_backtrader.errors import SettingsError
from ai_backtrader.values import Regime

__all__ = ["RegimePerformance", "RegimeTable"]


class RegimePerformance(NamedTuple):
    """Trades entered in a regime: how many, how many won, and what they earned together, percent points."""

    n_trades: int
    wins: int
    pnl_pct: float

    @property
    def win_rate(self) -> float | None:
        """Fraction; None without a trade."""
        return self.wins / self.n_trades if self.n_trades else None

    @property
    def average_pnl_pct(self) -> float | None:
        """Percent points; None without a trade."""
        return self.pnl_pct / self.n_trades if self.n_trades else None


_NONE = RegimePerformance(0, 0, 0.0)


class RegimeTable:
    """Counts by regime; None is a trade whose regime was not told."""

    def __init__(self) -> None:
        self._rows: dict[Regime | None, RegimePerformance] = {}
        self._total = _NONE

    def add(self, regime: Regime | None, pnl_pct: float) -> None:
        """Count a trade."""
        row, total, won = self.of(regime), self._total, pnl_pct > 0.0
        self._rows[regime] = RegimePerformance(row.n_trades + 1, row.wins + won, row.pnl_pct + pnl_pct)
        self._total = RegimePerformance(total.n_trades + 1, total.wins + won, total.pnl_pct + pnl_pct)

    def of(self, regime: Regime | None) -> RegimePerformance:
        """Counts of one regime."""
        return self._rows.get(regime, _NONE)

    def total(self) -> RegimePerformance:
        """Counts of all trades."""
        return self._total

    def performance(self) -> dict[Regime | None, RegimePerformance]:
        """Counts of the regimes that had trades."""
        return dict(self._rows)

    def state_dict(self) -> dict[str, Any]:
        """State as plain values that JSON holds."""
        rows = [["" if regime is None else regime.value, *row] for regime, row in self._rows.items()]
        return {"rows": rows, "total": list(self._total)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave; raise SettingsError if it is damaged."""
        try:
            self._rows = {Regime.parse(label or None): _row(*row) for label, *row in state["rows"]}
            self._total = _row(*state["total"])
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError("RegimeTable", [f"the state is damaged: {error!r}"]) from error


def _row(n_trades: int, wins: int, pnl_pct: float) -> RegimePerformance:
    if not (0 <= wins <= n_trades and math.isfinite(pnl_pct)):
        raise ValueError(f"{wins} wins of {n_trades} trades, {pnl_pct} percent points")
    return RegimePerformance(int(n_trades), int(wins), float(pnl_pct))
