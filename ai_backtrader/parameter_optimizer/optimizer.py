"""ParameterOptimizer: the best parameters by any backtest function, in a script or inside a running loop."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_backtrader.checkpoints import read_checkpoint, write_checkpoint
from ai_backtrader.checks import Faults
from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.events import ForgetfulJournal, Journal
from ai_backtrader.evidence.ledger import TrialKey, TrialLedger
from ai_backtrader.executors import open_executor
from ai_backtrader.parameter_optimizer.answers import (
    AnswerStore,
    answer_of,
    digest_of,
    event_of,
    key_of,
    question_of,
)
from ai_backtrader.parameter_optimizer.search import CHECKPOINT_SCHEMA, Search
from ai_backtrader.parameter_optimizer.settings import TECHNICAL_SPACE, OptimizationConfig, OptimizerSettings
from ai_backtrader.parameter_optimizer.space import Parameters, Space
from ai_backtrader.parameter_optimizer.trials import Proposal, SearchResult, Trial

__all__ = ["SHARPE", "BacktestFunction", "ParameterOptimizer"]

_log = logging.getLogger("ai_backtrader")

BacktestFunction = Callable[
    [Parameters], float | Mapping[str, float] | Awaitable[float] | Awaitable[Mapping[str, float]]
]
"""Takes parameters by name and gives their score, or named numbers with the score among them; also async."""

SHARPE = "sharpe_per_bar"
"""Name of the figure that the ledger counts: the Sharpe ratio of bar returns, not annualised."""

# Seconds between two checkpoints inside a batch: a file forced to the disk costs milliseconds.
_CHECKPOINT_EVERY = 1.0


@dataclass(frozen=True)
class _Answer:
    """What an evaluation gave, on its way back from a worker."""

    score: float | None
    failed: str | None
    seconds: float
    figures: Mapping[str, float]


class ParameterOptimizer:
    """Finds the parameters that a backtest function scores best.

    Parameters
    ----------
    settings
        How it searches; None takes the defaults.
    seed
        Source of every random choice. Each search starts from it anew, so the same call gives the same trials.
    journal
        Gets a :class:`~ai_backtrader.events.ParametersOptimized` for every search that ends.
    store
        Answers a question that was answered before; None always searches.
    ledger
        Counts every trial under ``config.data_fingerprint`` and ``config.strategy``, with its Sharpe ratio per bar
        where the function gives one named ``"sharpe_per_bar"``. Without a fingerprint nothing can be counted.

    Attributes
    ----------
    last_result
        Of the last search, an interrupted one included; None before the first.

    Examples
    --------
    >>> import asyncio
    >>> optimizer = ParameterOptimizer(seed=1)
    >>> config = OptimizationConfig(symbol="BTC/USDT", n_trials=30, space={"fast": (2, 20), "slow": (10, 60)})
    >>> def backtest(params):
    ...     return -abs(params["fast"] - 8) - abs(params["slow"] - 34) / 4
    >>> best_params, score = asyncio.run(optimizer.optimize(config=config, backtest_fn=backtest))
    >>> score > -1.0
    True
    """

    def __init__(
        self,
        settings: OptimizerSettings | None = None,
        *,
        seed: int = 0,
        journal: Journal | None = None,
        store: AnswerStore | None = None,
        ledger: TrialLedger | None = None,
    ) -> None:
        faults = Faults("ParameterOptimizer")
        given: object = settings
        if given is not None and not isinstance(given, OptimizerSettings):
            faults.add(f"settings must be OptimizerSettings or None, got {given!r}")
        faults.whole("seed", seed, low=0)
        faults.raise_if_any()
        self.settings = OptimizerSettings() if settings is None else settings
        self.seed = int(seed)
        self.journal: Journal = ForgetfulJournal() if journal is None else journal
        self.store = store
        self.ledger = ledger
        self.last_result: SearchResult | None = None

    async def optimize(
        self,
        *,
        config: OptimizationConfig,
        backtest_fn: BacktestFunction,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        on_trial: Callable[[Trial, Trial | None], None] | None = None,
    ) -> SearchResult:
        """Search for the best parameters; the result unpacks into them and their score.

        Parameters
        ----------
        config
            The question.
        backtest_fn
            Takes a dictionary of parameters and returns their score, or a mapping that holds it under
            ``config.objective``. Raised exceptions, NaN and infinity are failed trials. An async function is awaited
            for a whole batch at once.
        checkpoint, resume
            File that keeps the search after each trial or second, and whether to go on from it. After ``kill -9`` the
            resumed search gives what the uninterrupted one would have given.
        on_trial
            Called with each trial told and the best so far (None before the first that succeeded).

        Raises
        ------
        SettingsError
            If an argument is wrong.
        AIBacktraderError
            If every evaluation of the first design failed: then the function is at fault.

        Notes
        -----
        Ctrl-C (KeyboardInterrupt) ends the search early: the result says ``interrupted``. A cancelled task leaves the
        best so far in :attr:`last_result`. The loop runs on between evaluations; a slow function that is not async
        holds it up while it computes.
        """
        run = self._run(config, backtest_fn, checkpoint, resume, on_trial)
        cached = run.cached()
        if cached is not None:
            return self._keep(cached)
        awaited = inspect.iscoroutinefunction(backtest_fn) or inspect.iscoroutinefunction(
            getattr(backtest_fn, "__call__", None)  # noqa: B004 an object whose call is async
        )
        if awaited and (config.jobs > 1 or config.executor != "local"):
            raise SettingsError("optimize", ["an async backtest_fn runs in this process only; leave jobs at 1"])
        try:
            if awaited:
                await run.all_awaited()
            else:
                for _ in run.step_by_step():
                    await asyncio.sleep(0)  # others in the loop have their turn
        except KeyboardInterrupt:
            return self._keep(run.interrupted())
        except asyncio.CancelledError:
            if run.has_score:
                self.last_result = run.interrupted()
            raise
        return self._keep(run.finished())

    def search(
        self,
        backtest_fn: Callable[[Parameters], float | Mapping[str, float]],
        *,
        config: OptimizationConfig,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        on_trial: Callable[[Trial, Trial | None], None] | None = None,
    ) -> SearchResult:
        """:meth:`optimize` without a loop, for a function that is not async.

        Raises
        ------
        SettingsError
            If an argument is wrong, or the function is async.
        AIBacktraderError
            If every evaluation of the first design failed.
        """
        if inspect.iscoroutinefunction(backtest_fn):
            raise SettingsError("search", ["backtest_fn is async; await optimize(config=…, backtest_fn=…) instead"])
        run = self._run(config, backtest_fn, checkpoint, resume, on_trial)
        cached = run.cached()
        if cached is not None:
            return self._keep(cached)
        try:
            for _ in run.step_by_step():
                pass
        except KeyboardInterrupt:
            return self._keep(run.interrupted())
        return self._keep(run.finished())

    def _keep(self, result: SearchResult) -> SearchResult:
        self.last_result = result
        return result

    def _run(
        self,
        config: Any,
        function: Any,
        checkpoint: str | Path | None,
        resume: bool,
        on_trial: Callable[[Trial, Trial | None], None] | None,
    ) -> _Run:
        faults = Faults("optimize")
        if not isinstance(config, OptimizationConfig):
            faults.add(f"config must be OptimizationConfig, got {config!r}")
        if not callable(function):
            faults.add(f"backtest_fn must be a function of a dictionary of parameters, got {function!r}")
        if resume and checkpoint is None:
            faults.add("resume needs the checkpoint to resume from")
        progress: Any = on_trial
        if progress is not None and not callable(progress):
            faults.add(f"on_trial must be a function of a trial and the best so far, got {progress!r}")
        faults.raise_if_any()
        return _Run(self, config, function, checkpoint, resume, on_trial)


class _Run:
    """One search on its way: evaluations, checkpoints, the end."""

    def __init__(
        self,
        optimizer: ParameterOptimizer,
        config: OptimizationConfig,
        function: Callable[..., Any],
        checkpoint: str | Path | None,
        resume: bool,
        on_trial: Callable[[Trial, Trial | None], None] | None,
    ) -> None:
        self.optimizer, self.config, self.function = optimizer, config, function
        self.checkpoint, self.on_trial = checkpoint, on_trial
        space = TECHNICAL_SPACE if config.space is None else Space.of(config.space)
        settings = optimizer.settings
        self.question = question_of(config, settings, space, seed=optimizer.seed, function=function)
        self.key = key_of(self.question)
        self.saved = 0.0
        if resume and checkpoint is not None:
            self.search = Search.from_state(
                space, read_checkpoint(checkpoint, schema=CHECKPOINT_SCHEMA, identity=self.question)
            )
        else:
            self.search = Search(
                space, n_trials=config.n_trials, seed=optimizer.seed, surrogate=settings.surrogate,
                batch=settings.batch, n_initial=settings.n_initial, maximize=config.maximize,
            )  # fmt: skip
        self.best: Trial | None = None
        for trial in self.search.trials:
            self._better(trial)

    @property
    def has_score(self) -> bool:
        return self.best is not None

    def cached(self) -> SearchResult | None:
        if self.optimizer.store is None:
            return None
        if self.key is None:
            _log.info("optimizer: no cache for %s; give config.data_fingerprint and config.version", self.config.symbol)
            return None
        event = self.optimizer.store.optimization(self.key)
        return None if event is None else answer_of(event, self.key, self.search.space)

    def step_by_step(self) -> Iterator[Trial]:
        evaluation = _Call(self.function, self.config.objective)
        with open_executor(self.config.executor, jobs=self.config.jobs) as apply:
            while proposals := self.search.ask():
                outcomes = apply(evaluation, [dict(proposal.params) for proposal in proposals])
                for proposal, outcome in zip(proposals, outcomes, strict=True):
                    yield self._tell(proposal, outcome)
                self._batch_done(proposals)

    async def all_awaited(self) -> None:
        evaluation = _Call(self.function, self.config.objective)
        while proposals := self.search.ask():

            async def one(proposal: Proposal) -> None:
                self._tell(proposal, await evaluation.awaited(dict(proposal.params)))

            async with asyncio.TaskGroup() as group:
                for proposal in proposals:
                    group.create_task(one(proposal))
            self._batch_done(proposals)

    def finished(self) -> SearchResult:
        result = self._result(interrupted=False)
        event = event_of(result, self.config, question=self.question, seed=self.optimizer.seed)
        self.optimizer.journal.record(event)
        return result

    def interrupted(self) -> SearchResult:
        if self.best is None:
            raise KeyboardInterrupt from None
        self._save()
        _log.warning("optimizer: interrupted after %d of %d trials", len(self.search.trials), self.search.n_trials)
        return self._result(interrupted=True)

    def _result(self, *, interrupted: bool) -> SearchResult:
        best, trials = self.search.best, self.search.trials
        return SearchResult(
            params=best.params, score=math.nan if best.score is None else best.score, trials=trials,
            n_trials=len(trials), maximize=self.search.maximize, interrupted=interrupted, key=self.key,
        )  # fmt: skip

    def _tell(self, proposal: Proposal, outcome: _Answer) -> Trial:
        trial = self.search.tell(
            proposal.number, outcome.score, failed=outcome.failed, seconds=outcome.seconds, figures=outcome.figures
        )
        self._better(trial)
        if time.monotonic() - self.saved > _CHECKPOINT_EVERY:
            self._save()
        if self.on_trial is not None:
            self.on_trial(trial, self.best)
        return trial

    def _better(self, trial: Trial) -> None:
        if trial.score is None:
            return
        if self.best is None or self.best.score is None:
            self.best = trial
            return
        gain = trial.score - self.best.score if self.search.maximize else self.best.score - trial.score
        if gain > 0.0 or (gain == 0.0 and trial.number < self.best.number):
            self.best = trial

    def _batch_done(self, proposals: tuple[Proposal, ...]) -> None:
        self._save()
        self._count(proposals)
        if self.best is None and len(self.search.trials) >= min(self.search.n_initial, self.search.n_trials):
            reasons = "; ".join(dict.fromkeys(str(trial.failed) for trial in self.search.trials))
            raise AIBacktraderError(
                f"optimize: backtest_fn failed for all {len(self.search.trials)} trials of the first design "
                f"({reasons:.500}); try it on {dict(self.search.trials[0].params)}"
            )

    def _count(self, proposals: tuple[Proposal, ...]) -> None:
        ledger, data = self.optimizer.ledger, self.config.data_fingerprint
        if ledger is None or data is None:
            return
        numbers = {proposal.number for proposal in proposals}
        told = [trial for trial in self.search.trials if trial.number in numbers]
        # Scores are part of the id: the same question asked of a function that has changed makes other trials.
        run = digest_of([self.question, [[dict(trial.params), trial.score] for trial in told]])
        sharpes = [trial.figures.get(SHARPE, math.nan) for trial in told]
        ledger.add_trials(TrialKey(data, self.config.strategy), sharpes, run_id=run, batch=min(numbers))

    def _save(self) -> None:
        if self.checkpoint is not None:
            write_checkpoint(
                self.checkpoint, schema=CHECKPOINT_SCHEMA, identity=self.question, state=self.search.state()
            )
            self.saved = time.monotonic()


@dataclass(frozen=True)
class _Call:
    """The function with its exceptions, NaN and strange answers as outcomes; travels to workers."""

    function: Callable[..., Any]
    objective: str

    def __call__(self, params: Parameters) -> _Answer:
        start = time.perf_counter()
        try:
            given = self.function(params)
        except Exception as error:  # whatever a user's function raises is the trial's outcome, and is reported
            given = error
        if inspect.isawaitable(given):
            if inspect.iscoroutine(given):
                given.close()
            raise SettingsError(
                "optimize", ["backtest_fn gave an awaitable; write it as 'async def' and await optimize"]
            )
        return self._outcome(given, time.perf_counter() - start)

    async def awaited(self, params: Parameters) -> _Answer:
        start = time.perf_counter()
        try:
            given = await self.function(params)
        except Exception as error:  # as above
            given = error
        return self._outcome(given, time.perf_counter() - start)

    def _outcome(self, given: Any, seconds: float) -> _Answer:
        if isinstance(given, Exception):
            return _Answer(None, f"{type(given).__name__}: {given}", seconds, {})
        figures: dict[str, float] = {}
        if isinstance(given, Mapping):
            if self.objective not in given:
                known = ", ".join(map(str, given)) or "nothing"
                return _Answer(None, f"no {self.objective!r} among what the function gave ({known})", seconds, {})
            # JSON and the database keep finite numbers; the rest says nothing.
            figures = {
                str(name): float(value)
                for name, value in given.items()
                if name != self.objective and _is_number(value) and math.isfinite(value)
            }
            given = given[self.objective]
        if given is None:
            return _Answer(None, "the function gave None", seconds, figures)
        if not _is_number(given):
            return _Answer(None, f"the function gave no number but {type(given).__name__}", seconds, figures)
        score = float(given)
        if not math.isfinite(score):
            return _Answer(None, f"score is {score}", seconds, figures)
        return _Answer(score, None, seconds, figures)


def _is_number(value: object) -> bool:
    if isinstance(value, (bool, str, bytes)):
        return False
    try:
        float(value)  # type: ignore[arg-type]  # asking is the test: NumPy's scalars are numbers too
    except (TypeError, ValueError):
        return False
    return True
