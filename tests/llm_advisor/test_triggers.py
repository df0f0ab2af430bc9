"""The model is asked when a trigger fires, by what was known up to the bar."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.errors import SettingsError
from ai_backtrader.llm_advisor import MarketWatch, Trigger, TriggerSettings, robust_distances
from ai_backtrader.market import compute_features, label_regimes
from ai_backtrader.values import Action, Regime


def look(watch: MarketWatch, **given: Any) -> list[Trigger]:
    usual: dict[str, Any] = {
        "signal": Action.BUY, "change_24h": 0.0, "regime": Regime.BULL, "high_volatility": False, "figures": {},
    }  # fmt: skip
    return [trigger for trigger, _ in watch.look(**(usual | given))]


@pytest.mark.parametrize(
    ("signal", "change", "fires"),
    [
        (Action.BUY, -2.3, True),
        (Action.BUY, -2.0, True),
        (Action.BUY, -1.99, False),
        (Action.BUY, 5.0, False),
        (Action.SELL, -9.0, False),
        (Action.HOLD, -9.0, False),
        (Action.BUY, None, False),
    ],
)
def test_a_fall_is_asked_about_only_against_a_bullish_signal(signal: Action, change: float, fires: bool) -> None:
    found = look(MarketWatch(TriggerSettings()), signal=signal, change_24h=change)
    assert found == ([Trigger.FALL_AGAINST_BUY] if fires else [])


@pytest.mark.parametrize("flag", [True, False, None])
def test_high_volatility_is_the_flag(flag: bool | None) -> None:
    found = look(MarketWatch(TriggerSettings()), high_volatility=flag)
    assert found == ([Trigger.HIGH_VOLATILITY] if flag else [])


def test_a_transition_lasts_as_long_as_told() -> None:
    watch = MarketWatch(TriggerSettings(regime_bars=3))
    regimes = [Regime.BULL, Regime.BULL, None, Regime.BEAR, Regime.BEAR, None, Regime.BEAR, Regime.BULL]
    found = [bool(look(watch, regime=regime)) for regime in regimes]
    assert found == [False, False, False, True, True, True, False, True]


def test_the_first_regime_is_no_transition_and_zero_bars_switch_it_off() -> None:
    assert look(MarketWatch(TriggerSettings())) == []
    silent = MarketWatch(TriggerSettings(regime_bars=0))
    assert [look(silent, regime=regime) for regime in (Regime.BULL, Regime.BEAR)] == [[], []]


def test_the_robust_distance_by_hand() -> None:
    # Median 3, deviations 2 1 0 1 2, their median 1: ten is 7 / 1.4826 away, though a fifth of the past were wild.
    history = np.array([[1.0], [2.0], [3.0], [4.0], [5.0]])
    assert robust_distances(history, np.array([10.0]))[0] == pytest.approx(7 / 1.4826)
    history[4] = 1e12
    assert robust_distances(history, np.array([10.0]))[0] == pytest.approx(7 / 1.4826)


@pytest.mark.parametrize(
    ("history", "value"), [([2.0, 2.0, 2.0], 5.0), ([math.nan, math.nan, 2.0], 5.0), ([1.0, 2.0, 3.0], math.nan)]
)
def test_what_has_no_usual_is_not_unusual(history: list[float], value: float) -> None:
    assert robust_distances(np.array(history)[:, None], np.array([value]))[0] == 0.0


def test_an_unusual_bar_is_named_by_its_figure() -> None:
    watch, rng = MarketWatch(TriggerSettings()), np.random.default_rng(1)
    for _ in range(150):
        assert look(watch, figures={"volume_ratio": float(rng.lognormal(0.0, 0.3))}) == []
    (fired,) = watch.look(
        signal=Action.BUY, change_24h=0.0, regime=None, high_volatility=None, figures={"volume_ratio": 20.0}
    )
    assert fired.trigger is Trigger.UNUSUAL_CONDITIONS
    assert fired.detail.startswith("volume_ratio is ")


def test_nothing_is_unusual_before_there_is_a_past() -> None:
    watch = MarketWatch(TriggerSettings(unusual_after=50))
    figures = [{"volume_ratio": 1.0 + 0.1 * (bar % 7)} for bar in range(49)]
    assert not any(look(watch, figures=figure) for figure in figures)
    assert look(watch, figures={"volume_ratio": 500.0}) == []
    assert look(watch, figures={"volume_ratio": 500.0}) == [Trigger.UNUSUAL_CONDITIONS]


def fired_bars(n: int) -> list[tuple[int, tuple[Any, ...]]]:
    data = load_sample().head(n)
    features = compute_features(data)
    regimes = label_regimes(features)
    watch, found = MarketWatch(TriggerSettings(fall_24h_pct=0.5)), []
    for bar in range(features.ready_from, n):
        figures = features.indicators(bar)
        fired = watch.look(
            signal=Action.BUY, change_24h=figures["price_change_24h"], regime=regimes.label(bar),
            high_volatility=bool(regimes.high_volatility[bar]), figures=figures,
        )  # fmt: skip
        found.append((bar, fired))
    return found


def test_the_triggers_see_no_future_and_most_bars_are_not_unusual() -> None:
    whole = fired_bars(2_500)
    for cut in (500, 1_333):
        part = fired_bars(cut)
        assert part == whole[: len(part)]
    assert {fired.trigger for _, several in whole for fired in several} == set(Trigger)
    unusual = sum(any(one.trigger is Trigger.UNUSUAL_CONDITIONS for one in several) for _, several in whole)
    assert 0 < unusual < 0.05 * len(whole)


def test_all_faults_are_reported_together() -> None:
    with pytest.raises(SettingsError, match=r"(?s)3 faults.*fall_24h_pct.*regime_bars.*unusual_after"):
        TriggerSettings(fall_24h_pct=-1.0, regime_bars=-1, unusual_after=3)
