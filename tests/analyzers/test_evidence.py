"""Evidence: what the papers' formulas say of a run's returns, in plain numbers and words."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from ai_backtrader.analyzers import Evidence, Performance
from ai_backtrader.errors import SettingsError
from ai_backtrader.evidence import deflated_sharpe_ratio, kurtosis, probabilistic_sharpe_ratio, sharpe_ratio, skewness


@pytest.fixture
def ran(run: Callable[..., Any], walk: pd.DataFrame, cross: type[bt.Strategy]) -> Any:
    return run(
        walk, cross, {"evidence": (Evidence, {"n_trials": 40, "trials_sharpe_std": 0.02}), "performance": Performance}
    )


def test_its_figures_are_those_of_the_formulas_on_the_runs_own_returns(ran: Any) -> None:
    found, returns = ran.analyzers.evidence.get_analysis(), ran.analyzers.evidence.returns
    sharpe = sharpe_ratio(returns, bars_per_year=1.0)
    moments = {"sharpe": sharpe, "n_obs": 800, "skew": skewness(returns), "kurtosis": kurtosis(returns)}
    assert found.bars == 800
    assert found.probabilistic_sharpe == probabilistic_sharpe_ratio(**moments)
    assert found.deflated_sharpe == deflated_sharpe_ratio(**moments, n_trials=40, trials_sharpe_std=0.02)
    assert found.beats_benchmark == probabilistic_sharpe_ratio(
        **moments, benchmark=found.benchmark_sharpe / math.sqrt(found.bars_per_year)
    )
    performance = ran.analyzers.performance.get_analysis()
    assert found.sharpe_ratio == pytest.approx(performance.sharpe_ratio, rel=1e-12)
    assert found.benchmark_sharpe == pytest.approx(performance.buy_and_hold.sharpe_ratio, rel=1e-12)
    excess = performance.total_return - performance.buy_and_hold.total_return
    assert found.excess_return == pytest.approx(excess, rel=1e-9)
    assert found.trades == performance.trades
    assert found.sharpe_low < found.sharpe_ratio < found.sharpe_high


def test_the_numbers_are_plain_and_print_works_and_it_pickles(ran: Any, capsys: pytest.CaptureFixture[str]) -> None:
    analyzer = ran.analyzers.evidence
    kinds = {type(value) for value in analyzer.get_analysis().values()}
    assert kinds <= {int, float, bool, str}
    analyzer.print()
    assert "deflated_sharpe" in capsys.readouterr().out
    assert pickle.loads(pickle.dumps(analyzer)).get_analysis() == analyzer.get_analysis()  # noqa: S301  # our own


def test_it_changes_nothing_in_the_run_and_repeats_itself(
    run: Callable[..., Any], walk: pd.DataFrame, cross: type[bt.Strategy], ran: Any
) -> None:
    alone = run(walk, cross, {"performance": Performance})
    assert alone.analyzers.performance.get_analysis() == ran.analyzers.performance.get_analysis()
    again = run(walk, cross, {"evidence": (Evidence, {"n_trials": 40, "trials_sharpe_std": 0.02})})
    assert again.analyzers.evidence.get_analysis() == ran.analyzers.evidence.get_analysis()


def test_noise_is_called_noise_and_a_trend_ridden_is_not(
    run: Callable[..., Any], frame_of: Callable[..., pd.DataFrame], scripted: type[bt.Strategy], ran: Any
) -> None:
    found = ran.analyzers.evidence.get_analysis()
    assert found.noise
    rng = np.random.default_rng(3)
    # Falls, then rises: who buys at the turn beats holding.
    steps = np.concatenate((rng.normal(-0.004, 0.01, 400), rng.normal(0.004, 0.01, 400)))
    turn = run(
        frame_of(100.0 * np.exp(np.cumsum(steps)), freq="h"), scripted, {"evidence": Evidence}, plan={400: 150}
    ).analyzers.evidence.get_analysis()
    assert not turn.noise
    assert turn.verdict.startswith("More than noise: Sharpe ratio ")
    assert turn.verdict.endswith("0 closed trades: too few to tell.")


def test_more_trials_deflate_more_and_the_verdict_says_so(
    run: Callable[..., Any], frame_of: Callable[..., pd.DataFrame], scripted: type[bt.Strategy]
) -> None:
    steps = np.random.default_rng(3).normal(0.0012, 0.01, 600)
    frame = frame_of(100.0 * np.exp(np.cumsum(steps)), freq="h")
    found = [
        run(
            frame, scripted, {"e": (Evidence, {"n_trials": n, "benchmark": 0.0})}, plan={0: 90}
        ).analyzers.e.get_analysis()
        for n in (1, 100, 10_000)
    ]
    deflated = [analysis.deflated_sharpe for analysis in found]
    assert deflated == sorted(deflated, reverse=True)
    assert deflated[0] == found[0].probabilistic_sharpe > 0.95 > deflated[2]
    assert not found[0].noise
    assert "the best of 10,000 trials without edge is expected to show" in found[2].verdict


@pytest.mark.parametrize(("plan", "words"), [({}, "the account never moved"), ({0: -50}, "No sign of an edge")])
def test_still_and_losing_runs_have_their_words(
    run: Callable[..., Any], frame_of: Callable[..., pd.DataFrame], scripted: type[bt.Strategy], plan: Any, words: str
) -> None:
    frame = frame_of(100.0 * np.exp(np.cumsum(np.random.default_rng(3).normal(0.002, 0.01, 300))), freq="h")
    found = run(frame, scripted, {"e": Evidence}, plan=plan).analyzers.e.get_analysis()
    assert words in found.verdict
    assert found.noise


def test_faults_are_reported_together(run: Callable[..., Any], walk: pd.DataFrame, cross: type[bt.Strategy]) -> None:
    wrong = {"n_trials": 0, "confidence": 1.0, "benchmark": "gold", "resamples": -1}
    with pytest.raises(SettingsError, match="4 faults"):
        run(walk, cross, {"e": (Evidence, wrong)})
