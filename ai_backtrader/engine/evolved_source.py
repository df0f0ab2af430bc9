"""Evolved strategies as a source: the best match for the regime, its conditions really evaluated."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.engine.watched import Followed, Watched, milliseconds_of
from ai_backtrader.events import StrategyEvolved
from ai_backtrader.market import MarketData, Regimes
from ai_backtrader.market.regimes import REGIME_CODES
from ai_backtrader.orchestrator import Abstention, Context, Vote
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.strategy_evolver import EvolutionResult
from ai_backtrader.values import Action, Regime

__all__ = ["EvolvedSource", "FoundStrategy"]

_MAX_CONFIDENCE = 0.95
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
        return -math.inf if self.found_at is None else float(milliseconds_of(self.found_at))


class EvolvedSource:
    """Votes for what the best matching strategy found by search wants.

    The match: of the strategies known by then, one found for the regime of the bar goes before one for its direction (a
    bull market for a strong one), and that before one for any; of equals the latest, then the most confident. Its
    entry conditions and filters are evaluated on the bars of the market (:meth:`watch`, or :meth:`follow` where they
    come one by one); it votes where they hold and abstains where they do not: no entry is no wish to be flat. Only
    strategies that survived the sealed test are taken in, unless they are added by hand.

    A vote at a bar depends on what was known before it, whenever it is asked for.
    """

    def __init__(self) -> None:
        self.strategies: tuple[FoundStrategy, ...] = ()
        self._searched: list[tuple[float, int]] = []
        self._watched: dict[str, Watched | Followed] = {}

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
        self._searched.append((-math.inf if found_at is None else milliseconds_of(found_at), examined))

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
        self._watched[symbol] = Watched(data)

    def follow(self, symbol: str, number: int, at: dt.datetime, bar: Sequence[float]) -> None:
        """Give one bar of a market after the other: its votes are those of all bars at once, in constant time a bar.

        Parameters
        ----------
        symbol
            Of the market; bars that were given otherwise are forgotten.
        number
            Of the bar, from 0. One that was given already, with other values, takes its place, and those after it go.
        at
            UTC time at which it began.
        bar
            Open, high, low, close and volume.

        Raises
        ------
        SettingsError
            If a bar before it is missing.
        """
        followed = self._watched.get(symbol)
        if not isinstance(followed, Followed):
            followed = self._watched[symbol] = Followed(symbol)
        followed.take(number, milliseconds_of(at), bar)

    def vote(self, context: Context) -> Vote | Abstention:
        """Vote for the side whose entry holds at the context's bar."""
        at = None if context.at is None else milliseconds_of(context.at)
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
        side = watched.side(found.chromosome, bar)
        return found.votes[side < 0] if side else found.silence

    def pulls(self, symbol: str, regimes: Regimes) -> NDArray[np.float64] | None:
        """Signed confidence of the vote at every bar of a market at once; NaN where it abstains.

        Returns
        -------
        (n,) float64 or None
            None where the bars are not known, come one by one, or are not those of the labels.
        """
        watched = self._watched.get(symbol)
        if not isinstance(watched, Watched) or len(watched.data) != len(regimes):
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


def _end_of(result: EvolutionResult) -> dt.datetime | None:
    last = result.run.get("last_bar")
    if last is None:
        return None
    end: dt.datetime = np.datetime64(str(last), "us").item()
    return end
