"""optimize: finds an edge that is there and none that is not, counts what it looked at, opens the seal once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.evidence import MemoryLedger, TrialKey
from ai_backtrader.market import MarketData
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.parameter_optimizer import (
    Batch,
    Evaluation,
    Objective,
    OptimizationResult,
    Outcome,
    Space,
    TechnicalFamily,
    optimize,
)
from ai_backtrader.parameter_optimizer.evaluation import fingerprint_of, outcome_of
from ai_backtrader.parameter_optimizer.judging import ReturnMatrix, parameter_importance
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import simulate

Family = Callable[[Mapping[str, Any]], StrategyChromosome]
FAST = {"n_trials": 20, "surrogate": "random", "commission": 0.0002}


@pytest.fixture(scope="module")
def found(edge_market: MarketData, reversion: Family, reversion_space: dict[str, Any]) -> OptimizationResult:
    return optimize(reversion, edge_market, reversion_space, seed=1, **FAST)


def test_an_edge_that_is_there_is_found_and_passes(found: OptimizationResult) -> None:
    assert found.passed
    assert found.verdict.startswith("Holds up: on the 1,000 sealed bars it returned +")
    assert found.deflated_sharpe > 0.95
    assert found.test is not None
    assert found.test.figures["sharpe"] > 2.0 > found.test.holding["sharpe"]
    assert found.plateau.neighbours > 2
    assert found.plateau.share > 0.7
    params, score = found
    assert (params, score) == (dict(found.parameters), found.in_sample_score)


def test_what_is_found_in_noise_does_not_pass(
    make_market: Callable[..., MarketData], reversion: Family, reversion_space: dict[str, Any]
) -> None:
    results = [
        optimize(reversion, make_market(50 + seed, bars=1_200), reversion_space, seed=seed, **FAST)
        for seed in range(12)
    ]
    assert sum(result.passed for result in results) == 0
    assert max(result.score for result in results) > 1.0  # in sample it looks like something
    assert any(result.verdict.startswith("Nothing here beats holding") for result in results)


def test_the_winner_run_by_itself_gives_every_figure_again(
    found: OptimizationResult, edge_market: MarketData, reversion: Family
) -> None:
    rules = reversion(found.parameters)
    border = found.borders.test
    alone = simulate(edge_market.head(border), rules, commission=0.0002)
    assert found.value == found.score == alone.metrics["sharpe"]
    assert found.train.figures["total_return"] == alone.metrics["total_return"]
    whole = simulate(edge_market, rules, commission=0.0002)
    part = outcome_of({}, whole, edge_market.close, first=border, last=len(edge_market))
    assert found.test is not None
    assert dict(found.test.figures) == dict(part.metrics)
    moved = edge_market.close[-1] / edge_market.close[border - 1] - 1.0
    assert found.test.holding["total_return"] == pytest.approx(moved, rel=1e-12)


def test_jobs_and_time_of_day_change_nothing(
    found: OptimizationResult, edge_market: MarketData, reversion: Family, reversion_space: dict[str, Any]
) -> None:
    again = optimize(reversion, edge_market, reversion_space, seed=1, jobs=3, **FAST)
    assert again.to_json() == found.to_json()


def test_the_search_does_not_see_what_comes_after_it(
    found: OptimizationResult, edge_market: MarketData, reversion: Family, reversion_space: dict[str, Any]
) -> None:
    frame = edge_market.to_frame()
    border = found.borders.test
    columns = ["open", "high", "low", "close"]
    frame.iloc[border:, [frame.columns.get_loc(name) for name in columns]] *= 0.5
    other = optimize(reversion, MarketData.from_frame(frame, symbol="WALK", repair=()), reversion_space, seed=1, **FAST)
    assert other.trials == found.trials
    assert other.parameters == found.parameters
    assert other.train.figures == found.train.figures
    assert other.test != found.test


def test_the_result_survives_json_and_makes_a_frame(found: OptimizationResult) -> None:
    back = OptimizationResult.from_json(found.to_json())
    assert back.to_json() == found.to_json()
    assert back.trials == found.trials
    frame = found.to_frame()
    assert len(frame) == found.n_trials == 20 + found.plateau.neighbours
    assert frame["neighbour"].sum() == found.plateau.neighbours
    assert frame.loc[~frame["neighbour"], "score"].max() == found.score == found.convergence[-1]
    assert np.all(np.diff(found.convergence) >= 0.0)
    with pytest.raises(SettingsError, match="no result of schema 1"):
        OptimizationResult.from_json("{}")
    with pytest.raises(SettingsError, match="the text is no result: JSONDecodeError"):
        OptimizationResult.from_json("nothing")


def test_every_trial_ever_made_deflates_and_every_opening_counts(
    edge_market: MarketData, reversion: Family, reversion_space: dict[str, Any]
) -> None:
    ledger = MemoryLedger()
    first = optimize(reversion, edge_market, reversion_space, seed=1, ledger=ledger, **FAST)
    again = optimize(reversion, edge_market, reversion_space, seed=1, ledger=ledger, **FAST)
    assert first.evidence.n_trials == again.evidence.n_trials == first.n_trials
    assert (first.opening, again.opening) == (1, 1)  # the same look
    other = optimize(reversion, edge_market, reversion_space, seed=2, ledger=ledger, **FAST)
    assert other.evidence.n_trials == first.n_trials + other.n_trials
    assert ledger.trials(TrialKey(edge_market.fingerprint, "_reversion")).n_trials == other.evidence.n_trials
    assert other.opening == 2
    assert "opened 2 times" in other.verdict
    assert other.test_evidence is not None
    assert other.test_p_value == pytest.approx(min(1.0, 2.0 * (1.0 - other.test_evidence.probabilistic)))


def test_a_known_question_is_answered_without_searching_and_with_todays_count(
    edge_market: MarketData, reversion: Family, reversion_space: dict[str, Any], store: Any
) -> None:
    ledger = MemoryLedger()
    options = {**FAST, "journal": store, "store": store, "ledger": ledger}
    first = optimize(reversion, edge_market, reversion_space, seed=1, **options)
    optimize(reversion, edge_market, reversion_space, seed=2, **options)
    batches: list[Batch] = []
    cached = optimize(reversion, edge_market, reversion_space, seed=1, on_batch=batches.append, **options)
    assert cached.cached
    assert not batches
    assert cached.trials == first.trials
    assert cached.test == first.test
    assert cached.evidence.n_trials > first.evidence.n_trials
    assert cached.deflated_sharpe <= first.deflated_sharpe
    event = store.events[0]
    assert (event.key, event.symbol, event.timeframe, event.strategy) == (first.key, "WALK", "1h", "_reversion")
    assert (event.parameters, event.score, event.n_trials) == (first.parameters, first.score, first.n_trials)
    assert len(store.events) == 2


class _AnswersAnything:
    """A store that gives its one event for every key: only the answer's own content can tell that it is stale."""

    def __init__(self, event: Any) -> None:
        self.event = event

    def optimization(self, key: str) -> Any:
        return dataclasses.replace(self.event, key=key)


