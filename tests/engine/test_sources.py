"""The adapters: what each system says becomes a vote, an adjustment, an advice, or an abstention that says why."""

from __future__ import annotations

import datetime as dt
import random
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ai_backtrader import Engine, get_advisor, get_ai_orchestrator, initialize_ai_orchestrator
from ai_backtrader.engine import AdviceSource, AgentPolicy, AgentSource, EvolvedSource, FoundStrategy, OnlineSource
from ai_backtrader.errors import SettingsError
from ai_backtrader.events import StrategyEvolved
from ai_backtrader.leverage import LeverageSettings, VolatilityTargetPolicy
from ai_backtrader.market import MarketData, compute_features, label_regimes
from ai_backtrader.online_learner import OnlineLearner
from ai_backtrader.orchestrator import Abstention, Adjustment, Context, Orchestrator, Vote, technical_pulls
from ai_backtrader.rl import LeverageAction, LeverageState
from ai_backtrader.rl.agents import LeverageRLAgent, RLAgent
from ai_backtrader.rules import BAR_COLUMNS, StrategyChromosome
from ai_backtrader.simulation import simulate
from ai_backtrader.values import Action, Regime


def context(question: dict[str, Any], **changes: Any) -> Context:
    return Context(**(question | changes))


@pytest.fixture
def question(bench: SimpleNamespace) -> dict[str, Any]:
    asked: dict[str, Any] = bench.question(random.Random(3))
    return asked | {"position": 0.0, "current_position": {"current_position": 0.0, "margin_ratio": 0.0}}


# ------------------------------------------------------------------------------------------------------------- agents


def test_agents_that_have_learnt_nothing_abstain(question: dict[str, Any]) -> None:
    source = AgentSource(RLAgent(), LeverageRLAgent())
    assert source.idle
    assert source.vote(context(question)) == Abstention("rl", "no agent is trained")


def test_the_leverage_agents_vote_is_the_probability_of_its_sides(
    question: dict[str, Any], systems: SimpleNamespace
) -> None:
    agent = LeverageRLAgent()
    systems.teach(agent, 35, 11, seed=5)
    vote = AgentSource(RLAgent(), agent).vote(context(question))
    state = LeverageState.from_market_data(question["indicators"], question["current_position"], question["risk_info"])
    p = agent.probabilities(state)
    pull = p[1:5].sum() - p[5:9].sum()  # flat: CLOSE and REDUCE_HALF are masked, HOLD keeps nothing
    assert isinstance(vote, Vote)
    assert vote.action.sign == np.sign(pull)
    assert vote.confidence == pytest.approx(abs(pull), abs=1e-6)


def test_two_agents_vote_with_their_mean(question: dict[str, Any], systems: SimpleNamespace) -> None:
    basic, leverage = RLAgent(), LeverageRLAgent()
    systems.teach(basic, 18, 3, seed=6)
    systems.teach(leverage, 35, 11, seed=7)
    asked = context(question)
    votes = [AgentSource(*pair).vote(asked) for pair in ((basic, LeverageRLAgent()), (RLAgent(), leverage))]
    both = AgentSource(basic, leverage).vote(asked)
    pulls = [vote.action.sign * vote.confidence for vote in votes if isinstance(vote, Vote)]
    assert isinstance(both, Vote)
    assert both.action.sign * both.confidence == pytest.approx(sum(pulls) / 2, abs=1e-9)


def test_an_agent_that_lacks_inputs_abstains_and_names_them(question: dict[str, Any], systems: SimpleNamespace) -> None:
    agent = LeverageRLAgent()
    systems.teach(agent, 35, 11, seed=5)
    answer = AgentSource(RLAgent(), agent).vote(context(question, indicators={"rsi": 30.0}))
    assert isinstance(answer, Abstention)
    assert answer.reason.startswith("inputs missing: price_change_1h")


