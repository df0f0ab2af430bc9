"""Evolved strategies as a source: the best match for the regime, its conditions really evaluated."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.events import StrategyEvolved
from ai_backtrader.market import MarketData
from ai_backtrader.orchestrator import Abstention, Context, Vote
from ai_backtrader.rules import SeriesBank, StrategyChromosome, section_signal
from ai_backtrader.strategy_evolver import EvolutionResult
from ai_backtrader.values import Action, Regime

__all__ = ["EvolvedSource", "FoundStrategy"]

_MAX_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class FoundStrategy:
    """A strategy that may vote.

    Attributes
    ----------
    chromosome
        Its rules.
    confidence
        0 to 1: one less the p-value of its sealed test, at most 0.95.
    regime
        The regime it was found for; None for any.
    """

    chromosome: StrategyChromosome
    confidence: float
    regime: Regime | None = None


@dataclass
class _Watched:
    """Bars of a market, and the signals of the strategies on them."""

    data: MarketData
    signals: dict[str, NDArray[np.int8]] = field(default_factory=dict)


class EvolvedSource:
    """Votes for what the best matching strategy found by evolution wants.

    The match: of the strategies found for the current regime the most confident one, else of those found for any. Its
    entry conditions and filters are evaluated on the bars of the market (:meth:`watch`); it votes where they hold and
    abstains where they do not: no entry is no wish to be flat. Only strategies that survived the sealed test are
    taken in, unless they are added by hand.
    """

    def __init__(self) -> None:
        self.strategies: tuple[FoundStrategy, ...] = ()
        self.examined = 0
        self._watched: dict[str, _Watched] = {}

    @property
    def idle(self) -> bool:
        """True while there is no strategy."""
        return not self.strategies

    def learn(self, result: EvolutionResult, *, regime: Regime | None = None) -> int:
        """Take in the champions that passed their sealed test; how many did."""
        self.examined += len(result.champions)
        found = [
            FoundStrategy(
                chromosome=champion.chromosome, regime=regime,
                confidence=min(1.0 - champion.exam.p_value, _MAX_CONFIDENCE),
            )
            for champion in result.passed
            if champion.exam is not None
        ]  # fmt: skip
        self.add(found)
        return len(found)

    def recall(self, events: Iterable[StrategyEvolved]) -> int:
        """Take in strategies of a learning database that passed; how many did."""
        found = []
        for event in events:
            self.examined += 1
            if event.passed:
                p_value = event.figures.get("p_value", 0.5)
                found.append(
                    FoundStrategy(
                        chromosome=StrategyChromosome.from_json(event.chromosome), regime=event.regime,
                        confidence=min(max(1.0 - p_value, 0.0), _MAX_CONFIDENCE),
                    )
                )  # fmt: skip
        self.add(found)
        return len(found)

    def add(self, strategies: Iterable[FoundStrategy]) -> None:
        """Add strategies; one that is known already is replaced."""
        kept = {(one.chromosome.fingerprint, one.regime): one for one in (*self.strategies, *strategies)}
        self.strategies = tuple(kept.values())

    def clear(self) -> None:
        """Forget the strategies, not the bars."""
        self.strategies = ()

    def watches(self, symbol: str) -> bool:
        """Whether the bars of a market are known."""
        return symbol in self._watched

    def watch(self, symbol: str, data: MarketData) -> None:
        """Give the bars of a market; a vote at a bar uses none after it."""
        self._watched[symbol] = _Watched(data)

    def vote(self, context: Context) -> Vote | Abstention:
        """Vote for the side whose entry holds at the context's bar."""
        found = self._match(context.regime)
        if found is None:
            told = f"0 of {self.examined} strategies passed the sealed test" if self.examined else "nothing has evolved"
            return Abstention("evolved", told if not self.strategies else "no strategy for this regime")
        watched = self._watched.get(context.symbol)
        if watched is None or context.at is None:
            return Abstention("evolved", f"the bars of {context.symbol} are not known: watch(symbol, data)")
        bar = _bar_of(watched.data, context.at)
        if bar is None:
            return Abstention("evolved", f"{context.at} is no bar of {context.symbol}")
        side = int(self._signals(watched, found.chromosome)[bar])
        name = f"{found.chromosome.fingerprint[:10]}"
        if not side:
            return Abstention("evolved", f"no entry of strategy {name}")
        section = found.chromosome.describe()
        return Vote("evolved", Action.from_sign(side), found.confidence, f"strategy {name}: {section}")

    def _match(self, regime: Regime | None) -> FoundStrategy | None:
        fitting = [one for one in self.strategies if one.regime is regime and regime is not None]
        fitting = fitting or [one for one in self.strategies if one.regime is None]
        return max(fitting, key=lambda one: one.confidence, default=None)

    def _signals(self, watched: _Watched, chromosome: StrategyChromosome) -> NDArray[np.int8]:
        """+1, -1 or 0 at each bar; 0 where both sides hold."""
        known = watched.signals.get(chromosome.fingerprint)
        if known is None:
            bank, need = SeriesBank(watched.data), chromosome.required
            allowed = np.ones(len(watched.data), np.bool_)
            if chromosome.filters.genes:
                allowed = section_signal(bank, chromosome.filters, need.filters)
            long = section_signal(bank, chromosome.entry_long, need.entry_long) & allowed
            short = section_signal(bank, chromosome.entry_short, need.entry_short) & allowed
            sides = long.astype(np.int8) - short.astype(np.int8)
            known = watched.signals[chromosome.fingerprint] = sides
        return known


def _bar_of(data: MarketData, at: dt.datetime) -> int | None:
    time = np.datetime64(at.replace(microsecond=at.microsecond // 1000 * 1000), "ns")
    bar = int(np.searchsorted(data.times, time, side="right")) - 1
    # Backtrader's times are floats of days: they miss the bar's start by microseconds.
    for near in (bar, bar + 1):
        if 0 <= near < len(data) and abs((data.times[near] - time) / np.timedelta64(1, "ms")) < 1.0:
            return near
    return None
