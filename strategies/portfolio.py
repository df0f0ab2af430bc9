"""PortfolioStrategy: a fund of strategies on one account, whose capital the meta-allocator spreads."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from bisect import bisect_right
from collections.abc import Iterable
from typing import Any, NamedTuple

import backtrader as bt
import numpy as np

from ai_backtrader.brokers import FundBroker
from ai_backtrader.checks import Faults
from ai_backtrader.datafeeds import FeatureRows
from ai_backtrader.errors import SettingsError
from ai_backtrader.meta_allocator import AllocationPlan, MetaAllocator, capped_weights
from ai_backtrader.strategies.hosting import Member, hosted
from ai_backtrader.values import Regime

__all__ = ["Planned", "PortfolioStrategy"]

_CRUMB = 1e-4  # of the fund: less is not worth a transfer
_DAYS_PER_YEAR = 365.25


class Planned(NamedTuple):
    """A plan and when it was made."""

    bar: int
    at: dt.datetime
    plan: AllocationPlan


@dataclasses.dataclass
class _Track:
    """Daily record of one member, kept as sums."""

    value: float
    peak: float
    days: int = 0
    mean: float = 0.0
    m2: float = 0.0
    drawdown: float = 0.0
    trades: int = 0

    def add(self, value: float) -> float:
        """Close a day at a share value and return its return; a share that owes money is worth nothing."""
        value = max(value, 0.0)
        change = value / self.value - 1.0 if self.value > 0.0 else 0.0
        self.value, self.peak = value, max(self.peak, value)
        self.drawdown = max(self.drawdown, 1.0 - value / self.peak)
        self.days += 1
        delta = change - self.mean
        self.mean += delta / self.days
        self.m2 += delta * (change - self.mean)
        return change

    def figures(self, days_per_year: float) -> dict[str, float]:
        """What the allocator may know of it; nothing before there is a spread."""
        if self.days < 2 or not self.m2 > 0.0:
            return {"max_drawdown": self.drawdown}
        deviation = math.sqrt(self.m2 / (self.days - 1))
        return {
            "sharpe_ratio": self.mean / deviation * math.sqrt(days_per_year),
            "n_obs": float(self.days),
            "periods_per_year": days_per_year,
            "volatility": deviation * math.sqrt(days_per_year),
            "max_drawdown": self.drawdown,
        }


class PortfolioStrategy(bt.Strategy):
    """A fund manager: sees all sub-accounts, trades nothing, moves capital between them.

    Every ``rebalance_days`` days, and when the regime of the first data changes, the meta-allocator is told what each
    member has shown so far (daily returns of its sub-account's shares, closed trades, drawdown) and its plan is carried
    out: who holds more than the plan says gives back what it has free, at the end of the next bar; a bar later that
    goes to those who hold less. Open positions are not touched, and no member's returns are disturbed.

    Use :meth:`host`, which adds the members and the manager to a Cerebro whose broker is a ``FundBroker``.

    Params
    ------
    allocator : MetaAllocator or None
        None makes a fresh one for each run.
    rebalance_days : int, default 30
        Days between two plans; 0 never changes the weights of the start.
    warm_up_days : int, default 30
        Days before the first plan.
    on_regime_change : bool, default True
        Plan anew when the trend's label changes (at most once a day).
    risk_budget : float or None
        Largest forecast loss of a day, as a fraction of the fund; None takes the allocator's.

    Attributes
    ----------
    plans : list of Planned
        Every plan that was made.
    """

    params = (
        ("allocator", None),
        ("rebalance_days", 30),
        ("warm_up_days", 30),
        ("on_regime_change", True),
        ("risk_budget", None),
    )

    @classmethod
    def host(cls, cerebro: Any, members: Iterable[Member | type[Any]], **params: Any) -> None:
        """Add strategies to a Cerebro, each with a sub-account, and the manager after them.

        Parameters
        ----------
        cerebro
            Its broker must be a :class:`~ai_backtrader.brokers.FundBroker`.
        members
            :class:`~ai_backtrader.strategies.Member` or plain strategy classes.
        **params
            Of the manager.

        Raises
        ------
        SettingsError
            If the broker is another, there is no member, two share a name, or the weights exceed 1.
        """
        if not isinstance(cerebro.broker, FundBroker):
            raise SettingsError("PortfolioStrategy", ["set cerebro.broker = FundBroker(cash=...) before host(...)"])
        crew = [member if isinstance(member, Member) else Member(strategy=member) for member in members]
        for member, share in zip(crew, _shares(crew, params.get("allocator")), strict=True):
            index = len(cerebro.strats)
            cerebro.addstrategy(hosted(member.strategy, member.name, share), **member.params)
            if member.sizer is not None:
                sizer, options = member.sizer if isinstance(member.sizer, tuple) else (member.sizer, {})
                cerebro.addsizer_byidx(index, sizer, **options)
        cerebro.addstrategy(cls, **params)

    def __init__(self) -> None:
        if not isinstance(self.broker, FundBroker):
            raise SettingsError("PortfolioStrategy", ["needs a FundBroker; add it with PortfolioStrategy.host"])
        faults = Faults("PortfolioStrategy")
        faults.whole("rebalance_days", self.p.rebalance_days, low=0)
        faults.whole("warm_up_days", self.p.warm_up_days, low=1)
        faults.raise_if_any()
        self.allocator: MetaAllocator = MetaAllocator() if self.p.allocator is None else self.p.allocator
        self.plans: list[Planned] = []
        self._features = FeatureRows(self.data, preloaded=self.env._dopreload)
        self._tracks: dict[str, _Track] = {}
        self._values: dict[str, float] = {}
        self._crew: dict[str, Any] = {}
        self._day: dt.date | None = None
        self._first_day: dt.date | None = None
        self._last_plan_day = 0
        self._days = 0
        self._regimes: list[tuple[dt.datetime, Regime]] = []
        self._due: AllocationPlan | None = None

    def start(self) -> None:
        """Find the members and register them."""
        self._crew = {member.fund_name: member for member in self.env.runningstrats if hasattr(member, "fund_name")}
        for name, account in self.broker.accounts.items():
            self._values[name] = account.fundvalue
            self._tracks[name] = _Track(value=account.fundvalue, peak=account.fundvalue)
            if name not in self.allocator.strategies:
                self.allocator.register_strategy(name, symbol=self.data._name or "")

    def prenext(self) -> None:
        """Members decide for themselves when they are ready; the manager watches from the first bar on."""
        self.next()

    def next(self) -> None:
        """Close days, plan when it is time, carry out."""
        if not len(self.data):
            return
        now = self.data.datetime.datetime(0)
        self._features.advance()
        turned = self._note_regime(now)
        new_day = self._day is not None and now.date() != self._day
        if new_day:
            self._close_day()
        self._day = now.date()
        self._first_day = self._first_day or self._day
        if self._due is not None:
            self._pay_out(self._due)
            self._due = None
        if self.p.rebalance_days and self._days >= self.p.warm_up_days:
            since = self._days - self._last_plan_day if self.plans else self.p.rebalance_days
            if since >= self.p.rebalance_days or (turned and self.p.on_regime_change and since >= 1):
                self._plan(now)
        for name, account in self.broker.accounts.items():
            self._values[name] = account.fundvalue

    def _note_regime(self, now: dt.datetime) -> bool:
        if not self._features.ready:
            return False
        regime = self._features.regime
        turned = not self._regimes or self._regimes[-1][1] is not regime
        if turned:
            self._regimes.append((now, regime))
        return turned

    def _regime_at(self, when: dt.datetime | None) -> Regime | None:
        if when is None:
            return None
        place = bisect_right(self._regimes, when, key=lambda entry: entry[0])
        return self._regimes[place - 1][1] if place else None

    def _close_day(self) -> None:
        self._days += 1
        for name, track in self._tracks.items():
            self.allocator.add_return(name, track.add(self._values[name]))

    def _plan(self, now: dt.datetime) -> None:
        assert self._first_day is not None  # a day was closed  # noqa: S101
        span = max(1, (now.date() - self._first_day).days)
        days_per_year = self._days / span * _DAYS_PER_YEAR
        for name, track in self._tracks.items():
            trades = self._crew[name].fund_trades
            for trade in trades[track.trades :]:
                self.allocator.on_trade_complete(dataclasses.replace(trade, regime=self._regime_at(trade.opened_at)))
            track.trades = len(trades)
            self.allocator.register_strategy(name, track.figures(days_per_year), symbol=self.data._name or "")
        total = max(0.0, self.broker.getvalue())
        regime = self._regimes[-1][1] if self._regimes else None
        plan = self.allocator.calculate_allocation(
            total_capital=total, current_regime=regime, risk_budget=self.p.risk_budget
        )
        self.plans.append(Planned(len(self), now, plan))
        self._last_plan_day = self._days
        for name, weight in plan.weights.items():
            account = self.broker.accounts.get(name)
            if account is not None and account.get_value() - weight * total > _CRUMB * total:
                self.broker.transfer(name, None, account.get_value() - weight * total)
        self._due = plan

    def _pay_out(self, plan: AllocationPlan) -> None:
        """What was given back goes to those below their weight, in proportion to what they lack."""
        total = self.broker.getvalue()
        lacking = {
            name: weight * total - account.get_value()
            for name, weight in plan.weights.items()
            if (account := self.broker.accounts.get(name)) is not None and account.fundvalue > 0.0
        }
        lacking = {name: amount for name, amount in lacking.items() if amount > _CRUMB * total}
        wanted, there = sum(lacking.values()), self.broker.unallocated
        if not wanted or not there > _CRUMB * total:
            return
        for name, amount in lacking.items():
            self.broker.transfer(None, name, amount * min(1.0, there / wanted))


def _shares(crew: list[Member], allocator: MetaAllocator | None) -> list[float]:
    """Share of the fund that each member starts with."""
    faults = Faults("PortfolioStrategy")
    names = [member.name for member in crew]
    if not names:
        faults.add("host at least one member")
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        faults.add(f"members must have names of their own, got {', '.join(doubled)} twice: Member(name=...)")
    told = sum(member.weight for member in crew if member.weight is not None)
    if told > 1.0 + 1e-9:
        faults.add(f"the weights must add up to at most 1, got {told:g}")
    silent = [member for member in crew if member.weight is None]
    settings = (allocator or MetaAllocator()).settings
    equal = capped_weights(np.ones(len(silent)), settings.min_weight, settings.max_weight, total=max(1.0 - told, 0.0))
    if silent and not equal.all():
        faults.add(f"{len(silent)} members of at least {settings.min_weight:.0%} each do not fit into {1.0 - told:.0%}")
    faults.raise_if_any()
    given = iter(equal.tolist())
    return [next(given) if member.weight is None else float(member.weight) for member in crew]