def _half_share(parameters: Mapping[str, Any]) -> StrategyChromosome:
    rules = TechnicalFamily(position_size=0.5)
    return rules(parameters)


def _mean(outcome: Outcome) -> float:
    return float(np.mean(outcome.returns))


CHANGES: dict[str, dict[str, Any]] = {
    "symbol": {"symbol": "OTHER"},
    "one bar's last digit": {"bump": True},
    "bar length": {"daily": True},
    "regime": {"regime": "sideways", "objective": Objective(fewest_trades=1)},
    "strategy": {"family": lambda p: TechnicalFamily(short=False)(_technical(p))},
    "space": {"space": {"period": (10, 60), "low": (-0.3, 0.25)}},
    "cash": {"cash": 20_000.0},
    "commission": {"commission": 0.0003},
    "slippage": {"slippage": 0.0001},
    "tiers": {"tiers": MaintenanceTiers.flat(0.01)},
    "funding": {"funding": 0.0001},
    "liquidation fee": {"liquidation_fee": 0.01},
    "shortcash": {"shortcash": False},
    "objective": {"objective": "sortino"},
    "objective function": {"objective": _mean},
    "trade discount": {"objective": Objective(min_trades=10)},
    "seed": {"seed": 5},
    "trials": {"n_trials": 21},
    "surrogate": {"surrogate": "de"},
    "batch": {"batch": 7},
    "test": {"test": 0.3},
    "validation": {"validation": 0.2},
}


def _technical(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ema_fast": 5, "ema_slow": int(parameters["period"]), "rsi_period": 14, "rsi_overbought": 80.0,
        "rsi_oversold": 20.0, "adx_period": 14, "adx_threshold": 5.0, "atr_period": 14, "atr_stop": 2.0,
        "atr_target": 4.0, "macd_fast": 12, "macd_slow": 26, "macd_signal": 9, "bb_period": 20, "bb_std": 2.0,
    }  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_stale_key_never_answers(
    name: str, make_market: Callable[..., MarketData], reversion: Family, reversion_space: dict[str, Any], store: Any
) -> None:
    data = make_market(9, bars=1_000, edge=0.5)
    options: dict[str, Any] = {"n_trials": 5, "surrogate": "random", "seed": 1}
    first = optimize(reversion, data, reversion_space, journal=store, **options)
    change = dict(CHANGES[name])
    frame = data.to_frame()
    if change.pop("bump", False):
        frame.iloc[-1, frame.columns.get_loc("volume")] *= 1.0 + 1e-15
    if change.pop("daily", False):
        frame.index = frame.index[0] + 24 * (frame.index - frame.index[0])
    changed = MarketData.from_frame(frame, symbol=change.pop("symbol", "WALK"))
    batches: list[Batch] = []
    other = optimize(
        change.pop("family", reversion), changed, change.pop("space", reversion_space),
        **{**options, **change}, store=_AnswersAnything(store.events[0]), on_batch=batches.append,
    )  # fmt: skip
    assert other.key != first.key
    assert not other.cached
    assert batches


