"""What decides a run besides the data: profile, seed, costs, where the data are cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ai_backtrader.checks import Faults
from ai_backtrader.market import MaintenanceTiers
from ai_backtrader.values import Regime

__all__ = ["PROFILES", "SYSTEMS", "PipelineSettings", "Profile"]

SYSTEMS = ("technical", "evolved", "rl", "online", "adaptation", "leverage", "allocator")
"""What a run can do without, one by one: to see what each of them adds or costs."""

_VOTERS = {"technical", "evolved", "rl"}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How much work a run does.

    Attributes
    ----------
    name
        Of the profile.
    trials
        Parameter sets tried in each search.
    surrogate
        As in :class:`~ai_backtrader.parameter_optimizer.OptimizerSettings`.
    regimes
        Searched apart, beside all bars together; a regime with too few bars or trades is left out, and that is told.
    generations, population, champions
        Of the evolution.
    agent_steps, agent_seeds
        Steps of each training of the leverage agent, and trainings; 0 steps for none.
    """

    name: str
    trials: int
    surrogate: str = "gp"
    regimes: tuple[Regime, ...] = (Regime.BULL, Regime.SIDEWAYS, Regime.BEAR)
    generations: int
    population: int
    champions: int = 5
    agent_steps: int
    agent_seeds: int

    def __post_init__(self) -> None:
        faults = Faults("Profile")
        for name, low in (
            ("trials", 1), ("generations", 1), ("population", 4), ("champions", 1), ("agent_steps", 0),
            ("agent_seeds", 1),
        ):  # fmt: skip
            faults.whole(name, getattr(self, name), low=low)
        faults.raise_if_any()


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(name="quick", trials=40, generations=10, population=60, agent_steps=20_000, agent_seeds=2),
        Profile(name="standard", trials=150, generations=30, population=200, agent_steps=200_000, agent_seeds=3),
        Profile(name="thorough", trials=400, generations=80, population=500, agent_steps=1_000_000, agent_seeds=5),
    )
}
"""By name: quick takes about half a minute of one core on 6,000 bars, standard two; thorough was not timed."""


