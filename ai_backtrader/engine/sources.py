"""The systems as sources of the orchestrator: online learner, advisor, agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ai_backtrader.leverage import LeveragePolicy, LeverageProposal
from ai_backtrader.llm_advisor import Advisor
from ai_backtrader.online_learner import HealthState, OnlineLearner
from ai_backtrader.orchestrator import Abstention, Adjustment, Advice, Context, Vote
from ai_backtrader.rl import LeverageState, State
from ai_backtrader.rl.actions import BasicAction, LeverageAction
from ai_backtrader.rl.agents import LeverageRLAgent, RLAgent
from ai_backtrader.rl.states import MarketPart, market_part
from ai_backtrader.values import Action, Direction, Regime

__all__ = ["AdviceSource", "AgentPolicy", "AgentSource", "LearnerHealth", "OnlineSource"]


class LearnerHealth:
    """The online learner's word on a strategy, as the meta-allocator asks for it."""

    def __init__(self, learner: OnlineLearner) -> None:
        self.learner = learner

    def health_factor(self, strategy_id: str) -> float:
        """1 healthy or unknown, 0 degraded, on probation the share of the size that it may trade."""
        if strategy_id not in self.learner.strategies():
            return 1.0
        state = self.learner.health(strategy_id).state
        if state is HealthState.PROBATION:
            return float(self.learner.settings.health.probation_size)
        return 0.0 if state is HealthState.DEGRADED else 1.0


class OnlineSource:
    """The online learner's judgement of the view of the other sources.

    It abstains until the strategy has closed a trade.
    """

    def __init__(self, learner: OnlineLearner) -> None:
        self.learner = learner

    @property
    def lift(self) -> float:
        """Largest factor by which it may raise a view."""
        return max(1.0, self.learner.settings.max_adjustment)

    def adjust(self, context: Context, action: Action, confidence: float) -> Adjustment | Abstention:
        """Judge by the strategy's health, its results in the regime and in like conditions."""
        if context.strategy_id not in self.learner.strategies():
            return Abstention("online", f"no closed trade of {context.strategy_id} yet")
        opinion = self.learner.should_trade(
            strategy_id=context.strategy_id,
            regime=context.regime,
            indicators=context.indicators,
            direction=action.direction if action is not Action.HOLD else None,
        )
        return Adjustment(should_trade=opinion.should_trade, factor=opinion.adjustment, reason=opinion.reason)


class AdviceSource:
    """The LLM advisor's opinion of the decision about to be taken."""

    def __init__(self, advisor: Advisor) -> None:
        self.advisor = advisor

    @property
    def idle(self) -> bool:
        """True when it never has an opinion."""
        return self.advisor.settings.mode == "off"

    @property
    def silent_on_hold(self) -> bool:
        """True when it has no opinion where no trade is wished for."""
        return not self.advisor.settings.consult_on_hold

    def advise(self, context: Context, action: Action, confidence: float) -> Advice | Abstention:
        """Ask the advisor; it answers within its own deadline or abstains."""
        advice = self.advisor.advise(
            context.symbol, context.current_price, context.indicators.get("price_change_24h"), action, context.regime,
            context.risk_info.get("portfolio_pnl_pct"), confidence=confidence, high_volatility=context.high_volatility,
            position=context.position, indicators=context.indicators, at=context.at,
        )  # fmt: skip
        if advice.abstained:
            return Abstention("llm", advice.reason, failed=advice.failed)
        return Advice(
            action=advice.action, confidence=advice.confidence, reason=advice.reasoning, risk_level=advice.risk_level,
            warnings=advice.warnings,
        )  # fmt: skip


