"""The engine joins its systems, and shares nothing with another engine."""

from __future__ import annotations

import pytest

from ai_backtrader import Engine, EngineSettings, get_ai_orchestrator, get_leverage_manager, reset_engine
from ai_backtrader.errors import SettingsError
from ai_backtrader.events import Event, TradeClosed
from ai_backtrader.leverage import LeverageSettings
from ai_backtrader.values import Direction

TRADE = TradeClosed(
    symbol="X", strategy_id="s", direction=Direction.LONG, entry_price=1.0, exit_price=1.1, pnl_pct=10.0, leverage=2.0
)


class Kept:
    """A journal in a list."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)


def test_a_closed_trade_reaches_the_leverage_manager_and_the_journal() -> None:
    journal = Kept()
    engine = Engine(journal=journal)
    engine.orchestrator.learn(TRADE)
    assert engine.leverage_manager.kelly.trades == 1
    assert journal.events == [TRADE]


def test_two_engines_share_nothing() -> None:
    one, other = Engine(), Engine()
    one.orchestrator.learn(TRADE)
    assert other.leverage_manager.kelly.trades == 0


def test_the_settings_reach_the_systems() -> None:
    engine = Engine(EngineSettings(leverage=LeverageSettings(max_leverage=3.0)))
    assert engine.leverage_manager.settings.max_leverage == 3.0


def test_the_default_engine_is_one_until_it_is_reset() -> None:
    fresh = reset_engine()
    assert get_leverage_manager() is fresh.leverage_manager
    assert get_ai_orchestrator() is fresh.orchestrator
    assert reset_engine() is not fresh
    assert get_leverage_manager() is not fresh.leverage_manager


def test_all_faults_of_the_settings_are_told_together() -> None:
    with pytest.raises(SettingsError, match="2 faults") as caught:
        EngineSettings(seed=-1, leverage=5)  # type: ignore[arg-type]  # the fault under test
    assert any("seed must be at least 0" in fault for fault in caught.value.faults)
    assert any("leverage must be LeverageSettings" in fault for fault in caught.value.faults)