def test_an_answer_whose_winner_scores_otherwise_now_is_not_believed(
    edge_market: MarketData, reversion: Family, reversion_space: dict[str, Any], store: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    honest = optimize(reversion, edge_market, reversion_space, journal=store, seed=1, **FAST)
    forged = dataclasses.replace(honest, score=honest.score + 0.1)
    for text, word in ((forged.to_json(), "scores .* now"), ("{}", "cannot be read")):
        store.events = [dataclasses.replace(store.events[0], result=text)]
        again = optimize(reversion, edge_market, reversion_space, store=store, seed=1, **FAST)
        assert not again.cached
        assert again.to_json() == honest.to_json()
        assert any(word.split(" ")[0] in message for message in caplog.messages)


def test_functions_that_do_something_else_have_another_fingerprint() -> None:
    def made(level: float) -> Callable[[float], float]:
        return lambda x: x * level

    assert fingerprint_of(made(1.0)) == fingerprint_of(made(1.0))
    assert fingerprint_of(made(1.0)) != fingerprint_of(made(2.0))
    assert fingerprint_of(lambda x: x + 1) != fingerprint_of(lambda x: x + 2)
    assert fingerprint_of(_mean) != fingerprint_of(_half_share)


def test_ctrl_c_keeps_the_seal_and_resume_ends_as_if_nothing_had_happened(
    edge_market: MarketData, reversion: Family, reversion_space: dict[str, Any], tmp_path: Path
) -> None:
    options = {"n_trials": 16, "surrogate": "gp", "batch": 4, "seed": 3}
    whole = optimize(reversion, edge_market, reversion_space, **options)
    path = tmp_path / "search.json"

    def stop(batch: Batch) -> None:
        if batch.done >= 9:
            raise KeyboardInterrupt

    ledger = MemoryLedger()
    part = optimize(reversion, edge_market, reversion_space, checkpoint=path, on_batch=stop, ledger=ledger, **options)
    assert part.interrupted
    assert part.test is part.opening is None
    assert part.verdict.startswith("Unproven (interrupted, so the test stays sealed)")
    assert part.trials == whole.trials[: len(part.trials)]
    resumed = optimize(reversion, edge_market, reversion_space, checkpoint=path, resume=True, **options)
    assert resumed.to_json() == whole.to_json()
    with pytest.raises(SettingsError, match=r"belongs to another search: seed was 3, is 4"):
        optimize(reversion, edge_market, reversion_space, checkpoint=path, resume=True, **{**options, "seed": 4})


def test_ctrl_c_before_anything_is_known_is_ctrl_c(walk: MarketData, reversion_space: dict[str, Any]) -> None:
    def interrupted(parameters: Mapping[str, Any]) -> StrategyChromosome:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimize(interrupted, walk, reversion_space, **FAST)


def test_failed_trials_are_named_and_a_search_of_failures_is_an_error(
    edge_market: MarketData, reversion: Family, reversion_space: dict[str, Any]
) -> None:
    def picky(parameters: Mapping[str, Any]) -> StrategyChromosome:
        if parameters["period"] > 35:
            raise ValueError("too long")
        return reversion(parameters)

    result = optimize(picky, edge_market, reversion_space, seed=1, **FAST)
    failed = [trial for trial in result.trials if trial.failed]
    assert failed
    assert all(trial.parameters["period"] > 35 and trial.score is None for trial in failed)
    assert dict(result.failures) == {"ValueError: too long": len(failed)}
    assert result.evidence.n_trials == len(result.trials)  # a failed look is a look
    with pytest.raises(AIBacktraderError, match=r"none of 20 parameter sets has a score: no trade was closed \(20x\)"):
        optimize(reversion, edge_market, {"period": (10, 60), "low": (-2.0, -1.9)}, **FAST)


def test_a_regime_with_too_little_evidence_is_refused(
    walk: MarketData, reversion: Family, reversion_space: dict[str, Any], make_market: Callable[..., MarketData]
) -> None:
    with pytest.raises(SettingsError, match=r"only \d+ of 450 bars of the search are strong_bear, 200 are needed"):
        optimize(reversion, make_market(3, bars=600), reversion_space, regime="strong_bear", **FAST)
    never = {"period": (10, 60), "low": (-0.45, -0.4)}
    with pytest.raises(AIBacktraderError, match=r"\(opened in bull\).*search without a regime"):
        optimize(reversion, walk, never, regime="bull", **FAST)


def test_a_regime_is_searched_and_compared_with_holding_there(
    edge_market: MarketData, reversion: Family, reversion_space: dict[str, Any]
) -> None:
    result = optimize(reversion, edge_market, reversion_space, regime="bull", seed=1, **FAST)
    assert result.regime == "bull"
    whole = optimize(reversion, edge_market, reversion_space, seed=1, **FAST)
    assert result.train.figures["trades"] < whole.train.figures["trades"]
    assert result.train.holding["total_return"] != whole.train.holding["total_return"]


def test_validation_chooses_among_the_best_of_the_search(
    edge_market: MarketData, reversion: Family, reversion_space: dict[str, Any]
) -> None:
    result = optimize(reversion, edge_market, reversion_space, seed=1, validation=0.25, **FAST)
    ranked = sorted((t.score for t in result.trials if t.score is not None and not t.neighbour), reverse=True)
    assert result.validation is not None
    assert result.validation.bars == 1_000
    assert result.score in ranked[:10]
    sealed_none = optimize(reversion, edge_market, reversion_space, seed=1, test=0.0, **FAST)
    assert sealed_none.test is None
    assert sealed_none.verdict.startswith("Unproven (no bars were kept for a test)")


def test_wrong_arguments_are_refused(walk: MarketData, reversion: Family, reversion_space: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="data must be MarketData, got NoneType"):
        optimize(reversion, None, reversion_space)
    with pytest.raises(SettingsError, match="give the space that may be searched"):
        optimize(reversion, walk)
    with pytest.raises(SettingsError, match="the data have 400 bars; a search needs 500"):
        optimize(reversion, walk.head(400), reversion_space)
    with pytest.raises(SettingsError, match="validation and test must leave a tenth"):
        optimize(reversion, walk, reversion_space, validation=0.5, test=0.5)
    with pytest.raises(SettingsError, match="resume needs the checkpoint"):
        optimize(reversion, walk, reversion_space, resume=True)
    with pytest.raises(SettingsError, match="a family must take parameters"):
        optimize("technical", walk, reversion_space)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"must be one of .* or None, got 'sunny'"):
        optimize(reversion, walk, reversion_space, regime="sunny")


