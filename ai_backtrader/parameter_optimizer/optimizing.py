"""optimize: search parameters on the first bars, judge the search, look once at the sealed rest."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ai_backtrader.checkpoints import read_checkpoint, write_checkpoint
from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.events import Journal, ParametersOptimized
from ai_backtrader.evidence import MemoryLedger, SharpeEvidence, TrialKey, TrialLedger, sharpe_evidence
from ai_backtrader.market import MarketData
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.parameter_optimizer.answers import AnswerStore
from ai_backtrader.parameter_optimizer.evaluation import (
    FEWEST_REGIME_TRADES,
    Backtests,
    Borders,
    CompiledBacktests,
    Evaluation,
    Evaluator,
    Slices,
    content_digest,
    fingerprint_of,
    no_scores,
    outcome_in,
)
from ai_backtrader.parameter_optimizer.judging import (
    ReturnMatrix,
    overfitting_of,
    parameter_importance,
    part_of,
    plateau_of,
)
from ai_backtrader.parameter_optimizer.objectives import Objective, Outcome
from ai_backtrader.parameter_optimizer.result import Batch, OptimizationResult, Part, ScoredTrial
from ai_backtrader.parameter_optimizer.search import CHECKPOINT_SCHEMA, Search
from ai_backtrader.parameter_optimizer.settings import TECHNICAL_SPACE
from ai_backtrader.parameter_optimizer.space import Space
from ai_backtrader.parameter_optimizer.technical import Family, technical_rules
from ai_backtrader.values import Regime

__all__ = ["optimize", "optimize_backtests"]

_log = logging.getLogger("ai_backtrader")

_FINALISTS = 10  # best of the search that are compared in validation
_ROOMS = ("market", "rules", "simulation", "evidence", "parameter_optimizer")


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
    question = _Question(
        backtests, data, Space.of(space), objective_of(objective, Regime.parse(regime)), Regime.parse(regime),
        n_trials=n_trials, seed=seed, surrogate=surrogate, batch=batch, slices=Slices(validation=validation, test=test),
    )  # fmt: skip
    question.train.require_evidence()
    ledger = MemoryLedger() if ledger is None else ledger
    known = None if store is None else _known_answer(question, store, ledger)
    if known is not None:
        return known
    work = _Work(question, ledger, checkpoint=checkpoint, resume=resume)
    work.run(on_batch)
    result = work.result()
    if journal is not None and not result.interrupted:
        journal.record(_event(question, result))
    return result


def objective_of(given: str | Callable[[Outcome], float] | Objective, regime: Regime | None = None) -> Objective:
    """The objective of a name or function; in a regime ten trades are the least, unless it says otherwise."""
    if isinstance(given, Objective):
        return given
    return Objective(measure=given, fewest_trades=1 if regime is None else FEWEST_REGIME_TRADES)


def timeframe_of(data: MarketData) -> str:
    """Bar length in words: ``"15m"``, ``"1h"``, ``"1d"``."""
    for seconds, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if data.bar_seconds % seconds == 0:
            return f"{data.bar_seconds // seconds}{unit}"
    return f"{data.bar_seconds}s"


@functools.cache
def code_version() -> str:
    """Version of the package with a hash of the code that an answer depends on: other code, other answers."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for room in _ROOMS:
        for path in sorted((root / room).glob("**/*.py")):
            digest.update(path.read_bytes())
    return f"{importlib.metadata.version('ai-backtrader')}+{digest.hexdigest()[:12]}"


def _space_for(family: Family, space: Space | Mapping[str, Any] | None) -> Space:
    if space is not None:
        return Space.of(space)
    if getattr(family, "name", None) != technical_rules.name:
        raise SettingsError(
            "optimize", ["give the space that may be searched; only the technical strategy has its own"]
        )
    return TECHNICAL_SPACE


