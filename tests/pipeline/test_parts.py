"""Figures of an account's values."""

from __future__ import annotations

import numpy as np
import pytest

from ai_backtrader.evidence import bar_returns, sharpe_ratio
from ai_backtrader.pipeline.parts import account_returns, curve_figures


def test_an_account_that_never_traded_has_no_sharpe_ratio_of_its_rounding() -> None:
    values = 100.0 * (1.0 + np.random.default_rng(1).normal(0.0, 1e-15, 1_000))
    assert np.ptp(bar_returns(values)) > 0.0
    figures = curve_figures(values, 8_760.0)
    assert np.isnan(figures["sharpe_ratio"])
    assert (figures["total_return"], figures["annual_volatility"]) == (0.0, 0.0)


def test_real_returns_stay_as_they_are() -> None:
    values = 100.0 * np.cumprod(1.0 + np.random.default_rng(2).normal(0.0, 1e-4, 500))
    assert account_returns(values).tobytes() == bar_returns(values).tobytes()
    expected = sharpe_ratio(bar_returns(values), bars_per_year=252.0)
    assert curve_figures(values, 252.0)["sharpe_ratio"] == pytest.approx(expected, rel=1e-15)
    ruined = np.array([100.0, 50.0, 0.0, 0.0])
    np.testing.assert_array_equal(account_returns(ruined), [-0.5, -1.0, np.nan])
