"""Performance metrics on plain arrays: returns, equity, trades.

Conventions, the same in every function:

- A **return** is a simple return per bar as a fraction (0.01 is 1 %). NaN marks a bar without a return: it is dropped
  before any moment or quantile is taken; only :func:`cagr` counts it as time that passed.
- **bars_per_year** is always the caller's: 252 for daily stocks, 8766 for hourly bars around the clock, or measured by
  :func:`bars_per_year`. With ``bars_per_year=1`` a ratio is not annualised. NaN (unknown) makes the result NaN.
- **risk_free** is an annual effective rate and becomes ``(1 + risk_free) ** (1 / bars_per_year) - 1`` per bar.
- Standard deviations of returns are of the sample (divisor n - 1).
- A **drawdown** is positive: 0.25 is a quarter below the peak.
- What is undefined is NaN: no observation, one observation where a deviation is needed, a ratio over zero deviation.

The figures equal those of empyrical-reloaded except in convention, where its choice would mislead in a report: its
``risk_free`` and ``required_return`` are per bar, its drawdowns are negative, a Sharpe or Sortino ratio over zero
deviation is infinite there (NaN here), and the CAGR of an account that lost everything or more is undefined there
(-1 here).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ai_backtrader.checks import Faults

__all__ = [
    "annual_volatility",
    "bar_returns",
    "bars_per_year",
    "cagr",
    "calmar_ratio",
    "compound_rate",
    "downside_deviation",
    "drawdowns",
    "expectancy",
    "expected_shortfall",
    "exposure",
    "kelly_fraction",
    "kurtosis",
    "longest_run",
    "max_drawdown",
    "max_drawdown_bars",
    "omega_ratio",
    "profit_factor",
    "sharpe_ratio",
    "skewness",
    "sortino_ratio",
    "system_quality_number",
    "tail_ratio",
    "total_return",
    "turnover",
    "value_at_risk",
    "win_rate",
]

_YEAR = np.timedelta64(31_557_600, "s")  # 365.25 days


def _vector(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    faults = Faults(name)
    if array.ndim != 1:
        faults.add(f"expected one dimension, got shape {array.shape}")
    elif np.isinf(array).any():
        faults.add(f"expected finite numbers or NaN, got {array[np.isinf(array)][0]} at position {_first_inf(array)}")
    faults.raise_if_any()
    return array


def _first_inf(array: NDArray[np.float64]) -> int:
    return int(np.flatnonzero(np.isinf(array))[0])


def _present(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = _vector(name, values)
    return array[~np.isnan(array)]


def _annual(bars_per_year: float) -> float:
    if not math.isnan(bars_per_year):
        faults = Faults("metrics")
        faults.number("bars_per_year", bars_per_year, above=0.0)
        faults.raise_if_any()
    return float(bars_per_year)


def _per_bar(annual_rate: float, bars_per_year: float) -> float:
    faults = Faults("metrics")
    faults.number("risk_free", annual_rate, above=-1.0)
    faults.raise_if_any()
    return math.expm1(math.log1p(annual_rate) / bars_per_year)


def _deviation(sample: NDArray[np.float64]) -> float:
    # The mean of equal numbers can miss them by the last bit; the residue would turn an undefined ratio into 1e15.
    if sample.size < 2:
        return math.nan
    return 0.0 if sample.min() == sample.max() else float(np.std(sample, ddof=1))


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else math.nan


# ---------------------------------------------------------------------------------------------------- time and returns


def bars_per_year(times: ArrayLike) -> float:
    """Bars a year of 365.25 days holds, measured from the bars' own times, sessions and holidays included.

    Parameters
    ----------
    times
        Shape (n,), datetime64, ascending.

    Returns
    -------
    float
        ``(n - 1) / (last - first)`` in bars per year; NaN with fewer than two bars or no time between them.

    Examples
    --------
    >>> import numpy as np
    >>> bars_per_year(np.arange("2024-01-01T00", "2024-01-03T00", dtype="datetime64[h]"))
    8766.0
    """
    stamps = np.asarray(times, dtype="datetime64[ns]")
    if stamps.size < 2 or stamps[-1] <= stamps[0]:
        return math.nan
    return float((stamps.size - 1) / ((stamps[-1] - stamps[0]) / _YEAR))


def bar_returns(equity: ArrayLike, *, start: float | None = None) -> NDArray[np.float64]:
    """Return of each bar from the account's value at each bar's close.

    Parameters
    ----------
    equity
        Shape (n,), money.
    start
        Value before the first bar. None: the first value is the start.

    Returns
    -------
    ndarray
        Shape (n,) when ``start`` is given, else (n - 1,). NaN after a bar that closed at zero or below: from there a
        return has no meaning.
    """
    values = _vector("equity", equity)
    if start is not None:
        values = np.concatenate(([float(start)], values))
    before, after = values[:-1], values[1:]
    returns = np.full(before.size, np.nan)
    np.divide(after, before, out=returns, where=before > 0)
    return returns - 1.0


def total_return(returns: ArrayLike) -> float:
    """Compounded return of all bars, as a fraction; NaN without observations."""
    sample = _present("returns", returns)
    return float(np.prod(1.0 + sample) - 1.0) if sample.size else math.nan


def cagr(returns: ArrayLike, *, bars_per_year: float) -> float:
    """Compound annual growth rate, as a fraction.

    ``(1 + total_return) ** (bars_per_year / n) - 1``, where n counts every bar, also those without a return. -1 when
    nothing or less is left; NaN without observations.
    """
    growth = 1.0 + total_return(returns)
    return math.nan if math.isnan(growth) else compound_rate(growth, years=np.size(returns) / _annual(bars_per_year))


def compound_rate(growth: float, *, years: float) -> float:
    """Rate a year, as a fraction, that turns 1 into ``growth`` in ``years``; -1 where nothing or less is left.

    Infinite beyond the float range (3 % in one minute is e**15,000 a year); NaN where either is NaN or years is 0.
    """
    if math.isnan(growth) or math.isnan(years) or years <= 0.0:
        return math.nan
    if growth <= 0.0:
        return -1.0
    exponent = math.log(growth) / years
    return math.expm1(exponent) if exponent < 700.0 else math.inf


def annual_volatility(returns: ArrayLike, *, bars_per_year: float) -> float:
    """Standard deviation of the returns times ``sqrt(bars_per_year)``, as a fraction.

    0 when all returns are equal, NaN with fewer than two.
    """
    return _deviation(_present("returns", returns)) * math.sqrt(_annual(bars_per_year))


def downside_deviation(returns: ArrayLike, *, bars_per_year: float, risk_free: float = 0.0) -> float:
    """Annualised root mean square of the shortfalls below the risk-free return, over **all** bars.

    The divisor is n and bars above the target count as zero (Sortino and Price, 1994). NaN without observations.
    """
    annual = _annual(bars_per_year)
    excess = _present("returns", returns) - _per_bar(risk_free, annual)
    if not excess.size:
        return math.nan
    return math.sqrt(float(np.mean(np.square(np.minimum(excess, 0.0)))) * annual)


def sharpe_ratio(returns: ArrayLike, *, bars_per_year: float, risk_free: float = 0.0) -> float:
    """Mean excess return over its standard deviation, times ``sqrt(bars_per_year)`` (Sharpe, 1994).

    Annualising by the square root assumes returns without serial correlation. NaN with fewer than two observations or
    without deviation.

    Examples
    --------
    >>> round(sharpe_ratio([0.01, -0.005, 0.02, 0.0], bars_per_year=252), 4)
    8.949
    """
    annual = _annual(bars_per_year)
    excess = _present("returns", returns) - _per_bar(risk_free, annual)
    if excess.size < 2:
        return math.nan
    return _ratio(float(np.mean(excess)), _deviation(excess)) * math.sqrt(annual)


def sortino_ratio(returns: ArrayLike, *, bars_per_year: float, risk_free: float = 0.0) -> float:
    """Annual mean excess return over :func:`downside_deviation`.

    NaN with fewer than two observations or when no bar fell short.
    """
    annual = _annual(bars_per_year)
    excess = _present("returns", returns) - _per_bar(risk_free, annual)
    if excess.size < 2:
        return math.nan
    below = downside_deviation(returns, bars_per_year=annual, risk_free=risk_free)
    return _ratio(float(np.mean(excess)) * annual, below)


def calmar_ratio(returns: ArrayLike, *, bars_per_year: float) -> float:
    """:func:`cagr` over the largest drawdown of the compounded returns; NaN without a drawdown.

    Over the whole sample, not over Young's last 36 months.
    """
    sample = np.nan_to_num(_vector("returns", returns), nan=0.0)
    growth = np.concatenate(([1.0], np.cumprod(1.0 + sample)))
    return _ratio(cagr(returns, bars_per_year=bars_per_year), max_drawdown(growth))


def omega_ratio(returns: ArrayLike, *, bars_per_year: float, risk_free: float = 0.0) -> float:
    """Sum of the gains over the sum of the shortfalls around the risk-free return (Keating and Shadwick, 2002).

    NaN with fewer than two observations or when no bar fell short.
    """
    excess = _present("returns", returns) - _per_bar(risk_free, _annual(bars_per_year))
    if excess.size < 2:
        return math.nan
    return _ratio(float(excess[excess > 0].sum()), -float(excess[excess < 0].sum()))


# ---------------------------------------------------------------------------------------------------- drawdown and tail


def drawdowns(equity: ArrayLike) -> NDArray[np.float64]:
    """Distance below the highest value so far, as a positive fraction of it, shape (n,).

    Above 1 where the account owes money; 0 before the first positive value.
    """
    values = _vector("equity", equity)
    peak = np.maximum.accumulate(values) if values.size else values
    depth = np.zeros(values.size)
    np.divide(peak - values, peak, out=depth, where=peak > 0)
    return depth


def max_drawdown(equity: ArrayLike) -> float:
    """Largest of the :func:`drawdowns`, as a positive fraction; NaN without observations."""
    depth = drawdowns(equity)
    return float(np.max(depth)) if depth.size else math.nan


def max_drawdown_bars(equity: ArrayLike) -> int:
    """Longest run of bars below the highest value so far (an open one at the end counts); 0 without any."""
    return longest_run(drawdowns(equity) > 0)


def longest_run(flags: NDArray[np.bool_]) -> int:
    """Length of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return int(np.max(edges[1::2] - edges[::2])) if edges.size else 0


