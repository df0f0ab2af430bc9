"""The series that genes may speak of: parameters, unit, natural range of constants, first value.

A chromosome must mean the same on any market, so nothing here depends on the price level: series in price units are
compared with series in price units alone; every other series has a natural range in which constants lie.
"""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ai_backtrader.market.indicators import line_period_rule

__all__ = ["ATR_UNIT_PERIOD", "CATALOGUE", "Constants", "Parameter", "SeriesKind", "Unit"]

ATR_UNIT_PERIOD = 14
"""Period of the average true range in which the series of :attr:`Unit.ATR` are measured."""

Number = int | float


class Unit(enum.StrEnum):
    """What a series is measured in; series of one unit may be compared with each other."""

    PRICE = "price"
    PRICE_DIFFERENCE = "price difference"
    OSCILLATOR = "oscillator, 0 to 100"
    DIRECTIONAL = "directional index, 0 to 100"
    BAND_POSITION = "position between the bands, 0 to 1"
    RETURN = "return, fraction"
    BAND_WIDTH = "band width, fraction of price"
    RANGE = "average range, percent of price"
    VOLUME_RATIO = "multiple of the usual volume"
    RANGE_RATIO = "multiple of the usual range"
    ATR = "multiple of ATR"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a series and its range, both ends included; ``decimals`` 0 is a whole number."""

    name: str
    low: Number
    high: Number
    decimals: int = 0

    def nearest(self, value: float) -> Number:
        """The valid value nearest to ``value``."""
        held = self.low if value < self.low else self.high if value > self.high else value
        return round(held, self.decimals) if self.decimals else round(held)

    @functools.cached_property
    def logarithms(self) -> tuple[float, float]:
        """Of both ends of the range."""
        return math.log(self.low), math.log(self.high)


@dataclass(frozen=True, kw_only=True)
class Constants:
    """Natural range of the constants that a series is compared with.

    Attributes
    ----------
    low, high
        Both ends included.
    centre, spread
        Where random constants lie: normal with this mean and standard deviation, held inside the range.
    decimals
        Digits after the point of random constants; written ones may have any.
    """

    low: float
    high: float
    centre: float
    spread: float
    decimals: int

    def nearest(self, value: float) -> float:
        """The constant with ``decimals`` digits nearest to ``value``, inside the range."""
        held = self.low if value < self.low else self.high if value > self.high else float(value)
        return round(held, self.decimals) + 0.0  # -0.0 becomes 0.0


@dataclass(frozen=True, kw_only=True)
class SeriesKind:
    """One kind of series.

    Attributes
    ----------
    name
        Key in the catalogue and in JSON.
    label
        Name in human text.
    meaning
        One line for the documentation.
    unit
        See :class:`Unit`.
    parameters
        In order.
    constants
        Natural range; None where the unit is a price's, which no constant can be compared with.
    line_period
        Bars until the first value, as Backtrader counts for an indicator built on the series.
    strategy_period
        Bars until Backtrader first calls a strategy that holds the series.
    ordered
        True where the first parameter must be smaller than the second (fast and slow).
    """

    name: str
    label: str
    meaning: str
    unit: Unit
    parameters: tuple[Parameter, ...] = ()
    constants: Constants | None = None
    line_period: Callable[..., int]
    strategy_period: Callable[..., int]
    ordered: bool = False

    @functools.cached_property
    def ranges(self) -> tuple[tuple[type, Number, Number], ...]:
        """Type, lowest and highest value of each parameter: what every new series is checked against."""
        return tuple((float if item.decimals else int, item.low, item.high) for item in self.parameters)


def _period(low: int, high: int, name: str = "period") -> Parameter:
    return Parameter(name=name, low=low, high=high)


_BANDS = (_period(5, 100), Parameter(name="width", low=0.5, high=4.0, decimals=1))
_MACD = (_period(2, 50, "fast"), _period(3, 200, "slow"), _period(2, 50, "signal"))


def _percent(centre: float, spread: float) -> Constants:
    return Constants(low=0.0, high=100.0, centre=centre, spread=spread, decimals=0)


def _kind(
    name: str,
    label: str,
    unit: Unit,
    meaning: str,
    *parameters: Parameter,
    line: Callable[..., int],
    strategy: Callable[..., int] | None = None,
    constants: Constants | None = None,
    ordered: bool = False,
) -> SeriesKind:
    return SeriesKind(
        name=name, label=label, meaning=meaning, unit=unit, parameters=parameters, constants=constants,
        line_period=line, strategy_period=strategy or line, ordered=ordered,
    )  # fmt: skip


_line = line_period_rule
_ATR_UNIT_LINE = _line("atr")(ATR_UNIT_PERIOD)
# Backtrader's MACD holds its signal, so a strategy waits for that whichever line it reads.
_macd_strategy = _line("macd_signal")


def _bands_line(period: int, width: float) -> int:
    return _line("bollinger")(period)


def _in_atr(rule: Callable[..., int]) -> Callable[..., int]:
    return lambda *periods: max(rule(*periods), _ATR_UNIT_LINE)


_KINDS = (
    *(_kind(name, name, Unit.PRICE, f"The bar's {name}", line=lambda: 1) for name in ("close", "open", "high", "low")),
    _kind("sma", "SMA", Unit.PRICE, "Simple moving average of the close", _period(2, 300), line=_line("sma")),
    _kind("ema", "EMA", Unit.PRICE, "Exponential moving average of the close", _period(2, 300), line=_line("ema")),
    _kind("smma", "SMMA", Unit.PRICE, "Wilder's moving average of the close", _period(2, 300), line=_line("smma")),
    _kind("bollinger_upper", "BollingerUpper", Unit.PRICE, "Upper Bollinger band", *_BANDS, line=_bands_line),
    _kind("bollinger_lower", "BollingerLower", Unit.PRICE, "Lower Bollinger band", *_BANDS, line=_bands_line),
    _kind("highest", "Highest", Unit.PRICE, "Highest high of the bars before this one", _period(2, 200),
          line=lambda period: period + 1),
    _kind("lowest", "Lowest", Unit.PRICE, "Lowest low of the bars before this one", _period(2, 200),
          line=lambda period: period + 1),
    _kind("macd_line", "MACD", Unit.PRICE_DIFFERENCE, "MACD line", *_MACD,
          line=_line("macd_line"), strategy=_macd_strategy, ordered=True),
    _kind("macd_signal", "MACDSignal", Unit.PRICE_DIFFERENCE, "Signal of the MACD", *_MACD,
          line=_line("macd_signal"), ordered=True),
    _kind("rsi", "RSI", Unit.OSCILLATOR, "Wilder's relative strength index", _period(2, 50), line=_line("rsi"),
          constants=_percent(50.0, 18.0)),
    _kind("stochastic", "Stochastic", Unit.OSCILLATOR, "Fast stochastic %K (50 where nothing moved)", _period(3, 100),
          line=_line("highest"), constants=_percent(50.0, 28.0)),
    _kind("adx", "ADX", Unit.DIRECTIONAL, "Average directional index", _period(3, 50), line=_line("adx"),
          constants=_percent(25.0, 8.0)),
    _kind("plus_di", "PlusDI", Unit.DIRECTIONAL, "Positive directional indicator", _period(3, 50),
          line=_line("plus_di"), constants=_percent(22.0, 8.0)),
    _kind("minus_di", "MinusDI", Unit.DIRECTIONAL, "Negative directional indicator", _period(3, 50),
          line=_line("minus_di"), constants=_percent(22.0, 8.0)),
    _kind("percent_b", "PercentB", Unit.BAND_POSITION, "Close between the Bollinger bands (0.5 where they coincide)",
          *_BANDS, line=_bands_line,
          constants=Constants(low=-2.0, high=3.0, centre=0.5, spread=0.45, decimals=2)),
    _kind("momentum", "Momentum", Unit.RETURN, "Relative change of the close over the period", _period(1, 200),
          line=_line("rate_of_change"),
          constants=Constants(low=-0.95, high=5.0, centre=0.0, spread=0.03, decimals=4)),
    _kind("band_width", "BandWidth", Unit.BAND_WIDTH, "Distance of the Bollinger bands over their middle",
          *_BANDS, line=_bands_line,
          constants=Constants(low=0.0, high=5.0, centre=0.05, spread=0.03, decimals=3)),
    _kind("atr_pct", "ATRPct", Unit.RANGE, "100 x ATR over close", _period(2, 100), line=_line("atr"),
          constants=Constants(low=0.0, high=50.0, centre=1.0, spread=0.6, decimals=2)),
    _kind("volume_ratio", "VolumeRatio", Unit.VOLUME_RATIO, "Volume over its average, this bar included",
          _period(2, 200), line=_line("volume_ratio"),
          constants=Constants(low=0.0, high=200.0, centre=1.2, spread=0.5, decimals=2)),
    _kind("atr_ratio", "ATRRatio", Unit.RANGE_RATIO, "ATR over its own average", _period(2, 50),
          _period(10, 200, "average"), line=lambda period, average: period + average,
          constants=Constants(low=0.0, high=20.0, centre=1.0, spread=0.25, decimals=2)),
    _kind("macd_atr", "MACDInATR", Unit.ATR, "MACD line in ATR(14)", *_MACD,
          line=_in_atr(_line("macd_line")), strategy=_in_atr(_macd_strategy), ordered=True,
          constants=Constants(low=-20.0, high=20.0, centre=0.0, spread=0.8, decimals=2)),
    _kind("macd_histogram", "MACDHistogram", Unit.ATR, "MACD line less its signal, in ATR(14)", *_MACD,
          line=_in_atr(_line("macd_histogram")), ordered=True,
          constants=Constants(low=-20.0, high=20.0, centre=0.0, spread=0.25, decimals=2)),
    _kind("ema_distance", "EMADistance", Unit.ATR, "Close less its EMA, in ATR(14)", _period(2, 300),
          line=_in_atr(_line("ema")),
          constants=Constants(low=-50.0, high=50.0, centre=0.0, spread=1.5, decimals=1)),
)  # fmt: skip

CATALOGUE: Mapping[str, SeriesKind] = MappingProxyType({kind.name: kind for kind in _KINDS})
"""Every kind of series by name."""
