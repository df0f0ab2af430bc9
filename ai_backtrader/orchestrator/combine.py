"""Votes to a score, pure: weights renormalise over those who vote, an abstention is not a HOLD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ai_backtrader.orchestrator.values import Abstention, Adjustment, Advice, Vote
from ai_backtrader.values import Action

__all__ = ["adjusted_vote", "breakdown", "describe", "is_veto", "limited_pull", "pull_of", "score_of"]


def pull_of(vote: Vote) -> float:
    """Signed confidence of a vote, -1 to 1; 0 for HOLD."""
    return vote.action.sign * vote.confidence


def breakdown(pulls: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """Contribution of each voter: its share of the weights of those who voted, times its pull.

    Parameters
    ----------
    pulls
        Signed confidence by source, of those who voted.
    weights
        Weight by source, above 0 for each of them.

    Returns
    -------
    dict
        Empty when nobody voted.
    """
    total = sum([weights[source] for source in pulls])
    return {source: weights[source] / total * pull for source, pull in pulls.items()}


def score_of(contributions: Mapping[str, float]) -> float:
    """Sum of the contributions, within -1 and 1; 0 when nobody voted."""
    return sum(contributions.values(), 0.0)


def adjusted_vote(adjustment: Adjustment, score: float) -> Vote | Abstention:
    """The online source's vote: the view of the others at ``factor`` times its confidence (at most 1).

    At factor 1 it changes nothing, below it dampens the score by its weight, above it lifts it. Where trading is
    forbidden it votes HOLD. Without a view of the others there is nothing to adjust: it abstains.
    """
    if not adjustment.should_trade:
        return Vote("online", Action.HOLD, 1.0, adjustment.reason)
    if score == 0.0:
        return Abstention("online", "no view of another source to adjust")
    confidence = min(abs(score) * adjustment.factor, 1.0)
    return Vote("online", Action.from_sign(score), confidence, adjustment.reason)


def limited_pull(advice: Advice, score: float, weight: float, others: float) -> float:
    """The advisor's pull where it may only lower risk: the score keeps its side and does not grow.

    Agreement counts at most as much as the score already stands; objection takes it to 0 at the lowest.

    Parameters
    ----------
    advice
        What the advisor said.
    score
        Score of the other voters.
    weight, others
        The advisor's weight, and the summed weight of the other voters.

    Returns
    -------
    float
        Signed confidence to count for the advisor.
    """
    side = (score > 0.0) - (score < 0.0)
    agreement = side * advice.action.sign * advice.confidence
    return side * max(min(agreement, abs(score)), -abs(score) * others / weight)


def is_veto(advice: Advice, action: Action, veto_confidence: float) -> bool:
    """Whether the advice turns ``action`` into HOLD: it objects with confidence, or calls the risk high and objects."""
    if action is Action.HOLD or advice.action is action:
        return False
    return advice.confidence >= veto_confidence or advice.risk_level == "high"


def describe(votes: Sequence[Vote | Abstention], contributions: Mapping[str, float]) -> str:
    """One clause a voter: who, what, how sure, why, and what it contributed."""
    return "; ".join(
        [
            f"{vote.source} {vote.action.value} {vote.confidence:.0%} ({vote.reason}) {contributions[vote.source]:+.2f}"
            for vote in votes
            if isinstance(vote, Vote)
        ]
    )
