"""AIStrategy: the orchestrator's decisions, traded in Backtrader."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import backtrader as bt

from ai_backtrader.brokers import EquityPeak, LeverageBroker, PaperTrade, TradeRecorder
from ai_backtrader.datafeeds import FeatureRows, bars_of_feed
from ai_backtrader.engine import Engine, EngineSettings, QuietBars, Recollection
from ai_backtrader.errors import SettingsError
from ai_backtrader.events import TradeClosed
from ai_backtrader.leverage import KellyEstimate
from ai_backtrader.market import MarketData, MarketFeatures, Regimes
from ai_backtrader.orchestrator import Decision
from ai_backtrader.rules import BAR_COLUMNS
from ai_backtrader.strategies.adaptation import Adaptation, AdaptationRecord, Adapter
from ai_backtrader.strategies.decision_log import DecisionLog
from ai_backtrader.strategies.rl_actions import AccountFeatures, position_named, risk_named
from ai_backtrader.values import Action

__all__ = ["AIStrategy"]


class _Standing(NamedTuple):
    """The account at a quiet bar, and what the systems knew: the bar's decision depends on nothing else."""

    data: Any
    rows: FeatureRows
    table: tuple[MarketFeatures, Regimes]
    known: Recollection
    kelly: KellyEstimate | None = None
    trades: int = 0
    size: float = 0.0
    equity: float = math.nan
    peak: float = 0.0
    start: float = math.nan
    account: tuple[float, ...] = ()


@dataclasses.dataclass
class _Book:
    """What the strategy keeps for one data.

    ``untold`` is the first quiet bar that the advisor has not been told of, ``silent`` whether it was told of none yet.
    """

    features: FeatureRows
    account: AccountFeatures
    ready_from: int
    seen: int = 0
    bracket: tuple[Any, ...] = ()
    paper: PaperTrade | None = None
    quiet: QuietBars | None = None
    known: tuple[object, ...] = ()
    learnt: int = 0
    followed: int = 0
    watched: bool = False
    untold: int | None = None
    silent: bool = True
    standing: Any = None
    has_agent: bool = False


