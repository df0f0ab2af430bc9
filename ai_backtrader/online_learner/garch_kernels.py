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
# On the threshold, where values are independent and where they cluster. A trebling of independent values shows soon
# anyway, a doubling in clusters never does, and a fall costs no money.
_MARGINS = np.array([[0.0, 0.5, 1.5], [0.5, 0.0, 2.0]])
_SHOCKS = np.array([3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 1000.0])  # degrees of freedom tried; the last stands for normal
_ALPHAS = np.array([0.02, 0.04, 0.07, 0.10, 0.14, 0.20])
_PERSISTENCES = np.array([0.85, 0.92, 0.96, 0.98, 0.99])  # alpha + beta
_LIGHT_TAILED = 0.7  # on the threshold, where shocks are normal: a change shows within ten values, and half of one more
_NORMAL_BONUS = 2.0  # in log likelihood: 20 degrees of freedom where there are none would cost power
_CLUSTERED = 2.0  # twice the gain in log likelihood; independent values reach it in about 5 % of samples
_LARGEST = 1e12  # of a squared return over its forecast
_DISPROVEN = math.log(20.0)

_N, _LEARNT, _WATCHING, _LEVEL, _ALPHA, _PERSISTENCE, _NU, _LEARNT_FROM, _FORECAST = range(9)
# Of an alarm on trial: squared factor, forecast, evidence against it; and whether the model has been acquitted before.
_CLAIM, _CLAIM_FORECAST, _DOUBT, _ACQUITTED = range(9, 13)
_CHARTS = 13
_HEADER = _CHARTS + 2 * len(_FACTORS)


def garch_cusum_size(memory: int) -> int:
    """Length of the state: model, a level and a forecast for each chart, squared values to learn from."""
    return _HEADER + memory


@njit(cache=True)
def _weighted(squares: Array, levels: Array, alphas: Array, persistences: Array, nus: Array) -> tuple[Array, Array]:
    # For each of several models at once, which the processor takes side by side: the mean weighted square over its
    # forecast (1 where the level fits), and the next forecast.
    v, total = levels.copy(), np.zeros_like(levels)
    omega, beta, gain = levels * (1.0 - persistences), persistences - alphas, alphas * (nus + 1.0)
    for i in range(squares.shape[0]):
        square = squares[i]
        for j in range(v.shape[0]):
            share = square / (nus[j] * v[j] + square)
            total[j] += share
            v[j] = omega[j] + (gain[j] * share + beta[j]) * v[j]
    return (nus + 1.0) * total / squares.shape[0], v


@njit(cache=True)
def _likelihoods(squares: Array, levels: Array, alphas: Array, persistences: Array, nus: Array) -> Array:
    # Log likelihoods, with the bonus of normal shocks.
    v, logs = levels.copy(), np.zeros_like(levels)
    tails, spread = np.ones_like(levels), np.ones_like(levels)
    omega, beta, gain = levels * (1.0 - persistences), persistences - alphas, alphas * (nus + 1.0)
    for i in range(squares.shape[0]):
        square = squares[i]
        for j in range(v.shape[0]):
            whole = nus[j] * v[j] + square
            # One logarithm of a product of eight instead of eight logarithms. The limit keeps the product finite.
            tails[j] *= min(whole / (nus[j] * v[j]), _LARGEST)
            spread[j] *= v[j] / levels[j]
            v[j] = omega[j] + (gain[j] * square / whole + beta[j]) * v[j]
        if i % 8 == 7:
            for j in range(v.shape[0]):
                logs[j] += (nus[j] + 1.0) * math.log(tails[j]) + math.log(spread[j])
                tails[j] = spread[j] = 1.0
    found = np.empty_like(levels)
    for j in range(v.shape[0]):
        logs[j] += (nus[j] + 1.0) * math.log(tails[j]) + math.log(spread[j])
        constant = math.lgamma(0.5 * (nus[j] + 1.0)) - math.lgamma(0.5 * nus[j]) - 0.5 * math.log(nus[j] * levels[j])
        found[j] = squares.shape[0] * constant - 0.5 * logs[j]
        if nus[j] == _SHOCKS[-1]:
            found[j] += _NORMAL_BONUS
    return found


