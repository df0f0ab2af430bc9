"""Who trades: the optimised technical strategy by regime, buy and hold, and how all wait for the same bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import backtrader as bt
import numpy as np

from ai_backtrader.datafeeds import FeatureRows, bars_of_feed
from ai_backtrader.rules import SeriesBank, StrategyChromosome, section_signal
from ai_backtrader.values import Regime

__all__ = ["BuyAndHold", "RegimeRules", "from_bar"]

Rules = Mapping[Regime | None, StrategyChromosome]


class BuyAndHold(bt.Strategy):  # type: ignore[misc]  # Backtrader has no types
    """Buys at the first bar, at 1x, and keeps it: what everything else must beat. Capital that comes later is invested.

    Params
    ------
    share : float, default 0.99
        Of the account; what is left pays the commission and the gap to the next open.
    idle : float, default 0.05
        Share of the account in cash above which it buys more.
    """

    params = (("share", 0.99), ("idle", 0.05))

    def next(self) -> None:
        """Invest what lies idle."""
        value = self.broker.getvalue()
        if value > 0.0 and self.broker.get_cash() > self.p.idle * value:
            self.buy(size=self.p.share * value / self.data.close[0] - self.position.size)


class RegimeRules(bt.Strategy):  # type: ignore[misc]  # Backtrader has no types
    """Enters by the rules that were found for the regime of the bar; stop and target are those of the rules entered by.

    A bull market takes the rules found for bull markets (a strong one, too), and so on; a regime that has none takes
    those found on all bars. While a position is open, an entry to the other side closes it and turns round, where the
    rules of the current regime reverse.

    Params
    ------
    rules : mapping of Regime or None to StrategyChromosome
        None stands for all regimes.
    """

    params = (("rules", None),)

    def __init__(self) -> None:
        self._features = FeatureRows(self.data, preloaded=self.env._dopreload)
        self._bank: SeriesBank | None = None
        self._signals: dict[str, tuple[Any, Any]] = {}
        self._children: tuple[Any, ...] = ()

    def next(self) -> None:
        """Decide at the close of the bar."""
        self._features.advance()
        rules = self._rules_of(self._features.regime) if self._features.ready else None
        if rules is None:
            return
        sides, atr = self._signals_of(rules)
        bar = len(self.data) - 1
        side, held = int(sides[bar]), self.position.size
        if not side or held * side > 0.0 or (held and not rules.risk.reverse):
            return
        if held:
            for child in self._children:
                self.cancel(child)
            self.close()
        self._enter(side, rules, float(atr[bar]))

    def _rules_of(self, regime: Regime) -> StrategyChromosome | None:
        rules: Rules = self.p.rules
        plain = {1: Regime.BULL, -1: Regime.BEAR, 0: Regime.SIDEWAYS}[(regime.sign > 0) - (regime.sign < 0)]
        return rules.get(regime) or rules.get(plain) or rules.get(None)

    def _signals_of(self, rules: StrategyChromosome) -> tuple[Any, Any]:
        known = self._signals.get(rules.fingerprint)
        if known is None or len(known[0]) < len(self.data):
            bars = bars_of_feed(self.data, self._features)
            if self._bank is None or len(self._bank.data) < len(bars):
                self._bank = SeriesBank(bars)
            bank, need = self._bank, rules.required
            allowed = np.ones(len(bars), np.bool_)
            if rules.filters.genes:
                allowed = section_signal(bank, rules.filters, need.filters)
            long = section_signal(bank, rules.entry_long, need.entry_long) & allowed
            short = section_signal(bank, rules.entry_short, need.entry_short) & allowed
            known = (long.astype(np.int8) - short.astype(np.int8), bank.atr(rules.risk.atr_period))
            self._signals[rules.fingerprint] = known
        return known

    def _enter(self, side: int, rules: StrategyChromosome, atr: float) -> None:
        close, risk = self.data.close[0], rules.risk
        size = self.broker.getvalue() * risk.position_size * risk.leverage / close
        if not size > 0.0:
            return
        options: dict[str, Any] = {"stopexec": None, "limitexec": None}
        if risk.stop_atr:
            options |= {"stopexec": bt.Order.Stop, "stopprice": close - side * risk.stop_atr * atr}
        if risk.take_profit_atr:
            options |= {"limitexec": bt.Order.Limit, "limitprice": close + side * risk.take_profit_atr * atr}
        oargs = {"leverage": risk.leverage} if risk.leverage > 1.0 else {}
        send = self.buy_bracket if side > 0 else self.sell_bracket
        _, *children = send(size=size, exectype=bt.Order.Market, oargs=oargs, **options)
        self._children = tuple(child for child in children if child is not None)


def from_bar(strategy: type[Any], first: int) -> type[Any]:
    """The class, deciding from a bar on: what comes before warms it up and is not traded.

    Parameters
    ----------
    strategy
        A ``bt.Strategy`` class that decides in ``next`` alone.
    first
        0-based bar of the first feed at whose close it decides first.
    """

    def next_(self: Any) -> None:
        if len(self.data) > first:
            strategy.next(self)

    body = {"__module__": strategy.__module__, "__doc__": strategy.__doc__, "next": next_}
    metaclass: Any = type(strategy)
    made: type[Any] = metaclass(f"{strategy.__name__}_from_{first}", (strategy,), body)
    return made
