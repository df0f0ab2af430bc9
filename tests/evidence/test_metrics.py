"""Performance metrics against empyrical, SciPy and cases worked by hand."""

from __future__ import annotations

import doctest
import math
from collections.abc import Callable
from pathlib import Path

import empyrical
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from ai_backtrader import evidence as ev
from ai_backtrader.errors import SettingsError

# 250,000 real returns: two currencies of crypto, FX with its week-ends, an index and a stock by the day.
MARKETS = {
    "BTCUSDT-perp-1h-2020-2023.csv.gz": 8766.0,
    "ETHUSDT-1h-2018-2023.csv.gz": 8766.0,
    "EURUSD-1h-2017-2022.csv.gz": 6098.0,
    "SP500-1d-1999-2018.csv.gz": 252.0,
    "ORCL-1d-1995-2014-backtrader-sample.csv.gz": 252.0,
}


@pytest.fixture(scope="module", params=MARKETS, ids=lambda name: name.split("-")[0])
def market(request: pytest.FixtureRequest, shared_csv: Callable[[str], Path]) -> tuple[np.ndarray, float]:
    close = pd.read_csv(shared_csv(request.param), usecols=["close"])["close"].to_numpy()
    return close, MARKETS[request.param]


def close_to(expected: float) -> object:
    return pytest.approx(expected, rel=1e-10, abs=1e-14)


def test_metrics_of_real_returns_equal_those_of_empyrical(market: tuple[np.ndarray, float]) -> None:
    equity, year = market
    returns = ev.bar_returns(equity)
    assert ev.total_return(returns) == close_to(empyrical.cum_returns_final(returns))
    assert ev.cagr(returns, bars_per_year=year) == close_to(empyrical.cagr(returns, annualization=year))
    assert ev.annual_volatility(returns, bars_per_year=year) == close_to(
        empyrical.annual_volatility(returns, annualization=year)
    )
    assert ev.sharpe_ratio(returns, bars_per_year=year) == close_to(empyrical.sharpe_ratio(returns, annualization=year))
    assert ev.sortino_ratio(returns, bars_per_year=year) == close_to(
        empyrical.sortino_ratio(returns, annualization=year)
    )
    assert ev.calmar_ratio(returns, bars_per_year=year) == close_to(empyrical.calmar_ratio(returns, annualization=year))
    assert ev.omega_ratio(returns, bars_per_year=year) == close_to(empyrical.omega_ratio(returns))
    assert ev.max_drawdown(equity) == close_to(-empyrical.max_drawdown(returns))
    assert ev.value_at_risk(returns) == close_to(empyrical.value_at_risk(returns))
    assert ev.value_at_risk(returns, level=0.01) == close_to(empyrical.value_at_risk(returns, cutoff=0.01))
    assert ev.expected_shortfall(returns) == close_to(empyrical.conditional_value_at_risk(returns))
    assert ev.tail_ratio(returns) == close_to(empyrical.tail_ratio(returns))
    assert ev.skewness(returns) == close_to(scipy.stats.skew(returns))
    assert ev.kurtosis(returns) == close_to(scipy.stats.kurtosis(returns, fisher=False))


def test_a_risk_free_rate_is_annual_here_and_per_bar_in_empyrical(market: tuple[np.ndarray, float]) -> None:
    equity, year = market
    returns = ev.bar_returns(equity)
    per_bar = 1.04 ** (1 / year) - 1
    assert ev.sharpe_ratio(returns, bars_per_year=year, risk_free=0.04) == close_to(
        empyrical.sharpe_ratio(returns, risk_free=per_bar, annualization=year)
    )
    assert ev.sortino_ratio(returns, bars_per_year=year, risk_free=0.04) == close_to(
        empyrical.sortino_ratio(returns, required_return=per_bar, annualization=year)
    )
    assert ev.downside_deviation(returns, bars_per_year=year, risk_free=0.04) == close_to(
        empyrical.downside_risk(returns, required_return=per_bar, annualization=year)
    )
    assert ev.omega_ratio(returns, bars_per_year=year, risk_free=0.04) == close_to(
        empyrical.omega_ratio(returns, required_return=0.04, annualization=year)
    )


