"""Training of a DQN here and in Stable-Baselines3, side by side in one run. One thread, CPU time.

    python benchmarks/dqn_speed.py [--steps 20000] [--rounds 3] [--env leverage|basic|cartpole]

The same environment, the same network (128-64-32), batch 64, an update every 4 steps, plain DQN with uniform replay on
both sides (``--double`` adds Double DQN to ours; Stable-Baselines3 has none). Both are warmed up first; the best of the
rounds counts. The last lines are our other backends and the time of one decision.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: several threads burn time at these sizes
import cartpole
import gymnasium as gym
import numpy as np
from numba import njit

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.rl import EnvironmentSettings, LeverageTradingEnv, TradingEnv, build_arrays, env_kernels
from ai_backtrader.rl.dqn import DQN
from ai_backtrader.rl.dqn_kernels import act
from ai_backtrader.rl.network_kernels import forward_one
from ai_backtrader.rl.settings import DQNSettings
from ai_backtrader.rl.trainer import EnvironmentKernels, Trainer

STARTS = 500
FUNCTIONS = ("observe", "mask", "step", "reset", "draw")


def kernels_of(module: Any, name: str) -> EnvironmentKernels:
    return EnvironmentKernels(name=name, **{function: getattr(module, function) for function in FUNCTIONS})


def environment(name: str) -> tuple[gym.Env[Any, Any], Any, EnvironmentKernels, tuple[str, ...]]:
    """The environment for Gymnasium, its arrays, its kernels, and the fields that steps change."""
    if name == "cartpole":
        return gym.make("CartPole-v1"), cartpole.new_cartpole(), kernels_of(cartpole, name), ("state", "clock")
    data, settings = load_sample(), EnvironmentSettings(episode_bars=200)
    kind = LeverageTradingEnv if name == "leverage" else TradingEnv
    arrays = build_arrays(data, settings, leveraged=name == "leverage")
    return kind(data, settings), arrays, kernels_of(env_kernels, "trading"), ("lanes",)


def timed(run: Callable[[], object], rounds: int) -> float:
    """CPU seconds of the fastest round."""
    best = np.inf
    for _ in range(rounds):
        began = time.process_time()
        run()
        best = min(best, time.process_time() - began)
    return float(best)


def ours(name: str, backend: str, *, steps: int, rounds: int, double: bool) -> tuple[float, float]:
    env, arrays, kernels, fields = environment(name)
    settings = DQNSettings(double=double, learning_starts=STARTS, train_every=4, buffer_size=50_000)
    dqn = DQN(
        env.observation_space.shape[0], int(env.action_space.n), settings, rng=np.random.default_rng(0), backend=backend
    )
    trainer = Trainer(dqn, arrays, kernels, episode_fields=fields)
    trainer.run(STARTS + 64)
    whole = timed(lambda: trainer.run(steps), rounds)
    return whole / steps, timed(lambda: [dqn.train_step() for _ in range(steps // 4)], rounds) / (steps // 4)


def theirs(name: str, *, steps: int, rounds: int) -> tuple[float, float]:
    import torch
    from stable_baselines3 import DQN as SB3

    torch.set_num_threads(1)
    model = SB3(
        "MlpPolicy", environment(name)[0], learning_starts=STARTS, batch_size=64, train_freq=4, gradient_steps=1,
        buffer_size=50_000, target_update_interval=2_000, policy_kwargs={"net_arch": [128, 64, 32]},
        device="cpu", seed=0,
    )  # fmt: skip
    model.learn(STARTS + 64)
    whole = timed(lambda: model.learn(steps, reset_num_timesteps=False), rounds)
    return whole / steps, timed(lambda: model.train(steps // 4, 64), rounds) / (steps // 4)


@njit
def _decide(memory: Any, states: Any, mask: Any) -> int:
    total = 0
    for i in range(states.shape[0]):
        total += act(memory, states[i], mask, 0.0)
    return total


@njit
def _values(memory: Any, states: Any) -> float:
    total = 0.0
    for i in range(states.shape[0]):
        total += forward_one(memory.sizes, memory.online, states[i], memory.single)[0]
    return total


def inference(n_features: int, n_actions: int) -> tuple[float, float, float]:
    """Microseconds of one decision: inside compiled code, of the bare network there, and from Python."""
    dqn = DQN(n_features, n_actions, rng=np.random.default_rng(0))
    states = np.random.default_rng(1).uniform(-1, 1, (20_000, n_features)).astype(np.float32)
    mask = np.ones(n_actions, np.bool_)
    _decide(dqn.memory, states, mask)
    _values(dqn.memory, states)
    inside = timed(lambda: _decide(dqn.memory, states, mask), 5) / len(states)
    bare = timed(lambda: _values(dqn.memory, states), 5) / len(states)
    python = timed(lambda: [dqn.act(state, mask) for state in states], 3) / len(states)
    return inside * 1e6, bare * 1e6, python * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--env", choices=("leverage", "basic", "cartpole"), default="leverage")
    parser.add_argument("--double", action="store_true")
    options = parser.parse_args()
    name, rounds, few = options.env, options.rounds, max(options.steps // 10, 1_000)
    reference = theirs(name, steps=few, rounds=rounds)
    rows = [("Stable-Baselines3", reference)]
    for backend, steps in (("numba", options.steps), ("numpy", few), ("torch", few)):
        rows.append((f"ours, {backend}", ours(name, backend, steps=steps, rounds=rounds, double=options.double)))
    print(f"{name}: batch 64, an update every 4 steps, CPU time")
    for label, (step, update) in rows:
        print(
            f"{label:18s} {1 / step:8,.0f} steps/s {reference[0] / step:6.1f}x, gradient steps alone "
            f"{1 / update:7,.0f}/s {reference[1] / update:6.1f}x"
        )
    for sizes in ((18, 3), (35, 11)):
        inside, bare, python = inference(*sizes)
        print(f"one decision {sizes}: {inside:.2f} µs compiled ({bare:.2f} the network), {python:.1f} from Python")


if __name__ == "__main__":
    main()
