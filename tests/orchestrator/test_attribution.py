"""Attribution shares what the recorded votes earned, and learnt weights must prove themselves."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.orchestrator import (
    SOURCES,
    Abstention,
    Adjustment,
    Advice,
    Context,
    Decision,
    Orchestrator,
    OrchestratorSettings,
    Vote,
)
from ai_backtrader.orchestrator.attribution import (
    Attribution,
    RecordedVotes,
    attribute,
    learn_weights,
    recombine,
    vote_values,
)
from ai_backtrader.values import Action

SETTINGS = OrchestratorSettings()
START = dt.datetime(2024, 1, 1)


def decision(votes: Sequence[Vote | Abstention], vetoed_by: str | None = None) -> Decision:
    """A decision with these votes; attribution reads nothing else of it."""
    return Decision(
        symbol="X", at=None, action=Action.HOLD, confidence=0.0, score=0.0, position_size_pct=0.0, leverage=1.0,
        stop_loss=None, take_profit=None, reasoning="", votes=tuple(votes), vetoed_by=vetoed_by,
    )  # fmt: skip


def bars(rng: np.random.Generator, count: int) -> dict[str, Any]:
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, count)))
    open_ = np.concatenate(([100.0], close[:-1])) * np.exp(rng.normal(0.0, 0.002, count))
    top, bottom = np.maximum(open_, close), np.minimum(open_, close)
    return {
        "open": open_, "high": top * (1.0 + rng.uniform(0.0, 0.005, count)),
        "low": bottom * (1.0 - rng.uniform(0.0, 0.005, count)), "close": close, "atr": np.full(count, 1.0),
    }  # fmt: skip


def random_vote(rng: np.random.Generator, source: str) -> Vote | Abstention:
    if rng.random() < 0.3:
        return Abstention(source, "silent")
    action = (Action.BUY, Action.SELL, Action.HOLD)[rng.integers(3)]
    return Vote(source, action, float(rng.random()), "drawn")


class Drawn:
    """Sources whose answers are drawn."""

    def __init__(self, rng: np.random.Generator, source: str) -> None:
        self.rng, self.source = rng, source

    def vote(self, context: Context) -> Vote | Abstention:
        return random_vote(self.rng, self.source)

    def adjust(self, context: Context, action: Action, confidence: float) -> Adjustment | Abstention:
        if self.rng.random() < 0.3:
            return Abstention("online", "silent")
        return Adjustment(
            should_trade=bool(self.rng.random() < 0.8), factor=float(self.rng.uniform(0, 1.5)), reason="drawn"
        )

    def advise(self, context: Context, action: Action, confidence: float) -> Advice | Abstention:
        if self.rng.random() < 0.3:
            return Abstention("llm", "silent")
        action = (Action.BUY, Action.SELL, Action.HOLD)[self.rng.integers(3)]
        level = ("low", "medium", "high")[self.rng.integers(3)]
        return Advice(action=action, confidence=float(self.rng.random()), reason="drawn", risk_level=level)


def recorded(seed: int, count: int, **options: Any) -> RecordedVotes:
    """Votes of five drawn sources, decided on by the orchestrator itself."""
    rng = np.random.default_rng(seed)
    sources = {source: Drawn(rng, source) for source in SOURCES}
    orchestrator = Orchestrator(SETTINGS, **sources)
    decisions = [
        orchestrator.decide(
            symbol="X", indicators={"atr": 1.0}, current_price=100.0, portfolio_value=1_000.0,
            at=START + dt.timedelta(hours=bar),
        )
        for bar in range(count)
    ]  # fmt: skip
    return RecordedVotes(decisions=decisions, settings=SETTINGS, **bars(rng, count), **options)


def test_with_all_sources_a_recorded_decision_comes_out_again() -> None:
    seen = set()
    for one in recorded(1, 3_000).decisions:
        score, action, contributions = recombine(one, SOURCES, SETTINGS)
        assert score == pytest.approx(one.score, abs=1e-12)
        assert contributions == pytest.approx(dict(one.breakdown), abs=1e-12)
        assert action is one.action  # sizing never withholds here
        seen.add((action, one.vetoed_by))
    assert {(Action.BUY, None), (Action.SELL, None), (Action.HOLD, "online"), (Action.HOLD, "llm")} <= seen


def test_the_shares_sum_to_the_whole_and_are_the_mean_over_all_orders_of_joining() -> None:
    votes = recorded(2, 400, cost=0.0004)
    found = attribute(votes)
    assert set(found.shapley) == set(SOURCES)
    assert sum(found.shapley.values()) == pytest.approx(found.total, abs=1e-12)

    def value(sources: Sequence[str]) -> float:
        wishes = [recombine(one, sources, SETTINGS)[1].sign for one in votes.decisions]
        return float(vote_values(votes, np.array(wishes, np.int8)).sum())

    known = {frozenset(some): value(some) for size in range(6) for some in itertools.combinations(SOURCES, size)}
    shares = dict.fromkeys(SOURCES, 0.0)
    for order in itertools.permutations(SOURCES):
        for place, source in enumerate(order):
            shares[source] += (known[frozenset(order[: place + 1])] - known[frozenset(order[:place])]) / 120.0
    assert dict(found.shapley) == pytest.approx(shares, abs=1e-12)
    everyone = known[frozenset(SOURCES)]
    for source in SOURCES:
        assert found.alone[source] == pytest.approx(known[frozenset([source])], abs=1e-12)
        without = known[frozenset(SOURCES) - {source}]
        assert found.leave_one_out[source] == pytest.approx(everyone - without, abs=1e-12)


def of_votes(answers: Mapping[str, Sequence[Vote | Abstention]], market: dict[str, Any], **options: Any) -> Any:
    rows = zip(*answers.values(), strict=True)
    return RecordedVotes(decisions=[decision(row) for row in rows], **market, **options)


def test_twins_get_the_same_share_and_who_changes_nothing_gets_none() -> None:
    rng = np.random.default_rng(3)
    views = [Action.from_sign(rng.random() - 0.5) for _ in range(200)]
    equal = OrchestratorSettings(weights={"technical": 1.0, "rl": 1.0, "evolved": 1e-9})
    found = attribute(
        of_votes(
            {
                "technical": [Vote("technical", view, 0.8, "") for view in views],
                "rl": [Vote("rl", view, 0.8, "") for view in views],
                "evolved": [Vote("evolved", Action.HOLD, 0.0, "") for _ in views],
            },
            bars(rng, 200),
            settings=equal,
        )
    )
    assert found.total != 0.0
    assert found.shapley["technical"] == pytest.approx(found.shapley["rl"], abs=1e-12)
    assert found.shapley["evolved"] == pytest.approx(0.0, abs=1e-12)
    assert dict(found.votes) == {"technical": 200, "rl": 200, "evolved": 200}


def test_without_a_vote_there_is_nothing_to_share() -> None:
    silent = [Abstention("technical", "silent")] * 30
    found = attribute(of_votes({"technical": silent}, bars(np.random.default_rng(0), 30)))
    assert found == Attribution(total=0.0, shapley={}, leave_one_out={}, alone={}, votes={}, bars=30)


class _Follower(bt.Strategy):
    """Backtrader's own orders for the same wishes, a notional of 1,000 each."""

    params = (("wishes", ()),)

    def next(self) -> None:
        wish = self.p.wishes[len(self) - 1]
        if wish * self.position.size > 0 or not wish:
            return
        if self.position:
            self.close()
        self.pending = wish

    def next_open(self) -> None:
        wish = self.__dict__.pop("pending", 0)
        if wish:
            send = self.buy if wish > 0 else self.sell
            send(size=1_000.0 / self.data.open[0])


