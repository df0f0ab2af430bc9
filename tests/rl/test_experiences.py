"""Learning from closed trades and stored transitions; agents in files with their cards."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.events import ExperiencesGathered, TradeClosed
from ai_backtrader.learning_db import LearningDatabase
from ai_backtrader.market import compute_features
from ai_backtrader.rl import (
    DQNSettings,
    LeverageAction,
    LeverageRLAgent,
    LeverageState,
    RLAgent,
    learn_from_experiences,
    load_agent,
    load_pretrained,
    past_trades,
    pretrained_card,
    save_agent,
    train_agent,
)
from ai_backtrader.rl.experiences import BATCH, gathered
from ai_backtrader.values import Direction

SMALL = DQNSettings(
    hidden=(16,), gamma=0.9, batch_size=16, buffer_size=40_000, learning_starts=200, epsilon_steps=500, target_every=50
)


def closed(indicators: dict[str, float], *, short: bool, leverage: float, pnl_pct: float) -> TradeClosed:
    return TradeClosed(
        symbol="EURUSD",
        strategy_id="legs",
        direction=Direction.SHORT if short else Direction.LONG,
        entry_price=1.1,
        exit_price=1.09,
        pnl_pct=pnl_pct,
        leverage=leverage,
        liquidated=pnl_pct <= -100.0,
        indicators_at_entry=indicators,
    )


def test_the_printed_loop_learns_from_the_trades_of_a_database(tmp_path: Path) -> None:
    features = compute_features(load_sample().head(600))
    with LearningDatabase(tmp_path / "ai_learning.db") as database:
        for place in range(60):
            # Shorts at 5x paid, longs did not.
            short = place % 2 == 0
            indicators = features.indicators(200 + 5 * place)
            database.record(closed(indicators, short=short, leverage=5.0, pnl_pct=4.0 if short else -4.0))
        database.flush()
        historical_trades = past_trades(database.trade_events())
    assert len(historical_trades) == 60
    agent = LeverageRLAgent(settings=dataclasses.replace(SMALL, learning_rate=5e-3))
    losses = []
    for _ in range(10):
        for trade in historical_trades:
            state = LeverageState.from_market_data(trade.entry_indicators)
            reward = agent.calculate_reward(
                action=trade.action,
                pnl_pct=trade.pnl_pct,
                leverage_used=trade.leverage,
                volatility=trade.volatility,
                is_short=trade.is_short,
                margin_ratio=trade.max_margin_ratio,
            )
            agent.remember(state, trade.action, reward, trade.next_state, trade.done)
            losses.append(agent.train_step())
    assert losses[0] is None  # fewer transitions than a batch
    known = [loss for loss in losses if loss is not None]
    assert np.mean(known[-50:]) < 0.5 * np.mean(known[:50])
    values = agent.q_values(LeverageState.from_market_data(historical_trades[0].entry_indicators))
    assert values[LeverageAction.SHORT_5X] > values[LeverageAction.LONG_5X]
    assert agent.trained


@pytest.mark.parametrize(
    ("leverage", "short", "expected"),
    [
        (1.0, False, "LONG_1X"),
        (1.7, False, "LONG_1X"),
        (1.8, True, "SHORT_3X"),
        (3.8, True, "SHORT_3X"),
        (4.0, False, "LONG_5X"),
        (8.0, True, "SHORT_10X"),
        (125.0, False, "LONG_10X"),
    ],
)
def test_a_trade_is_the_action_nearest_in_ratio(leverage: float, short: bool, expected: str) -> None:
    trade = closed({"atr_pct": 1.0}, short=short, leverage=leverage, pnl_pct=1.0)
    assert past_trades([trade])[0].action.name == expected


def test_trades_tell_liquidations_and_those_without_volatility_are_left_out() -> None:
    gone = closed({"atr_pct": 2.5}, short=False, leverage=10.0, pnl_pct=-100.0)
    blind = closed({"rsi": 30.0}, short=False, leverage=1.0, pnl_pct=1.0)
    found = past_trades([gone, blind, closed({"atr_pct": float("nan")}, short=True, leverage=1.0, pnl_pct=0.0)])
    assert [(trade.max_margin_ratio, trade.volatility) for trade in found] == [(1.0, 2.5)]


def test_transitions_go_through_the_database_and_come_back_into_a_replay(tmp_path: Path) -> None:
    data = load_sample().head(1_500)
    with LearningDatabase(tmp_path / "ai_learning.db") as database:
        train_agent(data, seeds=1, steps=1_500, dqn=SMALL, journal=database)
        database.flush()
        stored = database.experiences(agent="leverage", feature_version=LeverageState.version)
        assert database.experiences(agent="basic", feature_version=LeverageState.version) is None
    assert stored is not None
    assert stored.states.shape == (1_500, 35)
    agent = LeverageRLAgent(settings=SMALL)
    loss = learn_from_experiences(agent, stored, updates=200)
    assert np.isfinite(loss)
    replay = agent.dqn.memory.replay
    assert np.array_equal(replay.states[:1_500], stored.states)
    assert np.array_equal(replay.actions[:1_500], stored.actions)
    assert np.array_equal(replay.discounts[:1_500] == 0.0, stored.terminated)
    # What the masks say in training, the next states say here.
    flat = stored.next_states[:, 26] == 0.0
    assert 0 < flat.sum() < flat.size
    assert not replay.next_masks[:1_500][flat][:, [LeverageAction.CLOSE, LeverageAction.REDUCE_HALF]].any()
    assert replay.next_masks[:1_500][~flat].all()
    with pytest.raises(SettingsError, match="an update needs 16 transitions, the replay has 0"):
        learn_from_experiences(LeverageRLAgent(settings=SMALL), batch_of(0), updates=1)


def batch_of(count: int) -> ExperiencesGathered:
    return ExperiencesGathered(
        agent="leverage",
        feature_version=LeverageState.version,
        symbol="EURUSD",
        states=np.zeros((count, 35), np.float32),
        actions=np.zeros(count, np.int64),
        rewards=np.arange(count, dtype=np.float64),
        next_states=np.zeros((count, 35), np.float32),
        terminated=np.zeros(count, np.bool_),
    )


def test_batches_hold_the_newest_transitions_oldest_first() -> None:
    agent = LeverageRLAgent(settings=SMALL)
    learn_from_experiences(agent, batch_of(41_000), updates=0)
    batches = list(
        gathered(agent.dqn, 15_000, agent="leverage", feature_version=LeverageState.version, symbol="EURUSD", at=None)
    )
    assert [len(batch.actions) for batch in batches] == [BATCH, 5_000]
    assert np.array_equal(np.concatenate([batch.rewards for batch in batches]), np.arange(26_000, 41_000))


def test_transitions_that_do_not_fit_are_refused() -> None:
    batch = batch_of(20)
    batch.states[3, 4] = np.nan
    with pytest.raises(SettingsError, match="states must be finite"):
        learn_from_experiences(LeverageRLAgent(settings=SMALL), batch, updates=1)
    with pytest.raises(
        SettingsError, match=r"(?s)agent must be 'basic'.*feature_version must be.*states must have shape"
    ):
        learn_from_experiences(RLAgent(settings=SMALL), batch_of(20), updates=1)


# ---------------------------------------------------------------------------------------------------- agents in files


@pytest.mark.parametrize(("kind", "made"), [("leverage", LeverageRLAgent), ("basic", RLAgent)])
def test_the_agents_that_ship_are_small_and_say_what_they_do_not_beat(kind: str, made: type) -> None:
    import ai_backtrader.rl as room

    folder = Path(room.__file__).parent / "pretrained"
    agent, card = load_pretrained(kind), pretrained_card(kind)
    assert isinstance(agent, made)
    assert agent.trained
    assert (folder / f"{kind}.safetensors").stat().st_size < 200_000
    assert card["data_fingerprint"] == load_sample().fingerprint
    assert card["feature_version"] == agent.state_type.version
    assert len(card["seeds"]) >= 5
    assert card["summary"] == card["verdict"]
    lost = [name for name, beaten in card["beats"].items() if not beaten]
    told = card["summary"].split("Does not beat", 1)[1] if lost else ""
    assert all(name.replace("_", " ") in told for name in lost)
    assert np.array_equal(load_pretrained(kind).dqn.memory.online, agent.dqn.memory.online)


def test_a_saved_agent_acts_as_it_was_trained_and_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    result = train_agent(load_sample().head(1_500), seeds=1, steps=1_000, dqn=SMALL, caution=0.0)
    path = tmp_path / "mine.safetensors"
    digest = save_agent(result, path)
    assert np.array_equal(load_agent(path).dqn.memory.online, result.best.weights)
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["sha256"] == digest
    assert load_agent(path).bar_seconds == card["bar_seconds"] == 3_600.0

    path.with_suffix(".json").write_text(json.dumps({**card, "sha256": "0" * 64}))
    with pytest.raises(AIBacktraderError, match="names another SHA-256"):
        load_agent(path)
    path.with_suffix(".json").unlink()
    assert load_agent(path).trained  # a card is not needed
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(AIBacktraderError, match="does not match its SHA-256"):
        load_agent(path)
    with pytest.raises(SettingsError, match="kind must be one of leverage, basic, got 'both'"):
        load_pretrained("both")