def test_missing_returns_are_treated_as_empyrical_treats_them(market: tuple[np.ndarray, float]) -> None:
    equity, year = market
    returns = ev.bar_returns(equity)
    returns[::7] = np.nan
    assert ev.cagr(returns, bars_per_year=year) == close_to(empyrical.cagr(returns, annualization=year))
    assert ev.sharpe_ratio(returns, bars_per_year=year) == close_to(empyrical.sharpe_ratio(returns, annualization=year))
    assert ev.sortino_ratio(returns, bars_per_year=year) == close_to(
        empyrical.sortino_ratio(returns, annualization=year)
    )
    assert ev.expected_shortfall(returns) == close_to(empyrical.conditional_value_at_risk(returns))


def test_ratios_of_two_returns_are_what_the_formulas_give_by_hand() -> None:
    returns = [0.10, -0.05]  # mean 0.025, sample deviation 0.075 * sqrt(2), downside sqrt(0.0025 / 2)
    assert ev.total_return(returns) == pytest.approx(0.045)
    assert ev.cagr(returns, bars_per_year=4) == pytest.approx(1.045**2 - 1)
    assert ev.annual_volatility(returns, bars_per_year=4) == pytest.approx(2 * 0.075 * math.sqrt(2))
    assert ev.sharpe_ratio(returns, bars_per_year=4) == pytest.approx(2 * 0.025 / (0.075 * math.sqrt(2)))
    assert ev.sortino_ratio(returns, bars_per_year=4) == pytest.approx(4 * 0.025 / (2 * math.sqrt(0.00125)))
    assert ev.calmar_ratio(returns, bars_per_year=4) == pytest.approx((1.045**2 - 1) / 0.05)
    assert ev.omega_ratio(returns, bars_per_year=4) == pytest.approx(2.0)


def test_drawdown_and_its_length_follow_a_curve_drawn_by_hand() -> None:
    equity = [100.0, 110.0, 99.0, 104.5, 110.0, 120.0, 90.0, 100.0, 110.0, 119.0]
    assert ev.drawdowns(equity) == pytest.approx([0, 0, 0.1, 0.05, 0, 0, 0.25, 1 / 6, 1 / 12, 1 / 120])
    assert ev.max_drawdown(equity) == pytest.approx(0.25)
    assert ev.max_drawdown_bars(equity) == 4  # the open one at the end, longer than the deep one before it closes
    assert ev.max_drawdown_bars(equity[:6]) == 2
    assert ev.max_drawdown_bars([1.0, 1.0, 2.0]) == 0


def test_trade_metrics_follow_five_trades_worked_by_hand() -> None:
    profits = [30.0, -10.0, 20.0, -20.0, 0.0]
    assert ev.win_rate(profits) == pytest.approx(2 / 5)
    assert ev.profit_factor(profits) == pytest.approx(50 / 30)
    assert ev.expectancy(profits) == pytest.approx(4.0)
    assert ev.system_quality_number(profits) == pytest.approx(math.sqrt(5) * 4 / math.sqrt(344))
    # Half win, half lose, mean win 25 against mean loss 15.
    assert ev.kelly_fraction(profits) == pytest.approx(0.5 - 0.5 / (25 / 15))


def test_kelly_maximises_the_growth_of_a_repeated_bet() -> None:
    profits = np.array([1.5] * 55 + [-1.0] * 45)
    stakes = np.linspace(0.0, 0.9, 90_001)
    growth = 0.55 * np.log1p(1.5 * stakes) + 0.45 * np.log1p(-stakes)
    assert ev.kelly_fraction(profits) == pytest.approx(stakes[np.argmax(growth)], abs=1e-5)


def test_only_losses_give_no_kelly_fraction_and_a_profit_factor_of_zero() -> None:
    assert math.isnan(ev.kelly_fraction([-1.0, -2.0]))
    assert ev.profit_factor([-1.0, -2.0]) == 0.0
    assert ev.win_rate([-1.0, -2.0]) == 0.0


