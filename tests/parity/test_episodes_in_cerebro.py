"""Episodes of the trading environment against the same orders in Cerebro: cash, equity and state at every bar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData, compute_features
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.rl import EnvironmentSettings, LeverageAction, build_arrays, play_actions
from ai_backtrader.strategies.rl_actions import replay_in_cerebro

MARKETS = ("BTC perpetual", "DOGE perpetual", "jumpy", "coarse")

_STEEP = MaintenanceTiers(
    [
        (0, 5_000, 0.004, 0, 125),
        (5_000, 25_000, 0.005, None, 100),
        (25_000, 100_000, 0.01, None, 50),
        (100_000, 1e7, 0.025, None, 5),
    ]
)
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"commission": 0.0, "funding": 0.0},
    {"slippage": 0.001, "commission": 0.002},
    {"funding": 0.0005, "margin_fraction": 0.3},
    {"tiers": _STEEP, "liquidation_fee": 0.0125, "slippage": 0.0005, "margin_fraction": 1.0},
    {"cash": 250_000.0, "tiers": _STEEP, "funding": -0.001, "turn_round": True},
    {"most_halvings": 12, "margin_fraction": 0.95},
)
SHARES = (0.05, 0.2, 0.7, 1.0)  # of bars with a random action; HOLD on the others

Market = Callable[[str, np.random.Generator, int], MarketData]


def compare(market: Market, name: str, seeds: range, bars: int) -> np.ndarray:
    """Compare one random sequence of actions a seed; gives liquidations, refusals, trades and halvings of all."""
    seen = np.zeros(4, dtype=int)
    for seed in seeds:
        rng = np.random.default_rng([20240202, MARKETS.index(name), seed])
        leveraged = seed % 5 != 4
        settings = EnvironmentSettings(**SETTINGS[seed % len(SETTINGS)], episode_bars=None, ruin=0.0)
        data = market(name, rng, bars)
        features = compute_features(data)
        env = build_arrays(data, settings, leveraged=leveraged, features=features)
        steps = bars - features.ready_from - 1
        actions = np.where(
            rng.random(steps) < SHARES[seed % len(SHARES)], rng.integers(0, 11 if leveraged else 3, steps), 0
        )
        played = play_actions(env, actions)
        replayed = replay_in_cerebro(data, actions, settings, leveraged=leveraged, features=features)
        place = f"{name}, seed {seed}, {settings}"
        n = len(played.equity)  # an account that has lost all ends the episode, Cerebro goes on
        assert np.array_equal(played.equity, replayed.equity[:n]), place
        assert np.array_equal(played.cash, replayed.cash[:n]), place
        assert np.array_equal(played.states, replayed.states[:n]), place
        run = env.lanes[0]
        if n == len(replayed.equity):
            counts = (int(run["liquidations"]), int(run["rejected"]), float(run["funding"]))
            assert counts == (replayed.liquidations, replayed.rejected, replayed.funding_paid), place
        halved = np.count_nonzero(actions == LeverageAction.REDUCE_HALF) if leveraged else 0
        seen += np.array([run["liquidations"], run["rejected"], run["trades"], halved])
    return seen


@pytest.mark.parametrize("name", MARKETS)
def test_random_actions_end_as_in_cerebro_to_the_last_bit(market: Market, name: str) -> None:
    liquidations, rejected, trades, halvings = compare(market, name, range(14), 400)
    assert min(trades, rejected, halvings) > 20, "hardly anything happened: nothing was compared"
    assert liquidations or name == "BTC perpetual"


@pytest.mark.slow
@pytest.mark.parametrize("name", MARKETS)
def test_a_thousand_random_episodes_on_four_markets_end_as_in_cerebro_to_the_last_bit(
    market: Market, name: str
) -> None:
    seen = compare(market, name, range(1000, 1250), 500)
    assert (seen > 0).all()


def test_an_account_that_asks_for_all_its_cash_is_refused_as_in_cerebro(market: Market) -> None:
    data = market("BTC perpetual", np.random.default_rng(3), 300)
    settings = EnvironmentSettings(margin_fraction=1.0, episode_bars=None)
    actions = np.full(100, LeverageAction.LONG_10X)
    played = build_arrays(data, settings, leveraged=True)
    result = play_actions(played, actions)
    replayed = replay_in_cerebro(data, actions, settings)
    assert replayed.rejected == 100 == int(played.lanes["rejected"][0])
    assert (result.equity == 10_000.0).all()


@pytest.mark.parametrize(
    ("actions", "start", "match"),
    [
        ([], None, "row of whole numbers"),
        ([0.5, 1.0], None, "row of whole numbers"),
        ([[1, 2]], None, "row of whole numbers"),
        ([11], None, "between 0 and 10"),
        ([-1], None, "between 0 and 10"),
        ([1], 5, "start must be between"),
        ([1], 299, "start must be between"),
    ],
)
def test_faulty_sequences_are_refused(market: Market, actions: list[Any], start: int | None, match: str) -> None:
    data = market("coarse", np.random.default_rng(1), 300)
    with pytest.raises(SettingsError, match=match):
        replay_in_cerebro(data, actions, start=start)
    with pytest.raises(SettingsError, match=match):
        play_actions(build_arrays(data, EnvironmentSettings(), leveraged=True), actions, start=start)
