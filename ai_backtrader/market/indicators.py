"""Indicators on arrays, in Backtrader's own arithmetic: the same bits as ``backtrader.indicators``.

Arrays in, arrays out, one value a bar, float64. A value at bar ``t`` uses bars up to ``t`` alone. Before its first
value an indicator is NaN. Leading NaN of an input are the warm-up of the indicator that made it: they are skipped, so
indicators chain as Backtrader's lines do. NaN later in an input make NaN of every window that holds them.

First values. :func:`min_period` gives, for inputs without warm-up, two counts of bars, because Backtrader uses two:
``line``, after which the array has values (its first value lies at index ``line - 1``), which is what an indicator
built on the line waits for; and ``indicator``, which is what a strategy that holds the indicator waits for. They
differ for the MACD line alone, whose indicator also holds the signal.

Where Backtrader raises ``ZeroDivisionError``, these arrays have a value: RSI is that of ``RSI_Safe`` (50 without
movement, 100 without falls); +DI, -DI and ADX's DX are 0 without movement; the rate of change from zero is NaN.

Seeding (Backtrader 1.9.78): SMA is the correctly rounded window sum over n; EMA (2/(n+1)) and SMMA (1/n) start as the
SMA of their first n inputs; the true range starts at the second bar; the standard deviation is the population's, by
means of squares.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.market import indicator_kernels as kernels

__all__ = [
    "Bollinger",
    "DirectionalMovement",
    "Macd",
    "MinPeriod",
    "adx",
    "atr",
    "bollinger",
    "cross_down",
    "cross_up",
    "directional_movement",
    "ema",
    "first_valid",
    "highest",
    "line_period_rule",
    "lowest",
    "macd",
    "min_period",
    "minus_di",
    "momentum",
    "non_zero_difference",
    "plus_di",
    "rate_of_change",
    "rsi",
    "sma",
    "smma",
    "squares",
    "std_dev",
    "true_range",
    "volume_ratio",
]

Floats = NDArray[np.float64]


class Bollinger(NamedTuple):
    """Bollinger bands, in the unit of the input."""

    middle: Floats
    upper: Floats
    lower: Floats


class DirectionalMovement(NamedTuple):
    """Wilder's directional movement, each 0 to 100."""

    plus_di: Floats
    minus_di: Floats
    adx: Floats


class Macd(NamedTuple):
    """Moving average convergence divergence, in the unit of the input."""

    line: Floats
    signal: Floats
    histogram: Floats


class MinPeriod(NamedTuple):
    """Bars until the line has a value, and until a strategy that holds the indicator is called."""

    line: int
    indicator: int


# How many periods each has, and the bars until its first value.
_LINE_PERIODS: dict[str, tuple[int, Callable[..., int]]] = {
    **dict.fromkeys(
        ("sma", "ema", "smma", "bollinger", "std_dev", "highest", "lowest", "volume_ratio"), (1, lambda n: n)
    ),
    **dict.fromkeys(("rsi", "atr", "plus_di", "minus_di", "momentum", "rate_of_change"), (1, lambda n: n + 1)),
    "true_range": (0, lambda: 2),
    "adx": (1, lambda n: 2 * n),
    "macd_line": (3, lambda fast, slow, signal: max(fast, slow)),
    "macd_signal": (3, lambda fast, slow, signal: max(fast, slow) + signal - 1),
    "macd_histogram": (3, lambda fast, slow, signal: max(fast, slow) + signal - 1),
}


def min_period(name: str, *periods: int) -> MinPeriod:
    """Bars until the first value of an indicator on prices.

    Parameters
    ----------
    name
        A function of this module; ``macd_line``, ``macd_signal`` or ``macd_histogram`` for the MACD.
    *periods
        Its periods, in the function's order.

    Returns
    -------
    MinPeriod
        ``line``: the first value lies at index ``line - 1``. ``indicator``: a Backtrader strategy that holds the
        indicator is first called with that many bars.

    Raises
    ------
    SettingsError
        If the name is unknown, or a period is not a whole number of at least 1, or their number is wrong.

    Examples
    --------
    >>> min_period("macd_line", 12, 26, 9)
    MinPeriod(line=26, indicator=34)
    >>> min_period("adx", 14)
    MinPeriod(line=28, indicator=28)
    """
    faults = Faults("min_period")
    faults.one_of("name", name, sorted(_LINE_PERIODS))
    for period in periods:
        faults.whole("period", period, low=1)
    expected, rule = _LINE_PERIODS.get(name, (len(periods), min))
    if len(periods) != expected:
        faults.add(f"{name} has {expected} periods, got {len(periods)}")
    faults.raise_if_any()
    line = rule(*periods)
    return MinPeriod(line, line + periods[2] - 1 if name == "macd_line" else line)