def test_the_policy_takes_the_agents_multiple_but_never_above_the_fallbacks(
    bench: SimpleNamespace, systems: SimpleNamespace
) -> None:
    fallback = VolatilityTargetPolicy(LeverageSettings())
    agent = LeverageRLAgent()
    untrained = AgentPolicy(AgentSource(RLAgent(), agent), fallback)
    rng = random.Random(1)
    asked = [bench.question(rng) for _ in range(200)]
    arguments = [(one["indicators"], one["current_position"], one["risk_info"], one["regime"]) for one in asked]
    assert [untrained.propose(*one) for one in arguments] == [fallback.propose(*one) for one in arguments]
    systems.teach(agent, 35, 11, seed=5)
    policy, sided = AgentPolicy(AgentSource(RLAgent(), agent), fallback), 0
    for one in arguments:
        state = LeverageState.from_market_data(one[0], one[1], one[2])
        action = LeverageAction(agent.select_action(state)[0])
        proposal, other = policy.propose(*one), fallback.propose(*one)
        if action.side:
            sided += 1
            assert proposal.leverage == min(action.leverage, other.leverage)
            assert proposal.direction.sign == action.side
        else:
            assert proposal == other
    assert sided > 20


# --------------------------------------------------------------------------------------------- online learner, advisor


def test_the_online_source_abstains_until_a_trade_has_closed(
    question: dict[str, Any], systems: SimpleNamespace
) -> None:
    learner = OnlineLearner()
    source = OnlineSource(learner)
    asked = context(question)
    assert source.adjust(asked, Action.BUY, 0.5) == Abstention("online", "no closed trade of orchestrator yet")
    for _ in range(5):
        learner.on_trade_complete(systems.trade_of(random.Random(0), "X", pnl_pct=-2.0, exit_price=98.0))
    judged = source.adjust(asked, Action.BUY, 0.5)
    assert isinstance(judged, Adjustment)
    assert not judged.should_trade
    assert "DEGRADED (5 losses in a row)" in judged.reason
    assert source.lift == learner.settings.max_adjustment


def test_the_advice_source_hands_the_advisors_answer_on(question: dict[str, Any], systems: SimpleNamespace) -> None:
    recording = systems.Recording()
    recording.reply = systems.reply_of("SELL", 0.8, "high")
    advisor = get_advisor(model="m", mode="replay", store=recording, model_digest="d", base_url="http://127.0.0.1:9")
    source = AdviceSource(advisor)
    given = source.advise(context(question, high_volatility=True), Action.BUY, 0.6)
    assert not isinstance(given, Abstention)
    assert (given.action, given.confidence, given.risk_level) == (Action.SELL, 0.8, "high")
    calm = source.advise(context(question), Action.HOLD, 0.1)
    assert calm == Abstention("llm", "there is no trade to object to")
    assert AdviceSource(get_advisor(mode="off")).idle


async def _initialized(**options: Any) -> Orchestrator:
    return await initialize_ai_orchestrator(**options)


def test_the_orchestrator_is_made_with_the_sources_that_are_wanted() -> None:
    import asyncio

    advisor = get_advisor(base_url="http://127.0.0.1:9")
    orchestrator = asyncio.run(_initialized(llm_advisor=advisor))
    assert orchestrator is get_ai_orchestrator()
    assert isinstance(orchestrator.sources.llm, AdviceSource)
    assert orchestrator.sources.llm.advisor is advisor
    without = asyncio.run(_initialized(llm_advisor=advisor, enable_llm=False, enable_rl=False))
    assert set(without.settings.weights) == {"technical", "evolved", "online"}
    assert without.sources.llm is None


# ------------------------------------------------------------------------------------------------- evolved strategies


def votes_of(source: EvolvedSource, data: MarketData, regimes: Any = None) -> list[Vote | Abstention]:
    asked = {
        "symbol": data.symbol, "indicators": {}, "current_price": 1.0, "high_volatility": False, "position": 0.0,
        "portfolio_value": 1.0, "current_position": {}, "risk_info": {},
    }  # fmt: skip
    times = data.times.astype("datetime64[us]").tolist()
    return [
        source.vote(context(asked, at=at, regime=None if regimes is None else regimes.label(bar)))
        for bar, at in enumerate(times)
    ]


def source_with(data: MarketData, *found: FoundStrategy) -> EvolvedSource:
    source = EvolvedSource()
    source.add(found)
    source.watch(data.symbol, data)
    return source


