"""The orchestrator: asks the sources, combines their votes, has the position sized, hands closed trades on."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.errors import SettingsError
from ai_backtrader.events import ForgetfulJournal, Journal, RegimeChanged, TradeClosed
from ai_backtrader.market import MarketFeatures, Regimes
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.orchestrator.combine import describe, score_of
from ai_backtrader.orchestrator.outlook import Outlook, asked_sources, outlook_of, quiet_bars_of
from ai_backtrader.orchestrator.poll import Ballot, Sources, poll, wish_of
from ai_backtrader.orchestrator.ports import (
    AdvicePort,
    OnlinePort,
    PositionSizer,
    TradeListener,
    VotePort,
)
from ai_backtrader.orchestrator.question import atr_of, check_question, flag_of, stop_obstacle
from ai_backtrader.orchestrator.settings import OrchestratorSettings
from ai_backtrader.orchestrator.technical import TechnicalSource
from ai_backtrader.orchestrator.trades import direction_of
from ai_backtrader.orchestrator.values import Context, Decision, Vote
from ai_backtrader.parameter_optimizer import OptimizationConfig, ParameterOptimizer
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.strategy_evolver import StrategyEvolver
from ai_backtrader.values import Action, Direction, LeverageDecision, Regime

__all__ = ["Orchestrator"]

_log = logging.getLogger("ai_backtrader")
_NOTHING: Mapping[str, float] = MappingProxyType({})


class Orchestrator:
    """Combines the sources' votes into one decision.

    Technical, RL and evolved source vote on the market; the online source adjusts the confidence of what they want; the
    advisor sees the result and may object. The score is the mean of the signed confidences, weighted over those who
    voted: a source that has nothing to say abstains and its weight goes to the others. A score whose size is below
    ``hold_threshold`` is HOLD. What remains is sized; a size of 0 is HOLD, too, and the reason is told.

    A source that raises abstains with ``failed=True``, is counted in :attr:`failures` and logged; with
    ``strict=True`` it raises. An exception of the sizer always raises: a wrong size is no opinion.

    :meth:`decide` is pure given the state of the systems connected: the orchestrator itself remembers only the last
    regime by symbol, for the journal, and the failures.

    Parameters
    ----------
    settings
        None takes the defaults.
    technical, rl, evolved, online, llm
        Sources; None abstains, except that ``technical`` None is :func:`~ai_backtrader.orchestrator.technical_vote`.
    sizer
        Chooses leverage and size (the leverage manager); None takes ``fallback_margin_fraction * confidence`` at 1x.
    listeners
        Learn from each closed trade, in this order. None takes the sizer, if it listens.
    journal
        Where events go; None forgets them.
    optimizer, evolver
        Serve :meth:`run_optimization` and :meth:`run_evolution`.
    """

    def __init__(
        self,
        settings: OrchestratorSettings | None = None,
        *,
        technical: VotePort | None = None,
        rl: VotePort | None = None,
        evolved: VotePort | None = None,
        online: OnlinePort | None = None,
        llm: AdvicePort | None = None,
        sizer: PositionSizer | None = None,
        listeners: Sequence[TradeListener] | None = None,
        journal: Journal | None = None,
        optimizer: ParameterOptimizer | None = None,
        evolver: StrategyEvolver | None = None,
    ) -> None:
        self.settings = OrchestratorSettings() if settings is None else settings
        technical = TechnicalSource() if technical is None else technical
        self.sources = Sources(technical, rl, evolved, online, llm)
        self.sizer = sizer
        if listeners is None:
            listeners = (sizer,) if isinstance(sizer, TradeListener) else ()
        self.listeners: tuple[TradeListener, ...] = tuple(listeners)
        self.journal: Journal = ForgetfulJournal() if journal is None else journal
        self.optimizer, self.evolver = optimizer, evolver
        self.failures: dict[str, int] = {}
        self._regimes: dict[str, Regime] = {}

    def decide(
        self,
        *,
        symbol: str,
        indicators: Mapping[str, float],
        current_price: float,
        portfolio_value: float,
        regime: Regime | str | None = None,
        position: float = 0.0,
        base_signal: Action | Direction | str | None = None,
        base_confidence: float | None = None,
        at: dt.datetime | None = None,
        high_volatility: bool | None = None,
        current_position: Mapping[str, float] | None = None,
        risk_info: Mapping[str, float] | None = None,
        risk_budget: float | None = None,
        tiers: MaintenanceTiers | None = None,
        fee_rate: float | None = None,
        slippage: float | None = None,
        funding_rate: float | None = None,
        strategy_id: str = "orchestrator",
        remember: bool = True,
    ) -> Decision:
        """Decide on the bar just closed.

        Parameters
        ----------
        symbol
            What is traded.
        indicators
            Raw features of the bar. Stop and target need ``atr`` (price units) or ``atr_pct`` (percent).
        current_price
            Quote currency, above 0.
        portfolio_value
            Equity, account currency.
        regime
            Label of the trend; None when unknown. A change is recorded in the journal.
        position
            Signed units held.
        base_signal, base_confidence
            The caller's own technical vote (LONG/SHORT/FLAT or BUY/SELL/HOLD) and its confidence; it replaces the
            technical source. None: the technical source votes.
        at
            UTC time of the bar.
        high_volatility
            None reads ``high_volatility`` among the indicators.
        current_position, risk_info, risk_budget, tiers, fee_rate, slippage, funding_rate
            Handed to the sizer. With ``current_position`` given, ``sizing`` of a HOLD still tells the open position's
            liquidation protection (``risk_metrics["reduce_fraction"]``).
        strategy_id
            Under which the decision's trades are recorded: the online source judges by it.
        remember
            False leaves regime memory and journal untouched, for a bar long past that is looked up again.

        Returns
        -------
        Decision
            Same inputs and same state of the systems, same decision.

        Raises
        ------
        SettingsError
            If a number is not finite or out of range, or a label is unknown.
        """
        check_question(current_price, portfolio_value, position, base_confidence)
        current_price, portfolio_value = float(current_price), float(portfolio_value)
        context = Context(
            symbol=symbol,
            at=at,
            indicators=MappingProxyType(indicators),  # a view: no source changes what the next one sees
            current_price=current_price,
            regime=Regime.parse(regime),
            high_volatility=flag_of(indicators) if high_volatility is None else high_volatility,
            position=position,
            portfolio_value=portfolio_value,
            current_position=_NOTHING if current_position is None else current_position,
            risk_info=_NOTHING if risk_info is None else risk_info,
            strategy_id=strategy_id,
        )
        if remember:
            self._note_regime(context)
        base_vote = self._base_vote(base_signal, base_confidence)
        ballot = poll(self.sources, context, self.settings, base_vote, self._report)
        score = score_of(ballot.contributions)
        confidence = min(abs(score), 1.0)
        action, obstacle = self._action(ballot, score)
        distance = self.settings.stop_atr * atr_of(context)
        if action is not Action.HOLD:
            obstacle = stop_obstacle(action, current_price, distance)
            action = Action.HOLD if obstacle else action

        sizing: LeverageDecision | None = None
        if self.sizer is not None and (action is not Action.HOLD or (position and current_position)):
            sizing = self.sizer.calculate_optimal_leverage(
                indicators=context.indicators,
                account_balance=portfolio_value,
                current_position=context.current_position,
                risk_budget=risk_budget,
                regime=context.regime,
                direction=action.direction,
                confidence=confidence,
                price=current_price,
                stop_distance=None if action is Action.HOLD else distance,
                risk_info=context.risk_info,
                tiers=tiers,
                fee_rate=fee_rate,
                slippage=slippage,
                funding_rate=funding_rate,
            )
        percent, leverage = 0.0, 1.0
        if action is not Action.HOLD:
            percent, leverage = self._size(sizing, confidence, ballot.size_factor)
            if not percent > 0.0:
                action, percent, leverage = Action.HOLD, 0.0, 1.0
                obstacle = "size 0" if sizing is None else f"size 0, {sizing.reasoning}"
        sign = action.sign
        target = current_price + sign * self.settings.target_atr * distance / self.settings.stop_atr
        return Decision(
            symbol=symbol,
            at=at,
            action=action,
            confidence=confidence,
            score=score,
            position_size_pct=percent,
            leverage=leverage,
            stop_loss=current_price - sign * distance if sign else None,
            take_profit=target if sign and target > 0.0 else None,
            reasoning=_reasoning(action, ballot, score, obstacle, position),
            votes=ballot.votes,
            breakdown=ballot.contributions,
            vetoed_by=ballot.vetoed_by,
            warnings=ballot.warnings if sizing is None else (*ballot.warnings, *sizing.warnings),
            sizing=sizing,
        )

    def quiet_bars(
        self, features: MarketFeatures, regimes: Regimes, *, symbol: str | None = None
    ) -> NDArray[np.bool_] | None:
        """Bars at which the market's votes alone end in HOLD, whatever the account, computed at once.

        A strategy need not ask on them (1e-9 within the threshold, and where the regime changes, it is asked).

        Parameters
        ----------
        features, regimes
            Of all bars of a market.
        symbol
            Its name, for sources that know its bars (``pulls``).

        Returns
        -------
        (n,) bool or None
            None when a source is connected that must be asked bar by bar.
        """
        asked = asked_sources(self.sources, self.settings)
        if asked.keys() - {"technical", "evolved", "online"}:
            return None
        outlook = self.outlook(features, regimes, symbol=symbol)
        return None if outlook is None else quiet_bars_of(outlook, self.settings.hold_threshold)

    def outlook(self, features: MarketFeatures, regimes: Regimes, *, symbol: str | None = None) -> Outlook | None:
        """What technical and evolved source say on every bar; None where a source cannot tell for all bars at once."""
        return outlook_of(self.sources, self.settings, features, regimes, symbol)

    async def run_optimization(
        self,
        *,
        symbol: str,
        backtest_fn: Callable[..., Any],
        regime: Regime | str | None = None,
        n_trials: int = 50,
    ) -> tuple[dict[str, Any], float]:
        """Best parameters by a backtest function, and their score (see the parameter optimizer).

        Raises
        ------
        SettingsError
            If no optimizer is connected or an argument is wrong.
        """
        if self.optimizer is None:
            raise SettingsError("run_optimization", ["no optimizer is connected"])
        config = OptimizationConfig(symbol=symbol, regime=regime, n_trials=n_trials)
        best_params, score = await self.optimizer.optimize(config=config, backtest_fn=backtest_fn)
        return dict(best_params), float(score)

    async def run_evolution(self, *, fitness_fn: Callable[..., Any], n_generations: int = 20) -> StrategyChromosome:
        """Best strategy by a fitness function (see the strategy evolver).

        Raises
        ------
        SettingsError
            If no evolver is connected or an argument is wrong.
        """
        if self.evolver is None:
            raise SettingsError("run_evolution", ["no evolver is connected"])
        return await self.evolver.run_evolution(n_generations=n_generations, fitness_fn=fitness_fn)

    async def get_decision(
        self,
        *,
        symbol: str,
        indicators: Mapping[str, float],
        current_price: float,
        portfolio_value: float,
        regime: Regime | str | None = None,
        position: float = 0.0,
        base_signal: Action | Direction | str | None = None,
        base_confidence: float | None = None,
        at: dt.datetime | None = None,
        current_position: Mapping[str, float] | None = None,
        risk_info: Mapping[str, float] | None = None,
    ) -> Decision:
        """:meth:`decide`, awaitable; it never gives up the loop."""
        return self.decide(
            symbol=symbol,
            indicators=indicators,
            current_price=current_price,
            portfolio_value=portfolio_value,
            regime=regime,
            position=position,
            base_signal=base_signal,
            base_confidence=base_confidence,
            at=at,
            current_position=current_position,
            risk_info=risk_info,
        )

    def learn(self, trade: TradeClosed) -> None:
        """Hand a closed trade to every listener and to the journal.

        One that raises does not keep the trade from the others: it is counted in :attr:`failures` and logged; with
        ``strict=True`` the exception is raised after all have been served.
        """
        errors: list[Exception] = []
        receivers = [(type(listener).__name__, listener.on_trade_complete) for listener in self.listeners]
        for name, receive in (*receivers, ("journal", self.journal.record)):
            try:
                receive(trade)
            except Exception as error:
                errors.append(error)
                self._count(name, error)
        if errors and self.settings.strict:
            raise errors[0]

    async def on_trade_complete(
        self,
        *,
        symbol: str,
        entry_price: float,
        exit_price: float,
        pnl_pct: float,
        indicators_at_entry: Mapping[str, float],
        regime: Regime | str | None,
        hold_duration_mins: float,
        direction: Direction | str | None = None,
        strategy_id: str = "orchestrator",
        leverage: float = 1.0,
        pnl: float = 0.0,
        size: float = 0.0,
        commission: float = 0.0,
        funding: float = 0.0,
        hold_bars: int = 0,
        opened_at: dt.datetime | None = None,
        closed_at: dt.datetime | None = None,
        liquidated: bool = False,
    ) -> TradeClosed:
        """:meth:`learn` from the facts of a closed trade, awaitable.

        Parameters
        ----------
        pnl_pct
            Net return on the margin posted, percent points.
        direction
            LONG or SHORT; None tells it from prices and profit
            (:func:`~ai_backtrader.orchestrator.direction_of`).
        symbol, entry_price, exit_price, indicators_at_entry, regime, hold_duration_mins, strategy_id, leverage, pnl, \