def line_period_rule(name: str) -> Callable[..., int]:
    """How ``min_period(name, ...).line`` follows from the periods: a function that checks nothing."""
    return _LINE_PERIODS[name][1]


def first_valid(values: ArrayLike) -> int:
    """Index of the first value that is not NaN; the length where there is none."""
    found = ~np.isnan(np.asarray(values, dtype=np.float64))
    return int(found.argmax()) if found.any() else found.size


def _inputs(subject: str, periods: dict[str, int], **series: ArrayLike) -> tuple[Floats, ...]:
    """One-dimensional float64 arrays of one length; read-only views, so that each kernel compiles for one type."""
    faults = Faults(subject)
    for name, period in periods.items():
        faults.whole(name, period, low=1)
    arrays = [np.ascontiguousarray(values, dtype=np.float64).view() for values in series.values()]
    for name, array in zip(series, arrays, strict=True):
        if array.ndim != 1:
            faults.add(f"{name} must have one dimension, got shape {array.shape}")
        array.flags.writeable = False
    if len({array.shape for array in arrays}) > 1:
        lengths = ", ".join(f"{name} {array.size}" for name, array in zip(series, arrays, strict=True))
        faults.add(f"series must have one length, got {lengths}")
    faults.raise_if_any()
    return tuple(arrays)


def sma(values: ArrayLike, period: int) -> Floats:
    """Simple moving average: ``math.fsum`` of the last ``period`` values over ``period``."""
    (x,) = _inputs("sma", {"period": period}, values=values)
    return kernels.sma(x, period, first_valid(x))


def ema(values: ArrayLike, period: int) -> Floats:
    """Exponential moving average, weight 2 / (period + 1)."""
    (x,) = _inputs("ema", {"period": period}, values=values)
    return kernels.smooth(x, period, 2.0 / (1.0 + period), first_valid(x))


def smma(values: ArrayLike, period: int) -> Floats:
    """Smoothed (Wilder's) moving average, weight 1 / period."""
    (x,) = _inputs("smma", {"period": period}, values=values)
    return kernels.smooth(x, period, 1.0 / period, first_valid(x))


def rsi(values: ArrayLike, period: int = 14) -> Floats:
    """Wilder's relative strength index, 0 to 100 (``RSI_Safe``: 50 without movement, 100 without falls)."""
    (x,) = _inputs("rsi", {"period": period}, values=values)
    return kernels.rsi(x, period, first_valid(x))


def true_range(high: ArrayLike, low: ArrayLike, close: ArrayLike) -> Floats:
    """Range of the bar and the close before it, in price units; starts at the second bar."""
    h, lo, c = _inputs("true_range", {}, high=high, low=low, close=close)
    return kernels.true_range(h, lo, c)


def atr(high: ArrayLike, low: ArrayLike, close: ArrayLike, period: int = 14) -> Floats:
    """Average true range (Wilder), in price units."""
    h, lo, c = _inputs("atr", {"period": period}, high=high, low=low, close=close)
    return smma(kernels.true_range(h, lo, c), period)


def directional_movement(high: ArrayLike, low: ArrayLike, close: ArrayLike, period: int = 14) -> DirectionalMovement:
    """+DI, -DI and ADX (Wilder), each 0 to 100; 0 where nothing moved."""
    h, lo, c = _inputs("directional_movement", {"period": period}, high=high, low=low, close=close)
    return DirectionalMovement(*kernels.directional_movement(h, lo, c, period))


def plus_di(high: ArrayLike, low: ArrayLike, close: ArrayLike, period: int = 14) -> Floats:
    """+DI, 0 to 100."""
    return directional_movement(high, low, close, period).plus_di


def minus_di(high: ArrayLike, low: ArrayLike, close: ArrayLike, period: int = 14) -> Floats:
    """-DI, 0 to 100."""
    return directional_movement(high, low, close, period).minus_di


def adx(high: ArrayLike, low: ArrayLike, close: ArrayLike, period: int = 14) -> Floats:
    """Average directional index, 0 to 100."""
    return directional_movement(high, low, close, period).adx


