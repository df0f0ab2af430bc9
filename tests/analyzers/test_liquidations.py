"""The Liquidations analyzer on accounts whose liquidation is known by hand, and costs under margin."""

from __future__ import annotations

import datetime as dt
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from ai_backtrader.analyzers import Liquidations, Performance
from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.errors import SettingsError
from ai_backtrader.market.margin import MaintenanceTiers

BOTH = {"liquidations": Liquidations, "performance": Performance}
MODES = [{}, {"runonce": False}, {"preload": False}, {"exactbars": 1}]


@pytest.fixture
def levered(scripted: Any) -> Any:
    class Levered(scripted):  # type: ignore[misc, valid-type]  # a fixture's class
        params = (("leverage", 10.0),)

        def next(self) -> None:
            size = self.p.plan.get(len(self) - 1)
            if size:
                order = self.buy if size > 0 else self.sell
                order(data=self.datas[self.p.feed], size=abs(size), leverage=self.p.leverage)

    return Levered


@pytest.fixture
def doomed(run: Any, levered: Any, frame_of: Any) -> Any:
    # 10 long at 100 with 10x: margin 100, maintenance 1 %, liquidated where 100 - 10 (100 - p) = 0.1 p, p = 900 / 9.9.
    broker = LeverageBroker(tiers=MaintenanceTiers.flat(0.01))
    closes = [100.0, 100.0, 95.0, 92.0, 80.0, 80.0]
    return run(frame_of(closes), levered, BOTH, broker=broker, plan={0: 10}, cash=1000.0).analyzers


def test_a_liquidation_worked_by_hand_is_recorded(doomed: Any) -> None:
    found = doomed.liquidations.get_analysis()
    assert found.liquidations == 1
    event = found.events[0]
    assert event.bar_time == dt.datetime(2024, 1, 5)
    assert (event.data_name, event.side, event.reason) == ("feed0", "LONG", "bar")
    assert event.price == pytest.approx(900 / 9.9)
    assert event.margin == pytest.approx(100.0)
    assert event.loss == pytest.approx(10 * (100 - 900 / 9.9))
    assert found.loss == event.loss
    assert found.max_position_leverage == 10.0
    assert doomed.performance.get_analysis().liquidations == 1


def test_the_margin_ratio_follows_the_buffer_and_is_one_on_the_bar_of_the_liquidation(doomed: Any) -> None:
    # Buffer at entry 100 - 10; at 95 it is 50 - 9.5, at 92 it is 20 - 9.2.
    assert doomed.liquidations.margin_ratio["feed0"] == pytest.approx([0, 0, 1 - 40.5 / 90, 1 - 10.8 / 90, 1, 0])
    assert doomed.liquidations.position_leverage["feed0"].tolist() == [0, 10, 10, 10, 10, 0]
    found = doomed.liquidations.get_analysis()
    assert (found.bars_above_threshold, found.max_margin_ratio) == (2, 1.0)
    assert found.time_above_threshold == pytest.approx(2 / 6)
    assert dict(found.feeds.feed0) == {
        "liquidations": 1,
        "bars_above_threshold": 2,
        "time_above_threshold": found.time_above_threshold,
        "max_margin_ratio": 1.0,
        "max_position_leverage": 10.0,
    }


def test_the_threshold_can_be_moved(run: Any, levered: Any, frame_of: Any) -> None:
    broker = LeverageBroker(tiers=MaintenanceTiers.flat(0.01))
    analyzers = {"liquidations": (Liquidations, {"threshold": 0.5})}
    strategy = run(frame_of([100.0, 100.0, 95.0, 92.0, 80.0]), levered, analyzers, broker=broker, plan={0: 10})
    assert strategy.analyzers.liquidations.get_analysis().bars_above_threshold == 3
    with pytest.raises(SettingsError, match="threshold must be between 0 and 1"):
        run(frame_of([1.0]), levered, {"liquidations": (Liquidations, {"threshold": 70})})


def test_each_feed_has_its_own_history(run: Any, levered: Any, frame_of: Any) -> None:
    def add_second(cerebro: bt.Cerebro) -> None:
        cerebro.addstrategy(levered, plan={0: -10}, feed=1, leverage=5.0)

    frames = [frame_of([100.0, 100.0, 95.0, 95.0]), frame_of([100.0, 100.0, 110.0, 130.0])]
    found = run(frames, levered, BOTH, broker=LeverageBroker(), plan={0: 10}, prepare=add_second).analyzers.liquidations
    assert found.position_leverage["feed0"].tolist() == [0, 10, 10, 10]
    assert found.position_leverage["feed1"].tolist() == [0, 5, 5, 5]
    assert found.margin_ratio["feed1"][-1] == 1.0
    assert found.margin_ratio["feed0"][-1] < 1.0
    feeds = found.get_analysis().feeds
    assert (feeds.feed0.liquidations, feeds.feed1.liquidations) == (0, 1)
    assert list(found.curve().columns) == [
        (feed, kind) for feed in ("feed0", "feed1") for kind in ("margin_ratio", "position_leverage")
    ]