def value_at_risk(returns: ArrayLike, *, level: float = 0.05) -> float:
    """Historical value at risk: the ``level`` quantile of the bar returns (a loss is negative); NaN without any."""
    sample = _present("returns", returns)
    return float(np.quantile(sample, level)) if sample.size else math.nan


def expected_shortfall(returns: ArrayLike, *, level: float = 0.05) -> float:
    """Mean of the worst ``1 + floor(level * (n - 1))`` bar returns (conditional value at risk); NaN without any."""
    sample = _present("returns", returns)
    if not sample.size:
        return math.nan
    worst = int((sample.size - 1) * level)
    return float(np.mean(np.partition(sample, worst)[: worst + 1]))


def tail_ratio(returns: ArrayLike) -> float:
    """95 % quantile over the 5 % quantile, both absolute; NaN without observations or over a quantile of zero."""
    sample = _present("returns", returns)
    if not sample.size:
        return math.nan
    low, high = np.quantile(sample, (0.05, 0.95))
    return _ratio(abs(float(high)), abs(float(low)))


def _standardised_moment(returns: ArrayLike, power: int) -> float:
    sample = _present("returns", returns)
    if not sample.size or sample.min() == sample.max():
        return math.nan
    centred = sample - np.mean(sample)
    return float(np.mean(centred**power) / np.mean(np.square(centred)) ** (power / 2))