@dataclass(frozen=True, kw_only=True)
class PipelineSettings:
    """Everything that decides a run besides the data; checked once, all faults reported together.

    Attributes
    ----------
    profile
        How much work: a name in :data:`PROFILES`, or a profile of your own.
    seed
        Source of every random choice; each stage's seed is derived from it.
    design_share
        Share of the bars, the first ones, on which everything is searched, trained and weighed; what is left is walked
        once.
    rehearsal_share
        Share of the design, its last bars, that no search and no training sees: the searches' sealed test, and where
        the systems rehearse together before capital is allocated.
    admit
        ``"passed"``: only evolved strategies that passed their sealed test vote, and only an agent that earned more
        than nothing and than holding for its risk on bars that it was not trained on. ``"best"``: the best of each
        votes whatever its evidence, to study the systems; what passed is told just the same.
    learn_weights
        Whether the sources' weights are fitted on the first half of the rehearsal; they are used only if they beat the
        defaults on its second half.
    adapt
        Whether AIStrategy searches anew on the way through the walk, where its online learner finds that the market has
        drifted: on the bars up to then alone, and what passes the sealed test of that search votes from then on.
    without
        Systems that are switched off, any of :data:`SYSTEMS`. ``"technical"``, ``"evolved"``, ``"rl"``: the source does
        not vote, its searches are not made, its strategies are no members of the fund; ``"online"``: the learner's
        judgement is not asked (it still watches for drift); ``"adaptation"``: the same as ``adapt=False``;
        ``"leverage"``: every entry posts a tenth of the account times the decision's confidence, at 1x, and no
        leverage manager is asked; ``"allocator"``: all members hold equal capital throughout.
    rebalance_days
        Days between two plans of the allocator in the walk.
    cash, commission, slippage, max_leverage, risk_budget, maintenance_rate, liquidation_fee, funding, allow_short
        As for a backtest: per fill as fractions of notional and price; limits of the leverage manager; maintenance
        margin and liquidation fee as fractions of the notional; funding per 8 hours, None for the rates in the data.
    """

    profile: str | Profile = "quick"
    seed: int = 0
    design_share: float = 0.7
    rehearsal_share: float = 0.25
    admit: str = "passed"
    learn_weights: bool = True
    adapt: bool = True
    without: tuple[str, ...] = ()
    rebalance_days: int = 30
    cash: float = 10_000.0
    commission: float = 0.0005
    slippage: float = 0.0001
    max_leverage: float = 10.0
    risk_budget: float = 0.02
    maintenance_rate: float = 0.005
    liquidation_fee: float = 0.005
    funding: float | None = None
    allow_short: bool = True

    def __post_init__(self) -> None:
        faults = Faults("run")
        if not isinstance(self.profile, Profile):
            faults.one_of("profile", self.profile, tuple(PROFILES))
        faults.whole("seed", self.seed, low=0)
        faults.number("design_share", self.design_share, low=0.3, high=0.9)
        faults.number("rehearsal_share", self.rehearsal_share, low=0.1, high=0.5)
        faults.one_of("admit", self.admit, ("passed", "best"))
        for name in ("learn_weights", "adapt", "allow_short"):
            faults.one_of(name, getattr(self, name), (True, False))
        self._check_without(faults)
        faults.whole("rebalance_days", self.rebalance_days, low=0)
        faults.number("cash", self.cash, above=0.0)
        for name in ("commission", "slippage", "liquidation_fee"):
            faults.number(name, getattr(self, name), low=0.0, high=0.1)
        faults.number("maintenance_rate", self.maintenance_rate, low=0.0, high=0.5)
        faults.number("max_leverage", self.max_leverage, low=1.0, high=125.0)
        faults.number("risk_budget", self.risk_budget, above=0.0, high=1.0)
        if self.funding is not None:
            faults.number("funding", self.funding, low=-0.1, high=0.1)
        faults.raise_if_any()
        # One way to say it: equal runs have equal settings, and so the same id.
        off = {*self.without, *(() if self.adapt else ("adaptation",))}
        object.__setattr__(self, "without", tuple(name for name in SYSTEMS if name in off))
        object.__setattr__(self, "adapt", "adaptation" not in off)

    def _check_without(self, faults: Faults) -> None:
        given: object = self.without
        if isinstance(given, str) or not isinstance(given, Iterable):
            faults.add(f"without must name systems, any of {', '.join(SYSTEMS)}, got {given!r}")
            return
        for name in self.without:
            faults.one_of("without", name, SYSTEMS)
        if set(self.without) >= _VOTERS:
            faults.add("without must leave one of technical, evolved and rl: nobody would vote")

    @property
    def work(self) -> Profile:
        """The profile itself."""
        return self.profile if isinstance(self.profile, Profile) else PROFILES[self.profile]

    @property
    def tiers(self) -> MaintenanceTiers:
        """The maintenance table."""
        return MaintenanceTiers.flat(self.maintenance_rate)

    def simulation(self) -> dict[str, Any]:
        """Costs and margin as the compiled simulation takes them."""
        return {
            "cash": self.cash, "commission": self.commission, "slippage": self.slippage, "tiers": self.tiers,
            "funding": self.funding, "liquidation_fee": self.liquidation_fee,
        }  # fmt: skip

    def seed_of(self, stage: str) -> int:
        """Seed of a stage: other stages do not move it."""
        digest = hashlib.sha256(f"{self.seed}/{stage}".encode()).digest()
        return int.from_bytes(digest[:4], "little")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the profile written out."""
        profile = asdict(self.work) | {"regimes": [str(regime) for regime in self.work.regimes]}
        return {**asdict(self), "profile": profile}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> PipelineSettings:
        """Back from :meth:`to_dict`."""
        profile = dict(content["profile"])
        profile["regimes"] = tuple(Regime(name) for name in profile["regimes"])
        return cls(**{**content, "profile": Profile(**profile)})
