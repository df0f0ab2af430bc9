"""Evolved strategies as a source: the best match for the regime, its conditions really evaluated."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.events import StrategyEvolved
from ai_backtrader.market import MarketData, Regimes
from ai_backtrader.market.regimes import REGIME_CODES
from ai_backtrader.orchestrator import Abstention, Context, Vote
from ai_backtrader.rules import SeriesBank, StrategyChromosome, section_signal
from ai_backtrader.strategy_evolver import EvolutionResult
from ai_backtrader.values import Action, Regime

__all__ = ["EvolvedSource", "FoundStrategy"]

_MAX_CONFIDENCE = 0.95
_EPOCH = dt.datetime(1970, 1, 1)
_MILLISECOND = dt.timedelta(milliseconds=1)
_ALWAYS_KNOWN = math.inf
_WIDER = {Regime.STRONG_BULL: Regime.BULL, Regime.STRONG_BEAR: Regime.BEAR}
_WIDENED = (Regime.SIDEWAYS, *_WIDER.values(), *_WIDER)  # the wider ones before the narrower


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
        The regime it was found for; BULL and BEAR include their strong forms, None is any.
    symbol
        The market it was found on; None votes on any.
    found_at
        UTC time of the last bar that the search saw: it votes after that bar only. None: always.
    """

    chromosome: StrategyChromosome
    confidence: float
    regime: Regime | None = None
    symbol: str | None = None
    found_at: dt.datetime | None = None

    @cached_property
    def name(self) -> str:
        """Short name, from the rules' fingerprint."""
        return self.chromosome.fingerprint[:10]

    @cached_property
    def votes(self) -> tuple[Vote, Vote]:
        """Its vote for long, and for short."""
        reason = f"strategy {self.name}: {self.chromosome.describe()}"
        long, short = (Vote("evolved", action, self.confidence, reason) for action in (Action.BUY, Action.SELL))
        return long, short

    @cached_property
    def silence(self) -> Abstention:
        """What it says where neither side's entry holds."""
        return Abstention("evolved", f"no entry of strategy {self.name}")

    @cached_property
    def since(self) -> float:
        """``found_at`` in milliseconds since 1970; minus infinity for one that always votes."""
        return -math.inf if self.found_at is None else float(_milliseconds(self.found_at))


@dataclass
class _Watched:
    """Bars of a market, and the signals of the strategies on them."""

    data: MarketData
    milliseconds: NDArray[np.int64]
    place: int = 0
    signals: dict[str, NDArray[np.int8]] = field(default_factory=dict)

    def bar(self, wanted: int) -> int | None:
        """Which bar began at a time (milliseconds since 1970); None where none did."""
        for near in (self.place, self.place + 1):  # bars are asked for in order
            if near < len(self.milliseconds) and self.milliseconds[near] == wanted:
                self.place = near
                return near
        found = int(np.searchsorted(self.milliseconds, wanted))
        if found < len(self.milliseconds) and self.milliseconds[found] == wanted:
            self.place = found
            return found
        return None

    def sides(self, chromosome: StrategyChromosome) -> NDArray[np.int8]:
        """+1, -1 or 0 at each bar; where both sides hold the long one goes first, as in a run of the strategy."""
        known = self.signals.get(chromosome.fingerprint)
        if known is None:
            bank, need = SeriesBank(self.data), chromosome.required
            allowed = np.ones(len(self.data), np.bool_)
            if chromosome.filters.genes:
                allowed = section_signal(bank, chromosome.filters, need.filters)
            long = section_signal(bank, chromosome.entry_long, need.entry_long) & allowed
            short = section_signal(bank, chromosome.entry_short, need.entry_short) & allowed
            known = self.signals[chromosome.fingerprint] = np.where(long, 1, -short.astype(np.int8)).astype(np.int8)
        return known


