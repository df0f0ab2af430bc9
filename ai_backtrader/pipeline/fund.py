"""One Cerebro run of all who trade, each on a sub-account of its own, and what was recorded of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import backtrader as bt
import numpy as np
from numpy.typing import NDArray

from ai_backtrader.brokers import FundBroker
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.engine import Engine
from ai_backtrader.events import TradeClosed
from ai_backtrader.market import MarketData
from ai_backtrader.meta_allocator import MetaAllocator
from ai_backtrader.orchestrator import Decision
from ai_backtrader.pipeline.members import BuyAndHold, RegimeRules, from_bar
from ai_backtrader.pipeline.settings import PipelineSettings
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.strategies import AIStrategy, Member, PortfolioStrategy, compile_strategy
from ai_backtrader.strategies.adaptation import Adaptation, AdaptationRecord
from ai_backtrader.strategies.portfolio import Planned
from ai_backtrader.values import Regime

__all__ = ["AI", "HOLD", "TECHNICAL", "Crew", "FundRun", "fees_paid", "run_fund"]

Floats = NDArray[np.float64]

AI, TECHNICAL, HOLD = "ai", "technical", "buy_and_hold"
WATCHED = 0.01  # of the fund at least: without capital there would be no record to judge a member by


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who trades beside AIStrategy and buy and hold.

    Attributes
    ----------
    technical
        Rules of the technical strategy by regime, None for all bars; empty for none.
    evolved
        Evolved strategies by name.
    """

    technical: Mapping[Regime | None, StrategyChromosome]
    evolved: Mapping[str, StrategyChromosome]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the members, AIStrategy first, buy and hold last."""
        return (AI, *((TECHNICAL,) if self.technical else ()), *self.evolved, HOLD)


@dataclass(frozen=True, kw_only=True)
class FundRun:
    """What a run of the fund recorded, from the close before its first decision on.

    Attributes
    ----------
    times
        Of the bars, shape (bars,).
    fund
        Value at each close, shape (bars,); the first one is before any trade.
    members
        Share value of each member's sub-account, shape (bars,): capital that comes or goes does not move it.
    weights
        Share of the fund that each member's account holds, shape (bars,).
    plans
        Of the allocator.
    decisions
        Of AIStrategy, one a bar.
    trades
        Closed trades by member.
    fees, funding
        That each member paid, positions that are still open included; commissions and liquidation fees, in the
        account's currency. Negative funding was received.
    adaptations
        Searches that AIStrategy made on the way.
    """

    times: NDArray[np.datetime64]
    fund: Floats
    members: dict[str, Floats]
    weights: dict[str, Floats]
    plans: list[Planned]
    decisions: list[Decision]
    trades: dict[str, list[TradeClosed]]
    fees: dict[str, float]
    funding: dict[str, float]
    adaptations: list[AdaptationRecord]


class _Fund(PortfolioStrategy):
    """The manager, with a record of every bar; it manages from the bar on at which its members begin."""

    params = (("on_bar", None), ("first", 0))  # type: ignore[assignment]  # Backtrader adds them to those of the base

    def __init__(self) -> None:
        super().__init__()
        self.values: list[float] = []
        self.accounts: dict[str, list[tuple[float, float]]] = {}

    def next(self) -> None:
        """Record, then manage."""
        self.values.append(self.broker.getvalue())
        for name, account in self.broker.accounts.items():
            self.accounts.setdefault(name, []).append((float(account.fundvalue), float(account.get_value())))
        if self.p.on_bar is not None:
            self.p.on_bar(len(self.data))
        if len(self.data) > self.p.first:
            super().next()


def run_fund(
    data: MarketData,
    first: int,
    crew: Crew,
    engine: Engine,
    settings: PipelineSettings,
    *,
    weights: Mapping[str, float] | None = None,
    allocator: MetaAllocator | None = None,
    adaptation: Adaptation | None = None,
    on_bar: Callable[[int], None] | None = None,
) -> FundRun:
    """Trade bars from ``first`` on with everybody.

    Parameters
    ----------
    data
        Market data that end where the run shall end.
    first
        Bar at whose close everybody decides first; all bars before it are fed, and not traded: averages start where the
        searches' did, in a rehearsal as in a walk.
    crew, engine, settings
        Who trades, AIStrategy's systems, costs.
    weights
        Shares of the fund to start with, by member; at least a hundredth each. None: equal ones.
    allocator
        Moves capital on the way; None: nobody does.
    adaptation
        When AIStrategy searches anew, on all bars up to then; None: never.
    on_bar
        Called with the number of bars done.
    """
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = FundBroker(
        cash=settings.cash,
        account_options={
            "max_leverage": settings.max_leverage, "tiers": settings.tiers, "funding": settings.funding,
            "liquidation_fee": settings.liquidation_fee, "slip_perc": settings.slippage, "slip_open": True,
        },
    )  # fmt: skip
    cerebro.broker.setcommission(commission=settings.commission)
    cerebro.adddata(PerpetualData(dataname=data))  # type: ignore[call-arg]  # Backtrader takes params out of the call
    _Fund.host(
        cerebro, _members(crew, engine, settings, first, weights, adaptation), allocator=allocator, on_bar=on_bar,
        first=first,
        rebalance_days=settings.rebalance_days if allocator is not None else 0,
    )  # fmt: skip
    ran = cerebro.run()
    manager = ran[-1]
    names, accounts = crew.names, manager.broker.accounts
    ai = ran[0]
    return FundRun(
        times=data.times[first:],
        fund=np.array(manager.values[first:]),
        members={name: np.array([value for value, _ in manager.accounts[name][first:]]) for name in names},
        weights={
            name: np.array([worth for _, worth in manager.accounts[name][first:]]) / np.array(manager.values[first:])
            for name in names
        },
        plans=manager.plans,
        decisions=list(ai.decisions),
        trades={member.fund_name: list(member.fund_trades) for member in ran[:-1]},
        fees={name: fees_paid(accounts[name]) for name in names},
        funding={name: float(accounts[name].funding_paid()) for name in names},
        adaptations=list(ai.adaptations),
    )


def fees_paid(account: Any) -> float:
    """Commissions and liquidation fees: closing fills book the funding of their position, too, which is none."""
    booked = account.funding_paid() - math.fsum(account.position_funding(data) for data in account.positions)
    return float(math.fsum(order.executed.comm for order in account.orders) - booked)


def _members(
    crew: Crew,
    engine: Engine,
    settings: PipelineSettings,
    first: int,
    weights: Mapping[str, float] | None,
    adaptation: Adaptation | None,
) -> Sequence[Member]:
    kinds: dict[str, tuple[type[Any], dict[str, Any]]] = {
        AI: (
            AIStrategy,
            {
                "engine": engine, "risk_budget": settings.risk_budget, "max_leverage": settings.max_leverage,
                "allow_short": settings.allow_short, "slippage": settings.slippage, "strategy_id": AI,
                "adaptation": adaptation,
            },
        ),
        TECHNICAL: (RegimeRules, {"rules": dict(crew.technical)}),
        **{name: (compile_strategy(rules), {}) for name, rules in crew.evolved.items()},
        HOLD: (BuyAndHold, {}),
    }  # fmt: skip
    names = crew.names
    shares = {name: 1.0 / len(names) if weights is None else max(WATCHED, weights.get(name, 0.0)) for name in names}
    whole = max(1.0, sum(shares.values()))
    return [
        Member(strategy=from_bar(kinds[name][0], first), name=name, params=kinds[name][1], weight=shares[name] / whole)
        for name in names
    ]
