"""optimize: search parameters on the first bars, judge the search, look once at the sealed rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ai_backtrader.errors import SettingsError
from ai_backtrader.events import Journal
from ai_backtrader.evidence import MemoryLedger, TrialLedger
from ai_backtrader.market import MarketData
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.parameter_optimizer.answers import AnswerStore
from ai_backtrader.parameter_optimizer.evaluation import Backtests, CompiledBacktests, Slices
from ai_backtrader.parameter_optimizer.objectives import Objective, Outcome
from ai_backtrader.parameter_optimizer.question import Question, objective_of
from ai_backtrader.parameter_optimizer.recording import event_of, known_answer
from ai_backtrader.parameter_optimizer.result import Batch, OptimizationResult
from ai_backtrader.parameter_optimizer.searching import SearchUnderWay
from ai_backtrader.parameter_optimizer.settings import TECHNICAL_SPACE
from ai_backtrader.parameter_optimizer.space import Space
from ai_backtrader.parameter_optimizer.technical import Family, technical_rules
from ai_backtrader.values import Regime

__all__ = ["optimize", "optimize_backtests"]


def optimize(
    family: Family = technical_rules,
    data: MarketData | None = None,
    space: Space | Mapping[str, Any] | None = None,
    *,
    n_trials: int = 100,
    objective: str | Callable[[Outcome], float] | Objective = "sharpe",
    regime: Regime | str | None = None,
    seed: int = 0,
    surrogate: str = "gp",
    batch: int | None = None,
    validation: float = 0.0,
    test: float = 0.25,
    ledger: TrialLedger | None = None,
    journal: Journal | None = None,
    store: AnswerStore | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    on_batch: Callable[[Batch], None] | None = None,
    jobs: int = 1,
    cash: float = 10_000.0,
    commission: float = 0.0005,
    slippage: float = 0.0,
    tiers: MaintenanceTiers | None = None,
    funding: float | bool | None = None,
    liquidation_fee: float = 0.0,
    shortcash: bool = True,
) -> OptimizationResult:
    """Search the parameters of a strategy, in the compiled simulation, and say what the finding is worth.

    The search sees the first bars alone. Every trial is counted in the ledger; the winner is judged by the deflated
    Sharpe ratio, by the probability of overfitting over all trials, by its neighbours, and once, at the end, on the
    sealed last bars beside buy and hold.

    Parameters
    ----------
    family
        From parameters to rules (:class:`~ai_backtrader.rules.StrategyChromosome`); default: the engine's technical
        strategy. For any ``bt.Strategy`` class see :func:`ai_backtrader.strategies.optimize`.
    data
        500 bars or more.
    space
        What may be searched: a :class:`~ai_backtrader.parameter_optimizer.Space` or a dictionary for ``Space.of``;
        None takes ``TECHNICAL_SPACE``, for the technical strategy alone.
    n_trials
        Evaluations of the search; the winner's neighbours (at most two a number, every other choice) come on top.
    objective
        Name in ``OBJECTIVES``, a function of an :class:`~ai_backtrader.parameter_optimizer.Outcome`, or an
        :class:`~ai_backtrader.parameter_optimizer.Objective` with its trade discount.
    regime
        Score only trades opened in this regime (``"bull"`` includes strong bull markets); None for all.
    seed
        Source of every random choice: the same seed and data give the same result with any number of jobs.
    surrogate, batch
        As in :class:`~ai_backtrader.parameter_optimizer.OptimizerSettings`.
    validation, test
        Shares of the bars, behind those of the search: for choosing among its ten best (0: the best is taken), and
        sealed (0: none).
    ledger
        Counts trials and openings over all runs; None counts this run alone.
    journal
        Gets the :class:`~ai_backtrader.events.ParametersOptimized` event.
    store
        Asked first: an answer to exactly this question is taken, once its winner has been run again and scores the
        same; None asks nobody.
    checkpoint, resume
        File that keeps the search after each batch; go on from it, with the outcome of a search never interrupted.
    on_batch
        Called after each batch.
    jobs
        Threads.
    cash, commission, slippage, tiers, funding, liquidation_fee, shortcash
        As in :func:`~ai_backtrader.simulation.simulate`.

    Returns
    -------
    OptimizationResult
        ``best_params, score = optimize(...)`` unpacks it.

    Raises
    ------
    SettingsError
        If an argument is wrong, the data are too short, or hold too little of the regime.
    AIBacktraderError
        If no parameter set has a score.
    KeyboardInterrupt
        On Ctrl-C before anything has a score; later, the result of what was done, seal unbroken, is returned.

    Examples
    --------
    >>> from ai_backtrader.datafeeds import load_sample
    >>> result = optimize(technical_rules, load_sample(), n_trials=20, surrogate="random", commission=0.00005)
    >>> best_params, score = result
    >>> sorted(best_params)[:2], result.evidence.n_trials == result.n_trials
    (['adx_period', 'adx_threshold'], True)
    """
    options = {
        "cash": cash, "commission": commission, "slippage": slippage, "tiers": tiers, "funding": funding,
        "liquidation_fee": liquidation_fee, "shortcash": shortcash,
    }  # fmt: skip
    return optimize_backtests(
        CompiledBacktests(family, options, jobs=jobs),
        data,
        _space_for(family, space),
        n_trials=n_trials, objective=objective, regime=regime, seed=seed, surrogate=surrogate, batch=batch,
        validation=validation, test=test, ledger=ledger, journal=journal, store=store, checkpoint=checkpoint,
        resume=resume, on_batch=on_batch,
    )  # fmt: skip


def optimize_backtests(
    backtests: Backtests,
    data: MarketData | None,
    space: Space | Mapping[str, Any],
    *,
    n_trials: int = 100,
    objective: str | Callable[[Outcome], float] | Objective = "sharpe",
    regime: Regime | str | None = None,
    seed: int = 0,
    surrogate: str = "gp",
    batch: int | None = None,
    validation: float = 0.0,
    test: float = 0.25,
    ledger: TrialLedger | None = None,
    journal: Journal | None = None,
    store: AnswerStore | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    on_batch: Callable[[Batch], None] | None = None,
) -> OptimizationResult:
    """:func:`optimize` for anything that runs parameter sets: compiled families, strategies in Cerebro."""
    if not isinstance(data, MarketData):
        raise SettingsError(
            "optimize",
            [f"data must be MarketData, got {type(data).__name__}; load it with MarketData.from_csv or from_frame"],
        )
    if resume and checkpoint is None:
        raise SettingsError("optimize", ["resume needs the checkpoint to resume from"])
    question = Question(
        backtests, data, Space.of(space), objective_of(objective, Regime.parse(regime)), Regime.parse(regime),
        n_trials=n_trials, seed=seed, surrogate=surrogate, batch=batch, slices=Slices(validation=validation, test=test),
    )  # fmt: skip
    question.train.require_evidence()
    ledger = MemoryLedger() if ledger is None else ledger
    known = None if store is None else known_answer(question, store, ledger)
    if known is not None:
        return known
    work = SearchUnderWay(question, ledger, checkpoint=checkpoint, resume=resume)
    work.run(on_batch)
    result = work.result()
    if journal is not None and not result.interrupted:
        journal.record(event_of(question, result))
    return result


def _space_for(family: Family, space: Space | Mapping[str, Any] | None) -> Space:
    if space is not None:
        return Space.of(space)
    if getattr(family, "name", None) != technical_rules.name:
        raise SettingsError(
            "optimize", ["give the space that may be searched; only the technical strategy has its own"]
        )
    return TECHNICAL_SPACE
