"""After 250 bars the seeding is forgotten and TA-Lib agrees within 1e-7.

The tolerance is relative: to the price for what is in price units, to the value for ADX (TA-Lib seeds it otherwise, and
smooths it twice), and absolute for RSI, which is tighter there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import talib

from ai_backtrader.market import MarketData, indicators

TOLERANCE = 1e-7
SETS = ["BTCUSDT-1h-2018-2023", "ETHUSDT-perp-1h-2020-2023", "LTCUSDT-1h-2020-2023", "EURUSD-1h-2017-2022",
        "SP500-1d-1999-2018", "ORCL-1d-1995-2014-backtrader-sample"]  # fmt: skip


def pairs(d: MarketData) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | float]]:
    """Ours, theirs, and the scale of the tolerance."""
    bands, their_bands = indicators.bollinger(d.close, 20), talib.BBANDS(d.close, 20, 2, 2)
    macd, their_macd = indicators.macd(d.close), talib.MACD(d.close, 12, 26, 9)
    their_adx = talib.ADX(d.high, d.low, d.close, 14)
    return {
        "sma": (indicators.sma(d.close, 30), talib.SMA(d.close, 30), d.close),
        "ema": (indicators.ema(d.close, 20), talib.EMA(d.close, 20), d.close),
        "rsi": (indicators.rsi(d.close, 14), talib.RSI(d.close, 14), 1.0),
        "atr": (indicators.atr(d.high, d.low, d.close), talib.ATR(d.high, d.low, d.close, 14), d.close),
        "upper band": (bands.upper, their_bands[0], d.close),
        "middle band": (bands.middle, their_bands[1], d.close),
        "lower band": (bands.lower, their_bands[2], d.close),
        "macd": (macd.line, their_macd[0], d.close),
        "macd signal": (macd.signal, their_macd[1], d.close),
        "macd histogram": (macd.histogram, their_macd[2], d.close),
        "adx": (indicators.adx(d.high, d.low, d.close), their_adx, their_adx),
    }


@pytest.mark.parametrize("name", SETS)
def test_talib_agrees_after_250_bars(real_data: Callable[..., MarketData], name: str) -> None:
    data = real_data(name, 500, 4_500)
    for indicator, (mine, theirs, scale) in pairs(data).items():
        error = np.abs(mine - theirs)[250:] / (scale if isinstance(scale, float) else scale[250:])
        assert error.max() <= TOLERANCE, f"{indicator}: {error.max():.1e}"


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_talib_agrees_on_the_whole_data_set(real_data: Callable[..., MarketData], name: str) -> None:
    for indicator, (mine, theirs, scale) in pairs(real_data(name)).items():
        error = np.abs(mine - theirs)[250:] / (scale if isinstance(scale, float) else scale[250:])
        assert error.max() <= TOLERANCE, f"{indicator}: {error.max():.1e}"
