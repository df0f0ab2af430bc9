"""Backtrader's own picture in a process without a screen, which is where it fails by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ai_backtrader.errors import AIBacktraderError
from ai_backtrader.reports.cerebro_plot import save_cerebro_plot

_RUN = """
import sys, warnings
import backtrader as bt, numpy as np, pandas as pd
from ai_backtrader.analyzers import LeverageObserver, MarginObserver
from ai_backtrader.reports.cerebro_plot import save_cerebro_plot
class Cross(bt.Strategy):
    def __init__(self):
        self.fast = bt.ind.SMA(period=5)
    def next(self):
        if not self.position and self.data.close[0] > self.fast[0]:
            self.buy(size=10)
        elif self.position and self.data.close[0] < self.fast[0]:
            self.close()
close = 100 + np.cumsum(np.random.default_rng(1).normal(size=80))
frame = pd.DataFrame({"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 1.0},
                     index=pd.date_range("2024-01-01", periods=80))
cerebro = bt.Cerebro()
cerebro.adddata(bt.feeds.PandasData(dataname=frame), name="X")
cerebro.addstrategy(Cross)
cerebro.addobserver(LeverageObserver)
cerebro.addobserver(MarginObserver)
cerebro.run()
print(*save_cerebro_plot(cerebro, sys.argv[1], style="candle"))
"""


def test_a_run_is_drawn_without_a_screen(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "run.png"
    done = subprocess.run([sys.executable, "-c", _RUN, str(path)], capture_output=True, text=True, env={"PATH": ""})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(path)]
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 20_000


def test_a_cerebro_that_has_not_run_is_refused() -> None:
    import backtrader as bt

    with pytest.raises(AIBacktraderError, match=r"call cerebro\.run\(\) first"):
        save_cerebro_plot(bt.Cerebro(), "x.png")
