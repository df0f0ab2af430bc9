"""Performance of a run beside buy and hold, with its costs taken apart."""

from __future__ import annotations

import datetime as dt
import math
from array import array
from typing import Any, NamedTuple

import backtrader as bt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ai_backtrader import evidence as ev
from ai_backtrader.analyzers.recording import accounts_of, analysis_of, feed_names, position_reader, times_of
from ai_backtrader.checks import Faults

__all__ = ["Execution", "Performance"]

_ABOVE_ONE = 1.0 + 1e-9  # an account fully invested at 1x sits at 1 give or take the last bit


class _Fill(NamedTuple):
    bar: int
    feed: str
    size: float
    price: float
    notional: float
    commission: float
    opened: float
    closed: float
    liquidation: bool


class Execution(NamedTuple):
    """What an order has done, as ``order.executed`` has it.

    ``bar`` counts its feed's bars from 0; ``funding`` is the part of the commission that is funding; ``reason`` is the
    order's ``info["reason"]``, if any.
    """

    bar: int
    price: float
    size: float
    commission: float
    funding: float
    pnl: float
    reason: str


def _execution(order: Any) -> Execution:
    done, info = order.executed, order.info
    reason = "liquidation" if info.get("liquidation") else str(info.get("reason") or "")
    funding = float(info.get("funding") or 0.0)
    return Execution(len(order.data) - 1, done.price, done.size, done.comm, funding, done.pnl, reason)


_FILL_KINDS = dict.fromkeys(_Fill._fields, "float64") | {"bar": "int64", "feed": "str", "liquidation": "bool"}


