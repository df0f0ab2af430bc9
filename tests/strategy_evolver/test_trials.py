"""What a search tells the ledger and the journal, and what it learns from the ledger."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.events import Event, StrategyEvolved
from ai_backtrader.evidence import MemoryLedger, TrialKey, deflated_sharpe_ratio, kurtosis, skewness
from ai_backtrader.market import MarketData
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import Simulator
from ai_backtrader.strategy_evolver import EvolutionResult, EvolverSettings, StrategyEvolver, evolve, search


class Notebook:
    """A journal that can be read."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)


def _search(data: MarketData, ledger: MemoryLedger | None, seed: int = 1, **options: object) -> EvolutionResult:
    return evolve(data, n_generations=4, population=20, seed=seed, champions=3, ledger=ledger, **options)  # type: ignore[arg-type]  # the tests' own


def test_every_evaluation_is_counted_once_over_all_searches(edge_market: MarketData) -> None:
    ledger, key = MemoryLedger(), TrialKey(edge_market.fingerprint, "evolved")
    one = _search(edge_market, ledger)
    assert one.trials == ledger.trials(key)
    assert ledger.trials(key).n_trials == one.evaluations
    _search(edge_market, ledger, jobs=2)  # the same search again
    assert ledger.trials(key).n_trials == one.evaluations
    other = _search(edge_market, ledger, seed=2)
    assert ledger.trials(key).n_trials == one.evaluations + other.evaluations
    assert _search(edge_market, None).trials is None


