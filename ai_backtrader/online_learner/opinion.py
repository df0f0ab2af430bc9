"""From health, regime and like trades to one opinion (pure)."""

from __future__ import annotations

from typing import NamedTuple

from ai_backtrader.online_learner.health import HealthMonitor, HealthState
from ai_backtrader.online_learner.patterns import PatternVerdict, shrunk_win_rate
from ai_backtrader.online_learner.regimes import RegimeTable
from ai_backtrader.online_learner.settings import OnlineLearnerSettings
from ai_backtrader.values import Regime

__all__ = ["TradeOpinion", "form_opinion", "refusal_of"]


class TradeOpinion(NamedTuple):
    """Whether to trade, with how much of the confidence, and why.

    Attributes
    ----------
    should_trade
        False refuses.
    adjustment
        Factor on confidence and size, at least 0; 0 with a refusal.
    reason
        One readable sentence.
    """

    should_trade: bool
    adjustment: float
    reason: str


def refusal_of(strategy_id: str, health: HealthMonitor) -> TradeOpinion | None:
    """The refusal of a degraded strategy; None where its health allows to trade."""
    if health.state is not HealthState.DEGRADED:
        return None
    return TradeOpinion(
        False,
        0.0,
        f"{strategy_id} is DEGRADED ({health.reason}): followed on paper until {health.settings.recovery_trades} "
        f"trades there show the edge again",
    )


def form_opinion(
    strategy_id: str,
    health: HealthMonitor,
    regimes: RegimeTable,
    regime: Regime | None,
    verdict: PatternVerdict | None,
    settings: OnlineLearnerSettings,
) -> TradeOpinion:
    """What follows from all that is known of a strategy that may trade.

    Parameters
    ----------
    health, regimes, verdict
        Of the strategy: not degraded; its results by regime; what like trades say, None for no verdict.
    regime
        Label now; None leaves the results by regime out.
    settings
        Limits.
    """
    reasons = [f"{strategy_id} is {health.state.value}"]
    adjustment = _regime_factor(regimes, regime, settings, reasons)
    if verdict is None:
        reasons.append("too few like trades for a verdict")
    else:
        adjustment *= _ratio(verdict.shrunk_win_rate, verdict.base_win_rate)
        reasons.append(
            f"of {verdict.n_neighbours} like trades {verdict.win_rate:.0%} won ({verdict.base_win_rate:.0%} of all), "
            f"{verdict.mean_pnl_pct:+.2f} % on average"
        )
        limit = settings.patterns.veto_probability
        if limit is not None and verdict.probability <= limit and verdict.mean_pnl_pct < 0.0:
            reasons.append(f"chance explains so few with probability {verdict.probability:.1g} only: no trade")
            return TradeOpinion(False, 0.0, "; ".join(reasons))
    adjustment = min(max(adjustment, settings.min_adjustment), settings.max_adjustment)
    if health.state is HealthState.PROBATION:
        adjustment *= health.size_factor
        reasons.append(f"on probation at {health.size_factor:.0%} of the size ({health.reason})")
    return TradeOpinion(True, adjustment, "; ".join(reasons))


def _regime_factor(
    regimes: RegimeTable, regime: Regime | None, settings: OnlineLearnerSettings, reasons: list[str]
) -> float:
    if regime is None:
        return 1.0
    here, overall = regimes.of(regime), regimes.total()
    if here.n_trades < settings.min_regime_trades:
        return 1.0
    rate = overall.wins / overall.n_trades
    shrunk = shrunk_win_rate(here.wins, here.n_trades, rate, settings.regime_prior_strength)
    reasons.append(f"in {regime.value} {here.wins} of {here.n_trades} trades won ({rate:.0%} of all)")
    return _ratio(shrunk, rate)


def _ratio(rate: float, base: float) -> float:
    return rate / base if base > 0.0 else 1.0