def test_wishes_earn_what_backtraders_broker_makes_of_them() -> None:
    rng = np.random.default_rng(4)
    count, cost = 500, 0.0005
    market = bars(rng, count)
    wishes = rng.choice([-1, 0, 0, 0, 1], count).astype(np.int8)
    far = OrchestratorSettings(stop_atr=1e6, target_atr=1e6)
    silent = [Abstention("technical", "")] * count
    votes = of_votes({"technical": silent}, market, settings=far, cost=cost)
    ours = vote_values(votes, wishes)
    frame = pd.DataFrame(
        {name: market[name] for name in ("open", "high", "low", "close")},
        index=pd.date_range(START, periods=count, freq="h"),
    )
    cerebro = bt.Cerebro(stdstats=False, cheat_on_open=True)
    cerebro.broker.set_coo(True)
    cerebro.broker.setcash(1e6)
    cerebro.broker.setcommission(commission=cost)
    cerebro.adddata(bt.feeds.PandasData(dataname=frame, volume=None, openinterest=None))
    cerebro.addstrategy(_Follower, wishes=wishes.tolist())
    cerebro.run()
    assert 1_000.0 * ours.sum() == pytest.approx(cerebro.broker.getvalue() - 1e6, abs=1e-6)
    assert np.abs(ours).sum() > 0.5