@njit(cache=True)
def _fitted_levels(
    squares: Array, start: float, alphas: Array, persistences: Array, nus: Array, rounds: int, anchor: float
) -> Array:
    levels = np.full_like(alphas, start)
    for _ in range(rounds):
        levels *= _weighted(squares, levels, alphas, persistences, nus)[0]
        # Many values near 0, as of coarse prices, would pull the level of a heavy-tailed density to 0 with them.
        levels = np.minimum(np.maximum(levels, 0.01 * anchor), 100.0 * anchor)
    return levels


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
    n_shocks, n_persistences = _SHOCKS.shape[0], _PERSISTENCES.shape[0]
    none = np.zeros(n_shocks)
    levels = _fitted_levels(squares, anchor, none, none, _SHOCKS, 8, anchor)
    likelihoods = _likelihoods(squares, levels, none, none, _SHOCKS)
    plain_shock = int(np.argmax(likelihoods))
    plain, plain_level = likelihoods[plain_shock], levels[plain_shock]
    alphas = np.repeat(_ALPHAS, n_persistences)
    persistences = np.empty_like(alphas)
    for i in range(alphas.shape[0]):
        persistences[i] = _PERSISTENCES[i % n_persistences]
    best, best_level, alpha, persistence, shock = -math.inf, plain_level, 0.0, 0.0, plain_shock
    for search in range(2):  # the shocks' tails look lighter once clustering is known: look at both in turn
        nus = np.full_like(alphas, _SHOCKS[shock])
        levels = _fitted_levels(squares, best_level, alphas, persistences, nus, 3, anchor)
        likelihoods = _likelihoods(squares, levels, alphas, persistences, nus)
        i = int(np.argmax(likelihoods))
        if likelihoods[i] > best:
            best, best_level, alpha, persistence = likelihoods[i], levels[i], alphas[i], persistences[i]
        if search == 0:
            one, other = np.full(n_shocks, alpha), np.full(n_shocks, persistence)
            levels = _fitted_levels(squares, best_level, one, other, _SHOCKS, 3, anchor)
            likelihoods = _likelihoods(squares, levels, one, other, _SHOCKS)
            i = int(np.argmax(likelihoods))
            if likelihoods[i] > best:
                best, best_level, shock = likelihoods[i], levels[i], i
    if 2.0 * (best - plain) < _CLUSTERED:
        return plain_level, 0.0, 0.0, _SHOCKS[plain_shock]
    return best_level, alpha, persistence, _SHOCKS[shock]


@njit(cache=True)
def _known(state: Array) -> tuple[Array, Array, Array]:
    # Clustering, persistence and tails of the model, as the fit takes them.
    return state[_ALPHA : _ALPHA + 1], state[_PERSISTENCE : _PERSISTENCE + 1], state[_NU : _NU + 1]


@njit(cache=True)
def _surprise(v: float, nu: float, square: float) -> float:
    # Minus the log likelihood of one value, less what is the same for every forecast.
    return 0.5 * math.log(v) + 0.5 * (nu + 1.0) * math.log1p(min(square / v, _LARGEST) / nu)


@njit(cache=True)
def _next_forecast(state: Array, v: float, level: float, square: float) -> float:
    alpha, persistence, nu = state[_ALPHA], state[_PERSISTENCE], state[_NU]
    share = square / (nu * v + square)
    return float(level * (1.0 - persistence) + (alpha * (nu + 1.0) * share + persistence - alpha) * v)


@njit(cache=True)
def _watch(params: Array, state: Array, square: float) -> bool:
    level, nu, v = state[_LEVEL], state[_NU], state[_FORECAST]
    unchanged = _surprise(v, nu, square)
    v = _next_forecast(state, v, level, square)
    n_charts = _FACTORS.shape[0]
    highest, claim, clustered = 0.0, 0, 1 if state[_ALPHA] > 0.0 else 0
    for j in range(n_charts):
        # The forecast of the chart goes on as if the values since its start were the same process times the factor.
        factor, w = _FACTORS[j] * _FACTORS[j], state[_CHARTS + n_charts + j]
        total = state[_CHARTS + j] + unchanged - _surprise(factor * w, nu, square)
        w = _next_forecast(state, w, level, square / factor)
        if total <= 0.0:
            total, w = 0.0, v
        state[_CHARTS + j], state[_CHARTS + n_charts + j] = total, w
        above = total - _MARGINS[clustered, j]
        if above > highest:
            highest, claim = above, j
    state[_FORECAST] = v
    scarcity = params[0] / state[_LEARNT_FROM]
    if state[_ALPHA] > 0.0:
        threshold = params[5] + params[6] * scarcity
    else:
        threshold = params[3] + params[4] * scarcity + (_LIGHT_TAILED if nu == _SHOCKS[-1] else 0.0)
    if not highest > threshold:
        return False
    if state[_ACQUITTED] == 0.0:
        state[_CLAIM] = _FACTORS[claim] * _FACTORS[claim]
        state[_CLAIM_FORECAST] = state[_CHARTS + n_charts + claim]
    return True


