"""What a step is worth to an agent: reward modes as kernels, and the printed formulas as functions.

==================== ===============================================================================================
mode                 reward
==================== ===============================================================================================
seed                 the design's formula, paid when a trade closes (the basic agent's holding terms: every bar)
log_equity           100 ln(E_t / E_t-1): growth in percent points, costs and funding in it
equity               100 (E_t / E_t-1 - 1): the same without the logarithm's aversion to losses
scaled_log_equity    log_equity over the market's usual bar (median ATR %, known before the bar): the same size in quiet
                     and in wild markets
risk_averse          log_equity - risk_aversion / 2 log_equity^2: mean and variance
drawdown_averse      log_equity - drawdown_aversion (growth of the drawdown, percent points)
differential_sharpe  change of an exponentially weighted Sharpe ratio by the bar (Moody and Saffell 2001, "Learning to
                     trade via direct reinforcement", eq. 14), divided by its decay
==================== ===============================================================================================

Volatility is ATR14 over the close in percent points, as in ``indicators["atr_pct"]``; none at all counts as 0.01 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.rl.actions import LeverageAction
from ai_backtrader.simulation.compiling import compiled, inlined

__all__ = [
    "BASIC_SEED_TERMS",
    "GROWTH_TERMS",
    "LEVERAGE_SEED_TERMS",
    "REWARD_DTYPE",
    "REWARD_MODES",
    "RewardSettings",
    "basic_trade_terms",
    "calculate_basic_reward",
    "calculate_reward",
    "growth_terms",
    "leverage_trade_terms",
    "reward_terms",
]

REWARD_MODES: tuple[str, ...] = (
    "seed",
    "log_equity",
    "equity",
    "scaled_log_equity",
    "risk_averse",
    "drawdown_averse",
    "differential_sharpe",
)

_SEED, _LOG, _EQUITY, _SCALED, _RISK, _DRAWDOWN, _SHARPE = range(len(REWARD_MODES))
SEED: Final = _SEED

# Names of the terms, in the order in which the kernels write them.
LEVERAGE_SEED_TERMS = ("pnl", "risk_adjusted", "leverage_fit", "short", "liquidation_risk", "cost")
BASIC_SEED_TERMS = ("pnl", "risk_adjusted", "holding_winner", "holding_loser", "none", "cost")
GROWTH_TERMS = ("growth", "risk", "none2", "none3", "none4", "none5")

_LEAST_VOLATILITY = 0.01  # percent: the floor that the features use
_LEAST_GROWTH = 1e-4  # what an account of nothing counts as, of what it was: ln gives -921 %

REWARD_DTYPE = np.dtype(
    [
        ("mode", np.int64),
        ("low_volatility", np.float64),
        ("high_volatility", np.float64),
        ("low_leverage", np.float64),
        ("high_leverage", np.float64),
        ("risk_aversion", np.float64),
        ("drawdown_aversion", np.float64),
        ("sharpe_decay", np.float64),
    ],
    align=True,
)
"""What the reward kernels read."""


@dataclass(frozen=True, kw_only=True)
class RewardSettings:
    """Numbers that the reward modes leave open.

    Parameters
    ----------
    low_volatility, high_volatility
        Mode ``seed``: below and above these (ATR in percent of the price) volatility counts as low and high.
    low_leverage, high_leverage
        Mode ``seed``: leverage up to the first is low, from the second on high.
    risk_aversion
        Mode ``risk_averse``: weight of half the squared growth (per percent point).
    drawdown_aversion
        Mode ``drawdown_averse``: weight of a drawdown's growth.
    sharpe_decay
        Mode ``differential_sharpe``: weight of the newest bar in the running moments.

    Raises
    ------
    SettingsError
        Naming every fault.
    """

    low_volatility: float = 1.0
    high_volatility: float = 3.0
    low_leverage: float = 3.0
    high_leverage: float = 5.0
    risk_aversion: float = 0.1
    drawdown_aversion: float = 0.5
    sharpe_decay: float = 0.01

    def __post_init__(self) -> None:
        faults = Faults("RewardSettings")
        for name in ("low_volatility", "high_volatility", "risk_aversion", "drawdown_aversion"):
            faults.number(name, getattr(self, name), low=0.0)
        for name in ("low_leverage", "high_leverage"):
            faults.number(name, getattr(self, name), low=1.0)
        faults.number("sharpe_decay", self.sharpe_decay, above=0.0, high=0.5)
        if not faults.found and self.low_volatility > self.high_volatility:
            faults.add(
                f"low_volatility must not exceed high_volatility, got {self.low_volatility} and {self.high_volatility}"
            )
        if not faults.found and self.low_leverage > self.high_leverage:
            faults.add(f"low_leverage must not exceed high_leverage, got {self.low_leverage} and {self.high_leverage}")
        faults.raise_if_any()

    def record(self, mode: str) -> NDArray[np.void]:
        """The settings with a mode as the kernels read them, shape (1,), dtype ``REWARD_DTYPE``.

        Raises
        ------
        SettingsError
            If there is no such mode.
        """
        faults = Faults("RewardSettings")
        faults.one_of("reward_mode", mode, REWARD_MODES)
        faults.raise_if_any()
        record = np.zeros(1, REWARD_DTYPE)
        record["mode"] = REWARD_MODES.index(mode)
        for name in REWARD_DTYPE.names or ():
            if name != "mode":
                record[name] = getattr(self, name)
        return record


@compiled
def leverage_trade_terms(
    pnl_pct: float,
    leverage: float,
    volatility: float,
    is_short: bool,
    margin_ratio: float,
    distance: float,
    reward: Any,
    terms: NDArray[np.float64],
) -> None:
    """Add the :data:`LEVERAGE_SEED_TERMS` of a closed trade to ``terms``."""
    volatility = max(volatility, _LEAST_VOLATILITY)
    terms[0] += pnl_pct * 10.0 * (1.0 / math.sqrt(leverage))
    terms[1] += pnl_pct / (volatility * leverage) * 5.0
    if volatility < reward.low_volatility and leverage >= reward.high_leverage:
        terms[2] += 0.5
    if volatility > reward.high_volatility and leverage <= reward.low_leverage:
        terms[2] += 0.5
    if is_short:
        if pnl_pct > 0.0:
            terms[3] += 1.0
        if pnl_pct < -5.0:
            terms[3] -= 2.0
    if margin_ratio > 0.7:
        terms[4] -= (margin_ratio - 0.7) * 10.0
    if distance < 5.0:
        terms[4] -= 5.0 - distance
    terms[5] -= 0.1 * leverage


@compiled
def basic_trade_terms(pnl_pct: float, volatility: float, terms: NDArray[np.float64]) -> None:
    """Add what a closed trade pays of the :data:`BASIC_SEED_TERMS` to ``terms``."""
    terms[0] += pnl_pct * 10.0
    terms[1] += pnl_pct / max(volatility, _LEAST_VOLATILITY) * 5.0


@inlined
def growth_terms(run: Any, before: float, peak_before: float, scale: float, reward: Any, terms: Any) -> None:
    """Write the :data:`GROWTH_TERMS` of a bar to ``terms``.

    ``run`` has ``equity`` and ``peak`` after the bar, and the running moments ``mean`` and ``square``; ``before`` and
    ``peak_before`` are equity and peak before it; ``scale`` is the usual bar in percent.
    """
    ratio = run.equity / before
    mode = reward.mode
    if mode == _EQUITY:
        terms[0] = 100.0 * (ratio - 1.0)
        return
    growth = 100.0 * math.log(max(ratio, _LEAST_GROWTH))
    if mode == _SCALED:
        growth /= max(scale, _LEAST_VOLATILITY)
    terms[0] = growth
    if mode == _RISK:
        terms[1] = -0.5 * reward.risk_aversion * growth * growth
    elif mode == _DRAWDOWN:
        deeper = (1.0 - run.equity / run.peak) - (1.0 - before / peak_before)
        terms[1] = -reward.drawdown_aversion * 100.0 * max(0.0, deeper)
    elif mode == _SHARPE:
        decay, mean, square = reward.sharpe_decay, run.mean, run.square
        variance = square - mean * mean
        terms[0] = terms[1] = 0.0
        if variance > 0.0:
            spread = variance * math.sqrt(variance)
            terms[0] = square * (growth - mean) / spread
            terms[1] = -0.5 * mean * (growth * growth - square) / spread
        run.mean = mean + decay * (growth - mean)
        run.square = square + decay * (growth * growth - square)


def reward_terms(
    *,
    action: LeverageAction | int | str,
    pnl_pct: float,
    leverage_used: float,
    volatility: float,
    is_short: bool,
    margin_ratio: float = 0.0,
    liquidation_distance: float = 100.0,
    settings: RewardSettings | None = None,
) -> dict[str, float]:
    """Terms of :func:`calculate_reward` by name; same arguments, and they add up to it."""
    taken = LeverageAction.parse(action)
    faults = Faults("calculate_reward")
    faults.number("pnl_pct", pnl_pct)
    faults.number("leverage_used", leverage_used, low=1.0)
    faults.number("volatility", volatility, low=0.0)
    faults.number("margin_ratio", margin_ratio, low=0.0)
    faults.number("liquidation_distance", liquidation_distance, low=0.0)
    if taken.side and bool(is_short) != (taken.side < 0):
        faults.add(f"is_short must say the same as action, got {is_short!r} with {taken.name}")
    faults.raise_if_any()
    terms = np.zeros(len(LEVERAGE_SEED_TERMS))
    record = (RewardSettings() if settings is None else settings).record("seed")
    leverage_trade_terms(
        float(pnl_pct),
        float(leverage_used),
        float(volatility),
        bool(is_short),
        float(margin_ratio),
        float(liquidation_distance),
        record[0],
        terms,
    )
    return dict(zip(LEVERAGE_SEED_TERMS, terms.tolist(), strict=True))


def calculate_reward(
    *,
    action: LeverageAction | int | str,
    pnl_pct: float,
    leverage_used: float,
    volatility: float,
    is_short: bool,
    margin_ratio: float = 0.0,
    liquidation_distance: float = 100.0,
    settings: RewardSettings | None = None,
) -> float:
    """Reward of a closed trade of the leverage agent: the design's formula.

    Parameters
    ----------
    action
        What opened the trade: a :class:`~ai_backtrader.rl.LeverageAction`, its number or its name.
    pnl_pct
        Net return on the margin posted, percent points.
    leverage_used
        Multiple of the margin posted.
    volatility
        ATR in percent of the price; below 0.01 it counts as 0.01, so that the reward stays finite.
    is_short
        Whether the trade was short.
    margin_ratio
        Highest share of the liquidation buffer that was used up, 0 to 1.
    liquidation_distance
        Smallest distance from the liquidation price, percent of the price; below 5 each percent point costs 1.
    settings
        What counts as low and high; None takes the defaults.

    Returns
    -------
    float
        ``10 pnl / sqrt(leverage) + 5 pnl / (volatility leverage) + leverage fit + short bonus or penalty
        - liquidation risk - 0.1 leverage``.

    Raises
    ------
    SettingsError
        Naming every fault.

    Examples
    --------
    >>> calculate_reward(action="SHORT_5X", pnl_pct=2.0, leverage_used=5.0, volatility=2.0, is_short=True)
    10.44427190999916
    """
    terms = reward_terms(
        action=action,
        pnl_pct=pnl_pct,
        leverage_used=leverage_used,
        volatility=volatility,
        is_short=is_short,
        margin_ratio=margin_ratio,
        liquidation_distance=liquidation_distance,
        settings=settings,
    )
    return _total(terms)


def calculate_basic_reward(
    *,
    pnl_pct: float,
    risk_adjusted_return: float = 0.0,
    traded: bool = False,
    holding_winner: bool = False,
    holding_loser: bool = False,
) -> float:
    """Reward of the basic agent: the design's formula.

    Parameters
    ----------
    pnl_pct
        Net return of the trade that closed, percent points; 0 when none did.
    risk_adjusted_return
        The same over the volatility (ATR in percent of the price).
    traded
        Whether an order was filled.
    holding_winner, holding_loser
        Whether the open position stands in profit, in loss.

    Raises
    ------
    SettingsError
        If a number is none, or not finite.

    Examples
    --------
    >>> calculate_basic_reward(pnl_pct=1.05, risk_adjusted_return=0.5, traded=True)
    12.9
    """
    faults = Faults("calculate_basic_reward")
    faults.number("pnl_pct", pnl_pct)
    faults.number("risk_adjusted_return", risk_adjusted_return)
    faults.raise_if_any()
    reward = pnl_pct * 10.0 + risk_adjusted_return * 5.0
    return reward - 0.1 * bool(traded) + 0.5 * bool(holding_winner) - 0.5 * bool(holding_loser)


def _total(terms: Mapping[str, float]) -> float:
    total = 0.0
    for value in terms.values():
        total += value
    return total
