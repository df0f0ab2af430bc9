"""What the market's own voters say on every bar at once, so that nobody need be asked where nothing can come of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.market import MarketFeatures, Regimes
from ai_backtrader.orchestrator.poll import Sources, lifted
from ai_backtrader.orchestrator.settings import OrchestratorSettings
from ai_backtrader.orchestrator.technical import TechnicalSource, technical_pulls

__all__ = ["ROUNDING", "Outlook", "asked_sources", "outlook_of", "quiet_bars_of"]

ROUNDING = 1e-8
"""By so much below the hold threshold a score computed for all bars must lie to be one that ends in HOLD."""


class Outlook(NamedTuple):
    """The votes of technical and evolved source on every bar.

    Attributes
    ----------
    score
        (n,) sum of weight times signed confidence, of those who vote.
    voters
        (n,) sum of their weights.
    candidates
        (n,) bool: the features are known and the regime is that of the bar before; other bars must be asked about.
    lift, lift_weight
        Largest factor by which the online source may raise a view, and its weight; 1 and 0 where it has no say.
    """

    score: NDArray[np.float64]
    voters: NDArray[np.float64]
    candidates: NDArray[np.bool_]
    lift: float
    lift_weight: float


def asked_sources(sources: Sources, settings: OrchestratorSettings) -> dict[str, object]:
    """Sources with a weight that may have a view at some bar, by name."""
    return {
        name: port
        for name, port in sources._asdict().items()
        if port is not None and not getattr(port, "idle", False) and settings.weights.get(name)
    }


def outlook_of(
    sources: Sources, settings: OrchestratorSettings, features: MarketFeatures, regimes: Regimes, symbol: str | None
) -> Outlook | None:
    """Votes of technical and evolved source on all bars; None where one of them, or the online source, cannot tell.

    The agents and the advisor are left out: what they say depends on more than the market.
    """
    asked, weights = asked_sources(sources, settings), settings.weights
    if type(asked.get("technical")) is not TechnicalSource:
        return None
    pulls = {"technical": technical_pulls(features, regimes)}
    if "evolved" in asked:
        known = getattr(asked["evolved"], "pulls", None)
        given = None if known is None or symbol is None else known(symbol, regimes)
        if given is None:
            return None
        pulls["evolved"] = given
    lift = getattr(asked["online"], "lift", None) if "online" in asked else 1.0
    if lift is None:
        return None
    voters = np.zeros(len(features))
    score = np.zeros(len(features))
    for name, pull in pulls.items():
        voting = ~np.isnan(pull)
        voters += np.where(voting, weights[name], 0.0)
        score += np.where(voting, weights[name] * pull, 0.0)
    candidates = np.ones(len(features), np.bool_)
    candidates[1:] = regimes.labels[1:] == regimes.labels[:-1]
    candidates[: features.ready_from + 1] = False
    return Outlook(score, voters, candidates, float(lift), weights["online"] if "online" in asked else 0.0)


def quiet_bars_of(outlook: Outlook, hold_threshold: float) -> NDArray[np.bool_]:
    """Bars that end in HOLD whatever the account, where nobody but the voters of the outlook is asked; (n,)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.abs(outlook.score / outlook.voters)
        if outlook.lift_weight:
            size *= lifted(outlook.lift, outlook.lift_weight, outlook.voters)
        return outlook.candidates & (size < hold_threshold - ROUNDING)
