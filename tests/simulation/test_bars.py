"""What the kernels see of market data: the windows ahead against a plain loop."""

from __future__ import annotations

import pytest

from ai_backtrader.market import MarketData
from ai_backtrader.simulation.bars import ahead_of, bars_of
from ai_backtrader.simulation.state import WINDOW


@pytest.mark.parametrize("bars", [1, 2, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW, 200])
@pytest.mark.parametrize("funding", [False, 0.0001])
def test_the_windows_ahead_hold_the_extremes_of_their_bars(
    jumpy_data: MarketData, bars: int, funding: float | bool
) -> None:
    now = bars_of(jumpy_data.head(bars), funding)
    ahead = ahead_of(now)
    for bar in range(bars):
        window = now[bar : bar + WINDOW]
        assert ahead[bar].item() == (
            window["low"].min(),
            window["high"].max(),
            window["close"].min(),
            window["close"].max(),
            window["mark_low"].min(),
            window["mark_high"].max(),
            next((later for later in range(bar + 1, bars) if now["funding"][later] != 0.0), bars),
        )
