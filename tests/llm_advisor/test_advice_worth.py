"""What the advisor was worth: good advice beats the same advice at other times, and no advice is worth nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.errors import SettingsError
from ai_backtrader.llm_advisor import RecordedAnswer, get_advisor
from ai_backtrader.market import MarketData
from ai_backtrader.orchestrator import Abstention, Advice, Context
from ai_backtrader.strategies.advice_worth import advice_worth
from ai_backtrader.values import Action

BARS = 1_200
COSTS = {"commission": 0.0001}


class Silent:
    def advise(self, context: Context, action: Action, confidence: float) -> Advice | Abstention:
        return Abstention("llm", "nothing to say")


class Clairvoyant:
    """Objects to trades that the next day will not favour, which it has looked up."""

    def __init__(self, data: MarketData, ahead: int = 24) -> None:
        times = data.times.astype("datetime64[us]").tolist()
        self.later = {at: float(data.close[min(bar + ahead, len(data) - 1)]) for bar, at in enumerate(times)}
        self.asked = 0

    def advise(self, context: Context, action: Action, confidence: float) -> Advice | Abstention:
        self.asked += 1
        assert context.at is not None
        gain = (self.later[context.at] - context.current_price) * action.sign
        return Advice(action=Action.HOLD if gain < 0.0 else action, confidence=0.9, reason="it is known")


@pytest.fixture(scope="module")
def data() -> MarketData:
    return load_sample().head(BARS)


@pytest.fixture(scope="module")
def worth(data: MarketData) -> Any:
    return advice_worth(data, Clairvoyant(data), n_shuffles=5, **COSTS)


def test_advice_that_knows_the_future_is_worth_something(worth: Any) -> None:
    assert worth.gain == worth.advised.total_return - worth.without.total_return > 0.0
    assert worth.p_value == pytest.approx(1 / 6)  # better than all five shuffled runs
    assert len(worth.shuffled) == 5
    assert worth.advised.vetoes > 0
    assert worth.without.vetoes == 0


def test_shuffled_advice_objects_where_there_is_a_trade_to_object_to(worth: Any) -> None:
    for figures in worth.shuffled:
        assert 0 < figures.vetoes <= worth.consulted


def test_the_same_seed_gives_the_same_permutations(data: MarketData, worth: Any) -> None:
    again = advice_worth(data, Clairvoyant(data), n_shuffles=1, **COSTS)
    assert again.shuffled == worth.shuffled[:1]
    other = advice_worth(data, Clairvoyant(data), n_shuffles=1, seed=1, **COSTS)
    assert other.shuffled != again.shuffled
    assert other.advised == again.advised


def test_the_advisor_is_asked_in_one_run_only_and_without_shuffled_runs_there_is_no_p_value(data: MarketData) -> None:
    one, many = Clairvoyant(data), Clairvoyant(data)
    assert math.isnan(advice_worth(data.head(600), one, n_shuffles=0, **COSTS).p_value)
    assert not math.isnan(advice_worth(data.head(600), many, n_shuffles=2, **COSTS).p_value)
    assert one.asked == many.asked > 0


def test_no_advice_is_worth_nothing(data: MarketData) -> None:
    worth = advice_worth(data.head(600), Silent(), n_shuffles=5, **COSTS)
    assert worth.advised == worth.without
    assert (worth.gain, worth.p_value, worth.consulted, worth.shuffled) == (0.0, 1.0, 0, ())


class Objecting:
    """A recording in which every question has an objection."""

    def __init__(self, reply: str) -> None:
        self.reply = reply

    def answer(self, key: str) -> RecordedAnswer:
        return RecordedAnswer(key, "m", "d", "{}", self.reply, 200, 0.0)

    def keep_answer(self, answer: RecordedAnswer) -> None:
        raise AssertionError("a replay keeps nothing")


def test_a_replayed_advisor_is_weighed_without_a_request(data: MarketData, tools: Any) -> None:
    store = Objecting(tools.chat_body(tools.answer()))
    advisor = get_advisor(model="m", mode="replay", store=store, base_url="http://127.0.0.1:9")
    first, second = (advice_worth(data.head(600), advisor, n_shuffles=0, **COSTS) for _ in range(2))
    assert first.consulted == advisor.report().advised > 0
    assert first.advised.vetoes > 0
    assert advisor.report().requests == 0
    assert (second.advised, second.consulted) == (first.advised, first.consulted)


def test_all_faults_are_reported_together(data: MarketData) -> None:
    with pytest.raises(SettingsError, match=r"(?s)2 faults.*n_shuffles.*cash"):
        advice_worth(data, Silent(), n_shuffles=-1, cash=0.0)
