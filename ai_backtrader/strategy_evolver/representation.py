"""What the search must know of the things it searches: how to make, join, change and tell them apart."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

__all__ = ["Representation"]

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class Representation(Generic[C]):
    """Four functions over candidates, and two more for those who want checkpoints.

    Candidates are never changed in place. Functions draw from the generator that they are given and from nothing else.

    Attributes
    ----------
    random
        A random candidate.
    crossover
        A child of two parents.
    mutate
        A changed candidate.
    key
        Equal when, and only when, two candidates are the same.
    dump, load
        A candidate as text and back; only checkpoints need them.
    """

    random: Callable[[np.random.Generator], C]
    crossover: Callable[[C, C, np.random.Generator], C]
    mutate: Callable[[C, np.random.Generator], C]
    key: Callable[[C], Hashable]
    dump: Callable[[C], str] | None = None
    load: Callable[[str], C] | None = None
