"""Gymnasium's CartPole-v1 as compiled functions over arrays, and a DQN trained in it by ten seeds.

    python benchmarks/cartpole.py [--seeds 10] [--steps 50000]

The network class, the loop and the updates are those that trade. A seed is judged by its final policy, the last
weights without a choice among earlier ones: 100 fresh greedy episodes. Two figures stand beside it: the checkpoint that
was best on 20 other episodes, and the last 100 episodes of the training itself, which begin while the agent still
learns (100 full episodes would be all 50,000 steps).

Equations and limits are those of ``gymnasium.envs.classic_control.cartpole`` (Barto, Sutton and Anderson 1983): Euler
steps of 0.02 s, reward 1 a step, terminated beyond 2.4 m or 12 degrees, truncated after 500 steps.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ai_backtrader.rl.dqn import DQN
from ai_backtrader.rl.settings import DQNSettings
from ai_backtrader.rl.trainer import EnvironmentKernels, Trainer

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


# Rate, replay and size of a batch are those of Stable-Baselines3's zoo; ours are a smaller network, Double DQN, ten
# rewards a transition, updates spread evenly over the steps, and a rate that falls to zero.
SETTINGS = DQNSettings(
    hidden=(128, 128), learning_rate=2.3e-3, learning_rate_end_factor=0.0, learning_rate_steps=50_000, batch_size=64,
    buffer_size=100_000, learning_starts=1_000, gamma=0.99, n_step=10, train_every=4, gradient_steps=2,
    target_every=128, epsilon_steps=8_000, epsilon_end=0.01,
)  # fmt: skip
LOOK_STEPS = 2_500
SOLVED = 475.0


class Outcome(NamedTuple):
    """Mean returns of one seed.

    Attributes
    ----------
    final, best
        Of 100 greedy episodes: of the last weights, and of those that were best on 20 other episodes.
    training
        Of the last 100 episodes of the training that had ended.
    """

    final: float
    best: float
    training: float


def kernels() -> EnvironmentKernels:
    """The compiled functions of this module."""
    return EnvironmentKernels(name="cartpole", observe=observe, mask=mask, step=step, reset=reset, draw=draw)


def train(seed: int, *, n_steps: int = 50_000) -> Outcome:
    """Train one seed and judge it on episodes that it has not seen."""
    dqn = DQN(4, 2, SETTINGS, rng=np.random.default_rng(seed))
    trainer = Trainer(dqn, new_cartpole(seed=seed), kernels(), episode_fields=("state", "clock"))
    exam = new_cartpole(seed=10_000 + seed)
    fresh = np.arange(1_000, 1_100)
    highest, best = -1.0, dqn.memory.online.copy()
    while int(trainer.run(0).steps) < n_steps:
        trainer.run(LOOK_STEPS)
        score = float(trainer.evaluate(np.arange(20), env=exam)[0].mean())
        if score >= highest:
            highest, best = score, dqn.memory.online.copy()
    final = float(trainer.evaluate(fresh, env=exam)[0].mean())
    training = trainer.run(0).mean_return
    dqn.set_weights(best)
    return Outcome(final, float(trainer.evaluate(fresh, env=exam)[0].mean()), training)


def main() -> None:
    parser = argparse.ArgumentParser(description="A DQN on CartPole-v1: mean returns by seed.")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=50_000)
    options = parser.parse_args()
    print(f"{'seed':>4s} {'final policy':>13s} {'best checkpoint':>16s} {'last 100 of training':>21s}")
    began, rows = time.process_time(), []
    for seed in range(options.seeds):
        rows.append(train(seed, n_steps=options.steps))
        print(f"{seed:4d} {rows[-1].final:13.1f} {rows[-1].best:16.1f} {rows[-1].training:21.1f}", flush=True)
    solved = [sum(getattr(row, name) >= SOLVED for row in rows) for name in Outcome._fields]
    print(f"{'':4s} {solved[0]:9d}/{len(rows):<3d} {solved[1]:12d}/{len(rows):<3d} {solved[2]:17d}/{len(rows):<3d}"
          f" at least {SOLVED:.0f}")  # fmt: skip
    print(f"{(time.process_time() - began) / len(rows):.1f} s of CPU a seed")


if __name__ == "__main__":
    # Under its own name, by which Numba keeps the compiled code for the tests and the other benchmarks too.
    import cartpole

    sys.exit(cartpole.main())