@njit(cache=True)
def _doubt(state: Array, square: float) -> None:
    # An alarm is on trial until the level is learnt anew. The odds for it fall twentyfold by chance alone in at most
    # one of twenty right ones (Ville's inequality); then the old model stands, and is watched by at once. Once: a
    # model that gives a second false alarm is a wrong one, and is learnt anew.
    factor, nu = state[_CLAIM], state[_NU]
    v, w = state[_FORECAST], state[_CLAIM_FORECAST]
    state[_DOUBT] += _surprise(factor * w, nu, square) - _surprise(v, nu, square)
    state[_FORECAST] = _next_forecast(state, v, state[_LEVEL], square)
    state[_CLAIM_FORECAST] = _next_forecast(state, w, state[_LEVEL], square / factor)
    if state[_DOUBT] > _DISPROVEN:
        _start_charts(state, state[_FORECAST])
        state[_ACQUITTED] = 1.0


@njit(cache=True)
def _start_charts(state: Array, forecast: float) -> None:
    n_charts = _FACTORS.shape[0]
    state[_FORECAST] = forecast
    state[_CHARTS : _CHARTS + n_charts] = 0.0
    state[_CHARTS + n_charts : _HEADER] = forecast
    state[_WATCHING] = 1.0
    state[_CLAIM] = state[_DOUBT] = 0.0


@njit(cache=True)
def _test_again(params: Array, state: Array, squares: Array) -> bool:
    # The values that a model was learnt from, by that model: a change among them shows.
    _start_charts(state, state[_LEVEL])
    alarm = False
    for i in range(squares.shape[0]):
        alarm |= _watch(params, state, squares[i])
    state[_CLAIM] = 0.0  # the model had the change in it: nothing to go back to
    return alarm


@njit(cache=True)
def _relearn_level(params: Array, state: Array, squares: Array) -> bool:
    anchor = 2.0 * float(np.median(squares))
    state[_LEVEL] = _fitted_levels(squares, anchor, *_known(state), 10, anchor)[0]
    state[_LEARNT_FROM] = squares.shape[0]
    return _test_again(params, state, squares)


@njit(cache=True)
def _learn(params: Array, state: Array, squares: Array) -> bool:
    before = state[_FORECAST]
    level, alpha, persistence, nu = garch_fit(squares)
    state[_LEVEL], state[_ALPHA], state[_PERSISTENCE], state[_NU] = level, alpha, persistence, nu
    state[_LEARNT], state[_LEARNT_FROM], state[_ACQUITTED] = 1.0, squares.shape[0], 0.0
    if squares.shape[0] == int(params[0]):
        return _test_again(params, state, squares)
    # A change may be under way: what the charts have gathered stays.
    v = _weighted(squares, state[_LEVEL : _LEVEL + 1], *_known(state))[1][0]
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
    if state[_CLAIM] > 0.0 and not alarm:
        _doubt(state, square)
    n = int(state[_N])
    if not alarm and n < memory:
        squares = state[_HEADER : _HEADER + memory]
        squares[n] = square
        n += 1
        state[_N] = n
        if n == relearn and state[_LEARNT] == 1.0 and state[_WATCHING] == 0.0:
            alarm = _relearn_level(params, state, squares[:n])
        if alarm:
            return True
        # Anew whenever the values have doubled; a model once acquitted is worth no more than as many values of now.
        if n == memory or n >= max(learn, (2.0 - state[_ACQUITTED]) * state[_LEARNT_FROM]):
            alarm = _learn(params, state, squares[:n])
    return alarm


@njit(cache=True)
def garch_cusum_restart(state: Array) -> None:
    """After an alarm: clustering and tails stay known, the level is learnt anew unless the alarm proves false."""
    state[_N] = state[_WATCHING] = state[_DOUBT] = 0.0
