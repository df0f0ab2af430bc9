"""The technical family: 15 parameters, each of which changes the rules, the same compiled and in Cerebro."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.parameter_optimizer import TECHNICAL_SPACE, TechnicalFamily, technical_rules
from ai_backtrader.simulation import simulate
from ai_backtrader.strategies import run_in_cerebro

PLAIN = {
    "ema_fast": 12, "ema_slow": 26, "rsi_period": 14, "rsi_overbought": 70.0, "rsi_oversold": 30.0, "adx_period": 14,
    "adx_threshold": 20.0, "atr_period": 14, "atr_stop": 2.0, "atr_target": 4.0, "macd_fast": 12, "macd_slow": 26,
    "macd_signal": 9, "bb_period": 20, "bb_std": 2.0,
}  # fmt: skip


def test_every_point_of_the_space_gives_rules_and_every_parameter_changes_them() -> None:
    for parameters in TECHNICAL_SPACE.sample(np.random.default_rng(1), 200):
        technical_rules(parameters)
    own = technical_rules(PLAIN).fingerprint
    changed = {
        name for other in TECHNICAL_SPACE.neighbours(PLAIN) if technical_rules(other).fingerprint != own
        for name in PLAIN if other[name] != PLAIN[name]
    }  # fmt: skip
    assert changed == set(PLAIN) == {dimension.name for dimension in TECHNICAL_SPACE.dimensions}
    assert len(changed) == 15


def test_cerebro_gives_the_same_to_the_last_bit(make_market: Callable[..., MarketData]) -> None:
    data = make_market(5, bars=600)
    fills = 0
    for place, parameters in enumerate(TECHNICAL_SPACE.sample(np.random.default_rng(2), 4)):
        rules = TechnicalFamily(leverage=1.0 + 4.0 * (place % 2), short=place != 2)(parameters)
        fast = simulate(data, rules, slippage=0.0002)
        assert fast.first_difference(run_in_cerebro(data, rules, slippage=0.0002)) is None
        fills += len(fast.fills)
    assert fills > 20


def test_wrong_parameters_are_named_together() -> None:
    with pytest.raises(SettingsError, match=r"unknown keys 'rsi'.*\n.*lack bb_std"):
        technical_rules({**{name: value for name, value in PLAIN.items() if name != "bb_std"}, "rsi": 3})
    with pytest.raises(SettingsError, match="ema_fast must be below ema_slow, got 30 and 26"):
        technical_rules({**PLAIN, "ema_fast": 30})
    with pytest.raises(SettingsError, match="2 faults"):
        TechnicalFamily(position_size=0.0, leverage=500.0)


def test_other_settings_have_another_fingerprint() -> None:
    families = [TechnicalFamily(), TechnicalFamily(leverage=2.0), TechnicalFamily(short=False)]
    assert len({family.fingerprint for family in families}) == 3
    assert TechnicalFamily().fingerprint == technical_rules.fingerprint
