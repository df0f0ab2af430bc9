"""Evolved strategies that Cerebro has run, beside the compiled simulation of their rules, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd

from ai_backtrader.analyzers.performance import Performance
from ai_backtrader.analyzers.recording import times_of
from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.market import MaintenanceTiers, MarketData
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import FILL_DTYPE, FillReason, SimulationResult, simulate

__all__ = ["RunProof", "prove_run"]

_NO_REASON = -1
_SIMULATED: Mapping[str, Any] = {
    "checksubmit": True, "eosbar": False, "filler": None, "slip_fixed": 0.0, "coc": False, "coo": False,
}  # fmt: skip
"""What the simulation assumes of Backtrader's broker."""
_SLIPPED: Mapping[str, Any] = {"slip_open": True, "slip_match": True, "slip_limit": True, "slip_out": False}
"""What it assumes where prices slip."""
_MARGINED: Mapping[str, Any] = {
    "leverage": 1.0, "margin_mode": "isolated", "margin_always": False, "trigger": "mark", "fee_in_maintenance": False,
    "partial_liquidation": False, "funding_hours": 8.0, "funding_offset": 0.0, "bar_label": "auto",
}  # fmt: skip
"""What it assumes of ``LeverageBroker``."""


@dataclass(frozen=True, kw_only=True)
class RunProof:
    """A run in Cerebro beside the compiled simulation of its rules under the same broker.

    Attributes
    ----------
    fills, bars
        Compared; 0 where nothing was.
    difference
        The first thing that is not the same, simulation against Cerebro; None where nothing differs.
    not_applicable
        Why there was nothing to compare; empty where there was.
    """

    fills: int = 0
    bars: int = 0
    difference: str | None = None
    not_applicable: str = ""

    @property
    def equal(self) -> bool:
        """Whether it was compared and nothing differs."""
        return not self.not_applicable and self.difference is None

    @property
    def status(self) -> str:
        """``"proven"``, ``"differs"`` or ``"not applicable"``."""
        return "not applicable" if self.not_applicable else "proven" if self.equal else "differs"

    def __str__(self) -> str:
        if self.not_applicable:
            return f"not applicable: {self.not_applicable}"
        if self.difference is not None:
            return f"differs from the simulation of its rules: {self.difference} in Cerebro"
        fills = f"{self.fills:,} {'fill' if self.fills == 1 else 'fills'}"
        return f"proven: {fills} equal bit for bit, and cash and equity at {self.bars:,} bars"


class _NoTwinError(Exception):
    """The simulation has no such run; the message says why."""


def prove_run(run: Any, *, rules: StrategyChromosome | None = None, data: MarketData | None = None) -> RunProof:
    """Simulate the rules of a strategy that Cerebro has run, under the broker of that run, and compare.

    Every fill (bar, price, size, commission, funding, profit, reason), the refused orders, and cash and equity at every
    bar. Costs, leverage, maintenance, funding and slippage are read from the broker.

    Parameters
    ----------
    run
        A strategy run with the analyzer :class:`~ai_backtrader.analyzers.Performance`, or that analyzer.
    rules
        What it trades; None takes those of a strategy made by ``compile_strategy``, with the params it ran with, and
        those that a file of ``export_source`` was written from.
    data
        Its bars; None takes them from the feed.

    Returns
    -------
    RunProof
        ``str`` of it says it in a sentence. A run that the simulation does not know (other brokers, several feeds, a
        sizer, rules of one's own) is not applicable, and why is told.
    """
    try:
        performance = _performance_of(run)
        strategy = performance.strategy
        chosen = _rules_of(strategy, rules)
        options = _broker_options(strategy, chosen)
        bars = _bars_of(strategy, performance, data)
        try:
            compiled = simulate(bars, chosen, cash=performance.start_value, **options)
        except AIBacktraderError as error:
            raise _NoTwinError(str(error)) from error
    except _NoTwinError as reason:
        return RunProof(not_applicable=str(reason))
    ran = _as_simulated(performance, compiled)
    return RunProof(fills=len(compiled.fills), bars=len(compiled.equity), difference=compiled.first_difference(ran))


def _performance_of(run: Any) -> Performance:
    if isinstance(run, SimulationResult):
        raise _NoTwinError("it is a simulation, nothing was run in Cerebro")
    found = [one for one in getattr(run, "analyzers", (run,)) if isinstance(one, Performance)]
    if not found:
        raise _NoTwinError("the run has no analyzer Performance, which keeps its fills")
    if getattr(found[0], "strategy", None) is None:
        raise _NoTwinError("only the analyzer is left of the run")
    return found[0]


def _rules_of(strategy: Any, given: StrategyChromosome | None) -> StrategyChromosome:
    own = getattr(strategy, "rules", None)
    if given is None and isinstance(own, StrategyChromosome):
        given = own
    if given is None and isinstance(text := getattr(type(strategy), "evolved_from", None), str):
        try:
            given = StrategyChromosome.from_json(text)
        except AIBacktraderError as error:
            raise _NoTwinError(f"its evolved_from cannot be read ({error})") from error
    if given is None:
        raise _NoTwinError("no evolved rules, so there is no simulation of them")
    if getattr(strategy.p, "use_sizer", False):
        raise _NoTwinError("a sizer chose its sizes")
    return given


