"""The optimize command's work: strategies by name or file, spaces in words, progress in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ai_backtrader.cli.optimize import parse_space, progress_words, run_optimize, strategy_of
from ai_backtrader.datafeeds import load_sample
from ai_backtrader.errors import SettingsError
from ai_backtrader.parameter_optimizer import Batch, TechnicalFamily

CROSS = """
import backtrader as bt

class Cross(bt.Strategy):
    params = (("fast", 5), ("slow", 20))

    def __init__(self):
        self.cross = bt.ind.CrossOver(bt.ind.EMA(period=self.p.fast), bt.ind.EMA(period=self.p.slow))

    def next(self):
        if self.cross[0]:
            self.order_target_percent(target=0.9 * self.cross[0])
"""


def test_the_technical_strategy_in_one_regime() -> None:
    result = run_optimize(
        load_sample(), regime="bull", n_trials=10, surrogate="random", commission=0.00005, show=False,
        space=["ema_slow=100:200:log"],
    )  # fmt: skip
    assert (result.strategy, result.regime) == ("technical", "bull")
    assert 100 <= result.parameters["ema_slow"] <= 200
    assert json.loads(result.to_json())["verdict"] == result.verdict


def test_a_strategy_of_the_users_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(CROSS)
    result = run_optimize(
        load_sample().head(800), strategy=f"{path}:Cross", space=["fast=3:12"], params=["slow=30"], n_trials=4,
        surrogate="random", show=False,
    )  # fmt: skip
    assert result.strategy == "Cross"
    assert set(result.parameters) == {"fast"}
    assert strategy_of(str(path)).__name__ == "Cross"
    with pytest.raises(SettingsError, match="say what to search in"):
        run_optimize(load_sample(), strategy=str(path))
    with pytest.raises(SettingsError, match="--leverage is of the technical strategy"):
        strategy_of(str(path), leverage=3.0)


def test_spaces_are_read_and_faults_named_together() -> None:
    assert parse_space(["fast=5:50", "share=0.1:0.9", "slow=20:400:log", "kind=ema,sma", "on=true,false"]) == {
        "fast": (5, 50), "share": (0.1, 0.9), "slow": (20, 400, "log"), "kind": ["ema", "sma"], "on": [True, False],
    }  # fmt: skip
    with pytest.raises(SettingsError, match="2 faults"):
        parse_space(["fast", "slow=1:2:3:4", "fine=1:2"])
    with pytest.raises(SettingsError, match="--space names speed; known are ema_fast, "):
        run_optimize(load_sample(), space=["speed=1:2"])
    assert strategy_of("technical", leverage=3.0) == TechnicalFamily(leverage=3.0)


def test_progress_says_the_best_so_far() -> None:
    batch = Batch(done=10, n_trials=50, score=1.234, parameters={"fast": 5, "share": 0.25}, failed=2)
    assert progress_words(batch, 12.34) == "best 1.23 (fast 5, share 0.25)  12.3 trials/s"
    nothing = Batch(done=3, n_trials=50, score=None, parameters=None, failed=3)
    assert progress_words(nothing, 1.0) == "no score yet (3 without)"
