"""Adam and the clipping of gradients, on one vector of parameters: in NumPy and compiled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.simulation.compiling import compiled

__all__ = ["adam", "adam_compiled", "clip_norm", "clip_norm_compiled"]

Floats = NDArray[Any]


def clip_norm(gradient: Floats, limit: float) -> float:
    """Scale ``gradient`` in place so that its Euclidean norm is at most ``limit``; the norm it had is returned."""
    norm = math.sqrt(float(np.sum(np.square(gradient, dtype=np.float64))))
    if norm > limit:
        gradient *= gradient.dtype.type(limit / norm)
    return norm


@compiled
def clip_norm_compiled(gradient: Floats, limit: float) -> float:
    """:func:`clip_norm`, compiled: sums in float64, in eight lanes."""
    # A single running sum is a chain of additions that no processor can overlap: eight are 6 times as fast.
    lanes = np.zeros(8)
    eights = gradient.size - gradient.size % 8
    for i in range(0, eights, 8):
        for j in range(8):
            value = np.float64(gradient[i + j])
            lanes[j] += value * value
    for i in range(eights, gradient.size):
        value = np.float64(gradient[i])
        lanes[0] += value * value
    norm = math.sqrt(lanes.sum())
    if norm > limit:
        scale = gradient.dtype.type(limit / norm)
        for i in range(gradient.size):
            gradient[i] *= scale
    return norm


def adam(
    parameters: Floats, gradient: Floats, first: Floats, second: Floats,
    *, step: int, rate: float, beta1: float, beta2: float, epsilon: float,
) -> None:  # fmt: skip
    """One step of Adam (Kingma and Ba 2015, algorithm 1), in place.

    Parameters
    ----------
    parameters, gradient
        Shape (n,).
    first, second
        Moments, shape (n,); zero before the first step.
    step
        Number of this step, from 1.
    """
    kind = parameters.dtype.type
    first *= kind(beta1)
    first += kind(1 - beta1) * gradient
    second *= kind(beta2)
    second += kind(1 - beta2) * gradient * gradient
    root = kind(math.sqrt(1 - beta2**step))
    parameters -= kind(rate / (1 - beta1**step)) * first / (np.sqrt(second) / root + kind(epsilon))


@compiled
def adam_compiled(
    parameters: Floats,
    gradient: Floats,
    first: Floats,
    second: Floats,
    step: int,
    rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> None:
    """:func:`adam`, compiled."""
    kind = parameters.dtype.type
    keep1, add1 = kind(beta1), kind(1 - beta1)
    keep2, add2 = kind(beta2), kind(1 - beta2)
    root = kind(math.sqrt(1 - beta2**step))
    pace = kind(rate / (1 - beta1**step))
    floor = kind(epsilon)
    for i in range(parameters.size):
        slope = gradient[i]
        m = keep1 * first[i] + add1 * slope
        v = keep2 * second[i] + add2 * slope * slope
        first[i], second[i] = m, v
        parameters[i] -= pace * m / (np.sqrt(v) / root + floor)
