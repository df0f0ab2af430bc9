"""Capital across the strategies of a fund, bar by bar: who held how much, and who earned it."""

from __future__ import annotations

import math
from array import array
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd

from ai_backtrader.analyzers.recording import analysis_of, times_of
from ai_backtrader.errors import SettingsError
from ai_backtrader.meta_allocator import diversification_score, effective_number

__all__ = ["Allocations"]


class Allocations(bt.Analyzer):
    """Capital, contribution and spread of a fund; belongs to its manager (a ``PortfolioStrategy``).

    ``cerebro.addanalyzer`` gives every strategy an analyzer; on those that run in a sub-account the analysis is empty.

    ``get_analysis()`` gives ``members``: by name ``start``, ``end`` (capital), ``moved_in`` (net of what was taken
    out), ``profit`` (end less start less moved in), ``contribution`` (profit over the fund's start), ``mean_weight``,
    ``share_return`` (of a share of the sub-account: what it earned whatever capital it had); ``cash`` (mean weight of
    the fund's own cash), ``diversification`` and ``effective_number`` (means over bars), ``plans``, ``transfers``
    (count), ``moved`` (sum), ``netting_saving`` and ``netted_notional``.
    """

    def start(self) -> None:
        """Begin with empty books."""
        self._times = array("d")
        self._capital: list[list[float]] = []

    def next(self) -> None:
        """Record the capital of each sub-account."""
        broker = self.strategy.broker
        accounts = getattr(broker, "accounts", None)
        if accounts is None:
            return
        if not self._capital:
            self._names = list(accounts)
            self._first = {name: account.startingcash for name, account in accounts.items()}
        self._times.append(self.strategy.datetime[0])
        self._capital.append([broker.unallocated, *(account.get_value() for account in accounts.values())])

    def prenext(self) -> None:
        """Record from the first bar on."""
        self.next()

    def frame(self) -> pd.DataFrame:
        """Capital by bar: column ``cash`` and one a member.

        Raises
        ------
        SettingsError
            If the strategy is not the manager of a fund.
        """
        if not self._capital:
            raise SettingsError("Allocations", ["the strategy is not the manager of a fund (PortfolioStrategy)"])
        return pd.DataFrame(self._capital, columns=["cash", *self._names], index=times_of(self._times))

    def plans(self) -> pd.DataFrame:
        """Weight by plan and member, with regime, forecast loss, diversification and health."""
        rows = []
        for planned in getattr(self.strategy, "plans", ()):
            plan = planned.plan
            row: dict[str, Any] = {
                "at": planned.at, "regime": plan.regime, "cash": plan.cash_weight, "forecast_loss": plan.forecast_loss,
                "diversification": plan.diversification, "changed": plan.changed,
            }  # fmt: skip
            row |= plan.weights | {f"health_{score.strategy_id}": score.health for score in plan.scores}
            rows.append(row)
        return pd.DataFrame(rows)

    def stop(self) -> None:
        """Sum up."""
        self.rets = analysis_of({}) if not self._capital else analysis_of(self._figures())

    def _figures(self) -> dict[str, object]:
        broker = self.strategy.broker
        capital = np.array(self._capital)
        total = capital.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            weights = np.where(total[:, None] > 0.0, capital / total[:, None], np.nan)
        held = np.maximum(np.nan_to_num(weights[:, 1:]), 0.0)
        moved = dict.fromkeys(self._names, 0.0)
        for transfer in broker.transfers:
            if transfer.source is not None:
                moved[transfer.source] -= transfer.moved
            if transfer.target is not None:
                moved[transfer.target] += transfer.moved
        members = {}
        for place, name in enumerate(self._names, start=1):
            start, end = self._first[name], float(capital[-1, place])
            profit = end - start - moved[name]
            account = broker.accounts[name]
            members[name] = {
                "start": start, "end": end, "moved_in": moved[name], "profit": profit,
                "contribution": profit / broker.startingcash, "mean_weight": _mean(weights[:, place]),
                "share_return": account.fundvalue / account.p.fundstartval - 1.0,
            }  # fmt: skip
        return {
            "members": members,
            "cash": _mean(weights[:, 0]),
            "diversification": _mean(np.array([diversification_score(row) for row in held])),
            "effective_number": _mean(np.array([effective_number(row) for row in held])),
            "plans": len(getattr(self.strategy, "plans", ())),
            "transfers": sum(transfer.moved > 0.0 for transfer in broker.transfers),
            "moved": math.fsum(transfer.moved for transfer in broker.transfers),
            "netting_saving": broker.netting_saving,
            "netted_notional": broker.netted_notional,
        }


def _mean(values: np.ndarray[Any, Any]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan
