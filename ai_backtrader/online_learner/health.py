"""Health of a strategy: rules, and the way out and back."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.online_learner.sequential import cusum_step, cusum_threshold, rank_score
from ai_backtrader.online_learner.settings import HealthSettings

__all__ = ["HealthMonitor", "HealthState", "StrategyHealth", "broken_rules", "losses_in_a_row"]


class HealthState(enum.StrEnum):
    """Where a strategy stands."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    PROBATION = "PROBATION"


@dataclass(frozen=True, kw_only=True)
class StrategyHealth:
    """How a strategy has done lately.

    Attributes
    ----------
    state
        HEALTHY trades, DEGRADED is followed on paper, PROBATION trades at a reduced size.
    n_trades
        Trades in the rolling window; it starts afresh when the state changes to DEGRADED or PROBATION.
    win_rate
        Of the window, fraction; a trade that ends at 0 is none won. None without a trade.
    average_pnl_pct
        Of the window, percent points; None without a trade.
    consecutive_losses
        Losing trades in a row up to the last one; a trade that ends at 0 breaks nothing.
    size_factor
        1 healthy, 0 degraded, the share of the settings on probation.
    reason
        What led to the state, one readable sentence.
    """

    state: HealthState
    n_trades: int
    win_rate: float | None
    average_pnl_pct: float | None
    consecutive_losses: int
    size_factor: float
    reason: str


def losses_in_a_row(pnl_pcts: Sequence[float]) -> int:
    """Losing trades at the end of ``pnl_pcts``; a trade that ended at 0 neither counts nor breaks the row."""
    losses = 0
    for pnl in reversed(pnl_pcts):
        if pnl > 0.0:
            break
        losses += pnl < 0.0
    return losses


def broken_rules(pnl_pcts: Sequence[float], settings: HealthSettings) -> tuple[str, ...]:
    """What the three plain rules find in a window of trades, one clause each; the calibrated rule needs the past too.

    Parameters
    ----------
    pnl_pcts
        Results in order, percent points; the last ``settings.window`` count for win rate and average.
    settings
        Which rules, and their limits.
    """
    found = []
    if "consecutive_losses" in settings.rules:
        losses = losses_in_a_row(pnl_pcts)
        if losses >= settings.max_consecutive_losses:
            found.append(f"{losses} losses in a row")
    recent = pnl_pcts[-settings.window :]
    n = len(recent)
    if n >= settings.min_trades:
        wins = sum(pnl > 0.0 for pnl in recent)
        if "win_rate" in settings.rules and wins / n < settings.min_win_rate:
            found.append(f"win rate {wins / n:.0%} over {n} trades is below {settings.min_win_rate:.0%}")
        average = math.fsum(recent) / n
        if "average_pnl" in settings.rules and average < settings.min_average_pnl_pct:
            found.append(f"average P&L {average:.2f} % over {n} trades is below {settings.min_average_pnl_pct:g} %")
    return tuple(found)


