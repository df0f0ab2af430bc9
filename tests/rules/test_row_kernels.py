"""Indicators by running totals, in fours and by halves: against ``math.fsum`` and the market room, bit for bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ai_backtrader.market import indicators
from ai_backtrader.market.indicator_kernels import POWERS
from ai_backtrader.rules.row_kernels import running_totals, window_means
from ai_backtrader.rules.series_kernels import STEP_DTYPE, Formula, fill_rows

_RNG = np.random.default_rng(7)
_WALK = 30_000.0 * np.exp(np.cumsum(_RNG.normal(0.0, 0.01, 1_200)))


@pytest.mark.parametrize(
    ("values", "exact"),
    [
        pytest.param(_WALK, True, id="prices"),
        pytest.param(_RNG.lognormal(3.0, 1.0, 1_200).round(3), True, id="volumes"),
        pytest.param(np.where(_RNG.random(1_200) < 0.5, 0.0, _WALK), True, id="zeros among them"),
        pytest.param(_RNG.normal(0.0, 1.0, 1_200).round(2) * 1e5, True, id="of both signs"),
        pytest.param(np.zeros(1_200), True, id="nothing"),
        pytest.param(np.where(np.arange(1_200) % 97 == 0, 1e-20, _WALK), False, id="too far apart"),
        pytest.param(np.where(np.arange(1_200) == 700, np.inf, _WALK), False, id="infinite"),
    ],
)
@pytest.mark.parametrize("warm", [0, 13])
def test_means_are_the_correctly_rounded_sums_over_the_period(
    values: NDArray[np.float64], exact: bool, warm: int
) -> None:
    x = values.copy()
    x[:warm] = np.nan
    high, low, out = np.empty((3, len(x)))
    running_totals(x, warm, high, low)
    assert np.isnan(high[-1]) != exact
    for period in (1, 2, 7, 200):
        window_means(x, high, low, period, warm, out)
        expected = [math.fsum(x[t - period + 1 : t + 1]) / period for t in range(warm + period - 1, 700)]
        np.testing.assert_array_equal(out[warm + period - 1 : 700], expected)
        assert np.isnan(out[: warm + period - 1]).all()


def test_a_row_that_never_begins_has_no_mean() -> None:
    x = np.full(50, np.nan)
    high, low, out = np.zeros((3, 50))
    running_totals(x, 50, high, low)
    window_means(x, high, low, 5, 50, out)
    assert np.isnan(out).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
def test_averages_in_fours_are_those_alone_whatever_their_number(count: int) -> None:
    table = np.full((count + 1, len(_WALK)), 7.0)
    table[0] = _WALK
    periods = [2, 300, 26, 1_150, 12, 1_199, 1_300, 5, 77][:count]
    steps = np.zeros(count, STEP_DTYPE)
    for place, period in enumerate(periods):
        row = place + 1
        formula = Formula.EMA if place % 2 else Formula.SMMA
        steps[place] = (formula, row, row, 0, 0, 0, period, 0.0)
    fill_rows(steps, table, POWERS)
    for place, period in enumerate(periods):
        plain = (indicators.ema if place % 2 else indicators.smma)(_WALK, period)
        np.testing.assert_array_equal(table[place + 1], plain)


def test_steps_wait_for_the_rows_that_they_read() -> None:
    table = np.empty((4, len(_WALK)))
    table[0] = _WALK
    chain = [(Formula.EMA, 1, 1, 0, 0, 0, 9, 0.0), (Formula.DIFFERENCE, 2, 2, 0, 1, 0, 0, 0.0),
             (Formula.EMA, 3, 3, 2, 2, 2, 5, 0.0)]  # fmt: skip
    fill_rows(np.array(chain, STEP_DTYPE), table, POWERS)
    np.testing.assert_array_equal(table[3], indicators.ema(_WALK - indicators.ema(_WALK, 9), 5))
