"""The search itself: ask it for candidates, evaluate them anywhere, tell it the scores."""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.strategy_evolver.history import Generation
from ai_backtrader.strategy_evolver.representation import Representation
from ai_backtrader.strategy_evolver.selection import best_first, non_dominated_fronts, tournaments
from ai_backtrader.strategy_evolver.settings import EvolverSettings

__all__ = ["Evolution", "Island", "Member", "Score"]

C = TypeVar("C")

Score = float | Sequence[float] | BaseException
"""What an evaluation gives: a number, one for each objective (higher is better), or the exception it ended in."""

_FIRST_SCORES = operator.attrgetter("scores")
_TRIES = 8  # for a child that is new; small spaces may hold no more


@dataclass(frozen=True, slots=True)
class Member(Generic[C]):
    """A candidate and its scores, one for each objective; ``-inf`` where the evaluation failed."""

    candidate: C
    scores: tuple[float, ...]

    @property
    def score(self) -> float:
        """First objective."""
        return self.scores[0]


@dataclass(slots=True)
class Island(Generic[C]):
    """A population that breeds by itself.

    Attributes
    ----------
    members
        Best first.
    record
        Best score so far, first objective.
    idle
        Generations since the record.
    """

    members: list[Member[C]]
    record: float = -math.inf
    idle: int = 0


class Evolution(Generic[C]):
    """A genetic algorithm that asks for evaluations and is told their scores; it never evaluates anything itself.

    Elites live on; parents win tournaments; children come from crossover and mutation and never repeat a living
    candidate. Islands breed apart and send their best around. An island that stands still receives immigrants.
    With several objectives, survivors are chosen among old and new as in NSGA-II.

    Parameters
    ----------
    representation
        What a candidate is.
    settings
        How it is bred; None takes the defaults.
    rng
        Source of every random choice. The same generator and the same scores give the same search, wherever and in
        whatever order the candidates were evaluated.

    Examples
    --------
    >>> import numpy as np
    >>> bits = Representation(
    ...     random=lambda rng: tuple(rng.integers(2, size=8).tolist()),
    ...     crossover=lambda a, b, rng: a[:4] + b[4:],
    ...     mutate=lambda a, rng: tuple(int(b ^ (rng.random() < 0.125)) for b in a),
    ...     key=lambda a: a,
    ... )
    >>> evolution = Evolution(bits, EvolverSettings(population=10, islands=1), rng=np.random.default_rng(1))
    >>> for _ in range(20):
    ...     generation = evolution.tell([sum(candidate) for candidate in evolution.ask()])
    >>> evolution.best.candidate
    (1, 1, 1, 1, 1, 1, 1, 1)
    """

    def __init__(
        self, representation: Representation[C], settings: EvolverSettings | None = None, *, rng: np.random.Generator
    ) -> None:
        self.representation = representation
        self.settings = EvolverSettings() if settings is None else settings
        self.rng = rng
        self.islands: list[Island[C]] = [Island([]) for _ in self.settings.island_sizes]
        self.history: list[Generation] = []
        self.evaluations = 0
        self._asked: tuple[C, ...] | None = None
        self._shares: list[int] = []
        self._immigrants = 0

    # ------------------------------------------------------------------------------------------------------- reading

    @property
    def generation(self) -> int:
        """Generations that have been evaluated."""
        return len(self.history)

    @property
    def population(self) -> tuple[Member[C], ...]:
        """Everyone alive, best first."""
        everyone = [member for island in self.islands for member in island.members]
        return tuple(_ranked(everyone))

    @property
    def best(self) -> Member[C]:
        """Best candidate alive by its first objective; with elites the best ever seen.

        Raises
        ------
        AIBacktraderError
            Before the first generation was told.
        """
        firsts = [member for island in self.islands for member in island.members]
        if not firsts:
            raise AIBacktraderError("Evolution: nothing has been evaluated yet; ask, evaluate, tell")
        return max(firsts, key=lambda member: member.score)

    @property
    def front(self) -> tuple[Member[C], ...]:
        """Those alive whom nobody dominates: with one objective the best score, with several the trade-offs."""
        everyone = [member for island in self.islands for member in island.members if math.isfinite(member.score)]
        if not everyone:
            return ()
        fronts = non_dominated_fronts(_table(everyone))
        return tuple(member for member, front in zip(everyone, fronts, strict=True) if front == 0)

    # ---------------------------------------------------------------------------------------------------- ask and tell

    def ask(self) -> tuple[C, ...]:
        """Candidates to evaluate, all different; asked again before they were told, the same ones.

        Empty only where the space holds no candidate that is not alive already.
        """
        if self._asked is None:
            taken: set[Hashable] = {
                self.representation.key(member.candidate) for island in self.islands for member in island.members
            }
            self._immigrants = 0
            broods = [
                self._brood(island, size, taken)
                for island, size in zip(self.islands, self.settings.island_sizes, strict=True)
            ]
            self._shares = [len(brood) for brood in broods]
            self._asked = tuple(candidate for brood in broods for candidate in brood)
        return self._asked

    def tell(self, scores: Iterable[Score]) -> Generation:
        """Take the scores of the candidates asked for, in their order.

        Parameters
        ----------
        scores
            One for each candidate: a number, or one for each objective, higher is better. NaN, infinity and exceptions
            count as the worst score and are reported in the generation's ``failures``.

        Raises
        ------
        SettingsError
            If nothing was asked for, or their number or their number of objectives is wrong.
        """
        if self._asked is None:
            raise SettingsError("Evolution.tell", ["no candidates were asked for; call ask() first"])
        given = list(scores)
        if len(given) != len(self._asked):
            raise SettingsError(
                "Evolution.tell",
                [f"{len(self._asked)} candidates were asked for, got {len(given)} scores; give one for each, in order"],
            )
        failures: Counter[str] = Counter()
        values = _checked_scores(given, self._objectives(given), failures)
        told = [Member(candidate, score) for candidate, score in zip(self._asked, values, strict=True)]
        start = 0
        for island, share, size in zip(self.islands, self._shares, self.settings.island_sizes, strict=True):
            self._settle(island, told[start : start + share], size)
            start += share
        self._asked = None
        self.evaluations += len(told)
        self._migrate()
        everyone = sorted(member.scores[0] for island in self.islands for member in island.members)
        generation = Generation(
            number=self.generation,
            best=max(everyone, default=-math.inf),
            median=_median(everyone),
            diversity=len(set(everyone)) / max(1, len(everyone)),
            evaluations=self.evaluations,
            evaluated=len(told),
            immigrants=self._immigrants,
            failures=failures,
        )
        self.history.append(generation)
        return generation

    # ------------------------------------------------------------------------------------------------------- breeding

    def _brood(self, island: Island[C], size: int, taken: set[Hashable]) -> list[C]:
        settings, rng = self.settings, self.rng
        if not island.members:
            made = (self._new(None, taken) for _ in range(size))
            return [candidate for candidate in made if candidate is not None]
        wanted = size - settings.elites
        stagnant = settings.stagnation and island.idle >= settings.stagnation
        strangers = math.ceil(settings.immigrants * wanted) if stagnant else 0
        self._immigrants += strangers
        winners = tournaments(rng, len(island.members), size=settings.tournament, shape=(wanted, 2)).tolist()
        draws = rng.random((wanted, 2)).tolist()
        brood = []
        for place, ((one, other), (crosses, mutates)) in enumerate(zip(winners, draws, strict=True)):
            child: C | None = None
            if place >= strangers:
                child = island.members[one].candidate
                if crosses < settings.crossover_rate:
                    child = self.representation.crossover(child, island.members[other].candidate, rng)
                if mutates < settings.mutation_rate:
                    child = self.representation.mutate(child, rng)
            new = self._new(child, taken)
            if new is not None:
                brood.append(new)
        return brood

    def _new(self, child: C | None, taken: set[Hashable]) -> C | None:
        """The child if it is new, else a mutant of it, else a random candidate, else nothing."""
        for attempt in range(2 * _TRIES):
            if child is None or attempt >= _TRIES:
                child = self.representation.random(self.rng)
            key = self.representation.key(child)
            if key not in taken:
                taken.add(key)
                return child
            child = self.representation.mutate(child, self.rng)
        return None

    def _settle(self, island: Island[C], told: list[Member[C]], size: int) -> None:
        several = bool(told) and len(told[0].scores) > 1
        # One objective: children replace all but the elites. Several: old and new compete.
        kept = island.members if several else island.members[: max(self.settings.elites, size - len(told))]
        everyone = [*kept, *told]
        island.members = _ranked(everyone)[:size]
        record = max((member.score for member in island.members), default=-math.inf)
        island.idle = 0 if record > island.record else island.idle + 1
        island.record = max(record, island.record)

    def _migrate(self) -> None:
        every = self.settings.migration_every
        if len(self.islands) < 2 or not every or (self.generation + 1) % every:
            return
        travellers = [island.members[0] for island in self.islands if island.members]
        if len(travellers) < len(self.islands):
            return
        key = self.representation.key
        for place, island in enumerate(self.islands):
            guest = travellers[place - 1]
            if all(key(member.candidate) != key(guest.candidate) for member in island.members):
                island.members = _ranked([*island.members[:-1], guest])

    def _objectives(self, given: list[Score]) -> int:
        for island in self.islands:
            for member in island.members:
                return len(member.scores)
        return next((len(score) for score in given if isinstance(score, Sequence | np.ndarray)), 1)