class Performance(bt.Analyzer):
    """What the account earned beside buy and hold, how rough the way was, what it cost.

    Params:

      - ``bars_per_year`` (default: ``None``)

        Bars a year for annual figures. ``None`` measures them from the times of the run itself, sessions included:
        8766 for hourly bars around the clock, about 252 for daily stocks. A run shorter than a week of a market with
        sessions measures too many: give the number.

      - ``risk_free`` (default: ``0.0``)

        Annual effective rate, as a fraction.

      - ``fund`` (default: ``None``)

        Whether returns follow the broker's fund value (cash put in or taken out is no profit) instead of the account's
        value. ``None`` follows the broker's fund mode.

    ``get_analysis()`` gives a dictionary with dot access. Returns, drawdowns, rates, shares of bars and the trades'
    ``*_return`` are **fractions** (0.05 is 5 %), money is in account currency, lengths are in bars, what is undefined
    is NaN. Beside :mod:`ai_backtrader.evidence.metrics`:

      - ``strategy``, ``symbol``: class of the strategy, name of the first feed.
      - ``start``, ``end``, ``bars``: every bar of the run, warm-up included; the figures cover the same bars.
      - ``buy_and_hold``: the first feed bought with everything at its first close, 1x, no costs, same bars.
      - ``trades`` are closed trades of this strategy, results net of commission and funding; ``trades_open`` were open
        at the end and only count in ``open_profit`` (all profit of the account that closed trades do not explain).
      - ``best_return``, ``worst_return``, ``average_return`` of a trade are its net result over the account's value
        on the bar before it opened; ``kelly_fraction`` is estimated from these.
      - ``exposure``, ``time_above_1x``: share of bars that **closed** with a position, with leverage above 1;
        ``leverage`` is the notional of all positions over the account's value.
      - ``fees`` are commissions, liquidation fees and the interest of Backtrader's own schemes; ``funding`` is what the
        broker says it paid (negative: received), also for positions still open. The account's final value is its start
        plus gross price profits less fees less funding.
      - ``turnover``: traded notional a year over the mean value; one round trip at 1x a year is 2.
      - ``liquidations``; ``rejected_orders`` (margin or rejected, each order once).

    Value, costs, leverage and liquidations are those of ``strategy.broker``: of the whole account where several
    strategies share one. Trades and rejected orders are always this strategy's; on the manager of a fund they are those
    of all its members.
    """

    params = (("bars_per_year", None), ("risk_free", 0.0), ("fund", None))

    def __init__(self) -> None:
        faults = Faults("Performance")
        if self.p.bars_per_year is not None:
            faults.number("bars_per_year", self.p.bars_per_year, above=0.0)
        faults.number("risk_free", self.p.risk_free, above=-1.0)
        faults.one_of("fund", self.p.fund, (None, True, False))
        faults.raise_if_any()
        self._numbers, self._values, self._fund_values = array("d"), array("d"), array("d")
        self._closes, self._notionals = array("d"), array("d")
        self._cash = array("d")
        self._now = (math.nan, math.nan, math.nan)
        self._executions: list[Execution] = []
        self._fills: list[_Fill] = []
        self._orders: set[int] = set()
        self._rejected: set[int] = set()
        self._opened: dict[int, float] = {}
        self._profits, self._profit_returns, self._lengths = array("d"), array("d"), array("d")

    # ------------------------------------------------------------------------------------------------- while it runs

    def start(self) -> None:
        """Note the account as it is before the first bar."""
        broker = self.strategy.broker
        self._broker = broker
        self._names = dict(zip(self.datas, feed_names(self.datas), strict=True))
        self._labels = {"strategy": type(self.strategy).__name__, "symbol": self._names[self.data]}
        self._fund = broker.fundmode if self.p.fund is None else self.p.fund
        self._start_value = float(broker.getvalue())
        self._start_fund_value = float(broker.fundvalue) if self._fund else math.nan
        # Line objects are kept: looking a line up by its name costs several times what its value costs.
        self._clock, self._close = self.strategy.lines.datetime, self.data.lines.close
        self._feeds = [(feed, feed.lines.close, _multiplier(broker, feed)) for feed in self.datas]
        self._is_fund = hasattr(broker, "accounts")
        self._position_in = position_reader(broker)
        self._first_feed_began = False

    def notify_fund(self, cash: float, value: float, fundvalue: float, shares: float) -> None:
        """Keep the account's value at this bar's close until :meth:`next` files it."""
        self._now = (cash, value, fundvalue)

    def next(self) -> None:
        """File one bar."""
        cash, value, fund_value = self._now
        self._numbers.append(self._clock[0])
        self._values.append(value)
        self._cash.append(cash)
        if self._fund:
            self._fund_values.append(fund_value)
        # A feed that has not begun answers [0] with its last bar when bars are preloaded: tomorrow's price.
        self._first_feed_began = self._first_feed_began or len(self.data) > 0
        self._closes.append(self._close[0] if self._first_feed_began else math.nan)
        # A fund opens its sub-accounts after the analyzers have started.
        readers = [position_reader(account) for account in accounts_of(self._broker)] if self._is_fund else ()
        notional = 0.0
        for feed, close, multiplier in self._feeds:
            for position_in in readers or (self._position_in,):
                position = position_in(feed)
                if position:
                    notional += abs(position.size) * close[0] * multiplier
        self._notionals.append(notional)

    def notify_order(self, order: Any) -> None:
        """Keep the fills that this notification brings, and whether the order was refused."""
        self._orders.add(order.ref)
        if order.status in (order.Margin, order.Rejected):
            self._rejected.add(order.ref)
        elif order.status in (order.Partial, order.Completed):
            self._executions.append(_execution(order))
        for bit in order.executed.iterpending():
            # The bar of this notification is filed after it.
            self._fills.append(self._fill(order, bit, len(self._values), _multiplier(self._broker, order.data)))

    def notify_trade(self, trade: Any) -> None:
        """Keep a trade's result when it closes, against the account's value before it opened."""
        if trade.justopened:
            self._opened[trade.ref] = self._values[-1] if self._values else self._start_value
        if trade.isclosed:
            before = self._opened.pop(trade.ref, math.nan)
            self._profits.append(trade.pnlcomm)
            self._profit_returns.append(trade.pnlcomm / before if before > 0 else math.nan)
            self._lengths.append(trade.barlen)

    # --------------------------------------------------------------------------------------------------- what was filed

    @property
    def times(self) -> NDArray[np.datetime64]:
        """Time of each bar (UTC, datetime64[ns]), shape (n,)."""
        return times_of(self._numbers)

    @property
    def equity(self) -> NDArray[np.float64]:
        """Account value at each bar's close, in money, shape (n,)."""
        return np.array(self._values)

    @property
    def cash(self) -> NDArray[np.float64]:
        """Free cash at each bar's close, in money, shape (n,)."""
        return np.array(self._cash)

    @property
    def start_value(self) -> float:
        """Account value before the first bar, in money."""
        return self._start_value

    @property
    def executions(self) -> list[Execution]:
        """What each order of this strategy had done whenever the broker told of a fill, in that order."""
        return list(self._executions)

    @property
    def rejected_orders(self) -> int:
        """Orders of this strategy that were refused."""
        return len(self._rejected)

    @property
    def growth(self) -> NDArray[np.float64]:
        """What one unit of money put in before the first bar has become, shape (n,): the account's own path."""
        values, start = self._path()
        return values / start

    def _path(self) -> tuple[NDArray[np.float64], float]:
        if self._fund:
            return np.array(self._fund_values), self._start_fund_value
        return np.array(self._values), self._start_value

    @property
    def price(self) -> NDArray[np.float64]:
        """Close of the first feed at each bar, shape (n,); NaN before its first bar."""
        return np.array(self._closes)

    @property
    def buy_and_hold(self) -> NDArray[np.float64]:
        """Account value had the first feed been bought with everything at its first close, shape (n,)."""
        closes = pd.Series(np.array(self._closes)).ffill().to_numpy()
        known = closes[~np.isnan(closes)]
        if not known.size:
            return np.full(closes.size, self._start_value)
        return self._start_value * np.where(np.isnan(closes), 1.0, closes / known[0])

    @property
    def leverage(self) -> NDArray[np.float64]:
        """Notional of all positions over the account's value at each bar's close, shape (n,); inf where it owes."""
        notional, values = np.array(self._notionals), np.array(self._values)
        ratio = np.where(notional > 0, np.inf, 0.0)
        np.divide(notional, values, out=ratio, where=values > 0)
        return ratio

    def curve(self) -> pd.DataFrame:
        """Frame by bar time (UTC): equity, buy_and_hold, drawdown (positive fraction), leverage."""
        columns = {
            "equity": self.equity,
            "buy_and_hold": self.buy_and_hold,
            "drawdown": ev.drawdowns(self._path()[0]),
            "leverage": self.leverage,
        }
        return pd.DataFrame(columns, index=pd.DatetimeIndex(self.times, name="time"))

    def fills(self) -> pd.DataFrame:
        """Frame with one row a fill of this strategy's orders.

        Columns: time (of the bar, UTC), bar (position in the histories), feed, size (signed units), price, notional,
        commission (as Backtrader books it: funding and interest enter with the fill that closes), opened, closed
        (signed units), liquidation.
        """
        frame = pd.DataFrame(self._fills, columns=_Fill._fields).astype(_FILL_KINDS)
        frame.insert(0, "time", self.times[frame["bar"].to_numpy()])
        return frame

    # ------------------------------------------------------------------------------------------------------- at the end

    def stop(self) -> None:
        """Compute the analysis; let go of the run so that the analyzer pickles."""
        if self._is_fund:
            self._take_members()
        accounts = accounts_of(self._broker)
        funding = math.fsum(float(one.funding_paid()) for one in accounts if hasattr(one, "funding_paid"))
        # Interest and funding leave the cash at once but enter an order's commission only when the position closes.
        accrued = math.fsum(cost for one in accounts for cost in getattr(one, "d_credit", {}).values())
        # Orders of other strategies on the same account.
        others = [
            (one, order)
            for one in accounts
            for order in getattr(one, "orders", ())
            if order.executed.size and order.ref not in self._orders
        ]
        commissions = [fill.commission for fill in self._fills] + [order.executed.comm for _, order in others]
        notionals = [fill.notional for fill in self._fills] + [
            abs(order.executed.size) * order.executed.price * _multiplier(one, order.data) for one, order in others
        ]
        costs = {
            "fees": math.fsum(commissions) + accrued - funding,
            "funding": funding,
            "traded_notional": math.fsum(notionals),
            "liquidations": sum(len(getattr(one, "liquidations", ())) for one in accounts),
            "rejected_orders": len(self._rejected),
        }
        del self._broker, self._position_in, self._feeds, self._names, self._clock, self._close
        self.rets = analysis_of(self._figures(costs))

    def _take_members(self) -> None:
        """What the members of a fund did, of whose orders and trades its manager hears nothing."""
        numbers = np.array(self._numbers)
        for account in accounts_of(self._broker):
            for order in account.orders:
                self._orders.add(order.ref)
                if order.status in (order.Margin, order.Rejected):
                    self._rejected.add(order.ref)
                for bit in order.executed.exbits:
                    bar = int(np.searchsorted(numbers, bit.dt))
                    self._fills.append(self._fill(order, bit, bar, _multiplier(account, order.data)))
            # Open positions by number: nobody follows the trades they belong to.
            held = [position for position in account.positions.values() if position.size]
            self._opened |= dict.fromkeys(range(len(self._opened), len(self._opened) + len(held)), math.nan)
        self._fills.sort(key=lambda fill: fill.bar)
        values = np.concatenate(([self._start_value], np.array(self._values)))
        closed = [trade for member in self.strategy.env.runningstrats for trade in getattr(member, "fund_trades", ())]
        for trade in sorted(closed, key=lambda trade: (trade.closed_at, trade.opened_at)):
            before = values[np.searchsorted(numbers, bt.date2num(trade.opened_at))]
            self._profits.append(trade.pnl)
            self._profit_returns.append(trade.pnl / before if before > 0.0 else math.nan)
            self._lengths.append(trade.hold_bars)

    def _fill(self, order: Any, bit: Any, bar: int, multiplier: float) -> _Fill:
        return _Fill(
            bar=bar,
            feed=self._names[order.data],
            size=bit.size,
            price=bit.price,
            notional=abs(bit.size) * bit.price * multiplier,
            commission=bit.comm,
            opened=bit.opened,
            closed=bit.closed,
            liquidation=bool(order.info.get("liquidation")),
        )

    def _figures(self, costs: dict[str, float]) -> dict[str, object]:
        times, equity, leverage = self.times, self.equity, self.leverage
        year = self.p.bars_per_year if self.p.bars_per_year is not None else ev.bars_per_year(times)
        final = float(equity[-1]) if equity.size else self._start_value
        profits, bars = np.array(self._profits), int(equity.size)
        return {
            **self._labels,
            "start": _moment(times, 0),
            "end": _moment(times, -1),
            "bars": bars,
            "bars_per_year": year,
            "risk_free": self.p.risk_free,
            "start_equity": self._start_value,
            "final_equity": final,
            "peak_equity": float(max(equity.max(), self._start_value)) if bars else self._start_value,
            **_path_figures(*self._path(), year, self.p.risk_free),
            "buy_and_hold": _path_figures(self.buy_and_hold, self._start_value, year, self.p.risk_free),
            "trades": int(profits.size),
            "trades_open": len(self._opened),
            "trades_won": int(np.count_nonzero(profits > 0)),
            "trades_lost": int(np.count_nonzero(profits < 0)),
            "win_rate": ev.win_rate(profits),
            "profit_factor": ev.profit_factor(profits),
            "expectancy": ev.expectancy(profits),
            "best_trade": float(profits.max()) if profits.size else math.nan,
            "worst_trade": float(profits.min()) if profits.size else math.nan,
            **_trade_returns(np.array(self._profit_returns)),
            "average_bars": float(np.mean(np.array(self._lengths))) if profits.size else math.nan,
            "sqn": ev.system_quality_number(profits),
            "closed_profit": math.fsum(profits),
            "open_profit": final - self._start_value - math.fsum(profits),
            "exposure": ev.exposure(leverage),
            "time_above_1x": ev.exposure(leverage > _ABOVE_ONE),
            "max_leverage": float(leverage.max()) if bars else math.nan,
            "turnover": ev.turnover(costs["traded_notional"], equity, bars_per_year=year),
            **costs,
        }


