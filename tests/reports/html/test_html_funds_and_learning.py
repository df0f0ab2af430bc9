"""Pages of real runs with every system at work: a fund, AIStrategy with its learner on, and an account liquidated."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from ai_backtrader.analyzers import Allocations, Decisions, Evidence, Learning, Liquidations, Performance, Timeline
from ai_backtrader.brokers import FundBroker, LeverageBroker
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.reports.html import html_page
from ai_backtrader.reports.html.funds import fund_section
from ai_backtrader.reports.html.parts import Chart
from ai_backtrader.strategies import AIStrategy, Member, PortfolioStrategy
from ai_backtrader.strategies.adaptation import Adaptation

pytest.importorskip("plotly")

ANALYZERS = (Performance, Liquidations, Decisions, Evidence, Timeline, Learning, Allocations)
_DRAWN = """
return Object.fromEntries([...document.querySelectorAll('.chart')].map((chart) => [
  chart.closest('figure').querySelector('h3').textContent,
  [...chart.querySelectorAll('path.js-line, path.js-fill, .point path, .points path')]
    .filter((path) => (path.getAttribute('d') || '').length > 5).length]))
"""
_RANGES = """
return [...document.querySelectorAll('.chart')].map((chart) => chart._fullLayout.xaxis)
  .filter((axis) => axis.type === 'date').map((axis) => String(axis.range))
"""
_POINT = """
const chart = [...document.querySelectorAll('.chart')]
  .find((chart) => chart.closest('figure').querySelector('h3').textContent === arguments[0]);
