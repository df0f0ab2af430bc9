"""The systems of one run, joined."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from ai_backtrader.engine.evolved_source import EvolvedSource
from ai_backtrader.engine.settings import EngineSettings
from ai_backtrader.engine.sources import AdviceSource, AgentPolicy, AgentSource, LearnerHealth, OnlineSource
from ai_backtrader.errors import SettingsError
from ai_backtrader.events import ForgetfulJournal, Journal
from ai_backtrader.learning_db import LearningDatabase
from ai_backtrader.leverage import LeverageManager, VolatilityTargetPolicy
from ai_backtrader.llm_advisor import Advisor
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
        policy = AgentPolicy(self._agents, VolatilityTargetPolicy(self.settings.leverage))
        self.leverage_manager = LeverageManager(self.settings.leverage, policy=policy)
        self.online_learner = OnlineLearner(self.settings.online_learner, seed=seed, journal=self.journal)
        self.meta_allocator = MetaAllocator(
            self.settings.allocator, health=LearnerHealth(self.online_learner), journal=self.journal
        )
        self.advisor = advisor
        self.evolved = EvolvedSource()
        self._requests: list[ReoptimizationRequest] = []
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
    def asked(self) -> tuple[bool, ...]:
        """Which sources may have a view; it changes when one has learnt or found something."""
        sources = self.orchestrator.sources
        return tuple([port is not None and not getattr(port, "idle", False) for port in sources])

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
