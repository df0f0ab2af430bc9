"""Walk-forward of the whole search: search, trade the next bars with what was found, go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader import evidence as ev
from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.evidence import MemoryLedger, SharpeEvidence, TrialKey, TrialLedger, purged_walk_forward
from ai_backtrader.market import MarketData
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.parameter_optimizer.evaluation import (
    Backtests,
    CompiledBacktests,
    Evaluation,
    Evaluator,
    content_digest,
    no_scores,
    outcome_in,
)
from ai_backtrader.parameter_optimizer.judging import holding_figures
from ai_backtrader.parameter_optimizer.objectives import Objective, Outcome
from ai_backtrader.parameter_optimizer.question import objective_of
from ai_backtrader.parameter_optimizer.regimes import bars_in_regime, regime_run
from ai_backtrader.parameter_optimizer.result import Part
from ai_backtrader.parameter_optimizer.search import Search
from ai_backtrader.parameter_optimizer.searching import without_run
from ai_backtrader.parameter_optimizer.space import Space
from ai_backtrader.parameter_optimizer.technical import Family
from ai_backtrader.values import FrozenMapping, Regime

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Fold", "WalkForwardResult", "walk_forward", "walk_forward_backtests"]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One search and the bars after it.

    Attributes
    ----------
    number
        From 0.
    train, test
        First bar, and the bar behind the last.
    parameters
        Found in training; those of the fold before where nothing had a score there.
    train_score, test_score
        By the objective; None where it is undefined.
    trades
        Closed in the test.
    drift
        Mean distance of the parameters from those of the fold before, as a share of each range; NaN in the first.
    failed
        Why the search of this fold found nothing; None where it did.
    """

    number: int
    train: tuple[int, int]
    test: tuple[int, int]
    parameters: Mapping[str, Any]
    train_score: float | None
    test_score: float | None
    trades: int
    drift: float
    failed: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", FrozenMapping(self.parameters))


@dataclass(frozen=True, kw_only=True, eq=False)
class WalkForwardResult:
    """Outcome of :func:`walk_forward`.

    Attributes
    ----------
    folds
        In the order of time.
    times, returns, equity
        Of the test bars end to end, shape (bars,): what an account would have done that searched again before each
        test and went on with what was found. Changing over at a border costs commission and slippage on the difference
        of the positions.
    whole
        Figures of these bars beside holding.
    evidence
        Of these returns, for one trial: nothing in them was chosen by looking at them.
    trials
        Evaluations of all searches.
    """

    folds: tuple[Fold, ...]
    times: NDArray[np.datetime64]
    returns: NDArray[np.float64]
    equity: NDArray[np.float64]
    whole: Part
    evidence: SharpeEvidence
    trials: int
    run: Mapping[str, Any] = field(default_factory=FrozenMapping)

    @property
    def efficiency(self) -> float:
        """Mean score in the tests over the mean score in training (Pardo, 2008); NaN where training is not above 0."""
        pairs = [
            (fold.train_score, fold.test_score)
            for fold in self.folds
            if fold.train_score is not None and fold.test_score is not None
        ]
        if not pairs:
            return math.nan
        train, test = np.mean(np.array(pairs), axis=0).tolist()
        return test / train if train > 0.0 else math.nan

    @property
    def verdict(self) -> str:
        """The outcome in plain words."""
        own, held = self.whole.figures, self.whole.holding
        words = (
            f"over {len(self.folds)} {'test' if len(self.folds) == 1 else 'tests'} end to end it returned "
            f"{100.0 * own['total_return']:+.1f} % (Sharpe ratio {own['sharpe']:.2f}) against "
            f"{100.0 * held['total_return']:+.1f} % ({held['sharpe']:.2f}) of holding"
        )
        if not self.whole.beats_holding:
            return f"Nothing here beats holding: {words}."
        if not self.evidence.probabilistic >= 0.95:
            return f"Not proven: {words}, which could be luck (p = {1.0 - self.evidence.probabilistic:.2f})."
        return f"Holds up: {words}."

    def to_frame(self) -> pd.DataFrame:
        """Table of the drift: one row a fold, with borders, parameters, scores, trades and the distance moved."""
        import pandas as pd

        rows = [
            {
                "fold": fold.number, "train_first": fold.train[0], "train_last": fold.train[1] - 1,
                "test_first": fold.test[0], "test_last": fold.test[1] - 1, **fold.parameters,
                "train_score": math.nan if fold.train_score is None else fold.train_score,
                "test_score": math.nan if fold.test_score is None else fold.test_score,
                "trades": fold.trades, "drift": fold.drift, "failed": fold.failed,
            }
            for fold in self.folds
        ]  # fmt: skip
        return pd.DataFrame(rows).set_index("fold")


