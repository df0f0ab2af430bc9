"""Searches of 200 trials for the 15 technical parameters: result in and out of sample, beside CPU seconds.

    python benchmarks/parameter_search.py [--data FILE.csv.gz] [--symbol BTC/USDT] [--bars 10000] [--trials 200]
        [--seeds 10] [--plain 1] [--methods gp,et,tpe,random,de,random-cpu,de-cpu]

The objective is the Sharpe ratio of the first bars, compiled; as many bars after them are out of sample. Less than ten
trades are a failed trial. ``gp``, ``et``, ``rf``, ``random`` and ``de`` are ours, ``tpe`` is optuna's, each with the
same number of trials; ``random-cpu`` and ``de-cpu`` evaluate for as long as ``gp`` took, model and all. ``--plain N``:
skopt's own ``gp_minimize`` on N seeds, minutes each, with failures at the worst score seen as it cannot take them.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.market import MarketData
from ai_backtrader.parameter_optimizer import TECHNICAL_SPACE, Integer, Less, Search
from ai_backtrader.parameter_optimizer.technical import TechnicalFamily
from ai_backtrader.simulation import Simulator

FEWEST_TRADES = 10
RUINED = -5.0  # what a plain optimiser is told in place of a failure: below every score here

Score = Callable[[Mapping[str, Any]], float | None]
Found = tuple[Mapping[str, Any], float]


def scorer(data: MarketData) -> Score:
    """Sharpe ratio of the technical rules on some bars; None with too few trades."""
    simulator, family = Simulator(data, commission=0.0005), TechnicalFamily()

    def score(params: Mapping[str, Any]) -> float | None:
        run = simulator.run(family(params))
        sharpe = float(run.metrics["sharpe"])
        return sharpe if np.isfinite(sharpe) and len(run.trades) >= FEWEST_TRADES else None

    return score


def ours(score: Score, trials: int, seed: int, surrogate: str) -> Found:
    search = Search(TECHNICAL_SPACE, n_trials=trials, seed=seed, surrogate=surrogate)
    while not search.done:
        for proposal in search.ask():
            search.tell(proposal.number, score(proposal.params))
    return search.best.params, float(search.best.score or 0.0)


def evolution_until(score: Score, seed: int, seconds: float) -> Found:
    """Differential evolution of populations of 60 until the CPU time is used."""
    from ai_backtrader.parameter_optimizer.design import differential_evolution, first_design

    stop, rng = time.process_time() + seconds, np.random.default_rng(seed)
    units = first_design(TECHNICAL_SPACE, 60, rng)
    losses = np.array([_loss(score(params)) for params in TECHNICAL_SPACE.parameters(units)])
    while time.process_time() < stop:
        # The survivors alone: a trial belongs to the member of its place.
        children = differential_evolution(units, losses, TECHNICAL_SPACE, 60, rng, population=60)
        tried = np.array([_loss(score(params)) for params in TECHNICAL_SPACE.parameters(children)])
        better = tried <= losses
        units, losses = np.where(better[:, None], children, units), np.where(better, tried, losses)
    best = int(np.argmin(losses))
    return TECHNICAL_SPACE.parameters(units[best : best + 1])[0], -float(losses[best])


def random_until(score: Score, seed: int, seconds: float) -> Found:
    stop, rng = time.process_time() + seconds, np.random.default_rng(seed)
    best: Found = ({}, -np.inf)
    while time.process_time() < stop:
        for params in TECHNICAL_SPACE.sample(rng, 100):
            value = score(params)
            if value is not None and value > best[1]:
                best = (params, value)
    return best


def tpe(score: Score, trials: int, seed: int) -> Found:
    """Optuna's TPE; where a constraint binds two parameters, the second's range begins above the first."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    above = {c.high: c for c in TECHNICAL_SPACE.constraints if isinstance(c, Less)}

    def objective(trial: Any) -> float:
        params: dict[str, Any] = {}
        for dimension in TECHNICAL_SPACE.dimensions:
            low: float = dimension.low  # type: ignore[union-attr]  # this space has only numbers
            bound = above.get(dimension.name)
            if bound is not None and bound.low in params:
                low = max(low, params[bound.low] + bound.gap)
            if isinstance(dimension, Integer):
                params[dimension.name] = trial.suggest_int(dimension.name, int(low), dimension.high, log=dimension.log)
            else:
                params[dimension.name] = trial.suggest_float(dimension.name, low, dimension.high)  # type: ignore[union-attr]  # as above
        if not TECHNICAL_SPACE.contains(params):  # oversold is drawn after overbought
            return float("nan")
        value = score(params)
        return float("nan") if value is None else value

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=trials)
    return study.best_params, study.best_value


