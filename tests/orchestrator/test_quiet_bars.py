"""The votes of all bars at once are the votes one by one, and a quiet bar is one on which nobody would trade."""

from __future__ import annotations

import numpy as np
import pytest

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.market import MarketFeatures, Regimes, compute_features, label_regimes
from ai_backtrader.orchestrator import (
    Abstention,
    Context,
    Orchestrator,
    OrchestratorSettings,
    Vote,
    technical_pulls,
    technical_vote,
)
from ai_backtrader.values import Action


class AlwaysBuys:
    """A source that must be asked."""

    def vote(self, context: Context) -> Vote:
        return Vote("rl", Action.BUY, 0.9, f"buys {context.symbol}")


@pytest.fixture(scope="module", params=["EURUSD", "SP500"])
def market(request: pytest.FixtureRequest) -> tuple[MarketFeatures, Regimes]:
    features = compute_features(load_sample(request.param).head(4_000))
    return features, label_regimes(features)


def test_the_pulls_of_all_bars_are_the_votes_one_by_one(market: tuple[MarketFeatures, Regimes]) -> None:
    features, regimes = market
    pulls = technical_pulls(features, regimes)
    for bar in range(len(features)):
        vote = technical_vote(features.indicators(bar), regimes.label(bar))
        if isinstance(vote, Abstention):
            assert np.isnan(pulls[bar])
        else:
            assert pulls[bar] == pytest.approx(vote.action.sign * vote.confidence, abs=1e-12)


def test_every_quiet_bar_is_decided_hold_whatever_the_account(market: tuple[MarketFeatures, Regimes]) -> None:
    features, regimes = market
    orchestrator = Orchestrator()
    quiet = orchestrator.quiet_bars(features, regimes)
    assert quiet is not None
    assert 0.3 < quiet.mean() < 1.0
    for bar in np.flatnonzero(quiet)[::7]:
        for equity, position in ((10_000.0, 0.0), (50.0, 3.0), (1e9, -2.0)):
            decision = orchestrator.decide(
                symbol="X",
                indicators=features.indicators(bar),
                current_price=float(features.close[bar]),
                portfolio_value=equity,
                position=position,
                regime=regimes.label(bar),
            )
            assert decision.action is Action.HOLD
            assert decision.position_size_pct == 0.0


def test_the_bars_on_which_the_regime_changes_are_not_quiet(market: tuple[MarketFeatures, Regimes]) -> None:
    features, regimes = market
    quiet = Orchestrator().quiet_bars(features, regimes)
    assert quiet is not None
    changes = np.flatnonzero(np.diff(regimes.labels)) + 1
    assert changes.size > 10
    assert not quiet[changes].any()
    assert not quiet[: features.ready_from + 1].any()


def test_with_a_source_that_must_be_asked_no_bar_is_quiet(market: tuple[MarketFeatures, Regimes]) -> None:
    assert Orchestrator(rl=AlwaysBuys()).quiet_bars(*market) is None
    without = OrchestratorSettings(weights={"rl": 1.0})
    assert Orchestrator(without).quiet_bars(*market) is None
