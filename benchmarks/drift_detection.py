"""Drift detection on fresh seeds: false alarms, misses and delays, with river's detectors on the same streams beside.

    python benchmarks/drift_detection.py [--seeds 40] [--first-seed 1000] [--quiet-bars 5000] [--quick]

Streams: bar returns of unit variance, normal, Student t with 3 degrees of freedom, and GARCH(1,1) with alpha 0.10 and
beta 0.85; after 1000 bars the mean moves by 1 or 2 standard deviations, or the volatility doubles or trebles. Win rates
are Bernoulli, and fall after 1000 trades. The learner sees the returns as closes, and through all of its market series
at once: any alarm of any series counts, as a false one before the change and as detection after it. river's detectors
see the return for the mean and its absolute value for the volatility.

A run is missed where no alarm comes within 1500 bars (trades) after the change. A stream on which an alarm was already
raised in the last 500 bars before the change is counted apart ("early"), because the channel is then still learning.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from river import drift as river

from ai_backtrader.online_learner import Channel, DriftMonitor, DriftSettings

CHANGE, AFTER, LEARNING = 1000, 1500, 500
SCALE = 0.01  # of a return, so that closes stay in range
Array = NDArray[np.float64]
Detect = Callable[[Array], list[int]]


def garch(shocks: Array, alpha: float = 0.10, beta: float = 0.85) -> Array:
    returns, variance = np.empty_like(shocks), 1.0
    for i, shock in enumerate(shocks):
        returns[i] = np.sqrt(variance) * shock
        variance = 1.0 - alpha - beta + alpha * returns[i] ** 2 + beta * variance
    return returns


NOISE: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "t3": lambda rng, n: rng.standard_t(3, n) / np.sqrt(3.0),
    "GARCH": lambda rng, n: garch(rng.normal(size=n + 500))[500:],
}
CHANGES = {"mean +1σ": (1.0, 1.0), "mean +2σ": (2.0, 1.0), "vol x2": (0.0, 2.0), "vol x3": (0.0, 3.0)}
WIN_RATES = {".55→.35": (0.55, 0.35), ".6→.2": (0.6, 0.2)}


def ours(returns: Array) -> list[int]:
    closes = np.exp(np.cumsum(SCALE * returns))
    return sorted({event.bar - 1 for event in DriftMonitor("X").scan(np.concatenate([[1.0], closes]))})


def ours_win_rate(wins: Array) -> list[int]:
    return [int(i) for i in Channel(DriftSettings().win_rate_detectors).scan(wins)]


def rivers(make: Callable[[], object], both: bool) -> Detect:
    def detect(values: Array) -> list[int]:
        alarms: set[int] = set()
        for series in (values, np.abs(values)) if both else (values,):
            detector = make()
            for i, value in enumerate(series):
                detector.update(float(value))  # type: ignore[attr-defined]  # river's detectors share the method
                if detector.drift_detected:  # type: ignore[attr-defined]  # the same
                    alarms.add(i)
        return sorted(alarms)

    return detect


def false_alarms(detect: Detect, make: Callable[[np.random.Generator, int], Array], seeds: range, bars: int) -> float:
    found = sum(len(detect(make(np.random.default_rng([seed, 1]), bars))) for seed in seeds)
    return 1000.0 * found / (len(seeds) * bars)


def delays(detect: Detect, stream: Callable[[np.random.Generator], Array], seeds: range) -> str:
    times, missed, early = [], 0, 0
    for seed in seeds:
        alarms = detect(stream(np.random.default_rng([seed, 2])))
        early += any(CHANGE - LEARNING <= alarm < CHANGE for alarm in alarms)
        after = [alarm - CHANGE for alarm in alarms if alarm >= CHANGE]
        if after:
            times.append(after[0])
        else:
            missed += 1
    return f"{np.median(times) if times else np.nan:5.1f} ({missed}{f', {early} early' if early else ''})"


def changed(noise: Callable[[np.random.Generator, int], Array], mean: float, scale: float) -> Callable[..., Array]:
    def stream(rng: np.random.Generator) -> Array:
        returns = noise(rng, CHANGE + AFTER)
        returns[CHANGE:] = scale * returns[CHANGE:] + mean
        return returns

    return stream


def falling(before: float, after: float) -> Callable[..., Array]:
    def stream(rng: np.random.Generator) -> Array:
        rate = np.where(np.arange(CHANGE + AFTER) < CHANGE, before, after)
        return (rng.random(CHANGE + AFTER) < rate).astype(float)

    return stream


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--quiet-bars", type=int, default=5000, help="bars of each drift-free stream")
    parser.add_argument("--quick", action="store_true", help="without river")
    args = parser.parse_args()
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    rows: list[tuple[str, Detect, Detect]] = [("ai-backtrader", ours, ours_win_rate)]
    if not args.quick:
        for name, make in (("river ADWIN", river.ADWIN), ("river Page-Hinkley", river.PageHinkley)):
            rows.append((name, rivers(make, both=True), rivers(make, both=False)))
    for name, detect, detect_win_rate in rows:
        began = time.process_time()
        print(f"\n{name}: false alarms per 1000 bars; median delay in bars (missed of {len(seeds)})")
        for kind, noise in NOISE.items():
            quiet = false_alarms(detect, noise, seeds, args.quiet_bars)
            cells = [f"{change} {delays(detect, changed(noise, *size), seeds)}" for change, size in CHANGES.items()]
            print(f"  {kind:7s} {quiet:6.3f}   " + "   ".join(cells), flush=True)
        quiet = false_alarms(
            detect_win_rate, lambda rng, n: (rng.random(n) < 0.55).astype(float), seeds, args.quiet_bars
        )
        cells = [f"{change} {delays(detect_win_rate, falling(*rates), seeds)}" for change, rates in WIN_RATES.items()]
        print(f"  wins    {quiet:6.3f}   " + "   ".join(cells))
        print(f"  {time.process_time() - began:.1f} s of CPU")


if __name__ == "__main__":
    main()
