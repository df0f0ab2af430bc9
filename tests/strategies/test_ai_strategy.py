"""AIStrategy trades what the orchestrator decides, sees no future, and learns from what closes."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import numpy as np
import pytest

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.market import MarketData, compute_features
from ai_backtrader.strategies import AIStrategy
from ai_backtrader.values import Action, Direction


class Watched(AIStrategy):
    """AIStrategy that writes down its account and its orders."""

    def __init__(self) -> None:
        super().__init__()
        self.account: list[tuple[float, float]] = []
        self.fills: list[tuple[Any, ...]] = []

    def next(self) -> None:
        super().next()
        self.account.append((self.broker.getcash(), self.broker.getvalue()))

    def notify_order(self, order: Any) -> None:
        super().notify_order(order)
        if order.status == order.Completed:
            self.fills.append((len(order.data), order.executed.size, order.executed.price, order.executed.comm))


def run(*datas: MarketData, broker: Any = None, cerebro: dict[str, Any] | None = None, **params: Any) -> Any:
    engine = bt.Cerebro(stdstats=False, **(cerebro or {}))
    engine.broker = LeverageBroker() if broker is None else broker
    engine.broker.setcash(10_000.0)
    engine.broker.setcommission(commission=0.0001)
    for data in datas:
        engine.adddata(PerpetualData(dataname=data))
    engine.addstrategy(Watched, **params)
    return engine.run()[0]


@pytest.fixture(scope="module")
def eurusd() -> MarketData:
    return load_sample().head(2_500)


@pytest.fixture(scope="module")
def traded(eurusd: MarketData) -> Any:
    return run(eurusd)


def test_it_trades_both_ways_with_leverage(traded: Any) -> None:
    trades = traded.closed_trades
    assert {trade.direction for trade in trades} == {Direction.LONG, Direction.SHORT}
    assert max(trade.leverage for trade in trades) > 1.0
    assert all(trade.pnl_pct >= -100.0 for trade in trades)


def test_it_decides_on_every_bar_from_the_first_with_features(traded: Any, eurusd: MarketData) -> None:
    ready_from = compute_features(eurusd).ready_from
    assert len(traded.decisions) == len(eurusd) - ready_from
    first = eurusd.times[ready_from].astype("datetime64[us]").item()
    assert traded.decisions[0].at == first


def test_a_trade_carries_the_features_of_the_bar_before_its_entry(traded: Any, eurusd: MarketData) -> None:
    features = compute_features(eurusd)
    times = eurusd.times.astype("datetime64[us]").tolist()
    for trade in traded.closed_trades:
        entry = times.index(trade.opened_at)
        assert dict(trade.indicators_at_entry) == features.indicators(entry - 1)
        assert eurusd.low[entry] <= trade.entry_price <= eurusd.high[entry]


def test_closed_trades_add_up_to_the_account(traded: Any) -> None:
    assert traded.position.size == 0
    assert traded.broker.getvalue() == pytest.approx(
        10_000.0 + sum(trade.pnl for trade in traded.closed_trades), abs=1e-8
    )


def test_every_closed_trade_reaches_the_leverage_manager(traded: Any) -> None:
    learned = traded.engine.leverage_manager.kelly.trades
    assert learned == min(200, len(traded.closed_trades) + len(traded.paper_trades))


def test_withheld_trades_are_followed_on_paper(traded: Any) -> None:
    assert len(traded.paper_trades) > 0
    assert all(trade.paper for trade in traded.paper_trades)
    assert not any(trade.paper for trade in traded.closed_trades)


def test_the_future_changes_nothing_before_it(traded: Any, eurusd: MarketData) -> None:
    for cut in (700, 1_400, 2_100):
        short = run(eurusd.head(cut))
        assert list(short.decisions) == traded.decisions[: len(short.decisions)]
        assert short.account == traded.account[: len(short.account)]


def test_the_same_run_twice_gives_the_same_answer(traded: Any, eurusd: MarketData) -> None:
    again = run(eurusd)
    assert again.decisions == traded.decisions
    assert again.fills == traded.fills


@pytest.mark.parametrize("options", [{"runonce": False}, {"preload": False}, {"exactbars": 1}], ids=str)
def test_the_way_cerebro_runs_changes_nothing(options: dict[str, Any], traded: Any, eurusd: MarketData) -> None:
    other = run(eurusd.head(1_200), cerebro=options)
    assert list(other.decisions) == traded.decisions[: len(other.decisions)]
    assert other.account == traded.account[: len(other.account)]


def test_every_entry_has_its_stop_and_target_on_the_right_side(traded: Any) -> None:
    wished = [decision for decision in traded.decisions if decision.action is not Action.HOLD]
    assert wished
    for decision in wished:
        sign, price = decision.action.sign, decision.sizing.risk_metrics["stop_price"]
        assert decision.stop_loss == pytest.approx(price)
        assert sign * decision.take_profit > sign * decision.stop_loss


def test_no_trade_loses_more_at_its_stop_than_the_risk_budget(eurusd: MarketData) -> None:
    careful = run(eurusd.head(1_500), risk_budget=0.002)
    assert careful.closed_trades
    for decision in careful.decisions:
        if decision.action is not Action.HOLD:
            assert decision.sizing.risk_metrics["risk_fraction"] <= 0.002 + 1e-12


def test_without_shorts_a_sell_only_closes(eurusd: MarketData) -> None:
    long_only = run(eurusd.head(1_500), allow_short=False)
    assert {trade.direction for trade in long_only.closed_trades} == {Direction.LONG}


def test_on_backtraders_own_broker_nothing_is_levered(eurusd: MarketData) -> None:
    plain = run(eurusd.head(1_500), broker=bt.brokers.BackBroker())
    assert plain.closed_trades
    assert all(trade.leverage == 1.0 for trade in plain.closed_trades)


def test_two_feeds_are_each_traded_by_themselves(eurusd: MarketData) -> None:
    other = MarketData.from_frame(
        1.0 / eurusd.head(1_500).to_frame().rename(columns={"high": "low", "low": "high"}), symbol="USDEUR"
    )
    both = run(eurusd.head(1_500), other)
    assert {trade.symbol for trade in both.closed_trades} == {"EURUSD", "USDEUR"}
    assert len(both.decisions) == 2 * len(run(eurusd.head(1_500)).decisions)


def test_data_shorter_than_the_warm_up_are_not_traded(eurusd: MarketData) -> None:
    short = run(eurusd.head(60))
    assert len(short.decisions) == 0
    assert short.broker.getvalue() == 10_000.0


def test_a_flat_market_is_not_traded() -> None:
    import pandas as pd

    index = pd.date_range("2024-01-01", periods=400, freq="h", tz="UTC")
    frame = pd.DataFrame(
        {name: np.full(400, 100.0) for name in ("open", "high", "low", "close", "volume")}, index=index
    )
    flat = run(MarketData.from_frame(frame, symbol="FLAT"))
    assert flat.closed_trades == []
    assert all(decision.action is Action.HOLD for decision in flat.decisions)


def test_the_perpetual_pays_funding(shared_csv: Any) -> None:
    perpetual = MarketData.from_csv(shared_csv("BTCUSDT-perp-1h-2020-2023.csv.gz")).head(4_000)
    strategy = run(perpetual)
    paid = sum(trade.funding for trade in strategy.closed_trades)
    assert paid != 0.0
    assert paid == pytest.approx(strategy.broker.funding_paid(), abs=1e-8)
