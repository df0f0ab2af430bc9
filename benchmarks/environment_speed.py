"""The trading environment alone: steps a second, one lane and many, beside Cerebro doing the same. No learning.

    python benchmarks/environment_speed.py [--data FILE.csv.gz] [--seconds 2] [--threads 2] [--growth]

A step is one bar of the execution model with its reward and the 35-feature state. Actions are random: "busy" draws one
of the eleven at every bar, "calm" does so at every tenth and holds in between. Three ways: the compiled loop (as the
trainer runs it: step, restart of ended episodes, observation), ``VectorTradingEnv.step`` (the same with gymnasium's
interface: fresh arrays, action masks, checks), and the single ``LeverageTradingEnv``. Cerebro replays the same actions
on ``LeverageBroker``, where equity must be equal at every bar. One thread: CPU time; several: wall time, which needs a
quiet machine. The best of three.

``--growth``: peak memory for more bars and more lanes, each in a process of its own, and whether memory grows with
steps.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.market import MarketData
from ai_backtrader.rl import (
    EnvArrays,
    EnvironmentSettings,
    LeverageTradingEnv,
    VectorTradingEnv,
    build_arrays,
    play_actions,
)
from ai_backtrader.rl.env_kernels import draw, observe, reset, step
from ai_backtrader.rl.reward_audit import zero_drift_market
from ai_backtrader.strategies.rl_actions import replay_in_cerebro

PARTS = 64  # chunks of lanes that the threads share


@njit(nogil=True, error_model="numpy")
def roll(
    env: EnvArrays, first: int, last: int, steps: int, actions: NDArray[np.int64], starts: NDArray[np.float64],
    states: NDArray[np.float32],
) -> int:  # fmt: skip
    """Step some lanes many times; gives the number of episodes that ended."""
    ended = 0
    most = len(actions) - 1  # a power of two less one
    place = first * 7919
    for _ in range(steps):
        for lane in range(first, last):
            place += 1
            _, terminated, truncated = step(env, lane, actions[place & most])
            if terminated or truncated:
                ended += 1
                reset(env, lane, draw(env, lane, starts[ended & most]))
            observe(env, lane, states[lane])
    return ended


def random_actions(rng: np.random.Generator, count: int, share: float) -> NDArray[np.int64]:
    return np.where(rng.random(count) < share, rng.integers(0, 11, count), 0)


def best(work: Callable[[], int], seconds: float, *, threads: int = 1) -> float:
    """Steps a second, the best of three: of CPU time for one thread, of wall time for more."""
    clock = time.process_time if threads == 1 else time.perf_counter
    rate = 0.0
    for _ in range(3):
        start, steps = clock(), 0
        while clock() - start < seconds / 3.0:
            steps += work()
        rate = max(rate, steps / (clock() - start))
    return rate


def compiled_rate(data: MarketData, lanes: int, share: float, threads: int, seconds: float) -> float:
    rng = np.random.default_rng(1)
    env = build_arrays(data, EnvironmentSettings(), leveraged=True, lanes=lanes)
    actions, starts = random_actions(rng, 65536, share), rng.random(65536)
    states = np.empty((lanes, 35), dtype=np.float32)
    edges = np.linspace(0, lanes, min(PARTS, threads) + 1).astype(int)
    roll(env, 0, lanes, 2, actions, starts, states)
    per_call = max(1, 2_000_000 // lanes)
    with ThreadPoolExecutor(threads) as pool:

        def work() -> int:
            jobs = [
                pool.submit(roll, env, first, last, per_call, actions, starts, states)
                for first, last in pairwise(edges)
            ]
            for job in jobs:
                job.result()
            return per_call * lanes

        return best(work, seconds, threads=threads)


def vector_rate(data: MarketData, lanes: int, share: float, threads: int, seconds: float) -> float:
    rng = np.random.default_rng(1)
    envs = VectorTradingEnv(data, num_envs=lanes, threads=threads)
    envs.reset(seed=1)
    actions = random_actions(rng, 64 * lanes, share).reshape(64, lanes)
    for row in actions[:2]:
        envs.step(row)

    def work() -> int:
        for row in actions:
            envs.step(row)
        return int(actions.size)

    rate = best(work, seconds, threads=threads)
    envs.close()
    return rate


def single_rate(data: MarketData, seconds: float) -> float:
    env = LeverageTradingEnv(data)
    actions = random_actions(np.random.default_rng(1), 5000, 0.1).tolist()

    def work() -> int:
        env.reset(seed=1)
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        return len(actions)

    return best(work, seconds)


def cerebro_rate(data: MarketData) -> tuple[float, int]:
    """Bars a second of the same episode in Cerebro, and at how many of its bars equity is not the same."""
    settings = EnvironmentSettings(episode_bars=None, ruin=0.0)
    env = build_arrays(data, settings, leveraged=True)
    bars = int(env.shared["last_bar"][0] - env.shared["first_start"][0])
    actions = random_actions(np.random.default_rng(1), bars, 0.1)
    played = play_actions(env, actions)
    start = time.perf_counter()
    replayed = replay_in_cerebro(data, actions, settings, with_states=False)
    spent = time.perf_counter() - start
    return bars / spent, int((played.equity != replayed.equity).sum() + (played.cash != replayed.cash).sum())


def peak_memory(bars: int, lanes: int, steps: int) -> tuple[float, float]:
    """Peak memory of this process in MB, after ten steps and after all."""
    data = zero_drift_market(np.random.default_rng(1), bars=bars)
    envs = VectorTradingEnv(data, num_envs=lanes)
    envs.reset(seed=1)
    actions = np.zeros(lanes, np.int64)
    for _ in range(10):
        envs.step(actions)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    for _ in range(steps):
        envs.step(actions)
    return before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def growth() -> None:
    print(f"\n{'bars':>10s} {'lanes':>8s} {'steps':>8s} {'peak MB':>9s} {'after MB':>9s}")
    for bars, lanes, steps in (
        (1_000, 256, 100), (10_000, 256, 100), (100_000, 256, 100), (1_000_000, 256, 100), (10_000, 1, 100),
        (10_000, 4_096, 100), (10_000, 65_536, 20), (10_000, 4_096, 3_000),
    ):  # fmt: skip
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            before, after = pool.submit(peak_memory, bars, lanes, steps).result()
        print(f"{bars:10,d} {lanes:8,d} {steps:8,d} {before:9.0f} {after:9.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="CSV of market data; default: the shipped EUR/USD hours")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--growth", action="store_true", help="memory for more bars and lanes")
    given = parser.parse_args()
    data = load_sample() if given.data is None else MarketData.from_csv(given.data)
    print(f"{data.symbol}, {len(data):,d} bars; million steps a second (one thread: of CPU time; more: of wall time)")
    print(
        f"{'lanes':>8s} {'threads':>8s} {'loop calm':>10s} {'loop busy':>10s} {'vector calm':>12s} {'vector busy':>12s}"
    )
    for lanes in (64, 256, 1024, 4096, 16384):
        for threads in sorted({1, given.threads}):
            rates = [
                rate(data, lanes, share, threads, given.seconds) / 1e6
                for rate in (compiled_rate, vector_rate)
                for share in (0.1, 1.0)
            ]
            print(f"{lanes:8,d} {threads:8d} {rates[0]:10.1f} {rates[1]:10.1f} {rates[2]:12.1f} {rates[3]:12.1f}")
    single = single_rate(data, given.seconds)
    cerebro, differing = cerebro_rate(data)
    print(f"single environment {single:,.0f} steps/s; Cerebro {cerebro:,.0f} bars/s, differing bars: {differing}")
    if given.growth:
        growth()


if __name__ == "__main__":
    main()
