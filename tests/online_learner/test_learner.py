"""The online learner as a whole: the printed calls, explanations, restarts, no look-ahead, bad input."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.events import Event, StrategyScored, TradeClosed
from ai_backtrader.online_learner import (
    DriftSettings,
    HealthSettings,
    HealthState,
    OnlineLearner,
    OnlineLearnerSettings,
    PatternSettings,
)
from ai_backtrader.orchestrator import TradeListener
from ai_backtrader.values import Direction, Regime

Conditions = Callable[[np.random.Generator], dict[str, float]]
Trade = Callable[..., TradeClosed]

PRINTED: dict[str, Any] = {
    "symbol": "BTC/USDT", "strategy_id": "ema_cross", "entry_price": 95000, "exit_price": 96000, "pnl_pct": 1.05,
    "regime": "bull", "hold_duration_mins": 120,
}  # fmt: skip


class Kept:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)


def test_the_printed_calls_run_and_unpack(conditions: Conditions) -> None:
    indicators = conditions(np.random.default_rng(0))
    learner = OnlineLearner()
    learner.on_trade_complete(**PRINTED, indicators_at_entry=indicators)
    should_trade, adjustment, reason = learner.should_trade(
        strategy_id="ema_cross", regime="bull", indicators=indicators
    )
    assert (should_trade, adjustment) == (True, 1.0)
    assert reason == "ema_cross is HEALTHY; too few like trades for a verdict"
    assert learner.health("ema_cross").win_rate == 1.0
    assert learner.regime_performance("ema_cross") == {Regime.BULL: (1, 1, 1.05)}


def test_facts_and_event_teach_the_same(conditions: Conditions) -> None:
    indicators = conditions(np.random.default_rng(0))
    by_facts, by_event = OnlineLearner(), OnlineLearner()
    by_facts.on_trade_complete(**PRINTED, indicators_at_entry=indicators)
    event = TradeClosed(**(PRINTED | {"regime": Regime.BULL}), direction=Direction.LONG, indicators_at_entry=indicators)
    by_event.on_trade_complete(event)
    assert by_facts.state_dict() == by_event.state_dict()
    assert isinstance(by_event, TradeListener)


@pytest.mark.parametrize(
    ("exit_price", "pnl_pct", "side"), [(96000, 1.0, 1), (94000, -1.0, 1), (94000, 1.0, -1), (96000, -1.0, -1)]
)
def test_a_losing_long_is_no_short(exit_price: float, pnl_pct: float, side: int) -> None:
    journal = Kept()
    learner = OnlineLearner(journal=journal)
    learner.on_trade_complete(**(PRINTED | {"exit_price": exit_price, "pnl_pct": pnl_pct}))
    assert isinstance(journal.events[0], TradeClosed)
    assert journal.events[0].direction.sign == side


def test_trades_told_as_events_are_not_recorded_again_and_changes_of_health_are(closed_trade: Trade) -> None:
    journal = Kept()
    learner = OnlineLearner(journal=journal)
    at = dt.datetime(2024, 5, 1)
    for _ in range(5):
        learner.on_trade_complete(closed_trade(-1.0, closed_at=at))
    (scored,) = journal.events
    assert isinstance(scored, StrategyScored)
    assert (scored.strategy_id, scored.symbol, scored.sample, scored.at) == ("s", "X", "health", at)
    assert scored.figures == {"state": 1.0, "size_factor": 0.0, "n_trades": 5.0}


def test_a_failing_strategy_is_refused_followed_tried_and_trusted_again(closed_trade: Trade) -> None:
    learner = OnlineLearner()
    said = []

    def ask() -> tuple[bool, float]:
        opinion = learner.should_trade(strategy_id="s", regime="bull", indicators={"rsi": 50.0})
        said.append(opinion.reason)
        return opinion[:2]

    def close(pnl: float, n: int, paper: bool = False) -> None:
        for _ in range(n):
            learner.on_trade_complete(closed_trade(pnl, paper=paper, regime=None))

    assert ask() == (True, 1.0)
    close(-1.0, 5)
    assert ask() == (False, 0.0)
    close(1.0, 20, paper=True)
    assert ask() == (True, 0.5)
    close(1.0, 20)
    assert ask() == (True, 1.0)
    assert said[0] == "s has no trades yet"
    assert said[1].startswith("s is DEGRADED (5 losses in a row)")
    assert "on probation at 50% of the size (the last 20 trades, on paper, earned 1.00 % on average)" in said[2]
    assert learner.regime_performance("s")[None].n_trades == 25  # paper is no performance


def test_a_degraded_strategy_that_nobody_follows_is_tried_again_when_bars_pass(closed_trade: Trade) -> None:
    one, many = OnlineLearner(), OnlineLearner()
    for learner in (one, many):
        for _ in range(5):
            learner.on_trade_complete(closed_trade(-1.0))
    one.on_bars("other market", close=np.full(600, 100.0))
    assert one.health("s").state is HealthState.DEGRADED
    one.on_bars("X", close=np.full(500, 100.0))
    for _ in range(500):
        many.on_bar("X", close=100.0)
    assert one.health("s") == many.health("s")
    assert one.health("s").state is HealthState.PROBATION


def test_a_regime_that_goes_badly_dampens_and_a_good_one_lifts_within_limits(closed_trade: Trade) -> None:
    learner = OnlineLearner(OnlineLearnerSettings(health=HealthSettings(rules=())))
    for i in range(300):
        regime = Regime.BEAR if i % 3 == 0 else Regime.BULL
        learner.on_trade_complete(closed_trade(1.0 if regime is Regime.BULL else -1.0, regime=regime))
    rate = 200 / 300
    bear = learner.should_trade(strategy_id="s", regime="bear")
    bull = learner.should_trade(strategy_id="s", regime="BULL")
    assert bear.adjustment == max(20 * rate / 120 / rate, 0.5) == 0.5
    assert bull.adjustment == 1.2 < (200 + 20 * rate) / 220 / rate
    assert "in bear 0 of 100 trades won (67% of all)" in bear.reason
    assert learner.should_trade(strategy_id="s", regime="sideways").adjustment == 1.0
    assert learner.should_trade(strategy_id="s").adjustment == 1.0


def test_conditions_that_lose_are_refused_with_the_reason(closed_trade: Trade, conditions: Conditions) -> None:
    features = ("rsi", "adx", "atr_ratio")
    settings = OnlineLearnerSettings(health=HealthSettings(rules=()), patterns=PatternSettings(features=features))
    learner = OnlineLearner(settings)
    rng = np.random.default_rng(3)
    for _ in range(2000):
        found = conditions(rng)
        pnl = 1.0 if rng.random() < (0.1 if found["rsi"] > 0.8 else 0.6) else -1.0
        learner.on_trade_complete(closed_trade(pnl, indicators_at_entry=found))
    calm = dict.fromkeys(features, 0.0)
    bad = learner.should_trade(strategy_id="s", indicators=calm | {"rsi": 2.5})
    good = learner.should_trade(strategy_id="s", indicators=calm | {"rsi": -1.0})
    assert (bad.should_trade, bad.adjustment) == (False, 0.0)
    assert "of 50 like trades" in bad.reason
    assert "chance explains so few with probability" in bad.reason
    assert good.should_trade
    assert good.adjustment > 1.0
    short = learner.should_trade(strategy_id="s", indicators=calm | {"rsi": 2.5}, direction="SELL")
    assert short.reason.endswith("too few like trades for a verdict")


def test_asking_changes_nothing(closed_trade: Trade, conditions: Conditions) -> None:
    learner = OnlineLearner()
    rng = np.random.default_rng(4)
    for _ in range(150):
        learner.on_trade_complete(closed_trade(float(rng.normal()), indicators_at_entry=conditions(rng)))
    before = learner.state_dict()
    for name in ("s", "never heard of"):
        learner.should_trade(strategy_id=name, regime="bull", indicators=conditions(rng))
        learner.health(name)
        learner.regime_performance(name)
    assert learner.state_dict() == before
    assert learner.strategies() == ("s",)


SMALL = OnlineLearnerSettings(
    health=HealthSettings(
        rules=("consecutive_losses", "win_rate", "average_pnl", "calibrated"), shadow_timeout_bars=40
    ),
    drift=DriftSettings(warm_up=50, cool_down_bars=100),
    patterns=PatternSettings(capacity=60, min_trades=20),
    min_regime_trades=5,
)


def life(conditions: Conditions, seed: int, n: int) -> list[tuple[str, Any]]:
    """Bars and trades in an order, as a backtest would tell them."""
    rng = np.random.default_rng(seed)
    told: list[tuple[str, Any]] = []
    price = 100.0
    for i in range(n):
        late = i > n // 2
        price *= float(np.exp(rng.normal(scale=0.03 if late else 0.01)))
        at = dt.datetime(2024, 1, 1) + dt.timedelta(hours=i)
        told.append(("bar", ("XY"[i % 2], {"close": price, "volume": float(rng.lognormal()), "at": at})))
        if rng.random() < 0.5:
            told.append(
                (
                    "trade",
                    TradeClosed(
                        symbol="XY"[i % 2],
                        strategy_id="abc"[int(rng.integers(3))],
                        direction=Direction.LONG if rng.random() < 0.5 else Direction.SHORT,
                        entry_price=100.0,
                        exit_price=101.0,
                        pnl_pct=float(rng.normal(0.2 if not late else -0.2)),
                        regime=list(Regime)[int(rng.integers(5))],
                        indicators_at_entry=conditions(rng),
                        paper=bool(rng.random() < 0.4),
                        closed_at=at,
                    ),
                )
            )
    return told


def tell(learner: OnlineLearner, told: list[tuple[str, Any]], conditions: Conditions) -> Iterator[object]:
    rng = np.random.default_rng(0)
    for i, (kind, what) in enumerate(told):
        if kind == "trade":
            learner.on_trade_complete(what)
        else:
            symbol, bar = what
            yield learner.on_bar(symbol, **bar)
        yield learner.should_trade(
            strategy_id="abc"[i % 3], regime=list(Regime)[i % 5], indicators=conditions(rng), direction="BUY"
        )
        yield learner.take_requests() if i % 50 == 0 else learner.requests()


def test_what_is_said_at_a_bar_needs_nothing_after_it(conditions: Conditions) -> None:
    told = life(conditions, 1, 400)
    whole = list(tell(OnlineLearner(SMALL), told, conditions))
    assert len({str(item) for item in whole}) > 100
    for t in np.random.default_rng(2).integers(1, len(told), size=12):
        cut = list(tell(OnlineLearner(SMALL), told[:t], conditions))
        assert whole[: len(cut)] == cut
    other = told[:300] + life(conditions, 77, 200)
    assert list(tell(OnlineLearner(SMALL), other, conditions))[:600] == whole[:600]


@pytest.mark.parametrize("stop", [0, 1, 137, 300, 512])
def test_a_restart_equals_no_interruption_to_the_bit(conditions: Conditions, stop: int) -> None:
    told = life(conditions, 5, 450)
    whole, first = OnlineLearner(SMALL), OnlineLearner(SMALL)
    list(tell(whole, told[:stop], conditions))
    list(tell(first, told[:stop], conditions))
    kept = json.dumps(first.state_dict(), allow_nan=False)
    second = OnlineLearner.from_state(json.loads(kept), SMALL)
    assert json.dumps(second.state_dict()) == kept
    assert list(tell(second, told[stop:], conditions)) == list(tell(whole, told[stop:], conditions))
    assert second.state_dict() == whole.state_dict()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"pnl_pct": float("nan")}, "pnl_pct must be finite, got nan"),
        ({"pnl_pct": None}, "pnl_pct is missing"),
        ({"pnl_pct": "1"}, "pnl_pct must be a number, got '1'"),
        ({"regime": "moon"}, "Regime: must be one of strong_bull, .* got 'moon'"),
        ({"entry_price": 0.0, "exit_price": float("inf")}, "(?s)2 faults.*entry_price .*exit_price"),
        ({"strategy_id": ""}, "strategy_id must be a text that is not empty"),
        ({"symbol": 3}, "symbol must be a text"),
        ({"indicators_at_entry": None}, "indicators_at_entry must map names to numbers, got None"),
        ({"indicators_at_entry": {"rsi": "high"}}, r"indicators_at_entry\['rsi'\] must be a number, got 'high'"),
        ({"indicators_at_entry": {"rsi": [1.0]}}, r"indicators_at_entry\['rsi'\] must be a number"),
        ({"hold_duration_mins": -1}, "hold_duration_mins must be at least 0"),
        ({"direction": "UP"}, "expected BUY, SELL"),
        ({"direction": "FLAT"}, "direction must be LONG or SHORT"),
        ({"pnl_pct": 0.0}, "direction must be given"),
        ({"closed_at": "yesterday"}, "closed_at must be a datetime"),
    ],
)
def test_a_trade_with_faults_is_refused_and_teaches_nothing(change: dict[str, Any], fault: str) -> None:
    learner = OnlineLearner()
    learner.on_trade_complete(**PRINTED)
    before = learner.state_dict()
    with pytest.raises(SettingsError, match=fault):
        learner.on_trade_complete(**(PRINTED | {"strategy_id": "new"} | change))
    assert learner.state_dict() == before


def test_an_event_with_faults_or_beside_facts_is_refused(closed_trade: Trade) -> None:
    learner = OnlineLearner()
    for trade, fault in (
        (closed_trade(float("nan")), "pnl_pct must be finite"),
        (closed_trade(1.0, regime="moon"), "regime must be one of"),
        (closed_trade(1.0, indicators_at_entry={"rsi": "x"}), "must be a number"),
        ({"pnl_pct": 1.0}, "must be a TradeClosed, got"),
    ):
        with pytest.raises(SettingsError, match=fault):
            learner.on_trade_complete(trade)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="give the event or the facts, got both"):
        learner.on_trade_complete(closed_trade(1.0), pnl_pct=1.0)
    with pytest.raises(SettingsError, match="5 faults"):
        learner.on_trade_complete()
    assert learner.strategies() == ()


@pytest.mark.parametrize(
    ("question", "fault"),
    [
        ({"regime": "moon"}, "must be one of strong_bull"),
        ({"indicators": [1.0]}, "indicators must be a mapping"),
        ({"direction": "UP"}, "expected BUY, SELL"),
    ],
)
def test_a_question_with_faults_is_refused(question: dict[str, Any], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        OnlineLearner().should_trade(strategy_id="s", **question)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"version": "online-learner/0"}, "version must be one of 'online-learner/1'"),
        ({"settings": "other"}, "settings must be those that the state was kept of"),
        ({"strategies": {"s": {}}}, "the state is damaged"),
        ({"markets": {"X": {"bars": 1, "before": None, "channels": {}}}}, "the state is damaged"),
        ({"requests": {"pending": [[1]], "asked": []}}, "the state is damaged"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        OnlineLearner.from_state(OnlineLearner().state_dict() | change)


def test_settings_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(SettingsError, match="settings must be OnlineLearnerSettings"):
        OnlineLearner(HealthSettings())  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="health must be HealthSettings"):
        OnlineLearnerSettings(health=DriftSettings())  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="2 faults"):
        OnlineLearnerSettings(min_adjustment=2.0, max_adjustment=0.5)
