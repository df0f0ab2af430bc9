"""The market data that ship with the package."""

from __future__ import annotations

import importlib.resources
from types import MappingProxyType

from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData

__all__ = ["SAMPLES", "load_sample"]

SAMPLES = MappingProxyType({"EURUSD": "EURUSD-1h-2017.csv.gz", "SP500": "SP500-1d-1999-2018.csv.gz"})


def load_sample(name: str = "EURUSD") -> MarketData:
    """Real market data that ship with the package; sources and licences stand in ``datafeeds/samples/SOURCES.md``.

    Parameters
    ----------
    name
        ``"EURUSD"``: EUR/USD ask, 6,225 hourly bars of 2017, tick volume. ``"SP500"``: S&P 500 index, 5,031 daily bars
        of 1999 to 2018. In any case.

    Raises
    ------
    SettingsError
        If there is no sample of that name.

    Examples
    --------
    >>> data = load_sample()
    >>> data.symbol, len(data), data.bar_seconds
    ('EURUSD', 6225, 3600)
    """
    symbol = name.upper() if isinstance(name, str) else name
    if symbol not in SAMPLES:
        raise SettingsError("load_sample", [f"name must be one of {', '.join(SAMPLES)}, got {name!r}"])
    source = importlib.resources.files("ai_backtrader.datafeeds").joinpath("samples", SAMPLES[symbol])
    with importlib.resources.as_file(source) as path:
        return MarketData.from_csv(path, symbol=symbol)