def _path_figures(values: NDArray[np.float64], start: float, year: float, risk_free: float) -> dict[str, float]:
    returns = ev.bar_returns(values, start=start)
    path = np.concatenate(([start], values))
    # From the end, not from the product of the returns: these are undefined after a ruin, what is left is not.
    growth = float(values[-1] / start) if values.size else math.nan
    rate = ev.compound_rate(growth, years=values.size / year)
    depth = ev.max_drawdown(path)
    return {
        "total_return": growth - 1.0,
        "cagr": rate,
        "volatility": ev.annual_volatility(returns, bars_per_year=year),
        "sharpe_ratio": ev.sharpe_ratio(returns, bars_per_year=year, risk_free=risk_free),
        "sortino_ratio": ev.sortino_ratio(returns, bars_per_year=year, risk_free=risk_free),
        "calmar_ratio": rate / depth if depth > 0 else math.nan,
        "max_drawdown": depth if values.size else math.nan,
        "max_drawdown_bars": ev.max_drawdown_bars(path),
        "value_at_risk": ev.value_at_risk(returns),
        "expected_shortfall": ev.expected_shortfall(returns),
        "skewness": ev.skewness(returns),
        "kurtosis": ev.kurtosis(returns),
    }


def _trade_returns(returns: NDArray[np.float64]) -> dict[str, float]:
    known = returns[~np.isnan(returns)]
    return {
        "best_return": float(known.max()) if known.size else math.nan,
        "worst_return": float(known.min()) if known.size else math.nan,
        "average_return": ev.expectancy(known),
        "kelly_fraction": ev.kelly_fraction(known),
    }


def _multiplier(broker: Any, feed: Any) -> float:
    # A contract's point value (futures); 1 for everything priced in money.
    return float(broker.getcommissioninfo(feed).p.mult)


def _moment(times: NDArray[np.datetime64], position: int) -> dt.datetime | None:
    moment: dt.datetime | None = times[position].astype("datetime64[us]").item() if times.size else None
    return moment
