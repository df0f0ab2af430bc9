"""Bars on which nothing can come of asking: which they are, and their decisions when somebody looks at them later."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.engine.sources import AdviceSource, AgentSource
from ai_backtrader.leverage import LeverageManager
from ai_backtrader.llm_advisor import NO_TRADE
from ai_backtrader.market import MarketFeatures
from ai_backtrader.orchestrator import Abstention, Decision, Orchestrator, Outlook
from ai_backtrader.orchestrator.outlook import ROUNDING, quiet_bars_of
from ai_backtrader.orchestrator.poll import lifted
from ai_backtrader.rl.pulls import Brain, MarketRows, brain_of, pulls_of_stretch, rows_of
from ai_backtrader.simulation.compiling import compiled, inlined

__all__ = ["QuietBars", "Recollection"]

Floats = NDArray[np.float64]

_STRETCH = 32  # bars that are looked at together while the account stands still

_lifted: Any = inlined(lifted)


class _Market(NamedTuple):
    """What is known of all bars, as the kernel reads it."""

    rows: MarketRows
    spans: NDArray[np.int64]
    score: Floats
    voters: Floats
    candidates: NDArray[np.bool_]
    lift: float
    lift_weight: float
    threshold: float
    weight: float


@compiled
def _find_quiet(
    market: _Market, basic: Brain, leverage: Brain, first: int, side: int, account: Floats, pulls: Floats,
    errors: Floats, found: NDArray[np.uint8],
) -> None:  # fmt: skip
    count = min(found.size, market.score.size - first)
    pulls_of_stretch(market.rows, market.spans, first, count, side, account, basic, leverage, pulls, errors)
    for i in range(count):
        voters = market.voters[first + i] + market.weight
        size = (abs(market.score[first + i] + market.weight * pulls[i]) + market.weight * errors[i]) / voters
        if market.lift_weight > 0.0:
            size *= _lifted(market.lift, market.lift_weight, voters)
        found[i] = market.candidates[first + i] and size < market.threshold


class QuietBars:
    """Which bars of one feed end in HOLD with nobody to be told: not the sizer, the online source or the model.

    Where agents vote, that depends on position and account too: a compiled look at their networks says what their
    votes come to, and a bar near the threshold counts as one that must be asked about. While the account stands still
    some bars ahead are looked at together. What is found of a bar depends on nothing after it.

    Parameters
    ----------
    outlook
        What the market's voters say.
    features
        Of the same bars.
    hold_threshold
        Of the orchestrator.
    agents
        The agents that vote; None where none does.
    weight
        Of their vote.
    """

    def __init__(
        self,
        outlook: Outlook,
        features: MarketFeatures,
        hold_threshold: float,
        agents: AgentSource | None = None,
        weight: float = 0.0,
    ) -> None:
        self.needs_account = agents is not None
        self._first, self._side = 0, 0
        self._account: tuple[float, ...] = ()
        if agents is None:
            self._found = quiet_bars_of(outlook, hold_threshold).tobytes()
            return
        self._found = b""
        self._market = _Market(
            rows_of(features), np.array(features.spans, dtype=np.int64), outlook.score, outlook.voters,
            outlook.candidates, outlook.lift, outlook.lift_weight, hold_threshold - ROUNDING, weight,
        )  # fmt: skip
        self._brains = brain_of(agents.basic, _STRETCH), brain_of(agents.leverage, _STRETCH)
        self._given = np.empty(9)
        self._rooms = [(np.empty(n), np.empty(n), np.empty(n, np.uint8)) for n in (1, _STRETCH)]

    def holds(self, bar: int, side: int = 0, account: tuple[float, ...] = ()) -> bool:
        """Whether bar number ``bar`` is quiet.

        Parameters
        ----------
        bar
            From 0.
        side
            Of the open position: +1, -1 or 0.
        account
            Raw values of the nine ``ACCOUNT_FEATURES``, where agents vote.
        """
        if not self.needs_account:
            return self._found[bar] == 1
        place = bar - self._first
        if side or self._side or not 0 <= place < len(self._found) or account != self._account:
            pulls, errors, found = self._rooms[not side]
            self._given[:] = account
            _find_quiet(self._market, *self._brains, bar, side, self._given, pulls, errors, found)
            self._first, self._side, self._account, self._found = bar, side, account, found.tobytes()
            place = 0
        return self._found[place] == 1


class _NoTrade:
    """The advisor on a bar that wishes for no trade."""

    def advise(self, *_: object) -> Abstention:
        return Abstention("llm", NO_TRADE)


class Recollection:
    """What the systems knew at some time, as far as the decisions of quiet bars depend on it.

    Parameters
    ----------
    orchestrator, agents, manager
        As they are now, the agents and the manager copies: what the systems learn later changes nothing here.
    """

    def __init__(self, orchestrator: Orchestrator, agents: AgentSource, manager: LeverageManager) -> None:
        sources = orchestrator.sources._replace(rl=agents)
        if isinstance(sources.llm, AdviceSource) and not sources.llm.idle:
            sources = sources._replace(llm=_NoTrade())
        self._orchestrator = Orchestrator(orchestrator.settings, **sources._asdict(), sizer=manager)

    def decide(self, **question: Any) -> Decision:
        """The decision of a quiet bar."""
        return self._orchestrator.decide(**question, remember=False)