def test_the_votes_are_the_entries_of_the_simulated_strategy(eurusd: MarketData) -> None:
    rng = np.random.default_rng(4)
    compared = 0
    for _ in range(12):
        rules = StrategyChromosome.random(rng)
        source = source_with(eurusd, FoundStrategy(chromosome=rules, confidence=0.7))
        sides = [v.action.sign if isinstance(v, Vote) else 0 for v in votes_of(source, eurusd)]
        left = -1
        for trade in simulate(eurusd, rules, commission=0.0).trades:
            entry, reverses = int(trade["entry_bar"]), trade["entry_bar"] == left
            left = int(trade["exit_bar"])
            if reverses:  # decided in a position: where both sides hold, against it
                continue
            assert sides[entry - 1] == trade["side"], "decided at the close of the bar before its fill"
            compared += 1
    assert compared > 100


def test_a_vote_does_not_know_the_bars_after_it(eurusd: MarketData, systems: SimpleNamespace) -> None:
    found = FoundStrategy(chromosome=systems.RULES, confidence=0.7)
    whole = votes_of(source_with(eurusd, found), eurusd)
    for cut in (100, 700, 1_500):
        assert votes_of(source_with(eurusd.head(cut), found), eurusd.head(cut)) == whole[:cut]


def test_a_strategy_votes_only_after_the_bars_it_was_found_on(eurusd: MarketData, systems: SimpleNamespace) -> None:
    at = eurusd.times[999].astype("datetime64[us]").item()
    event = StrategyEvolved(
        symbol=eurusd.symbol, fingerprint=systems.RULES.fingerprint, chromosome=systems.RULES.to_json(),
        data_fingerprint=eurusd.fingerprint, fitness=1.0, passed=True, at=at, figures={"p_value": 0.01},
    )  # fmt: skip
    source = EvolvedSource()
    assert source.recall([event]) == 1
    source.watch(eurusd.symbol, eurusd)
    votes = votes_of(source, eurusd)
    assert {vote.reason for vote in votes[:1_000]} == {"nothing has evolved"}
    assert any(isinstance(vote, Vote) for vote in votes[1_000:1_100])
    source.clear()
    assert source.idle


def test_the_regimes_own_strategy_goes_before_its_directions_and_that_before_any(
    eurusd: MarketData, systems: SimpleNamespace
) -> None:
    long = StrategyChromosome(entry_long=systems.RULES.entry_long)
    found = [
        FoundStrategy(chromosome=long, confidence=0.90),
        FoundStrategy(chromosome=long, confidence=0.60, regime=Regime.BULL),
        FoundStrategy(chromosome=long, confidence=0.70, regime=Regime.STRONG_BULL),
        FoundStrategy(chromosome=long, confidence=0.95, symbol="ELSEWHERE"),
    ]
    regimes = label_regimes(compute_features(eurusd))
    seen: dict[Regime, set[float]] = {}
    for bar, vote in enumerate(votes_of(source_with(eurusd, *found), eurusd, regimes)):
        if isinstance(vote, Vote):
            seen.setdefault(regimes.label(bar), set()).add(vote.confidence)
    assert seen[Regime.STRONG_BULL] == {0.70}
    assert seen[Regime.BULL] == {0.60}
    assert seen[Regime.SIDEWAYS] == {0.90}


def test_the_pulls_of_all_bars_are_the_votes_one_by_one(eurusd: MarketData) -> None:
    rng = np.random.default_rng(8)
    times = eurusd.times.astype("datetime64[us]").tolist()
    regimes = label_regimes(compute_features(eurusd))
    for _ in range(6):
        found = [
            FoundStrategy(
                chromosome=StrategyChromosome.random(rng), confidence=float(rng.choice([0.5, 0.7, 0.9])),
                regime=rng.choice([None, *Regime]), symbol=rng.choice([None, None, eurusd.symbol, "ELSEWHERE"]),
                found_at=None if rng.random() < 0.4 else times[int(rng.integers(len(times)))],
            )
            for _ in range(8)
        ]  # fmt: skip
        source = source_with(eurusd, *found)
        pulls = source.pulls(eurusd.symbol, regimes)
        assert pulls is not None
        for pull, vote in zip(pulls, votes_of(source, eurusd, regimes), strict=True):
            if isinstance(vote, Vote):
                assert pull == vote.action.sign * vote.confidence
            else:
                assert np.isnan(pull)
    assert source.pulls("ELSEWHERE", regimes) is None


def test_quiet_bars_with_an_evolved_strategy_are_decided_hold(
    bench: SimpleNamespace, eurusd: MarketData, systems: SimpleNamespace
) -> None:
    engine = Engine()
    engine.evolved.add([FoundStrategy(chromosome=systems.RULES, confidence=0.9)])
    assert engine.orchestrator.quiet_bars(bench.features, bench.regimes, symbol=eurusd.symbol) is None
    engine.evolved.watch(eurusd.symbol, eurusd)
    quiet = engine.orchestrator.quiet_bars(bench.features, bench.regimes, symbol=eurusd.symbol)
    alone = Engine().orchestrator.quiet_bars(bench.features, bench.regimes, symbol=eurusd.symbol)
    assert quiet is not None
    assert alone is not None
    assert 0.2 < quiet.mean() < 1.0
    assert not np.array_equal(quiet, alone)
    assert np.isfinite(technical_pulls(bench.features, bench.regimes)[quiet]).all()
    for bar in np.flatnonzero(quiet)[::3]:
        decision = engine.orchestrator.decide(
            symbol=eurusd.symbol, indicators=bench.features.indicators(bar), current_price=float(eurusd.close[bar]),
            portfolio_value=1e4, regime=bench.regimes.label(bar), at=bench.times[bar],
        )  # fmt: skip
        assert decision.action is Action.HOLD


def test_bars_that_are_not_known_are_told(eurusd: MarketData, systems: SimpleNamespace) -> None:
    found = FoundStrategy(chromosome=systems.RULES, confidence=0.7)
    unwatched = EvolvedSource()
    unwatched.add([found])
    assert "watch(symbol, data)" in votes_of(unwatched, eurusd.head(1))[0].reason
    source = source_with(eurusd.head(50), found)
    last = votes_of(source, eurusd.head(51))[-1]
    assert "is no bar of EURUSD" in last.reason
    zoned = eurusd.times[40].astype("datetime64[us]").item().replace(tzinfo=dt.UTC)
    asked = votes_of(source, eurusd.head(41))[-1]
    one = {
        "symbol": "EURUSD", "indicators": {}, "current_price": 1.0, "high_volatility": False, "position": 0.0,
        "portfolio_value": 1.0, "current_position": {}, "risk_info": {}, "regime": None, "at": zoned,
    }  # fmt: skip
    assert source.vote(Context(**one)) == asked


# --------------------------------------------------------------------------------------- evolved strategies, bar by bar


def bar_of(data: MarketData, number: int) -> list[float]:
    return [float(getattr(data, name)[number]) for name in BAR_COLUMNS]


def votes_one_by_one(source: EvolvedSource, data: MarketData, regimes: Any, *, asked: int = 1) -> list[Any]:
    """Votes with the bars given one by one; of all but every ``asked``-th bar none is asked for."""
    votes: list[Any] = []
    facts = {
        "symbol": data.symbol, "indicators": {}, "current_price": 1.0, "high_volatility": False, "position": 0.0,
        "portfolio_value": 1.0, "current_position": {}, "risk_info": {},
    }  # fmt: skip
    for number, at in enumerate(data.times.astype("datetime64[us]").tolist()):
        source.follow(data.symbol, number, at, bar_of(data, number))
        votes.append(source.vote(context(facts, at=at, regime=regimes.label(number))) if number % asked == 0 else None)
    return votes