size, commission, funding, hold_bars, opened_at, closed_at, liquidated
            As in :class:`~ai_backtrader.events.TradeClosed`.

        Returns
        -------
        TradeClosed
            The trade as it was learnt.
        """
        if direction is None:
            side = direction_of(entry_price=entry_price, exit_price=exit_price, pnl_pct=pnl_pct)
        else:
            side = direction if isinstance(direction, Direction) else Direction.parse(direction)
        trade = TradeClosed(
            symbol=symbol,
            strategy_id=strategy_id,
            direction=side,
            entry_price=entry_price,
            exit_price=exit_price,
            pnl_pct=pnl_pct,
            pnl=pnl,
            size=size,
            leverage=leverage,
            commission=commission,
            funding=funding,
            hold_bars=hold_bars,
            hold_duration_mins=hold_duration_mins,
            opened_at=opened_at,
            closed_at=closed_at,
            regime=Regime.parse(regime),
            indicators_at_entry=indicators_at_entry,
            liquidated=liquidated,
        )
        self.learn(trade)
        return trade

    def _base_vote(self, signal: Action | Direction | str | None, confidence: float | None) -> Vote | None:
        if signal is None:
            if confidence is not None:
                raise SettingsError("decide", ["base_confidence needs a base_signal, got none"])
            return None
        action = signal if isinstance(signal, Action) else Action.parse(signal)
        sure = self.settings.base_confidence if confidence is None else float(confidence)
        return Vote("technical", action, sure, "base signal of the caller")

    def _action(self, ballot: Ballot, score: float) -> tuple[Action, str]:
        threshold = self.settings.hold_threshold
        wish = wish_of(score, threshold)
        if ballot.vetoed_by is not None:
            return Action.HOLD, f"vetoed by {ballot.vetoed_by}"
        if wish is not Action.HOLD:
            return wish, ""
        if not ballot.contributions:
            return wish, "every source abstained"
        return wish, f"score {score:+.2f} is within the hold threshold of {threshold:.2f}"

    def _size(self, sizing: LeverageDecision | None, confidence: float, factor: float) -> tuple[float, float]:
        if sizing is None:
            return 100.0 * self.settings.fallback_margin_fraction * confidence * factor, 1.0
        return 100.0 * sizing.position_size_pct * factor, sizing.recommended_leverage

    def _note_regime(self, context: Context) -> None:
        before, after = self._regimes.get(context.symbol), context.regime
        if after is None or after is before:
            return
        self._regimes[context.symbol] = after
        event = RegimeChanged(
            symbol=context.symbol,
            at=context.at,
            before=before,
            after=after,
            high_volatility=bool(context.high_volatility),
        )
        try:
            self.journal.record(event)
        except Exception as error:
            self._report("journal", error)

    def _count(self, name: str, error: Exception) -> None:
        self.failures[name] = self.failures.get(name, 0) + 1
        # The first failure is told in full; a source that fails on every bar must not flood the log.
        level = logging.WARNING if self.failures[name] == 1 else logging.DEBUG
        _log.log(level, "%s failed (%d times): %s: %s", name, self.failures[name], type(error).__name__, error)

    def _report(self, name: str, error: Exception) -> None:
        self._count(name, error)
        if self.settings.strict:
            raise error


def _reasoning(action: Action, ballot: Ballot, score: float, obstacle: str, position: float) -> str:
    parts = [describe(ballot.votes, ballot.contributions)] if ballot.contributions else []
    if obstacle:
        parts.append(obstacle)
    elif position:
        side = "long" if position > 0.0 else "short"
        parts.append(f"{'keeps' if position * action.sign > 0.0 else 'reverses'} the {side} position")
    return f"{action.value} at {score:+.2f}: " + "; ".join(parts)
