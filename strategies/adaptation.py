"""Adaptation inside a backtest: new searches, at drift or on schedule, on the past alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ai_backtrader.checks import Faults
from ai_backtrader.engine import Engine, FoundStrategy
from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.market import MarketData
from ai_backtrader.parameter_optimizer import optimize, technical_rules
from ai_backtrader.strategy_evolver import evolve
from ai_backtrader.values import Regime

__all__ = ["SEARCHES", "Adaptation", "AdaptationRecord", "Adapter"]

SEARCHES = ("evolve", "optimize")
"""Kinds of search: rules by evolution, parameters of the technical rules in the regime of the bar."""

_FEWEST_BARS = 500


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """When AIStrategy searches anew, for what, and how long.

    Every search sees the bars up to the one at whose close it is made, and of these the last quarter stays sealed until
    its end: what passes there votes from the next decision on, and what does not, never.

    Attributes
    ----------
    on_drift
        Whether the online learner's requests are carried out.
    every_bars
        Also on schedule, so many bars apart; None for never.
    min_bars
        No search before so many bars; a request waits.
    max_bars
        A search sees the latest so many bars; None for all.
    check_every
        Bars between two looks at the learner's requests.
    what
        Kinds of search, any of ``SEARCHES``.
    generations, population
        Budget of an evolution.
    n_trials, surrogate
        Budget of an optimisation.
    champions
        Strategies that an evolution puts forward; fewer are examined more strictly each.
    alpha
        Probability of at least one false pass at one adaptation, shared by its searches.
    """

    on_drift: bool = True
    every_bars: int | None = None
    min_bars: int = 2_000
    max_bars: int | None = None
    check_every: int = 10
    what: Sequence[str] = SEARCHES
    generations: int = 8
    population: int = 40
    n_trials: int = 50
    surrogate: str = "random"
    champions: int = 2
    alpha: float = 0.05

    def __post_init__(self) -> None:
        faults = Faults("Adaptation")
        faults.one_of("on_drift", self.on_drift, (True, False))
        faults.whole("min_bars", self.min_bars, low=_FEWEST_BARS)
        for name in ("every_bars", "max_bars"):
            if getattr(self, name) is not None:
                faults.whole(name, getattr(self, name), low=1 if name == "every_bars" else _FEWEST_BARS)
        for name in ("check_every", "generations", "n_trials", "champions"):
            faults.whole(name, getattr(self, name), low=1)
        faults.whole("population", self.population, low=4)
        faults.number("alpha", self.alpha, above=0.0, high=0.5)
        faults.one_of("surrogate", self.surrogate, ("gp", "et", "rf", "random", "de"))
        given: object = self.what
        if isinstance(given, str) or not isinstance(given, Sequence | set | frozenset) or not given:
            faults.add(f"what must name one or more of {', '.join(SEARCHES)}, got {given!r}")
        else:
            for kind in given:
                faults.one_of("what", kind, SEARCHES)
        if not faults.found and not self.on_drift and self.every_bars is None:
            faults.add("with on_drift False every_bars must be given, or nothing is ever searched")
        faults.raise_if_any()
        object.__setattr__(self, "what", tuple(kind for kind in SEARCHES if kind in self.what))


@dataclass(frozen=True, kw_only=True)
class AdaptationRecord:
    """One search that an adaptation made.

    Attributes
    ----------
    symbol, bar, at
        For which market, after how many of its bars, and the last of them (UTC).
    reason
        Drift or schedule, in a sentence.
    search
        One of ``SEARCHES``.
    regime
        That it was made for; None for any.
    bars
        That it saw.
    seed
        Of the search.
    trials
        Evaluations.
    put_forward, passed
        Strategies examined on the sealed bars, and those that passed.
    changed
        What votes from the next decision on, by the rules in words; empty where nothing changed.
    verdict
        The outcome in a sentence.
    """

    symbol: str
    bar: int
    at: dt.datetime
    reason: str
    search: str
    regime: Regime | None
    bars: int
    seed: int
    trials: int
    put_forward: int
    passed: int
    changed: tuple[str, ...]
    verdict: str


class Adapter:
    """Carries searches out between decisions, on what is known by then.

    Parameters
    ----------
    settings
        When, for what and how long.
    engine
        Whose online learner asks and whose evolved strategies grow.

    Attributes
    ----------
    records : list of AdaptationRecord
        Every search, in order.
    """

    def __init__(self, settings: Adaptation, engine: Engine) -> None:
        self.settings, self.engine = settings, engine
        self.records: list[AdaptationRecord] = []
        self._waiting: dict[str, str] = {}
        self._due: dict[str, int] = {}

    def looks(self, bars: int) -> bool:
        """Whether an adaptation is considered after so many bars."""
        every = self.settings.every_bars
        return bars % self.settings.check_every == 0 or (every is not None and bars % every == 0)

    def review(
        self,
        symbol: str,
        bars: int,
        regime: Regime | None,
        past: Callable[[], MarketData],
        *,
        commission: float = 0.0,
        slippage: float = 0.0,
    ) -> bool:
        """Search, where it is asked for or due; whether it did.

        Parameters
        ----------
        symbol
            The market.
        bars
            How many have closed.
        regime
            Of the last of them.
        past
            Gives those bars, and none after them.
        commission, slippage
            Fractions of the notional.
        """
        settings = self.settings
        if settings.on_drift:
            for request in self.engine.take_requests(symbol):
                self._waiting[symbol] = request.reason
        if bars < settings.min_bars:
            return False
        reason = self._waiting.pop(symbol, "")
        if settings.every_bars is not None and bars >= self._due.setdefault(symbol, settings.min_bars):
            reason = reason or f"schedule: every {settings.every_bars} bars"
        if not reason:
            return False
        if settings.every_bars is not None:
            self._due[symbol] = bars + settings.every_bars
        data = past()
        if settings.max_bars is not None and len(data) > settings.max_bars:
            data = data.between(data.times[-settings.max_bars], None)
        search = _Search(self, symbol, bars, reason, data, {"commission": commission, "slippage": slippage})
        for kind in settings.what:
            self.records.append(search.evolve() if kind == "evolve" else search.optimize(regime))
        return True


class _Search:
    """The searches of one adaptation."""

    def __init__(
        self, adapter: Adapter, symbol: str, bars: int, reason: str, data: MarketData, costs: dict[str, Any]
    ) -> None:
        self.settings, self.engine = adapter.settings, adapter.engine
        self.symbol, self.bars, self.reason, self.data, self.costs = symbol, bars, reason, data, costs
        self.at: dt.datetime = data.times[-1].astype("datetime64[us]").item()
        self.alpha = self.settings.alpha / len(self.settings.what)

    def evolve(self) -> AdaptationRecord:
        """Rules by evolution, for any regime."""
        seed = self._seed(0)
        result = evolve(
            self.data, n_generations=self.settings.generations, population=self.settings.population, seed=seed,
            champions=self.settings.champions, alpha=self.alpha, ledger=self.engine.database,
            journal=self.engine.journal, **self.costs,
        )  # fmt: skip
        self.engine.evolved.learn(result, symbol=self.symbol, found_at=self.at)
        return self._record(
            "evolve", None, seed, trials=result.evaluations, put_forward=len(result.champions),
            changed=tuple(champion.chromosome.describe() for champion in result.passed), verdict=result.verdict,
        )  # fmt: skip

    def optimize(self, regime: Regime | None) -> AdaptationRecord:
        """Parameters of the technical rules, for the direction of the regime."""
        seed, direction = self._seed(1), _direction(regime)
        try:
            result = optimize(
                technical_rules, self.data, n_trials=self.settings.n_trials, surrogate=self.settings.surrogate,
                regime=direction, seed=seed, ledger=self.engine.database, journal=self.engine.journal, **self.costs,
            )  # fmt: skip
        except AIBacktraderError as error:  # too little of the regime, or no parameters that trade there
            return self._record("optimize", direction, seed, trials=0, put_forward=0, changed=(), verdict=str(error))
        changed: tuple[str, ...] = ()
        self.engine.evolved.note_search(1, self.at)
        if result.passed and result.test_p_value <= self.alpha:
            rules = technical_rules(result.parameters)
            confidence = min(1.0 - result.test_p_value, 0.95)
            found = FoundStrategy(
                chromosome=rules, confidence=confidence, regime=direction, symbol=self.symbol, found_at=self.at
            )
            self.engine.evolved.add([found])
            changed = (rules.describe(),)
        verdict = f"{len(changed)} of 1 passed the sealed test. {result.verdict}"
        return self._record(
            "optimize", direction, seed, trials=result.n_trials, put_forward=1, changed=changed, verdict=verdict
        )

    def _seed(self, place: int) -> int:
        return int(np.random.SeedSequence([self.engine.settings.seed, self.bars, place]).generate_state(1)[0])

    def _record(
        self, search: str, regime: Regime | None, seed: int, *, trials: int, put_forward: int, changed: tuple[str, ...],
        verdict: str,
    ) -> AdaptationRecord:  # fmt: skip
        return AdaptationRecord(
            symbol=self.symbol, bar=self.bars, at=self.at, reason=self.reason, search=search, regime=regime,
            bars=len(self.data), seed=seed, trials=trials, put_forward=put_forward, passed=len(changed),
            changed=changed, verdict=verdict,
        )  # fmt: skip


def _direction(regime: Regime | None) -> Regime | None:
    return None if regime is None else (Regime.SIDEWAYS, Regime.BULL, Regime.BEAR)[regime.sign]
