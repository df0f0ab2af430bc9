"""The online learner: what the latest trades and bars say about trading now."""

from __future__ import annotations

import datetime as dt
from array import array
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.events import ForgetfulJournal, Journal, StrategyScored, TradeClosed
from ai_backtrader.online_learner.detectors import Channel
from ai_backtrader.online_learner.drift import DriftEvent, DriftMonitor
from ai_backtrader.online_learner.health import HealthMonitor, HealthState, StrategyHealth
from ai_backtrader.online_learner.opinion import TradeOpinion, form_opinion, refusal_of
from ai_backtrader.online_learner.patterns import PatternMemory
from ai_backtrader.online_learner.regimes import RegimePerformance, RegimeTable
from ai_backtrader.online_learner.reoptimization import ReoptimizationRequest, RequestQueue
from ai_backtrader.online_learner.settings import OnlineLearnerSettings
from ai_backtrader.online_learner.trades import check_mapping, checked_trade
from ai_backtrader.values import Direction, Regime

__all__ = ["OnlineLearner"]

_NOTHING: Mapping[str, float] = MappingProxyType({})
_STATE_VERSION = "online-learner/1"
_MOST_WAITING = 4_096  # bars of pass_bars, before they are looked at


class _Strategy:
    # What is known of one strategy.

    def __init__(self, settings: OnlineLearnerSettings, seed: int) -> None:
        self.symbol: str | None = None
        self.trades = 0
        self.health = HealthMonitor(settings.health, seed=seed)
        self.win_rate = Channel(settings.drift.win_rate_detectors)
        self.regimes = RegimeTable()
        self.patterns = PatternMemory(settings.patterns)

    def state_dict(self) -> dict[str, Any]:
        return {
            "symbol": self.symbol,
            "trades": self.trades,
            "health": self.health.state_dict(),
            "win_rate": self.win_rate.state_dict(),
            "regimes": self.regimes.state_dict(),
            "patterns": self.patterns.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.symbol, self.trades = state["symbol"], int(state["trades"])
        self.health.load_state(state["health"])
        self.win_rate.load_state(state["win_rate"])
        self.regimes.load_state(state["regimes"])
        self.patterns.load_state(state["patterns"])


class OnlineLearner:
    """Adapts to how trading goes: strategy health, drift, results by regime and in like conditions.

    It is told of every closed trade (:meth:`on_trade_complete`) and of every closed bar (:meth:`on_bar`), and is asked
    before a trade (:meth:`should_trade`), which changes nothing. What it says at bar t depends on what it was told up
    to bar t alone. Drift becomes a request for re-optimisation in a queue (:meth:`take_requests`); nothing is searched
    here.

    Parameters
    ----------
    settings
        Of its parts; None takes the defaults.
    seed
        Of the simulation of the calibrated health rule's threshold, where its settings are not the defaults.
    journal
        Where changes of health go, as ``StrategyScored`` of sample ``"health"``, and trades that were told by keywords;
        None forgets them.

    Examples
    --------
    >>> learner = OnlineLearner()
    >>> for _ in range(5):
    ...     learner.on_trade_complete(
    ...         symbol="BTC/USDT", strategy_id="ema_cross", entry_price=95000, exit_price=94000, pnl_pct=-1.05,
    ...         regime="bull", indicators_at_entry={"rsi": 72.0}, hold_duration_mins=120,
    ...     )
    >>> should_trade, adjustment, reason = learner.should_trade(
    ...     strategy_id="ema_cross", regime="bull", indicators={"rsi": 70.0}
    ... )
    >>> should_trade, adjustment
    (False, 0.0)
    >>> print(reason)
    ema_cross is DEGRADED (5 losses in a row): followed on paper until 20 trades there show the edge again
    """

    def __init__(
        self, settings: OnlineLearnerSettings | None = None, *, seed: int = 0, journal: Journal | None = None
    ) -> None:
        self.settings = OnlineLearnerSettings() if settings is None else settings
        faults = Faults("OnlineLearner")
        given: object = self.settings
        if not isinstance(given, OnlineLearnerSettings):
            faults.add(f"settings must be OnlineLearnerSettings, got {given!r}")
        faults.whole("seed", seed, low=0)
        faults.raise_if_any()
        self.seed = seed
        self.journal: Journal = ForgetfulJournal() if journal is None else journal
        self._strategies: dict[str, _Strategy] = {}
        self._markets: dict[str, DriftMonitor] = {}
        self._requests = RequestQueue(self.settings.drift)
        self._unscanned: dict[str, tuple[array[float], array[float]]] = {}

    # ---------------------------------------------------------------------------------------------------- being told

    def on_trade_complete(
        self,
        trade: TradeClosed | None = None,
        /,
        *,
        symbol: str | None = None,
        strategy_id: str | None = None,
        entry_price: float | None = None,
        exit_price: float | None = None,
        pnl_pct: float | None = None,
        regime: Regime | str | None = None,
        indicators_at_entry: Mapping[str, float] = _NOTHING,
        hold_duration_mins: float = 0.0,
        direction: Direction | str | None = None,
        closed_at: dt.datetime | None = None,
        paper: bool = False,
    ) -> None:
        """Learn from a closed trade, given as an event or by its facts (one of the two).

        A trade on paper (``paper=True``) counts for a degraded strategy's recovery and as an outcome pattern; it
        enters neither the win rate that is watched for drift nor the results by regime.

        Parameters
        ----------
        trade
            The event; whoever sends it has it recorded. A trade given by its facts is recorded here.
        symbol, strategy_id, entry_price, exit_price, pnl_pct, regime, indicators_at_entry, hold_duration_mins, \
direction, closed_at, paper
            As in :class:`~ai_backtrader.events.TradeClosed`. ``direction`` None is told from prices and profit.

        Raises
        ------
        SettingsError
            If a fact is missing, not finite, out of range or of the wrong type; nothing has been learnt then.
        """
        self._scan_all()
        told = trade is None
        trade = checked_trade(
            trade,
            symbol=symbol,
            strategy_id=strategy_id,
            entry_price=entry_price,
            exit_price=exit_price,
            pnl_pct=pnl_pct,
            regime=regime,
            indicators_at_entry=indicators_at_entry,
            hold_duration_mins=hold_duration_mins,
            direction=direction,
            closed_at=closed_at,
            paper=paper,
        )
        strategy = self._strategy(trade.strategy_id)
        strategy.symbol = trade.symbol
        strategy.patterns.add(trade.indicators_at_entry, pnl_pct=trade.pnl_pct, side=trade.direction.sign)
        if not trade.paper:
            strategy.trades += 1
            strategy.regimes.add(trade.regime, trade.pnl_pct)
            detectors = strategy.win_rate.update(1.0 if trade.pnl_pct > 0.0 else 0.0)
            if detectors:
                market = self._markets.get(trade.symbol)
                event = DriftEvent(
                    symbol=trade.symbol,
                    series="win_rate",
                    detectors=detectors,
                    bar=0 if market is None else max(market.bars - 1, 0),
                    at=trade.closed_at,
                    strategy_id=trade.strategy_id,
                )
                self._requests.ask((event,), now=strategy.trades)
        changed = strategy.health.record(trade.pnl_pct, paper=trade.paper)
        if told:
            self.journal.record(trade)
        if changed:
            self._journal_health(trade.strategy_id, strategy, trade.closed_at)

    def on_bar(
        self, symbol: str, *, close: float, volume: float | None = None, at: dt.datetime | None = None
    ) -> tuple[DriftEvent, ...]:
        """Take a closed bar in, once; the drift alarms that it raises.

        Parameters
        ----------
        symbol
            Of the market.
        close, volume
            Quote currency, units. What is no positive number is passed over.
        at
            UTC time of the bar.
        """
        self._scan_all()
        events = self._market(symbol).update(close, volume, at=at)
        self._bars_passed(symbol, 1, at)
        if events:
            self._requests.ask(events, now=self._markets[symbol].bars)
        return events

    def on_bars(self, symbol: str, *, close: ArrayLike, volume: ArrayLike | None = None) -> tuple[DriftEvent, ...]:
        """Take many closed bars in at once, without trades between them: as :meth:`on_bar` for each, but faster.

        Parameters
        ----------
        close, volume
            (n,) of the bars after those seen so far.
        """
        self._scan_all()
        market = self._market(symbol)
        before = market.bars
        events = self._scan(symbol, close, volume)
        self._bars_passed(symbol, market.bars - before, None)
        return events

    def pass_bars(self, symbol: str, *, close: Sequence[float], volume: Sequence[float]) -> None:
        """:meth:`on_bars`, for who does not ask about the drift now: it is looked for when somebody wants to know.

        Health counts the bars at once. Nothing that the learner says or keeps differs from :meth:`on_bars`.
        """
        waiting = self._unscanned.get(symbol)
        if waiting is None:
            self._market(symbol)
            waiting = self._unscanned[symbol] = array("d"), array("d")
        waiting[0].extend(close)
        waiting[1].extend(volume)
        if len(waiting[0]) >= _MOST_WAITING:
            self._scan_all()
        self._bars_passed(symbol, len(close), None)

    def _scan_all(self) -> None:
        waiting_of, self._unscanned = self._unscanned, {}
        for symbol, waiting in waiting_of.items():
            self._scan(symbol, np.frombuffer(waiting[0]), np.frombuffer(waiting[1]))

    def _scan(self, symbol: str, close: ArrayLike, volume: ArrayLike | None) -> tuple[DriftEvent, ...]:
        events = self._market(symbol).scan(close, volume)
        for bar in sorted({event.bar for event in events}):
            self._requests.ask(tuple(event for event in events if event.bar == bar), now=bar + 1)
        return events

    def learn_baseline(self, strategy_id: str, pnl_pcts: Sequence[float]) -> None:
        """Give the calibrated health rule a strategy's earlier results (percent points, oldest first)."""
        self._strategy(strategy_id).health.learn_baseline(pnl_pcts)

    # ---------------------------------------------------------------------------------------------------- being asked

    def should_trade(
        self,
        *,
        strategy_id: str,
        regime: Regime | str | None = None,
        indicators: Mapping[str, float] = _NOTHING,
        direction: Direction | str | None = None,
    ) -> TradeOpinion:
        """Whether to trade now, with how much of the confidence, and why; changes nothing.

        Refused is a degraded strategy, and a trade whose like lost so often that chance does not explain it. Else the
        adjustment is the product of two ratios, of the strategy's (shrunk) win rate in this regime and in like
        conditions to its win rate at large, within the limits of the settings; on probation times its share. Where too
        few trades are known a factor is 1.

        Parameters
        ----------
        strategy_id
            Whose trade. One that was never heard of is healthy.
        regime
            Label now; None leaves its results out.
        indicators
            Raw features now, by name.
        direction
            Side of the trade; trades of the other side are then no like trades. None or FLAT compares with all.

        Returns
        -------
        TradeOpinion
            ``should_trade, adjustment, reason``.

        Raises
        ------
        SettingsError
            If a label is unknown or an indicator is no number.
        """
        regime = Regime.parse(regime)
        check_mapping("should_trade", "indicators", indicators)
        side = 0 if direction is None else Direction.parse(direction).sign
        strategy = self._strategies.get(strategy_id)
        if strategy is None:
            return TradeOpinion(True, 1.0, f"{strategy_id} has no trades yet")
        refusal = refusal_of(strategy_id, strategy.health)
        if refusal is not None:
            return refusal
        verdict = strategy.patterns.judge(indicators, side=side)
        return form_opinion(strategy_id, strategy.health, strategy.regimes, regime, verdict, self.settings)

    def health(self, strategy_id: str) -> StrategyHealth:
        """How a strategy has done lately; one that was never heard of is healthy."""
        strategy = self._strategies.get(strategy_id)
        return (HealthMonitor(self.settings.health, seed=self.seed) if strategy is None else strategy.health).health()

    def strategies(self) -> tuple[str, ...]:
        """Strategies heard of, in the order of their first trade."""
        return tuple(self._strategies)

    def regime_performance(self, strategy_id: str) -> dict[Regime | None, RegimePerformance]:
        """Results of a strategy by the regime at entry (None: not told), of the trades that were made."""
        strategy = self._strategies.get(strategy_id)
        return {} if strategy is None else strategy.regimes.performance()

    def requests(self) -> tuple[ReoptimizationRequest, ...]:
        """Requests for re-optimisation not yet taken, oldest first."""
        self._scan_all()
        return self._requests.pending()

    def take_requests(self) -> tuple[ReoptimizationRequest, ...]:
        """Requests for re-optimisation, oldest first; they are gone from the queue then."""
        self._scan_all()
        return self._requests.take()

    # ----------------------------------------------------------------------------------------------------- the state

    def state_dict(self) -> dict[str, Any]:
        """All that was learnt, as plain values that JSON holds; going on from it equals never having stopped."""
        self._scan_all()
        return {
            "version": _STATE_VERSION,
            "settings": repr(self.settings),
            "seed": self.seed,
            "strategies": {name: strategy.state_dict() for name, strategy in self._strategies.items()},
            "markets": {symbol: market.state_dict() for symbol, market in self._markets.items()},
            "requests": self._requests.state_dict(),
        }

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Any],
        settings: OnlineLearnerSettings | None = None,
        *,
        journal: Journal | None = None,
    ) -> OnlineLearner:
        """Learner that knows what :meth:`state_dict` wrote.

        Raises
        ------
        SettingsError
            If the state is of another version or of other settings, or is damaged.
        """
        subject = "OnlineLearner.from_state"
        check_mapping(subject, "state", state)
        wanted = OnlineLearnerSettings() if settings is None else settings
        faults = Faults(subject)
        faults.one_of("version", state.get("version"), (_STATE_VERSION,))
        if not faults.found and state.get("settings") != repr(wanted):
            faults.add(f"settings must be those that the state was kept of, {state.get('settings')}, got {wanted!r}")
        faults.raise_if_any()
        try:
            learner = cls(wanted, seed=state["seed"], journal=journal)
            for name, known in state["strategies"].items():
                learner._strategy(name).load_state(known)
            for symbol, known in state["markets"].items():
                learner._market(symbol).load_state(known)
            learner._requests.load_state(state["requests"])
        except (AttributeError, KeyError, TypeError) as error:
            raise SettingsError(subject, [f"the state is damaged: {error!r}"]) from error
        return learner

    # ------------------------------------------------------------------------------------------------------ inside

    def _strategy(self, strategy_id: str) -> _Strategy:
        strategy = self._strategies.get(strategy_id)
        if strategy is None:
            _check_name("strategy_id", strategy_id)
            strategy = self._strategies[strategy_id] = _Strategy(self.settings, self.seed)
        return strategy

    def _market(self, symbol: str) -> DriftMonitor:
        market = self._markets.get(symbol)
        if market is None:
            _check_name("symbol", symbol)
            market = self._markets[symbol] = DriftMonitor(symbol, self.settings.drift)
        return market

    def _bars_passed(self, symbol: str, bars: int, at: dt.datetime | None) -> None:
        for name, strategy in self._strategies.items():
            if strategy.symbol == symbol and strategy.health.state is HealthState.DEGRADED:
                for _ in range(bars):
                    if strategy.health.on_bar():
                        self._journal_health(name, strategy, at)

    def _journal_health(self, strategy_id: str, strategy: _Strategy, at: dt.datetime | None) -> None:
        health = strategy.health.health()
        self.journal.record(
            StrategyScored(
                symbol=strategy.symbol or "",
                strategy_id=strategy_id,
                at=at,
                sample="health",
                figures={
                    "state": float(list(HealthState).index(health.state)),
                    "size_factor": health.size_factor,
                    "n_trades": float(strategy.trades),
                },
            )
        )


def _check_name(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise SettingsError("OnlineLearner", [f"{name} must be a text that is not empty, got {value!r}"])