def test_a_search_stopped_right_after_its_checkpoint_or_before_counts_every_generation_once(
    edge_market: MarketData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = TrialKey(edge_market.fingerprint, "evolved")
    write = search.write_checkpoint
    for when in ("before", "after"):
        ledger, path = MemoryLedger(), tmp_path / f"{when}.json"
        written: list[Path] = []
        monkeypatch.setattr(search, "write_checkpoint", _stopping(write, written, when))
        with pytest.raises(KeyboardInterrupt):
            _search(edge_market, ledger, checkpoint=path)
        monkeypatch.setattr(search, "write_checkpoint", write)
        result = _search(edge_market, ledger, checkpoint=path, resume=True)
        assert result.trials == ledger.trials(key)
        assert ledger.trials(key).n_trials == result.evaluations


def _stopping(write: Any, written: list[Path], when: str) -> Any:
    """Writes checkpoints, until a kill comes at the third one: before it is written or after."""

    def stopped(target: Path, **content: Any) -> None:
        written.append(target)
        if len(written) < 3 or when == "after":
            write(target, **content)
        if len(written) == 3:
            raise KeyboardInterrupt

    return stopped


def test_the_ledger_is_told_sharpe_ratios_per_bar_of_the_train_bars(edge_market: MarketData) -> None:
    ledger = MemoryLedger()
    result = _search(edge_market, ledger)
    assert result.trials is not None
    train = edge_market.head(result.borders.validation)
    for champion in result.champions:
        run = Simulator(train).run(champion.chromosome)
        returns = np.diff(np.concatenate(([run.start_cash], run.equity)))
        returns /= np.concatenate(([run.start_cash], run.equity[:-1]))
        expected = deflated_sharpe_ratio(
            sharpe=float(returns.mean() / returns.std(ddof=1)), n_obs=len(returns), skew=skewness(returns),
            kurtosis=kurtosis(returns), n_trials=result.trials.n_trials, trials_sharpe_std=result.trials.sharpe_std,
        )  # fmt: skip
        assert champion.deflated_sharpe == pytest.approx(expected, rel=1e-9)
    best = max(champion.train.sharpe for champion in result.champions) / np.sqrt(edge_market.bars_per_year)
    assert abs(result.trials.sharpe_mean) < best < 1.0


def test_a_test_that_another_search_opened_is_harder_to_pass(edge_market: MarketData) -> None:
    ledger = MemoryLedger()
    first, second = _search(edge_market, ledger), _search(edge_market, ledger, seed=2)
    assert first.examinations == 1
    assert second.examinations == 2
    levels = [min(c.exam.level for c in result.champions if c.exam is not None) for result in (first, second)]
    assert levels[1] < levels[0]
    assert _search(edge_market, ledger).examinations == 1  # the same look again


def test_each_champion_goes_to_the_journal(edge_market: MarketData) -> None:
    journal = Notebook()
    result = _search(edge_market, MemoryLedger(), journal=journal)
    assert len(journal.events) == len(result.champions) > 0
    for event, champion in zip(journal.events, result.champions, strict=True):
        assert isinstance(event, StrategyEvolved)
        assert event.fingerprint == champion.chromosome.fingerprint
        assert event.chromosome == champion.chromosome.to_json()
        assert (event.passed, event.proven, event.generation, event.seed) == (champion.passed, None, 4, 1)
        assert event.figures["train_sharpe"] == champion.train.sharpe
        assert event.figures["deflated_sharpe"] == champion.deflated_sharpe
        assert isinstance(event.at, dt.datetime)
        assert np.datetime64(event.at) == edge_market.times[-1]


def _many_series(chromosome: StrategyChromosome) -> float:
    return float(len(chromosome.series))


def _few_series(chromosome: StrategyChromosome) -> float:
    return -float(len(chromosome.series))


def _evolved_by(fitness_fn: Any, generations: int = 3, **options: Any) -> StrategyEvolver:
    evolver = StrategyEvolver(EvolverSettings(population=10, islands=1), seed=1)
    asyncio.run(evolver.run_evolution(generations, fitness_fn=fitness_fn, **options))
    return evolver


def _evaluations(evolver: StrategyEvolver) -> int:
    return evolver.history[-1].evaluations


def test_a_search_by_any_function_counts_its_evaluations_once_and_without_a_sharpe_ratio(
    walk: MarketData, tmp_path: Path
) -> None:
    ledger, key = MemoryLedger(), TrialKey(walk.fingerprint, "evolved")
    many = _evaluations(_evolved_by(_many_series, data=walk, ledger=ledger))
    assert ledger.trials(key).n_trials == many > 20
    assert ledger.trials(key).n_measured == 0
    _evolved_by(_many_series, data=walk, ledger=ledger)  # the same search again
    assert ledger.trials(key).n_trials == many
    both = many + _evaluations(_evolved_by(_few_series, data=walk, ledger=ledger))
    assert ledger.trials(key).n_trials == both

    resumed, kept = MemoryLedger(), tmp_path / "search.json"
    _evolved_by(_many_series, 2, data=walk, ledger=resumed, checkpoint=kept)
    _evolved_by(_many_series, data=walk, ledger=resumed, checkpoint=kept, resume=True)
    assert resumed.trials(key).n_trials == many


def test_trials_by_any_function_make_the_next_searchs_sharpe_ratios_count_for_less(edge_market: MarketData) -> None:
    alone = _search(edge_market, MemoryLedger())
    ledger = MemoryLedger()
    _evolved_by(_many_series, data=edge_market, ledger=ledger)
    after = _search(edge_market, ledger)
    pairs = [
        (before.deflated_sharpe, now.deflated_sharpe)
        for before, now in zip(alone.champions, after.champions, strict=True)
        if before.deflated_sharpe is not None and now.deflated_sharpe is not None
    ]
    assert pairs
    assert all(now < before or math.isclose(before, 0.0, abs_tol=1e-12) for before, now in pairs)


def test_a_ledger_without_the_data_that_it_counts_for_is_refused(walk: MarketData) -> None:
    with pytest.raises(SettingsError, match="ledger and data belong together"):
        _evolved_by(_many_series, ledger=MemoryLedger())
    with pytest.raises(SettingsError, match="ledger and data belong together"):
        _evolved_by(_many_series, data=walk)
    with pytest.raises(SettingsError, match="data must be MarketData, got 'BTC'"):
        _evolved_by(_many_series, data="BTC", ledger=MemoryLedger())