def test_feeds_without_a_name_are_told_apart(levered: Any, frame_of: Any) -> None:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker()
    cerebro.adddata(bt.feeds.PandasData(dataname=frame_of([100.0, 100.0, 80.0])))
    cerebro.addstrategy(levered, plan={0: 10})
    cerebro.addanalyzer(Liquidations)
    found = cerebro.run()[0].analyzers.liquidations.get_analysis()
    assert found.events[0].data_name == "data0"
    assert found.feeds.data0.liquidations == 1


def test_a_broker_without_margin_gives_empty_histories(run: Any, scripted: Any, frame_of: Any) -> None:
    analyzer = run(frame_of([100.0] * 4), scripted, BOTH, plan={0: 5}).analyzers.liquidations
    found = analyzer.get_analysis()
    assert (found.liquidations, found.loss, found.max_margin_ratio, found.time_above_threshold) == (0, 0.0, 0.0, 0.0)
    assert analyzer.margin_ratio["feed0"].tolist() == [0.0] * 4
    assert analyzer.events == ()


class LeveredCross(bt.Strategy):
    """Reverses at 10x on every cross: liquidations and much funding within few bars."""

    params = (("notional", 3.0),)

    def __init__(self) -> None:
        self.cross = bt.ind.CrossOver(*(bt.ind.SMA(self.data, period=period) for period in (10, 40)))

    def next(self) -> None:
        if self.cross[0]:
            if self.position:
                self.close()
            size = self.p.notional * self.broker.getvalue() / self.data.close[0]
            (self.buy if self.cross[0] > 0 else self.sell)(size=size, leverage=10.0)


@pytest.fixture(scope="module")
def perpetual(shared_csv: Callable[[str], Path]) -> pd.DataFrame:
    frame = pd.read_csv(shared_csv("BTCUSDT-perp-1h-2020-2023.csv.gz"), parse_dates=["datetime"], index_col="datetime")
    return frame.iloc[1200:5200]  # March 2020 lies in it


@pytest.mark.parametrize("notional", [3.0, 9.4], ids=["cash left", "no cash left: funding eats the margin"])
def test_fees_and_funding_explain_the_final_equity_of_a_levered_run(
    run: Any, perpetual: pd.DataFrame, notional: float
) -> None:
    broker = LeverageBroker(liquidation_fee=0.005, funding=0.0003)
    strategy = run(perpetual, LeveredCross, BOTH, broker=broker, commission=0.0005, notional=notional)
    found, fills = strategy.analyzers.performance.get_analysis(), strategy.analyzers.performance.fills()
    position = strategy.getposition(strategy.data)
    gross = -(fills["size"] * fills["price"]).sum() + position.size * strategy.data.close[0]
    assert found.liquidations == fills["liquidation"].sum() == len(broker.liquidations) > 2
    assert found.funding == broker.funding_paid() != 0.0
    assert found.fees > 0.0005 * found.traded_notional
    assert found.final_equity == pytest.approx(10_000 + gross - found.fees - found.funding, abs=1e-6)
    assert found.time_above_1x > 0.5
    assert found.max_leverage > 3.0


def test_histories_are_the_same_in_every_mode_and_in_a_run_cut_short(run: Any, perpetual: pd.DataFrame) -> None:
    def curve(frame: pd.DataFrame, mode: dict[str, Any]) -> pd.DataFrame:
        strategy = run(frame, LeveredCross, BOTH, broker=LeverageBroker(funding=0.0001), cerebro=mode)
        return strategy.analyzers.liquidations.curve()

    frame = perpetual.iloc[:1500]
    whole, *others = (curve(frame, mode) for mode in MODES)
    assert whole["feed0"]["margin_ratio"].max() == 1.0
    for other in others:
        pd.testing.assert_frame_equal(other, whole, check_exact=True)
    pd.testing.assert_frame_equal(curve(frame.iloc[:900], {}), whole.iloc[:900], check_exact=True)


def test_the_analyzer_pickles_after_the_run(doomed: Any) -> None:
    for analyzer in (doomed.liquidations, doomed.performance):
        analyzer.strategy = analyzer._parent = None  # as Backtrader does before it sends results between processes
        for name in [name for name in dir(analyzer) if name.startswith("data")]:
            setattr(analyzer, name, None)
        copy = pickle.loads(pickle.dumps(analyzer))  # noqa: S301  # our own bytes
        assert copy.get_analysis().liquidations == 1
        assert np.isfinite(copy.curve().to_numpy()).all()


def test_print_shows_the_event(doomed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    doomed.liquidations.print()
    printed = capsys.readouterr().out
    assert "- max_margin_ratio: 1.0" in printed
    assert "side LONG, size 10" in printed