const place = chart._fullData.findIndex((trace) => trace.name === arguments[1]);
const points = chart.querySelectorAll('.scatterlayer .trace')[place].querySelectorAll('.points path');
const point = points[Math.floor(points.length / 2)];
point.scrollIntoView({block: 'center'});
const box = point.getBoundingClientRect();
return [box.x + box.width / 2, box.y + box.height / 2]
"""
_SAID = "return document.querySelector('.hoverlayer .hovertext')?.textContent"
LOOKS = pytest.mark.parametrize(
    "look", [{}, {"dark": True}, {"width": 390, "touch": True}], ids=["light", "dark", "phone"]
)  # fmt: skip


class Trend(bt.Strategy):
    """In the market while the price lies above its average."""

    params = (("period", 50),)

    def __init__(self) -> None:
        self.above = bt.ind.CrossOver(self.data.close, bt.ind.SMA(period=self.p.period))

    def next(self) -> None:
        if self.above[0]:
            self.order_target_percent(target=0.9 if self.above[0] > 0 else 0.0)


class Reckless(bt.Strategy):
    """Long and short by turns at 25x."""

    def next(self) -> None:
        if not self.position and len(self) % 60 == 1:
            size = 0.5 * self.broker.getvalue() * 25.0 / self.data.close[0]
            (self.buy if len(self) % 120 == 1 else self.sell)(size=size, leverage=25.0)


def run(cerebro: bt.Cerebro) -> Any:
    for analyzer in ANALYZERS:
        cerebro.addanalyzer(analyzer)
    return cerebro.run()[-1]


def look_at(page: Any) -> None:
    assert page.complaints() == []
    drawn = page.run(_DRAWN)
    assert [title for title, paths in drawn.items() if not paths] == []
    assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")


# --------------------------------------------------------------------------------------------------------------- a fund


@pytest.fixture(scope="module")
def fund_run() -> Any:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = FundBroker(cash=30_000)
    cerebro.broker.setcommission(commission=0.00002)
    cerebro.adddata(PerpetualData(dataname=load_sample().head(2_500)))
    slow = Member(strategy=Trend, name="slow", params={"period": 250})
    members = [AIStrategy, Member(strategy=Trend, name="quick"), slow]
    PortfolioStrategy.host(cerebro, members, rebalance_days=20)
    return run(cerebro)


@pytest.fixture(scope="module")
def fund(fund_run: Any) -> str:
    return html_page(fund_run)


@LOOKS
def test_a_fund_shows_who_held_what_and_earned_what(
    fund: str, opened: Callable[..., Any], look: dict[str, Any]
) -> None:
    page = opened(fund, **look)
    look_at(page)
    wanted = {
        "Share of the fund's capital", "Effective number of members (1 / HHI)", "Contribution of each member",
        "Price and trades", "Margin ratio",
    }  # fmt: skip
    assert wanted <= set(page.run(_DRAWN))
    assert "the allocator saw the health of every member at 1.00 of 1" in page.run(
        "return document.querySelector('main').textContent"
    )
    assert "no trade was made" not in page.run("return document.querySelector('main').textContent")


def test_health_that_changed_is_drawn_over_time(fund_run: Any) -> None:
    analyzer = fund_run.analyzers.allocations
    plans = analyzer.plans()
    column = next(name for name in plans.columns if name.startswith("health_"))
    plans.loc[plans.index[1], column] = 0.25
    changed = SimpleNamespace(get_analysis=analyzer.get_analysis, frame=analyzer.frame, plans=lambda: plans)
    section = fund_section(changed)
    assert section is not None
    (health,) = (part for part in section.parts if getattr(part, "title", "") == "Health as the allocator saw it")
    assert isinstance(health, Chart)
    assert [trace["name"] for trace in health.traces] == [
        name.removeprefix("health_") for name in plans.columns if name.startswith("health_")
    ]


def test_a_fund_is_drawn_whole_and_tells_shares_under_the_mouse(fund: str, opened: Callable[..., Any]) -> None:
    page = opened(fund)
    find = (
        "const chart = [...document.querySelectorAll('.chart')].find((chart) => "
        "chart.closest('figure').querySelector('h3').textContent === \"Share of the fund's capital\");"
    )
    sums = page.run(
        find
        + "return chart._fullData[0].y.map((_, bar) => chart._fullData.reduce((sum, trace) => sum + trace.y[bar], 0))"
    )
    assert max(abs(total - 100.0) for total in sums) < 1e-6
    box = page.run(
        find + "chart.scrollIntoView({block: 'center'});"
        "const box = chart.querySelector('.nsewdrag').getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2]"
    )
    page.move(*box)
    words = page.wait_for(
        "return [...document.querySelectorAll('.hoverlayer text')].map((t) => t.textContent).join(' ')"
    )
    assert "quick" in words
    assert "cash" in words


# ----------------------------------------------------------------------------------------------------------- AIStrategy


@pytest.fixture(scope="module")
def learnt() -> tuple[Any, str]:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker()
    cerebro.broker.setcommission(commission=0.00005)
    cerebro.adddata(PerpetualData(dataname=load_sample().head(4_000)))
    adaptation = Adaptation(min_bars=1_500, generations=1, population=6, n_trials=4, champions=1)
    cerebro.addstrategy(AIStrategy, adaptation=adaptation)
    strategy = run(cerebro)
    return strategy, html_page(strategy)


@LOOKS
def test_health_drift_and_searches_are_drawn_over_time(
    learnt: tuple[Any, str], opened: Callable[..., Any], look: dict[str, Any]
) -> None:
    strategy, text = learnt
    page = opened(text, **look)
    look_at(page)
    assert {"Health over time", "Drift alarms", "Score of each decision, with its votes"} <= set(page.run(_DRAWN))
    words = page.run("return document.querySelector('main').textContent").replace("\N{NO-BREAK SPACE}", " ")
    assert strategy.adaptations
    for search in strategy.adaptations:
        assert search.verdict in words


def test_a_strategy_that_searched_stands_beside_itself_without(
    learnt: tuple[Any, str], opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy, text = learnt
    assert not any(one.changed for one in strategy.adaptations)
    assert "the two runs are the same" in text
    assert "With adaptation and without" not in text
    changed = [dataclasses.replace(strategy.adaptations[0], changed=("rules <b>",), passed=1)]
    monkeypatch.setattr(strategy, "adaptations", changed)
    unknown = html_page(strategy)
    assert "Whether it paid is not known: that needs the same run without adaptation" in unknown
    page = opened(html_page(strategy, without=[strategy]))
    look_at(page)
    assert {"With adaptation and without", "Gain by adaptation so far"} <= set(page.run(_DRAWN))
    words = page.run("return document.querySelector('main').textContent")
    assert "no bar differed" in words
    assert "rules <b>" in words
    with pytest.raises(AIBacktraderError, match="the run without adaptation has no analyzer Performance"):
        html_page(strategy, without=SimpleNamespace(analyzers=[]))
    with pytest.raises(AIBacktraderError, match="without= goes with a strategy that Cerebro has run, not with int"):
        html_page(3, without=strategy)


def test_a_state_of_health_and_an_alarm_explain_themselves_under_the_mouse(
    learnt: tuple[Any, str], opened: Callable[..., Any]
) -> None:
    page = opened(learnt[1])
    page.move(*page.run(_POINT, "Drift alarms", "search"))
    assert "drift of EURUSD" in page.wait_for(_SAID)
    page.move(*page.run(_POINT, "Health over time", "ai"))
    said = page.wait_for(f"{_SAID}?.match(/HEALTHY|DEGRADED|PROBATION/)?.[0]")
    assert said in ("HEALTHY", "DEGRADED", "PROBATION")


def test_charts_over_time_lie_under_each_other(learnt: tuple[Any, str], opened: Callable[..., Any]) -> None:
    ranges = opened(learnt[1]).run(_RANGES)
    assert len(ranges) >= 8
    months = 1  # a chart of its own time
    assert len(set(ranges)) <= 1 + months


# ----------------------------------------------------------------------------------------------------------- liquidated


@pytest.fixture(scope="module")
def liquidated() -> tuple[Any, str]:
    closes = 100.0 * np.exp(np.cumsum(np.random.default_rng(8).normal(0.0, 0.006, 800)))
    frame = pd.DataFrame(
        {"open": closes, "high": closes * 1.002, "low": closes * 0.998, "close": closes, "volume": 1.0},
        index=pd.date_range("2024-01-01", periods=closes.size, freq="h"),
    )
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker(funding=0.0002, liquidation_fee=0.005)
    cerebro.broker.setcash(10_000.0)
    cerebro.broker.setcommission(0.0005)
    feed = bt.feeds.PandasData(dataname=frame, timeframe=bt.TimeFrame.Minutes, compression=60)
    cerebro.adddata(feed, name="X")
    cerebro.addstrategy(Reckless)
    strategy = run(cerebro)
    return strategy, html_page(strategy)


@LOOKS
def test_a_liquidation_is_marked_wherever_it_shows(
    liquidated: tuple[Any, str], opened: Callable[..., Any], look: dict[str, Any]
) -> None:
    strategy, text = liquidated
    count = strategy.analyzers.liquidations.get_analysis().liquidations
    assert count >= 2
    page = opened(text, **look)
    look_at(page)
    marked = page.run(
        "return Object.fromEntries([...document.querySelectorAll('.chart')].map((chart) => ["
        "chart.closest('figure').querySelector('h3').textContent,"
        "chart._fullData.filter((trace) => trace.name === 'liquidation').reduce((n, trace) => n + trace.y.length, 0)]))"
    )
    assert {title: marked[title] for title in ("Price and trades", "Leverage", "Margin ratio")} == {
        "Price and trades": count, "Leverage": count, "Margin ratio": count,
    }  # fmt: skip
    assert {"Funding", "From start to end", "Drawdown"} <= set(marked)


def test_a_liquidation_tells_what_it_cost_under_the_mouse(
    liquidated: tuple[Any, str], opened: Callable[..., Any]
) -> None:
    page = opened(liquidated[1])
    page.move(*page.run(_POINT, "Margin ratio", "liquidation"))
    said = page.wait_for(_SAID)
    assert "25x" in said
    assert "lost" in said


def test_the_card_says_what_was_paid_and_nothing_of_memory(liquidated: tuple[Any, str]) -> None:
    text = liquidated[1].split("Run card</h2>")[1].split("</section>")[0].replace("<wbr>", "")
    assert "broker.commission.X.commission" in text
    assert ">0.0005<" in text
    assert " at 0x" not in text


@pytest.mark.slow
def test_a_hundred_thousand_bars_stay_a_small_page_that_opens(opened: Callable[..., Any]) -> None:
    closes = 100.0 * np.exp(np.cumsum(np.random.default_rng(1).standard_t(4, 100_000) * 0.002))
    frame = pd.DataFrame(
        {"open": closes, "high": closes * 1.001, "low": closes * 0.999, "close": closes, "volume": 1.0},
        index=pd.date_range("2012-01-01", periods=closes.size, freq="h"),
    )
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker(funding=0.00001)
    feed = bt.feeds.PandasData(dataname=frame, timeframe=bt.TimeFrame.Minutes, compression=60)
    cerebro.adddata(feed, name="X")
    cerebro.addstrategy(Reckless)
    strategy = run(cerebro)
    text = html_page(strategy)
    assert len(text) < 4_500_000
    page = opened(text)
    look_at(page)
    account = page.run(
        "const own = document.getElementById('chart-1')._fullData[1].y;"
        "return [own.length, Math.min(...own), Math.max(...own)]"
    )
    equity = strategy.analyzers.performance.equity
    assert account[0] <= 8 * 1_000
    assert account[1:] == [equity.min(), equity.max()]
    assert "Of 100,000 bars each curve shows the first, lowest, highest and last of every 100" in text
