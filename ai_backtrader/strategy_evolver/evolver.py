"""StrategyEvolver: evolution by any fitness function, in a script or inside a running loop."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ai_backtrader.checkpoints import read_checkpoint, write_checkpoint
from ai_backtrader.checks import Faults
from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.evidence import TrialKey, TrialLedger
from ai_backtrader.executors import Map, open_executor
from ai_backtrader.market import MarketData
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.strategy_evolver.checkpoint import SCHEMA, dump_evolution, load_evolution
from ai_backtrader.strategy_evolver.evolution import Evolution, Member, Score
from ai_backtrader.strategy_evolver.history import Generation
from ai_backtrader.strategy_evolver.operators import chromosomes
from ai_backtrader.strategy_evolver.result import EvolutionResult
from ai_backtrader.strategy_evolver.search import evolve
from ai_backtrader.strategy_evolver.settings import EvolverSettings

__all__ = ["FitnessFunction", "StrategyEvolver"]

_log = logging.getLogger(__name__)

FitnessFunction = Callable[[StrategyChromosome], float | Sequence[float] | Awaitable[float | Sequence[float]]]
"""Takes a chromosome and gives its score, higher is better (a Sharpe ratio), or one for each objective; also async."""


class StrategyEvolver:
    """Discovers strategies by evolution.

    :meth:`evolve` is the fast and honest way, on market data; :meth:`run_evolution` takes any fitness function, and
    what it finds is as good as that function is honest.

    Parameters
    ----------
    settings
        How strategies are bred; None takes the defaults.
    seed
        Source of every random choice. Each search starts from it anew, so the same call gives the same answer.
    max_leverage
        Chromosomes may use leverage up to this multiple.

    Attributes
    ----------
    evolution
        The last :meth:`run_evolution`: its population, front and history; None before the first.

    Examples
    --------
    >>> import asyncio
    >>> from ai_backtrader.datafeeds import load_sample
    >>> from ai_backtrader.simulation import simulate
    >>> data = load_sample().head(2_000)
    >>> evolver = StrategyEvolver(seed=1)
    >>> def sharpe(chromosome):
    ...     return simulate(data, chromosome).metrics["sharpe"]
    >>> best = asyncio.run(evolver.run_evolution(n_generations=3, fitness_fn=sharpe))
    >>> best == evolver.best.candidate
    True
    """

    def __init__(self, settings: EvolverSettings | None = None, *, seed: int = 0, max_leverage: float = 1.0) -> None:
        faults = Faults("StrategyEvolver")
        given: object = settings
        if given is not None and not isinstance(given, EvolverSettings):
            faults.add(f"settings must be EvolverSettings or None, got {given!r}")
        faults.whole("seed", seed, low=0)
        faults.number("max_leverage", max_leverage, low=1.0, high=125.0)
        faults.raise_if_any()
        self.settings = EvolverSettings() if settings is None else settings
        self.seed = seed
        self.max_leverage = max_leverage
        self.evolution: Evolution[StrategyChromosome] | None = None

    @property
    def best(self) -> Member[StrategyChromosome]:
        """Best strategy of the last :meth:`run_evolution` with its scores.

        Raises
        ------
        AIBacktraderError
            Before the first.
        """
        if self.evolution is None:
            raise AIBacktraderError("StrategyEvolver: nothing has evolved yet; await run_evolution(fitness_fn=…) first")
        return self.evolution.best

    @property
    def history(self) -> tuple[Generation, ...]:
        """Generations of the last :meth:`run_evolution`."""
        return () if self.evolution is None else tuple(self.evolution.history)

    def evolve(self, data: MarketData, **options: Any) -> EvolutionResult:
        """:func:`~ai_backtrader.strategy_evolver.evolve` with this evolver's settings, seed and leverage limit."""
        own = {"settings": self.settings, "seed": self.seed, "max_leverage": self.max_leverage}
        return evolve(data, **{**own, **options})

    async def run_evolution(
        self,
        n_generations: int = 20,
        *,
        fitness_fn: FitnessFunction,
        jobs: int = 1,
        executor: str = "local",
        checkpoint: str | Path | None = None,
        resume: bool = False,
        on_generation: Callable[[Generation], None] | None = None,
        data: MarketData | None = None,
        ledger: TrialLedger | None = None,
    ) -> StrategyChromosome:
        """Evolve strategies by a fitness function and give the best.

        Parameters
        ----------
        n_generations
            Generations evaluated, the first random one included.
        fitness_fn
            Takes a :class:`~ai_backtrader.rules.StrategyChromosome` and returns its score, for example a Sharpe ratio;
            higher is better. Returned NaN and raised exceptions count as the worst score and are reported. An async
            function is awaited for a whole generation at once. Several numbers are several objectives: see
            ``evolution.front`` for the trade-offs.
        jobs, executor
            Processes for a function that is not async (:func:`~ai_backtrader.strategy_evolver.open_executor`).
        checkpoint, resume
            As in :func:`~ai_backtrader.strategy_evolver.evolve`; the function must be the same one.
        on_generation
            Called after each generation.
        data, ledger
            The data that the function scores on, and who counts the trials made on them: every evaluation is counted
            under ``TrialKey(data.fingerprint, "evolved")``, as :func:`~ai_backtrader.strategy_evolver.evolve` does, but
            without a Sharpe ratio, which a score need not be. Counted once where a search is resumed or repeated.

        Raises
        ------
        SettingsError
            If an argument is wrong.
        AIBacktraderError
            If every evaluation of a first generation failed: then the function is at fault.

        Notes
        -----
        The loop runs on between evaluations; a slow function that is not async holds it up while it computes.
        """
        self._check(n_generations, fitness_fn, checkpoint, resume, data, ledger)
        representation = chromosomes(max_leverage=self.max_leverage)
        evolution = Evolution(representation, self.settings, rng=np.random.default_rng(self.seed))
        identity = {
            "kind": "run_evolution", "seed": self.seed, "settings": dataclasses.asdict(self.settings),
            "max_leverage": self.max_leverage, "fitness_fn": getattr(fitness_fn, "__qualname__", str(type(fitness_fn))),
        }  # fmt: skip
        if resume and checkpoint is not None:
            load_evolution(evolution, read_checkpoint(checkpoint, schema=SCHEMA, identity=identity)["evolution"])
        self.evolution = evolution
        with open_executor(executor, jobs=jobs) as apply:
            here = executor == "local" and jobs == 1
            while evolution.generation < n_generations:
                scores = await _evaluated(fitness_fn, evolution.ask(), None if here else apply)
                generation = evolution.tell(scores)
                _report(generation)
                if ledger is not None and data is not None:
                    # Before the checkpoint: a search that is cut off between the two tells the same batch again.
                    key, batch = TrialKey(data.fingerprint, "evolved"), generation.number
                    unmeasured = np.full(generation.evaluated, np.nan)
                    ledger.add_trials(key, unmeasured, run_id=_run_id(identity, evolution.history[0]), batch=batch)
                if checkpoint is not None:
                    write_checkpoint(
                        checkpoint, schema=SCHEMA, identity=identity, state={"evolution": dump_evolution(evolution)}
                    )
                if on_generation is not None:
                    on_generation(generation)
        return evolution.best.candidate

    def _check(
        self, n_generations: int, fitness_fn: object, checkpoint: object, resume: bool, data: object, ledger: object
    ) -> None:
        faults = Faults("run_evolution")
        faults.whole("n_generations", n_generations, low=1)
        if not callable(fitness_fn):
            faults.add(f"fitness_fn must be a function of a chromosome, got {fitness_fn!r}")
        if resume and checkpoint is None:
            faults.add("resume needs the checkpoint to resume from")
        if data is not None and not isinstance(data, MarketData):
            faults.add(f"data must be MarketData, got {data!r}")
        if (ledger is None) != (data is None):
            faults.add("ledger and data belong together: trials are counted for the data that they were made on")
        faults.raise_if_any()


