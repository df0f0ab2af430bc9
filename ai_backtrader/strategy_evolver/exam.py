"""The sealed test: whether a champion's result on bars that nobody has looked at is more than luck.

A champion passes when three things hold together on the test bars, at a level that shares the error rate among all
champions examined (Holm, 1979):

- its mean return is above zero;
- so is what is left of it after its average exposure to the market is taken off (beyond which a rising market explains
  a long position): it knows *when*;
- it beats the noise floor: the Sharpe ratios of random chromosomes that trade the same sides about as often.

The largest of the three p-values is its p-value, so that the rate of false discoveries is at most the level whichever
of the three is the right question for the market at hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.evidence import kurtosis, skewness
from ai_backtrader.market import MarketData
from ai_backtrader.rules import Section, StrategyChromosome, strategy_period
from ai_backtrader.simulation import SimulationResult, Simulator
from ai_backtrader.strategy_evolver.segments import Borders, segment_returns

__all__ = ["Exam", "examine", "mean_p_value", "noise_sharpes"]

Floats = NDArray[np.float64]

FEWEST_TRADES = 10
"""Trades in the test below which nothing passes."""

_POOL = 600  # random chromosomes of each kind of side; the nearest in activity are the floor
_NEAREST = 200
_WARM_UP = 300  # the longest usual indicator


@dataclass(frozen=True, kw_only=True)
class Exam:
    """What the sealed test said of one champion.

    Attributes
    ----------
    p_return, p_timing, p_noise
        Probability of a result at least as good without skill: by its mean return, by its mean return beyond its
        average exposure, by its rank among random chromosomes of the same activity.
    noise_floor
        Sharpe ratio (annual) that the best twentieth of those random chromosomes reached on the test.
    level
        What ``p_value`` had to stay below.
    passed
        Whether it did.
    reason
        One sentence.
    """

    p_return: float
    p_timing: float
    p_noise: float
    noise_floor: float
    level: float
    passed: bool
    reason: str

    @property
    def p_value(self) -> float:
        """The largest of the three."""
        return max(self.p_return, self.p_timing, self.p_noise)


def examine(
    data: MarketData,
    borders: Borders,
    champions: Sequence[StrategyChromosome],
    results: Sequence[SimulationResult],
    *,
    alpha: float,
    options: Mapping[str, Any],
    max_leverage: float,
    rng: np.random.Generator,
) -> list[Exam]:
    """Open the sealed test for some champions.

    Parameters
    ----------
    data
        The whole feed.
    borders
        Where the test begins.
    champions, results
        The chromosomes and their runs on the whole feed.
    alpha
        Probability of at least one false pass among them.
    options
        Keyword arguments of the simulation.
    max_leverage, rng
        Of the random chromosomes of the noise floor.
    """
    if not champions:
        return []
    first, last = borders.test, borders.bars
    found: list[Exam] = []
    floors = noise_sharpes(data, first, champions, options=options, max_leverage=max_leverage, rng=rng)
    for result, (own, noise) in zip(results, floors, strict=True):
        returns = segment_returns(result, first, last)
        trades = int(np.count_nonzero(result.trades["exit_bar"] >= first))
        found.append(
            Exam(
                p_return=mean_p_value(returns),
                p_timing=mean_p_value(returns - _drift(data, result, first, last)),
                p_noise=1.0 if math.isnan(own) else (1 + int(np.count_nonzero(noise >= own))) / (1 + len(noise)),
                noise_floor=float(np.quantile(noise, 0.95)) if len(noise) else math.nan,
                level=0.0,
                passed=trades >= FEWEST_TRADES,  # the level decides below
                reason=f"{trades} trades closed in the test, at least {FEWEST_TRADES} are needed",
            )
        )
    return _judged(found, alpha)


def _judged(exams: list[Exam], alpha: float) -> list[Exam]:
    """Holm's step-down: the best against alpha / k, the next against alpha / (k - 1), until the first that fails."""
    judged = list(exams)
    standing = True
    order = sorted(range(len(exams)), key=lambda place: (not exams[place].passed, exams[place].p_value))
    for rank, place in enumerate(order):
        exam = exams[place]
        level = alpha / (len(exams) - rank)
        standing = standing and exam.passed and exam.p_value <= level
        judged[place] = replace(exam, level=level, passed=standing, reason=_reason(exam, level, standing))
    return judged


