"""The training protocol: what it keeps apart, what it remembers, and that the agents learn what can be learned."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.events import ExperiencesGathered
from ai_backtrader.evidence import MemoryLedger, TrialKey
from ai_backtrader.market import MarketData, compute_features
from ai_backtrader.rl import (
    DQNSettings,
    EnvironmentSettings,
    LeverageAction,
    Segment,
    TrainingProgress,
    TrainingResult,
    audit_reward,
    split_by_time,
    train_agent,
)
from ai_backtrader.rl.baselines import baseline_plays, judging_arrays, without_leverage
from ai_backtrader.rl.greedy_play import play_given, play_network
from ai_backtrader.rl.planted import PlantedMarket, clairvoyant_growth, planted_market
from ai_backtrader.rl.reward_audit import zero_drift_market
from ai_backtrader.rl.selection import RELUCTANCES, cautious_score, with_reluctance

SMALL = DQNSettings(
    hidden=(16,), gamma=0.9, batch_size=32, buffer_size=2_000, learning_starts=200, epsilon_steps=500, target_every=50
)


def small(data: MarketData, **given: Any) -> TrainingResult:
    return train_agent(data, **{"seeds": 2, "steps": 1_500, "dqn": SMALL, "caution": 0.0, **given})


@pytest.fixture(scope="module")
def bars() -> MarketData:
    return load_sample().head(1_500)


@pytest.fixture(scope="module")
def trained(bars: MarketData) -> TrainingResult:
    return small(bars)


def same(one: TrainingResult, other: TrainingResult) -> bool:
    weights = [np.array_equal(a.weights, b.weights) for a, b in zip(one.seeds, other.seeds, strict=True)]
    return all(weights) and json.dumps(one.to_dict()) == json.dumps(other.to_dict())


def altered(data: MarketData, start: int) -> MarketData:
    """The same bars up to ``start``, half the price after."""
    columns = {name: values.copy() for name, values in data.columns().items()}
    for name in ("open", "high", "low", "close"):
        columns[name][start:] *= 0.5
    return dataclasses.replace(data, **columns)


def test_the_same_call_gives_the_same_result_and_another_seed_another(
    bars: MarketData, trained: TrainingResult
) -> None:
    assert same(small(bars), trained)
    assert not np.array_equal(trained.seeds[0].weights, trained.seeds[1].weights)


def test_test_bars_decide_nothing_that_is_kept(bars: MarketData, trained: TrainingResult) -> None:
    cut = trained.segments["test"].start
    other = small(altered(bars, cut))
    for one, two in zip(trained.seeds, other.seeds, strict=True):
        assert np.array_equal(one.weights, two.weights)
        assert one.looks == two.looks
        assert one.validation == two.validation
    assert [outcome.test for outcome in trained.seeds] != [outcome.test for outcome in other.seeds]


def test_a_stopped_training_goes_on_to_the_same_bits(bars: MarketData, trained: TrainingResult, tmp_path: Path) -> None:
    path, ledger = tmp_path / "training.safetensors", MemoryLedger()
    seen: list[TrainingProgress] = []

    def stop_in_the_second_seed(progress: TrainingProgress) -> bool:
        seen.append(progress)
        return not (progress.place == 1 and progress.steps == 600)

    stopped = small(bars, checkpoint=path, on_progress=stop_in_the_second_seed, ledger=ledger)
    assert stopped.interrupted
    assert "stay sealed" in stopped.verdict
    assert stopped.opening is None
    assert stopped.seeds[0].test is None
    assert np.array_equal(stopped.seeds[0].weights, trained.seeds[0].weights)
    assert stopped.make_agent().trained
    assert stopped.make_agent().bar_seconds == 3_600.0
    key = TrialKey(bars.fingerprint, "rl-leverage")
    assert ledger.trials(key).n_trials == 0

    resumed = small(bars, checkpoint=path, resume=True, ledger=ledger)
    assert same(resumed, trained)
    assert ledger.trials(key).n_trials == 2
    assert [progress.steps for progress in seen] == [150 * look for look in range(1, 11)] + [150, 300, 450, 600]
    assert {progress.total_steps for progress in seen} == {1_500}
    assert all(progress.validation_equity > 0.0 and progress.steps_per_second > 0.0 for progress in seen)
    with pytest.raises(SettingsError, match="steps was 1500, is 1600; load it with what it was made with"):
        small(bars, checkpoint=path, resume=True, steps=1_600)


def test_ctrl_c_keeps_the_best_so_far(bars: MarketData) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.steps >= 450:
            raise KeyboardInterrupt

    stopped = small(bars, on_progress=interrupt)
    assert stopped.interrupted
    assert len(stopped.best.looks) == 3
    at_once = small(bars, on_progress=lambda progress: False)
    assert len(at_once.best.looks) == 1


def test_the_test_is_opened_once_by_one_training_and_a_second_look_is_told(bars: MarketData) -> None:
    ledger = MemoryLedger()
    assert small(bars, seeds=1, ledger=ledger).opening == 1
    assert small(bars, seeds=1, ledger=ledger).opening == 1  # the same training again is the same look
    again = small(bars, seeds=[7], ledger=ledger)
    assert again.opening == 2
    assert "not sealed any more" in again.verdict


def test_transitions_reach_the_journal_in_order_and_can_be_trained_on(bars: MarketData) -> None:
    kept: list[ExperiencesGathered] = []

    class Keeps:
        def record(self, event: Any) -> None:
            kept.append(event)

    first = small(bars, seeds=1, journal=Keeps())
    assert [len(batch.actions) for batch in kept] == [150] * 10
    assert {(batch.agent, batch.feature_version, batch.symbol) for batch in kept} == {
        ("leverage", "leverage-state/1", "EURUSD")
    }
    last_train_bar = bars.times[first.segments["train"].stop - 1].astype("datetime64[us]").item()
    assert {batch.at for batch in kept} == {last_train_bar}
    whole = dataclasses.replace(
        kept[0],
        **{
            name: np.concatenate([getattr(batch, name) for batch in kept])
            for name in ("states", "actions", "rewards", "next_states", "terminated")
        },
    )
    more = small(bars, seeds=1, experiences=whole)
    assert not np.array_equal(more.seeds[0].weights, first.seeds[0].weights)
    with pytest.raises(SettingsError, match="agent must be 'basic', got 'leverage'"):
        small(bars, agent="basic", experiences=whole)


def test_no_episode_crosses_a_split(bars: MarketData) -> None:
    split = {"train": Segment(200, 700), "validation": Segment(700, 1_000), "test": Segment(1_100, 1_400)}
    result = small(bars, seeds=1, split=split)
    assert len(result.seeds[0].test_equity) == 300
    assert (result.times[0], result.times[1]) == (
        str(bars.times[1_100].astype("datetime64[s]")) + "Z",
        str(bars.times[1_399].astype("datetime64[s]")) + "Z",
    )
    with pytest.raises(SettingsError, match="in the order of time, apart and within the 1500 bars"):
        small(bars, split={**split, "test": Segment(900, 1_400)})
    with pytest.raises(SettingsError, match="split must have train, validation, test, got train"):
        small(bars, split={"train": Segment(200, 700)})


def test_all_faults_of_a_call_are_told_together(bars: MarketData) -> None:
    with pytest.raises(
        SettingsError, match=r"(?s)agent must be one of.*steps.*caution.*seeds.*resume needs a checkpoint"
    ):
        train_agent(bars, agent="both", seeds=[1, 1], steps=5, caution=-1.0, resume=True)
    with pytest.raises(SettingsError, match="a journal keeps single steps: dqn must have n_step 1"):
        small(bars, dqn=dataclasses.replace(SMALL, n_step=3), journal=MemoryJournal())


class MemoryJournal:
    def record(self, event: Any) -> None:
        raise AssertionError("nothing may be recorded")


# ------------------------------------------------------------------------------------------------------- what is beside


def test_baselines_hold_what_they_say(bars: MarketData) -> None:
    settings = EnvironmentSettings(commission=0.0, funding=0.0)
    segments, features = dict(split_by_time(bars)), compute_features(bars)
    plays = baseline_plays(bars, settings, segments=segments, features=features)
    test = segments["test"]
    moved = bars.close[test.stop - 1] / bars.open[test.start + 1] - 1.0
    gap = bars.close[test.start] / bars.open[test.start + 1]  # sized at the close, filled at the open
    assert (plays["flat"].equity == settings.cash).all()
    for name, leverage in (("buy_and_hold_1x", 1.0), ("buy_and_hold_3x", 3.0)):
        gained = plays[name].equity[-1] / settings.cash - 1.0
        assert gained == pytest.approx(0.9 * leverage * moved / gap, rel=1e-9)
        assert plays[name].figures["turnover"] == pytest.approx(0.9 * leverage * settings.cash / gap, rel=1e-9)


def test_the_volatility_target_knows_no_later_bar(bars: MarketData) -> None:
    settings, segments = EnvironmentSettings(), dict(split_by_time(bars))
    cut = segments["test"].start + 150
    other = altered(bars, cut)
    one, two = (
        baseline_plays(data, settings, segments=segments, features=compute_features(data))["volatility_target"].equity
        for data in (bars, other)
    )
    assert np.array_equal(one[:150], two[:150])
    assert one[-1] != two[-1]


def test_without_leverage_every_action_is_at_one(bars: MarketData) -> None:
    segment = split_by_time(bars)["test"]
    env = judging_arrays(bars, EnvironmentSettings(), leveraged=True, segment=segment, features=compute_features(bars))
    actions = np.zeros(len(segment) - 1, np.int64)
    actions[0] = LeverageAction.SHORT_10X
    plain = play_given(without_leverage(env), actions)
    actions[0] = LeverageAction.SHORT_1X
    assert np.array_equal(plain.equity, play_given(env, actions).equity)
    actions[0] = LeverageAction.SHORT_10X
    assert not np.array_equal(plain.equity, play_given(env, actions).equity)


def test_reluctance_raises_hold_alone_and_the_most_of_it_never_trades(
    bars: MarketData, trained: TrainingResult
) -> None:
    agent = trained.make_agent()
    sizes, weights = agent.dqn.sizes, trained.best.weights
    before = agent.dqn.q_values(np.zeros((1, 35)))[0]
    agent.take_weights(with_reluctance(sizes, weights, 2.0))
    after = agent.dqn.q_values(np.zeros((1, 35)))[0]
    assert after[0] - before[0] == pytest.approx(2.0, rel=1e-5)
    assert np.array_equal(after[1:], before[1:])
    env = judging_arrays(
        bars, trained.environment, leveraged=True, segment=trained.segments["test"], features=compute_features(bars)
    )
    still = play_network(env, sizes, with_reluctance(sizes, weights, RELUCTANCES[-1]))
    assert still.figures["turnover"] == 0.0
    assert cautious_score(still, 3.0) == 0.0


def test_figures_verdict_and_json_agree(trained: TrainingResult) -> None:
    told = json.loads(json.dumps(trained.to_dict(), allow_nan=False))
    assert set(told["baselines"]) == {"flat", "buy_and_hold_1x", "buy_and_hold_3x", "volatility_target"}
    for outcome, row in zip(trained.seeds, told["seeds"], strict=True):
        assert outcome.test is not None
        assert row["test"]["growth"] == pytest.approx(math.log(outcome.test_equity[-1] / outcome.test_equity[0]))
        assert 0.0 < row["luck"] <= 1.0
    assert told["chosen_seed"] == max(trained.seeds, key=lambda outcome: outcome.validation.growth).seed
    for name, beaten in told["beats"].items():
        words = trained.verdict.split("Does not beat")[0] if beaten else trained.verdict.split("Does not beat")[1]
        assert name.replace("_", " ") in words
    with pytest.raises(AIBacktraderError, match="no baseline 'luck'; there are flat"):
        trained.beats("luck")


# ------------------------------------------------------------------------------------------------------- what is learnt


def share_of_optimum(market: PlantedMarket, result: TrainingResult) -> tuple[float, list[float], list[float]]:
    """Growth of every seed over the clairvoyant's, and the mean position on up-legs and down-legs of the chosen one."""
    data, test = market.data, result.segments["test"]
    env = judging_arrays(data, result.environment, leveraged=True, segment=test, features=compute_features(data))
    optimum = clairvoyant_growth(env, market.sides)
    agent = result.make_agent()
    play = play_network(env, agent.dqn.sizes, result.best.weights)
    changes, sides = np.diff(np.log(play.equity)), market.sides[test.start + 1 : test.stop]
    ups, downs = float(changes[sides > 0].sum()), float(changes[sides < 0].sum())
    return optimum, [float(growth) / optimum for growth in result.test_growths], [ups / optimum, downs / optimum]


