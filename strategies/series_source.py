"""The catalogue's series as lines of source over plain Backtrader."""

from __future__ import annotations

from collections.abc import Sequence

from ai_backtrader.rules import Series
from ai_backtrader.rules.catalogue import ATR_UNIT_PERIOD

__all__ = ["SAFE_ADX", "SAFE_DI", "helpers_of", "series_source"]

SAFE_DI = '''\
class SafeDI(bt.Indicator):
    """+DI and -DI; 0 without any range, where Backtrader's own divides by zero."""

    lines = ("plus_di", "minus_di")
    params = dict(period=14)

    def __init__(self):
        atr = bt.ind.ATR(self.data, period=self.p.period)
        up = self.data.high - self.data.high(-1)
        down = self.data.low(-1) - self.data.low
        plus = bt.If(bt.And(up > down, up > 0.0), up, 0.0)
        minus = bt.If(bt.And(down > up, down > 0.0), down, 0.0)
        plus_average = bt.ind.SMMA(plus, period=self.p.period)
        minus_average = bt.ind.SMMA(minus, period=self.p.period)
        self.lines.plus_di = bt.DivByZero(100.0 * plus_average, atr, zero=0.0)
        self.lines.minus_di = bt.DivByZero(100.0 * minus_average, atr, zero=0.0)
'''

SAFE_ADX = '''\
class SafeADX(bt.Indicator):
    """ADX; 0 without any movement, where Backtrader's own divides by zero."""

    lines = ("adx",)
    params = dict(period=14)

    def __init__(self):
        di = SafeDI(self.data, period=self.p.period)
        total = di.plus_di + di.minus_di
        spread = bt.DivByZero(abs(di.plus_di - di.minus_di), total, zero=0.0)
        self.lines.adx = 100.0 * bt.ind.SMMA(spread, period=self.p.period)
'''

_BANDS = "bt.ind.BollingerBands(self.data, period={0}, devfactor={1})"
_MACD = "bt.ind.MACD(self.data, period_me1={0}, period_me2={1}, period_signal={2})"
_ATR_UNIT = f"bt.ind.ATR(self.data, period={ATR_UNIT_PERIOD})"

# Assignments (target is the attribute), then what reads the line. ``{0}`` … are the parameters.
_SOURCES: dict[str, tuple[tuple[str, ...], str]] = {
    **{name: ((), f"self.data.{name}") for name in ("close", "open", "high", "low")},
    "sma": (("{target} = bt.ind.SMA(self.data, period={0})",), "{target}"),
    "ema": (("{target} = bt.ind.EMA(self.data, period={0})",), "{target}"),
    "smma": (("{target} = bt.ind.SMMA(self.data, period={0})",), "{target}"),
    "bollinger_upper": ((f"{{target}} = {_BANDS}",), "{target}.top"),
    "bollinger_lower": ((f"{{target}} = {_BANDS}",), "{target}.bot"),
    "highest": (("{target} = bt.ind.Highest(self.data.high(-1), period={0})",), "{target}"),
    "lowest": (("{target} = bt.ind.Lowest(self.data.low(-1), period={0})",), "{target}"),
    "macd_line": ((f"{{target}} = {_MACD}",), "{target}.macd"),
    "macd_signal": ((f"{{target}} = {_MACD}",), "{target}.signal"),
    "rsi": (("{target} = bt.ind.RSI_Safe(self.data, period={0})",), "{target}"),
    "stochastic": (
        ("{target} = bt.ind.StochasticFast(self.data, period={0}, period_dfast=1, safediv=True, safezero=0.5)",),
        "{target}.percK",
    ),
    "adx": (("{target} = SafeADX(self.data, period={0})",), "{target}"),
    "plus_di": (("{target} = SafeDI(self.data, period={0})",), "{target}.plus_di"),
    "minus_di": (("{target} = SafeDI(self.data, period={0})",), "{target}.minus_di"),
    "percent_b": (
        (
            f"bands = {_BANDS}",
            "{target} = bt.DivByZero(self.data.close - bands.bot, bands.top - bands.bot, zero=0.5)",
        ),
        "{target}",
    ),
    "momentum": (("{target} = bt.ind.ROC(self.data, period={0})",), "{target}"),
    "band_width": ((f"bands = {_BANDS}", "{target} = (bands.top - bands.bot) / bands.mid"), "{target}"),
    "atr_pct": (("{target} = 100.0 * bt.ind.ATR(self.data, period={0}) / self.data.close",), "{target}"),
    "volume_ratio": (
        (
            "average = bt.ind.SMA(self.data.volume, period={0})",
            "{target} = bt.DivByZero(self.data.volume, average, zero=0.0)",
        ),
        "{target}",
    ),
    "atr_ratio": (
        (
            "atr = bt.ind.ATR(self.data, period={0})",
            "{target} = bt.DivByZero(atr, bt.ind.SMA(atr, period={1}), zero=1.0)",
        ),
        "{target}",
    ),
    "macd_atr": ((f"macd = {_MACD}", f"{{target}} = bt.DivByZero(macd.macd, {_ATR_UNIT}, zero=0.0)"), "{target}"),
    "macd_histogram": (
        (f"macd = {_MACD}", f"{{target}} = bt.DivByZero(macd.macd - macd.signal, {_ATR_UNIT}, zero=0.0)"),
        "{target}",
    ),
    "ema_distance": (
        (
            "distance = self.data.close - bt.ind.EMA(self.data, period={0})",
            f"{{target}} = bt.DivByZero(distance, {_ATR_UNIT}, zero=0.0)",
        ),
        "{target}",
    ),
}


def series_source(series: Series, target: str, params: Sequence[str]) -> tuple[list[str], str]:
    """Statements that build a series, and the expression of its line.

    Parameters
    ----------
    series
        The series.
    target
        What the statements assign to: ``self.long1_rsi``.
    params
        An expression for each of its parameters: ``self.p.long1_rsi_period``.
    """
    statements, line = _SOURCES[series.name]
    return [text.format(*params, target=target) for text in statements], line.format(target=target)


def helpers_of(names: set[str]) -> list[str]:
    """Sources of the indicator classes that the series of these names need."""
    if "adx" in names:
        return [SAFE_DI, SAFE_ADX]
    return [SAFE_DI] if names & {"plus_di", "minus_di"} else []
