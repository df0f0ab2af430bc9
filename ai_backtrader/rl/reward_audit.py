"""What a reward pays to those who know nothing: an audit before an agent learns to collect it.

An agent maximises the reward, not the account. A reward that pays a policy without skill on a market without drift
teaches that policy. The audit plays such null policies on price paths that are martingales by construction, without
costs (which would hide what the reward gives away).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.market import MarketData
from ai_backtrader.rl.actions import BasicAction, LeverageAction
from ai_backtrader.rl.env_kernels import N_TERMS, EnvArrays, draw, reset, step
from ai_backtrader.rl.environment import term_names
from ai_backtrader.rl.environment_settings import EnvironmentSettings, build_arrays
from ai_backtrader.rl.rewards import RewardSettings
from ai_backtrader.simulation.compiling import compiled

__all__ = ["NULL_REWARD_LIMIT", "PolicyAudit", "RewardAudit", "audit_reward", "zero_drift_market"]

NULL_REWARD_LIMIT: Final = 0.02
"""Most that a null policy may earn per bar."""

_SUBSTEPS = 16  # price changes inside a bar: its high and low belong to the same martingale as its close
_RANDOM_LANES = 32
_EPISODE = 500  # bars over which reward and growth of the random policy are correlated

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PolicyAudit:
    """What one null policy earned.

    Attributes
    ----------
    reward_per_bar
        Mean reward.
    standard_error
        Of that mean, over the paths; a path and its mirror image count as one.
    growth_per_bar
        Mean logarithmic growth of the account, percent points.
    """

    reward_per_bar: float
    standard_error: float
    growth_per_bar: float


@dataclass(frozen=True, kw_only=True)
class RewardAudit:
    """Audit of a reward mode.

    Attributes
    ----------
    reward_mode
        What was audited.
    policies
        By name: ``flat``, ``random`` (any allowed action at every bar), ``always_long_1x`` to ``always_short_10x``, and
        ``in_and_out_…``, which open at one bar and close at the next.
    term_shares
        Share of each term in the sum of absolute terms, under the random policy.
    correlation_with_equity
        Of an episode's total reward with the account's logarithmic growth in it, under the random policy; NaN where one
        of the two does not vary.
    limit
        Most that a null policy may earn per bar.
    """

    reward_mode: str
    policies: Mapping[str, PolicyAudit]
    term_shares: Mapping[str, float]
    correlation_with_equity: float
    limit: float = NULL_REWARD_LIMIT

    @property
    def worst(self) -> str:
        """Name of the null policy that earns most."""
        return max(self.policies, key=lambda name: self.policies[name].reward_per_bar)

    @property
    def passed(self) -> bool:
        """Whether no null policy earns more than the limit."""
        return self.policies[self.worst].reward_per_bar <= self.limit

    def describe(self) -> str:
        """The audit as text."""
        lines = [f"reward mode {self.reward_mode}: {'passed' if self.passed else 'NOT passed'} (limit {self.limit:+g})"]
        lines += [
            f"  {name:24s} {policy.reward_per_bar:+.4f} ± {policy.standard_error:.4f} per bar, growth "
            f"{policy.growth_per_bar:+.4f} %"
            for name, policy in self.policies.items()
        ]
        lines += [f"  share of {name}: {share:.1%}" for name, share in self.term_shares.items()]
        lines.append(f"  correlation with the account's growth: {self.correlation_with_equity:.3f}")
        return "\n".join(lines)


def zero_drift_market(
    rng: np.random.Generator, *, bars: int, volatility: float = 0.005, mirrored: bool = False
) -> MarketData:
    """A market without drift: hourly bars of a martingale with fat tails.

    Parameters
    ----------
    rng
        Where the path comes from; the same state gives a path and, with ``mirrored``, the one of the opposite returns.
    bars
        How many.
    volatility
        Standard deviation of a bar's return, fraction.
    mirrored
        Whether to take the opposite of every return.

    Notes
    -----
    Sixteen changes make a bar, so that high and low lie on the path itself. The mean of a path is left as it came:
    taking it off would make the path return to where it began, and pay whoever adds to losing positions.
    """
    changes = rng.standard_t(5, bars * _SUBSTEPS) * math.sqrt(3.0 / 5.0 / _SUBSTEPS) * volatility
    changes = np.clip(changes, -0.5, 0.5)
    if mirrored:
        changes = -changes
    path = 100.0 * np.cumprod(1.0 + changes).reshape(bars, _SUBSTEPS)
    close = path[:, -1]
    opening = np.concatenate(([100.0], close[:-1]))
    frame = pd.DataFrame(
        {
            "open": opening,
            "high": np.maximum(opening, path.max(axis=1)),
            "low": np.minimum(opening, path.min(axis=1)),
            "close": close,
            "volume": np.full(bars, 1000.0),
        },
        index=pd.date_range("1970-01-01", periods=bars, freq="h", tz="UTC"),
    )
    return MarketData.from_frame(frame, symbol="zero drift", spike_factor=1e9)


@compiled
def _run(
    env: EnvArrays,
    lane: int,
    steps: int,
    first: int,
    second: int,
    choices: NDArray[np.int64],
    totals: Floats,
    terms: Floats,
    episodes: Floats,
) -> None:
    """Play one lane: actions ``first`` and ``second`` in turns, or ``choices`` where there are some.

    ``totals``: reward and logarithmic growth (percent). ``terms``: sums of absolute terms. ``episodes``: rows of reward
    and growth, one every ``len(choices) // len(episodes)`` steps.
    """
    reset(env, lane, draw(env, lane, 0.0))
    run = env.lanes[lane]
    span = max(1, steps // max(1, len(episodes)))
    for place in range(steps):
        before = run.equity
        if len(choices):
            action = choices[place]
        else:
            action = first if place % 2 == 0 else second
        reward, terminated, truncated = step(env, lane, action)
        growth = 100.0 * math.log(max(run.equity / before, 1e-4))
        totals[0] += reward
        totals[1] += growth
        for term in range(N_TERMS):
            terms[term] += abs(run.terms[term])
        row = place // span
        if row < len(episodes):
            episodes[row, 0] += reward
            episodes[row, 1] += growth
        if terminated or truncated:
            reset(env, lane, draw(env, lane, 0.0))


def _null_policies(leveraged: bool) -> dict[str, tuple[int, int]]:
    """Actions that each policy takes in turns."""
    if not leveraged:
        hold, buy, sell = BasicAction
        return {
            "flat": (hold, hold),
            "always_long": (buy, buy),
            "always_short": (sell, sell),
            "in_and_out_long": (buy, sell),
            "in_and_out_short": (sell, buy),
        }
    policies = {"flat": (LeverageAction.HOLD, LeverageAction.HOLD)}
    for action in LeverageAction:
        if action.side:
            policies[f"always_{action.name.lower()}"] = (action, action)
    for action in LeverageAction:
        if action.side:
            policies[f"in_and_out_{action.name.lower()}"] = (action, LeverageAction.CLOSE)
    return {name: (int(one), int(other)) for name, (one, other) in policies.items()}


def audit_reward(
    reward_mode: str = "log_equity",
    *,
    leveraged: bool = True,
    settings: EnvironmentSettings | None = None,
    reward: RewardSettings | None = None,
    seed: int = 0,
    paths: int = 16,
    bars: int = 5000,
    volatility: float = 0.005,
    limit: float = NULL_REWARD_LIMIT,
) -> RewardAudit:
    """What null policies earn by a reward on markets without drift.

    Parameters
    ----------
    reward_mode, reward
        One of :data:`~ai_backtrader.rl.REWARD_MODES`, and its numbers (None: those of ``settings``).
    leveraged
        Environment of the leverage agent, or of the basic one.
    settings
        Sizes and broker; None takes the defaults without commission, slippage and funding, whose cost would hide what
        the reward gives away.
    seed, paths, bars, volatility
        Each of ``paths`` pairs is a martingale of ``bars`` bars and its mirror image, with ``volatility`` (fraction) a
        bar.
    limit
        Most that a null policy may earn per bar.

    Returns
    -------
    RewardAudit
        ``.passed`` says whether the reward may be the default of an agent.

    Raises
    ------
    SettingsError
        Naming every fault.

    Examples
    --------
    >>> audit_reward("log_equity", paths=2, bars=1000).passed
    True
    """
    faults = Faults("audit_reward")
    faults.whole("seed", seed, low=0)
    faults.whole("paths", paths, low=1)
    faults.whole("bars", bars, low=500)
    faults.number("volatility", volatility, above=0.0, high=0.1)
    faults.number("limit", limit, low=0.0)
    faults.raise_if_any()
    if settings is None:
        settings = EnvironmentSettings(commission=0.0, funding=0.0)
    settings = dataclasses.replace(
        settings,
        reward_mode=reward_mode,
        reward=settings.reward if reward is None else reward,
        episode_bars=None,
        random_start=False,
    )
    policies = _null_policies(leveraged)
    sums = {name: np.zeros((paths, 2)) for name in (*policies, "random")}
    terms = np.zeros(N_TERMS)
    rows = []
    steps = 0
    names: tuple[str, ...] = ()
    nothing, unread = np.empty((0, 2)), np.zeros(N_TERMS)
    for path in range(paths):
        for mirrored in (False, True):
            market = zero_drift_market(
                np.random.default_rng([seed, path]), bars=bars, volatility=volatility, mirrored=mirrored
            )
            env = build_arrays(market, settings, leveraged=leveraged)
            names = term_names(env)
            steps = int(env.shared["last_bar"][0] - env.shared["first_start"][0])
            for name, (one, other) in policies.items():
                _run(env, 0, steps, one, other, np.empty(0, np.int64), sums[name][path], unread, nothing)
            rng = np.random.default_rng([seed, path, 1])
            for _ in range(_RANDOM_LANES):
                choices = rng.integers(0, int(env.shared["n_actions"][0]), steps)
                episodes = np.zeros((max(1, steps // _EPISODE), 2))
                _run(env, 0, steps, 0, 0, choices, sums["random"][path], terms, episodes)
                rows.append(episodes)
    found = {}
    for name, values in sums.items():
        per_bar = values / (2.0 * steps * (_RANDOM_LANES if name == "random" else 1))
        spread = per_bar[:, 0].std(ddof=1) / math.sqrt(paths) if paths > 1 else math.nan
        found[name] = PolicyAudit(
            reward_per_bar=float(per_bar[:, 0].mean()),
            standard_error=float(spread),
            growth_per_bar=float(per_bar[:, 1].mean()),
        )
    whole = terms.sum()
    shares = {
        name: float(value / whole) if whole else 0.0
        for name, value in zip(names, terms, strict=True)
        if not name.startswith("none")
    }
    return RewardAudit(
        reward_mode=reward_mode,
        policies=found,
        term_shares=shares,
        correlation_with_equity=_correlation(np.concatenate(rows)),
        limit=limit,
    )


def _correlation(rows: Floats) -> float:
    if not (rows.std(axis=0) > 0.0).all():
        return math.nan
    return float(np.corrcoef(rows[:, 0], rows[:, 1])[0, 1])