class AIStrategy(bt.Strategy):
    """Trades what the orchestrator decides: long and short, with a stop and a target at every entry.

    At each bar's close the features go to the orchestrator; its decision is kept in ``decisions``. A BUY or SELL while
    flat sends a market order with its bracket, filled at the next open; one against the open position closes it and
    turns round; the same side again keeps it. Near liquidation the position is reduced as the leverage manager asks.
    Each closed trade is handed back, with the features at its entry, so that the engine learns; trades that sizing
    withheld are followed on paper, so that an edge which comes back is seen. Every data of the Cerebro run is traded,
    each by itself. With ``adaptation`` strategies are searched anew on the bars so far, at drift or on schedule, after
    the bar's decision: what passes its sealed test votes from the next decision on.

    On a ``LeverageBroker`` the leverage manager chooses the leverage of every entry. On another broker it is what the
    commission scheme says: 1, unless set.

    Params
    ------
    engine : Engine, function or None
        The systems to trade with, or a function that makes them; None makes a fresh engine for each run, so that two
        runs share nothing.
    settings : EngineSettings or None
        Settings of the fresh engine; the params below override it where they are given.
    seed : int or None
        Seed of the fresh engine.
    risk_budget : float or None
        Share of the account that may be lost at the stop.
    max_leverage : float or None
        Never above this multiple.
    allow_short : bool, default True
        False: a SELL only closes.
    slippage : float, default 0.0
        Slippage per fill to reckon with when sizing, as a fraction of the price.
    strategy_id : str, default "ai"
        Name under which closed trades are recorded.
    adaptation : Adaptation or None
        When to search anew, for what, and how long; None never does.

    Attributes
    ----------
    decisions : sequence of Decision
        One a bar and data, from the first bar at which the features are ready.
    closed_trades : list of TradeClosed
        One a round trip that was really traded.
    paper_trades : list of TradeClosed
        One a round trip that sizing withheld.
    adaptations : list of AdaptationRecord
        One a search.
    """

    params = (
        ("engine", None),
        ("settings", None),
        ("seed", None),
        ("risk_budget", None),
        ("max_leverage", None),
        ("allow_short", True),
        ("slippage", 0.0),
        ("strategy_id", "ai"),
        ("adaptation", None),
    )

    def __init__(self) -> None:
        given = self.p.engine() if callable(self.p.engine) else self.p.engine
        self.engine: Engine = Engine(self._settings()) if given is None else given
        self.decisions = DecisionLog(self._look_up)
        self.closed_trades: list[TradeClosed] = []
        self.paper_trades: list[TradeClosed] = []
        self._books: dict[Any, _Book] = {
            data: _Book(rows, AccountFeatures(self, data), rows.ready_from)
            for data in self.datas
            for rows in [FeatureRows(data, preloaded=self.env._dopreload)]
        }
        self._recorder = TradeRecorder(self.broker, self.p.strategy_id)
        self._levered = isinstance(self.broker, LeverageBroker)
        self._peak = EquityPeak(self.broker)
        self._peak.update(self.broker.getvalue())
        self._adapter = None if self.p.adaptation is None else Adapter(self.p.adaptation, self.engine)
        self.adaptations: list[AdaptationRecord] = [] if self._adapter is None else self._adapter.records
        self._check_adaptation()

    def _settings(self) -> EngineSettings:
        settings = EngineSettings() if self.p.settings is None else self.p.settings
        given = {name: getattr(self.p, name) for name in ("risk_budget", "max_leverage")}
        limits = {name: value for name, value in given.items() if value is not None}
        if limits:
            settings = dataclasses.replace(settings, leverage=dataclasses.replace(settings.leverage, **limits))
        return settings if self.p.seed is None else dataclasses.replace(settings, seed=self.p.seed)

    def next(self) -> None:
        """Decide on each data that has a new bar, then search anew where that is asked for."""
        equity = self.broker.getvalue()
        self._peak.update(equity)
        for data, book in self._books.items():
            bars = len(data)
            if bars == book.seen:
                continue
            book.seen = bars
            self._take_bar(data, book, bars, equity)
            if bars <= book.ready_from:
                continue
            if book.quiet is not None and self._is_quiet(data, book, book.quiet, bars - 1, equity):
                self.decisions.defer(book.standing, bars - 1)
                if book.untold is None:
                    book.untold = bars - 1
            else:
                self._tell_advisor(data, book, bars - 1)
                self._learn_bars(data, book, bars)
                decision = self._decide(data, book)
                self.decisions.append(decision)
                self._act(data, book, decision)
            if self._adapter is not None and self._adapter.looks(bars):
                self._adapt(self._adapter, data, book, bars)

    def notify_order(self, order: Any) -> None:
        """Follow the fills."""
        self._recorder.on_order(order)
        book = self._books.get(order.data)
        if book is not None:
            book.account.on_order(order)

    def notify_trade(self, trade: Any) -> None:
        """Hand a closed trade back to the engine."""
        closed = self._recorder.on_trade(trade)
        if closed is not None:
            self.closed_trades.append(closed)
            self._learn_bars(trade.data, self._books[trade.data], len(trade.data) - 1)
            self.engine.orchestrator.learn(closed)

    def stop(self) -> None:
        """Hand over the bars since the last decision, and see that what was recorded is kept."""
        for data, book in self._books.items():
            self._learn_bars(data, book, len(data))
            self._tell_advisor(data, book, len(data), last=True)
        self.engine.flush()

    def _check_adaptation(self) -> None:
        given: object = self.p.adaptation
        if given is None:
            return
        if not isinstance(given, Adaptation):
            raise SettingsError("AIStrategy", [f"adaptation must be Adaptation or None, got {given!r}"])
        for data in self.datas:
            if self.env._exactbars == 1 and getattr(data, "market_data", None) is None:
                name = data._name or type(data).__name__
                raise SettingsError(
                    "AIStrategy", [f"adaptation needs the bars of {name}: run Cerebro without exactbars=1"]
                )

    # ------------------------------------------------------------------------------------------------ deciding

    def _take_bar(self, data: Any, book: _Book, bars: int, equity: float) -> None:
        """Come up to a new bar: features, quiet bars, account, trades on paper."""
        features, engine = book.features, self.engine
        if features.table is None:
            features.advance()
        if features.table is None:
            self._follow(data, book, bars)
        knowledge = engine.knowledge
        if knowledge != book.known:
            book.known, book.has_agent = knowledge, engine.has_agent
            if features.table is not None:
                self._watch(data, book)
                book.quiet = engine.quiet_bars(
                    *features.table, symbol=data._name or "data", bar_seconds=features.bar_seconds
                )
                book.standing = _Standing(data, features, features.table, engine.recollection())
        if features.table is None:
            self._learn_bars(data, book, bars - 1)
        if book.has_agent:
            book.account.update(equity)
        if book.paper is not None:
            self._follow_paper(data, book, book.paper)
        if features.table is None:
            self._learn_bars(data, book, bars)  # a feed that is not preloaded may keep its last bar only

    def _is_quiet(self, data: Any, book: _Book, quiet: QuietBars, bar: int, equity: float) -> bool:
        """Whether nobody need be asked at a bar; the book's standing is then that of the account at it."""
        size = self.broker.getposition(data).size
        if size and self._position_at_risk(data) is not None:
            return False
        if not quiet.needs_account:
            return quiet.holds(bar)
        standing, manager = book.standing, self.engine.leverage_manager
        trades = book.account.trades
        if (
            size or standing.size or standing.equity != equity or standing.trades != trades
            or standing.peak != self._peak.value or standing.start != self._peak.start
            or standing.kelly is not manager.kelly
        ):  # fmt: skip
            book.standing = standing = standing._replace(
                known=self.engine.recollection(), kelly=manager.kelly, trades=trades, size=size, equity=equity,
                peak=self._peak.value, start=self._peak.start, account=book.account.values(equity),
            )  # fmt: skip
        return quiet.holds(bar, (size > 0.0) - (size < 0.0), standing.account)

    def _adapt(self, adapter: Adapter, data: Any, book: _Book, bars: int) -> None:
        """Have searches made that are asked for or due, on the bars so far."""
        self._learn_bars(data, book, bars)

        def past() -> MarketData:
            return bars_of_feed(data, book.features).head(bars)

        adapter.review(
            data._name or "data", bars, book.features.regime, past,
            commission=self._commission_rate(data, data.close[0]), slippage=self.p.slippage,
        )  # fmt: skip

    def _decide(self, data: Any, book: _Book) -> Decision:
        self._watch(data, book)
        equity, features = self.broker.getvalue(), book.features
        size = self.broker.getposition(data).size
        at_risk: dict[str, float] | None
        if book.has_agent:
            account = book.account.values(equity)
            at_risk, risk = _held(account), risk_named(account)
        else:
            at_risk, risk = self._position_at_risk(data), {}
        return self.engine.orchestrator.decide(
            indicators=features.indicators(),
            regime=features.regime,
            high_volatility=features.high_volatility,
            at=data.datetime.datetime(0),
            current_position=at_risk,
            risk_info=self._risk(equity, self._peak.value, self._peak.start, features, features.bars_per_year) | risk,
            **self._facts(data, size, equity, data.close[0]),
        )

    def _look_up(self, standing: _Standing, bar: int) -> Decision:
        """Decision of a quiet bar, from what was known at it."""
        data, rows, account = standing.data, standing.rows, standing.account
        features, regimes = standing.table
        equity = standing.equity if account else 0.0
        agents_see: dict[str, Any] = {}
        if account:
            pace = rows.bars_per_year_at(bar)
            risk = self._risk(equity, standing.peak, standing.start, rows, pace) | risk_named(account)
            agents_see = {"current_position": _held(account), "risk_info": risk}
        return standing.known.decide(
            indicators=features.indicators(bar),
            regime=regimes.label(bar),
            high_volatility=bool(regimes.high_volatility[bar]),
            at=bt.num2date(data.lines.datetime.array[bar]),
            **agents_see,
            **self._facts(data, standing.size, equity, float(features.close[bar])),
        )

    def _facts(self, data: Any, size: float, equity: float, price: float) -> dict[str, Any]:
        """What a decision is told of instrument and account."""
        return {
            "symbol": data._name or "data",
            "current_price": price,
            "portfolio_value": equity,
            "position": size,
            "strategy_id": self.p.strategy_id,
            "tiers": self.broker.tiers_for(data) if self._levered else None,
            "fee_rate": self._commission_rate(data, price),
            "slippage": self.p.slippage,
        }

    def _position_at_risk(self, data: Any) -> dict[str, float] | None:
        """Leverage and margin ratio of a position whose margin the manager minds; None otherwise."""
        if not self._levered or not self.getposition(data).size:
            return None
        ratio = self.broker.margin_ratio(data)
        if ratio < self.engine.settings.leverage.margin_warn:
            return None
        return {"leverage": self.broker.get_position_leverage(data), "margin_ratio": ratio}

    def _risk(
        self, equity: float, peak: float, start: float, rows: FeatureRows, bars_per_year: float
    ) -> dict[str, float]:
        return {
            "drawdown": max(0.0, 1.0 - equity / peak) if peak > 0.0 else 1.0,
            "bars_per_year": bars_per_year,
            "bar_seconds": rows.bar_seconds,
            "portfolio_pnl_pct": 100.0 * (equity / start - 1.0),
        }

    def _tell_advisor(self, data: Any, book: _Book, end: int, *, last: bool = False) -> None:
        """Tell the advisor of the quiet bars before bar ``end``."""
        if book.untold is None or book.features.table is None:
            return
        times, bars = data.lines.datetime.array, slice(book.untold, end)
        self.engine.pass_bars(
            data._name or "data", *book.features.table, bars,
            first_at=bt.num2date(times[bars.start]) if book.silent else None,
            last_at=bt.num2date(times[end - 1]) if last else None,
        )  # fmt: skip
        book.untold, book.silent = None, False

    def _watch(self, data: Any, book: _Book) -> None:
        """Give the evolved strategies the bars of a preloaded feed, once there are any."""
        source, symbol = self.engine.evolved, data._name or "data"
        if book.features.table is not None and not source.idle and not (book.watched and source.watches(symbol)):
            source.watch(symbol, bars_of_feed(data, book.features))
            book.watched = True

    def _follow(self, data: Any, book: _Book, bars: int) -> None:
        """Give the evolved strategies the bars that have come: some may be found yet."""
        # The last one of a replay has grown since.
        for number in range(max(book.followed - 1, 0) if data.replaying else book.followed, bars):
            ago = number + 1 - bars
            bar = [getattr(data, name)[ago] for name in BAR_COLUMNS]
            self.engine.evolved.follow(data._name or "data", number, data.datetime.datetime(ago), bar)
        book.followed = bars

    def _learn_bars(self, data: Any, book: _Book, bars: int) -> None:
        """Hand the bars up to here to the online learner, at once: drift counts every bar, quiet ones too."""
        fresh = bars - book.learnt
        if fresh > 0:
            ago = bars - len(data)
            closes, volumes = data.close.get(ago, fresh), data.volume.get(ago, fresh)
            self.engine.online_learner.pass_bars(data._name or "data", close=closes, volume=volumes)
            book.learnt = bars

    def _commission_rate(self, data: Any, price: float) -> float:
        return float(self.broker.getcommissioninfo(data).getcommission(1.0, price)) / price

    # ------------------------------------------------------------------------------------------------ acting

    def _act(self, data: Any, book: _Book, decision: Decision) -> None:
        if book.bracket and book.bracket[0].alive():
            return  # a slow feed: the entry waits for its next bar
        held, wish = self.getposition(data).size, decision.action.sign
        if held and wish * held >= 0.0:
            self._protect(data, book, held, decision)
        elif held or wish:
            if held:
                self._leave(data, book)
            if wish > 0 or (wish < 0 and self.p.allow_short):
                self._enter(data, book, decision)
            if book.paper is not None:
                book.paper.leave()
        if not held and not wish:
            self._withhold(data, book, decision)

    def _enter(self, data: Any, book: _Book, decision: Decision) -> None:
        leverage = decision.leverage
        if not self._levered:
            leverage = min(leverage, float(self.broker.getcommissioninfo(data).get_leverage()))
        margin = self.broker.getvalue() * decision.position_size_pct / 100.0
        self._recorder.note(data, book.features.indicators(), book.features.regime)
        send = self.buy_bracket if decision.action is Action.BUY else self.sell_bracket
        orders = send(
            data=data,
            size=margin * leverage / data.close[0],
            exectype=bt.Order.Market,
            leverage=leverage,
            stopprice=decision.stop_loss,
            limitprice=decision.take_profit,
            limitexec=None if decision.take_profit is None else bt.Order.Limit,
        )
        book.bracket = tuple(order for order in orders if order is not None)

    def _leave(self, data: Any, book: _Book) -> None:
        # Children first: Backtrader tries an uncancelled stop before the close, and both would fill.
        for order in book.bracket[1:]:
            self.cancel(order)
        book.bracket = ()
        self.close(data)

    def _protect(self, data: Any, book: _Book, held: float, decision: Decision) -> None:
        share = 0.0 if decision.sizing is None else decision.sizing.risk_metrics["reduce_fraction"]
        if share >= 1.0:
            self._leave(data, book)
        elif share > 0.0:
            (self.sell if held > 0 else self.buy)(data=data, size=abs(held) * share)

    # ------------------------------------------------------------------------------------------------ on paper

    def _withhold(self, data: Any, book: _Book, decision: Decision) -> None:
        """Follow on paper what sizing withheld for want of an edge."""
        settings = self.engine.orchestrator.settings
        sizing, wish = decision.sizing, Action.from_sign(decision.score)
        ill = decision.vetoed_by == "online"  # health: only trades on paper can show that the edge is back
        if decision.confidence < settings.hold_threshold and not ill:
            return
        if not ill and (decision.vetoed_by or sizing is None):
            return
        if book.paper is not None:
            if book.paper.direction is not wish.direction:
                book.paper.leave()
            return
        leverage = 1.0 if sizing is None or ill else sizing.steps[-1].before
        features, price = book.features.indicators(), data.close[0]
        target = price + wish.sign * settings.target_atr * features["atr"]
        book.paper = PaperTrade(
            symbol=decision.symbol,
            strategy_id=self.p.strategy_id,
            direction=wish.direction,
            leverage=min(max(leverage, 1.0), self.engine.settings.leverage.max_leverage),
            stop_loss=price - wish.sign * settings.stop_atr * features["atr"],
            take_profit=target if target > 0.0 else None,
            cost_rate=self._commission_rate(data, price) + self.p.slippage,
            indicators=features,
            regime=book.features.regime,
            seen=len(data),
        )

    def _follow_paper(self, data: Any, book: _Book, paper: PaperTrade) -> None:
        closed = paper.on_bar(data)
        if closed is not None:
            self._learn_bars(data, book, len(data) - 1)
            book.paper = None
            self.paper_trades.append(closed)
            self.engine.orchestrator.learn(closed)


def _held(account: tuple[float, ...]) -> dict[str, float]:
    """The open position as the agents see it, and as the leverage manager does."""
    told = position_named(account)
    return told | {"leverage": told["current_leverage"]}
