"""Settings of the search."""

from __future__ import annotations

from dataclasses import dataclass

from ai_backtrader.checks import Faults

__all__ = ["EvolverSettings"]


@dataclass(frozen=True, kw_only=True)
class EvolverSettings:
    """How a population is bred.

    Attributes
    ----------
    population
        Candidates alive, over all islands.
    elites
        Best candidates of each island that live on as they are.
    tournament
        Candidates drawn for each parent; the best of them becomes it.
    crossover_rate, mutation_rate
        Probability that a child has two parents, and that it is mutated. A child that would be a copy is mutated
        anyway.
    islands
        Populations that breed apart, so that one good candidate does not take over everything.
    migration_every
        Generations between two migrations, in which the best of each island goes to the next one; 0 for never.
    stagnation
        Generations without a better candidate after which an island receives immigrants; 0 for never.
    immigrants
        Share of the children of a stagnant island that are new random candidates, a fraction.
    """

    population: int = 50
    elites: int = 2
    tournament: int = 3
    crossover_rate: float = 0.7
    mutation_rate: float = 0.5
    islands: int = 2
    migration_every: int = 5
    stagnation: int = 4
    immigrants: float = 0.2

    def __post_init__(self) -> None:
        faults = Faults("EvolverSettings")
        for name, low in (
            ("population", 4), ("elites", 1), ("tournament", 1), ("islands", 1), ("migration_every", 0),
            ("stagnation", 0),
        ):  # fmt: skip
            faults.whole(name, getattr(self, name), low=low)
        for name in ("crossover_rate", "mutation_rate", "immigrants"):
            faults.number(name, getattr(self, name), low=0.0, high=1.0)
        if not faults.found and self.population < self.islands * (self.elites + 2):
            faults.add(
                f"population must hold {self.elites} elites and 2 children on each island, at least "
                f"{self.islands * (self.elites + 2)}, got {self.population}; take fewer islands or elites"
            )
        faults.raise_if_any()

    @property
    def island_sizes(self) -> tuple[int, ...]:
        """Candidates on each island, as even as can be."""
        base, rest = divmod(self.population, self.islands)
        return tuple(base + (place < rest) for place in range(self.islands))
