"""What a run gives, compiled or in Cerebro: fills, trades, equity and cash per bar, metrics."""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ai_backtrader.evidence import metrics

__all__ = ["FILL_DTYPE", "TRADE_DTYPE", "FillReason", "SimulationResult", "trades_of_fills"]


class FillReason(enum.IntEnum):
    """Why a fill happened.

    ``ENTRY`` opens a position, also the other side of a reversal. All others close one: ``EXIT`` by the exit section
    alone, ``REVERSAL`` by a market order sent because the entry of the other side came (whether or not that entry is
    accepted), ``STOP``, ``TARGET`` and ``TRAILING`` by the bracket child of that kind, ``LIQUIDATION`` by the broker.
    """

    ENTRY = 0
    EXIT = 1
    REVERSAL = 2
    STOP = 3
    TARGET = 4
    TRAILING = 5
    LIQUIDATION = 6


FILL_DTYPE = np.dtype(
    [
        ("bar", np.int64),
        ("price", np.float64),
        ("size", np.float64),
        ("commission", np.float64),
        ("funding", np.float64),
        ("pnl", np.float64),
        ("reason", np.int8),
    ]
)
"""One fill: bar index; price as Backtrader's ``order.executed.price`` has it (``size * price / size``); signed size;
commission as ``order.executed.comm`` has it (liquidation fee and the funding booked by a closing fill included); that
funding alone; gross profit of the part that was closed; :class:`FillReason`."""

TRADE_DTYPE = np.dtype(
    [
        ("entry_bar", np.int64),
        ("exit_bar", np.int64),
        ("side", np.int8),
        ("entry_price", np.float64),
        ("exit_price", np.float64),
        ("size", np.float64),
        ("pnl", np.float64),
        ("pnlcomm", np.float64),
        ("leverage", np.float64),
        ("exit_reason", np.int8),
        ("liquidated", np.bool_),
    ]
)
"""One closed trade: bar indices, side +1 or -1, prices, size (positive), profit before and after commission and
funding (Backtrader's ``pnl`` and ``pnlcomm``), leverage, :class:`FillReason` of the last fill."""