def test_stop_and_target_end_a_position_at_their_prices_and_the_stop_comes_first() -> None:
    flat = {"open": [100.0] * 6, "close": [100.0] * 6, "atr": [1.0] * 6}
    wishes = np.array([1, 0, 0, 0, 0, 0], np.int8)

    def earned(high: list[float], low: list[float]) -> float:
        silent = [Abstention("technical", "")] * 6
        votes = of_votes({"technical": silent}, {**flat, "high": high, "low": low}, settings=SETTINGS, cost=0.0)
        return float(vote_values(votes, wishes).sum())

    calm_high, calm_low = [100.5] * 6, [99.5] * 6
    assert earned(calm_high, calm_low) == 0.0
    assert earned([*calm_high[:3], 104.0, 100.0, 100.0], calm_low) == pytest.approx(0.03)
    assert earned(calm_high, [*calm_low[:3], 97.0, 99.5, 99.5]) == pytest.approx(-0.02)
    assert earned([*calm_high[:3], 104.0, 100.0, 100.0], [*calm_low[:3], 97.0, 99.5, 99.5]) == pytest.approx(-0.02)


def right_and_wrong(seed: int, count: int, skill: float) -> RecordedVotes:
    """Evolved votes for the next bar's side with a chance of ``skill``; technical, weighted more, is noise."""
    rng = np.random.default_rng(seed)
    market = bars(rng, count)
    rises = np.append(market["close"][1:] > market["open"][1:], True)
    knows = rng.random(count) < skill
    noise = rng.random(count) < 0.5
    return of_votes(  # type: ignore[no-any-return]  # of_votes takes anything
        {
            "technical": [Vote("technical", Action.BUY if up else Action.SELL, 0.9, "") for up in noise],
            "evolved": [Vote("evolved", Action.BUY if up == k else Action.SELL, 0.9, "") for up, k in zip(
                rises, knows, strict=True)],
        },
        market, settings=OrchestratorSettings(hold_threshold=0.05),
    )  # fmt: skip


def test_weights_that_prove_themselves_are_used() -> None:
    found = learn_weights(right_and_wrong(5, 800, skill=0.9), rng=np.random.default_rng(0))
    assert found.used
    assert found.weights == found.fitted
    assert found.weights["evolved"] > found.weights["technical"]
    assert found.gain_judged > 0.0
    assert found.p_value <= 0.05
    assert "learnt weights are used: fitted on 400 bars, judged once on the next 400" in found.reason


def test_on_noise_the_default_weights_nearly_always_stand() -> None:
    used = 0
    for seed in range(40):
        found = learn_weights(right_and_wrong(seed, 300, skill=0.5), rng=np.random.default_rng(seed), tries=10)
        used += found.used
        if not found.used:
            assert dict(found.weights) == dict(OrchestratorSettings().weights)
            assert "the default weights stand" in found.reason
    assert used <= 5  # 5 % of 40 are 2; more than 5 happen once in a hundred


def test_one_voter_and_few_bars_leave_nothing_to_learn() -> None:
    votes = [Vote("technical", Action.BUY, 0.9, "")] * 100
    alone = of_votes({"technical": votes}, bars(np.random.default_rng(0), 100))
    assert "only technical voted" in learn_weights(alone, rng=np.random.default_rng(0)).reason
    few = right_and_wrong(0, 30, skill=0.9)
    assert "30 bars are too few" in learn_weights(few, rng=np.random.default_rng(0)).reason
    with pytest.raises(SettingsError, match="alpha must be"):
        learn_weights(few, rng=np.random.default_rng(0), alpha=0.9)


def test_bars_and_decisions_must_fit_together() -> None:
    market = bars(np.random.default_rng(0), 5)
    with pytest.raises(SettingsError, match="open must hold one value for each of 3 decisions"):
        RecordedVotes(decisions=[decision(())] * 3, **market)


def test_what_is_worth_at_a_bar_does_not_depend_on_later_ones() -> None:
    votes = recorded(6, 300)
    wishes = np.array([recombine(one, SOURCES, SETTINGS)[1].sign for one in votes.decisions], np.int8)
    whole = vote_values(votes, wishes)
    np.testing.assert_array_equal(vote_values(votes.part(0, 200), wishes[:200]), whole[:200])
