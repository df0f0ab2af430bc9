"""The report of an audit: two runs side by side, and what the first hid."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader import evidence as ev
from ai_backtrader.analyzers.recording import times_of
from ai_backtrader.audit.findings import Finding, FindingKind
from ai_backtrader.audit.record import Record
from ai_backtrader.brokers import Liquidation

__all__ = ["AuditReport", "AuditedRun", "audited_run"]


@dataclass(frozen=True, kw_only=True)
class AuditedRun:
    """One of the two runs.

    Attributes
    ----------
    broker
        ``"Backtrader"`` or ``"exchange"``.
    times
        Start of each step's bar (UTC), shape (n,).
    equity, cash
        Account value and cash at each step's close, shape (n,).
    metrics
        ``final_equity``, ``lowest_equity``, ``total_return``, ``sharpe_ratio``, ``max_drawdown`` (fractions; NaN where
        undefined), ``fills``, ``fees`` (commissions, liquidation fees, interest), ``refused_orders``,
        ``liquidations``, ``funding`` (paid).
    liquidations
        What the broker liquidated.
    """

    broker: str
    times: NDArray[np.datetime64]
    equity: NDArray[np.float64]
    cash: NDArray[np.float64]
    metrics: Mapping[str, float]
    liquidations: tuple[Liquidation, ...] = ()


def audited_run(
    broker: str,
    record: Record,
    *,
    start: float,
    liquidations: tuple[Liquidation, ...] = (),
    funding: float = 0.0,
    interest: float = 0.0,
) -> AuditedRun:
    """A run from its record."""
    times, equity, cash = times_of(record.numbers), np.array(record.value), np.array(record.cash)
    final = float(equity[-1]) if equity.size else start
    lowest = float(equity.min()) if equity.size else start
    # Returns after a ruin mean nothing: the Sharpe ratio is undefined then.
    returns = ev.bar_returns(equity, start=start)
    year = ev.bars_per_year(times)
    metrics = {
        "final_equity": final,
        "lowest_equity": lowest,
        "total_return": final / start - 1.0,
        "sharpe_ratio": ev.sharpe_ratio(returns, bars_per_year=year) if lowest > 0.0 else math.nan,
        "max_drawdown": ev.max_drawdown(np.concatenate(([start], equity))),
        "fills": float(len(record.fills)),
        # Backtrader books funding with the fill that closes; what is not booked yet is in ``interest``.
        "fees": math.fsum(fill.commission for fill in record.fills) + interest - funding,
        "refused_orders": float(sum(order.refused_at is not None for order in record.orders.values())),
        "liquidations": float(len(liquidations)),
        "funding": funding,
    }
    return AuditedRun(broker=broker, times=times, equity=equity, cash=cash, metrics=metrics, liquidations=liquidations)


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """What Backtrader's own broker hid about a strategy.

    Attributes
    ----------
    strategy
        Name of its class.
    feeds
        Names of the feeds.
    leverage, start_cash
        Of the account.
    findings
        In order of their first occurrence; empty when nothing was hidden.
    backtrader, exchange
        The strategy, unchanged, on Backtrader's own broker and on LeverageBroker.
    data_sha256
        Fingerprints of the feeds.
    """

    strategy: str
    feeds: tuple[str, ...]
    leverage: float
    start_cash: float
    findings: tuple[Finding, ...]
    backtrader: AuditedRun
    exchange: AuditedRun
    data_sha256: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def of(self, kind: FindingKind | str) -> tuple[Finding, ...]:
        """Findings of one kind (one for each feed)."""
        wanted = FindingKind(kind)
        return tuple(finding for finding in self.findings if finding.kind is wanted)

    def to_dict(self, *, max_events: int | None = 20) -> dict[str, Any]:
        """Plain values that ``json.dumps(..., allow_nan=False)`` takes; NaN becomes None.

        Parameters
        ----------
        max_events
            Most events of a finding; None gives all. The curves are left out.
        """
        return {
            "strategy": self.strategy,
            "feeds": list(self.feeds),
            "leverage": self.leverage,
            "start_cash": self.start_cash,
            "clean": self.clean,
            "findings": [finding.to_dict(max_events=max_events) for finding in self.findings],
            "backtrader": _plain(self.backtrader.metrics),
            "exchange": _plain(self.exchange.metrics)
            | {"liquidation_list": [_liquidation(record) for record in self.exchange.liquidations]},
            "data_sha256": list(self.data_sha256),
        }

    def __str__(self) -> str:
        head = (
            f"{self.strategy} on {', '.join(self.feeds)} at {self.leverage:g}x: Backtrader's broker ends at "
            f"{self.backtrader.metrics['final_equity']:,.2f}, the exchange at "
            f"{self.exchange.metrics['final_equity']:,.2f}."
        )
        if self.clean:
            return f"{head} Nothing was hidden."
        return "\n".join([head, *(f"- {finding.kind.value}: {finding.text}" for finding in self.findings)])


def _plain(metrics: Mapping[str, float]) -> dict[str, Any]:
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _liquidation(record: Liquidation) -> dict[str, Any]:
    values = dataclasses.asdict(record)
    return {
        name: f"{value.isoformat()}Z" if isinstance(value, dt.datetime) else value for name, value in values.items()
    }