def plain(score: Score, trials: int, seed: int) -> Found:
    from skopt import gp_minimize, space

    dimensions = [
        space.Integer(d.low, d.high, name=d.name) if isinstance(d, Integer) else space.Real(d.low, d.high, name=d.name)  # type: ignore[union-attr]  # as above
        for d in TECHNICAL_SPACE.dimensions
    ]

    def loss(values: list[Any]) -> float:
        params = dict(zip(TECHNICAL_SPACE.names, values, strict=True))
        value = score(params) if TECHNICAL_SPACE.contains(params) else None
        return -RUINED if value is None else -value

    found = gp_minimize(loss, dimensions, n_calls=trials, random_state=seed)
    return dict(zip(TECHNICAL_SPACE.names, found.x, strict=True)), -float(found.fun)


def _loss(value: float | None) -> float:
    return np.inf if value is None else -value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--symbol", default="BTC/USDT")
    parser.add_argument("--bars", type=int, default=10_000)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--plain", type=int, default=0)
    parser.add_argument("--methods", default="gp,et,tpe,random,de,random-cpu,de-cpu")
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # optuna's and skopt's, of libraries newer than they
    data = load_sample() if given.data is None else MarketData.from_csv(given.data, symbol=given.symbol)
    bars = min(given.bars, len(data) // 2)
    score, unseen = scorer(data.head(bars)), scorer(_rows(data, bars, 2 * bars))
    for params in TECHNICAL_SPACE.sample(np.random.default_rng(0), 20):  # kernels load, series are made
        score(params)
    start = time.process_time()
    for params in TECHNICAL_SPACE.sample(np.random.default_rng(1), 200):
        score(params)
    print(f"{data.symbol}, {bars} bars in sample, one evaluation {(time.process_time() - start) * 5:.2f} ms")
    print(f"{'method':12} {'in sample':>9} {'median':>7} {'worst':>7} {'best':>7} {'out of sample':>13} {'CPU s':>7}")
    took = 0.0
    methods = given.methods.split(",") + ["gp_minimize"] * (given.plain > 0)
    for method in methods:
        found, spent = [], []
        for seed in range(given.plain if method == "gp_minimize" else given.seeds):
            start = time.process_time()
            if method == "gp_minimize":
                found.append(plain(score, given.trials, seed))
            elif method == "tpe":
                found.append(tpe(score, given.trials, seed))
            elif method == "random-cpu":
                found.append(random_until(score, seed, took))
            elif method == "de-cpu":
                found.append(evolution_until(score, seed, took))
            else:
                found.append(ours(score, given.trials, seed, method))
            spent.append(time.process_time() - start)
        took = float(np.mean(spent)) if method == "gp" else took
        inside = [value for _, value in found]
        outside = [value for params, _ in found if (value := unseen(params)) is not None]
        print(
            f"{method:12} {np.mean(inside):9.3f} {np.median(inside):7.3f} {min(inside):7.3f} {max(inside):7.3f} "
            f"{np.mean(outside) if outside else np.nan:13.3f} {np.mean(spent):7.1f}",
            flush=True,
        )


def _rows(data: MarketData, first: int, last: int) -> MarketData:
    return MarketData.from_frame(data.to_frame().iloc[first:last], symbol=data.symbol)


if __name__ == "__main__":
    main()
