"""Settings of the meta-allocator."""

from __future__ import annotations

from dataclasses import dataclass

from ai_backtrader.checks import Faults

__all__ = ["METHODS", "AllocatorSettings"]

METHODS = ("score", "hrp", "risk_parity")
"""What the weights are proportional to: the scores, or the weights of hierarchical or equal risk (needs skfolio)."""


@dataclass(frozen=True, kw_only=True)
class AllocatorSettings:
    """How scores become weights; checked once, all faults reported together.

    Attributes
    ----------
    min_weight, max_weight
        Every strategy that gets capital gets at least and at most these shares of it.
    sharpe_weight, drawdown_weight, regime_weight
        Weights of the Sharpe ratio, of the drawdown (a penalty) and of the Sharpe ratio in the current regime.
    win_rate_threshold, win_rate_weight
        A win rate above the threshold earns ``win_rate_weight`` times what it lies above it.
    profit_factor_weight, max_profit_factor
        ``log(profit factor)``, the factor at most ``max_profit_factor``, earns this much.
    prior_sharpe
        Standard deviation of true annual Sharpe ratios among strategies one meets: the smaller, the more a short
        record is shrunk.
    default_observations, periods_per_year
        Length of a record that comes without one, and its periods in a year (252: one year of days).
    prior_trades
        Trades without an edge that are added to a win rate, half of them won.
    risk_budget
        Default of ``risk_budget``: largest forecast loss of one day, as a fraction of the capital.
    loss_confidence
        Probability with which a day's loss stays within the forecast.
    no_trade_band
        Weights stay as they are while the sum of changes is smaller than this and the plan still holds its limits.
    method
        One of ``METHODS``.
    window
        Latest daily returns of each strategy that covariances are estimated from.
    min_overlap
        Days that strategies must share before their correlation counts; before, it is taken to be 1 for the risk and
        0 for the scores.
    """

    min_weight: float = 0.05
    max_weight: float = 0.40
    sharpe_weight: float = 2.0
    drawdown_weight: float = 3.0
    regime_weight: float = 1.5
    win_rate_threshold: float = 0.55
    win_rate_weight: float = 5.0
    profit_factor_weight: float = 0.5
    max_profit_factor: float = 3.0
    prior_sharpe: float = 1.0
    default_observations: int = 252
    periods_per_year: float = 252.0
    prior_trades: float = 20.0
    risk_budget: float = 0.02
    loss_confidence: float = 0.95
    no_trade_band: float = 0.05
    method: str = "score"
    window: int = 252
    min_overlap: int = 20

    def __post_init__(self) -> None:
        faults = Faults("AllocatorSettings")
        for name in ("min_weight", "max_weight"):
            faults.number(name, getattr(self, name), above=0.0, high=1.0)
        for name in ("sharpe_weight", "drawdown_weight", "regime_weight", "win_rate_weight", "profit_factor_weight"):
            faults.number(name, getattr(self, name), low=0.0)
        for name in ("win_rate_threshold", "no_trade_band"):
            faults.number(name, getattr(self, name), low=0.0, high=1.0)
        for name in ("prior_sharpe", "periods_per_year", "risk_budget"):
            faults.number(name, getattr(self, name), above=0.0)
        faults.number("max_profit_factor", self.max_profit_factor, above=1.0)
        faults.number("prior_trades", self.prior_trades, low=0.0)
        faults.number("loss_confidence", self.loss_confidence, above=0.5, high=0.9999)
        for name, low in (("default_observations", 2), ("window", 20), ("min_overlap", 3)):
            faults.whole(name, getattr(self, name), low=low)
        faults.one_of("method", self.method, METHODS)
        if not faults.found and self.min_weight > self.max_weight:
            faults.add(f"min_weight must be at most max_weight, got {self.min_weight!r} and {self.max_weight!r}")
        faults.raise_if_any()
