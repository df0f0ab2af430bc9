"""AISizer sizes strategies that exist, without changing them."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import pytest

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.leverage import LeverageSettings
from ai_backtrader.market import MarketData
from ai_backtrader.sizers import AISizer

NO_KELLY = LeverageSettings(min_kelly_trades=1_000, kelly_window=1_000)


class Recorded(bt.Strategy):
    """Base that writes down fills and refusals."""

    def __init__(self) -> None:
        self.cross = bt.ind.CrossOver(bt.ind.SMA(period=10), bt.ind.SMA(period=30))
        self.fills: list[tuple[int, float, float]] = []
        self.refused: list[Any] = []
        self.returned: list[Any] = []

    def notify_order(self, order: Any) -> None:
        if order.status == order.Completed:
            self.fills.append((len(self), order.executed.size, order.executed.psize))
        elif order.status in (order.Margin, order.Rejected):
            self.refused.append(order)


class CloseAndTurn(Recorded):
    def next(self) -> None:
        if self.cross[0] > 0:
            self.close()
            self.buy()
        elif self.cross[0] < 0:
            self.close()
            self.sell()


class ExitBySell(Recorded):
    def next(self) -> None:
        if not self.position and self.cross[0] > 0:
            self.buy()
        elif self.position and self.cross[0] < 0:
            self.sell()


class Brackets(Recorded):
    def next(self) -> None:
        if not self.position and self.cross[0] != 0:
            price, sign = self.data.close[0], self.cross[0]
            send = self.buy_bracket if sign > 0 else self.sell_bracket
            kind = {
                "exectype": bt.Order.Market,
                "stopprice": price * (1 - 0.01 * sign),
                "limitprice": price * (1 + 0.02 * sign),
            }
            self.returned.append(send(**kind))


class Pyramid(Recorded):
    def next(self) -> None:
        if len(self) % 50 == 0:
            self.buy()


@pytest.fixture(scope="module")
def eurusd() -> MarketData:
    return load_sample().head(2_000)


def run(strategy: Any, data: MarketData, *, levered: bool = True, **sizer: Any) -> Any:
    cerebro = bt.Cerebro(stdstats=False)
    if levered:
        cerebro.broker = LeverageBroker()
    cerebro.broker.setcash(10_000.0)
    cerebro.broker.setcommission(commission=0.0001)
    cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addstrategy(strategy)
    cerebro.addsizer(AISizer, **{"settings": NO_KELLY, **sizer})
    return cerebro.run()[0]


def test_a_reversal_by_close_and_order_ends_on_the_other_side(eurusd: MarketData) -> None:
    strategy = run(CloseAndTurn, eurusd)
    after = [position for _, _, position in strategy.fills]
    assert any(position > 0 for position in after)
    assert any(position < 0 for position in after)
    # Every second fill closes to exactly zero before the other side is opened.
    assert all(position == 0.0 for position in after[1::2])


def test_a_sell_that_is_an_exit_closes_the_whole_position(eurusd: MarketData) -> None:
    strategy = run(ExitBySell, eurusd)
    assert len(strategy.fills) > 4
    assert all(position >= 0.0 for _, _, position in strategy.fills)
    assert [position == 0.0 for _, _, position in strategy.fills[1::2]] == [True] * (len(strategy.fills) // 2)


def test_the_whole_of_a_pyramid_stays_within_what_one_position_may_have(eurusd: MarketData) -> None:
    strategy = run(Pyramid, eurusd)
    assert strategy.fills
    decisions = strategy.getsizer().decisions
    largest = max(decision.risk_metrics["notional_usd"] for decision in decisions)
    peak = max(position for _, _, position in strategy.fills)
    assert peak * eurusd.close.min() <= largest * 1.02


def test_the_first_size_is_the_managers(eurusd: MarketData) -> None:
    strategy = run(CloseAndTurn, eurusd)
    bar, size, _ = strategy.fills[0]
    decision = next(decision for decision in strategy.getsizer().decisions if decision.position_size_pct > 0.0)
    wanted = 10_000.0 * decision.position_size_pct * decision.recommended_leverage / eurusd.close[bar - 2]
    assert abs(size) == pytest.approx(wanted, rel=1e-12)


def test_orders_before_the_features_are_ready_are_refused(eurusd: MarketData) -> None:
    strategy = run(CloseAndTurn, eurusd)
    early = [order for order in strategy.refused if "not ready" in order.info["reject_reason"]]
    assert early
    assert not strategy.fills[0][0] < 121


def test_a_vetoed_bracket_gives_rejected_orders_on_any_broker(eurusd: MarketData) -> None:
    for levered in (True, False):
        strategy = run(Brackets, eurusd, levered=levered, confidence=0.0)
        assert strategy.returned
        assert strategy.fills == []
        assert all(order.status == order.Rejected for orders in strategy.returned for order in orders[:1])
        assert all(order is not None for orders in strategy.returned for order in orders)


def test_brackets_that_are_sized_trade_and_protect(eurusd: MarketData) -> None:
    strategy = run(Brackets, eurusd)
    assert len(strategy.fills) > 4
    assert all(position == 0.0 for _, _, position in strategy.fills[1::2])


def test_a_signal_strategy_is_reached(eurusd: MarketData) -> None:
    class Signal(bt.Indicator):
        lines = ("signal",)

        def __init__(self) -> None:
            self.lines.signal = bt.ind.SMA(period=10) - bt.ind.SMA(period=30)

    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker()
    cerebro.adddata(PerpetualData(dataname=eurusd))
    cerebro.add_signal(bt.SIGNAL_LONGSHORT, Signal)
    cerebro.addsizer(AISizer, settings=NO_KELLY)
    strategy = cerebro.run()[0]
    assert strategy.analyzers.aisizer.get_analysis()["asked"] > 10
    assert max(decision.recommended_leverage for decision in strategy.getsizer().decisions) > 1.0


def test_it_learns_from_the_trades_of_a_strategy_that_knows_nothing_of_it(eurusd: MarketData) -> None:
    strategy = run(CloseAndTurn, eurusd)
    closed = sum(position == 0.0 for _, _, position in strategy.fills)
    assert strategy.getsizer().manager.kelly.trades == closed
    assert strategy.getsizer().manager.experience_table()


def test_without_an_edge_it_stops_and_goes_on_on_paper(eurusd: MarketData) -> None:
    settings = LeverageSettings(min_kelly_trades=5)
    strategy = run(CloseAndTurn, eurusd, settings=settings)
    analysis = strategy.analyzers.aisizer.get_analysis()
    closed = sum(position == 0.0 for _, _, position in strategy.fills)
    assert analysis["refused"] > 0
    assert strategy.getsizer().manager.kelly.trades > closed


def test_no_order_is_refused_for_want_of_cash(eurusd: MarketData) -> None:
    for levered in (True, False):
        strategy = run(CloseAndTurn, eurusd, levered=levered, risk_budget=0.5)
        assert not [order for order in strategy.refused if order.status == order.Margin]


def test_leverage_stays_below_its_cap(eurusd: MarketData) -> None:
    strategy = run(CloseAndTurn, eurusd, max_leverage=2.0)
    assert max(decision.recommended_leverage for decision in strategy.getsizer().decisions) <= 2.0