def walk_forward(
    family: Family,
    data: MarketData,
    space: Space | Mapping[str, Any],
    *,
    train_bars: int,
    test_bars: int,
    purge: int = 0,
    embargo: int = 0,
    anchored: bool = False,
    n_trials: int = 50,
    objective: str | Callable[[Outcome], float] | Objective = "sharpe",
    regime: Regime | str | None = None,
    seed: int = 0,
    surrogate: str = "gp",
    batch: int | None = None,
    ledger: TrialLedger | None = None,
    on_fold: Callable[[Fold], None] | None = None,
    jobs: int = 1,
    cash: float = 10_000.0,
    commission: float = 0.0005,
    slippage: float = 0.0,
    tiers: MaintenanceTiers | None = None,
    funding: float | bool | None = None,
    liquidation_fee: float = 0.0,
    shortcash: bool = True,
) -> WalkForwardResult:
    """Search on one stretch, trade the next with the winner, move on; the tests lie end to end.

    Parameters
    ----------
    family, data, space
        As in :func:`~ai_backtrader.parameter_optimizer.optimize`.
    train_bars, test_bars
        Bars of the first search, and of each test.
    purge, embargo, anchored
        Bars left out between search and test, and whether searches begin at the first bar and grow: see
        :func:`~ai_backtrader.evidence.purged_walk_forward`. A shorter last test is taken too.
    n_trials, objective, regime, seed, surrogate, batch
        Of each search.
    ledger
        Counts the trials of every search, and an opening for every test.
    on_fold
        Called after each fold.
    jobs, cash, commission, slippage, tiers, funding, liquidation_fee, shortcash
        As in :func:`~ai_backtrader.parameter_optimizer.optimize`.

    Returns
    -------
    WalkForwardResult

    Raises
    ------
    SettingsError
        If an argument is wrong, or the data hold no training set with a test after it.
    AIBacktraderError
        If the first search gives nothing a score.
    """
    options = {
        "cash": cash, "commission": commission, "slippage": slippage, "tiers": tiers, "funding": funding,
        "liquidation_fee": liquidation_fee, "shortcash": shortcash,
    }  # fmt: skip
    return walk_forward_backtests(
        CompiledBacktests(family, options, jobs=jobs), data, space, train_bars=train_bars, test_bars=test_bars,
        purge=purge, embargo=embargo, anchored=anchored, n_trials=n_trials, objective=objective, regime=regime,
        seed=seed, surrogate=surrogate, batch=batch, ledger=ledger, on_fold=on_fold,
    )  # fmt: skip


def walk_forward_backtests(
    backtests: Backtests,
    data: MarketData,
    space: Space | Mapping[str, Any],
    *,
    train_bars: int,
    test_bars: int,
    purge: int = 0,
    embargo: int = 0,
    anchored: bool = False,
    n_trials: int = 50,
    objective: str | Callable[[Outcome], float] | Objective = "sharpe",
    regime: Regime | str | None = None,
    seed: int = 0,
    surrogate: str = "gp",
    batch: int | None = None,
    ledger: TrialLedger | None = None,
    on_fold: Callable[[Fold], None] | None = None,
) -> WalkForwardResult:
    """:func:`walk_forward` for anything that runs parameter sets: compiled families, strategies in Cerebro."""
    _check(data, train_bars, test_bars)
    known, wanted = Space.of(space), Regime.parse(regime)
    goal = objective_of(objective, wanted)
    ledger = MemoryLedger() if ledger is None else ledger
    splits = purged_walk_forward(
        len(data), train_size=train_bars, test_size=test_bars, purge=purge, embargo=embargo, anchored=anchored,
        partial_test=True,
    )  # fmt: skip
    if not splits:
        raise SettingsError(
            "walk_forward",
            [f"{len(data)} bars hold no search of {train_bars} with a test behind it; take shorter ones"],
        )
    settings = {
        "data": data.fingerprint, "strategy": backtests.fingerprint, "space": known.fingerprint, "seed": seed,
        "objective": goal.name, "regime": None if wanted is None else str(wanted), "n_trials": n_trials,
        "surrogate": surrogate, "train_bars": train_bars, "test_bars": test_bars, "purge": purge, "embargo": embargo,
        "anchored": anchored,
    }  # fmt: skip
    key, run_id = TrialKey(data.fingerprint, backtests.name), content_digest(settings)
    folds: list[Fold] = []
    pieces: list[NDArray[np.float64]] = []
    weight = 0.0
    trials = 0
    for number, (train, test) in enumerate(splits):
        first, last = int(train[0]), int(train[-1]) + 1
        seen = Evaluator(backtests, data, goal, first=first, last=last, regime=wanted)
        seen.require_evidence()
        search = Search(known, n_trials=n_trials, seed=seed + number, surrogate=surrogate, batch=batch)
        evaluations = _searched(search, seen)
        trials += len(evaluations)
        ledger.add_trials(key, [e.sharpe for e in evaluations], run_id=run_id, batch=number)
        scored = [e for e in evaluations if e.score is not None]
        failed = None
        if scored:
            best = max(scored, key=lambda e: e.score or 0.0)
            parameters, train_score = best.parameters, best.score
        elif folds:
            parameters, train_score, failed = folds[-1].parameters, None, str(no_scores("fold", evaluations, wanted))
        else:
            raise no_scores("walk_forward", evaluations, wanted)
        start, stop = int(test[0]), int(test[-1]) + 1
        ledger.open_sealed(key, start=data.times[start], end=data.times[stop - 1], by=run_id)
        unseen = Evaluator(
            backtests, data, goal, first=start, last=stop, regime=wanted, share=(stop - start) / (last - first)
        )
        tested = unseen.evaluate([parameters])[0]
        outcome = outcome_in(tested)
        returns = np.nan_to_num(outcome.returns.copy())
        weights = _weights(outcome, unseen)
        returns[0] -= abs(weights[start - 1] - weight) * backtests.costs
        weight = float(weights[stop - 1])
        pieces.append(returns)
        folds.append(
            Fold(
                number=number, train=(first, last), test=(start, stop), parameters=parameters, train_score=train_score,
                test_score=tested.score, trades=tested.trades, failed=failed,
                drift=_distance(known, parameters, folds[-1].parameters) if folds else math.nan,
            )
        )  # fmt: skip
        if on_fold is not None:
            on_fold(folds[-1])
    chosen = None if wanted is None else bars_in_regime(data, wanted)
    return _stitched(folds, pieces, data, trials, settings, chosen)


