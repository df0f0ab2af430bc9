"""Small environments with known answers, as the compiled loop takes them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from numba import njit

from ai_backtrader.rl.dqn import DQN
from ai_backtrader.rl.settings import DQNSettings
from ai_backtrader.rl.trainer import EnvironmentKernels, Trainer

compiled = njit(cache=True, nogil=True, error_model="numpy")


class Table(NamedTuple):
    """A finite MDP: rows are states, columns actions; where each lane stands, and since when."""

    features: np.ndarray
    next_state: np.ndarray
    reward: np.ndarray
    terminal: np.ndarray
    allowed: np.ndarray
    limit: np.ndarray
    n_starts: np.ndarray
    state: np.ndarray
    clock: np.ndarray


@compiled
def observe(env: Any, lane: int, out: Any) -> None:
    out[:] = env.features[env.state[lane]]


@compiled
def mask(env: Any, lane: int, out: Any) -> None:
    out[:] = env.allowed[env.state[lane]]


@compiled
def step(env: Any, lane: int, action: int) -> tuple[float, bool, bool]:
    state = env.state[lane]
    env.state[lane] = env.next_state[state, action]
    env.clock[lane] += 1
    return env.reward[state, action], env.terminal[state, action], env.clock[lane] >= env.limit[0]


@compiled
def reset(env: Any, lane: int, start: int) -> None:
    env.state[lane] = start
    env.clock[lane] = 0


@compiled
def draw(env: Any, lane: int, u: float) -> int:
    return int(u * env.n_starts[0])


TABLE = EnvironmentKernels(name="table", observe=observe, mask=mask, step=step, reset=reset, draw=draw)


def table(
    features: Any,
    next_state: Any,
    reward: Any,
    terminal: Any,
    *,
    allowed: Any = None,
    limit: int = 1_000_000,
    n_starts: int = 1,
    lanes: int = 1,
) -> Table:
    """A table from nested lists; episodes begin in the first ``n_starts`` states, evenly."""
    rewards = np.array(reward, np.float64)
    return Table(
        np.array(features, np.float64),
        np.array(next_state, np.int64),
        rewards,
        np.array(terminal, np.bool_),
        np.ones(rewards.shape, np.bool_) if allowed is None else np.array(allowed, np.bool_),
        np.array([limit]),
        np.array([n_starts]),
        np.zeros(lanes, np.int64),
        np.zeros(lanes, np.int64),
    )


class Rooms(NamedTuple):
    """What the tests take from here."""

    table: Callable[..., Table]
    kernels: EnvironmentKernels
    train: Callable[..., Trainer]
    corridor: Callable[..., Table]


def train(
    env: Table, settings: DQNSettings, *, seed: int, steps: int, backend: str = "numba", lanes: int = 1
) -> Trainer:
    dqn = DQN(
        env.features.shape[1],
        env.reward.shape[1],
        settings,
        rng=np.random.default_rng(seed),
        backend=backend,
        lanes=lanes,
    )
    trainer = Trainer(dqn, env, TABLE, episode_fields=("state", "clock"))
    trainer.run(steps)
    return trainer


def corridor(length: int = 7, *, limit: int = 1_000_000, lanes: int = 1) -> Table:
    """Left or right in a corridor; 1 for leaving it on the right. Features tell the place and noise of the place."""
    places = np.arange(length)
    features = np.stack([places / length, np.cos(places), np.sin(3.0 * places)], axis=1)
    next_state = np.stack([np.maximum(places - 1, 0), np.minimum(places + 1, length - 1)], axis=1)
    reward = np.zeros((length, 2))
    reward[-1, 1] = 1.0
    return table(features, next_state, reward, reward > 0, limit=limit, n_starts=length, lanes=lanes)


@pytest.fixture(scope="session")
def rooms() -> Rooms:
    """Finite MDPs, and a function that trains on one."""
    return Rooms(table, TABLE, train, corridor)


@pytest.fixture(scope="session")
def cartpole() -> ModuleType:
    """The compiled CartPole of the benchmarks; skips where the checkout's benchmarks are not there."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "cartpole.py"
    if not path.exists():
        pytest.skip(f"benchmarks not found: {path}")
    # The name it has for the benchmarks themselves: with it Numba keeps the compiled code.
    spec = importlib.util.spec_from_file_location("cartpole", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
