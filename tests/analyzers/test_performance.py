"""The Performance analyzer against runs worked by hand and against Backtrader's own analyzers."""

from __future__ import annotations

import datetime as dt
import io
import math
import pickle
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from ai_backtrader import evidence as ev
from ai_backtrader.analyzers import Liquidations, Performance
from ai_backtrader.errors import SettingsError

MODES = {
    "preloaded": {},
    "bar by bar": {"runonce": False},
    "not preloaded": {"preload": False},
    "saving memory": {"exactbars": 1},
}


def performance(strategy: Any) -> Any:
    return strategy.analyzers.performance


def analysis(strategy: Any) -> Any:
    return performance(strategy).get_analysis()


def plain(value: object) -> object:
    """Comparable with ==: NaN equals NaN."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def test_a_run_of_two_trades_worked_by_hand(run: Any, scripted: Any, frame_of: Any) -> None:
    # Bought 50 at 100, sold at 120: +1000. Sold 10 at 120, bought back at 125: -50. One per mille of each fill.
    closes = [100.0, 100.0, 110.0, 120.0, 120.0, 125.0, 125.0]
    strategy = run(
        frame_of(closes), scripted, {"performance": Performance}, commission=0.001, plan={0: 50, 3: -60, 5: 10}
    )
    found = analysis(strategy)
    fees = 0.001 * (50 * 100 + 60 * 120 + 10 * 125)
    assert performance(strategy).equity == pytest.approx(
        [10_000, 9_995, 10_495, 10_995, 10_995 - 7.2, 10_937.8, 10_937.8 - 1.25]
    )
    assert found.final_equity == pytest.approx(10_000 + 1000 - 50 - fees)
    assert found.total_return == pytest.approx(found.final_equity / 10_000 - 1)
    assert found.fees == pytest.approx(fees)
    assert (found.funding, found.liquidations, found.rejected_orders) == (0.0, 0, 0)
    assert (found.trades, found.trades_open, found.trades_won, found.trades_lost) == (2, 0, 1, 1)
    long_profit, short_profit = 1000 - 5 - 6, -50 - 1.2 - 1.25
    assert (found.best_trade, found.worst_trade) == (pytest.approx(long_profit), pytest.approx(short_profit))
    assert found.best_return == pytest.approx(long_profit / 10_000)  # the account before the first trade
    assert found.worst_return == pytest.approx(short_profit / 10_995)  # and before the second
    assert found.expectancy == pytest.approx((long_profit + short_profit) / 2)
    assert found.profit_factor == pytest.approx(long_profit / -short_profit)
    assert found.win_rate == 0.5
    assert found.average_bars == pytest.approx((3 + 2) / 2)
    assert found.exposure == pytest.approx(5 / 7)  # the bar of the last fill closes flat
    assert found.time_above_1x == 0.0
    assert found.max_leverage == pytest.approx(6000 / 10_995)
    assert found.max_drawdown == pytest.approx((10_995 - 10_936.55) / 10_995)
    assert found.max_drawdown_bars == 3
    assert found.buy_and_hold.total_return == pytest.approx(0.25)
    assert found.traded_notional == pytest.approx(13_450)
    assert found.start == dt.datetime(2024, 1, 1)
    assert found.end == dt.datetime(2024, 1, 7)
    assert found.bars == 7


def test_the_annual_figures_are_those_of_the_metrics(run: Any, cross: Any, walk: pd.DataFrame) -> None:
    strategy = run(walk, cross, {"performance": (Performance, {"risk_free": 0.03})}, commission=0.0005)
    found, returns = analysis(strategy), ev.bar_returns(performance(strategy).equity, start=10_000.0)
    assert found.bars_per_year == pytest.approx(8766.0)
    year = {"bars_per_year": found.bars_per_year}
    assert found.cagr == pytest.approx(ev.cagr(returns, **year))
    assert found.volatility == ev.annual_volatility(returns, **year)
    assert found.sharpe_ratio == ev.sharpe_ratio(returns, risk_free=0.03, **year)
    assert found.sortino_ratio == ev.sortino_ratio(returns, risk_free=0.03, **year)
    assert found.calmar_ratio == pytest.approx(ev.calmar_ratio(returns, **year))
    assert found.expected_shortfall == ev.expected_shortfall(returns)
    market = ev.bar_returns(walk["close"].to_numpy())
    assert found.buy_and_hold.total_return == pytest.approx(walk["close"].iloc[-1] / walk["close"].iloc[0] - 1)
    assert found.buy_and_hold.max_drawdown == pytest.approx(ev.max_drawdown(walk["close"]))
    assert found.buy_and_hold.sharpe_ratio == pytest.approx(
        ev.sharpe_ratio(np.concatenate(([0.0], market)), risk_free=0.03, **year)
    )


@pytest.mark.parametrize("mode", MODES)
def test_figures_equal_those_of_backtraders_own_analyzers(
    run: Any, cross: Any, oracle_daily: pd.DataFrame, mode: str
) -> None:
    own = {
        "performance": Performance,
        "drawdown": bt.analyzers.DrawDown,
        "trades": bt.analyzers.TradeAnalyzer,
        "sqn": bt.analyzers.SQN,
        "returns": (bt.analyzers.TimeReturn, {"timeframe": bt.TimeFrame.Days}),
        "leverage": bt.analyzers.GrossLeverage,
        "transactions": bt.analyzers.Transactions,
    }
    strategy = run(oracle_daily, cross, own, commission=0.001, cerebro=MODES[mode])
    theirs = {name: getattr(strategy.analyzers, name).get_analysis() for name in own}
    found = analysis(strategy)
    assert found.trades > 50
    assert found.max_drawdown == pytest.approx(theirs["drawdown"].max.drawdown / 100, rel=1e-12)
    assert found.max_drawdown_bars == theirs["drawdown"].max.len
    assert found.trades == theirs["trades"].total.closed
    assert found.trades_open == theirs["trades"].total.open
    assert (found.trades_won, found.trades_lost) == (theirs["trades"].won.total, theirs["trades"].lost.total)
    assert found.closed_profit == pytest.approx(theirs["trades"].pnl.net.total, rel=1e-12)
    assert found.expectancy == pytest.approx(theirs["trades"].pnl.net.average, rel=1e-12)
    assert found.best_trade == theirs["trades"].won.pnl.max
    assert found.worst_trade == theirs["trades"].lost.pnl.max
    assert found.average_bars == pytest.approx(theirs["trades"].len.average, rel=1e-12)
    assert found.sqn == pytest.approx(theirs["sqn"].sqn, rel=1e-12)
    returns = ev.bar_returns(performance(strategy).equity, start=10_000.0)
    assert returns == pytest.approx(list(theirs["returns"].values()), abs=1e-15)
    fills = performance(strategy).fills()
    rows = [(moment, row[0], row[1]) for moment, day in theirs["transactions"].items() for row in day]
    merged = fills.groupby("time", sort=False)
    assert merged["size"].sum().to_numpy() == pytest.approx([size for _, size, _ in rows], abs=1e-9)
    assert list(merged.groups) == [pd.Timestamp(moment) for moment, _, _ in rows]


def test_leverage_of_a_long_account_equals_backtraders_gross_leverage(run: Any, scripted: Any, walk: Any) -> None:
    own = {"performance": Performance, "gross": bt.analyzers.GrossLeverage}
    strategy = run(walk, scripted, own, plan={5: 60.0, 100: -30.0, 300: -30.0, 400: 80.0})
    gross = list(strategy.analyzers.gross.get_analysis().values())
    assert performance(strategy).leverage == pytest.approx(gross, abs=1e-12)
    assert max(gross) > 0.5


def test_the_analysis_is_the_same_in_every_mode_of_cerebro(run: Any, cross: Any, walk: pd.DataFrame) -> None:
    found = [
        plain(analysis(run(walk, cross, {"performance": Performance}, commission=0.0005, cerebro=mode)))
        for mode in MODES.values()
    ]
    assert found[0]["trades"] > 20
    assert all(other == found[0] for other in found[1:])


def test_a_run_cut_short_has_the_histories_of_the_long_run_so_far(run: Any, cross: Any, walk: pd.DataFrame) -> None:
    long, short = (
        performance(run(frame, cross, {"performance": Performance}, commission=0.0005))
        for frame in (walk, walk.iloc[:500])
    )
    pd.testing.assert_frame_equal(long.curve().iloc[:500], short.curve(), check_freq=False)
    fills = long.fills()
    pd.testing.assert_frame_equal(fills[fills["bar"] < 500], short.fills())
    assert np.array_equal(long.price[:500], short.price)


def test_the_curve_has_the_times_of_the_bars(run: Any, cross: Any, walk: pd.DataFrame) -> None:
    curve = performance(run(walk, cross, {"performance": Performance})).curve()
    assert list(curve.columns) == ["equity", "buy_and_hold", "drawdown", "leverage"]
    assert (curve.index == walk.index).all()


def test_a_first_feed_that_begins_later_is_not_seen_before_it_begins(run: Any, scripted: Any, frame_of: Any) -> None:
    late = frame_of([50.0, 60.0, 66.0], start="2024-01-05")
    early = frame_of([100.0] * 7)
    for mode in MODES.values():
        strategy = run([late, early], scripted, {"performance": Performance}, cerebro=mode)
        assert np.isnan(performance(strategy).price[:4]).all()
        assert performance(strategy).buy_and_hold == pytest.approx([10_000.0] * 5 + [12_000.0, 13_200.0])


def test_positions_of_several_feeds_add_up_to_one_leverage(run: Any, scripted: Any, frame_of: Any) -> None:
    def add_second(cerebro: bt.Cerebro) -> None:
        cerebro.addstrategy(scripted, plan={1: -20}, feed=1)

    frames = [frame_of([100.0] * 6), frame_of([50.0] * 6)]
    strategy = run(frames, scripted, {"performance": Performance}, plan={0: 30}, commission=0.001, prepare=add_second)
    assert performance(strategy).leverage == pytest.approx([0, 3000 / 9997] + [4000 / 9996] * 4)
    found = analysis(strategy)
    # The account is shared: the other strategy's commission and turnover are in, its trade is not.
    assert found.fees == pytest.approx(4.0)
    assert found.traded_notional == pytest.approx(4000)
    assert (found.trades, found.trades_open) == (0, 1)
    assert found.final_equity == pytest.approx(10_000 - found.fees)


def test_a_slower_feed_beside_the_first_leaves_its_history_alone(run: Any, cross: Any, walk: pd.DataFrame) -> None:
    def add_days(cerebro: bt.Cerebro) -> None:
        cerebro.resampledata(cerebro.datas[0], timeframe=bt.TimeFrame.Days, name="days")

    alone = performance(run(walk, cross, {"performance": Performance}))
    strategy = run(walk, cross, {"performance": Performance}, prepare=add_days)
    beside = performance(strategy)
    # Backtrader steps once more at the end, to deliver the day that was not full.
    assert len(beside.curve()) == len(strategy) == len(walk) + 1
    assert (beside.curve().index[:-1] == walk.index).all()
    # Trading begins when the slower feed has its first bar; buy and hold does not wait.
    assert np.array_equal(beside.buy_and_hold[:-1], alone.buy_and_hold)


def test_analyzers_do_not_disturb_the_broker_that_they_watch(run: Any, scripted: Any, frame_of: Any) -> None:
    # The sum of an account's positions depends on the order in which the broker first met them.
    feeds = [frame_of(np.array([0.1, 0.1, 0.3, 0.7, 0.7]) * scale) for scale in (1.0, 3.0, 7.0)]

    def trade_backwards(cerebro: bt.Cerebro) -> None:
        for place in (1, 0):
            cerebro.addstrategy(scripted, plan={0: 3.3}, feed=place)

    brokers = []
    for analyzers in ({}, {"performance": Performance, "liquidations": Liquidations}):
        strategy = run(feeds, scripted, analyzers, plan={0: 1.1}, feed=2, prepare=trade_backwards)
        brokers.append(strategy.broker)
    assert [feed._name for feed in brokers[1].positions] == [
        "feed2",
        "feed1",
        "feed0",
    ]  # of the trades, not of the questions
    assert brokers[0].getvalue() == brokers[1].getvalue()
    assert len(brokers[0].positions) == len(brokers[1].positions)


def test_fills_name_the_feed_that_was_traded(run: Any, scripted: Any, frame_of: Any) -> None:
    frames = [frame_of([100.0] * 4), frame_of([50.0] * 4)]
    fills = performance(run(frames, scripted, {"performance": Performance}, plan={0: 3, 2: -3}, feed=1)).fills()
    assert fills["feed"].tolist() == ["feed1", "feed1"]
    assert fills["size"].tolist() == [3.0, -3.0]
    assert fills["opened"].tolist() == [3.0, 0.0]
    assert fills["closed"].tolist() == [0.0, -3.0]
    assert fills["bar"].tolist() == [1, 3]


def test_costs_and_profits_explain_the_final_equity_to_the_cent(run: Any, cross: Any, walk: pd.DataFrame) -> None:
    def charge_interest(cerebro: bt.Cerebro) -> None:
        cerebro.broker.setcommission(commission=0.0004, interest=0.3, interest_long=True)

    strategy = run(walk, cross, {"performance": Performance}, prepare=charge_interest)
    found = analysis(strategy)
    fills = performance(strategy).fills()
    position = strategy.getposition(strategy.data)
    gross = (
        -(fills["size"] * fills["price"]).sum() + position.size * strategy.data.close[0]
    )  # what prices alone would have made of the cash
    assert found.trades_open == 1
    assert strategy.broker.d_credit[strategy.data] > 0  # interest of the open position, not yet in any commission
    assert found.final_equity == pytest.approx(10_000 + gross - found.fees - found.funding, abs=1e-6)
    assert found.fees > 0.0004 * fills["notional"].sum()


def test_a_futures_contract_counts_with_its_point_value(run: Any, scripted: Any, frame_of: Any) -> None:
    def futures(cerebro: bt.Cerebro) -> None:
        cerebro.broker.setcommission(commission=2.0, margin=500.0, mult=20.0)

    strategy = run(
        frame_of([100.0, 100.0, 101.0, 101.0]), scripted, {"performance": Performance}, plan={0: 3}, prepare=futures
    )
    found = analysis(strategy)
    assert found.final_equity == pytest.approx(10_000 + 3 * 20 - 6)
    assert found.traded_notional == pytest.approx(3 * 100 * 20)
    assert found.max_leverage == pytest.approx(3 * 101 * 20 / 10_054, rel=1e-3)
    assert found.fees == pytest.approx(6.0)


def test_cash_put_in_is_no_profit_in_fund_mode(run: Any, scripted: Any, frame_of: Any) -> None:
    class Deposits(scripted):  # type: ignore[misc, valid-type]  # a fixture's class
        def next(self) -> None:
            super().next()
            if len(self) == 3:
                self.broker.add_cash(10_000.0)

    def fund(cerebro: bt.Cerebro) -> None:
        cerebro.broker.set_fundmode(True)

    closes = [100.0, 100.0, 110.0, 110.0, 110.0, 110.0]
    with_fund = run(frame_of(closes), Deposits, {"performance": Performance}, plan={0: 100}, cash=10_001, prepare=fund)
    assert analysis(with_fund).final_equity == pytest.approx(21_001)
    assert analysis(with_fund).total_return == pytest.approx(1000 / 10_001)
    assert analysis(with_fund).max_drawdown == pytest.approx(0.0, abs=1e-12)
    without = run(
        frame_of(closes), Deposits, {"performance": (Performance, {"fund": False})}, plan={0: 100}, prepare=fund
    )
    assert analysis(without).total_return > 1.0


def test_no_trade_at_all_gives_a_flat_account_and_no_invented_ratio(run: Any, scripted: Any, walk: Any) -> None:
    found = analysis(run(walk, scripted, {"performance": Performance}))
    assert (found.total_return, found.cagr, found.volatility, found.max_drawdown) == (0.0, 0.0, 0.0, 0.0)
    assert (found.trades, found.trades_open, found.exposure, found.fees, found.turnover) == (0, 0, 0.0, 0.0, 0.0)
    unknown = ("sharpe_ratio", "sortino_ratio", "calmar_ratio", "win_rate", "profit_factor", "expectancy", "sqn")
    assert all(math.isnan(found[name]) for name in (*unknown, "kelly_fraction", "best_trade", "average_return"))


def test_a_run_of_one_bar_gives_figures_without_a_year(run: Any, scripted: Any, frame_of: Any) -> None:
    found = analysis(run(frame_of([100.0]), scripted, {"performance": Performance}, plan={0: 1}))
    assert (found.bars, found.total_return, found.final_equity) == (1, 0.0, 10_000.0)
    assert found.start == found.end
    assert math.isnan(found.bars_per_year)
    assert math.isnan(found.cagr)
    assert math.isnan(found.sharpe_ratio)


def test_a_run_without_bars_gives_an_empty_analysis(run: Any, scripted: Any, frame_of: Any) -> None:
    found = analysis(run(frame_of([]), scripted, {"performance": Performance}))
    assert (found.bars, found.start, found.trades) == (0, None, 0)
    assert found.final_equity == 10_000.0
    assert math.isnan(found.total_return)


def test_losses_alone_give_a_win_rate_and_profit_factor_of_zero(run: Any, scripted: Any, frame_of: Any) -> None:
    closes = [100.0, 100.0, 90.0, 90.0, 90.0, 80.0, 80.0, 80.0]
    found = analysis(run(frame_of(closes), scripted, {"performance": Performance}, plan={0: 1, 2: -1, 4: 2, 6: -2}))
    assert (found.trades, found.win_rate, found.profit_factor) == (2, 0.0, 0.0)
    assert found.expectancy == pytest.approx(-15.0)
    assert math.isnan(found.kelly_fraction)
    assert found.sqn < 0


def test_an_account_below_zero_is_told_as_it_is(run: Any, scripted: Any, frame_of: Any) -> None:
    def borrow(cerebro: bt.Cerebro) -> None:
        cerebro.broker.setcommission(leverage=10.0)  # Backtrader lends and never calls the loan

    closes = [100.0, 100.0, 80.0, 80.0, 85.0]
    strategy = run(frame_of(closes), scripted, {"performance": Performance}, plan={0: 900}, prepare=borrow)
    found = analysis(strategy)
    assert found.final_equity == pytest.approx(10_000 - 15 * 900)
    assert found.total_return == pytest.approx(-1.35)
    assert found.cagr == -1.0
    assert found.max_drawdown == pytest.approx(1.8)
    assert found.max_leverage == math.inf
    assert found.time_above_1x == pytest.approx(4 / 5)


def test_a_refused_order_is_counted_once(run: Any, scripted: Any, frame_of: Any) -> None:
    found = analysis(run(frame_of([100.0] * 5), scripted, {"performance": Performance}, plan={0: 1000, 1: 1, 2: 500}))
    assert found.rejected_orders == 2
    assert found.trades_open == 1


def test_bars_per_year_can_be_given(run: Any, cross: Any, walk: pd.DataFrame) -> None:
    found = analysis(run(walk, cross, {"performance": (Performance, {"bars_per_year": 6240})}))
    assert found.bars_per_year == 6240
    assert found.sharpe_ratio == pytest.approx(
        analysis(run(walk, cross, {"performance": Performance})).sharpe_ratio * math.sqrt(6240 / 8766)
    )


def test_wrong_settings_are_named_together(run: Any, scripted: Any, frame_of: Any) -> None:
    wrong = {"bars_per_year": 0, "risk_free": -1.5, "fund": "yes"}
    with pytest.raises(SettingsError, match=r"Performance: 3 faults(.|\n)*bars_per_year(.|\n)*risk_free(.|\n)*fund"):
        run(frame_of([1.0]), scripted, {"performance": (Performance, wrong)})


def test_the_analysis_holds_plain_numbers_with_dot_access_and_no_invented_keys(run: Any, cross: Any, walk: Any) -> None:
    found = analysis(run(walk, cross, {"performance": Performance}))
    assert {type(value) for value in found.values()} == {str, int, float, dt.datetime, type(found)}
    assert found.buy_and_hold.cagr == found["buy_and_hold"]["cagr"]
    with pytest.raises(KeyError):
        _ = found.sharp_ratio


def test_print_pprint_and_writer_show_the_figures(
    run: Any, cross: Any, walk: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    written = io.StringIO()

    def write(cerebro: bt.Cerebro) -> None:
        cerebro.addwriter(bt.WriterFile, out=written, csv=True, rounding=4)

    strategy = run(walk, cross, {"performance": Performance}, prepare=write)
    found = analysis(strategy)
    assert f"- sharpe_ratio: {found.sharpe_ratio:.4f}"[:20] in written.getvalue()
    assert "- buy_and_hold:" in written.getvalue()
    performance(strategy).print()
    assert f"- trades: {found.trades}" in capsys.readouterr().out
    performance(strategy).pprint()
    assert f"('trades', {found.trades})" in capsys.readouterr().out


def test_an_optimisation_sends_the_analysis_back_from_its_workers(cross: Any, walk: pd.DataFrame) -> None:
    cerebro = bt.Cerebro(stdstats=False, maxcpus=1)
    cerebro.adddata(bt.feeds.PandasData(dataname=walk, timeframe=bt.TimeFrame.Minutes, compression=60))
    cerebro.optstrategy(bt.strategies.MA_CrossOver, fast=[5, 10])
    cerebro.addanalyzer(Performance)
    results: list[Any] = pickle.loads(pickle.dumps(cerebro.run()))  # noqa: S301  # our own bytes
    analyzers = [result[0].analyzers.performance for result in results]
    assert len({analyzer.get_analysis().final_equity for analyzer in analyzers}) == 2
    assert all(len(analyzer.curve()) == len(walk) for analyzer in analyzers)
