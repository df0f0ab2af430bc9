"""evolve: the parts of the data, what the figures mean, honest ends."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.simulation import simulate
from ai_backtrader.strategy_evolver import EvolutionResult, EvolverSettings, Fitness, Split, evolve

MakeMarket = Callable[..., MarketData]


@pytest.fixture(scope="module")
def found(edge_market: MarketData) -> EvolutionResult:
    return evolve(edge_market, n_generations=12, seed=1, champions=3)


def test_a_planted_edge_is_found_and_survives(found: EvolutionResult) -> None:
    assert found.passed
    assert found.best is found.passed[0]
    assert found.best.test is not None
    assert found.best.test.sharpe > 5.0
    assert f"{len(found.passed)} of 3 passed the sealed test" in found.verdict


def test_the_same_seed_gives_the_same_result_on_one_job_or_two(found: EvolutionResult, edge_market: MarketData) -> None:
    assert repr(evolve(edge_market, n_generations=12, seed=1, champions=3, jobs=2)) == repr(found)
    assert evolve(edge_market, n_generations=3, seed=2, champions=3).champions != found.champions


def test_figures_are_those_of_one_simulation_of_the_whole(found: EvolutionResult, edge_market: MarketData) -> None:
    champion = found.best
    result = simulate(edge_market, champion.chromosome)
    validation, test, bars = found.borders
    assert (validation, test, bars) == (2_000, 3_000, 4_000)
    parts = ((champion.train, 0, validation), (champion.validation, validation, test), (champion.test, test, bars))
    for figures, first, last in parts:
        assert figures is not None
        start = 10_000.0 if first == 0 else result.equity[first - 1]
        assert figures.bars == last - first
        assert figures.total_return == pytest.approx(result.equity[last - 1] / start - 1.0, abs=1e-12)
        returns = np.diff(np.concatenate(([start], result.equity[first:last]))) / np.concatenate(
            ([start], result.equity[first : last - 1])
        )
        sharpe = returns.mean() / returns.std(ddof=1) * math.sqrt(edge_market.bars_per_year)
        assert figures.sharpe == pytest.approx(sharpe, rel=1e-9)
        closed = result.trades["exit_bar"]
        assert figures.trades == np.count_nonzero((closed >= first) & (closed < last))


def test_the_search_counts_what_it_evaluated(found: EvolutionResult) -> None:
    assert found.evaluations == sum(generation.evaluated for generation in found.history) == 50 + 11 * 46
    assert found.scores_std > 0.0
    assert len(found.history) == len(found.validation_history) == 12


def test_what_comes_after_cannot_change_what_was_found(edge_market: MarketData) -> None:
    # Search and selection must not move when the test bars do; only the exam may.
    frame = edge_market.to_frame()
    changed = frame.copy()
    changed.iloc[3_000:, :4] = frame.iloc[3_000:, :4].to_numpy()[::-1] * 1.3
    changed.loc[changed.index[3_000] :, "high"] = changed.iloc[3_000:][["open", "high", "low", "close"]].max(axis=1)
    changed.loc[changed.index[3_000] :, "low"] = changed.iloc[3_000:][["open", "high", "low", "close"]].min(axis=1)
    other = MarketData.from_frame(changed, symbol="WALK")
    # One number of the search does look at the whole feed: its bars a year, from times alone, which are the same.
    one, two = (evolve(data, n_generations=4, seed=5, population=20) for data in (edge_market, other))
    assert one.history == two.history
    assert repr(one.validation_history) == repr(two.validation_history)
    blind = [dataclasses.replace(champion, test=None, exam=None) for champion in one.champions]
    assert repr(blind) == repr([dataclasses.replace(champion, test=None, exam=None) for champion in two.champions])
    assert [champion.test for champion in one.champions] != [champion.test for champion in two.champions]


def test_the_search_sees_no_bar_of_the_validation(edge_market: MarketData) -> None:
    short = evolve(edge_market.head(3_000), n_generations=3, seed=5, split=Split(train=0.5, validation=0.25))
    # The same 1,500 training bars, cut out of a longer feed.
    whole = evolve(edge_market, n_generations=3, seed=5, split=Split(train=0.375, validation=0.25))
    assert short.borders.validation == whole.borders.validation == 1_500
    assert short.history == whole.history


def test_no_two_champions_trade_alike(found: EvolutionResult, edge_market: MarketData) -> None:
    curves = {simulate(edge_market, champion.chromosome).equity.tobytes() for champion in found.champions}
    assert len(curves) == len(found.champions) == 3


def test_champions_come_best_in_validation_first(found: EvolutionResult) -> None:
    scores = [champion.validation_score for champion in found.champions]
    assert scores == sorted(scores, reverse=True)


def test_nothing_is_found_in_a_random_walk(walk: MarketData) -> None:
    result = evolve(walk, n_generations=6, seed=1)
    assert result.passed == ()
    assert result.best is result.champions[0]
    assert result.verdict.startswith(f"0 of {len(result.champions)} passed the sealed test")


def test_champions_without_gain_in_validation_leave_the_test_sealed(make_market: MakeMarket) -> None:
    # Costs of 3 % a fill: nobody gains.
    result = evolve(make_market(3, bars=1_000), n_generations=2, population=12, seed=1, commission=0.03)
    assert all(champion.validation_score <= 0.0 for champion in result.champions)
    assert all(champion.exam is None and champion.test is None for champion in result.champions)
    assert "the test stays sealed" in result.verdict


@pytest.mark.parametrize(("commission", "verdict"), [(0.0005, "the test stays sealed"), (0.0, "0 of 0 passed")])
def test_flat_prices_end_in_an_honest_nothing(commission: float, verdict: str) -> None:
    index = pd.date_range("2024-01-01", periods=800, freq="h", tz="UTC")
    frame = pd.DataFrame({"open": 5.0, "high": 5.0, "low": 5.0, "close": 5.0, "volume": 0.0}, index=index)
    data = MarketData.from_frame(frame, symbol="FLAT")
    result = evolve(data, n_generations=3, population=20, seed=0, commission=commission)
    assert result.passed == ()
    assert verdict in result.verdict
    assert len(result.history) == 3


def test_a_search_in_which_nobody_traded_has_no_best(found: EvolutionResult) -> None:
    empty = dataclasses.replace(found, champions=())
    assert empty.passed == ()
    assert (
        empty.verdict == "0 of 0 passed the sealed test: none of 556 strategies closed a trade that moved the account"
    )
    with pytest.raises(
        AIBacktraderError, match="no champion, because none of 556 strategies closed a trade that moved the account"
    ):
        _ = empty.best


@pytest.mark.parametrize(
    ("fitness", "objectives"),
    [(Fitness(objectives=("sharpe", "max_drawdown")), 2), (Fitness(worst_regime=True, min_trades=0), 1)],
)
def test_other_fitness_runs_through(walk: MarketData, fitness: Fitness, objectives: int) -> None:
    result = evolve(walk, n_generations=3, population=12, seed=1, fitness=fitness)
    assert repr(result) == repr(evolve(walk, n_generations=3, population=12, seed=1, fitness=fitness))
    assert result.champions
    assert len(fitness.objectives) == objectives


def test_leverage_is_searched_where_it_is_allowed(walk: MarketData) -> None:
    result = evolve(walk, n_generations=3, population=30, seed=1, max_leverage=10.0, liquidation_fee=0.005)
    assert max(champion.chromosome.risk.leverage for champion in result.champions) > 1.0


def test_every_generation_is_reported(walk: MarketData) -> None:
    seen: list[int] = []
    evolve(walk, n_generations=3, population=8, seed=1, on_generation=lambda g: seen.append(g.number))
    assert seen == [0, 1, 2]


def test_a_small_population_lives_on_one_island(walk: MarketData) -> None:
    assert evolve(walk, n_generations=2, population=5, seed=1).run["settings"]["islands"] == 1


def test_data_that_are_too_short_say_how_many_bars_are_needed(walk: MarketData) -> None:
    with pytest.raises(SettingsError, match="the data have 499 bars"):
        evolve(walk.head(499))
    evolve(walk.head(500), n_generations=1, population=4)


def test_arguments_report_all_their_faults(walk: MarketData) -> None:
    with pytest.raises(SettingsError) as caught:
        evolve(
            walk.to_frame(), n_generations=0, population=2, seed=-1, champions=0, alpha=0.0, max_leverage=0.5, jobs=0,
            resume=True,
        )  # type: ignore[arg-type]  # fmt: skip
    assert len(caught.value.faults) == 9
    with pytest.raises(SettingsError, match="commission must be between"):
        evolve(walk, commission=-1.0)
    with pytest.raises(SettingsError, match="leave a tenth or more"):
        Split(train=0.6, validation=0.4)
    with pytest.raises(SettingsError, match="population must be"):
        evolve(walk, settings=EvolverSettings(population=2))
