"""Every decision of a run with its votes: who voted what, who abstained and why."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import backtrader as bt
import pandas as pd

from ai_backtrader.analyzers.recording import analysis_of

__all__ = ["Decisions"]


class Decisions(bt.Analyzer):
    """Every decision in ``strategy.decisions``, counted by action and by source.

    A source **votes** (buy, sell or hold), **abstains** (nothing to say: no weight, which is not a hold) or **fails**
    (an abstention because of an error). A strategy without ``decisions`` gives an empty analysis.

    ``get_analysis()`` gives ``decisions`` (count), ``actions`` (count by BUY, SELL, HOLD), ``mean_confidence`` (0 to
    1, NaN without decisions), ``vetoes`` and ``vetoed_by`` (count by source), ``paper`` (of ``strategy.paper_trades``,
    the trades that sizing withheld: ``trades``, ``win_rate``, ``first`` time or None), and ``sources``: by name

      - ``weight``: share of its weight in all weights of ``strategy.engine.orchestrator`` (NaN without one);
      - ``votes``, ``buys``, ``sells``, ``holds``, and ``mean_confidence`` of these votes;
      - ``mean_contribution``: mean of its signed share of the score where it voted;
      - ``abstentions``, ``failures`` (not counted among the abstentions), ``reasons`` (count by reason of both, most
        common first) and ``most_common_reason`` (empty without one).
    """

    def __init__(self) -> None:
        self._decisions: tuple[Any, ...] = ()

    @property
    def decisions(self) -> tuple[Any, ...]:
        """The decisions themselves, in the order of their bars; filled when the run ends."""
        return self._decisions

    def stop(self) -> None:
        """Take the decisions over and count them."""
        self._decisions = tuple(getattr(self.strategy, "decisions", ()))
        decisions = self._decisions
        vetoes = Counter(str(decision.vetoed_by) for decision in decisions if decision.vetoed_by is not None)
        weights = _weights(self.strategy)
        actions = Counter(str(decision.action) for decision in decisions)
        self.rets = analysis_of(
            {
                "decisions": len(decisions),
                "actions": {action: actions[action] for action in ("BUY", "SELL", "HOLD")},
                "mean_confidence": _mean(decision.confidence for decision in decisions),
                "vetoes": vetoes.total(),
                "vetoed_by": dict(vetoes.most_common()),
                "paper": _paper_figures(getattr(self.strategy, "paper_trades", ())),
                "sources": {
                    name: {"weight": weights.get(name, math.nan)} | _source_figures(name, spoken)
                    for name, spoken in _by_source(decisions).items()
                },
            }
        )

    def to_frame(self) -> pd.DataFrame:
        """Frame with one row a decision, by its time (UTC).

        Columns: symbol, action, confidence, score, position_size_pct (percent), leverage, stop_loss, take_profit,
        vetoed_by, reasoning, and for each source ``<source>_vote`` (BUY, SELL, HOLD, ABSTAINED, FAILED; missing when it
        was not asked), ``<source>_confidence`` and ``<source>_contribution`` (signed share of the score).
        """
        fields = (
            *("symbol", "action", "confidence", "score", "position_size_pct", "leverage"),
            *("stop_loss", "take_profit", "vetoed_by", "reasoning"),
        )
        sources = list(_by_source(self._decisions))
        rows = []
        for decision in self._decisions:
            row = {field: getattr(decision, field) for field in fields} | {"action": str(decision.action)}
            votes = {vote.source: vote for vote in decision.votes}
            for name in sources:
                vote = votes.get(name)
                row[f"{name}_vote"] = None if vote is None else _word(vote)
                row[f"{name}_confidence"] = getattr(vote, "confidence", math.nan)
                row[f"{name}_contribution"] = decision.breakdown.get(name, math.nan)
            rows.append(row)
        columns = [*fields, *(f"{name}_{kind}" for name in sources for kind in ("vote", "confidence", "contribution"))]
        index = pd.DatetimeIndex([decision.at for decision in self._decisions], name="time")
        return pd.DataFrame(rows, columns=columns, index=index)


def _by_source(decisions: tuple[Any, ...]) -> dict[str, list[tuple[Any, Any]]]:
    # Sources in the order in which they first spoke, which is the orchestrator's own.
    spoken: dict[str, list[tuple[Any, Any]]] = {}
    for decision in decisions:
        for vote in decision.votes:
            spoken.setdefault(vote.source, []).append((vote, decision))
    return spoken


def _weights(strategy: Any) -> dict[str, float]:
    orchestrator = getattr(getattr(strategy, "engine", None), "orchestrator", None)
    if orchestrator is None:
        return {}
    weights = orchestrator.settings.weights
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def _paper_figures(trades: Sequence[Any]) -> dict[str, object]:
    return {
        "trades": len(trades),
        "win_rate": _mean(float(trade.pnl_pct > 0.0) for trade in trades),
        "first": trades[0].opened_at if trades else None,
    }


def _is_vote(vote: Any) -> bool:
    return hasattr(vote, "action")


def _word(vote: Any) -> str:
    if _is_vote(vote):
        return str(vote.action)
    return "FAILED" if vote.failed else "ABSTAINED"


def _source_figures(name: str, spoken: list[tuple[Any, Any]]) -> dict[str, object]:
    words = Counter(_word(vote) for vote, _ in spoken)
    silent = [vote for vote, _ in spoken if not _is_vote(vote)]
    reasons = Counter(vote.reason for vote in silent).most_common()
    return {
        "votes": words["BUY"] + words["SELL"] + words["HOLD"],
        "buys": words["BUY"],
        "sells": words["SELL"],
        "holds": words["HOLD"],
        "mean_confidence": _mean(vote.confidence for vote, _ in spoken if _is_vote(vote)),
        "mean_contribution": _mean(
            decision.breakdown[name] for vote, decision in spoken if _is_vote(vote) and name in decision.breakdown
        ),
        "abstentions": words["ABSTAINED"],
        "failures": words["FAILED"],
        "reasons": dict(reasons),
        "most_common_reason": reasons[0][0] if reasons else "",
    }


def _mean(values: Iterable[float]) -> float:
    sample = list(values)
    return math.fsum(sample) / len(sample) if sample else math.nan