def _reason(exam: Exam, level: float, passed: bool) -> str:
    if not exam.passed:
        return exam.reason
    names = {
        "p_return": "the mean return",
        "p_timing": "the mean return beyond the market's",
        "p_noise": "the rank among random strategies",
    }
    weakest = max(names, key=lambda name: getattr(exam, name))
    if passed:
        return f"p = {exam.p_value:.4f} at level {level:.4f}"
    if exam.p_value <= level:
        return f"p = {exam.p_value:.4f}, but a better one failed before it"
    return f"{names[weakest]} could be luck: p = {exam.p_value:.3f} at level {level:.4f}"


def mean_p_value(returns: Floats) -> float:
    """Probability of so high a mean by luck: one-sided, from the Sharpe ratio per bar with its skewness and kurtosis.

    Mertens (2002): the variance of an estimated Sharpe ratio s is (1 - skew s + (kurtosis - 1) / 4 s^2) / (n - 1). 1
    where the mean is not above zero or nothing moved.
    """
    sample = returns[~np.isnan(returns)]
    if len(sample) < 2 or sample.min() == sample.max():
        return 1.0
    ratio = float(np.mean(sample) / np.std(sample, ddof=1))
    if ratio <= 0.0:
        return 1.0
    variance = 1.0 - skewness(sample) * ratio + (kurtosis(sample) - 1.0) / 4.0 * ratio * ratio
    if not variance > 0.0:
        return 1.0
    return 0.5 * math.erfc(ratio * math.sqrt((len(sample) - 1) / variance) / math.sqrt(2.0))


def _drift(data: MarketData, result: SimulationResult, first: int, last: int) -> Floats:
    """What the average position would have earned at each bar: mean share of equity in the market times its return."""
    before = slice(first - 1, last - 1)
    equity = result.equity[before]
    weight = np.where(equity > 0.0, result.position[before] * data.close[before] / equity, 0.0)
    market = data.close[first:last] / data.close[before] - 1.0
    return np.asarray(float(np.mean(weight)) * market)


def noise_sharpes(
    data: MarketData,
    first: int,
    champions: Sequence[StrategyChromosome],
    *,
    options: Mapping[str, Any],
    max_leverage: float,
    rng: np.random.Generator,
) -> list[tuple[float, Floats]]:
    """For each champion its Sharpe ratio and those of random chromosomes of the same sides and activity.

    All are run alike, on the bars from ``first`` on and as many before as indicators need.
    """
    warm_up = max(_WARM_UP, *(strategy_period(champion) for champion in champions))
    part = data.between(data.times[max(0, first - warm_up)], None)
    simulator = Simulator(part, **options)
    pools: dict[tuple[bool, bool], NDArray[np.void]] = {}
    found = []
    own = simulator.run_many(champions)
    for champion, row in zip(champions, own, strict=True):
        sides = (bool(champion.entry_long.genes), bool(champion.entry_short.genes))
        if sides not in pools:
            drawn = (StrategyChromosome.random(rng, max_leverage=max_leverage) for _ in range(_POOL))
            statistics = simulator.run_many([_with_sides(chromosome, *sides) for chromosome in drawn])
            pools[sides] = statistics[(statistics["trades"] > 0) & ~np.isnan(statistics["sharpe"])]
        pool = pools[sides]
        distance = np.abs(np.log1p(pool["trades"]) - math.log1p(row["trades"]))
        distance += np.abs(np.log(pool["exposure"] + 0.01) - math.log(row["exposure"] + 0.01))
        nearest = np.argsort(distance, kind="stable")[:_NEAREST]
        found.append((float(row["sharpe"]), np.asarray(pool["sharpe"][nearest])))
    return found


def _with_sides(chromosome: StrategyChromosome, long: bool, short: bool) -> StrategyChromosome:
    one = chromosome.entry_long if chromosome.entry_long.genes else chromosome.entry_short
    other = chromosome.entry_short if chromosome.entry_short.genes else chromosome.entry_long
    return replace(chromosome, entry_long=one if long else Section(), entry_short=other if short else Section())
