"""Health of the strategies and drift of their markets, as the online learner sees them."""

from __future__ import annotations

from typing import Any

from ai_backtrader.reports.figures import MISSING
from ai_backtrader.reports.html.parts import Part, Section, Table, Words

__all__ = ["learning_section"]


def learning_section(strategy: Any) -> Section | None:
    """Section of a strategy with an engine; None for any other."""
    learner = getattr(getattr(strategy, "engine", None), "online_learner", None)
    if learner is None:
        return None
    parts: list[Part] = []
    names = learner.strategies()
    if names:
        health = [(name, learner.health(name)) for name in names]
        rows = [
            (
                name, str(state.state), f"{state.n_trades:,}",
                MISSING if state.win_rate is None else f"{state.win_rate:.0%}",
                MISSING if state.average_pnl_pct is None else f"{state.average_pnl_pct:+.2f} %",
                f"{state.consecutive_losses:,}", state.reason,
            )
            for name, state in health
        ]  # fmt: skip
        heads = ("Strategy", "Health", "Trades", "Won", "Mean result on margin", "Losses in a row", "Why")
        parts.append(Table(heads=heads, rows=rows, numeric=False, caption="Health at the end of the run"))
    else:
        parts.append(Words(text="No trade was closed, so nothing is known of the strategy's health."))
    requests = learner.requests()
    if requests:
        rows_of_drift = [
            (request.symbol, request.strategy_id or "the market", str(request.at or f"bar {request.bar}"),
             request.reason)
            for request in requests
        ]  # fmt: skip
        parts.append(
            Table(
                heads=("Symbol", "Drift of", "When", "What was seen"), rows=rows_of_drift, numeric=False,
                caption="Drift that asks for a new search of parameters",
            )
        )  # fmt: skip
    else:
        parts.append(Words(text="No drift is waiting for a new search of parameters."))
    return Section(title="Drift and health", parts=parts)
