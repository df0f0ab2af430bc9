"""The leverage manager: from indicators and account to a leverage, a size and the steps between."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.events import TradeClosed
from ai_backtrader.leverage.experience import ExperienceRow, ExperienceTable, KellyEstimate, kelly_estimate
from ai_backtrader.leverage.flow import select
from ai_backtrader.leverage.policy import LeveragePolicy, LeverageProposal, VolatilityTargetPolicy
from ai_backtrader.leverage.reading import read_indicators
from ai_backtrader.leverage.request import Account, Request, check_account, check_trade
from ai_backtrader.leverage.settings import LeverageSettings
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.values import Direction, LeverageDecision, Regime

__all__ = ["LeverageManager"]

_NOTHING: Mapping[str, float] = MappingProxyType({})
_STATE_VERSION = "leverage-manager/1"


class LeverageManager:
    """Chooses leverage and size from a policy's proposal, volatility, trend, confidence, margin and realised edge.

    The flow, each box a :class:`~ai_backtrader.values.SelectionStep` of the decision:

    1. ``base``: the policy's leverage.
    2. ``volatility``, ``trend``, ``confidence``: factors of at most 1.
    3. ``protection``: margin ratio and drawdown, factors of at most 1.
    4. ``experience``: what lost money at this leverage, regime and direction lowers it.
    5. ``caps``: settings, tier, liquidation buffer; below 1x the leverage stays 1 and the margin share shrinks instead.
    6. ``sizing``: margin as a fraction of equity, from fractional Kelly, risk budget and margin share.

    What holds of every decision (the laws; "exposure" is notional over equity)

    - Neither leverage nor exposure rises with volatility (``atr_pct``, ``volatility_ratio``, ``atr_ratio``,
      ``high_volatility``), margin ratio or drawdown, or falls with confidence, all else equal. The margin **share** may
      rise when leverage falls: the same exposure then posts more margin, which is safer.
    - Leverage is within ``max_leverage`` and what the tier allows at the notional, and at least 1.
    - Loss at the stop, fees and slippage both ways included, is at most ``risk_budget`` x equity.
    - The liquidation price lies at least ``1 + liquidation_buffer`` stop distances away.
    - Without an edge in enough realised trades, without a volatility, or without a direction the size is 0 and the
      direction FLAT, at leverage 1. The last step is then ``sizing``, and its ``before`` the leverage that the flow had
      reached.

    A size of 0 for want of an edge ends when later trades show one; a caller that does not want to stop for good feeds
    :meth:`on_trade_complete` with paper trades meanwhile.

    Parameters
    ----------
    settings
        Limits; None takes the defaults.
    policy
        Source of base leverage, direction and confidence; None takes
        :class:`~ai_backtrader.leverage.VolatilityTargetPolicy`.
    tiers
        Maintenance tiers where a call gives none; None takes a flat rate of 0.5 %.

    Examples
    --------
    >>> manager = LeverageManager()
    >>> decision = manager.calculate_optimal_leverage(
    ...     indicators={"close": 100.0, "atr_pct": 0.5, "ema_alignment": 1.0, "trend_direction": 1.0, "adx": 30.0},
    ...     account_balance=10_000,
    ... )
    >>> decision.direction.value, decision.recommended_leverage
    ('LONG', 4.1)
    """

    def __init__(
        self,
        settings: LeverageSettings | None = None,
        *,
        policy: LeveragePolicy | None = None,
        tiers: MaintenanceTiers | None = None,
    ) -> None:
        self.settings = LeverageSettings() if settings is None else settings
        self.policy: LeveragePolicy = VolatilityTargetPolicy(self.settings) if policy is None else policy
        self.tiers = MaintenanceTiers.flat(0.005) if tiers is None else tiers
        self._returns: deque[float] = deque(maxlen=self.settings.kelly_window)
        self._experience = ExperienceTable(self.settings)
        self._kelly = kelly_estimate((), self.settings)

    def calculate_optimal_leverage(
        self,
        *,
        indicators: Mapping[str, float],
        account_balance: float,
        current_position: Mapping[str, float] | None = None,
        risk_budget: float | None = None,
        regime: Regime | str | None = None,
        direction: Direction | str | None = None,
        confidence: float | None = None,
        price: float | None = None,
        stop_distance: float | None = None,
        risk_info: Mapping[str, float] | None = None,
        tiers: MaintenanceTiers | None = None,
        fee_rate: float | None = None,
        slippage: float | None = None,
        funding_rate: float | None = None,
    ) -> LeverageDecision:
        """Decide leverage and size of a new position; changes nothing in the manager.

        Parameters
        ----------
        indicators
            Raw features by name, as many as there are; see :func:`~ai_backtrader.leverage.read_indicators`.
        account_balance
            Equity in account currency. At or below 0 nothing is sized.
        current_position
            Of the open position; read: ``margin_ratio`` (share of the liquidation buffer consumed, 0 to 1).
        risk_budget
            Largest share of equity lost at the stop; None takes the settings'.
        regime
            Label of the trend; None when unknown.
        direction
            LONG, SHORT, FLAT (or BUY, SELL, HOLD); None takes the policy's.
        confidence
            0 to 1; None takes the policy's (one minus it where ``direction`` is against the policy, 0.5 where the
            policy has no view).
        price
            Quote currency; None reads it from ``indicators``.
        stop_distance
            Quote currency; None takes ``stop_atr`` ATR.
        risk_info
            Read: ``drawdown`` (fraction) or ``drawdown_current`` (percent points), the deeper counts;
            ``bars_per_year``.
        tiers, fee_rate, slippage
            Of the market; None takes the manager's.
        funding_rate
            Rate of one interval; None reads ``funding_rate`` among the indicators, else 0.

        Returns
        -------
        LeverageDecision
            ``risk_metrics`` holds, always: ``max_loss_usd`` (at the stop, costs included), ``loss_at_liquidation_usd``,
            ``liquidation_distance_pct`` (fraction of the price; 1 when nothing can be liquidated), ``var_95_1d_usd``
            (normal, not capped by the margin), ``effective_leverage`` (exposure), ``funding_per_day_usd`` (positive is
            paid), ``margin_usd``, ``notional_usd``, ``risk_fraction`` (share of equity lost at the stop),
            ``reduce_fraction`` (share of the open position to close now). Absent when they do not exist:
            ``kelly_fraction`` (before ``min_kelly_trades``), ``annual_volatility``, ``stop_price`` and
            ``liquidation_price`` (no trade, no price, or a long that cannot be liquidated). No value is NaN.

        Raises
        ------
        SettingsError
            If a number is not finite or out of range, or a label is unknown.
        """
        label = Regime.parse(regime)
        position = _NOTHING if current_position is None else current_position
        risk = _NOTHING if risk_info is None else risk_info
        funding = indicators.get("funding_rate") if funding_rate is None else funding_rate
        account = self._account(funding, account_balance, risk_budget, position, risk, tiers, fee_rate, slippage)
        check_trade(confidence=confidence, price=price, stop_distance=stop_distance, risk_info=risk)
        bars_per_year = risk.get("bars_per_year", self.settings.bars_per_year)
        reading = read_indicators(indicators, bars_per_year=bars_per_year, price=price)
        if stop_distance is not None and not reading.price_known:
            fault = "stop_distance needs a price: pass price=, or 'close' among the indicators"
            raise SettingsError("calculate_optimal_leverage", [fault])
        seen = indicators  # the same mapping where it tells the price: a policy knows it again
        if price is not None and indicators.get("close") != price:
            seen = {**indicators, "close": price}
        proposal = self.policy.propose(seen, position, risk, label)
        if direction is None:
            side = proposal.direction
        else:
            side = direction if isinstance(direction, Direction) else Direction.parse(direction)
        belief = _belief(side, proposal) if confidence is None else confidence
        distance = None if stop_distance is None else float(stop_distance)
        request = Request(reading, account, label, proposal, side, float(belief), distance)
        return select(request, self.settings, self._kelly, self._experience)

    def on_trade_complete(self, trade: TradeClosed) -> None:
        """Learn from a closed trade: its net return feeds Kelly and the experience table.

        Raises
        ------
        SettingsError
            If the return or the leverage is not a finite number, or the direction is FLAT.
        """
        faults = Faults("on_trade_complete")
        faults.number("pnl_pct", trade.pnl_pct)
        faults.number("leverage", trade.leverage, above=0.0)
        if trade.direction is Direction.FLAT:
            faults.add("direction must be LONG or SHORT, got FLAT")
        faults.raise_if_any()
        pnl_pct = float(trade.pnl_pct)
        self._returns.append(pnl_pct)
        self._kelly = kelly_estimate(tuple(self._returns), self.settings)
        self._experience.add(
            regime=trade.regime, direction=trade.direction, leverage=float(trade.leverage), pnl_pct=pnl_pct
        )

    def as_it_stands(self, policy: LeveragePolicy) -> LeverageManager:
        """Manager that knows what this one knows and stays so when this one learns, with a policy of its own."""
        copied = LeverageManager(self.settings, policy=policy, tiers=self.tiers)
        copied._returns, copied._experience = self._returns.copy(), copy.deepcopy(self._experience)
        copied._kelly = self._kelly
        return copied

    @property
    def kelly(self) -> KellyEstimate:
        """Kelly bet from the trades so far."""
        return self._kelly

    def experience_table(self) -> list[ExperienceRow]:
        """Which leverage worked per regime and direction, one row a bucket with trades."""
        return self._experience.rows()

    def state_dict(self) -> dict[str, Any]:
        """What was learnt, as plain values for JSON."""
        return {
            "version": _STATE_VERSION,
            "leverage_buckets": list(self.settings.leverage_buckets),
            "returns": list(self._returns),
            "experience": self._experience.dump(),
        }

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Any],
        settings: LeverageSettings | None = None,
        *,
        policy: LeveragePolicy | None = None,
        tiers: MaintenanceTiers | None = None,
    ) -> LeverageManager:
        """Manager that knows what :meth:`state_dict` wrote.

        Raises
        ------
        SettingsError
            If the state is of another version, was counted in other leverage buckets, or is damaged.
        """
        manager = cls(settings, policy=policy, tiers=tiers)
        faults = Faults("LeverageManager.from_state")
        faults.one_of("version", state.get("version"), (_STATE_VERSION,))
        buckets = list(manager.settings.leverage_buckets)
        if state.get("leverage_buckets") != buckets:
            faults.add(
                f"leverage_buckets must be those of the settings, {buckets}, got {state.get('leverage_buckets')}"
            )
        faults.raise_if_any()
        try:
            manager._returns.extend(float(value) for value in state["returns"])
            manager._experience.load(state["experience"])
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError("LeverageManager.from_state", [f"the state is damaged: {error!r}"]) from error
        if not all(math.isfinite(value) for value in manager._returns):
            raise SettingsError("LeverageManager.from_state", ["the state is damaged: returns must be finite"])
        manager._kelly = kelly_estimate(tuple(manager._returns), manager.settings)
        return manager

    def _account(
        self,
        funding: float | None,
        equity: float,
        risk_budget: float | None,
        position: Mapping[str, float],
        risk: Mapping[str, float],
        tiers: MaintenanceTiers | None,
        fee_rate: float | None,
        slippage: float | None,
    ) -> Account:
        settings = self.settings
        account = Account(
            equity,
            settings.risk_budget if risk_budget is None else risk_budget,
            self.tiers if tiers is None else tiers,
            settings.fee_rate if fee_rate is None else fee_rate,
            settings.slippage if slippage is None else slippage,
            0.0 if funding is None or funding != funding else funding,
            position.get("margin_ratio", 0.0),
            max(risk.get("drawdown", 0.0), risk.get("drawdown_current", 0.0) / 100.0),
        )
        check_account(account)
        return account.in_double_precision()


def _belief(side: Direction, proposal: LeverageProposal) -> float:
    # The policy's confidence is about its own direction: whoever trades against it holds the rest.
    if side is proposal.direction:
        return proposal.confidence
    return 0.5 if proposal.direction is Direction.FLAT or side is Direction.FLAT else 1.0 - proposal.confidence
