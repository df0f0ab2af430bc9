"""The catalogue's series built of Backtrader's own indicators, for one feed of a strategy."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import backtrader as bt

from ai_backtrader.rules import Series
from ai_backtrader.rules.catalogue import ATR_UNIT_PERIOD

__all__ = ["SafeADX", "SafeDI", "SeriesLines"]


class SafeDI(bt.Indicator):
    """+DI and -DI; 0 where the true range is zero, where Backtrader's own raises ``ZeroDivisionError``.

    Params:
      - ``period`` (default: ``14``)
    """

    lines: Any = ("plus_di", "minus_di")
    params = (("period", 14),)

    def __init__(self) -> None:
        period = self.p.period
        atr = bt.ind.ATR(self.data, period=period)
        up = self.data.high - self.data.high(-1)
        down = self.data.low(-1) - self.data.low
        plus = bt.If(bt.And(up > down, up > 0.0), up, 0.0)
        minus = bt.If(bt.And(down > up, down > 0.0), down, 0.0)
        self.lines.plus_di = bt.DivByZero(100.0 * bt.ind.SMMA(plus, period=period), atr, zero=0.0)
        self.lines.minus_di = bt.DivByZero(100.0 * bt.ind.SMMA(minus, period=period), atr, zero=0.0)
        super().__init__()


class SafeADX(bt.Indicator):
    """ADX; 0 where nothing moves, where Backtrader's own raises ``ZeroDivisionError``.

    Params:
      - ``period`` (default: ``14``)
    """

    lines: Any = ("adx",)
    params = (("period", 14),)

    def __init__(self) -> None:
        di = SafeDI(self.data, period=self.p.period)
        spread = bt.DivByZero(abs(di.plus_di - di.minus_di), di.plus_di + di.minus_di, zero=0.0)
        self.lines.adx = 100.0 * bt.ind.SMMA(spread, period=self.p.period)
        super().__init__()


class SeriesLines:
    """Builds each series of one feed once; call it inside a strategy's ``__init__``, which becomes their owner.

    Values and minimum periods equal :class:`~ai_backtrader.rules.SeriesBank`'s.

    Parameters
    ----------
    data
        The feed.
    """

    def __init__(self, data: Any) -> None:
        self._data = data
        self._made: dict[Hashable, Any] = {}

    def line(self, series: Series) -> Any:
        """The line of a series."""
        return self._once(series, lambda: self._build(series.name, *series.params))

    def atr(self, period: int) -> Any:
        """Average true range in price units."""
        return self._once(("atr", period), lambda: bt.ind.ATR(self._data, period=period).atr)

    def _once(self, key: Hashable, build: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = build()
        return self._made[key]

    def _bands(self, period: int, width: float) -> Any:
        return self._once(
            ("bands", period, width), lambda: bt.ind.BollingerBands(self._data, period=period, devfactor=width)
        )

    def _macd(self, fast: int, slow: int, signal: int) -> Any:
        return self._once(
            ("macd", fast, slow, signal),
            lambda: bt.ind.MACD(self._data, period_me1=fast, period_me2=slow, period_signal=signal),
        )

    def _di(self, period: int) -> Any:
        return self._once(("di", period), lambda: SafeDI(self._data, period=period))

    def _build(self, name: str, *params: Any) -> Any:
        data = self._data
        match name:
            case "close" | "open" | "high" | "low":
                return getattr(data.lines, name)
            case "sma":
                return bt.ind.SMA(data, period=params[0]).sma
            case "ema":
                return bt.ind.EMA(data, period=params[0]).ema
            case "smma":
                return bt.ind.SMMA(data, period=params[0]).smma
            case "bollinger_upper":
                return self._bands(*params).top
            case "bollinger_lower":
                return self._bands(*params).bot
            case "highest":
                return bt.ind.Highest(data.high(-1), period=params[0]).highest
            case "lowest":
                return bt.ind.Lowest(data.low(-1), period=params[0]).lowest
            case "macd_line":
                return self._macd(*params).macd
            case "macd_signal":
                return self._macd(*params).signal
            case "rsi":
                return bt.ind.RSI_Safe(data, period=params[0]).rsi
            case "stochastic":
                fast = bt.ind.StochasticFast(data, period=params[0], period_dfast=1, safediv=True, safezero=0.5)
                return fast.percK
            case "adx":
                return SafeADX(data, period=params[0]).adx
            case "plus_di":
                return self._di(*params).plus_di
            case "minus_di":
                return self._di(*params).minus_di
            case "percent_b":
                bands = self._bands(*params)
                return bt.DivByZero(data.close - bands.bot, bands.top - bands.bot, zero=0.5)
            case "momentum":
                return bt.ind.ROC(data, period=params[0]).roc
            case "band_width":
                bands = self._bands(*params)
                return (bands.top - bands.bot) / bands.mid
            case "atr_pct":
                return 100.0 * self.atr(*params) / data.close
            case "volume_ratio":
                return bt.DivByZero(data.volume, bt.ind.SMA(data.volume, period=params[0]), zero=0.0)
            case "atr_ratio":
                atr = self.atr(params[0])
                return bt.DivByZero(atr, bt.ind.SMA(atr, period=params[1]), zero=1.0)
            case "macd_atr":
                return bt.DivByZero(self._macd(*params).macd, self.atr(ATR_UNIT_PERIOD), zero=0.0)
            case "macd_histogram":
                macd = self._macd(*params)
                return bt.DivByZero(macd.macd - macd.signal, self.atr(ATR_UNIT_PERIOD), zero=0.0)
            case "ema_distance":
                ema = bt.ind.EMA(data, period=params[0])
                return bt.DivByZero(data.close - ema, self.atr(ATR_UNIT_PERIOD), zero=0.0)
        raise AssertionError(f"{name} is in the catalogue but has no indicator")
