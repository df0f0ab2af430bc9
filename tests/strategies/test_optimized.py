"""Any strategy's parameters: compiled where it can be, in Cerebro where it must, the same result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from backtrader.strategies.sma_crossover import MA_CrossOver

from ai_backtrader.analyzers import Performance
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.parameter_optimizer import CompiledBacktests, Space
from ai_backtrader.rules import Gene, Section, Series, StrategyChromosome
from ai_backtrader.strategies import backtest_strategy, compile_strategy, optimize, run_in_cerebro
from ai_backtrader.strategies.optimized import CerebroBacktests, backtests_of

SPACE = {"fast": (3, 15), "slow": (16, 50)}
SEARCH: dict[str, Any] = {"n_trials": 6, "surrogate": "random", "seed": 2}


class Cross(bt.Strategy):
    """Always in the market after the first cross."""

    params = (("fast", 5), ("slow", 15), ("share", 0.9))

    def __init__(self) -> None:
        if self.p.fast == 7:
            raise ValueError("unlucky")
        averages = (bt.ind.SMA(self.data, period=period) for period in (self.p.fast, self.p.slow))
        self.cross = bt.ind.CrossOver(*averages)

    def next(self) -> None:
        if self.cross[0]:
            if self.position:
                self.close()
            size = self.p.share * self.broker.getvalue() / self.data.close[0]
            (self.buy if self.cross[0] > 0 else self.sell)(size=size)


@pytest.fixture(scope="module")
def data(walk: Callable[..., MarketData]) -> MarketData:
    return walk(700, seed=6)


def test_the_winner_in_a_plain_cerebro_gives_the_identical_metric(data: MarketData) -> None:
    result = optimize(Cross, data, SPACE, **SEARCH)
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker.setcash(10_000.0)
    cerebro.broker.setcommission(commission=0.0005)
    cerebro.adddata(PerpetualData(dataname=data.head(result.borders.test)))
    cerebro.addstrategy(Cross, **result.parameters)
    cerebro.addanalyzer(Performance, _name="performance", bars_per_year=data.head(result.borders.test).bars_per_year)
    found = cerebro.run()[0].analyzers.performance.get_analysis()
    assert found.sharpe_ratio == result.value
    assert found.trades == result.train.figures["trades"]
    assert found.win_rate == result.train.figures["win_rate"]
    assert found.max_drawdown == result.train.figures["max_drawdown"]


def test_a_compiled_strategy_is_searched_compiled_and_cerebro_agrees(data: MarketData) -> None:
    rules = StrategyChromosome(entry_long=Section((Gene(Series("ema", (5,)), "crosses_above", Series("ema", (20,))),)))
    strategy, space = compile_strategy(rules), {"long1_ema_period": (3, 12), "stop_atr": (1.0, 4.0)}
    assert isinstance(backtests_of(strategy, {}, space=Space.of(space)), CompiledBacktests)
    fast = optimize(strategy, data, space, **SEARCH)
    slow = optimize(strategy, data, space, cerebro=_plain, **SEARCH)
    assert slow.parameters == fast.parameters
    assert slow.score == fast.score
    assert slow.test == fast.test
    assert [dataclasses.replace(t, sharpe=0.0) for t in slow.trials] == [
        dataclasses.replace(t, sharpe=0.0) for t in fast.trials
    ]
    assert slow.key != fast.key


def _plain(data: MarketData) -> bt.Cerebro:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker.setcommission(commission=0.0005)
    cerebro.adddata(PerpetualData(dataname=data))
    return cerebro


def test_the_record_of_any_strategy_is_that_of_a_compiled_one(data: MarketData, rules: Callable[..., Any]) -> None:
    for chromosome in rules(8, bars=200, seed=5, max_leverage=10):
        there = run_in_cerebro(data, chromosome, slippage=0.001)
        here = backtest_strategy(data, compile_strategy(chromosome), slippage=0.001)
        assert there.first_difference(here) is None
        assert np.array_equal(there.trades["pnlcomm"], here.trades["pnlcomm"])


def test_a_trial_that_raises_is_a_failed_trial(data: MarketData) -> None:
    result = optimize(Cross, data, {"fast": [6, 7, 8], "slow": (16, 18)}, n_trials=9, surrogate="random", seed=1)
    failed = [trial for trial in result.trials if trial.failed]
    assert {trial.parameters["fast"] for trial in failed} == {7}
    assert dict(result.failures) == {"ValueError: unlucky": len(failed)}


def test_held_params_and_code_are_part_of_the_fingerprint(data: MarketData) -> None:
    one, two = CerebroBacktests(Cross, {}), CerebroBacktests(Cross, {}, params={"share": 0.5})
    assert len({one.fingerprint, two.fingerprint, CerebroBacktests(Cross, {}, cerebro=_plain).fingerprint}) == 3
    assert CerebroBacktests(Cross, {"commission": 0.001}).fingerprint != one.fingerprint
    assert CerebroBacktests(MA_CrossOver, {}).fingerprint != one.fingerprint
    assert CerebroBacktests(Cross, {}).fingerprint == one.fingerprint
    half = optimize(Cross, data, SPACE, params={"share": 0.45}, **SEARCH)
    assert half.train.figures["exposure"] > 0.0
    assert (
        half.train.figures["annual_volatility"]
        < optimize(Cross, data, SPACE, **SEARCH).train.figures["annual_volatility"]
    )


def test_what_cannot_be_searched_is_refused(data: MarketData) -> None:
    with pytest.raises(
        SettingsError, match=r"space names speed, which Cross has not among its params: fast, share, slow"
    ):
        optimize(Cross, data, {"speed": (1, 5)})
    with pytest.raises(SettingsError, match="fast are both searched and held"):
        optimize(Cross, data, SPACE, params={"fast": 3})
    with pytest.raises(SettingsError, match="give the space to search"):
        optimize(Cross, data)
    with pytest.raises(SettingsError, match=r"must be a bt\.Strategy class or a family"):
        optimize("Cross", data, SPACE)

    class Local(Cross):
        pass

    with pytest.raises(SettingsError, match="jobs=2 needs a strategy that worker processes can import; Local lives in"):
        optimize(Local, data, SPACE, jobs=2)

    def two_feeds(given: MarketData) -> bt.Cerebro:
        cerebro = _plain(given)
        cerebro.adddata(PerpetualData(dataname=given))
        return cerebro

    with pytest.raises(AIBacktraderError, match="must have one feed, it has 2"):
        optimize(Cross, data, SPACE, cerebro=two_feeds, **SEARCH)


@pytest.mark.slow
def test_any_number_of_processes_gives_the_same(data: MarketData) -> None:
    one, two = (optimize(MA_CrossOver, data, SPACE, jobs=jobs, **SEARCH) for jobs in (1, 2))
    assert one.to_json() == two.to_json()