class HealthMonitor:
    """Health of one strategy, trade by trade.

    HEALTHY becomes DEGRADED when a rule is broken. While degraded, trades on paper (and positions that were still open)
    tell whether the edge is back: enough good ones lead to PROBATION, where a broken rule leads back to DEGRADED and
    enough good real trades to HEALTHY. Trades on paper count for nothing in the other states.

    Parameters
    ----------
    settings
        Rules and limits; None takes the defaults.
    seed
        Of the simulation of the calibrated rule's threshold, where the settings are not the defaults.
    """

    def __init__(self, settings: HealthSettings | None = None, *, seed: int = 0) -> None:
        self.settings = settings = HealthSettings() if settings is None else settings
        self.state = HealthState.HEALTHY
        self._reason = "no rule broken"
        # The window keeps enough for every rule and for coming back.
        self._kept = max(
            settings.window, settings.max_consecutive_losses, settings.recovery_trades, settings.probation_trades
        )
        self._window: list[float] = []
        self._losses = 0  # in a row; the window may be shorter than the row
        self._baseline: list[float] = []
        self._level = 0.0
        self._silent_bars = 0
        self._threshold = math.inf
        if "calibrated" in settings.rules:
            self._threshold = cusum_threshold(
                rate=settings.false_alarm_rate,
                horizon=settings.false_alarm_trades,
                allowance=settings.allowance,
                window=settings.baseline_trades,
                learning=settings.min_baseline_trades,
                seed=seed,
            )

    def record(self, pnl_pct: float, *, paper: bool = False) -> bool:
        """Take one closed trade in; tell whether the state changed.

        Parameters
        ----------
        pnl_pct
            Net return on the margin posted, percent points.
        paper
            True for a trade that was only followed; it counts while degraded.

        Raises
        ------
        SettingsError
            If ``pnl_pct`` is no finite number; nothing has changed then.
        """
        faults = Faults("HealthMonitor.record")
        faults.number("pnl_pct", pnl_pct)
        faults.raise_if_any()
        pnl_pct = float(pnl_pct)
        if paper and self.state is not HealthState.DEGRADED:
            return False
        self._silent_bars = 0
        self._window = [*self._window[-self._kept + 1 :], pnl_pct]
        self._losses = 0 if pnl_pct > 0.0 else self._losses + (pnl_pct < 0.0)
        match self.state:
            case HealthState.HEALTHY:
                return self._judge_healthy(pnl_pct)
            case HealthState.DEGRADED:
                return self._judge_degraded()
            case HealthState.PROBATION:
                return self._judge_probation()

    def on_bar(self) -> bool:
        """Let a bar pass; tell whether the state changed, because nobody follows a degraded strategy on paper."""
        timeout = self.settings.shadow_timeout_bars
        if self.state is not HealthState.DEGRADED or timeout is None:
            return False
        self._silent_bars += 1
        if self._silent_bars < timeout:
            return False
        return self._enter(HealthState.PROBATION, f"no trade on paper for {timeout} bars: tried again at reduced size")

    def learn_baseline(self, pnl_pcts: Sequence[float]) -> None:
        """Give the calibrated rule earlier trades to rank new ones among (a backtest's, say), oldest first.

        Raises
        ------
        SettingsError
            If one of them is no finite number.
        """
        faults = Faults("HealthMonitor.learn_baseline")
        for i, pnl in enumerate(pnl_pcts):
            faults.number(f"pnl_pcts[{i}]", pnl)
        faults.raise_if_any()
        self._baseline = [*self._baseline, *(float(pnl) for pnl in pnl_pcts)][-self.settings.baseline_trades :]

    def health(self) -> StrategyHealth:
        """How the strategy has done lately."""
        recent = self._window[-self.settings.window :]
        n = len(recent)
        return StrategyHealth(
            state=self.state,
            n_trades=n,
            win_rate=sum(pnl > 0.0 for pnl in recent) / n if n else None,
            average_pnl_pct=math.fsum(recent) / n if n else None,
            consecutive_losses=self._losses,
            size_factor=self.size_factor,
            reason=self._reason,
        )

    @property
    def reason(self) -> str:
        """What led to the state."""
        return self._reason

    @property
    def size_factor(self) -> float:
        """Share of the size that the state allows."""
        if self.state is HealthState.HEALTHY:
            return 1.0
        return 0.0 if self.state is HealthState.DEGRADED else self.settings.probation_size

    def _broken(self) -> tuple[str, ...]:
        found = list(broken_rules(self._window, self.settings))
        limit = self.settings.max_consecutive_losses
        if not found and "consecutive_losses" in self.settings.rules and self._losses >= limit:
            found.append(f"{self._losses} losses in a row")  # trades at 0 pushed the first of the row out of the window
        return tuple(found)

    def _judge_healthy(self, pnl_pct: float) -> bool:
        found = self._broken()
        if "calibrated" in self.settings.rules:
            if self._ranked(pnl_pct):
                found += (f"results rank low among the last {len(self._baseline)} (CUSUM {self._level:.1f} above "
                          f"{self._threshold:.1f})",)  # fmt: skip
            if not found:
                self._baseline = [*self._baseline[-self.settings.baseline_trades + 1 :], pnl_pct]
        return self._enter(HealthState.DEGRADED, "; ".join(found)) if found else False

    def _ranked(self, pnl_pct: float) -> bool:
        if len(self._baseline) < self.settings.min_baseline_trades:
            return False
        self._level = cusum_step(self._level, rank_score(np.array(self._baseline), pnl_pct), self.settings.allowance)
        return self._level > self._threshold

    def _good(self, n_trades: int) -> bool:
        if len(self._window) < n_trades or self._broken():
            return False
        return math.fsum(self._window[-n_trades:]) / n_trades > self.settings.recovery_pnl_pct

    def _judge_degraded(self) -> bool:
        n = self.settings.recovery_trades
        if not self._good(n):
            return False
        average = math.fsum(self._window[-n:]) / n
        return self._enter(HealthState.PROBATION, f"the last {n} trades, on paper, earned {average:.2f} % on average")

    def _judge_probation(self) -> bool:
        found = self._broken()
        if not found and "calibrated" in self.settings.rules and self._ranked(self._window[-1]):
            found = (f"on probation, results rank low among the {len(self._baseline)} healthy ones",)
        if found:
            return self._enter(HealthState.DEGRADED, "; ".join(found))
        n = self.settings.probation_trades
        if not self._good(n):
            return False
        return self._enter(HealthState.HEALTHY, f"{n} trades on probation without a broken rule")

    def _enter(self, state: HealthState, reason: str) -> bool:
        self.state, self._reason = state, reason
        self._level, self._silent_bars = 0.0, 0
        if state is not HealthState.HEALTHY:
            self._window, self._losses = [], 0  # what led here must not be counted against it twice
        return True

    def state_dict(self) -> dict[str, Any]:
        """State as plain values that JSON holds."""
        return {
            "state": self.state.value,
            "reason": self._reason,
            "window": list(self._window),
            "losses": self._losses,
            "baseline": list(self._baseline),
            "level": self._level,
            "silent_bars": self._silent_bars,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave; raise SettingsError if it is damaged."""
        try:
            numbers = [*state["window"], *state["baseline"], state["level"]]
            if not all(math.isfinite(number) for number in numbers):
                raise ValueError("numbers must be finite")
            self.state, self._reason = HealthState(state["state"]), str(state["reason"])
            self._window = [float(pnl) for pnl in state["window"]]
            self._baseline = [float(pnl) for pnl in state["baseline"]]
            self._losses, self._level = int(state["losses"]), float(state["level"])
            self._silent_bars = int(state["silent_bars"])
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError("HealthMonitor", [f"the state is damaged: {error!r}"]) from error