def skewness(returns: ArrayLike) -> float:
    """Third standardised moment, with population moments (divisor n); NaN when all are equal."""
    return _standardised_moment(returns, 3)


def kurtosis(returns: ArrayLike) -> float:
    """Fourth standardised moment, **plain** (3 for the normal), divisor n; NaN when all are equal."""
    return _standardised_moment(returns, 4)


# ------------------------------------------------------------------------------------------------- trades and positions


def win_rate(profits: ArrayLike) -> float:
    """Share of trades with a profit above zero; NaN without trades. A trade at zero is no win."""
    sample = _present("profits", profits)
    return float(np.mean(sample > 0)) if sample.size else math.nan


def profit_factor(profits: ArrayLike) -> float:
    """Sum of the profits over the sum of the losses; infinite with profits alone, NaN with neither."""
    sample = _present("profits", profits)
    gain, loss = float(sample[sample > 0].sum()), -float(sample[sample < 0].sum())
    if loss > 0:
        return gain / loss
    return math.inf if gain > 0 else math.nan


def expectancy(profits: ArrayLike) -> float:
    """Mean result of a trade, in the unit of ``profits``; NaN without trades.

    Equal to ``win_rate * mean_win - loss_rate * mean_loss``.
    """
    sample = _present("profits", profits)
    return float(np.mean(sample)) if sample.size else math.nan


def system_quality_number(profits: ArrayLike) -> float:
    """Van Tharp's SQN: ``sqrt(n) * mean / deviation`` of the trade results, with divisor n as Backtrader's SQN.

    NaN with fewer than two trades (Backtrader: 0) or equal results (Backtrader: None). Reliable from 30 trades on.
    """
    sample = _present("profits", profits)
    if sample.size < 2 or sample.min() == sample.max():
        return math.nan
    return math.sqrt(sample.size) * float(np.mean(sample)) / float(np.std(sample))


def kelly_fraction(profits: ArrayLike) -> float:
    """Kelly's stake ``w - (1 - w) / r``: win rate ``w``, mean win over mean loss ``r`` (Kelly, 1956).

    Negative where there is no edge. It is the stake of an estimate as if that were the truth, so it is an upper bound,
    not advice. NaN without a win or without a loss, because the odds are then unknown. Trades at zero change nothing.
    """
    sample = _present("profits", profits)
    wins, losses = sample[sample > 0], sample[sample < 0]
    if not wins.size or not losses.size:
        return math.nan
    rate = wins.size / (wins.size + losses.size)
    return rate - (1.0 - rate) / float(np.mean(wins) / -np.mean(losses))


def exposure(in_position: ArrayLike) -> float:
    """Share of bars with a position, from a flag (or size) a bar; NaN without bars."""
    flags = np.asarray(in_position)
    return float(np.count_nonzero(flags) / flags.size) if flags.size else math.nan


def turnover(traded_notional: float, equity: ArrayLike, *, bars_per_year: float) -> float:
    """Traded notional a year as a multiple of the mean equity; one round trip at 1x a year is 2.

    NaN without bars or where the mean equity is not positive.
    """
    values = _present("equity", equity)
    if not values.size:
        return math.nan
    return _ratio(float(traded_notional), float(np.mean(values))) * _annual(bars_per_year) / values.size
