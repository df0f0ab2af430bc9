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
from ai_backtrader.rl.agents import DQNAgent, LeverageRLAgent, RLAgent
from ai_backtrader.rl.states import MarketPart, market_part
from ai_backtrader.values import Action, Direction, Regime

_HOUR = 3_600.0

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

    States are scaled for the length of the bars, ``risk_info["bar_seconds"]``; where the question does not tell it, for
    that of the bars that the agent was trained on, or an hour. An agent that was trained on bars of another length does
    not vote: the same numbers meant something else there.
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

    def on_bars_of(self, bar_seconds: float | None) -> AgentSource:
        """Source with agents that have learnt nothing in the place of those that do not vote on such bars."""
        basic, leverage = self.basic, self.leverage
        if _stranger(basic, bar_seconds):
            basic = RLAgent()
        if _stranger(leverage, bar_seconds):
            leverage = LeverageRLAgent()
        return self if basic is self.basic and leverage is self.leverage else AgentSource(basic, leverage)

    def vote(self, context: Context) -> Vote | Abstention:
        """Vote, or abstain while no agent is trained on such bars or inputs are missing."""
        pulls: list[tuple[float, str]] = []
        silent: list[str] = []
        seconds = context.risk_info.get("bar_seconds")
        part = None
        if self.leverage.trained:
            if not _stranger(self.leverage, seconds):
                part = market_part(context.indicators, bar_seconds=_scale_of(self.leverage, seconds))
            self._seen = seen = _Seen.of(
                self.leverage, context.indicators, context.current_position, context.risk_info, part
            )
            if seen.silent:
                silent.append(seen.silent)
            else:
                pulls.append(_leverage_pull(seen, context.position))
        if self.basic.trained:
            if strange := _stranger(self.basic, seconds):
                silent.append(strange)
            else:
                plain = _basic_state(context, self._part_of(context, part))
                if plain.ready:
                    pulls.append(_basic_pull(self.basic, plain, context.position))
                else:
                    silent.append(_missing(plain.missing))
        if not pulls:
            return Abstention("rl", silent[0] if silent else "no agent is trained")
        mean = sum(pull for pull, _ in pulls) / len(pulls)
        return Vote("rl", Action.from_sign(mean), min(abs(mean), 1.0), "; ".join(words for _, words in pulls))

    def _part_of(self, context: Context, part: MarketPart | None) -> MarketPart:
        seconds = context.risk_info.get("bar_seconds")
        scale = _scale_of(self.basic, seconds)
        if part is None or scale != _scale_of(self.leverage, seconds):
            return market_part(context.indicators, bar_seconds=scale)
        return part

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
        if seen.silent or not seen.action.side:
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
    silent: str  # why the agent does not act; empty where it does
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
        seconds = risk.get("bar_seconds")
        if strange := _stranger(agent, seconds):
            return cls(indicators, position, risk, strange, LeverageAction.HOLD, [])
        if part is None:
            part = market_part(indicators, bar_seconds=_scale_of(agent, seconds))
        state = LeverageState.from_part(part, position, risk)
        if not state.ready:
            return cls(indicators, position, risk, _missing(state.missing), LeverageAction.HOLD, [])
        probabilities = agent.probabilities(state).tolist()
        best = LeverageAction(probabilities.index(max(probabilities)))
        return cls(indicators, position, risk, "", best, probabilities)


def _stranger(agent: DQNAgent, bar_seconds: float | None) -> str:
    """That an agent was trained on bars of another length; empty where it was not, or nobody knows."""
    if bar_seconds is None or agent.bar_seconds is None or agent.bar_seconds == bar_seconds:
        return ""
    kind = "leverage" if isinstance(agent, LeverageRLAgent) else "basic"
    return f"the {kind} agent was trained on bars of {agent.bar_seconds:g} s, these last {bar_seconds:g} s"


def _scale_of(agent: DQNAgent, bar_seconds: float | None) -> float:
    return (agent.bar_seconds or _HOUR) if bar_seconds is None else bar_seconds


def _missing(names: tuple[str, ...]) -> str:
    return f"inputs missing: {', '.join(names)}"


def _basic_state(context: Context, part: MarketPart) -> State:
    held = context.current_position
    return State.from_part(
        part,
        position=(context.position > 0.0) - (context.position < 0.0),
        position_pnl=held.get("position_pnl", 0.0) / held.get("current_leverage", 1.0),  # of the entry value
        position_duration=held.get("position_duration", 0.0),
    )


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
