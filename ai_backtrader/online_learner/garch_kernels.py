"""Changes of volatility, found by likelihood ratios under a learnt GARCH(1,1) with Student t shocks.

Compiled like the other detectors: a step over a flat float64 vector, all zeros for a fresh start. ``v`` is a squared
scale throughout: the variance of normal shocks, and that times (nu - 2) / nu for Student's t with nu degrees of
freedom. The recursion is Harvey and Chakravarty's (2008) Beta-t-GARCH: with normal shocks it is GARCH(1,1), and with
heavy tails a single large return cannot raise the forecast by more than (nu + 1) times alpha.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["garch_cusum_restart", "garch_cusum_size", "garch_cusum_step", "garch_fit"]

Array = NDArray[np.float64]

_FACTORS = np.array([2.0, 3.0, 0.5])  # of volatility: one chart for each
_MARGINS = np.array([0.0, 0.0, 1.0])  # on the threshold: a fall costs no money, and may be believed later
_SHOCKS = np.array([3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 1000.0])  # degrees of freedom tried; the last stands for normal
_ALPHAS = np.array([0.02, 0.04, 0.07, 0.10, 0.14, 0.20])
_PERSISTENCES = np.array([0.85, 0.92, 0.96, 0.98, 0.99])  # alpha + beta
_NORMAL_BONUS = 2.0  # in log likelihood: 20 degrees of freedom where there are none would cost power
_CLUSTERED = 2.0  # twice the gain in log likelihood; independent values reach it in about 5 % of samples
_LARGEST = 1e12  # of a squared return over its forecast

_N, _LEARNT, _WATCHING, _LEVEL, _ALPHA, _PERSISTENCE, _NU, _LEARNT_FROM, _FORECAST = range(9)
_CHARTS = 9
_HEADER = _CHARTS + 2 * len(_FACTORS)


def garch_cusum_size(memory: int) -> int:
    """Length of the state: model, a level and a forecast for each chart, squared values to learn from."""
    return _HEADER + memory


@njit(cache=True)
def _filtered(squares: Array, level: float, alpha: float, persistence: float, nu: float) -> tuple[float, float, float]:
    # Log likelihood, mean weighted square over its forecast (1 where the level fits), and the next forecast.
    v, beta, omega = level, persistence - alpha, level * (1.0 - persistence)
    constant = math.lgamma(0.5 * (nu + 1.0)) - math.lgamma(0.5 * nu) - 0.5 * math.log(nu)
    likelihood, weighted = 0.0, 0.0
    for i in range(squares.shape[0]):
        e = min(squares[i] / v, _LARGEST)
        likelihood += constant - 0.5 * math.log(v) - 0.5 * (nu + 1.0) * math.log1p(e / nu)
        weight = (nu + 1.0) * e / (nu + e)
        weighted += weight
        v = omega + (alpha * weight + beta) * v
    return likelihood, weighted / squares.shape[0], v


@njit(cache=True)
def _fitted_level(
    squares: Array, start: float, alpha: float, persistence: float, nu: float, rounds: int, anchor: float
) -> float:
    level = start
    for _ in range(rounds):
        level *= _filtered(squares, level, alpha, persistence, nu)[1]
        # Many values near 0, as of coarse prices, would pull the level of a heavy-tailed density to 0 with them.
        level = min(max(level, 0.01 * anchor), 100.0 * anchor)
    return level


@njit(cache=True)
def _likelihood(squares: Array, level: float, alpha: float, persistence: float, k: int) -> float:
    found = _filtered(squares, level, alpha, persistence, _SHOCKS[k])[0]
    return found + _NORMAL_BONUS if k == _SHOCKS.shape[0] - 1 else found


@njit(cache=True)
def garch_fit(squares: Array) -> tuple[float, float, float, float]:
    """Level, alpha, persistence and degrees of freedom of greatest likelihood on a grid.

    Without evidence of clustering alpha and persistence are 0.

    Parameters
    ----------
    squares
        (n,) squared returns, all greater than 0.
    """
    anchor = 2.0 * float(np.median(squares))
    plain, plain_level, shock = -math.inf, anchor, 0
    for k in range(_SHOCKS.shape[0]):
        level = _fitted_level(squares, anchor, 0.0, 0.0, _SHOCKS[k], 8, anchor)
        found = _likelihood(squares, level, 0.0, 0.0, k)
        if found > plain:
            plain, plain_level, shock = found, level, k
    plain_shock = shock
    best, best_level, alpha, persistence = -math.inf, plain_level, 0.0, 0.0
    for search in range(2):  # the shocks' tails look lighter once clustering is known: look at both in turn
        start = best_level
        for a in _ALPHAS:
            for p in _PERSISTENCES:
                level = _fitted_level(squares, start, a, p, _SHOCKS[shock], 3, anchor)
                found = _likelihood(squares, level, a, p, shock)
                if found > best:
                    best, best_level, alpha, persistence = found, level, a, p
        if search == 0:
            start = best_level
            for k in range(_SHOCKS.shape[0]):
                level = _fitted_level(squares, start, alpha, persistence, _SHOCKS[k], 3, anchor)
                found = _likelihood(squares, level, alpha, persistence, k)
                if found > best:
                    best, best_level, shock = found, level, k
    if 2.0 * (best - plain) < _CLUSTERED:
        return plain_level, 0.0, 0.0, _SHOCKS[plain_shock]
    return best_level, alpha, persistence, _SHOCKS[shock]


@njit(cache=True)
def _watch(params: Array, state: Array, square: float) -> bool:
    level, alpha, persistence, nu = state[_LEVEL], state[_ALPHA], state[_PERSISTENCE], state[_NU]
    beta, omega, v = persistence - alpha, level * (1.0 - persistence), state[_FORECAST]
    e = min(square / v, _LARGEST)
    unchanged = 0.5 * math.log(v) + 0.5 * (nu + 1.0) * math.log1p(e / nu)
    v = omega + (alpha * (nu + 1.0) * e / (nu + e) + beta) * v
    n_charts = _FACTORS.shape[0]
    highest = 0.0
    for j in range(n_charts):
        # The forecast of the chart goes on as if the values since its start were the same process times the factor.
        factor, w = _FACTORS[j] * _FACTORS[j], state[_CHARTS + n_charts + j]
        e = min(square / (factor * w), _LARGEST)
        ratio = unchanged - 0.5 * math.log(factor * w) - 0.5 * (nu + 1.0) * math.log1p(e / nu)
        total = state[_CHARTS + j] + ratio
        w = omega + (alpha * (nu + 1.0) * e / (nu + e) + beta) * w
        if total <= 0.0:
            total, w = 0.0, v
        state[_CHARTS + j], state[_CHARTS + n_charts + j] = total, w
        highest = max(highest, total - _MARGINS[j])
    state[_FORECAST] = v
    scarcity = params[0] / state[_LEARNT_FROM]
    threshold = params[5] + params[6] * scarcity if alpha > 0.0 else params[3] + params[4] * scarcity
    return bool(highest > threshold)


@njit(cache=True)
def _start_charts(state: Array, forecast: float) -> None:
    n_charts = _FACTORS.shape[0]
    state[_FORECAST] = forecast
    state[_CHARTS : _CHARTS + n_charts] = 0.0
    state[_CHARTS + n_charts : _HEADER] = forecast
    state[_WATCHING] = 1.0


@njit(cache=True)
def _test_again(params: Array, state: Array, squares: Array) -> bool:
    # The values that a model was learnt from, by that model: a change among them shows.
    _start_charts(state, state[_LEVEL])
    alarm = False
    for i in range(squares.shape[0]):
        alarm |= _watch(params, state, squares[i])
    return alarm


@njit(cache=True)
def _relearn_level(params: Array, state: Array, squares: Array) -> bool:
    anchor = 2.0 * float(np.median(squares))
    state[_LEVEL] = _fitted_level(squares, anchor, state[_ALPHA], state[_PERSISTENCE], state[_NU], 10, anchor)
    state[_LEARNT_FROM] = squares.shape[0]
    return _test_again(params, state, squares)


@njit(cache=True)
def _learn(params: Array, state: Array, squares: Array) -> bool:
    before = state[_FORECAST]
    level, alpha, persistence, nu = garch_fit(squares)
    state[_LEVEL], state[_ALPHA], state[_PERSISTENCE], state[_NU] = level, alpha, persistence, nu
    state[_LEARNT], state[_LEARNT_FROM] = 1.0, squares.shape[0]
    if squares.shape[0] == int(params[0]):
        return _test_again(params, state, squares)
    # A change may be under way: what the charts have gathered stays.
    v = _filtered(squares, level, alpha, persistence, nu)[2]
    state[_FORECAST] = v
    state[_CHARTS + _FACTORS.shape[0] : _HEADER] *= v / before
    return False


@njit(cache=True)
def garch_cusum_step(params: Array, state: Array, x: float) -> bool:
    """Feed one value; whether a chart exceeds the threshold. Zeros, bars without trade, say nothing of the scale.

    Parameters
    ----------
    params
        Values to learn from, memory, values to learn the level from after an alarm, then threshold and what is added to
        it after ``learn`` values, for independent and for clustered values.
    """
    learn, memory, relearn = int(params[0]), int(params[1]), int(params[2])
    square = min(x * x, 1e300)
    if square == 0.0:
        return False
    alarm = state[_WATCHING] == 1.0 and _watch(params, state, square)
    n = int(state[_N])
    if not alarm and n < memory:
        squares = state[_HEADER : _HEADER + memory]
        squares[n] = square
        n += 1
        state[_N] = n
        if n == relearn and state[_LEARNT] == 1.0:
            alarm = _relearn_level(params, state, squares[:n])
        if alarm:
            return True
        if n == learn or (n == memory and state[_WATCHING] == 1.0):
            alarm = _learn(params, state, squares[:n])
    return alarm


@njit(cache=True)
def garch_cusum_restart(state: Array) -> None:
    """After an alarm: clustering and tails stay known, the level is learnt anew."""
    learnt, alpha, persistence, nu = state[_LEARNT], state[_ALPHA], state[_PERSISTENCE], state[_NU]
    state[:] = 0.0
    state[_LEARNT], state[_ALPHA], state[_PERSISTENCE], state[_NU] = learnt, alpha, persistence, nu