def macd(values: ArrayLike, fast: int = 12, slow: int = 26, signal: int = 9) -> Macd:
    """MACD line (fast EMA less slow EMA), its signal (EMA of the line) and histogram (line less signal)."""
    (x,) = _inputs("macd", {"fast": fast, "slow": slow, "signal": signal}, values=values)
    line = ema(x, fast) - ema(x, slow)
    signal_line = ema(line, signal)
    return Macd(line, signal_line, line - signal_line)


def std_dev(values: ArrayLike, period: int = 20) -> Floats:
    """Population standard deviation: root of the mean of squares less the square of the mean."""
    (x,) = _inputs("std_dev", {"period": period}, values=values)
    _, deviation = kernels.standard_deviation(x, squares(x), period, first_valid(x), kernels.POWERS)
    return np.asarray(deviation)


def squares(values: ArrayLike) -> Floats:
    """Squares as Backtrader takes them, by the C library's ``pow``; read-only."""
    (x,) = _inputs("squares", {}, values=values)
    out = np.asarray(kernels.squares(x, kernels.POWERS))
    out.flags.writeable = False
    return out


def bollinger(values: ArrayLike, period: int = 20, width: float = 2.0, *, squared: Floats | None = None) -> Bollinger:
    """SMA, and ``width`` population standard deviations above and below; ``squared``: its :func:`squares`, if known."""
    faults = Faults("bollinger")
    faults.number("width", width, low=0.0)
    faults.raise_if_any()
    (x,) = _inputs("bollinger", {"period": period}, values=values)
    known = squares(x) if squared is None else squared
    middle, deviation = kernels.standard_deviation(x, known, period, first_valid(x), kernels.POWERS)
    return Bollinger(middle, middle + width * deviation, middle - width * deviation)


def highest(values: ArrayLike, period: int) -> Floats:
    """Largest of the last ``period`` values, this bar included."""
    (x,) = _inputs("highest", {"period": period}, values=values)
    return kernels.extreme(x, period, first_valid(x), 1.0)


def lowest(values: ArrayLike, period: int) -> Floats:
    """Smallest of the last ``period`` values, this bar included."""
    (x,) = _inputs("lowest", {"period": period}, values=values)
    return kernels.extreme(x, period, first_valid(x), -1.0)


def momentum(values: ArrayLike, period: int = 12) -> Floats:
    """Difference to the value ``period`` bars ago."""
    (x,) = _inputs("momentum", {"period": period}, values=values)
    out = np.full(x.size, np.nan)
    out[period:] = x[period:] - x[:-period]
    return out


def rate_of_change(values: ArrayLike, period: int = 12) -> Floats:
    """Relative change since ``period`` bars ago, a fraction; NaN where that value is zero (Backtrader raises)."""
    (x,) = _inputs("rate_of_change", {"period": period}, values=values)
    out = np.full(x.size, np.nan)
    past = x[:-period]
    np.divide(x[period:] - past, past, out=out[period:], where=past != 0.0)
    return out


def non_zero_difference(a: ArrayLike, b: ArrayLike) -> Floats:
    """``a - b``, or the last difference that was not zero; starts where both have values."""
    x, y = _inputs("non_zero_difference", {}, a=a, b=b)
    return kernels.non_zero_difference(x, y, max(first_valid(x), first_valid(y)))


def cross_up(a: ArrayLike, b: ArrayLike) -> Floats:
    """1.0 where ``a`` is above ``b`` and the last difference before that was not zero was negative; else 0.0.

    Its first value comes one bar after both inputs have values.
    """
    x, y = _inputs("cross_up", {}, a=a, b=b)
    return kernels.cross(x, y, max(first_valid(x), first_valid(y)), 1.0)


def cross_down(a: ArrayLike, b: ArrayLike) -> Floats:
    """1.0 where ``a`` is below ``b`` and the last difference before that was not zero was positive; else 0.0."""
    x, y = _inputs("cross_down", {}, a=a, b=b)
    return kernels.cross(x, y, max(first_valid(x), first_valid(y)), -1.0)


def volume_ratio(volume: ArrayLike, period: int = 20) -> Floats:
    """Volume over its SMA, this bar included; 0 where the SMA is zero (``bt.DivByZero(..., zero=0.0)``)."""
    (x,) = _inputs("volume_ratio", {"period": period}, volume=volume)
    average = kernels.sma(x, period, first_valid(x))
    out = np.where(np.isnan(average), np.nan, 0.0)
    np.divide(x, average, out=out, where=(average != 0.0) & ~np.isnan(average))
    return out
