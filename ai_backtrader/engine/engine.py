"""The systems of one run, joined."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Self

from ai_backtrader.engine.evolved_source import EvolvedSource
from ai_backtrader.engine.quiet import QuietBars, Recollection
from ai_backtrader.engine.settings import EngineSettings
from ai_backtrader.engine.sources import AdviceSource, AgentPolicy, AgentSource, LearnerHealth, OnlineSource
from ai_backtrader.errors import SettingsError
from ai_backtrader.events import ForgetfulJournal, Journal
from ai_backtrader.learning_db import LearningDatabase
from ai_backtrader.leverage import LeverageManager, VolatilityTargetPolicy
from ai_backtrader.llm_advisor import UNUSUAL_FIGURES, Advisor
from ai_backtrader.market import MarketFeatures, Regimes
from ai_backtrader.meta_allocator import MetaAllocator
from ai_backtrader.online_learner import OnlineLearner, ReoptimizationRequest
from ai_backtrader.orchestrator import AdvicePort, Orchestrator
from ai_backtrader.parameter_optimizer import ParameterOptimizer
from ai_backtrader.rl.agents import LeverageRLAgent, RLAgent
from ai_backtrader.strategy_evolver import StrategyEvolver

__all__ = ["Engine"]


class Engine:
    """The systems of one run, joined: they share settings, a journal and a database, nothing with another engine.

    Every source votes in the orchestrator where it has something trained or found, and abstains otherwise.

    Parameters
    ----------
    settings
        Settings; None takes the defaults.
    journal
        Where events go; None takes the learning database, where the settings name one, else forgets them.
    advisor
        Sees each decision before it is taken and may lower its risk: an
        :class:`~ai_backtrader.llm_advisor.Advisor`, or anything that answers as one does; None abstains.
    agents
        Trained agents that vote (at most one of each kind), such as :func:`ai_backtrader.rl.load_pretrained` gives;
        an agent that is not given is fresh, and abstains until it is trained.

    Attributes
    ----------
    database : LearningDatabase or None
        Open until :meth:`close`; an engine is a context manager.
    optimizer, evolver, rl_agent, leverage_agent, leverage_manager, online_learner, meta_allocator, orchestrator
        The systems.
    advisor : Advisor, AdvicePort or None
        As given.
    evolved : EvolvedSource
        The evolved strategies that vote.
    """

    def __init__(
        self,
        settings: EngineSettings | None = None,
        *,
        journal: Journal | None = None,
        advisor: Advisor | AdvicePort | None = None,
        agents: Iterable[RLAgent | LeverageRLAgent] = (),
    ) -> None:
        self.settings = EngineSettings() if settings is None else settings
        seed = self.settings.seed
        path = self.settings.database
        self.database = None if path is None else LearningDatabase(path)
        kept: Journal = ForgetfulJournal() if self.database is None else self.database
        self.journal = kept if journal is None else journal
        self.optimizer = ParameterOptimizer(
            self.settings.optimizer, seed=seed, journal=self.journal, store=self.database, ledger=self.database
        )
        self.evolver = StrategyEvolver(self.settings.evolver, seed=seed)
        self.rl_agent, self.leverage_agent = _pair(agents)
        self._agents = AgentSource(self.rl_agent, self.leverage_agent)
        self._fallback = VolatilityTargetPolicy(self.settings.leverage)
        policy = AgentPolicy(self._agents, self._fallback)
        self.leverage_manager = LeverageManager(self.settings.leverage, policy=policy)
        self.online_learner = OnlineLearner(self.settings.online_learner, seed=seed, journal=self.journal)
        self.meta_allocator = MetaAllocator(
            self.settings.allocator, health=LearnerHealth(self.online_learner), journal=self.journal
        )
        self.advisor = advisor
        self.evolved = EvolvedSource()
        self._requests: list[ReoptimizationRequest] = []
        self._recalled: tuple[object, object, AgentSource, Recollection] | None = None
        self.orchestrator = Orchestrator(
            self.settings.orchestrator,
            rl=self._agents,
            evolved=self.evolved,
            online=OnlineSource(self.online_learner),
            llm=AdviceSource(advisor) if isinstance(advisor, Advisor) else advisor,
            sizer=self.leverage_manager,
            listeners=(self.leverage_manager, self.online_learner, self.meta_allocator),
            journal=self.journal,
            optimizer=self.optimizer,
            evolver=self.evolver,
        )

    @property
    def has_agent(self) -> bool:
        """Whether an agent votes: then it must be told of position and account."""
        return bool(self.orchestrator.settings.weights.get("rl")) and not self._agents.idle

    @property
    def knowledge(self) -> tuple[object, ...]:
        """Another one whenever a source has come to know something by which it would vote otherwise on a quiet bar."""
        orchestrator = self.orchestrator
        return orchestrator.sources, orchestrator.sizer, self.evolved.strategies, *self._agents.version

    def quiet_bars(
        self, features: MarketFeatures, regimes: Regimes, *, symbol: str, bar_seconds: float | None = None
    ) -> QuietBars | None:
        """Bars of a market on which nobody need be asked, because the decision is HOLD.

        Parameters
        ----------
        features, regimes
            Of all bars of the market.
        symbol
            Its name.
        bar_seconds
            Length of its bars, as the questions tell it (``risk_info["bar_seconds"]``); None where they do not.

        Returns
        -------
        QuietBars or None
            For as long as :attr:`knowledge` stays the same. None where a source must be asked bar by bar.
        """
        sources, settings = self.orchestrator.sources, self.orchestrator.settings
        advice = sources.llm
        heard = advice is not None and bool(settings.weights.get("llm")) and not getattr(advice, "idle", False)
        if heard and not (isinstance(advice, AdviceSource) and advice.silent_on_hold):
            return None
        if self.orchestrator.sizer is not self.leverage_manager or sources.rl is not self._agents:
            return None
        outlook = self.orchestrator.outlook(features, regimes, symbol=symbol)
        if outlook is None:
            return None
        if not self.has_agent:
            return QuietBars(outlook, features, settings.hold_threshold)
        agents = self._agents.on_bars_of(bar_seconds)
        return QuietBars(outlook, features, settings.hold_threshold, agents, settings.weights["rl"])

    def recollection(self) -> Recollection:
        """What the systems know now, for the decisions of quiet bars that somebody looks at later."""
        knowledge, kelly = self.knowledge, self.leverage_manager.kelly
        known = self._recalled
        if known is None or known[1] is not kelly or known[0] != knowledge:
            agents = self._agents.acting_copy() if known is None or known[0] != knowledge else known[2]
            policy = AgentPolicy(agents, self._fallback)
            manager = self.leverage_manager.as_it_stands(policy)
            known = knowledge, kelly, agents, Recollection(self.orchestrator, agents, manager)
            self._recalled = known
        return known[3]

    def pass_bars(
        self,
        symbol: str,
        features: MarketFeatures,
        regimes: Regimes,
        bars: slice,
        *,
        first_at: dt.datetime | None,
        last_at: dt.datetime | None,
    ) -> None:
        """Tell the advisor of quiet bars.

        Parameters
        ----------
        symbol, features, regimes
            The market.
        bars
            Which bars passed since the last one that the advisor was told of.
        first_at, last_at
            UTC times of the first and the last of them; None where it knows of a bar before, or will of one after.
        """
        advice, weight = self.orchestrator.sources.llm, self.orchestrator.settings.weights.get("llm")
        if isinstance(advice, AdviceSource) and weight:
            labels = [regimes.label(bar) for bar in range(bars.start, bars.stop)]
            figures = features.columns(UNUSUAL_FIGURES, bars)
            advice.advisor.pass_bars(symbol, figures, labels, first_at=first_at, last_at=last_at)

    def take_requests(self, symbol: str) -> tuple[ReoptimizationRequest, ...]:
        """Requests for a new search of one market, oldest first; those of others stay for those who ask for them."""
        self._requests += self.online_learner.take_requests()
        taken = tuple(request for request in self._requests if request.symbol == symbol)
        self._requests = [request for request in self._requests if request.symbol != symbol]
        return taken

    def flush(self) -> bool:
        """Make everything recorded so far durable; False when the database could not, True without one."""
        return self.database is None or self.database.flush()

    def close(self) -> None:
        """Flush and close the database; the systems stay usable, without one."""
        if self.database is not None:
            self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pair(agents: Iterable[RLAgent | LeverageRLAgent]) -> tuple[RLAgent, LeverageRLAgent]:
    given = tuple(agents)
    basic = [agent for agent in given if isinstance(agent, RLAgent)]
    leverage = [agent for agent in given if isinstance(agent, LeverageRLAgent)]
    if len(basic) > 1 or len(leverage) > 1 or len(basic) + len(leverage) < len(given):
        raise SettingsError("Engine", [f"agents must hold at most one RLAgent and one LeverageRLAgent, got {given!r}"])
    return basic[0] if basic else RLAgent(), leverage[0] if leverage else LeverageRLAgent()
