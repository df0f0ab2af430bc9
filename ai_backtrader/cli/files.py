"""Files of bars by the commands' rules: the ending names the format, no file is the sample."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

__all__ = ["load_data", "open_database"]


def load_data(path: Path | None, symbol: str | None = None, repair: str | None = None) -> Any:
    """Bars of a file, or of the sample that ships with us where there is none."""
    from ai_backtrader.datafeeds import load_sample
    from ai_backtrader.market import MarketData

    if path is None:
        return load_sample()
    read = MarketData.from_parquet if path.suffix in {".parquet", ".pq"} else MarketData.from_csv
    mends: Any = () if repair is None else repair if repair == "all" else tuple(repair.split(","))
    return read(path, symbol=symbol, repair=mends)


def open_database(path: Path | None) -> AbstractContextManager[Any]:
    """Learning database of a file, closed at the end; None where there is none."""
    from ai_backtrader.learning_db import LearningDatabase

    return nullcontext() if path is None else LearningDatabase(path)
