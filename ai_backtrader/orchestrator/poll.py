"""Asking the sources, one after the other, and counting what they answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.orchestrator.combine import adjusted_vote, breakdown, is_veto, limited_pull, pull_of, score_of
from ai_backtrader.orchestrator.ports import AdvicePort, OnlinePort, VotePort
from ai_backtrader.orchestrator.settings import OrchestratorSettings
from ai_backtrader.orchestrator.values import SOURCES, Abstention, Adjustment, Advice, Context, Vote
from ai_backtrader.values import Action

__all__ = ["Ballot", "Sources", "is_quiet", "lifted", "poll", "wish_of"]

_ABSENT = {source: Abstention(source, "not connected") for source in SOURCES}
_UNWEIGHTED = {source: Abstention(source, "its weight is 0") for source in SOURCES}

_QUIET = Abstention("online", "no factor of its own would lift the view to the hold threshold")

_ROUNDING = 1e-12  # opposite contributions cancel to this, so a smaller score has no side

Report = Callable[[str, Exception], None]
T = TypeVar("T")
Weights = TypeVar("Weights", float, NDArray[np.float64])


class Sources(NamedTuple):
    """The systems that may vote; None is not connected."""

    technical: VotePort | None
    rl: VotePort | None
    evolved: VotePort | None
    online: OnlinePort | None
    llm: AdvicePort | None


class Ballot(NamedTuple):
    """What the poll gave: every source's answer, the contributions of those who voted, and the advisor's limits."""

    votes: tuple[Vote | Abstention, ...]
    contributions: dict[str, float]
    vetoed_by: str | None
    size_factor: float
    warnings: tuple[str, ...]


def wish_of(score: float, hold_threshold: float) -> Action:
    """BUY or SELL by the sign of the score; HOLD below the threshold and within rounding of 0."""
    return Action.from_sign(score) if abs(score) >= max(hold_threshold, _ROUNDING) else Action.HOLD


def is_quiet(score: float, online: OnlinePort, weight: float, voters: float, hold_threshold: float) -> bool:
    """Whether a score ends in HOLD whatever the online source says; it is not asked then.

    A source that does not tell the largest factor by which it raises a view (``lift``) is always asked.
    """
    lift = getattr(online, "lift", None)
    return lift is not None and abs(score) * lifted(lift, weight, voters) < hold_threshold - 1e-9


def lifted(lift: float, weight: float, voters: Weights) -> Weights:
    """Largest factor on the score that an online source of this lift and weight (above 0) comes to."""
    return 1.0 + weight / (weight + voters) * (lift - 1.0)


def poll(
    sources: Sources, context: Context, settings: OrchestratorSettings, base_vote: Vote | None, report: Report
) -> Ballot:
    """Ask the voters, then the online source about their view, then the advisor about the outcome.

    Parameters
    ----------
    sources, context, settings
        Whom, about what, under which rules.
    base_vote
        The caller's own technical vote; it stands instead of the technical source's.
    report
        Called with a source's name and the exception that it raised; may raise it again. The source then abstains.
    """
    weights = settings.weights
    votes: list[Vote | Abstention] = []
    pulls: dict[str, float] = {}

    def keep(answer: Vote | Abstention) -> None:
        votes.append(answer)
        if isinstance(answer, Vote):
            pulls[answer.source] = pull_of(answer)

    for name, port in (("technical", sources.technical), ("rl", sources.rl), ("evolved", sources.evolved)):
        if not weights.get(name):
            keep(_UNWEIGHTED[name])
        elif name == "technical" and base_vote is not None:
            keep(base_vote)
        elif port is None:
            keep(_ABSENT[name])
        else:
            keep(_ask(name, Vote, report, port.vote, context))

    vetoed_by: str | None = None
    if not weights.get("online") or sources.online is None:
        keep((_ABSENT if weights.get("online") else _UNWEIGHTED)["online"])
    else:
        score = score_of(breakdown(pulls, weights))
        wish = wish_of(score, settings.hold_threshold)
        judged: Adjustment | Abstention = _QUIET
        voters = sum([weights[name] for name in pulls])
        if not is_quiet(score, sources.online, weights["online"], voters, settings.hold_threshold):
            judged = _ask("online", Adjustment, report, sources.online.adjust, context, wish, abs(score))
        if isinstance(judged, Adjustment):
            keep(adjusted_vote(judged, score))
            vetoed_by = "online" if wish is not Action.HOLD and not judged.should_trade else None
        else:
            keep(judged)

    size_factor = 1.0
    warnings: tuple[str, ...] = ()
    if not weights.get("llm") or sources.llm is None:
        keep((_ABSENT if weights.get("llm") else _UNWEIGHTED)["llm"])
    else:
        score = score_of(breakdown(pulls, weights))
        wish = wish_of(score, settings.hold_threshold)
        advice = _ask("llm", Advice, report, sources.llm.advise, context, wish, abs(score))
        if isinstance(advice, Advice):
            keep(Vote("llm", advice.action, advice.confidence, advice.reason))
            if not settings.advice_may_raise_risk:
                others = sum([weights[name] for name in pulls if name != "llm"])
                pulls["llm"] = limited_pull(advice, score, weights["llm"], others)
            if vetoed_by is None and is_veto(advice, wish, settings.veto_confidence):
                vetoed_by = "llm"
            size_factor = settings.high_risk_size_factor if advice.risk_level == "high" else 1.0
            warnings = advice.warnings
        else:
            keep(advice)
    return Ballot(tuple(votes), breakdown(pulls, weights), vetoed_by, size_factor, warnings)


def _ask(
    name: str, kind: type[T], report: Report, question: Callable[..., T | Abstention], *args: object
) -> T | Abstention:
    try:
        answer = question(*args)
        if not isinstance(answer, (kind, Abstention)) or getattr(answer, "source", name) != name:
            raise TypeError(f"the {name} source must answer with its own {kind.__name__} or Abstention, got {answer!r}")
    except Exception as error:
        report(name, error)
        return Abstention(name, f"failed with {type(error).__name__}: {error}", failed=True)
    return answer
