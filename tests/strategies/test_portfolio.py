"""A fund of strategies in one Cerebro: sub-accounts apart, sums whole, capital moved by the allocator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.brokers import FundBroker, LeverageBroker
from ai_backtrader.datafeeds import MarketData, PerpetualData, load_sample
from ai_backtrader.errors import SettingsError
from ai_backtrader.meta_allocator import AllocatorSettings, MetaAllocator
from ai_backtrader.sizers import AISizer
from ai_backtrader.strategies import AIStrategy
from ai_backtrader.strategies.hosting import Member
from ai_backtrader.strategies.portfolio import PortfolioStrategy

BARS = 800


class Cross(bt.Strategy):
    params = (("fast", 10), ("slow", 30), ("side", 1), ("leverage", None))

    def __init__(self) -> None:
        self.cross = bt.ind.CrossOver(bt.ind.SMA(period=self.p.fast), bt.ind.SMA(period=self.p.slow))
        self.values: list[float] = []
        self.closed: list[float] = []

    def notify_trade(self, trade: Any) -> None:
        if trade.isclosed:
            self.closed.append(trade.pnlcomm)

    def next(self) -> None:
        options = {} if self.p.leverage is None else {"leverage": self.p.leverage}
        if self.cross[0] * self.p.side > 0:
            self.close()
            self.buy(**options)
        elif self.cross[0] * self.p.side < 0:
            self.close()
            self.sell(**options)
        self.values.append(self.broker.getvalue())


def size_for(data: MarketData, cash: float) -> float:
    return 0.5 * cash / float(data.close[0])


def solo(data: MarketData, cash: float, account: type, leverage: float | None, **params: Any) -> Any:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = account()
    cerebro.broker.setcash(cash)
    cerebro.broker.setcommission(commission=0.001)
    cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addsizer(bt.sizers.FixedSize, stake=size_for(data, 4000.0))
    cerebro.addstrategy(Cross, leverage=leverage, **params)
    return cerebro.run()[0]


def fund(data: MarketData, members: list[Any], *, cash: float = 10_000.0, netting: bool = False, **options: Any) -> Any:
    account = options.pop("account", LeverageBroker)
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = FundBroker(cash=cash, account=account, netting=netting)
    cerebro.broker.setcommission(commission=0.001)
    cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addsizer(bt.sizers.FixedSize, stake=size_for(data, 4000.0))
    PortfolioStrategy.host(cerebro, members, **options)
    return cerebro.run(), cerebro.broker


def unbooked(broker: Any) -> float:
    return sum(account.position_funding(data) for account in broker.accounts.values() for data in account.positions)


FILES = (
    "BTCUSDT-perp-1h-2020-2023.csv.gz",
    "ETHUSDT-perp-1h-2020-2023.csv.gz",
    "EURUSD-1h-2017-2022.csv.gz",
    "SP500-1d-1999-2018.csv.gz",
    "LTCUSDT-1h-2020-2023.csv.gz",
)


@pytest.fixture(params=FILES)
def market(request: pytest.FixtureRequest, shared_csv: Callable[[str], Path]) -> MarketData:
    return MarketData.from_csv(shared_csv(request.param)).head(BARS)


@pytest.mark.parametrize(("account", "leverage"), [(bt.brokers.BackBroker, None), (LeverageBroker, 5.0)])
def test_hosted_strategies_end_as_they_would_alone_to_the_last_bit(
    market: MarketData, account: type, leverage: float | None
) -> None:
    """Opposite positions on one data: the second member trades against the first."""
    shared = {"leverage": leverage}
    members = [
        Member(strategy=Cross, name="with", weight=0.6, params=shared),
        Member(strategy=Cross, name="against", weight=0.4, params={"side": -1, **shared}),
    ]
    (one, other, manager), broker = fund(market, members, rebalance_days=0, account=account)
    alone = solo(market, 6000.0, account, leverage), solo(market, 4000.0, account, leverage, side=-1)
    for hosted, free in zip((one, other), alone, strict=True):
        assert hosted.values == free.values
        assert hosted.closed == free.closed
        assert len(free.closed) > 10
    assert broker.getvalue() == pytest.approx(sum(free.values[-1] for free in alone), abs=1e-6)
    assert manager.plans == []


def test_profits_of_the_sub_accounts_add_up_to_the_fund(market: MarketData) -> None:
    members = [Member(strategy=Cross, name="a"), Member(strategy=Cross, name="b", params={"side": -1})]
    results, broker = fund(market, members, rebalance_days=5, warm_up_days=5)
    booked = sum(sum(member.closed) for member in results[:2])
    still_open = sum(
        account.getcommissioninfo(data).profitandloss(position.size, position.price, data.close[0])
        for account in broker.accounts.values()
        for data, position in account.positions.items()
        if position.size
    )
    opened = [
        trade
        for member in results[:2]
        for trades in member._trades.values()
        for kept in trades.values()
        for trade in kept
        if trade.isopen
    ]
    costs = sum(trade.pnl - trade.pnlcomm for trade in opened)
    # Funding paid on open positions is booked with their next fill.
    assert broker.getvalue() - 10_000.0 == pytest.approx(booked + still_open - costs - unbooked(broker), abs=1e-6)


def test_capital_moves_without_disturbing_the_value_of_a_share() -> None:
    class Watch(PortfolioStrategy):
        def start(self) -> None:
            super().start()
            self.seen: list[tuple[float, dict[str, tuple[float, float, float]]]] = []

        def next(self) -> None:
            self.seen.append(
                (
                    self.broker.getvalue(),
                    {
                        name: (account.fundvalue, account.get_value(), account.fundshares)
                        for name, account in self.broker.accounts.items()
                    },
                )
            )
            super().next()

    data = load_sample().head(1600)
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = FundBroker(cash=10_000.0)
    cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addsizer(bt.sizers.FixedSize, stake=1000)
    slow = {"fast": 40, "slow": 100}
    members = [
        Cross,
        Member(strategy=Cross, name="slow", params=slow),
        Member(strategy=Cross, name="c", params={"side": -1}),
    ]
    Watch.host(cerebro, members, rebalance_days=10, warm_up_days=10)
    *_, manager = cerebro.run()
    moved = [transfer for transfer in cerebro.broker.transfers if transfer.moved > 0.0]
    assert moved
    assert len(manager.plans) > 5
    for _, accounts in manager.seen:
        for share, value, shares in accounts.values():
            assert share * shares == pytest.approx(value, rel=1e-12)
    # Money moved is neither made nor lost: profits explain the fund to the cent.
    into = dict.fromkeys(cerebro.broker.accounts, 0.0)
    for transfer in moved:
        if transfer.source is not None:
            into[transfer.source] -= transfer.moved
        if transfer.target is not None:
            into[transfer.target] += transfer.moved
    assert sum(into.values()) + cerebro.broker.unallocated == pytest.approx(10_000.0 - 3 * 10_000.0 / 3, abs=1e-6)


def test_plans_hold_the_caps_and_are_carried_out() -> None:
    allocator = MetaAllocator(AllocatorSettings(prior_sharpe=3.0, risk_budget=1.0))
    data = load_sample().head(1500)
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = FundBroker(cash=10_000.0)
    cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addsizer(bt.sizers.FixedSize, stake=100)
    members = [Member(strategy=Cross, name=f"m{n}", params={"fast": 5 + 7 * n, "slow": 30 + 20 * n}) for n in range(4)]
    PortfolioStrategy.host(cerebro, members, rebalance_days=20, allocator=allocator)
    *_, manager = cerebro.run()
    assert manager.plans
    for planned in manager.plans:
        weights = planned.plan.weights
        assert all(weight == 0.0 or 0.05 <= weight <= 0.4 for weight in weights.values())
    final = manager.plans[-1].plan.weights
    total = cerebro.broker.getvalue()
    held = {name: account.get_value() / total for name, account in cerebro.broker.accounts.items()}
    # Small positions: what the plan wants can be moved; since then only profits have shifted the shares.
    for name, weight in final.items():
        assert held[name] == pytest.approx(weight, abs=0.03)


def test_the_future_changes_no_plan() -> None:
    data = load_sample().head(1600)
    members = [Cross, Member(strategy=Cross, name="against", params={"side": -1})]
    (*_, whole), _ = fund(data, members, rebalance_days=10, warm_up_days=10)
    (*_, cut), _ = fund(data.head(1200), members, rebalance_days=10, warm_up_days=10)
    early = [planned for planned in whole.plans if planned.bar <= 1200]
    assert len(early) > 2
    assert early == cut.plans


def test_netting_tells_what_crossing_inside_the_fund_would_save() -> None:
    data = load_sample().head(1000)
    members = [Cross, Member(strategy=Cross, name="against", params={"side": -1})]
    (one, other, _), apart = fund(data, members, rebalance_days=0)
    (*_,), netted = fund(data, members, rebalance_days=0, netting=True)
    # Same size, same bars, other side: nearly every fill meets its opposite.
    paid = sum(trade.pnl - trade.pnlcomm for member in (one, other) for trade in closed_trades(member))
    assert apart.netting_saving == pytest.approx(paid, rel=0.05)
    assert netted.netting_saving == apart.netting_saving
    assert netted.getvalue() - apart.getvalue() == pytest.approx(apart.netting_saving, abs=1e-6)
    assert [account.get_value() for account in netted.accounts.values()] == [
        account.get_value() for account in apart.accounts.values()
    ]


def closed_trades(member: Any) -> list[Any]:
    return [t for trades in member._trades.values() for kept in trades.values() for t in kept if t.isclosed]


def test_copies_that_trade_the_same_way_save_nothing() -> None:
    data = load_sample().head(1000)
    _, broker = fund(data, [Cross, Member(strategy=Cross, name="copy")], rebalance_days=0)
    assert broker.netting_saving == 0.0


def test_ai_strategy_and_sizers_of_their_own_take_part() -> None:
    data = load_sample().head(2500)
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = FundBroker(cash=10_000.0, account_options={"leverage": 1.0})
    cerebro.broker.setcommission(commission=0.00005)
    cerebro.adddata(PerpetualData(dataname=data))
    members = [
        Member(strategy=AIStrategy, name="ai", weight=0.5),
        Member(strategy=Cross, name="cross", weight=0.4, sizer=AISizer),
    ]
    PortfolioStrategy.host(cerebro, members, rebalance_days=0)
    ai, cross, _ = cerebro.run()
    alone = bt.Cerebro(stdstats=False)
    alone.broker = LeverageBroker()
    alone.broker.setcash(5000.0)
    alone.broker.setcommission(commission=0.00005)
    alone.adddata(PerpetualData(dataname=data))
    alone.addstrategy(AIStrategy)
    free = alone.run()[0]
    assert ai.broker.getvalue() == free.broker.getvalue()
    assert [trade.pnl for trade in ai.closed_trades] == [trade.pnl for trade in free.closed_trades]
    assert len(cross.fund_trades) == len(cross.closed)


def test_a_liquidated_member_does_not_touch_the_others() -> None:
    data = load_sample().head(1600)

    class Gambler(bt.Strategy):
        def next(self) -> None:
            if not self.position:
                self.sell(size=self.broker.getcash() * 90.0 / self.data.close[0], leverage=100)

    members = [
        Member(strategy=Gambler, name="gambler", weight=0.3),
        Member(strategy=Cross, name="cross", weight=0.4, params={"leverage": 2.0}),
    ]
    (_, cross, _), broker = fund(data, members, rebalance_days=0)
    assert broker.accounts["gambler"].liquidations
    assert cross.values == solo(data, 4000.0, LeverageBroker, 2.0).values
    assert broker.getvalue() >= 0.0


def test_the_manager_goes_on_when_a_member_has_lost_all() -> None:
    class Loser(bt.Strategy):
        def next(self) -> None:
            if not self.position and self.broker.getcash() > 1.0:
                self.buy(size=self.broker.getcash() * 95.0 / self.data.close[0], leverage=100)

    data = load_sample().head(1600)
    (*_, manager), broker = fund(data, [Cross, Loser], rebalance_days=5, warm_up_days=5)
    assert len(manager.plans) > 3
    assert np.isfinite(broker.getvalue())


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "at least one member"),
        ([Cross, Cross], "names of their own"),
        ([Member(strategy=Cross, weight=0.7), Member(strategy=Cross, name="b", weight=0.7)], "at most 1"),
        ([Member(strategy=Cross, weight=1.0), Member(strategy=Cross, name="b")], "do not fit"),
    ],
)
def test_wrong_members_are_named(members: list[Any], message: str) -> None:
    cerebro = bt.Cerebro()
    cerebro.broker = FundBroker()
    with pytest.raises(SettingsError, match=message):
        PortfolioStrategy.host(cerebro, members)


def test_a_fund_needs_its_broker_and_hosted_strategies() -> None:
    with pytest.raises(SettingsError, match="FundBroker"):
        PortfolioStrategy.host(bt.Cerebro(), [Cross])
    with pytest.raises(SettingsError, match="Strategy class"):
        Member(strategy=int)
    with pytest.raises(SettingsError, match="BackBroker class"):
        FundBroker(account=int)
    cerebro = bt.Cerebro()
    cerebro.broker = FundBroker()
    cerebro.adddata(PerpetualData(dataname=load_sample().head(300)))
    cerebro.addstrategy(Cross)
    with pytest.raises(SettingsError, match="not hosted"):
        cerebro.run()