def test_a_short_training_finds_the_planted_legs() -> None:
    market = planted_market(np.random.default_rng(3), bars=4_000)
    result = train_agent(market.data, seeds=1, steps=15_000)
    _, shares, (ups, downs) = share_of_optimum(market, result)
    assert shares[0] > 0.55
    assert downs > 0.2  # it earns on falling legs: it is short there
    assert ups > 0.2
    assert result.best.luck < 0.01
    assert "Does not beat" not in result.verdict or result.test_growths.size < 2


def test_a_short_training_on_noise_stays_out() -> None:
    noise = zero_drift_market(np.random.default_rng(5), bars=4_000)
    result = train_agent(noise, seeds=2, steps=8_000)
    for outcome in result.seeds:
        assert outcome.test is not None
        assert outcome.test.turnover < 1.0
        assert outcome.test.growth > -0.05
    assert "stays out of the market" in result.verdict


@pytest.mark.slow
def test_the_leverage_agent_reaches_four_fifths_of_the_clairvoyant_and_shorts_the_down_legs() -> None:
    market = planted_market(np.random.default_rng(1), leg=96)
    result = train_agent(market.data, seeds=5, steps=60_000)
    _, shares, (_, downs) = share_of_optimum(market, result)
    assert np.mean(shares) >= 0.8
    assert shares[[outcome.seed for outcome in result.seeds].index(result.best.seed)] >= 0.8
    assert downs > 0.3
    assert all(result.beats(name) for name in result.baselines)


@pytest.mark.slow
@pytest.mark.parametrize("path", [1, 2, 3])
def test_on_noise_the_agents_learn_to_stay_out(path: int) -> None:
    noise = zero_drift_market(np.random.default_rng([9, path]), bars=12_000)
    for agent in ("leverage", "basic"):
        result = train_agent(noise, agent=agent, seeds=5, steps=40_000)
        turnovers = [outcome.test.turnover for outcome in result.seeds if outcome.test is not None]
        assert np.median(turnovers) == 0.0
        assert np.median(result.test_growths) == 0.0
        assert sum(turnover > 0.0 for turnover in turnovers) <= 1


def test_the_default_reward_passes_its_audit() -> None:
    mode = EnvironmentSettings().reward_mode
    for leveraged in (True, False):
        assert audit_reward(mode, leveraged=leveraged, paths=4, bars=2_000).passed