def test_only_profits_give_an_infinite_profit_factor_and_no_kelly_fraction() -> None:
    assert ev.profit_factor([1.0, 2.0]) == math.inf
    assert math.isnan(ev.kelly_fraction([1.0, 2.0]))
    assert math.isnan(ev.profit_factor([0.0]))


RETURN_METRICS: list[Callable[[object], float]] = [
    ev.total_return,
    lambda returns: ev.cagr(returns, bars_per_year=252),
    lambda returns: ev.annual_volatility(returns, bars_per_year=252),
    lambda returns: ev.downside_deviation(returns, bars_per_year=252),
    lambda returns: ev.sharpe_ratio(returns, bars_per_year=252),
    lambda returns: ev.sortino_ratio(returns, bars_per_year=252),
    lambda returns: ev.calmar_ratio(returns, bars_per_year=252),
    lambda returns: ev.omega_ratio(returns, bars_per_year=252),
    ev.value_at_risk,
    ev.expected_shortfall,
    ev.tail_ratio,
    ev.skewness,
    ev.kurtosis,
    ev.win_rate,
    ev.profit_factor,
    ev.expectancy,
    ev.system_quality_number,
    ev.kelly_fraction,
]


@pytest.mark.parametrize("metric", RETURN_METRICS)
@pytest.mark.parametrize("sample", [[], [math.nan], [math.nan, math.nan, math.nan]], ids=["empty", "one NaN", "NaNs"])
def test_every_metric_of_no_observation_is_nan(metric: Callable[[object], float], sample: list[float]) -> None:
    assert math.isnan(metric(sample))


def test_one_observation_gives_returns_but_no_deviation() -> None:
    assert ev.total_return([0.01]) == pytest.approx(0.01)
    assert ev.cagr([0.01], bars_per_year=2) == pytest.approx(1.01**2 - 1)
    assert ev.value_at_risk([0.01]) == ev.expected_shortfall([0.01]) == 0.01
    assert math.isnan(ev.annual_volatility([0.01], bars_per_year=252))
    assert math.isnan(ev.sharpe_ratio([0.01], bars_per_year=252))
    assert math.isnan(ev.sortino_ratio([0.01], bars_per_year=252))
    assert math.isnan(ev.system_quality_number([5.0]))


@pytest.mark.parametrize("value", [0.0, 0.001, -0.001, 0.1])
def test_equal_returns_have_no_volatility_and_no_sharpe_ratio(value: float) -> None:
    returns = np.full(1000, value)  # the float mean of 0.1 misses 0.1: a naive ratio would be about 1e15
    assert ev.annual_volatility(returns, bars_per_year=252) == 0.0
    assert math.isnan(ev.sharpe_ratio(returns, bars_per_year=252))
    assert math.isnan(ev.skewness(returns))
    assert math.isnan(ev.kurtosis(returns))


def test_no_falling_bar_gives_no_sortino_no_calmar_and_no_omega_ratio() -> None:
    returns = [0.01, 0.02, 0.0]
    assert math.isnan(ev.sortino_ratio(returns, bars_per_year=252))
    assert math.isnan(ev.calmar_ratio(returns, bars_per_year=252))
    assert math.isnan(ev.omega_ratio(returns, bars_per_year=252))


def test_an_account_that_lost_more_than_everything_is_reported_as_such() -> None:
    equity = [100.0, 50.0, -30.0, 10.0, 20.0]
    returns = ev.bar_returns(equity)
    assert returns[:2] == pytest.approx([-0.5, -1.6])
    assert math.isnan(returns[2])  # what an account below zero earns has no percentage
    assert ev.cagr(returns, bars_per_year=252) == -1.0
    assert ev.max_drawdown(equity) == pytest.approx(1.3)


def test_a_start_value_adds_the_return_of_the_first_bar() -> None:
    assert ev.bar_returns([110.0, 121.0], start=100.0) == pytest.approx([0.1, 0.1])
    assert ev.bar_returns([110.0, 121.0]) == pytest.approx([0.1])
    assert ev.bar_returns([]).size == 0


