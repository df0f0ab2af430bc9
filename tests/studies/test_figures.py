"""The study's figures against what can be reckoned by hand, and its classics against Backtrader and NumPy."""

from __future__ import annotations

from typing import Any

import empyrical
import numpy as np
import pytest

from ai_backtrader.datafeeds import load_sample
from ai_backtrader.evidence import TrialCount
from ai_backtrader.pipeline import PipelineSettings

FIRST = 300


@pytest.fixture(scope="module")
def accounts(study: Any) -> Any:
    module = study("accounts")
    rng = np.random.default_rng(4)

    def made(drift: float, spread: float) -> Any:
        folds = tuple(
            module.FoldAccount(
                values=100.0 * np.cumprod(np.concatenate(([1.0], 1.0 + rng.normal(drift, spread, 400)))),
                trades=3, liquidations=1, fees=0.01, funding=-0.002,
            )
            for _ in range(3)
        )  # fmt: skip
        return module.Account(folds=folds, trials=TrialCount(n_trials=10))

    holding, good = made(0.0, 0.01), made(0.004, 0.01)
    variants = study("walking").VARIANTS
    named = {"buy_and_hold": holding, "ai": good, "fund": good, "technical": holding}
    named |= {f"{variant}/{member}": good for variant in variants for member in ("ai", "fund") if variant != "all"}
    named["without_rl/ai"] = holding
    times = np.datetime64("2024-01-01") + np.arange(1_201).astype("timedelta64[h]")
    market = module.MarketAccounts(
        bars_per_year=8_760.0, times=times, starts=(0, 400, 800), accounts=named, found=[{}, {}, {}]
    )
    return {"m": market}


def test_the_folds_are_joined_and_set_beside_holding(study: Any, accounts: Any) -> None:
    rows = study("figures").summary_rows(accounts).set_index("strategy")
    good, returns = rows.loc["ai"], accounts["m"].accounts["ai"].returns
    assert good["total_return"] == pytest.approx(empyrical.cum_returns_final(returns), rel=1e-12)
    assert good["sharpe"] == pytest.approx(empyrical.sharpe_ratio(returns, annualization=8_760), rel=1e-9)
    assert good["max_drawdown"] == pytest.approx(-empyrical.max_drawdown(returns), rel=1e-9)
    assert (good["trades"], good["liquidations"]) == (9, 3)
    assert (good["fees"], good["funding"]) == pytest.approx((0.03, -0.006))
    assert (good["folds"], good["ahead"], good["richer"]) == (3, 3, 3)
    assert good["sharpe_low"] <= good["sharpe"] <= good["sharpe_high"]
    assert good["mean_gap_low"] > 0.0
    assert good["sharpe_gap_low"] < good["sharpe_gap"] < good["sharpe_gap_high"]
    assert good["deflated"] > 0.95
    holding = rows.loc["buy_and_hold"]
    assert (holding["ahead"], holding["sharpe_gap"], holding["mean_gap"]) == (0, 0.0, 0.0)


def test_the_interval_is_that_of_the_mean_of_independent_differences(study: Any) -> None:
    rng = np.random.default_rng(7)
    own, other = rng.normal(0.001, 0.01, 3_000), rng.normal(0.0, 0.01, 3_000)
    found = study("figures")._difference(own, other, 1.0)
    error = 1.96 * np.std(own - other, ddof=1) / np.sqrt(3_000)
    mean = float(np.mean(own - other))
    assert (found["mean_gap_low"], found["mean_gap_high"]) == pytest.approx(
        (mean - error, mean + error), abs=0.15 * error
    )


def test_a_system_that_changes_nothing_is_told_so(study: Any, accounts: Any) -> None:
    rows = study("figures").switched_rows(accounts)
    ai = rows.query("account == 'ai' and admitted == 'passed'").set_index("system")
    assert not ai.loc["rl", "same"]
    assert ai.loc["rl", "gain"] == pytest.approx(ai.loc["rl", "with"] - ai.loc["rl", "without"])
    assert ai.drop("rl")["same"].all()
    assert set(rows.query("admitted == 'best'")["system"]) == {"evolved", "rl"}


def test_the_classics_pay_what_the_market_charges_and_nothing_more(study: Any) -> None:
    play, data = study("classics").play, load_sample().head(1_300)
    free, dear = (PipelineSettings(commission=rate, slippage=0.0) for rate in (0.0, 0.002))
    for name in study("classics").CLASSICS:
        cheap, costly = play(name, data, FIRST, free), play(name, data, FIRST, dear)
        assert len(cheap.values) == len(data) - FIRST + 1, name
        assert cheap.fees == 0.0, name
        assert (costly.fees > 0.0) is (name != "flat"), name
        assert costly.values[-1] <= cheap.values[-1] + 1e-9 or name == "volatility_target", name
    held = play("buy_and_hold", data, FIRST, free)
    expected = 1.0 + 0.99 * (data.close[-1] - data.open[FIRST]) / data.close[FIRST - 1]
    assert held.values[-1] / held.values[0] == pytest.approx(expected, rel=1e-12)


def test_the_averages_cross_where_numpy_says(study: Any) -> None:
    data = load_sample().head(1_300)
    settings = PipelineSettings(commission=0.0, slippage=0.0)
    means = [np.convolve(data.close, np.ones(n) / n, "full")[: len(data)] for n in (10, 30)]
    side = np.where(means[0] > means[1], 1, -1)[FIRST - 1 : -1]
    turns = int(np.count_nonzero(np.diff(side)))
    assert turns > 20
    assert study("classics").play("sma_cross", data, FIRST, settings).trades == turns
    long_only = PipelineSettings(commission=0.0, slippage=0.0, allow_short=False)
    longs = int(np.count_nonzero(np.diff(np.concatenate(([-1], side))) > 0)) - int(side[-1] > 0)
    assert study("classics").play("sma_cross", data, FIRST, long_only).trades == longs


def test_longer_bars_lose_no_volume_no_extreme_and_no_funding(study: Any, shared_csv: Any) -> None:
    markets = study("markets")
    folder = shared_csv("BTCUSDT-perp-1h-2020-2023.csv.gz").parent
    market = markets.MARKETS["btc-perp"]
    hours, bars = (markets.load(one, folder) for one in (_hourly(market), market))
    assert (bars.bar_seconds, len(bars) * 4) == (14_400, len(hours))
    by_four = {name: getattr(hours, name).reshape(-1, 4) for name in ("open", "high", "low", "close", "mark_low")}
    assert bars.open.tolist() == by_four["open"][:, 0].tolist()
    assert bars.close.tolist() == by_four["close"][:, -1].tolist()
    assert bars.high.tolist() == by_four["high"].max(axis=1).tolist()
    assert bars.mark_low.tolist() == by_four["mark_low"].min(axis=1).tolist()
    assert bars.funding_rate.tolist() == hours.funding_rate.reshape(-1, 4)[:, 0].tolist()  # due at the bar's start
    assert np.count_nonzero(hours.funding_rate.reshape(-1, 4)[:, 1:]) == 0


def _hourly(market: Any) -> Any:
    import dataclasses

    return dataclasses.replace(market, rule=None)
