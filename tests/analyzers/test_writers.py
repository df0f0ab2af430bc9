"""Backtrader's own output: its writer, csv included, and the analyzers' print and pprint."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from ai_backtrader.analyzers import (
    Allocations,
    ConfidenceObserver,
    Decisions,
    Evidence,
    Learning,
    LeverageObserver,
    Liquidations,
    MarginObserver,
    Performance,
    Timeline,
)
from ai_backtrader.brokers import FundBroker, LeverageBroker
from ai_backtrader.datafeeds import PerpetualData, load_sample
from ai_backtrader.strategies import AIStrategy, PortfolioStrategy

ANALYZERS = (Performance, Liquidations, Decisions, Evidence, Timeline, Learning, Allocations)
OBSERVERS = (LeverageObserver, MarginObserver, ConfidenceObserver)


class Reckless(bt.Strategy):
    def next(self) -> None:
        if not self.position and len(self) % 40 == 1:
            self.buy(size=0.5 * self.broker.getvalue() * 25.0 / self.data.close[0], leverage=25.0)


def written(cerebro: bt.Cerebro, **options: Any) -> tuple[Any, str]:
    out = io.StringIO()
    for analyzer in ANALYZERS:
        cerebro.addanalyzer(analyzer)
    for observer in OBSERVERS:
        cerebro.addobserver(observer)
    cerebro.addwriter(bt.WriterFile, out=out, **options)
    return cerebro.run()[-1], out.getvalue()


@pytest.fixture(scope="module", params=["AIStrategy", "liquidated", "fund"])
def run(request: pytest.FixtureRequest) -> tuple[Any, str]:
    cerebro = bt.Cerebro()
    if request.param == "fund":
        cerebro.broker = FundBroker(cash=30_000)
    else:
        cerebro.broker = LeverageBroker(funding=0.0001, liquidation_fee=0.005)
    cerebro.broker.setcommission(commission=0.00005)
    if request.param == "liquidated":
        closes = 100.0 * np.exp(np.cumsum(np.random.default_rng(8).normal(0.0, 0.008, 400)))
        frame = pd.DataFrame(
            {"open": closes, "high": closes, "low": closes, "close": closes, "volume": 1.0},
            index=pd.date_range("2024-01-01", periods=closes.size, freq="h"),
        )
        feed = bt.feeds.PandasData(dataname=frame, timeframe=bt.TimeFrame.Minutes, compression=60)
        cerebro.adddata(feed, name="X")
        cerebro.addstrategy(Reckless)
    else:
        cerebro.adddata(PerpetualData(dataname=load_sample().head(600)))
        if request.param == "fund":
            PortfolioStrategy.host(cerebro, [AIStrategy, Reckless], warm_up_days=5)
        else:
            cerebro.addstrategy(AIStrategy)
    return written(cerebro, csv=True)


def scalars(analysis: Any) -> Iterator[tuple[str, Any]]:
    for key, value in analysis.items():
        if isinstance(value, dict):
            yield from scalars(value)
        elif not isinstance(value, list):
            yield str(key), value


def test_the_csv_has_a_value_under_every_head(run: tuple[Any, str]) -> None:
    strategy, text = run
    table = text.split("=" * 79)[1].strip()
    rows = list(csv.reader(io.StringIO(table)))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert len(rows) - 1 == len(strategy) * len(strategy.env.runningstrats)  # Backtrader writes a bar for each
    heads = rows[0]
    for name in ("Leverage", "Margin ratio in %", "Confidence"):
        assert heads.count(name) == (3 if isinstance(strategy, PortfolioStrategy) else 1)
    ratio = heads.index("margin")
    wanted = 100.0 * strategy.analyzers.liquidations.margin_ratio[strategy.data._name]
    if not isinstance(strategy, PortfolioStrategy):
        assert [float(row[ratio]) for row in rows[1:]] == pytest.approx(wanted.tolist())


def test_every_figure_of_every_analyzer_is_written(run: tuple[Any, str]) -> None:
    strategy, text = run
    told = [line.strip().removeprefix("- ") for line in text.splitlines()]
    for analyzer in strategy.analyzers:
        for key, value in scalars(analyzer.get_analysis()):
            assert f"{key}: {value}".strip() in told, type(analyzer).__name__
    assert "AutoOrderedDict" not in text
    assert " at 0x" not in text


def test_a_liquidation_is_written_in_words(run: tuple[Any, str]) -> None:
    strategy, text = run
    events = strategy.analyzers.liquidations.events
    lines = [line for line in text.splitlines() if line.strip().startswith("- events:")]
    assert len(events) == sum(line.count("(bar_time ") for line in lines[-1:])
    for event in events:
        assert f"side {event['side']}" in lines[-1]
        assert f"price {event['price']:.6g}" in lines[-1]


@pytest.mark.parametrize("way", ["print", "pprint"])
def test_every_analyzer_prints_what_it_found(
    run: tuple[Any, str], way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    strategy, _ = run
    for analyzer in strategy.analyzers:
        getattr(analyzer, way)()
        said = capsys.readouterr().out
        if way == "print":
            assert f"{type(analyzer).__name__}:" in said
        for key, _ in scalars(analyzer.get_analysis()):
            assert key.split()[0] in said, type(analyzer).__name__  # pprint breaks long words


def test_writer_true_writes_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    cerebro = bt.Cerebro(stdstats=False, writer=True)
    cerebro.broker = LeverageBroker()
    cerebro.adddata(PerpetualData(dataname=load_sample().head(400)))
    cerebro.addstrategy(AIStrategy)
    for analyzer in ANALYZERS:
        cerebro.addanalyzer(analyzer)
    cerebro.run()
    said = capsys.readouterr().out
    assert "- AIStrategy:" in said
    assert "- performance:" in said
    assert "- sharpe_ratio:" in said


def test_a_file_of_ones_own_is_written_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker()
    cerebro.adddata(PerpetualData(dataname=load_sample().head(400)))
    cerebro.addstrategy(AIStrategy)
    cerebro.addanalyzer(Performance)
    cerebro.addwriter(bt.WriterFile, out=str(path), csv=True, rounding=2)
    cerebro.run()
    text = path.read_text(encoding="utf-8")
    assert text.count("\n4") >= 1
    assert "- total_return:" in text
