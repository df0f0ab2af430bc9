"""What the search remembers of each generation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ai_backtrader.values import FrozenMapping

__all__ = ["Generation"]


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One generation after its evaluation.

    Attributes
    ----------
    number
        0 is the first, random one.
    best
        Score of the best candidate alive, first objective; ``-inf`` when every evaluation so far failed.
    median
        Median score of the population, first objective.
    diversity
        Share of the population with a score of its own, a fraction: candidates that behave alike score alike.
    evaluations
        Evaluations since the start.
    evaluated
        Evaluations of this generation.
    immigrants
        Random candidates brought in because an island stood still.
    failures
        Reasons of failed evaluations of this generation, with their number.
    """

    number: int
    best: float
    median: float
    diversity: float
    evaluations: int
    evaluated: int
    immigrants: int
    failures: Mapping[str, int] = field(default_factory=FrozenMapping)

    def __post_init__(self) -> None:
        object.__setattr__(self, "failures", FrozenMapping(self.failures))
