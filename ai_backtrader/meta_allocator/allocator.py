"""The meta-allocator: what it knows of the strategies, and the plan it makes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.events import ForgetfulJournal, Journal, StrategyScored, TradeClosed
from ai_backtrader.meta_allocator.constraints import (
    capped_weights,
    diversification_score,
    effective_number,
    within_budget,
)
from ai_backtrader.meta_allocator.methods import risk_weights
from ai_backtrader.meta_allocator.plan import Allocation, AllocationPlan
from ai_backtrader.meta_allocator.records import RegimeTrades, StrategyRecord, checked_figures
from ai_backtrader.meta_allocator.risk import Covariance, estimate_covariance, forecast_loss
from ai_backtrader.meta_allocator.scoring import Score, crowding, score_of
from ai_backtrader.meta_allocator.settings import AllocatorSettings
from ai_backtrader.values import FrozenMapping, Regime

__all__ = ["HealthPort", "MetaAllocator"]

_HELD = 1e-9  # a weight within this of a limit holds it
STATE_VERSION = 1


class HealthPort(Protocol):
    """Who knows how healthy a strategy is; the online learner does."""

    def health_factor(self, strategy_id: str) -> float:
        """1 healthy, 0 no capital, between on probation."""


class MetaAllocator:
    """Spreads capital over strategies by what they have shown, within limits that always hold.

    The score of a strategy is the sum of its terms (:mod:`~ai_backtrader.meta_allocator.scoring`) times its health;
    below 0 it is 0. Scores are divided by how many strategies stand for the same thing (Ledoit-Wolf correlations), and
    weights are proportional to them between ``min_weight`` and ``max_weight``. What the caps leave over is cash; so is
    what the risk budget does not allow.

    Parameters
    ----------
    settings
        None takes the defaults.
    health
        Who knows the strategies' health; None takes all for healthy.
    journal
        Where figures that are told go, as events; None forgets them.
    """

    def __init__(
        self,
        settings: AllocatorSettings | None = None,
        *,
        health: HealthPort | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.settings = AllocatorSettings() if settings is None else settings
        self.health = health
        self.journal: Journal = ForgetfulJournal() if journal is None else journal
        self._records: dict[str, StrategyRecord] = {}
        self._returns: dict[str, NDArray[np.float64]] = {}
        self._weights: dict[str, float] = {}

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names registered, in order."""
        return tuple(self._records)

    def register_strategy(
        self,
        strategy_id: str,
        figures: Mapping[str, float] | None = None,
        *,
        returns: Sequence[float] | NDArray[np.float64] | None = None,
        symbol: str = "",
    ) -> None:
        """Make a strategy known, or tell newer figures of one; its closed trades stay.

        Parameters
        ----------
        strategy_id
            Its name.
        figures
            Those of :data:`~ai_backtrader.meta_allocator.FIGURES` that are known.
        returns
            Daily returns, the latest last; they replace those told before. They should end on the same day for every
            strategy.
        symbol
            What it trades, for the journal.

        Raises
        ------
        SettingsError
            If the name is empty, a figure unknown or out of bounds, or a return not a finite number above -1 or -1.
        """
        if not isinstance(strategy_id, str) or not strategy_id:
            raise SettingsError("register_strategy", [f"strategy_id must be a name, got {strategy_id!r}"])
        known = checked_figures(strategy_id, {} if figures is None else figures)
        series = None if returns is None else _checked_returns(strategy_id, returns)
        record = self._records.get(strategy_id)
        if record is None:
            self._records[strategy_id] = StrategyRecord(strategy_id=strategy_id, figures=known)
        else:
            merged = FrozenMapping(dict(record.figures) | dict(known))
            self._records[strategy_id] = replace(record, figures=merged)
        if series is not None:
            self._returns[strategy_id] = series[-self.settings.window :]
        if known:
            self.journal.record(StrategyScored(symbol=symbol, strategy_id=strategy_id, figures=known))

    def remove_strategy(self, strategy_id: str) -> None:
        """Forget a strategy.

        Raises
        ------
        SettingsError
            If it is not known.
        """
        self._known(strategy_id)
        del self._records[strategy_id]
        self._returns.pop(strategy_id, None)
        self._weights.pop(strategy_id, None)

    def add_return(self, strategy_id: str, value: float) -> None:
        """Add one day's return of a strategy; tell it for every strategy on the same days.

        Raises
        ------
        SettingsError
            If the strategy is not known, or the return not a finite number of at least -1.
        """
        self._known(strategy_id)
        day = _checked_returns(strategy_id, [value])
        before = self._returns.get(strategy_id, np.empty(0))
        self._returns[strategy_id] = np.concatenate([before, day])[-self.settings.window :]

    def on_trade_complete(self, trade: TradeClosed) -> None:
        """Count a closed trade of a registered strategy; others, and trades on paper, are not ours to judge."""
        record = self._records.get(trade.strategy_id)
        if record is not None and not trade.paper:
            self._records[trade.strategy_id] = record.with_trade(trade.pnl_pct / 100.0, trade.regime)

    def calculate_allocation(
        self,
        *,
        total_capital: float,
        current_regime: Regime | str | None = None,
        risk_budget: float | None = None,
    ) -> AllocationPlan:
        """Weights for all registered strategies.

        Parameters
        ----------
        total_capital
            In account currency, at least 0.
        current_regime
            Label of the market; None when unknown.
        risk_budget
            Largest forecast loss of one day as a fraction of the capital; None takes the settings'.

        Returns
        -------
        AllocationPlan
            Same knowledge, same plan.

        Raises
        ------
        SettingsError
            If an argument is out of range or the regime unknown.
        """
        settings, faults = self.settings, Faults("calculate_allocation")
        faults.number("total_capital", total_capital, low=0.0)
        budget = settings.risk_budget if risk_budget is None else risk_budget
        faults.number("risk_budget", budget, above=0.0)
        faults.raise_if_any()
        regime = Regime.parse(current_regime)
        scores = [score_of(record, regime, self._health_of(name), settings) for name, record in self._records.items()]
        covariance = self._covariance()
        values = np.array([score.value for score in scores])
        values = self._directed(values, covariance) if len(values) else values

        def risk(weights: NDArray[np.float64]) -> float:
            return forecast_loss(weights, covariance.matrix, settings.loss_confidence)

        weights = within_budget(values, settings.min_weight, settings.max_weight, risk=risk, budget=budget)
        kept = self._kept(weights, values, risk, budget)
        changed = kept is None
        weights = weights if kept is None else kept
        self._weights = dict(zip(self._records, weights.tolist(), strict=True))
        loss = risk(weights)
        warnings = self._warnings(loss, weights, values, risk)
        capital = float(total_capital)
        allocations = [
            Allocation(
                strategy_id=score.strategy_id, weight=weight, capital=weight * capital,
                reason=self._reason(score, weight),
            )
            for score, weight in zip(scores, weights.tolist(), strict=True)
        ]  # fmt: skip
        return AllocationPlan(
            allocations=tuple(sorted(allocations, key=lambda allocation: -allocation.weight)),
            cash_weight=max(0.0, 1.0 - float(weights.sum())),
            total_capital=capital,
            regime=regime,
            forecast_loss=loss,
            risk_budget=float(budget),
            diversification=diversification_score(weights),
            effective_number=effective_number(weights),
            scores=tuple(scores),
            changed=changed,
            warnings=warnings,
        )

    def state_dict(self) -> dict[str, Any]:
        """All that was learnt, as plain values for JSON."""
        return {
            "version": STATE_VERSION,
            "records": [asdict(record) for record in self._records.values()],
            "returns": {name: series.tolist() for name, series in self._returns.items()},
            "weights": dict(self._weights),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`; nothing changes when it cannot be read.

        Raises
        ------
        SettingsError
            If it is of another version or damaged.
        """
        if state.get("version") != STATE_VERSION:
            raise SettingsError("load_state", [f"expected version {STATE_VERSION}, got {state.get('version')!r}"])
        try:
            records = {entry["strategy_id"]: _record_of(entry) for entry in state["records"]}
            returns = {name: _checked_returns(name, series) for name, series in state["returns"].items()}
            weights = {name: float(weight) for name, weight in state["weights"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise SettingsError("load_state", [f"the state is damaged: {type(error).__name__}: {error}"]) from error
        self._records, self._returns, self._weights = records, returns, weights

    # ------------------------------------------------------------------------------------------------ parts

    def _known(self, strategy_id: str) -> StrategyRecord:
        try:
            return self._records[strategy_id]
        except KeyError:
            known = ", ".join(map(repr, self._records)) or "none"
            raise SettingsError(
                "MetaAllocator", [f"strategy {strategy_id!r} is not registered; known: {known}"]
            ) from None

    def _health_of(self, name: str) -> float:
        if self.health is None:
            return 1.0
        factor = self.health.health_factor(name)
        faults = Faults(f"health of {name!r}")
        faults.number("factor", factor, low=0.0, high=1.0)
        faults.raise_if_any()
        return float(factor)

    def _covariance(self) -> Covariance:
        told = [record.figures.get("volatility", math.nan) for record in self._records.values()]
        periods = [
            record.figures.get("periods_per_year", self.settings.periods_per_year) for record in self._records.values()
        ]
        return estimate_covariance(
            [self._returns.get(name) for name in self._records],
            [volatility / math.sqrt(n) for volatility, n in zip(told, periods, strict=True)],
            min_overlap=self.settings.min_overlap,
        )

    def _directed(self, values: NDArray[np.float64], covariance: Covariance) -> NDArray[np.float64]:
        """What weights are proportional to: scores apart from crowds, or risk weights of those with a score."""
        if self.settings.method == "score":
            alive = values > 0.0  # who gets nothing crowds nobody out
            crowds = crowding(np.where(np.outer(alive, alive), covariance.correlation, np.eye(len(values))))
            apart: NDArray[np.float64] = values / crowds
            return apart
        names = [name for name, value in zip(self._records, values, strict=True) if value > 0.0]
        short = [name for name in names if len(self._returns.get(name, ())) < self.settings.min_overlap]
        if short:
            need = f"at least {self.settings.min_overlap} daily returns of every strategy"
            raise SettingsError(
                "calculate_allocation", [f"method {self.settings.method!r} needs {need}; short: {short}"]
            )
        chosen = np.zeros(len(values))
        if names:
            days = min(len(self._returns[name]) for name in names)
            table = np.column_stack([self._returns[name][-days:] for name in names])
            chosen[values > 0.0] = risk_weights(self.settings.method, table)
        return chosen

    def _kept(
        self, weights: NDArray[np.float64], values: NDArray[np.float64], risk: Any, budget: float
    ) -> NDArray[np.float64] | None:
        """The weights of the plan before, where the change is not worth its cost and they still hold every limit."""
        if set(self._weights) != set(self._records):
            return None
        before = np.array([self._weights[name] for name in self._records])
        settings = self.settings
        held = before > 0.0
        limits = np.all(before[held] >= settings.min_weight - _HELD) and np.all(before <= settings.max_weight + _HELD)
        alive = bool(np.all(values[held] > 0.0))
        small = float(np.abs(weights - before).sum()) < settings.no_trade_band
        return before if small and limits and alive and not risk(before) > budget else None

    def _warnings(
        self, loss: float, weights: NDArray[np.float64], values: NDArray[np.float64], risk: Any
    ) -> tuple[str, ...]:
        settings, found = self.settings, []
        if math.isnan(loss):
            found.append("the risk budget could not be checked: tell returns or a volatility of every strategy")
        unlimited = capped_weights(values, settings.min_weight, settings.max_weight)
        if unlimited.sum() > weights.sum() + _HELD and risk(unlimited) > loss:
            found.append(f"the risk budget allows {weights.sum():.0%} of the capital instead of {unlimited.sum():.0%}")
        if not weights.any():
            found.append("no strategy deserves capital: all of it is cash")
        return tuple(found)

    def _reason(self, score: Score, weight: float) -> str:
        if score.health == 0.0:
            return "no capital: unhealthy"
        if score.value == 0.0:
            return f"no capital: score 0 ({score.reason})"
        if weight == 0.0:
            return f"no capital: dropped, its {self.settings.min_weight:.0%} does not fit (score {score.value:.2f})"
        limit = " at its cap" if weight >= self.settings.max_weight - _HELD else ""
        return f"{weight:.1%}{limit}: score {score.value:.2f} ({score.reason})"


def _checked_returns(name: str, returns: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    try:
        series = np.asarray(returns, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"strategy {name!r}", [f"returns must be numbers: {error}"]) from error
    if series.ndim != 1:
        raise SettingsError(f"strategy {name!r}", [f"returns must be one series, got {series.ndim} dimensions"])
    wrong = np.flatnonzero(~(np.isfinite(series) & (series >= -1.0)))
    if len(wrong):
        first = int(wrong[0])
        mend = "drop the days without a return"
        raise SettingsError(
            f"strategy {name!r}", [f"return {first} must be finite and at least -1, got {series[first]}; {mend}"]
        )
    return series.copy()


def _record_of(entry: Mapping[str, Any]) -> StrategyRecord:
    by_regime = {Regime(name).value: RegimeTrades(**trades) for name, trades in entry["by_regime"].items()}
    figures = checked_figures(entry["strategy_id"], entry["figures"])
    return StrategyRecord(**{**entry, "figures": figures, "by_regime": FrozenMapping(by_regime)})
