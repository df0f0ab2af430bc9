"""The score of a strategy, term by term, pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.meta_allocator.records import StrategyRecord
from ai_backtrader.meta_allocator.settings import AllocatorSettings
from ai_backtrader.values import FrozenMapping, Regime

__all__ = [
    "Score",
    "crowding",
    "drawdown_term",
    "profit_factor_term",
    "regime_term",
    "score_of",
    "sharpe_term",
    "shrunk_sharpe",
    "win_rate_term",
]


@dataclass(frozen=True, kw_only=True)
class Score:
    """Score of a strategy and where it comes from.

    Attributes
    ----------
    strategy_id
        Whose.
    terms
        Contribution by term; absent where nothing is known.
    health
        Factor of the online learner, 0 to 1.
    value
        ``max(0, sum of the terms) * health``: no capital for what is expected to lose.
    """

    strategy_id: str
    terms: Mapping[str, float]
    health: float
    value: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", FrozenMapping(self.terms))

    @property
    def reason(self) -> str:
        """The terms in words, largest first."""
        parts = [f"{name} {value:+.2f}" for name, value in sorted(self.terms.items(), key=lambda kv: -abs(kv[1]))]
        if self.health < 1.0:
            parts.append(f"health x{self.health:.2f}")
        return ", ".join(parts) if parts else "nothing known"


def shrunk_sharpe(sharpe: float, n_obs: float, periods_per_year: float, prior_sharpe: float) -> float:
    """Annual Sharpe ratio, shrunk toward 0 by the length of the record.

    The posterior mean of a true ratio that is normal around 0 with standard deviation ``prior_sharpe`` before anything
    is seen, where the estimate's variance is ``(1 + s^2 / 2) / n`` a period (Lo 2002, "The Statistics of Sharpe
    Ratios", equation 9).

    Parameters
    ----------
    sharpe
        Annual.
    n_obs, periods_per_year
        Length of the record in periods, and periods in a year.
    prior_sharpe
        Annual.

    Returns
    -------
    float
        Same sign, never larger in size.
    """
    per_period = sharpe / math.sqrt(periods_per_year)
    variance = (1.0 + 0.5 * per_period * per_period) / n_obs * periods_per_year
    return sharpe * prior_sharpe**2 / (prior_sharpe**2 + variance)


def sharpe_term(record: StrategyRecord, settings: AllocatorSettings) -> float | None:
    """``sharpe_weight`` times the shrunk Sharpe ratio; None when it is not known."""
    figures = record.figures
    if "sharpe_ratio" not in figures:
        return None
    return settings.sharpe_weight * shrunk_sharpe(
        figures["sharpe_ratio"],
        figures.get("n_obs", settings.default_observations),
        figures.get("periods_per_year", settings.periods_per_year),
        settings.prior_sharpe,
    )


def win_rate_term(record: StrategyRecord, settings: AllocatorSettings) -> float | None:
    """Bonus for a win rate above the threshold, never a penalty; None when it is not known.

    Told rate and closed trades are pooled, with ``prior_trades`` trades of which half were won.
    """
    told, n = record.figures.get("win_rate"), record.wins + record.losses
    if told is None and not n:
        return None
    n_told = 0.0 if told is None else record.figures.get("n_trades", settings.default_observations / 5.0)
    wins = record.wins + (0.0 if told is None else told * n_told) + 0.5 * settings.prior_trades
    trades = n + n_told + settings.prior_trades
    rate = wins / trades if trades else 0.5
    return settings.win_rate_weight * max(0.0, rate - settings.win_rate_threshold)


def drawdown_term(record: StrategyRecord, settings: AllocatorSettings) -> float | None:
    """``-drawdown_weight`` times the largest drawdown (fraction); None when it is not known."""
    drawdown = record.figures.get("max_drawdown")
    return None if drawdown is None else -settings.drawdown_weight * drawdown


def profit_factor_term(record: StrategyRecord, settings: AllocatorSettings) -> float | None:
    """``profit_factor_weight`` times the capped logarithm of the profit factor; None when it is not known.

    1 earns nothing, below 1 costs as much as its inverse would earn. That of ``n`` closed trades, or of a record that
    tells its ``n_trades``, counts by ``n / (n + prior_trades)``.
    """
    told, n = record.figures.get("profit_factor"), record.figures.get("n_trades", math.inf)
    if told is None:
        n = record.wins + record.losses
        if not n:
            return None
        told = record.won / record.lost if record.lost else math.inf
    cap = settings.max_profit_factor
    known = 1.0 / (1.0 + settings.prior_trades / n) if n else 0.0
    return settings.profit_factor_weight * known * math.log(min(max(told, 1.0 / cap), cap))


def regime_term(record: StrategyRecord, regime: Regime | None, settings: AllocatorSettings) -> float | None:
    """``regime_weight`` times the shrunk Sharpe ratio in the current regime; None when it is not known.

    Told figures (``sharpe_bull``) come first; else the closed trades of that regime, each taken as one period of a
    year that holds ``prior_trades`` of them.
    """
    if regime is None:
        return None
    figures, name = record.figures, f"sharpe_{regime.value}"
    if name in figures:
        value = shrunk_sharpe(
            figures[name],
            figures.get(f"n_obs_{regime.value}", figures.get("n_obs", settings.default_observations) / len(Regime)),
            figures.get("periods_per_year", settings.periods_per_year),
            settings.prior_sharpe,
        )
        return settings.regime_weight * value
    trades = record.by_regime.get(regime.value)
    if trades is None or math.isnan(trades.ratio):
        return None
    a_year = max(settings.prior_trades, 1.0)
    annual = trades.ratio * math.sqrt(a_year)
    return settings.regime_weight * shrunk_sharpe(annual, trades.n, a_year, settings.prior_sharpe)


def score_of(record: StrategyRecord, regime: Regime | None, health: float, settings: AllocatorSettings) -> Score:
    """Score of a strategy in a regime."""
    found = {
        "Sharpe": sharpe_term(record, settings),
        "win rate": win_rate_term(record, settings),
        "drawdown": drawdown_term(record, settings),
        "profit factor": profit_factor_term(record, settings),
        "regime": regime_term(record, regime, settings),
    }
    terms = {name: value for name, value in found.items() if value is not None}
    value = max(0.0, math.fsum(terms.values())) * health
    return Score(strategy_id=record.strategy_id, terms=terms, health=health, value=value)


def crowding(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many strategies each one stands for: the sum of its positive correlations, itself included.

    Scores are divided by it, so that two copies of a strategy get what one would, and independent strategies lose
    nothing.

    Parameters
    ----------
    correlation
        (n, n), ones on the diagonal.

    Returns
    -------
    (n,) float64
        At least 1.
    """
    crowds: NDArray[np.float64] = np.maximum(correlation, 0.0).sum(axis=1)
    return crowds
