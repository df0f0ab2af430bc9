"""evolve: find strategies on the first bars, select them on the next, examine them once on the last."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ai_backtrader.checkpoints import read_checkpoint, write_checkpoint
from ai_backtrader.checks import Faults
from ai_backtrader.events import Journal, StrategyEvolved
from ai_backtrader.evidence import TrialCount, TrialKey, TrialLedger, deflated_sharpe_ratio, kurtosis, skewness
from ai_backtrader.executors import Map, open_executor
from ai_backtrader.market import MarketData
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import SimulationResult, Simulator
from ai_backtrader.strategy_evolver.checkpoint import SCHEMA, dump_evolution, load_evolution
from ai_backtrader.strategy_evolver.evaluation import Evaluator, regime_trend
from ai_backtrader.strategy_evolver.evolution import Evolution, Score
from ai_backtrader.strategy_evolver.exam import examine
from ai_backtrader.strategy_evolver.fitness import Fitness, gene_count, worst_regime_sharpe
from ai_backtrader.strategy_evolver.history import Generation
from ai_backtrader.strategy_evolver.operators import chromosomes
from ai_backtrader.strategy_evolver.result import Champion, EvolutionResult
from ai_backtrader.strategy_evolver.segments import Borders, Figures, Split, segment_returns, segment_statistics
from ai_backtrader.strategy_evolver.settings import EvolverSettings

__all__ = ["evolve"]

_TOPS = 3  # best of each island and generation that go to validation
_MOST_FINALISTS = 200


class NoScore(Exception):  # noqa: N818  # a finding about a strategy, not an error of the program
    """A strategy closed no trade, or its account never moved."""


def evolve(
    data: MarketData,
    *,
    n_generations: int = 20,
    population: int | None = None,
    seed: int = 0,
    fitness: Fitness | None = None,
    settings: EvolverSettings | None = None,
    split: Split | None = None,
    champions: int = 5,
    alpha: float = 0.05,
    max_leverage: float = 1.0,
    jobs: int = 1,
    executor: str = "local",
    checkpoint: str | Path | None = None,
    resume: bool = False,
    on_generation: Callable[[Generation], None] | None = None,
    ledger: TrialLedger | None = None,
    journal: Journal | None = None,
    cash: float = 10_000.0,
    commission: float = 0.0005,
    slippage: float = 0.0,
    tiers: MaintenanceTiers | None = None,
    funding: float | bool | None = None,
    liquidation_fee: float = 0.0,
    shortcash: bool = True,
) -> EvolutionResult:
    """Search strategies for a market and say honestly what they are worth.

    Found on the first half of the bars, selected on the next quarter, and examined once on the last one, which nothing
    has seen before: those who survive are in ``passed``, which is empty when none did.

    Parameters
    ----------
    data
        500 bars or more.
    n_generations
        Generations evaluated, the first random one included.
    population
        Chromosomes alive; None takes that of the settings (50).
    seed
        Source of every random choice. The same seed and data give the same champions with any number of jobs, on any
        executor, and after any interruption.
    fitness, settings, split
        What is better, how it is bred, where the parts lie; None takes the defaults.
    champions
        Most champions to select.
    alpha
        Probability of at least one false pass in the sealed test (see :mod:`ai_backtrader.strategy_evolver.exam`).
    max_leverage
        Chromosomes may use leverage up to this multiple.
    jobs, executor
        Threads of this process, or processes of a cluster (:func:`~ai_backtrader.strategy_evolver.open_executor`).
    checkpoint
        File that keeps the search after each generation; None for none.
    resume
        Go on from the checkpoint: with the outcome of a search that was never interrupted. ``n_generations`` may be
        larger than before.
    on_generation
        Called after each generation.
    ledger
        Counts every evaluation, and the opening of the sealed test, under ``TrialKey(data.fingerprint, "evolved")``:
        the deflated Sharpe ratios then know of all searches on these data, and a test that others opened before is
        harder to pass. None for none.
    journal
        Receives a :class:`~ai_backtrader.events.StrategyEvolved` for each champion. None for none.
    cash, commission, slippage, tiers, funding, liquidation_fee, shortcash
        As in :func:`~ai_backtrader.simulation.simulate`.

    Returns
    -------
    EvolutionResult
        Champions, history, number of evaluations.

    Raises
    ------
    SettingsError
        If an argument is wrong, the data are too short, or the checkpoint belongs to another search.
    AIBacktraderError
        If the checkpoint cannot be read or written, or a cluster is missing.

    Examples
    --------
    >>> from ai_backtrader.datafeeds import load_sample
    >>> result = evolve(load_sample(), n_generations=2, population=10, seed=1)
    >>> result.evaluations, len(result.passed)
    (16, 0)
    """
    options = {
        "cash": cash, "commission": commission, "slippage": slippage, "tiers": tiers, "funding": funding,
        "liquidation_fee": liquidation_fee, "shortcash": shortcash,
    }  # fmt: skip
    _check(data, n_generations, population, seed, champions, alpha, max_leverage, jobs, checkpoint, resume)
    fitness = Fitness() if fitness is None else fitness
    settings = EvolverSettings() if settings is None else settings
    if population is not None:
        islands = max(1, min(settings.islands, population // (settings.elites + 2)))
        settings = dataclasses.replace(settings, population=population, islands=islands)
    split = Split() if split is None else split
    borders = split.borders(len(data))
    evolution_rng, noise_rng = np.random.default_rng(seed).spawn(2)
    search = _Search(
        evolution=Evolution(chromosomes(max_leverage=max_leverage), settings, rng=evolution_rng),
        evaluator=Evaluator(data=data.head(borders.validation), fitness=fitness, options=options),
        path=None if checkpoint is None else Path(checkpoint),
        identity={
            "kind": "evolve", "data": data.fingerprint, "seed": seed, "settings": dataclasses.asdict(settings),
            "fitness": dataclasses.asdict(fitness), "split": dataclasses.asdict(split), "max_leverage": max_leverage,
            "broker": {name: repr(value) for name, value in options.items()},
        },
    )  # fmt: skip
    if resume:
        search.resume()
    trials = None if ledger is None else _Trials(ledger, TrialKey(data.fingerprint, "evolved"), search.run_id)
    with open_executor(executor, jobs=1 if executor == "local" else jobs) as apply:
        while search.evolution.generation < n_generations:
            generation = search.step(apply if executor != "local" else None, jobs, trials)
            if on_generation is not None:
                on_generation(generation)
    search.note_exam()
    simulator = Simulator(data, **options)  # type: ignore[arg-type]  # the keywords of its own settings
    chosen, results, validation_history = _select(search, simulator, data, borders, champions)
    gained = [place for place, champion in enumerate(chosen) if champion.validation_score > 0.0]
    examinations = len(search.exams)
    if trials is not None and gained:
        examinations = max(examinations, trials.open(data.times[borders.test], data.times[-1]))
    exams = examine(
        data,
        borders,
        [chosen[place].chromosome for place in gained],
        [results[place] for place in gained],
        alpha=alpha / examinations,
        options=options,
        max_leverage=max_leverage,
        rng=noise_rng,
    )
    for place, exam in zip(gained, exams, strict=True):
        statistics = segment_statistics(results[place], borders.test, borders.bars)
        figures = Figures.of(statistics, borders.bars - borders.test)
        chosen[place] = dataclasses.replace(chosen[place], test=figures, exam=exam)
    if trials is not None:
        chosen = [
            dataclasses.replace(champion, deflated_sharpe=trials.deflated_sharpe(result, borders.validation))
            for champion, result in zip(chosen, results, strict=True)
        ]
    if journal is not None:
        for champion in chosen:
            journal.record(_event(champion, data, search.evolution.generation, seed))
    return EvolutionResult(
        champions=tuple(chosen),
        evaluations=search.evolution.evaluations,
        scores_std=search.scores_std,
        history=tuple(search.evolution.history),
        validation_history=validation_history,
        borders=borders,
        alpha=alpha,
        examinations=examinations,
        trials=None if trials is None else trials.count,
        run={
            **search.identity, "symbol": data.symbol, "n_generations": n_generations,
            "bars": len(data), "first_bar": str(data.times[0]), "last_bar": str(data.times[-1]),
            "versions": {name: importlib.metadata.version(name) for name in ("ai-backtrader", "numpy", "numba")},
        },
    )  # fmt: skip


def _check(
    data: object, n_generations: int, population: int | None, seed: int, champions: int, alpha: float,
    max_leverage: float, jobs: int, checkpoint: object, resume: bool,
) -> None:  # fmt: skip
    faults = Faults("evolve")
    if not isinstance(data, MarketData):
        faults.add(
            f"data must be MarketData, got {type(data).__name__}; load it with MarketData.from_csv or from_frame"
        )
    faults.whole("n_generations", n_generations, low=1)
    if population is not None:
        faults.whole("population", population, low=4)
    faults.whole("seed", seed, low=0)
    faults.whole("champions", champions, low=1, high=100)
    faults.number("alpha", alpha, above=0.0, high=0.5)
    faults.number("max_leverage", max_leverage, low=1.0, high=125.0)
    faults.whole("jobs", jobs, low=1)
    if resume and checkpoint is None:
        faults.add("resume needs the checkpoint to resume from")
    faults.raise_if_any()


@dataclasses.dataclass(kw_only=True)
class _Search:
    """A search on its way: the population, those to be validated, and where they are kept."""

    evolution: Evolution[StrategyChromosome]
    evaluator: Evaluator
    path: Path | None
    identity: dict[str, Any]
    leaders: list[StrategyChromosome] = dataclasses.field(default_factory=list)
    finalists: dict[StrategyChromosome, float] = dataclasses.field(default_factory=dict)
    exams: list[int] = dataclasses.field(default_factory=list)
    sums: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def run_id(self) -> str:
        """Name of the search: the same when it is resumed or repeated."""
        return "evolve-" + hashlib.sha256(json.dumps(self.identity, sort_keys=True, default=str).encode()).hexdigest()

    def step(self, apply: Map | None, jobs: int, trials: _Trials | None) -> Generation:
        """One generation: ask, evaluate, tell, count, keep."""
        asked = self.evolution.ask()
        if apply is None:
            scores, sharpes = self.evaluator.measure(asked, threads=jobs)
        else:
            scores, sharpes = self.evaluator.measure_through(apply, asked, chunks=max(jobs, 4))
        nothing = NoScore("no trade closed, or the account never moved")
        told: list[Score] = [nothing if math.isnan(score[0]) else score for score in scores]
        generation = self.evolution.tell(told)
        first = np.array([score[0] for score in scores if math.isfinite(score[0])])
        count, total, squares = self.sums
        self.sums = (count + len(first), total + float(first.sum()), squares + float(np.square(first).sum()))
        self.leaders.append(self.evolution.best.candidate)
        for island in self.evolution.islands:
            self._add(member for member in island.members[:_TOPS])
        if trials is not None:
            # Before the checkpoint: who is stopped in between evaluates the generation again, and it counts once; the
            # other way round it would never be counted.
            trials.add(sharpes, generation.number)
        self.write()
        return generation

    def _add(self, members: Any) -> None:
        self.finalists.update({member.candidate: member.score for member in members if math.isfinite(member.score)})

    def finals(self) -> list[tuple[StrategyChromosome, float]]:
        """Who goes to validation: leaders of all times and everyone alive, the best in training first."""
        self._add(self.evolution.population)
        ranked = sorted(self.finalists.items(), key=lambda item: -item[1])
        return ranked[:_MOST_FINALISTS]

    @property
    def scores_std(self) -> float:
        """Standard deviation of all scores; NaN with fewer than two."""
        count, total, squares = self.sums
        return math.sqrt(max(0.0, (squares - total * total / count) / (count - 1))) if count > 1 else math.nan

    def note_exam(self) -> None:
        """Remember that the test is opened for this generation; the same one again opens nothing new."""
        if self.evolution.generation not in self.exams:
            self.exams.append(self.evolution.generation)
            self.write()

    def write(self) -> None:
        """Write the checkpoint, if there is to be one."""
        if self.path is None:
            return
        state = {
            "evolution": dump_evolution(self.evolution),
            "leaders": [leader.to_json() for leader in self.leaders],
            "finalists": [[finalist.to_json(), score] for finalist, score in self.finalists.items()],
            "exams": self.exams,
            "sums": list(self.sums),
        }
        write_checkpoint(self.path, schema=SCHEMA, identity=self.identity, state=state)

    def resume(self) -> None:
        """Become the search that the checkpoint holds."""
        if self.path is None:
            raise AssertionError("evolve checks that there is a checkpoint")
        state = read_checkpoint(self.path, schema=SCHEMA, identity=self.identity)
        load_evolution(self.evolution, state["evolution"])
        self.leaders = [StrategyChromosome.from_json(text) for text in state["leaders"]]
        self.finalists = {StrategyChromosome.from_json(text): float(score) for text, score in state["finalists"]}
        self.exams = list(state["exams"])
        count, total, squares = state["sums"]
        self.sums = (count, total, squares)


@dataclasses.dataclass(frozen=True)
class _Trials:
    """What a ledger is told of one search, and says of all."""

    ledger: TrialLedger
    key: TrialKey
    run_id: str

    def add(self, sharpes: Sequence[float], generation: int) -> None:
        self.ledger.add_trials(self.key, sharpes, run_id=self.run_id, batch=generation)

    def open(self, start: np.datetime64, end: np.datetime64) -> int:
        """Record the look at the sealed bars; gives its number among all looks."""
        return self.ledger.open_sealed(self.key, start=start, end=end, by=self.run_id).number

    @property
    def count(self) -> TrialCount:
        return self.ledger.trials(self.key)

    def deflated_sharpe(self, result: SimulationResult, bars: int) -> float | None:
        """Of the first bars, on which the trials were made; None where it is not defined."""
        count, returns = self.count, segment_returns(result, 0, bars)
        returns = returns[~np.isnan(returns)]
        if len(returns) < 3 or not np.ptp(returns) > 0.0 or count.n_measured < 2:
            return None
        return deflated_sharpe_ratio(
            sharpe=float(np.mean(returns) / np.std(returns, ddof=1)),
            n_obs=len(returns),
            skew=skewness(returns),
            kurtosis=kurtosis(returns),
            n_trials=count.n_trials,
            trials_sharpe_std=count.sharpe_std,
        )


def _event(champion: Champion, data: MarketData, generation: int, seed: int) -> StrategyEvolved:
    figures = {
        "train_sharpe": champion.train.sharpe,
        "validation_score": champion.validation_score,
        "validation_sharpe": champion.validation.sharpe,
        "test_sharpe": None if champion.test is None else champion.test.sharpe,
        "deflated_sharpe": champion.deflated_sharpe,
    }
    return StrategyEvolved(
        fingerprint=champion.chromosome.fingerprint,
        chromosome=champion.chromosome.to_json(),
        symbol=data.symbol,
        data_fingerprint=data.fingerprint,
        fitness=champion.train_score,
        passed=champion.passed,
        figures={name: value for name, value in figures.items() if value is not None and math.isfinite(value)},
        generation=generation,
        seed=seed,
        at=data.times[-1].astype("datetime64[us]").item(),
    )


def _select(
    search: _Search, simulator: Simulator, data: MarketData, borders: Borders, most: int
) -> tuple[list[Champion], list[SimulationResult], tuple[float, ...]]:
    """The best in validation, no two alike; their runs on the whole feed; validation scores of the leaders."""
    # Validation must not see the test: its runs end where the test begins.
    seen = Simulator(data.head(borders.test), **search.evaluator.options)
    fitness = search.evaluator.fitness
    trend = regime_trend(seen.data)[borders.validation :] if fitness.worst_regime else None
    share = (borders.test - borders.validation) / borders.validation
    found: list[tuple[float, Champion, bytes]] = []
    for chromosome, score in search.finals():
        result = seen.run(chromosome)
        train = segment_statistics(result, 0, borders.validation)
        validation = segment_statistics(result, borders.validation, borders.test)
        judged = validation.copy()
        if trend is not None:
            returns = np.nan_to_num(segment_returns(result, borders.validation, borders.test))
            judged["sharpe"] = worst_regime_sharpe(returns, trend, bars_per_year=result.bars_per_year)
        champion = Champion(
            chromosome=chromosome,
            train_score=score,
            validation_score=float(fitness.scores(judged, [gene_count(chromosome)], share=share)[0, 0]),
            train=Figures.of(train, borders.validation),
            validation=Figures.of(validation, borders.test - borders.validation),
        )
        found.append((champion.validation_score, champion, result.equity[borders.validation :].tobytes()))
    scores = {champion.chromosome: score for score, champion, _ in found}
    ranked = sorted(
        (item for item in found if not math.isnan(item[0])), key=lambda item: (-item[0], -item[1].train_score)
    )
    distinct = _distinct(ranked)[:most]
    history = tuple(scores.get(leader, math.nan) for leader in search.leaders)
    return distinct, [simulator.run(champion.chromosome) for champion in distinct], history


def _distinct(ranked: Sequence[tuple[float, Champion, bytes]]) -> list[Champion]:
    # Rules that differ in words alone leave the same equity behind; the first of them is the best.
    kept: dict[bytes, Champion] = {}
    for _, champion, behaviour in ranked:
        kept.setdefault(behaviour, champion)
    return list(kept.values())