class _Question:
    """Everything that an answer depends on, checked, with its key."""

    def __init__(
        self, backtests: Backtests, data: MarketData, space: Space, objective: Objective, regime: Regime | None, *,
        n_trials: int, seed: int, surrogate: str, batch: int | None, slices: Slices,
    ) -> None:  # fmt: skip
        self.backtests, self.data, self.space, self.objective, self.regime = backtests, data, space, objective, regime
        self.surrogate = surrogate
        self.borders: Borders = slices.borders(len(data))
        self.search = Search(space, n_trials=n_trials, seed=seed, surrogate=surrogate, batch=batch)
        self.train = Evaluator(backtests, data, objective, last=self.borders.validation, regime=regime)
        self.slices = slices

    @functools.cached_property
    def content(self) -> dict[str, Any]:
        """What the key is a hash of."""
        return {
            "symbol": self.data.symbol,
            "timeframe": timeframe_of(self.data),
            "regime": None if self.regime is None else str(self.regime),
            "strategy": self.backtests.name,
            "strategy_fingerprint": self.backtests.fingerprint,
            "space": self.space.fingerprint,
            "data": self.data.fingerprint,
            "objective": fingerprint_of(self.objective.measure) if callable(self.objective.measure)
            else self.objective.measure,
            "min_trades": self.objective.min_trades,
            "fewest_trades": self.objective.fewest_trades,
            "n_trials": self.search.n_trials,
            "seed": self.search.seed,
            "surrogate": self.surrogate,
            "batch": self.search.batch,
            "validation": self.slices.validation,
            "test": self.slices.test,
            "version": code_version(),
        }  # fmt: skip

    @functools.cached_property
    def key(self) -> str:
        """Of the cache, the checkpoint and the ledger's run."""
        return content_digest(self.content)

    @property
    def trial_key(self) -> TrialKey:
        """What the trials count for."""
        return TrialKey(self.data.fingerprint, self.backtests.name)

    def part(self, parameters: Mapping[str, Any], first: int, last: int) -> tuple[Evaluation, Part]:
        """One parameter set on one stretch behind the search's."""
        share = (last - first) / self.borders.validation
        seen = Evaluator(
            self.backtests, self.data, self.objective, first=first, last=last, regime=self.regime, share=share
        )
        evaluation = seen.evaluate([parameters])[0]
        return evaluation, part_of(evaluation, seen.data, first, last, seen.chosen)