class EvolvedSource:
    """Votes for what the best matching strategy found by search wants.

    The match: of the strategies known by then, one found for the regime of the bar goes before one for its direction (a
    bull market for a strong one), and that before one for any; of equals the latest, then the most confident. Its
    entry conditions and filters are evaluated on the bars of the market (:meth:`watch`); it votes where they hold and
    abstains where they do not: no entry is no wish to be flat. Only strategies that survived the sealed test are
    taken in, unless they are added by hand.

    A vote at a bar depends on what was known before it, whenever it is asked for.
    """

    def __init__(self) -> None:
        self.strategies: tuple[FoundStrategy, ...] = ()
        self._searched: list[tuple[float, int]] = []
        self._watched: dict[str, _Watched] = {}

    @property
    def idle(self) -> bool:
        """True while there is no strategy."""
        return not self.strategies

    @property
    def examined(self) -> int:
        """How many strategies searches have put forward."""
        return sum(count for _, count in self._searched)

    def learn(
        self,
        result: EvolutionResult,
        *,
        regime: Regime | None = None,
        symbol: str | None = None,
        found_at: dt.datetime | None = None,
    ) -> int:
        """Take in the champions that passed their sealed test; how many did.

        Parameters
        ----------
        result
            Of the search.
        regime, symbol
            What they may vote on; None is any.
        found_at
            UTC time of the last bar that the search saw; None takes it from the result.
        """
        since = _end_of(result) if found_at is None else found_at
        found = [
            FoundStrategy(
                chromosome=champion.chromosome, regime=regime, symbol=symbol, found_at=since,
                confidence=min(1.0 - champion.exam.p_value, _MAX_CONFIDENCE),
            )
            for champion in result.passed
            if champion.exam is not None
        ]  # fmt: skip
        self.add(found)
        self.note_search(len(result.champions), since)
        return len(found)

    def recall(self, events: Iterable[StrategyEvolved]) -> int:
        """Take in strategies of a learning database that passed, to vote after the bars they were found on."""
        found = []
        for event in events:
            self.note_search(1, event.at)
            if event.passed:
                p_value = event.figures.get("p_value", 0.5)
                found.append(
                    FoundStrategy(
                        chromosome=StrategyChromosome.from_json(event.chromosome), regime=event.regime,
                        confidence=min(max(1.0 - p_value, 0.0), _MAX_CONFIDENCE), found_at=event.at,
                    )
                )  # fmt: skip
        self.add(found)
        return len(found)

    def note_search(self, examined: int, found_at: dt.datetime | None = None) -> None:
        """Count strategies that were put forward, passed or not."""
        self._searched.append((-math.inf if found_at is None else _milliseconds(found_at), examined))

    def add(self, strategies: Iterable[FoundStrategy]) -> None:
        """Add strategies; one that is known already, from the same time, is replaced."""
        given = (*self.strategies, *strategies)
        kept = {(one.chromosome.fingerprint, one.regime, one.symbol, one.found_at): one for one in given}
        self.strategies = tuple(kept.values())

    def clear(self) -> None:
        """Forget the strategies and the searches, not the bars."""
        self.strategies = ()
        self._searched = []

    def watches(self, symbol: str) -> bool:
        """Whether the bars of a market are known."""
        return symbol in self._watched

    def watch(self, symbol: str, data: MarketData) -> None:
        """Give the bars of a market; a vote at a bar uses none after it."""
        milliseconds = data.times.astype("datetime64[ms]").astype(np.int64)
        self._watched[symbol] = _Watched(data, milliseconds)

    def vote(self, context: Context) -> Vote | Abstention:
        """Vote for the side whose entry holds at the context's bar."""
        at = None if context.at is None else _milliseconds(context.at)
        known_by = _ALWAYS_KNOWN if at is None else at
        found = self._match(context.symbol, context.regime, known_by)
        if found is None:
            return self._why_none(known_by)
        watched = self._watched.get(context.symbol)
        if watched is None or at is None:
            return Abstention("evolved", f"the bars of {context.symbol} are not known: watch(symbol, data)")
        bar = watched.bar(at)
        if bar is None:
            return Abstention("evolved", f"{context.at} is no bar of {context.symbol}")
        side = int(watched.sides(found.chromosome)[bar])
        return found.votes[side < 0] if side else found.silence

    def pulls(self, symbol: str, regimes: Regimes) -> NDArray[np.float64] | None:
        """Signed confidence of the vote at every bar of a market at once; NaN where it abstains.

        Returns
        -------
        (n,) float64 or None
            None where the bars are not known, or are not those of the labels.
        """
        watched = self._watched.get(symbol)
        if watched is None or len(watched.data) != len(regimes):
            return None
        pulls = np.full(len(regimes), math.nan)
        # The least preferred first: each one takes the bars it matches from those before it, silent or not.
        for regime in (None, *_WIDENED):
            for one in sorted(self._fitting(symbol, regime, _ALWAYS_KNOWN), key=_preference):
                bars = watched.milliseconds > one.since
                if regime is not None:
                    labels = np.sign(regimes.labels) if regime in _WIDER.values() else regimes.labels
                    bars &= labels == REGIME_CODES[regime]
                sides = watched.sides(one.chromosome)[bars]
                pulls[bars] = np.where(sides != 0, sides * one.confidence, math.nan)
        return pulls

    def _why_none(self, at: float) -> Abstention:
        if any(one.since < at for one in self.strategies):
            return Abstention("evolved", "no strategy for this market and regime")
        examined = sum(count for since, count in self._searched if since < at)
        told = f"0 of {examined} strategies passed the sealed test" if examined else "nothing has evolved"
        return Abstention("evolved", told)

    def _match(self, symbol: str, regime: Regime | None, at: float) -> FoundStrategy | None:
        for wanted in dict.fromkeys((regime, None if regime is None else _WIDER.get(regime), None)):
            fitting = self._fitting(symbol, wanted, at)
            if fitting:
                return max(fitting, key=_preference)
        return None

    def _fitting(self, symbol: str, regime: Regime | None, at: float) -> list[FoundStrategy]:
        return [
            one
            for one in self.strategies
            if one.regime is regime and (one.symbol is None or one.symbol == symbol) and one.since < at
        ]


def _preference(one: FoundStrategy) -> tuple[float, float, str]:
    return one.since, one.confidence, one.chromosome.fingerprint


def _milliseconds(at: dt.datetime) -> int:
    # Backtrader's times are floats of days: they miss the bar's start by microseconds.
    if at.tzinfo is not None:
        at = at.astimezone(dt.UTC).replace(tzinfo=None)
    return round((at - _EPOCH) / _MILLISECOND)


def _end_of(result: EvolutionResult) -> dt.datetime | None:
    last = result.run.get("last_bar")
    if last is None:
        return None
    end: dt.datetime = np.datetime64(str(last), "us").item()
    return end
