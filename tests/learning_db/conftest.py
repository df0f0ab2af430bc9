"""What the tests of the learning database share: events by kind and number, a path in a folder of its own, children."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_backtrader.events import (
    ExperiencesGathered,
    ParametersOptimized,
    RegimeChanged,
    StrategyEvolved,
    StrategyScored,
    TradeClosed,
)
from ai_backtrader.values import Direction, Regime

START = dt.datetime(2024, 1, 1)


def event_of(table: str, number: int) -> Any:
    """The same number, the same event; another number, another one."""
    at = START + dt.timedelta(hours=number)
    if table == "trades":
        return TradeClosed(
            symbol="BTC/USDT", strategy_id="ema_cross", direction=(Direction.LONG, Direction.SHORT)[number % 2],
            entry_price=95_000.0 + number, exit_price=96_000.0, pnl=10.0, pnl_pct=1.05, size=0.1, leverage=3.0,
            commission=0.5, funding=-0.1, hold_bars=4, hold_duration_mins=240.0, opened_at=at - dt.timedelta(hours=4),
            closed_at=at, regime=Regime.BULL, indicators_at_entry={"rsi": 55.5 + number, "adx": 25.0},
            liquidated=number % 7 == 0,
        )  # fmt: skip
    if table == "strategy_performance":
        return StrategyScored(
            symbol="BTC/USDT", strategy_id="ema_cross", at=at, regime=Regime.BEAR, figures={"sharpe_ratio": number / 7}
        )
    if table == "optimization_results":
        return ParametersOptimized(
            key=f"key-{number}", symbol="BTC/USDT", timeframe="1h", strategy="ema_cross", at=at, seed=number,
            parameters={"fast": 5 + number, "slow": 50.5, "kind": "ema", "on": True}, score=1.5, n_trials=50,
            result='{"trials":[]}',
        )  # fmt: skip
    if table == "evolved_strategies":
        return StrategyEvolved(
            fingerprint=f"f{number}", chromosome='{"genes":[]}', symbol="BTC/USDT", data_fingerprint="d1", fitness=1.1,
            passed=True, proven=(None, True, False)[number % 3], regime=Regime.SIDEWAYS, figures={"sharpe": 0.3},
            generation=number, seed=1, at=at,
        )  # fmt: skip
    if table == "regime_transitions":
        return RegimeChanged(symbol="BTC/USDT", at=at, before=None, after=Regime.STRONG_BEAR, high_volatility=True)
    if table == "indicator_names":  # a list of names of its own
        return dataclasses.replace(event_of("trades", number), indicators_at_entry={f"feature_{number}": 0.5})
    return batch_of(number)


def batch_of(number: int, *, n: int = 50, width: int = 6, **fields: Any) -> ExperiencesGathered:
    rng = np.random.default_rng(number)
    states = rng.normal(size=(n + 1, width)).astype(np.float32)
    after = states[1:].copy()
    terminated = rng.random(n) < 0.1
    after[terminated] = 0.0  # an episode ended: what follows is another beginning
    known = {"agent": "leverage", "feature_version": "leverage-state/1", "symbol": "BTC/USDT"}
    return ExperiencesGathered(
        **{**known, "at": START + dt.timedelta(hours=number), **fields},
        states=states[:-1], next_states=after, actions=rng.integers(0, 11, n), rewards=rng.normal(size=n),
        terminated=terminated,
    )  # fmt: skip


@pytest.fixture
def make_event() -> Callable[[str, int], Any]:
    return event_of


@pytest.fixture
def make_batch() -> Callable[..., ExperiencesGathered]:
    return batch_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ai_learning.db"


class Children:
    """Processes that do one of the actions of ``children.py`` and say words."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("children.py")
        self.server = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._said: dict[str, list[str]] = {}

    def start(self, action: str, path: Path, *arguments: object) -> str:
        self._send(action, str(path), *arguments)
        return self._until("started").split()[1]

    def first_words(self, child: str) -> str:
        while not self._said.get(child):
            self._read()
        return self._said[child][0]

    def end(self, child: str) -> tuple[int, list[str]]:
        """Its exit status and all it said."""
        self._send("wait", int(child))
        return int(self._until(f"ended {child}").split()[2]), self._said.pop(child, [])

    def kill(self, child: str) -> list[str]:
        os.kill(int(child), signal.SIGKILL)
        status, said = self.end(child)
        assert status == -signal.SIGKILL
        return said

    def _send(self, *command: object) -> None:
        assert self.server.stdin is not None
        self.server.stdin.write(json.dumps(command) + "\n")

    def _until(self, beginning: str) -> str:
        while not (line := self._read()).startswith(beginning):
            pass
        return line

    def _read(self) -> str:
        assert self.server.stdout is not None
        line = self.server.stdout.readline()
        assert line, "the server of children ended"
        who, _, words = line.strip().partition(" ")
        if who.isdigit():
            self._said.setdefault(who, []).append(words)
        return line


@pytest.fixture(scope="session")
def children() -> Iterator[Children]:
    found = Children()
    yield found
    found.server.communicate(timeout=30)
