"""Requests for re-optimisation: one for one drift, kept until somebody has time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ai_backtrader.errors import SettingsError
from ai_backtrader.online_learner.drift import DriftEvent
from ai_backtrader.online_learner.settings import DriftSettings

__all__ = ["ReoptimizationRequest", "RequestQueue"]

_Key = tuple[str, str | None]


@dataclass(frozen=True, kw_only=True)
class ReoptimizationRequest:
    """What drift asks for: a new search for parameters, to be run when there is time, never inside ``next``.

    Attributes
    ----------
    symbol, strategy_id
        For what; ``strategy_id`` is None where the market drifted, which concerns every strategy on it.
    bar, at
        When it was asked; as in :class:`DriftEvent`. The search may use bars up to this one.
    reason
        One readable sentence.
    """

    symbol: str
    strategy_id: str | None
    bar: int
    at: dt.datetime | None
    reason: str


class RequestQueue:
    """Turns alarms into requests.

    One change shows in several series and detectors, some bars apart: after a request there is none for the same symbol
    (or strategy on it) within the cool-down, nor while one is still waiting. The queue is thereby no longer than there
    are symbols and strategies.
    """

    def __init__(self, settings: DriftSettings) -> None:
        self.settings = settings
        self._pending: dict[_Key, ReoptimizationRequest] = {}
        self._asked: dict[_Key, int] = {}

    def ask(self, events: Sequence[DriftEvent], *, now: int) -> bool:
        """Take the alarms of one moment in, all of one symbol and strategy; tell whether they became a request.

        Parameters
        ----------
        events
            At least one.
        now
            Count of bars of the symbol (or of trades of the strategy): the clock of the cool-down.
        """
        first = events[0]
        key = (first.symbol, first.strategy_id)
        wait = self.settings.cool_down_bars if first.strategy_id is None else self.settings.cool_down_trades
        asked = self._asked.get(key)
        if key in self._pending or (asked is not None and now - asked < wait):
            return False
        what = ", ".join(f"{event.series} ({' and '.join(event.detectors)})" for event in events)
        of = first.symbol if first.strategy_id is None else f"{first.strategy_id} on {first.symbol}"
        self._asked[key] = now
        self._pending[key] = ReoptimizationRequest(
            symbol=first.symbol,
            strategy_id=first.strategy_id,
            bar=first.bar,
            at=first.at,
            reason=f"drift of {of}: {what}",
        )
        return True

    def pending(self) -> tuple[ReoptimizationRequest, ...]:
        """Requests not yet taken, oldest first."""
        return tuple(self._pending.values())

    def take(self) -> tuple[ReoptimizationRequest, ...]:
        """The same, and forget them."""
        taken = self.pending()
        self._pending.clear()
        return taken

    def state_dict(self) -> dict[str, Any]:
        """State as plain values that JSON holds."""
        pending = [
            [request.symbol, request.strategy_id, request.bar, request.at and request.at.isoformat(), request.reason]
            for request in self._pending.values()
        ]
        return {"pending": pending, "asked": [[*key, now] for key, now in self._asked.items()]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave; raise SettingsError if it is damaged."""
        try:
            self._asked = {(symbol, strategy_id): int(now) for symbol, strategy_id, now in state["asked"]}
            self._pending = {
                (symbol, strategy_id): ReoptimizationRequest(
                    symbol=symbol,
                    strategy_id=strategy_id,
                    bar=int(bar),
                    at=None if at is None else dt.datetime.fromisoformat(at),
                    reason=reason,
                )
                for symbol, strategy_id, bar, at, reason in state["pending"]
            }
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError("RequestQueue", [f"the state is damaged: {error!r}"]) from error
