"""The technical vote, by hand and by symmetry."""

from __future__ import annotations

import math
import random

import pytest

from ai_backtrader.orchestrator import Abstention, Vote, technical_vote
from ai_backtrader.values import Action, Regime

UP = {
    "price_vs_ema20": 1.0,
    "price_vs_ema50": 1.0,
    "ema_alignment": 1.0,
    "rsi": 60.0,
    "macd_hist": 0.2,
    "macd_signal_cross": 0.0,
    "adx": 25.0,
    "atr_pct": 1.0,
}


def confidence(**changes: float) -> float:
    vote = technical_vote(UP | changes)
    assert isinstance(vote, Vote)
    return vote.action.sign * vote.confidence


def test_the_vote_is_what_a_pencil_gives() -> None:
    # EMA (1 + 1/2 + 1/4) / 3, MACD 2 * 0.2, RSI 10 / 20; ADX 25 is half way: 0.75.
    lean = 0.5 * 1.75 / 3 + 0.3 * 0.4 + 0.2 * 0.5
    vote = technical_vote(UP, Regime.BULL)
    assert isinstance(vote, Vote)
    assert vote.action is Action.BUY
    assert vote.confidence == pytest.approx(lean * 0.75)
    assert vote.reason == "EMA +0.58, MACD +0.40, RSI 60, ADX 25"


def test_every_part_at_its_limit_is_certainty() -> None:
    strong = {"price_vs_ema20": 9.0, "price_vs_ema50": 9.0, "macd_hist": 2.0, "rsi": 70.0, "adx": 50.0}
    assert confidence(**strong) == pytest.approx(1.0)


def test_a_stretched_rsi_is_caution_on_its_own_side_only() -> None:
    strong = {"price_vs_ema20": 9.0, "price_vs_ema50": 9.0, "macd_hist": 2.0, "adx": 50.0}
    assert confidence(**strong, rsi=80.0) == pytest.approx(0.75)
    assert confidence(**strong, rsi=95.0) == pytest.approx(0.5)
    falling = {"price_vs_ema20": -9.0, "price_vs_ema50": -9.0, "ema_alignment": -1.0, "macd_hist": -2.0, "adx": 50.0}
    assert confidence(**falling, rsi=80.0) == pytest.approx(-(0.8 - 0.2)), "overbought is no caution for a short"


def test_a_regime_against_the_trend_takes_a_quarter() -> None:
    plain, against = technical_vote(UP, Regime.BULL), technical_vote(UP, Regime.STRONG_BEAR)
    assert isinstance(plain, Vote)
    assert isinstance(against, Vote)
    assert against.confidence == pytest.approx(0.75 * plain.confidence)
    assert "against strong_bear" in against.reason
    assert technical_vote(UP, Regime.SIDEWAYS) == technical_vote(UP) == plain


def test_a_market_turned_upside_down_gives_the_opposite_vote() -> None:
    rng = random.Random(8)
    seen = set()
    for _ in range(10_000):
        market = {
            "price_vs_ema20": rng.gauss(0, 2),
            "price_vs_ema50": rng.gauss(0, 4),
            "ema_alignment": rng.choice([-1.0, -1 / 3, 1 / 3, 1.0]),
            "rsi": rng.uniform(0, 100),
            "macd_hist": rng.gauss(0, 0.3),
            "macd_signal_cross": rng.choice([-1.0, 0.0, 1.0]),
            "adx": rng.uniform(0, 80),
            "atr_pct": 10 ** rng.uniform(-2, 1),
        }
        mirror = {name: -value for name, value in market.items()} | {
            "rsi": 100.0 - market["rsi"],
            "adx": market["adx"],
            "atr_pct": market["atr_pct"],
        }
        regime = rng.choice(list(Regime))
        opposite = {1: Regime.BEAR, -1: Regime.BULL, 0: Regime.SIDEWAYS}[regime.sign]
        vote, turned = technical_vote(market, regime), technical_vote(mirror, opposite)
        assert isinstance(vote, Vote)
        assert isinstance(turned, Vote)
        assert turned.action.sign == -vote.action.sign
        assert turned.confidence == pytest.approx(vote.confidence, abs=1e-12)
        seen.add(vote.action)
    assert seen == set(Action)


def test_the_vote_depends_on_no_price_scale() -> None:
    calm = technical_vote(UP)
    wild = technical_vote(UP | {"price_vs_ema20": 7.0, "price_vs_ema50": 7.0, "atr_pct": 7.0})
    assert wild == calm


def test_a_market_without_trend_is_a_hold() -> None:
    flat = UP | {"price_vs_ema20": 0.05, "price_vs_ema50": -0.1, "ema_alignment": 1 / 3, "rsi": 49.0, "macd_hist": 0.0}
    vote = technical_vote(flat | {"adx": 12.0})
    assert isinstance(vote, Vote)
    assert vote.action is Action.HOLD


def test_a_macd_cross_counts_half_a_view() -> None:
    assert confidence(macd_signal_cross=1.0) - confidence() == pytest.approx(0.3 * 0.5 * 0.75)
    without = {name: value for name, value in UP.items() if name != "macd_signal_cross"}
    assert technical_vote(without) == technical_vote(UP)


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
@pytest.mark.parametrize("name", ["price_vs_ema20", "ema_alignment", "rsi", "macd_hist", "adx", "atr_pct"])
def test_a_missing_input_is_an_abstention_that_names_it(name: str, value: float | None) -> None:
    answer = technical_vote(UP | {name: value})  # type: ignore[arg-type]  # None on purpose
    assert answer == Abstention("technical", f"indicators missing: {name}")


def test_nothing_to_measure_by_is_an_abstention() -> None:
    answer = technical_vote(UP | {"atr_pct": 0.0})
    assert isinstance(answer, Abstention)
    assert "atr_pct must be above 0" in answer.reason