def _run_id(identity: dict[str, Any], first: Generation) -> str:
    """Name of a search: the same when it is resumed or repeated, another where another function gives other scores."""
    content = json.dumps([identity, repr(first.best), repr(first.median)], sort_keys=True, default=str)
    return "run_evolution-" + hashlib.sha256(content.encode()).hexdigest()


def _report(generation: Generation) -> None:
    failed = sum(generation.failures.values())
    for reason, count in generation.failures.items():
        _log.warning("generation %d: %d evaluation(s) failed: %s", generation.number, count, reason)
    if generation.number == 0 and failed == generation.evaluated:
        reasons = "; ".join(generation.failures)
        raise AIBacktraderError(
            f"run_evolution: fitness_fn failed for all {failed} chromosomes of the first generation ({reasons}); "
            "try it on StrategyChromosome.random(numpy.random.default_rng(0))"
        )


async def _evaluated(
    fitness_fn: FitnessFunction, candidates: Sequence[StrategyChromosome], apply: Map | None
) -> list[Score]:
    if apply is not None:
        if inspect.iscoroutinefunction(fitness_fn):
            raise AIBacktraderError("run_evolution: an async fitness_fn runs in this process only; leave jobs at 1")
        return list(apply(_Guarded(fitness_fn), candidates))
    begun = []
    for candidate in candidates:
        begun.append(_guarded(fitness_fn, candidate))
        await asyncio.sleep(0)  # others in the loop have their turn
    waiting = {place: score for place, score in enumerate(begun) if inspect.isawaitable(score)}
    done = await asyncio.gather(*waiting.values(), return_exceptions=True)
    for place, score in zip(waiting, done, strict=True):
        if isinstance(score, BaseException) and not isinstance(score, Exception):
            raise score  # a cancelled or interrupted search is no bad strategy
        begun[place] = score
    return begun


def _guarded(fitness_fn: Callable[[StrategyChromosome], Any], candidate: StrategyChromosome) -> Any:
    try:
        return fitness_fn(candidate)
    except Exception as error:  # whatever a user's function raises is the evaluation's outcome, and is reported
        return error


@dataclasses.dataclass(frozen=True)
class _Guarded:
    """The function with its exceptions as results, so that one bad strategy does not end a search on many processes."""

    fitness_fn: FitnessFunction

    def __call__(self, candidate: StrategyChromosome) -> Score:
        score: Score = _guarded(self.fitness_fn, candidate)
        return score