def _check(data: object, train_bars: object, test_bars: object) -> None:
    faults = Faults("walk_forward")
    if not isinstance(data, MarketData):
        faults.add(
            f"data must be MarketData, got {type(data).__name__}; load it with MarketData.from_csv or from_frame"
        )
    faults.whole("train_bars", train_bars, low=100)
    faults.whole("test_bars", test_bars, low=10)
    faults.raise_if_any()


def _searched(search: Search, evaluator: Evaluator) -> list[Evaluation]:
    found: dict[int, Evaluation] = {}
    while not search.done:
        proposals = search.ask()
        evaluations = evaluator.evaluate([proposal.params for proposal in proposals])
        for proposal, evaluation in zip(proposals, evaluations, strict=True):
            search.tell(proposal.number, evaluation.score, failed=evaluation.failed)
            found[proposal.number] = without_run(evaluation)
    return [found[number] for number in sorted(found)]


def _weights(outcome: Outcome, evaluator: Evaluator) -> NDArray[np.float64]:
    """Notional held at each close over the account's value; in a regime that of its trades."""
    result, close = outcome.result, evaluator.data.close
    weights = np.zeros(len(close))
    np.divide(result.position * close, result.equity, out=weights, where=result.equity > 0.0)
    return weights if evaluator.chosen is None else weights * regime_run(result, close, evaluator.chosen).held


def _distance(space: Space, one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    return float(np.mean(np.abs(space.to_unit(one) - space.to_unit(other))))


def _stitched(
    folds: list[Fold],
    pieces: list[NDArray[np.float64]],
    data: MarketData,
    trials: int,
    settings: dict[str, Any],
    chosen: NDArray[np.bool_] | None,
) -> WalkForwardResult:
    returns = np.concatenate(pieces)
    first, last = folds[0].test[0], folds[-1].test[1]
    path = np.concatenate(([1.0], np.cumprod(1.0 + returns)))
    year = data.bars_per_year
    growth = float(path[-1])
    figures = {
        "sharpe": ev.sharpe_ratio(returns, bars_per_year=year),
        "sortino": ev.sortino_ratio(returns, bars_per_year=year),
        "total_return": growth - 1.0,
        "cagr": ev.compound_rate(growth, years=len(returns) / year),
        "max_drawdown": ev.max_drawdown(path),
        "trades": float(sum(fold.trades for fold in folds)),
    }
    return WalkForwardResult(
        folds=tuple(folds),
        times=data.times[first:last],
        returns=returns,
        equity=path[1:],
        whole=Part(bars=last - first, score=None, figures=figures, holding=holding_figures(data, first, last, chosen)),
        evidence=ev.sharpe_evidence(returns),
        trials=trials,
        run=FrozenMapping(settings),
    )
