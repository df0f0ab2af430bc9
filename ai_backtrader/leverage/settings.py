"""Settings of the leverage manager."""

from __future__ import annotations

from dataclasses import dataclass

from ai_backtrader.checks import Faults

__all__ = ["LeverageSettings"]


@dataclass(frozen=True, kw_only=True)
class LeverageSettings:
    """Limits and habits of the leverage manager; checked once, all faults reported together.

    Attributes
    ----------
    max_leverage
        Highest leverage ever recommended (multiple of the margin posted).
    leverage_step
        Leverage is rounded **down** to this step; 1 must be a multiple of it.
    target_volatility
        Annual volatility of the **margin posted** that the volatility-target policy aims at (1.5 is 150 %): leverage =
        target / forecast. A market at 50 % a year gets 3x, one at 15 % gets 10x; above 150 % the leverage stays 1x and
        the size shrinks instead.
    bars_per_year
        Bars in a year of the series that the indicators come from (8766: hourly, around the clock). A caller that knows
        better says so through ``risk_info["bars_per_year"]``.
    days_per_year
        Days over which a year's variance is spread for the one-day VaR (365.25 around the clock, 252 by sessions).
    high_volatility_factor
        Factor on leverage while the ``high_volatility`` flag is set.
    trend_floor
        Factor on leverage when a strong trend runs against the trade; 1 with it, half way without a trend.
    confidence_floor
        Factor on leverage at confidence 0; 1 at confidence 1.
    margin_warn, margin_critical
        Margin ratio (share of the liquidation buffer consumed) above which leverage falls and the open position should
        be reduced; at the critical value no new trade is sized and the whole position should go.
    drawdown_warn, drawdown_limit, drawdown_floor
        Account drawdown (fraction) from which leverage falls, where the fall ends, and the factor that remains there
        (above 0, so that an account can recover).
    max_margin_fraction
        Largest share of equity posted as margin for one position.
    risk_budget
        Default of ``risk_budget``: largest share of equity lost at the stop.
    prior_risk
        Share of equity risked at the stop while there are too few trades for Kelly.
    kelly_fraction
        Share of the full Kelly bet that is used.
    min_kelly_trades, kelly_window, kelly_prior_trades, max_payoff
        Trades needed before Kelly counts; latest trades it looks at; weight, in trades, of the prior that there is no
        edge; cap of the payoff ratio.
    stop_atr
        Stop distance in ATR where the caller gives none.
    liquidation_buffer
        The liquidation price lies at least ``(1 + liquidation_buffer)`` stop distances from the price.
    fee_rate, slippage
        Defaults, as fractions of the notional a side.
    liquidation_fee
        Extra fee at liquidation, as a fraction of the notional.
    funding_per_day
        Funding settlements a day.
    leverage_buckets
        Upper bounds of the buckets of the experience table.
    min_experience_trades, experience_prior_trades
        Trades a bucket needs before it may lower leverage; weight, in trades, of the prior that its mean return is 0.
    """

    max_leverage: float = 10.0
    leverage_step: float = 0.1
    target_volatility: float = 1.5
    bars_per_year: float = 8766.0
    days_per_year: float = 365.25
    high_volatility_factor: float = 0.7
    trend_floor: float = 0.5
    confidence_floor: float = 0.5
    margin_warn: float = 0.5
    margin_critical: float = 0.8
    drawdown_warn: float = 0.10
    drawdown_limit: float = 0.30
    drawdown_floor: float = 0.25
    max_margin_fraction: float = 0.25
    risk_budget: float = 0.02
    prior_risk: float = 0.01
    kelly_fraction: float = 0.25
    min_kelly_trades: int = 30
    kelly_window: int = 200
    kelly_prior_trades: float = 20.0
    max_payoff: float = 5.0
    stop_atr: float = 2.0
    liquidation_buffer: float = 0.5
    fee_rate: float = 0.0005
    slippage: float = 0.0002
    liquidation_fee: float = 0.0
    funding_per_day: float = 3.0
    leverage_buckets: tuple[float, ...] = (1.0, 3.0, 5.0, 10.0)
    min_experience_trades: int = 10
    experience_prior_trades: float = 10.0

    def __post_init__(self) -> None:
        faults = Faults("LeverageSettings")
        faults.number("max_leverage", self.max_leverage, low=1.0, high=1000.0)
        faults.number("leverage_step", self.leverage_step, above=0.0, high=1.0)
        for name in ("target_volatility", "bars_per_year", "days_per_year", "max_payoff", "stop_atr"):
            faults.number(name, getattr(self, name), above=0.0)
        for name in ("liquidation_buffer", "kelly_prior_trades", "experience_prior_trades", "funding_per_day"):
            faults.number(name, getattr(self, name), low=0.0)
        for name in ("high_volatility_factor", "drawdown_floor", "max_margin_fraction"):
            faults.number(name, getattr(self, name), above=0.0, high=1.0)
        for name in ("trend_floor", "confidence_floor", "risk_budget", "prior_risk", "kelly_fraction"):
            faults.number(name, getattr(self, name), low=0.0, high=1.0)
        for name in ("margin_warn", "margin_critical", "drawdown_warn", "drawdown_limit"):
            faults.number(name, getattr(self, name), low=0.0, high=1.0)
        for name in ("fee_rate", "slippage", "liquidation_fee"):
            faults.number(name, getattr(self, name), low=0.0, high=0.1)
        for name in ("min_kelly_trades", "kelly_window", "min_experience_trades"):
            faults.whole(name, getattr(self, name), low=1)
        if isinstance(self.leverage_buckets, tuple) and self.leverage_buckets:
            for index, bound in enumerate(self.leverage_buckets):
                faults.number(f"leverage_buckets[{index}]", bound, low=1.0)
        else:
            faults.add(f"leverage_buckets must be a tuple of at least one bound, got {self.leverage_buckets!r}")
        if not faults.found:
            self._check_pairs(faults)
        faults.raise_if_any()

    def _check_pairs(self, faults: Faults) -> None:
        steps = 1.0 / self.leverage_step
        if abs(steps - round(steps)) > 1e-9:
            faults.add(f"leverage_step must divide 1 (0.1, 0.25, 1, ...), got {self.leverage_step!r}")
        for low, high in (("margin_warn", "margin_critical"), ("drawdown_warn", "drawdown_limit")):
            if not getattr(self, low) < getattr(self, high):
                faults.add(f"{low} must be below {high}, got {getattr(self, low)!r} and {getattr(self, high)!r}")
        if self.kelly_window < self.min_kelly_trades:
            faults.add(
                f"kelly_window must be at least min_kelly_trades, got {self.kelly_window} and {self.min_kelly_trades}"
            )
        if any(b <= a for a, b in zip(self.leverage_buckets, self.leverage_buckets[1:], strict=False)):
            faults.add(f"leverage_buckets must increase, got {self.leverage_buckets!r}")