class _Work:
    """A search under way."""

    def __init__(
        self, question: _Question, ledger: TrialLedger, *, checkpoint: str | Path | None, resume: bool
    ) -> None:
        self.question, self.ledger = question, ledger
        self.search = question.search
        self.path = None if checkpoint is None else Path(checkpoint)
        self.identity = {"kind": "optimize", **question.content}
        self.evaluations: dict[int, Evaluation] = {}
        self.returns = ReturnMatrix(self.search.n_trials)
        self.interrupted = False
        if resume and self.path is not None:
            self._resume(self.path)

    def _resume(self, path: Path) -> None:
        state = read_checkpoint(path, schema=CHECKPOINT_SCHEMA, identity=self.identity)
        self.search = Search.from_state(self.question.space, state)
        # Their returns are needed again, and were not kept; the surrogate, which costs the most, was.
        told = self.search.trials
        for trial, evaluation in zip(told, self.question.train.evaluate([t.params for t in told]), strict=True):
            self._keep(trial.number, evaluation)

    def run(self, on_batch: Callable[[Batch], None] | None) -> None:
        """Ask, evaluate and tell until the budget is spent or the user has had enough."""
        search = self.search
        try:
            while not search.done:
                proposals = search.ask()
                evaluations = self.question.train.evaluate([proposal.params for proposal in proposals])
                for proposal, evaluation in zip(proposals, evaluations, strict=True):
                    search.tell(proposal.number, evaluation.score, failed=evaluation.failed)
                    self._keep(proposal.number, evaluation)
                if self.path is not None:
                    write_checkpoint(self.path, schema=CHECKPOINT_SCHEMA, identity=self.identity, state=search.state())
                if on_batch is not None:
                    on_batch(self._progress())
        except KeyboardInterrupt:
            if not any(evaluation.score is not None for evaluation in self.evaluations.values()):
                raise
            self.interrupted = True

    def _keep(self, number: int, evaluation: Evaluation) -> None:
        self.returns.add(evaluation)
        self.evaluations[number] = without_run(evaluation)

    def _progress(self) -> Batch:
        scored = [trial for trial in self.search.trials if trial.score is not None]
        best = self.search.best if scored else None
        return Batch(
            done=len(self.search.trials), n_trials=self.search.n_trials,
            score=None if best is None else best.score, parameters=None if best is None else best.params,
            failed=len(self.search.trials) - len(scored),
        )  # fmt: skip

    def result(self) -> OptimizationResult:
        """Judge what was found; look at the sealed bars unless the search was interrupted."""
        question = self.question
        evaluations = [self.evaluations[number] for number in sorted(self.evaluations)]
        if all(evaluation.score is None for evaluation in evaluations):
            raise no_scores("optimize", evaluations, question.regime)
        winner = self._winner(evaluations)
        near = [] if self.interrupted else question.train.evaluate(question.space.neighbours(winner.parameters))
        near = [without_run(evaluation) for evaluation in near]
        trials = _trials(evaluations, near)
        for batch, group in enumerate((trials[: len(evaluations)], trials[len(evaluations) :])):
            if group:
                self.ledger.add_trials(
                    question.trial_key, [trial.sharpe for trial in group], run_id=question.key, batch=batch
                )
        scored = [evaluation for evaluation in evaluations if evaluation.score is not None]
        importance, r2 = parameter_importance(
            question.space, [e.parameters for e in scored], [e.score for e in scored if e.score is not None],
            seed=self.search.seed,
        )  # fmt: skip
        train, evidence = _judged_again(question, winner, self.ledger)
        validation = None
        if question.slices.validation:
            validation = question.part(winner.parameters, question.borders.validation, question.borders.test)[1]
        test, test_evidence, opening = (None, None, None) if self.interrupted else _open(question, winner, self.ledger)
        if winner.score is None:
            raise AssertionError("the winner has a score")
        return OptimizationResult(
            parameters=winner.parameters, score=winner.score, value=winner.value, objective=question.objective.name,
            regime=question.regime, symbol=question.data.symbol, timeframe=timeframe_of(question.data),
            strategy=question.backtests.name, trials=trials, train=train, validation=validation, test=test,
            evidence=evidence, test_evidence=test_evidence, overfitting=overfitting_of(self.returns.table()),
            plateau=plateau_of(winner.score, near), importance=importance, importance_r2=r2, opening=opening,
            borders=question.borders, bars_per_year=question.data.bars_per_year, seed=self.search.seed,
            surrogate=question.surrogate, interrupted=self.interrupted, key=question.key,
            run={**question.content, "bars": len(question.data), "first_bar": str(question.data.times[0]),
                 "last_bar": str(question.data.times[-1])},
        )  # fmt: skip

    def _winner(self, evaluations: list[Evaluation]) -> Evaluation:
        ranked = sorted((e for e in evaluations if e.score is not None), key=lambda e: -(e.score or 0.0))
        borders, question = self.question.borders, self.question
        if not question.slices.validation:
            return ranked[0]
        finalists: list[Evaluation] = []
        for evaluation in ranked:
            if all(evaluation.parameters != other.parameters for other in finalists):
                finalists.append(evaluation)
            if len(finalists) == _FINALISTS:
                break
        seen = Evaluator(
            question.backtests, question.data, question.objective, first=borders.validation, last=borders.test,
            regime=question.regime, share=(borders.test - borders.validation) / borders.validation,
        )  # fmt: skip
        scores = [e.score for e in seen.evaluate([finalist.parameters for finalist in finalists])]
        best = max(range(len(finalists)), key=lambda place: (-math.inf if (s := scores[place]) is None else s, -place))
        return finalists[best]