def _checked_scores(given: list[Score], objectives: int, failures: Counter[str]) -> list[tuple[float, ...]]:
    worst = (-math.inf,) * objectives
    values: list[tuple[float, ...]] = []
    for place, score in enumerate(given):
        if type(score) is float and objectives == 1 and math.isfinite(score):
            values.append((score,))
            continue
        if isinstance(score, BaseException):
            failures[f"{type(score).__name__}: {score}"] += 1
            values.append(worst)
            continue
        try:
            numbers = tuple(map(float, score if isinstance(score, Sequence | np.ndarray) else (score,)))
        except (TypeError, ValueError):
            raise SettingsError(
                "Evolution.tell", [f"score {place} must be a number or a sequence of numbers, got {score!r}"]
            ) from None
        if len(numbers) != objectives:
            raise SettingsError(
                "Evolution.tell", [f"score {place} must hold {objectives} objective(s), got {len(numbers)}: {score!r}"]
            )
        if all(map(math.isfinite, numbers)):
            values.append(numbers)
        else:
            failures["not a finite number"] += 1
            values.append(worst)
    return values


def _table(members: Sequence[Member[C]]) -> NDArray[np.float64]:
    if not members:
        return np.empty((0, 1))
    return np.array([member.scores for member in members], dtype=np.float64)


def _ranked(members: list[Member[C]]) -> list[Member[C]]:
    """Best first, equals in their order."""
    if not members or len(members[0].scores) == 1:  # as many objectives as all
        return sorted(members, key=_FIRST_SCORES, reverse=True)
    return [members[place] for place in best_first(_table(members))]


def _median(ranked: Sequence[float]) -> float:
    middle = len(ranked) // 2
    if not ranked:
        return -math.inf
    return ranked[middle] if len(ranked) % 2 else (ranked[middle - 1] + ranked[middle]) / 2.0