def random_found(data: MarketData, rng: np.random.Generator, count: int) -> list[FoundStrategy]:
    times = data.times.astype("datetime64[us]").tolist()
    return [
        FoundStrategy(
            chromosome=StrategyChromosome.random(rng), confidence=float(rng.choice([0.5, 0.7, 0.9])),
            regime=rng.choice([None, *Regime]),
            found_at=None if rng.random() < 0.4 else times[int(rng.integers(len(times)))],
        )
        for _ in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("asked", [1, 37])
def test_votes_on_bars_that_come_one_by_one_are_those_on_all_bars(eurusd: MarketData, asked: int) -> None:
    rng = np.random.default_rng(asked)
    regimes = label_regimes(compute_features(eurusd))
    entries = 0
    for _ in range(6):
        found = random_found(eurusd, rng, 6)
        source = EvolvedSource()
        source.add(found)
        streamed = votes_one_by_one(source, eurusd, regimes, asked=asked)
        whole = votes_of(source_with(eurusd, *found), eurusd, regimes)
        assert streamed[::asked] == whole[::asked]
        entries += sum(isinstance(vote, Vote) for vote in streamed)
    assert entries > 500 / asked


def test_a_strategy_that_is_found_on_the_way_has_seen_every_bar(eurusd: MarketData) -> None:
    found = FoundStrategy(chromosome=StrategyChromosome.random(np.random.default_rng(4)), confidence=0.7)
    regimes = label_regimes(compute_features(eurusd))
    source, late = EvolvedSource(), 1_200
    votes_one_by_one(source, eurusd.head(late), regimes)
    source.add([found])
    votes = votes_one_by_one(source, eurusd, regimes)  # the bars that are known count once
    assert votes == votes_of(source_with(eurusd, found), eurusd, regimes)


def test_a_bar_that_changes_and_another_run_take_the_place_of_what_was_there(
    eurusd: MarketData, systems: SimpleNamespace
) -> None:
    found = FoundStrategy(chromosome=systems.RULES, confidence=0.7)
    regimes = label_regimes(compute_features(eurusd))
    other = eurusd.to_frame().iloc[:600]
    other.iloc[300:, :4] *= 1.5
    changed = MarketData.from_frame(other, symbol=eurusd.symbol)
    source = EvolvedSource()
    source.add([found])
    votes_one_by_one(source, eurusd, regimes)
    again = votes_one_by_one(source, changed, regimes)  # begins as the first did, goes on otherwise, and is shorter
    assert again == votes_of(source_with(changed, found), changed, regimes)
    assert source.vote(context_at(eurusd, 700)).reason.endswith("is no bar of EURUSD")

    growing = EvolvedSource()
    growing.add([found])
    for number, at in enumerate(eurusd.times[:500].astype("datetime64[us]").tolist()):
        early = [value * 1.01 for value in bar_of(eurusd, number)]
        growing.follow("EURUSD", number, at, early)
        growing.vote(context_at(eurusd, number))
        growing.follow("EURUSD", number, at, bar_of(eurusd, number))
    whole = source_with(eurusd, found)
    assert growing.vote(context_at(eurusd, 499)) == whole.vote(context_at(eurusd, 499))
    assert [growing.vote(context_at(eurusd, n)) for n in range(500)] == [
        whole.vote(context_at(eurusd, n)) for n in range(500)
    ]


def context_at(data: MarketData, number: int) -> Context:
    at = data.times[number].astype("datetime64[us]").item()
    return Context(
        symbol=data.symbol, indicators={}, current_price=1.0, high_volatility=False, position=0.0, portfolio_value=1.0,
        current_position={}, risk_info={}, regime=None, at=at,
    )  # fmt: skip


def test_a_bar_that_is_left_out_is_missed(eurusd: MarketData) -> None:
    source = EvolvedSource()
    source.follow("EURUSD", 0, dt.datetime(2024, 1, 1), bar_of(eurusd, 0))
    with pytest.raises(SettingsError, match="bar 2 of EURUSD came after 1 bars: give every bar"):
        source.follow("EURUSD", 2, dt.datetime(2024, 1, 1, 2), bar_of(eurusd, 2))


def test_bars_that_come_cost_the_same_however_many_there_are() -> None:
    rng = np.random.default_rng(1)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, 24_000)))
    source = EvolvedSource()
    source.add([FoundStrategy(chromosome=StrategyChromosome.random(rng), confidence=0.7)])
    start, spent = dt.datetime(2000, 1, 1), []
    facts = {"symbol": "S", "indicators": {}, "current_price": 1.0, "high_volatility": False, "position": 0.0}
    facts |= {"portfolio_value": 1.0, "current_position": {}, "risk_info": {}}
    for part in range(12):
        began = time.process_time()
        for number in range(2_000 * part, 2_000 * part + 2_000):
            price, at = close[number], start + dt.timedelta(hours=number)
            source.follow("S", number, at, (price, price * 1.01, price * 0.99, price, 1.0))
            source.vote(context(facts, at=at, regime=None))
        spent.append(time.process_time() - began)
    assert min(spent[6:]) < 2.0 * min(spent[1:6])
