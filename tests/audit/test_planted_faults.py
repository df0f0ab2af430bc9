"""Strategies with one planted fault each: the audit finds it, with the bar and the money known by hand."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import backtrader as bt
import pytest

from ai_backtrader.audit import Finding, FindingKind, audit_strategy
from ai_backtrader.market import MaintenanceTiers, MarketData

Make = Callable[..., MarketData]

# Up a little, down by half, and all the way back and beyond.
CRASH = [100.0, 100.0, 101.0, 100.0, 96.0, 92.0, 88.0, 80.0, 70.0, 60.0, 55.0, 60.0, 75.0, 90.0, 110.0, 130.0, 130.0]
RALLY = [100.0, 100.0, 99.0, 100.0, 104.0, 108.0, 112.0, 120.0, 140.0, 180.0, 240.0, 320.0, 320.0, 300.0, 300.0]


def only(report: Any, kind: FindingKind) -> Finding:
    (finding,) = report.of(kind)
    assert str(kind.value) in str(report)
    return finding


class LongAtBarTwo(bt.Strategy):
    """Buys once and waits for better days."""

    params = (("size", 900.0), ("until", 15))

    def next(self) -> None:
        if len(self) == 2:
            self.buy(size=self.p.size)
        elif len(self) == self.p.until:
            self.close()


class ShortAtBarTwo(bt.Strategy):
    params = (("size", 90.0), ("until", 13))

    def next(self) -> None:
        if len(self) == 2:
            self.sell(size=self.p.size)
        elif len(self) == self.p.until:
            self.close()


def test_a_long_that_rides_through_its_liquidation(make_path: Make) -> None:
    report = audit_strategy(LongAtBarTwo, make_path(CRASH), leverage=10)
    finding = only(report, FindingKind.LIQUIDATION_SURVIVED)
    # 10x from 100: (100 - 10) / 0.995 = 90.45; bar 5 falls from 96 to 92, bar 6 to 88.
    assert (finding.count, finding.first_bar, finding.first_time) == (1, 6, dt.datetime(2024, 1, 1, 6))
    assert finding.money == pytest.approx(900 * 100 / 10)
    assert "90.4523" in finding.text
    assert [record.bar_time for record in report.exchange.liquidations] == [finding.first_time]
    assert not report.clean


def test_a_short_that_rides_through_its_liquidation(make_path: Make) -> None:
    report = audit_strategy(ShortAtBarTwo, make_path(RALLY), leverage=10)
    finding = only(report, FindingKind.LIQUIDATION_SURVIVED)
    # (100 + 10) / 1.005 = 109.45, reached when bar 6 rises from 108 to 112.
    assert (finding.count, finding.first_bar) == (1, 6)
    assert finding.money == pytest.approx(90 * 100 / 10)


def test_what_the_dead_position_wins_back(make_path: Make) -> None:
    report = audit_strategy(LongAtBarTwo, make_path(CRASH), leverage=10)
    finding = only(report, FindingKind.GHOST_RECOVERY)
    # Closed at the open of bar 15, 110, dead since 90.4523.
    assert finding.first_bar == 15
    assert finding.money == pytest.approx(900 * (110.0 - 90.0 / 0.995))


def test_an_account_that_owes_money_and_trades_on(make_path: Make) -> None:
    report = audit_strategy(LongAtBarTwo, make_path(CRASH), leverage=10)
    finding = only(report, FindingKind.NEGATIVE_EQUITY)
    # 10,000 - 900 * (100 - close) is negative at 88 (-800), 80, 70, 60, 55, 60, 75.
    assert (finding.count, finding.first_bar) == (7, 6)
    assert finding.money == pytest.approx(900 * 45 - 10_000)
    assert report.exchange.equity.min() > 0.0


class StopBeyondLiquidation(bt.Strategy):
    def next(self) -> None:
        if len(self) == 2:
            self.buy_bracket(size=100, exectype=bt.Order.Market, stopprice=85.0, limitprice=150.0)


def test_a_stop_that_lies_beyond_the_liquidation_price(make_path: Make) -> None:
    report = audit_strategy(StopBeyondLiquidation, make_path(CRASH), leverage=10)
    finding = only(report, FindingKind.LIQUIDATION_SURVIVED)
    assert finding.first_bar == 6
    assert len(report.findings) == 1


class StopThatIsJumped(bt.Strategy):
    def next(self) -> None:
        if len(self) == 2:
            self.buy_bracket(size=100, exectype=bt.Order.Market, stopprice=97.0, limitprice=150.0)


def test_a_gap_that_jumps_over_stop_and_liquidation_price(make_market: Make) -> None:
    calm = (100.0, 101.0, 99.0, 100.0)
    bars = [calm, calm, calm, calm, (86.0, 87.0, 85.0, 86.0), (86.0, 87.0, 85.0, 86.0)]
    report = audit_strategy(StopThatIsJumped, make_market(bars), leverage=10)
    finding = only(report, FindingKind.LIQUIDATION_SURVIVED)
    assert finding.first_bar == 4
    assert "opened at 86" in finding.text


class FallingKnife(bt.Strategy):
    def next(self) -> None:
        if len(self) == 2:
            self.buy(size=100, exectype=bt.Order.Limit, price=97.0)
        elif len(self) == 5:
            self.close()


def test_a_limit_entry_whose_own_bar_goes_through_the_liquidation_price(make_market: Make) -> None:
    calm = (100.0, 101.0, 99.0, 100.0)
    bars = [calm, calm, (100.0, 101.0, 85.0, 96.0), *[(96.0, 97.0, 95.0, 96.0)] * 4]
    report = audit_strategy(FallingKnife, make_market(bars), leverage=10)
    assert only(report, FindingKind.LIQUIDATION_SURVIVED).first_bar == 2


def test_funding_that_nobody_paid(make_path: Make) -> None:
    closes = [100.0] * 40
    rates = [0.0] * 40
    rates[8], rates[16], rates[24], rates[32] = 0.001, 0.002, -0.0005, 0.003
    report = audit_strategy(
        LongAtBarTwo, make_path(closes, funding_rate=rates), leverage=2, params={"size": 150, "until": 30}
    )
    finding = only(report, FindingKind.FUNDING_NOT_CHARGED)
    assert (finding.count, finding.first_bar) == (3, 8)
    # Closed at bar 30, before the last stamp.
    assert finding.money == pytest.approx(150 * 100 * (0.001 + 0.002 - 0.0005))
    assert report.exchange.metrics["funding"] == pytest.approx(finding.money)
    assert len(report.findings) == 1


def test_a_short_for_which_there_is_no_margin(make_path: Make) -> None:
    report = audit_strategy(ShortAtBarTwo, make_path([100.0] * 15), leverage=1, params={"size": 500})
    finding = only(report, FindingKind.SHORT_WITHOUT_MARGIN)
    assert (finding.count, finding.first_bar) == (1, 2)
    assert finding.money == pytest.approx(500 * 100 - 10_000)
    refused = only(report, FindingKind.REFUSED_BY_EXCHANGE)
    assert refused.first_bar == 2
    assert "cash" in refused.text


class PaidByTheShort(bt.Strategy):
    def next(self) -> None:
        if len(self) == 2:
            self.sell(self.datas[0], size=90)
        elif len(self) == 4:
            self.buy(self.datas[1], size=150)


def test_a_long_that_the_proceeds_of_a_short_paid(make_path: Make) -> None:
    feeds = [make_path([100.0] * 10, symbol="A"), make_path([100.0] * 10, symbol="B")]
    report = audit_strategy(PaidByTheShort, feeds, leverage=1)
    finding = only(report, FindingKind.LONG_WITHOUT_MARGIN)
    assert (finding.feed, finding.first_bar) == ("B", 4)
    assert finding.money == pytest.approx(15_000 - (10_000 - 9_000))


class LimitOnTheSlowFeed(bt.Strategy):
    def next(self) -> None:
        if len(self.datas[0]) == 6:
            # The slow bar of 00:00 to 04:00 went down to 90; the order is sent at 05:00.
            self.buy(self.datas[1], size=10, exectype=bt.Order.Limit, price=91.0)


def test_an_order_filled_from_a_bar_that_was_over(make_market: Make, make_path: Make) -> None:
    fast = make_path([100.0] * 24, symbol="FAST")
    slow = make_market([(100.0, 101.0, 90.0, 100.0), *[(100.0, 101.0, 99.0, 100.0)] * 5], symbol="SLOW", hours=4)
    report = audit_strategy(LimitOnTheSlowFeed, [fast, slow], leverage=1)
    finding = only(report, FindingKind.STALE_FILL)
    assert (finding.feed, finding.count) == ("SLOW", 1)
    assert finding.money == pytest.approx(10 * 91)
    assert report.exchange.metrics["fills"] == 0


class TooLargeForItsTier(LongAtBarTwo):
    params = (("size", 500.0),)


def test_a_position_larger_than_the_tier_allows(make_path: Make) -> None:
    tiers = MaintenanceTiers([(0, 30_000, 0.005, 0, 50), (30_000, 1e9, 0.05, None, 5)])
    report = audit_strategy(TooLargeForItsTier, make_path([100.0] * 17), leverage=10, tiers=tiers)
    finding = only(report, FindingKind.LEVERAGE_ABOVE_TIER)
    assert (finding.count, finding.first_bar) == (1, 2)
    assert finding.money == pytest.approx(50_000)
    assert "at most 5x" in finding.text


def test_a_short_that_cannot_be_bought_back_any_more(make_path: Make) -> None:
    report = audit_strategy(ShortAtBarTwo, make_path(RALLY), leverage=1, params={"until": 12})
    finding = only(report, FindingKind.EXIT_REFUSED)
    # Sold 90 at 100 (cash 19,000); to buy back 90 at 320 costs 28,800.
    assert (finding.count, finding.first_bar) == (1, 12)
    assert report.backtrader.metrics["final_equity"] < 0.0


class TwoPositions(bt.Strategy):
    def next(self) -> None:
        if len(self) == 2:
            self.buy(self.datas[0], size=450)
            self.buy(self.datas[1], size=450)
        elif len(self) == 9:
            self.close(self.datas[0])


def test_a_loss_beyond_the_margin_that_is_paid_with_lent_cash(make_path: Make) -> None:
    feeds = [make_path(CRASH, symbol="A"), make_path([100.0 + 8.0 * i for i in range(len(CRASH))], symbol="B")]
    report = audit_strategy(TwoPositions, feeds, leverage=10)
    finding = only(report, FindingKind.NEGATIVE_CASH)
    # A is closed at the open of bar 9, 70: cash is 10,000 - 4,860 (margin of B) - 450 * 30 (the loss on A).
    assert (finding.feed, finding.first_bar) == ("account", 9)
    assert finding.money == pytest.approx(8_360)
    assert not report.of(FindingKind.NEGATIVE_EQUITY)


class KnowsItsOrders(LongAtBarTwo):
    """Breaks on an order that it did not send, as bookkeeping by reference does."""

    def __init__(self) -> None:
        self.mine: set[int] = set()

    def next(self) -> None:
        if len(self) == 2:
            self.mine.add(self.buy(size=900).ref)

    def notify_order(self, order: Any) -> None:
        if order.status == order.Completed:
            self.mine.remove(order.ref)


def test_a_strategy_that_does_not_stand_a_liquidation(make_path: Make) -> None:
    report = audit_strategy(KnowsItsOrders, make_path(CRASH), leverage=10)
    finding = only(report, FindingKind.STRATEGY_FAILS)
    assert finding.first_bar == 6
    assert "KeyError" in finding.text
    assert report.exchange.equity.size == 6
