"""Parameter sets on market data: many runs, one score each, and what a score is made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, is_dataclass
from types import CodeType, FunctionType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ai_backtrader import evidence as ev
from ai_backtrader.checks import Faults
from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.parameter_optimizer.objectives import NoScore, Objective, Outcome
from ai_backtrader.parameter_optimizer.regimes import bars_in_regime, regime_run
from ai_backtrader.parameter_optimizer.technical import Family, family_rules
from ai_backtrader.rules import strategy_period
from ai_backtrader.simulation import SimulationResult, SimulationSettings, Simulator
from ai_backtrader.values import Regime

__all__ = ["Backtests", "CompiledBacktests", "Evaluation", "Evaluator", "Slices", "fingerprint_of", "outcome_of"]

Floats = NDArray[np.float64]

FEWEST_BARS = 500
"""Shortest feed that is searched: below, the parts are shorter than the warm-up of usual indicators."""

FEWEST_REGIME_BARS = 200
"""Bars of a regime below which nothing is searched in it."""

FEWEST_REGIME_TRADES = 10
"""Trades opened in the regime below which a parameter set has no score there."""


class Borders(NamedTuple):
    """First bars of validation and test, and the number of all bars."""

    validation: int
    test: int
    bars: int


@dataclass(frozen=True, kw_only=True)
class Slices:
    """Shares of the bars, in time order; what comes before both is searched.

    Attributes
    ----------
    validation
        Share on which the best of the search are compared, once; 0 for none: the best in training is taken.
    test
        Share at the end that is sealed until the winner is known; 0 for none.
    """

    validation: float = 0.0
    test: float = 0.25

    def __post_init__(self) -> None:
        faults = Faults("optimize")
        for name in ("validation", "test"):
            faults.number(name, getattr(self, name), low=0.0, high=0.8)
        if not faults.found and self.validation + self.test > 0.9 + 1e-12:
            faults.add(
                f"validation and test must leave a tenth or more for the search, got {self.validation:g} and "
                f"{self.test:g}"
            )
        faults.raise_if_any()

    def borders(self, bars: int) -> Borders:
        """Where the parts of a feed begin.

        Raises
        ------
        SettingsError
            If the feed is too short.
        """
        if bars < FEWEST_BARS:
            raise SettingsError("optimize", [f"the data have {bars} bars; a search needs {FEWEST_BARS} or more"])
        return Borders(round(bars * (1.0 - self.validation - self.test)), round(bars * (1.0 - self.test)), bars)


class Backtests(Protocol):
    """Runs of one strategy with any parameters; compiled, or in Cerebro."""

    @property
    def name(self) -> str:
        """Of the strategy."""

    @property
    def fingerprint(self) -> str:
        """Of everything besides data and parameters that a run depends on: strategy, costs, margin."""

    @property
    def costs(self) -> float:
        """Commission and slippage of a fill, fraction of its notional."""

    def run(self, data: MarketData, batch: Sequence[Mapping[str, Any]]) -> list[SimulationResult | str]:
        """One result for each parameter set, in order; a text says why one could not run."""


class CompiledBacktests:
    """Runs of a family in the compiled simulation.

    Parameters
    ----------
    family
        From parameters to rules.
    options
        Keyword arguments of :class:`~ai_backtrader.simulation.Simulator`.
    jobs
        Threads; the results are the same.
    """

    def __init__(self, family: Family, options: Mapping[str, Any], *, jobs: int = 1) -> None:
        faults = Faults("optimize")
        given: object = family
        if not callable(given):
            faults.add(f"a family must take parameters and give a StrategyChromosome, got {family!r}")
        faults.whole("jobs", jobs, low=1)
        faults.raise_if_any()
        self.family, self.options, self.jobs = family, dict(options), int(jobs)
        self._settings = SimulationSettings(**options)
        self._simulators: list[Simulator] = []

    @property
    def name(self) -> str:
        """The family's ``name``, else that of the function."""
        return name_of(self.family)

    @property
    def fingerprint(self) -> str:
        """Of family and broker."""
        return content_digest(
            {"family": fingerprint_of(self.family), "broker": broker_words(self._settings), "run": "compiled"}
        )

    @property
    def costs(self) -> float:
        """Commission and slippage."""
        return self._settings.commission + self._settings.slippage

    def run(self, data: MarketData, batch: Sequence[Mapping[str, Any]]) -> list[SimulationResult | str]:
        """One result for each parameter set; what the family refuses, or too few bars, is said in words."""
        if not self._simulators or self._simulators[0].data is not data:
            # One for each thread: a simulator's series are for one thread at a time.
            self._simulators = [Simulator(data, **self.options) for _ in range(self.jobs)]
        if self.jobs == 1 or len(batch) < 2:
            return self._run_some(self._simulators[0], batch)
        parts = [batch[place :: self.jobs] for place in range(self.jobs)]
        with ThreadPoolExecutor(self.jobs) as pool:
            found = list(pool.map(self._run_some, self._simulators, parts))
        return [found[place % self.jobs][place // self.jobs] for place in range(len(batch))]

    def _run_some(self, simulator: Simulator, batch: Sequence[Mapping[str, Any]]) -> list[SimulationResult | str]:
        results: list[SimulationResult | str] = []
        for parameters in batch:
            try:
                rules = family_rules(self.family, parameters)
            except Exception as error:  # a user's function: its failure is the trial's, and is told
                results.append(f"{type(error).__name__}: {error}")
                continue
            period, bars = strategy_period(rules), len(simulator.data)
            if period > bars:
                results.append(f"the strategy first decides at bar {period}, but there are {bars}")
            else:
                results.append(simulator.run(rules))
        return results


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What became of one parameter set.

    Attributes
    ----------
    parameters
        The set.
    score
        Larger is better, discounted; None where there is none.
    value
        The measure itself; NaN where it is undefined.
    failed
        Why there is no score; None where there is one.
    trades
        Closed in the stretch (and opened in the regime).
    sharpe
        Of the bars of the stretch, **per bar**, whatever the objective: what deflation needs; NaN without movement.
    outcome
        None where the run failed.
    """

    parameters: Mapping[str, Any]
    score: float | None
    value: float
    failed: str | None
    trades: int
    sharpe: float
    outcome: Outcome | None


class Evaluator:
    """Scores parameter sets on one stretch of a feed. Runs begin at the feed's first bar and see no bar after ``last``.

    Parameters
    ----------
    backtests
        What runs them.
    data
        The whole feed.
    objective
        How an outcome becomes a score.
    first, last
        The stretch, ``first <= bar < last``; None for the whole feed.
    regime
        Count only trades opened in this regime; None for all.
    share
        Length of the stretch over that of the search, by which the objective's ``min_trades`` is scaled.

    Raises
    ------
    SettingsError
        If the stretch holds too few bars of the regime.
    """

    def __init__(
        self,
        backtests: Backtests,
        data: MarketData,
        objective: Objective,
        *,
        first: int = 0,
        last: int | None = None,
        regime: Regime | None = None,
        share: float = 1.0,
    ) -> None:
        self.backtests, self.objective, self.regime, self.share = backtests, objective, regime, share
        self.data = data if last is None or last == len(data) else data.head(last)
        self.first, self.last = first, len(self.data)
        self.chosen = None if regime is None else bars_in_regime(self.data, regime)
        if self.chosen is not None and regime is not None:
            # Counted in the search alone: a test may have little of a regime, and then says so itself.
            self.regime_bars = int(np.count_nonzero(self.chosen[self.first :]))

    def require_evidence(self) -> None:
        """Refuse a regime of which the stretch holds too little.

        Raises
        ------
        SettingsError
            Naming the bars found and needed.
        """
        if self.chosen is not None and self.regime_bars < FEWEST_REGIME_BARS:
            raise SettingsError(
                "optimize",
                [
                    f"only {self.regime_bars} of {self.last - self.first} bars of the search are {self.regime}, "
                    f"{FEWEST_REGIME_BARS} are needed; give more bars or search without a regime"
                ],
            )

    def evaluate(self, batch: Sequence[Mapping[str, Any]]) -> list[Evaluation]:
        """One evaluation for each parameter set, in order."""
        results = self.backtests.run(self.data, batch)
        return [self._judge(parameters, result) for parameters, result in zip(batch, results, strict=True)]

    def _judge(self, parameters: Mapping[str, Any], result: SimulationResult | str) -> Evaluation:
        if isinstance(result, str):
            return _failed(parameters, result)
        outcome = outcome_of(parameters, result, self.data.close, first=self.first, last=self.last, chosen=self.chosen)
        sharpe = ev.sharpe_ratio(outcome.returns, bars_per_year=1.0)
        trades = len(outcome.trades)
        try:
            value = self.objective.value(outcome)
            score = self.objective.score(outcome, share=self.share)
        except NoScore as reason:
            word = str(reason) if self.regime is None else f"{reason} (opened in {self.regime})"
            return _failed(parameters, word, trades=trades, sharpe=sharpe, outcome=outcome)
        except Exception as error:  # a user's measure: its failure is the trial's, and is told
            return _failed(
                parameters, f"{type(error).__name__}: {error}", trades=trades, sharpe=sharpe, outcome=outcome
            )
        return Evaluation(
            parameters=parameters, score=score, value=value, failed=None, trades=trades, sharpe=sharpe, outcome=outcome
        )


def outcome_in(evaluation: Evaluation) -> Outcome:
    """The outcome of a parameter set that is known to run."""
    if evaluation.outcome is None:
        raise AssertionError(f"{dict(evaluation.parameters)} ran before, and now: {evaluation.failed}")
    return evaluation.outcome


def _failed(
    parameters: Mapping[str, Any],
    reason: str,
    *,
    trades: int = 0,
    sharpe: float = float("nan"),
    outcome: Outcome | None = None,
) -> Evaluation:
    return Evaluation(
        parameters=parameters, score=None, value=float("nan"), failed=reason, trades=trades, sharpe=sharpe,
        outcome=outcome,
    )  # fmt: skip


def outcome_of(
    parameters: Mapping[str, Any],
    result: SimulationResult,
    close: Floats,
    *,
    first: int,
    last: int,
    chosen: NDArray[np.bool_] | None = None,
) -> Outcome:
    """The stretch ``first <= bar < last`` of a run; trades count where they close.

    Parameters
    ----------
    parameters
        What was run.
    result
        The run, from the feed's first bar on.
    close
        Closes of its bars.
    first, last
        The stretch.
    chosen
        Bars on which an entry's decision counts; None for all.
    """
    part = slice(first, last)
    closed = (result.trades["exit_bar"] >= first) & (result.trades["exit_bar"] < last)
    if chosen is None:
        start = result.start_cash if first == 0 else float(result.equity[first - 1])
        returns = ev.bar_returns(result.equity[part], start=start)
        equity = np.concatenate(([start], result.equity[part]))
        trades, held = result.trades[closed], result.position[part] != 0.0
    else:
        run = regime_run(result, close, chosen)
        returns, held = run.returns[part], run.held[part]
        equity = result.start_cash * np.concatenate(([1.0], np.cumprod(1.0 + returns)))
        exits = run.trades["exit_bar"]
        trades = run.trades[(exits >= first) & (exits < last)]
    return Outcome(
        parameters=parameters, equity=equity, returns=returns, trades=trades, held=held,
        bars_per_year=result.bars_per_year, result=result,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------- fingerprints


def name_of(thing: Any) -> str:
    """What a strategy or family calls itself."""
    return str(getattr(thing, "name", None) or getattr(thing, "__qualname__", None) or type(thing).__qualname__)


def fingerprint_of(thing: Any) -> str:
    """SHA-256 (hex) of what a function (or settings object) does, as far as its code and what it holds tell.

    An object with a ``fingerprint`` says it itself. Of a function: its name, byte code, constants, defaults, and what
    it closes over; functions that it calls by name are not followed.
    """
    own = getattr(thing, "fingerprint", None)
    if isinstance(own, str):
        return own
    return hashlib.sha256("\n".join(_words_of(thing, set())).encode()).hexdigest()


def _words_of(thing: Any, seen: set[int]) -> Iterator[str]:
    if id(thing) in seen:
        return
    if isinstance(thing, FunctionType):
        seen.add(id(thing))
        yield f"{thing.__module__}.{thing.__qualname__}"
        yield from _words_of(thing.__code__, seen)
        for held in (*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()):
            yield from _words_of(held, seen)
        for cell in thing.__closure__ or ():
            yield from _words_of(cell.cell_contents, seen)
    elif isinstance(thing, CodeType):
        yield thing.co_code.hex()
        yield repr(thing.co_names)
        for constant in thing.co_consts:
            yield from _words_of(constant, seen)
    elif is_dataclass(thing) and not isinstance(thing, type):
        yield f"{type(thing).__qualname__} {asdict(thing)!r}"
    elif isinstance(thing, np.ndarray):
        yield hashlib.sha256(np.ascontiguousarray(thing).tobytes()).hexdigest()
    elif hasattr(thing, "fingerprint"):
        yield str(thing.fingerprint)
    elif isinstance(thing, frozenset):
        yield repr(sorted(map(repr, thing)))
    elif isinstance(thing, (int, float, str, bytes, bool, type(None), tuple, list, dict)):
        yield repr(thing)
    elif isinstance(thing, type):
        yield f"{thing.__module__}.{thing.__qualname__}"
        for name, member in sorted(vars(thing).items()):
            if isinstance(member, FunctionType):
                yield name
                yield from _words_of(member, seen)
    elif callable(thing):
        yield from _words_of(type(thing), seen)
        yield repr(sorted(vars(thing).items(), key=lambda item: item[0])) if hasattr(thing, "__dict__") else ""
    else:
        yield f"{type(thing).__module__}.{type(thing).__qualname__}"


def broker_words(settings: SimulationSettings) -> dict[str, str]:
    """Costs and margin as texts, for fingerprints."""
    words = {name: repr(getattr(settings, name)) for name in settings.__dataclass_fields__ if name != "tiers"}
    return words | {"tiers": "default" if settings.tiers is None else repr(settings.tiers.rows)}


def content_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of JSON values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def first_failures(evaluations: Sequence[Evaluation]) -> str:
    """The commonest reasons for having no score, in words."""
    counts: dict[str, int] = {}
    for evaluation in evaluations:
        if evaluation.failed is not None:
            counts[evaluation.failed] = counts.get(evaluation.failed, 0) + 1
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    return "; ".join(f"{reason} ({count}x)" for reason, count in ranked[:3])


def no_scores(subject: str, evaluations: Sequence[Evaluation], regime: Regime | None) -> AIBacktraderError:
    """The error of a search in which nothing had a score."""
    mend = "give more bars or a wider space" + ("" if regime is None else ", or search without a regime")
    return AIBacktraderError(
        f"{subject}: none of {len(evaluations)} parameter sets has a score: {first_failures(evaluations)}; {mend}"
    )
