"""Gymnasium's CartPole-v1 as compiled functions over arrays, for training loops that do not leave compiled code.

Equations and limits are those of ``gymnasium.envs.classic_control.cartpole`` (Barto, Sutton and Anderson 1983): Euler
steps of 0.02 s, reward 1 a step, terminated beyond 2.4 m or 12 degrees, truncated after 500 steps.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

GRAVITY, POLE_MASS, TOTAL_MASS, HALF_LENGTH, FORCE, TAU = 9.8, 0.1, 1.1, 0.5, 10.0, 0.02
POLE_MASS_LENGTH = POLE_MASS * HALF_LENGTH
ANGLE_LIMIT, PLACE_LIMIT, STEP_LIMIT = 12 * 2 * math.pi / 360, 2.4, 500

compiled = njit(cache=True, nogil=True, error_model="numpy")


class CartPole(NamedTuple):
    """Places, speeds, angles and angular speeds of the lanes; their clocks; where episodes may begin."""

    state: NDArray[np.float64]
    clock: NDArray[np.int64]
    starts: NDArray[np.float64]


def new_cartpole(lanes: int = 1, *, seed: int = 0, n_starts: int = 100_000) -> CartPole:
    """Lanes at rest, and starts drawn as ``reset`` of Gymnasium draws them."""
    starts = np.random.default_rng(seed).uniform(-0.05, 0.05, (n_starts, 4))
    return CartPole(np.zeros((lanes, 4)), np.zeros(lanes, np.int64), starts)


@compiled
def observe(env: Any, lane: int, out: Any) -> None:
    for i in range(4):
        out[i] = env.state[lane, i]


@compiled
def mask(env: Any, lane: int, out: Any) -> None:
    out[:] = True


@compiled
def step(env: Any, lane: int, action: int) -> tuple[float, bool, bool]:
    x, x_dot, theta, theta_dot = env.state[lane]
    force = FORCE if action == 1 else -FORCE
    cos, sin = math.cos(theta), math.sin(theta)
    temp = (force + POLE_MASS_LENGTH * (theta_dot * theta_dot) * sin) / TOTAL_MASS
    theta_acc = (GRAVITY * sin - cos * temp) / (HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * (cos * cos) / TOTAL_MASS))
    x_acc = temp - POLE_MASS_LENGTH * theta_acc * cos / TOTAL_MASS
    env.state[lane, 0] = x = x + TAU * x_dot
    env.state[lane, 1] = x_dot + TAU * x_acc
    env.state[lane, 2] = theta = theta + TAU * theta_dot
    env.state[lane, 3] = theta_dot + TAU * theta_acc
    env.clock[lane] += 1
    terminated = x < -PLACE_LIMIT or x > PLACE_LIMIT or theta < -ANGLE_LIMIT or theta > ANGLE_LIMIT
    return 1.0, terminated, env.clock[lane] >= STEP_LIMIT


@compiled
def reset(env: Any, lane: int, start: int) -> None:
    env.state[lane] = env.starts[start]
    env.clock[lane] = 0


@compiled
def draw(env: Any, lane: int, u: float) -> int:
    return int(u * env.starts.shape[0])