def without_run(evaluation: Evaluation) -> Evaluation:
    """The evaluation without its arrays, which are large."""
    return Evaluation(
        parameters=evaluation.parameters, score=evaluation.score, value=evaluation.value, failed=evaluation.failed,
        trades=evaluation.trades, sharpe=evaluation.sharpe, outcome=None,
    )  # fmt: skip


def _trials(evaluations: list[Evaluation], near: list[Evaluation]) -> tuple[ScoredTrial, ...]:
    return tuple(
        ScoredTrial(
            number=number, parameters=e.parameters, score=e.score, value=e.value, failed=e.failed, trades=e.trades,
            sharpe=e.sharpe, neighbour=number >= len(evaluations),
        )
        for number, e in enumerate([*evaluations, *near])
    )  # fmt: skip


def _judged_again(question: _Question, winner: Evaluation, ledger: TrialLedger) -> tuple[Part, SharpeEvidence]:
    """The winner on the bars of the search, deflated by every trial that the ledger knows by now."""
    evaluation = question.train.evaluate([winner.parameters])[0]
    train = part_of(evaluation, question.train.data, 0, question.borders.validation, question.train.chosen)
    count = ledger.trials(question.trial_key)
    spread = count.sharpe_std
    evidence = sharpe_evidence(
        outcome_in(evaluation).returns,
        n_trials=max(1, count.n_trials),
        trials_sharpe_std=None if math.isnan(spread) else spread,
    )
    return train, evidence


def _open(
    question: _Question, winner: Evaluation, ledger: TrialLedger
) -> tuple[Part | None, SharpeEvidence | None, int | None]:
    """Look at the sealed bars, and have it recorded."""
    first, last = question.borders.test, question.borders.bars
    if first == last:
        return None, None, None
    times = question.data.times
    opening = ledger.open_sealed(question.trial_key, start=times[first], end=times[last - 1], by=question.key)
    evaluation, test = question.part(winner.parameters, first, last)
    return test, sharpe_evidence(outcome_in(evaluation).returns), opening.number


# ------------------------------------------------------------------------------------------------------------- answers


def _event(question: _Question, result: OptimizationResult) -> ParametersOptimized:
    return ParametersOptimized(
        key=question.key, symbol=result.symbol, timeframe=result.timeframe, strategy=result.strategy,
        parameters=result.parameters, score=result.score, n_trials=result.n_trials, seed=result.seed,
        regime=result.regime, result=result.to_json(),
        at=question.data.times[-1].astype("datetime64[us]").item(),
    )  # fmt: skip


def _known_answer(question: _Question, store: AnswerStore, ledger: TrialLedger) -> OptimizationResult | None:
    """The recorded answer, if it is one to this question and its winner still scores what it did."""
    event = store.optimization(question.key)
    if event is None:
        return None
    try:
        result = OptimizationResult.from_json(event.result)
    except SettingsError as error:
        _log.warning("The recorded answer %s cannot be read and is searched for again: %s", question.key[:12], error)
        return None
    faults = Faults("answer")
    run = {name: result.run.get(name) for name in question.content}
    if result.key != question.key or run != question.content:
        faults.add("it is the answer to another question")
    else:
        again = question.train.evaluate([result.parameters])[0]
        if again.score != result.score:
            faults.add(f"its winner scores {again.score!r} now, {result.score!r} then")
    if faults.found:
        _log.warning(
            "The recorded answer %s is stale and is searched for again: %s", question.key[:12], faults.found[0]
        )
        return None
    # The search is not done again, but others may have been done since: the ledger's count is of now.
    winner = without_run(again)
    train, evidence = _judged_again(question, winner, ledger)
    opening = result.opening
    if result.test is not None:
        times, (_, first, last) = question.data.times, question.borders
        opening = ledger.open_sealed(
            question.trial_key, start=times[first], end=times[last - 1], by=question.key
        ).number
    return dataclasses.replace(result, train=train, evidence=evidence, opening=opening, cached=True)