def trades_of_fills(fills: NDArray[np.void], leverage: float = 1.0) -> NDArray[np.void]:
    """Closed trades of a run's fills, in the order they closed.

    Parameters
    ----------
    fills
        Shape (fills,), dtype :data:`FILL_DTYPE`, in time order, starting flat.
    leverage
        Multiple of the margin posted, written into every trade.

    Returns
    -------
    ndarray
        Shape (trades,), dtype :data:`TRADE_DTYPE`. A position that is still open at the end is no trade yet.
    """
    trades = []
    held = entry_price = pnl = commission = size = 0.0
    entry_bar = -1
    for bar, price, amount, comm, _, gain, reason in fills.tolist():
        before = held
        held += amount
        if before == 0.0:
            entry_bar, entry_price, pnl, commission, size = bar, price, 0.0, comm, abs(amount)
            continue
        if (before > 0.0) == (amount > 0.0):
            entry_price = (before * entry_price + amount * price) / held
            commission += comm
            size = max(size, abs(held))
            continue
        crossed = held != 0.0 and (held > 0.0) != (before > 0.0)
        closing_part = abs(before) / abs(amount) if crossed else 1.0
        pnl += gain
        commission += comm * closing_part
        if held != 0.0 and not crossed:
            continue
        trades.append(
            (
                entry_bar, bar, 1 if before > 0.0 else -1, entry_price, price, size, pnl, pnl - commission, leverage,
                reason, reason == FillReason.LIQUIDATION,
            )
        )  # fmt: skip
        if crossed:
            entry_bar, entry_price, pnl, commission = bar, price, 0.0, comm * (1.0 - closing_part)
            size = abs(held)
    return np.array(trades, dtype=TRADE_DTYPE)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SimulationResult:
    """Outcome of one strategy on one feed; the same type from ``simulate`` and from ``run_in_cerebro``.

    Attributes
    ----------
    symbol
        Name of the market.
    times
        Bar starts, shape (bars,), UTC.
    bars_per_year
        Measured from the data.
    start_cash
        Account value before the first bar.
    leverage
        Multiple of the margin posted.
    fills
        Shape (fills,), dtype :data:`FILL_DTYPE`.
    equity, cash
        Account value and free cash at each bar's close, shape (bars,), warm-up included.
    rejected
        Orders refused (Backtrader's statuses Margin and Rejected, bracket children included).
    funding_paid
        Funding of the whole run, that of a position still open included; negative: received.
    """

    symbol: str
    times: NDArray[np.datetime64]
    bars_per_year: float
    start_cash: float
    leverage: float
    fills: NDArray[np.void]
    equity: NDArray[np.float64]
    cash: NDArray[np.float64]
    rejected: int = 0
    funding_paid: float = 0.0

    def __repr__(self) -> str:
        figures = self.metrics
        return (
            f"SimulationResult({self.symbol!r}, {len(self.equity)} bars, {len(self.fills)} fills, "
            f"{len(self.trades)} trades, return {figures['total_return']:.2%}, Sharpe {figures['sharpe']:.2f})"
        )

    @functools.cached_property
    def trades(self) -> NDArray[np.void]:
        """Closed trades, shape (trades,), dtype :data:`TRADE_DTYPE`."""
        return trades_of_fills(self.fills, self.leverage)

    @functools.cached_property
    def position(self) -> NDArray[np.float64]:
        """Signed size held at each bar's close, shape (bars,)."""
        held = np.concatenate(([0.0], np.cumsum(self.fills["size"])))
        return held[np.searchsorted(self.fills["bar"], np.arange(len(self.equity)), side="right")]

    @functools.cached_property
    def metrics(self) -> Mapping[str, float]:
        """Figures of the run; returns, drawdowns, rates and shares are fractions, undefined is NaN.

        ``final_equity``, ``total_return``, ``cagr``, ``annual_volatility``, ``sharpe``, ``sortino``, ``calmar``,
        ``max_drawdown``, ``max_drawdown_bars``, ``exposure`` (share of bars that closed with a position), ``trades``,
        ``win_rate``, ``profit_factor``, ``expectancy``, ``sqn``, ``fees`` (commissions and liquidation fees),
        ``funding``, ``turnover``, ``liquidations``, ``rejected``. Ratios are annualised by the data's own bars per
        year. Trades count net of costs.
        """
        annual = self.bars_per_year
        equity = np.concatenate(([self.start_cash], self.equity))
        returns = metrics.bar_returns(self.equity, start=self.start_cash)
        growth = float(equity[-1] / self.start_cash)
        profits = self.trades["pnlcomm"]
        drawdown = metrics.max_drawdown(equity)
        rate = metrics.compound_rate(growth, years=len(returns) / annual)
        notional = float(np.sum(np.abs(self.fills["size"]) * self.fills["price"]))
        figures = {
            "final_equity": float(equity[-1]),
            "total_return": growth - 1.0,
            "cagr": rate,
            "annual_volatility": metrics.annual_volatility(returns, bars_per_year=annual),
            "sharpe": metrics.sharpe_ratio(returns, bars_per_year=annual),
            "sortino": metrics.sortino_ratio(returns, bars_per_year=annual),
            "calmar": rate / drawdown if drawdown > 0.0 else float("nan"),
            "max_drawdown": drawdown,
            "max_drawdown_bars": float(metrics.max_drawdown_bars(equity)),
            "exposure": metrics.exposure(self.position),
            "trades": float(len(profits)),
            "win_rate": metrics.win_rate(profits),
            "profit_factor": metrics.profit_factor(profits),
            "expectancy": metrics.expectancy(profits),
            "sqn": metrics.system_quality_number(profits),
            "fees": float(np.sum(self.fills["commission"]) - np.sum(self.fills["funding"])),
            "funding": self.funding_paid,
            "turnover": metrics.turnover(notional, self.equity, bars_per_year=annual),
            "liquidations": float(np.count_nonzero(self.fills["reason"] == FillReason.LIQUIDATION)),
            "rejected": float(self.rejected),
        }
        return MappingProxyType(figures)

    def first_difference(self, other: SimulationResult) -> str | None:
        """Where two results first differ, bit for bit, in words; None when fills, cash and equity are equal.

        Fills are compared first (their number, then field by field in time order), then refused orders, cash and
        equity.
        """
        common = min(len(self.fills), len(other.fills))
        mine, theirs = self.fills[:common], other.fills[:common]
        where = [(_first_unequal(mine[name], theirs[name]), name) for name in FILL_DTYPE.fields or ()]
        found = [(row, name) for row, name in where if row is not None]
        if found:
            row, name = min(found, key=lambda item: item[0])
            pair = f"{mine[name][row].item()!r} against {theirs[name][row].item()!r}"
            return f"fill {row} (bar {mine['bar'][row]}): {name} {pair}"
        if len(self.fills) != len(other.fills):
            longer = self if len(self.fills) > len(other.fills) else other
            extra = longer.fills[common]
            reason = FillReason(int(extra["reason"])).name.lower()
            return f"{len(self.fills)} fills against {len(other.fills)}: first extra is {reason} at bar {extra['bar']}"
        if self.rejected != other.rejected:
            return f"{self.rejected} refused orders against {other.rejected}"
        pairs: tuple[tuple[str, Any, Any], ...] = (
            ("cash", self.cash, other.cash),
            ("equity", self.equity, other.equity),
        )
        for name, left, right in pairs:
            if len(left) != len(right):
                return f"{len(left)} bars of {name} against {len(right)}"
            bar = _first_unequal(left, right)
            if bar is not None:
                return f"{name} at bar {bar}: {left[bar].item()!r} against {right[bar].item()!r}"
        return None


def _first_unequal(left: ArrayLike, right: ArrayLike) -> int | None:
    a, b = np.asarray(left), np.asarray(right)
    unequal = np.flatnonzero((a != b) & ~((a != a) & (b != b)))
    return int(unequal[0]) if unequal.size else None
