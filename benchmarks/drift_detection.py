"""Drift detection on fresh seeds: false alarms, misses and delays, with river's detectors on the same streams beside.

    python benchmarks/drift_detection.py [--seeds 40] [--first-seed 1000] [--quiet-bars 5000] [--quick]

Streams: bar returns of unit variance, normal, Student t with 3 degrees of freedom, and GARCH(1,1) with alpha 0.10 and
beta 0.85; after 1000 bars the mean moves by 1 or 2 standard deviations, or the volatility doubles or trebles. Win rates
are Bernoulli, and fall after 1000 trades. The learner sees the returns as closes, and through all of its market series
at once: any alarm of any series counts, as a false one before the change and as detection after it. river's detectors
see the return for the mean and its absolute value for the volatility. "known process" is no detector but a yardstick:
the CUSUM of likelihood ratios that is given the true density, the true GARCH recursion with its parameters and the true
factor of the change, with the threshold at which it uses the whole allowance of false alarms (.05, .10, .15 in 1000
bars). For win rates it is the CUSUM that is given both rates, at .05 in 1000 trades.

A run is missed where no alarm comes within 1500 bars (trades) after the change. A stream on which an alarm was already
raised in the last 500 bars before the change is counted apart ("early"), because the channel is then still learning.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray
from river import drift as river

from ai_backtrader.online_learner import Adwin, Channel, DriftMonitor, DriftSettings, WindowedZ

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
QUIET_RATES = (0.3, 0.55, 0.7)
WIN_RATES = {".55→.35": (0.55, 0.35), ".6→.2": (0.6, 0.2)}


ALLOWED = {"normal": 0.05, "t3": 0.10, "GARCH": 0.15}
WINDOWS = DriftSettings(detectors=(WindowedZ(threshold=4.7), Adwin()))


def monitored(settings: DriftSettings) -> Detect:
    def detect(returns: Array) -> list[int]:
        closes = np.exp(np.cumsum(SCALE * returns))
        return sorted({event.bar - 1 for event in DriftMonitor("X", settings).scan(np.concatenate([[1.0], closes]))})

    return detect


@njit(cache=False)
def known_process(r: Array, nu: float, alpha: float, beta: float, factor: float, threshold: float) -> list[int]:
    """Alarms of the likelihood-ratio CUSUM that knows all: nu is 0 for normal shocks."""
    found = [0][:0]
    total, scale = 0.0, (nu - 2.0) / nu if nu > 0.0 else 1.0  # squared scale of a t of unit variance
    v = w = 1.0
    for i in range(r.shape[0]):
        square, c2 = r[i] * r[i], factor * factor
        before, after = square / (v * scale), square / (c2 * w * scale)
        if nu > 0.0:
            ratio = 0.5 * (nu + 1.0) * (np.log1p(before / nu) - np.log1p(after / nu))
        else:
            ratio = 0.5 * (before - after)
        total += ratio - 0.5 * np.log(c2 * w / v)
        v = 1.0 - alpha - beta + alpha * square + beta * v
        w = 1.0 - alpha - beta + alpha * square / c2 + beta * w
        if total <= 0.0:
            total, w = 0.0, v
        if total > threshold:
            found.append(i)
            total, w = 0.0, v
    return found


def bound(kind: str, factor: float, first_seed: int, bars: int = 1_000_000) -> Detect:
    model = {"normal": (0.0, 0.0, 0.0), "t3": (3.0, 0.0, 0.0), "GARCH": (0.0, 0.10, 0.85)}[kind]
    quiet = NOISE[kind](np.random.default_rng([first_seed, 3]), bars)
    low, high = 1.0, 15.0
    for _ in range(14):
        middle = (low + high) / 2.0
        rate = 1000.0 * len(known_process(quiet, *model, factor, middle)) / bars
        low, high = (middle, high) if rate > ALLOWED[kind] else (low, middle)
    return lambda values: known_process(values, *model, factor, high)


@njit(cache=False)
def known_rates(wins: Array, before: float, after: float, threshold: float) -> list[int]:
    """Alarms of the likelihood-ratio CUSUM that knows the rate before the change and the one after it."""
    found = [0][:0]
    total, won, lost = 0.0, np.log(after / before), np.log((1.0 - after) / (1.0 - before))
    for i in range(wins.shape[0]):
        total = max(0.0, total + (won if wins[i] > 0.0 else lost))
        if total > threshold:
            found.append(i)
            total = 0.0
    return found


def win_rate_bound(before: float, after: float, first_seed: int, trades: int = 1_000_000) -> Detect:
    quiet = (np.random.default_rng([first_seed, 3]).random(trades) < before).astype(float)
    low, high = 1.0, 15.0
    for _ in range(14):
        middle = (low + high) / 2.0
        rate = 1000.0 * len(known_rates(quiet, before, after, middle)) / trades
        low, high = (middle, high) if rate > ALLOWED["normal"] else (low, middle)
    return lambda wins: known_rates(wins, before, after, high)


def ours_win_rate(wins: Array) -> list[int]:
    return [int(i) for i in Channel(DriftSettings().win_rate_detectors).scan(wins)]


def adwin_win_rate(wins: Array) -> list[int]:
    return [int(i) for i in Channel([Adwin(clock=4)]).scan(wins)]


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


def winning(rate: float) -> Callable[[np.random.Generator, int], Array]:
    return lambda rng, n: (rng.random(n) < rate).astype(float)


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
    rows: list[tuple[str, Detect, Detect]] = [
        ("ai-backtrader, default", monitored(DriftSettings()), ours_win_rate),
        ("ai-backtrader, windows and ADWIN (wins: ADWIN)", monitored(WINDOWS), adwin_win_rate),
    ]
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
        quiets = [false_alarms(detect_win_rate, winning(rate), seeds, args.quiet_bars) for rate in QUIET_RATES]
        cells = [f"{change} {delays(detect_win_rate, falling(*rates), seeds)}" for change, rates in WIN_RATES.items()]
        print(f"  wins    {quiets[1]:6.3f}   " + "   ".join(cells), end="   ")
        print("; false alarms at " + ", ".join(f"{r:g}: {q:.3f}" for r, q in zip(QUIET_RATES, quiets, strict=True)))
        print(f"  {time.process_time() - began:.1f} s of CPU")
    if not args.quick:
        print("\nknown process: median delay in bars (missed) at the whole allowance of false alarms")
        for kind, noise in NOISE.items():
            cells = []
            for change, (mean, factor) in CHANGES.items():
                if mean == 0.0:
                    known = bound(kind, factor, args.first_seed)
                    cells.append(f"{change} {delays(known, changed(noise, mean, factor), seeds)}")
            print(f"  {kind:7s} {ALLOWED[kind]:.2f}   " + "   ".join(cells), flush=True)
        cells = [
            f"{change} {delays(win_rate_bound(*rates, args.first_seed), falling(*rates), seeds)}"
            for change, rates in WIN_RATES.items()
        ]
        print(f"  wins    {ALLOWED['normal']:.2f}   " + "   ".join(cells))


if __name__ == "__main__":
    main()