def _broker_options(strategy: Any, rules: StrategyChromosome) -> dict[str, Any]:
    """Arguments of ``simulate`` that say what the broker of the run was."""
    broker, feed = strategy.broker, strategy.data
    if len(strategy.datas) > 1:
        raise _NoTwinError("it traded several feeds")
    if len(getattr(strategy.env, "runningstrats", ())) > 1:
        raise _NoTwinError("other strategies traded in the same run")
    levered = type(broker) is LeverageBroker
    if not levered and type(broker) is not bt.brokers.BackBroker:
        raise _NoTwinError(f"the simulation is of LeverageBroker and Backtrader's own, not of {type(broker).__name__}")
    if not levered and rules.risk.leverage > 1.0:
        raise _NoTwinError("Backtrader's own broker knows no leverage")
    slippage = float(broker.p.slip_perc)
    _expect(broker, {**_SIMULATED, **(_SLIPPED if slippage else {}), **(_MARGINED if levered else {})})
    options = {
        "commission": _commission(broker, feed), "slippage": slippage, "shortcash": bool(broker.p.shortcash),
        "funding": False,
    }  # fmt: skip
    if not levered:
        return options
    if isinstance(broker.p.funding, str):
        raise _NoTwinError("its funding was a line of the feed")
    if broker._instruments:
        raise _NoTwinError("the broker had lot steps or least sizes")
    if not (broker.p.tiers is None or isinstance(broker.p.tiers, MaintenanceTiers)):
        raise _NoTwinError("the broker had maintenance tables by feed")
    return options | {
        "tiers": broker.p.tiers, "funding": broker.p.funding, "liquidation_fee": float(broker.p.liquidation_fee),
    }  # fmt: skip


def _expect(broker: Any, settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        if getattr(broker.p, name) != value:
            raise _NoTwinError(f"the simulation does not know the broker's {name}={getattr(broker.p, name)!r}")


def _commission(broker: Any, feed: Any) -> float:
    # LeverageBroker dresses schemes up for its own valuation: this is what the user set.
    scheme = bt.brokers.BackBroker.getcommissioninfo(broker, feed)
    plain = (
        type(scheme) in (bt.CommInfoBase, bt.CommissionInfo)
        and scheme._commtype == bt.CommInfoBase.COMM_PERC
        and scheme.stocklike
        and (scheme.p.mult, scheme.p.interest, scheme.p.leverage) == (1.0, 0.0, 1.0)
    )
    if not plain:
        raise _NoTwinError("its commission is no plain fraction of the notional")
    return float(scheme.p.commission)


def _bars_of(strategy: Any, performance: Performance, given: MarketData | None) -> MarketData:
    feed, close = strategy.data, performance.price
    resampled = getattr(feed, "resampling", 0) or getattr(feed, "replaying", 0)
    held = given if given is not None else None if resampled else getattr(feed, "market_data", None)
    if held is None:
        held = _bars_of_lines(feed, len(close))
    if len(held) != len(close) or not np.array_equal(held.close, close):
        raise _NoTwinError("the bars at hand are not those that it traded")
    return held


def _bars_of_lines(feed: Any, bars: int) -> MarketData:
    names = ("open", "high", "low", "close", "volume")
    if getattr(feed.lines, "funding_rate", None) is not None or len(feed.lines.close.array) < bars:
        raise _NoTwinError("the feed kept no bars; give data")
    columns = {name: np.array(getattr(feed.lines, name).array[:bars]) for name in names}
    columns["volume"] = np.nan_to_num(columns["volume"])
    index = pd.DatetimeIndex(times_of(feed.lines.datetime.array[:bars]))
    try:
        return MarketData.from_frame(pd.DataFrame(columns, index=index), symbol=feed._name or "data", jump_factor=1e9)
    except AIBacktraderError as error:
        raise _NoTwinError(f"its bars are no market data ({error})") from error


def _as_simulated(performance: Performance, compiled: SimulationResult) -> SimulationResult:
    """The run in Cerebro in the simulation's words."""
    fills = np.array([(*row[:-1], _reason(row[-1])) for row in performance.executions], FILL_DTYPE)
    # Orders of an exported file say nothing of their reason: all else of their fills is compared.
    silent = np.flatnonzero(fills["reason"] == _NO_REASON)
    silent = silent[silent < len(compiled.fills)]
    fills["reason"][silent] = compiled.fills["reason"][silent]
    return SimulationResult(
        symbol=compiled.symbol, times=compiled.times, bars_per_year=compiled.bars_per_year,
        start_cash=compiled.start_cash, leverage=compiled.leverage, fills=fills, equity=performance.equity,
        cash=performance.cash, rejected=performance.rejected_orders,
    )  # fmt: skip


def _reason(told: str) -> int:
    return int(FillReason[told.upper()]) if told.upper() in FillReason.__members__ else _NO_REASON
