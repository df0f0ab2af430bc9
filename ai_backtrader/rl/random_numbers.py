"""Random numbers whose whole state is an array: compiled loops draw from it, checkpoints save it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.simulation.compiling import compiled

__all__ = ["below", "generator_state", "uniform"]


def generator_state(rng: np.random.Generator) -> NDArray[np.uint64]:
    """State of a xoshiro256++ generator (Blackman and Vigna 2019), shape (4,), seeded from ``rng``."""
    return rng.integers(1, 2**64, size=4, dtype=np.uint64, endpoint=False)


@compiled
def _rotated(x: Any, k: Any) -> Any:
    return (x << k) | (x >> (np.uint64(64) - k))


@compiled
def uniform(state: NDArray[np.uint64]) -> float:
    """Next number, evenly in [0, 1), of 53 random bits."""
    bits = _rotated(state[0] + state[3], np.uint64(23)) + state[0]
    shifted = state[1] << np.uint64(17)
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = _rotated(state[3], np.uint64(45))
    return np.float64(bits >> np.uint64(11)) * (1.0 / 9007199254740992.0)  # 2**53


@compiled
def below(state: NDArray[np.uint64], n: int) -> int:
    """Next whole number, evenly in 0 to ``n`` - 1; the bias of multiplying is below n / 2**53."""
    return int(uniform(state) * n)