def test_returns_of_many_trials_stay_in_bounded_memory(
    found: OptimizationResult, walk: MarketData, reversion: Family
) -> None:
    result = simulate(walk, reversion({"period": 20, "low": 0.0}))
    outcome = outcome_of({}, result, walk.close, first=0, last=2_000)
    evaluation = Evaluation(parameters={}, score=1.0, value=1.0, failed=None, trades=9, sharpe=0.1, outcome=outcome)
    rows = {}
    for n_trials in (10, 16_000, 10**9):
        matrix = ReturnMatrix(n_trials)
        matrix.add(evaluation)
        table = matrix.table()
        rows[n_trials] = len(table)
        kept = len(table) * (2_000 // len(table))
        assert np.prod(1.0 + table) == pytest.approx(np.prod(1.0 + outcome.returns[:kept]), rel=1e-9)
    assert rows == {10: 2_000, 16_000: 1_000, 10**9: 250}


def test_importance_finds_the_parameters_that_matter() -> None:
    space = Space.of({"matters": (0.0, 1.0), "little": (0.0, 1.0), "nothing": (0.0, 1.0)})
    points = space.sample(np.random.default_rng(1), 120)
    scores = [4.0 * abs(p["matters"] - 0.3) + 0.5 * p["little"] for p in points]
    shares, r2 = parameter_importance(space, points, scores, seed=0)
    assert list(shares) == ["matters", "little", "nothing"]
    assert shares["matters"] > 0.8
    assert sum(shares.values()) == pytest.approx(1.0)
    assert r2 > 0.6
    assert parameter_importance(space, points, scores, seed=0) == (shares, r2)
    empty, unknown = parameter_importance(space, points[:10], scores[:10], seed=0)
    assert empty == {}
    assert math.isnan(unknown)
    _, r2 = parameter_importance(space, points, np.random.default_rng(2).normal(size=120).tolist(), seed=0)
    assert r2 < 0.2


def test_a_narrow_top_is_called_narrow(edge_market: MarketData, reversion: Family) -> None:
    def spike(outcome: Outcome) -> float:
        return 5.0 if outcome.parameters["period"] == 20 else 0.1

    space = {"period": (18, 22), "low": [0.0]}
    result = optimize(reversion, edge_market, space, objective=spike, n_trials=5, surrogate="random")
    assert (result.score, result.plateau.share, result.plateau.mean) == (5.0, 0.0, pytest.approx(0.1))
    assert "The top is narrow: 0% of the neighbours keep half" in result.verdict