class AgentSource:
    """The vote of the learning agents: the mean of those that are trained.

    An agent's vote is the side that its best action leads to; its confidence is the probability (softmax of the Q
    values) of all actions that lead there. HOLD keeps what is held: in a position it is a vote for that side.
    """

    def __init__(self, basic: RLAgent, leverage: LeverageRLAgent) -> None:
        self.basic, self.leverage = basic, leverage
        self._seen: _Seen | None = None

    @property
    def idle(self) -> bool:
        """True while no agent is trained."""
        return not (self.basic.trained or self.leverage.trained)

    @property
    def version(self) -> tuple[object, ...]:
        """Another one whenever an agent has learnt."""
        return *self.basic.version, *self.leverage.version

    def acting_copy(self) -> AgentSource:
        """Source that goes on saying what this one would say now."""
        return AgentSource(self.basic.acting_copy(), self.leverage.acting_copy())

    def vote(self, context: Context) -> Vote | Abstention:
        """Vote, or abstain while no agent is trained or inputs are missing."""
        pulls: list[tuple[float, str]] = []
        missing: tuple[str, ...] = ()
        part = None if self.idle else market_part(context.indicators)
        if self.leverage.trained:
            self._seen = seen = _Seen.of(
                self.leverage, context.indicators, context.current_position, context.risk_info, part
            )
            missing = seen.missing
            if not missing:
                pulls.append(_leverage_pull(seen, context.position))
        if self.basic.trained:
            held = context.current_position
            plain = State.from_part(
                market_part(context.indicators) if part is None else part,
                position=(context.position > 0.0) - (context.position < 0.0),
                position_pnl=held.get("position_pnl", 0.0) / held.get("current_leverage", 1.0),  # of the entry value
                position_duration=held.get("position_duration", 0.0),
            )
            missing = missing or (plain.missing if not plain.ready else ())
            if plain.ready:
                pulls.append(_basic_pull(self.basic, plain, context.position))
        if not pulls:
            return Abstention("rl", f"inputs missing: {', '.join(missing)}" if missing else "no agent is trained")
        mean = sum(pull for pull, _ in pulls) / len(pulls)
        return Vote("rl", Action.from_sign(mean), min(abs(mean), 1.0), "; ".join(words for _, words in pulls))

    def look(self, indicators: Mapping[str, float], position: Mapping[str, float], risk: Mapping[str, float]) -> _Seen:
        """What the leverage agent makes of a bar; where it has just voted on the very same one, that."""
        seen, self._seen = self._seen, None
        if seen is not None and seen.indicators is indicators and seen.position is position and seen.risk is risk:
            return seen
        return _Seen.of(self.leverage, indicators, position, risk)


class AgentPolicy:
    """Base leverage of the leverage agent; while it is not trained or lacks inputs, of another policy.

    The agent's action is read as in training: a LONG or SHORT proposes its multiple, all else the fallback's leverage.
    """

    def __init__(self, source: AgentSource, fallback: LeveragePolicy) -> None:
        self.source, self.fallback = source, fallback

    def propose(
        self,
        indicators: Mapping[str, float],
        current_position: Mapping[str, float],
        risk_info: Mapping[str, float],
        regime: Regime | None,
    ) -> LeverageProposal:
        """Propose; the fallback's figures stand beside the agent's in the reason."""
        other = self.fallback.propose(indicators, current_position, risk_info, regime)
        if not self.source.leverage.trained:
            return other
        seen = self.source.look(indicators, current_position, risk_info)
        if seen.missing or not seen.action.side:
            return other
        action, probability = seen.action, seen.probabilities[seen.action]
        return LeverageProposal(
            direction=Direction.LONG if action.side > 0 else Direction.SHORT,
            leverage=min(action.leverage, other.leverage),
            confidence=probability,
            reason=f"agent {action.name} ({probability:.0%}), at most the volatility target's {other.leverage:.1f}x",
        )


class _Seen(NamedTuple):
    """What the leverage agent makes of one bar: its network is asked once for the vote and the leverage."""

    indicators: Mapping[str, float]
    position: Mapping[str, float]
    risk: Mapping[str, float]
    missing: tuple[str, ...]  # empty where the agent knows enough to act
    action: LeverageAction
    probabilities: list[float]

    @classmethod
    def of(
        cls,
        agent: LeverageRLAgent,
        indicators: Mapping[str, float],
        position: Mapping[str, float],
        risk: Mapping[str, float],
        part: MarketPart | None = None,
    ) -> _Seen:
        state = LeverageState.from_part(market_part(indicators) if part is None else part, position, risk)
        if not state.ready:
            return cls(indicators, position, risk, state.missing, LeverageAction.HOLD, [])
        probabilities = agent.probabilities(state).tolist()
        best = LeverageAction(probabilities.index(max(probabilities)))
        return cls(indicators, position, risk, (), best, probabilities)


_SIDES = tuple(action.side for action in LeverageAction)
_KEEPS = tuple(action in (LeverageAction.HOLD, LeverageAction.REDUCE_HALF) for action in LeverageAction)


def _leverage_pull(seen: _Seen, position: float) -> tuple[float, str]:
    held = (position > 0.0) - (position < 0.0)
    pull = 0.0
    for side, keeps, probability in zip(_SIDES, _KEEPS, seen.probabilities, strict=True):
        pull += probability * (side or (held if keeps else 0))
    return pull, f"leverage agent {seen.action.name} ({seen.probabilities[seen.action]:.0%})"


def _basic_pull(agent: RLAgent, state: State, position: float) -> tuple[float, str]:
    held = (position > 0.0) - (position < 0.0)
    hold, buy, sell = probabilities = agent.probabilities(state).tolist()
    chosen = BasicAction(probabilities.index(max(probabilities)))
    # BUY against a short only closes it, as in training.
    pull = buy * (1 if held >= 0 else 0) - sell * (1 if held <= 0 else 0) + hold * held
    return pull, f"basic agent {chosen.name} ({(hold, buy, sell)[chosen]:.0%})"