def test_bars_per_year_counts_sessions_as_the_feed_has_them(shared_csv: Callable[[str], Path]) -> None:
    hours = pd.date_range("2023-01-01", periods=5000, freq="h").to_numpy()
    assert ev.bars_per_year(hours) == pytest.approx(8766.0, rel=1e-12)
    days = pd.read_csv(shared_csv("SP500-1d-1999-2018.csv.gz"), usecols=["datetime"], parse_dates=["datetime"])
    assert ev.bars_per_year(days["datetime"].to_numpy()) == pytest.approx(251.6, abs=0.3)
    assert math.isnan(ev.bars_per_year(hours[:1]))
    assert math.isnan(ev.bars_per_year(hours[:0]))


def test_an_unknown_number_of_bars_per_year_gives_unknown_annual_figures() -> None:
    returns = [0.01, -0.02, 0.03]
    assert math.isnan(ev.cagr(returns, bars_per_year=math.nan))
    assert math.isnan(ev.sharpe_ratio(returns, bars_per_year=math.nan))
    assert math.isnan(ev.turnover(100.0, [100.0], bars_per_year=math.nan))


def test_a_growth_beyond_the_float_range_is_infinite() -> None:
    assert ev.cagr([0.5], bars_per_year=525_960) == math.inf


def test_exposure_and_turnover_count_positions_and_traded_notional() -> None:
    assert ev.exposure([0.0, 1.5, -2.0, 0.0]) == 0.5
    assert math.isnan(ev.exposure([]))
    # One round trip of 100 on an equity of 100 within half a year: 2 in the half year, 4 a year.
    assert ev.turnover(200.0, np.full(126, 100.0), bars_per_year=252) == pytest.approx(4.0)
    assert math.isnan(ev.turnover(200.0, [-5.0], bars_per_year=252))


@pytest.mark.parametrize("year", [0.0, -252.0, math.inf])
def test_an_impossible_number_of_bars_per_year_is_refused(year: float) -> None:
    with pytest.raises(SettingsError, match="bars_per_year must be"):
        ev.sharpe_ratio([0.01, 0.02], bars_per_year=year)


def test_infinite_or_two_dimensional_input_is_refused_with_its_place() -> None:
    with pytest.raises(SettingsError, match="finite numbers or NaN, got inf at position 1"):
        ev.total_return([0.0, math.inf])
    with pytest.raises(SettingsError, match=r"one dimension, got shape \(2, 1\)"):
        ev.max_drawdown([[1.0], [2.0]])


curves = st.lists(st.floats(0.5, 2.0), min_size=1, max_size=60)


@given(curves)
def test_compounded_bar_returns_lead_from_the_first_value_to_the_last(equity: list[float]) -> None:
    returns = ev.bar_returns(equity, start=1.0)
    assert 1 + ev.total_return(returns) == pytest.approx(equity[-1])


@given(curves, st.floats(0.001, 1000.0))
def test_the_currency_changes_no_figure(equity: list[float], rate: float) -> None:
    other = np.array(equity) * rate
    assert ev.bar_returns(other) == pytest.approx(ev.bar_returns(equity))
    assert ev.max_drawdown(other) == pytest.approx(ev.max_drawdown(equity))


@given(curves)
def test_a_longer_curve_never_has_a_smaller_drawdown_or_a_shorter_one(equity: list[float]) -> None:
    depths = [ev.max_drawdown(equity[:end]) for end in range(1, len(equity) + 1)]
    lengths = [ev.max_drawdown_bars(equity[:end]) for end in range(1, len(equity) + 1)]
    assert depths == sorted(depths)
    assert lengths == sorted(lengths)
    assert ev.drawdowns(equity).tolist()[: len(equity) // 2] == ev.drawdowns(equity[: len(equity) // 2]).tolist()


def test_the_examples_in_the_docstrings_run() -> None:
    outcome = doctest.testmod(ev.metrics)
    assert outcome.attempted > 2
    assert outcome.failed == 0
