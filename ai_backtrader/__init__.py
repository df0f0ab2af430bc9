"""ai-backtrader: an AI trading engine for Backtrader.

Real margin, the same answer twice, honest evidence. The names below load their room on first use, so that importing the
package is cheap.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ai_backtrader.market import MarketData as MarketData

__version__ = "0.1.0"

_ROOM_OF = {
    "MarketData": "ai_backtrader.market",
}

__all__ = ["MarketData", "__version__"]

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> object:
    try:
        room = _ROOM_OF[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(importlib.import_module(room), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_ROOM_OF))
