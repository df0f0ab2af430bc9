"""FundBroker: a sub-account for each strategy of one Cerebro run, as exchanges have them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import backtrader as bt
from backtrader.position import Position

from ai_backtrader.brokers.leverage_broker import LeverageBroker
from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError

__all__ = ["FundBroker", "Transfer"]

_STAYS = 0.01  # share of an account that always stays in it: without capital there would be no record to judge it by


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Money moved between the sub-accounts and the fund's cash.

    Attributes
    ----------
    bar
        Bars the fund had seen.
    source, target
        Names of sub-accounts; None is the fund's cash.
    wanted, moved
        In account currency; less is moved where the source has not as much free.
    """

    bar: int
    source: str | None
    target: str | None
    wanted: float
    moved: float


class FundBroker(bt.BrokerBase):
    """One account, a sub-account for each strategy hosted in it.

    Backtrader keeps one position per data for all strategies, so that one's ``close()`` closes another's position. Here
    every hosted strategy has cash, positions, orders, margin and liquidation of its own, in a broker that is made for
    it: it runs as it would alone, to the last bit. Strategies come in through
    :meth:`~ai_backtrader.strategies.PortfolioStrategy.host`; one that is not hosted sees the sum and cannot trade.

    The sub-accounts are in Backtrader's fund mode: capital that comes or goes changes the number of shares and not
    their value, so returns are not disturbed. Transfers are made at the end of the bar in which they are asked for
    (:meth:`transfer`), after every sub-account has finished it, and never take more than is free.

    Params
    ------
    cash : float, default 10000.0
        Of the whole fund.
    account : class, default LeverageBroker
        Broker class of the sub-accounts; also ``bt.brokers.BackBroker``.
    account_options : dict, default {}
        Its params.
    netting : bool, default False
        Whether fills of opposite sides on one feed, in one bar at one price, are crossed inside the fund: their
        commission is then not paid to the venue, and what it comes to is credited to the fund's cash. The sub-accounts
        are not touched. ``netting_saving`` tells the sum, with and without.
    """

    params = (("cash", 10_000.0), ("account", LeverageBroker), ("account_options", None), ("netting", False))

    def init(self) -> None:
        """Begin a run: called on creation and by every ``start()``."""
        faults = Faults("FundBroker")
        faults.number("cash", self.p.cash, above=0.0)
        if not (isinstance(self.p.account, type) and issubclass(self.p.account, bt.brokers.BackBroker)):
            faults.add(f"account must be a BackBroker class (LeverageBroker is one), got {self.p.account!r}")
        if not isinstance(self.p.account_options, Mapping | None):
            faults.add(
                f"account_options must be a dict of the account's params or None, got {self.p.account_options!r}"
            )
        faults.raise_if_any()
        super().init()
        self.accounts: dict[str, Any] = {}
        self.startingcash = self.unallocated = float(self.p.cash)
        self.transfers: list[Transfer] = []
        self.netting_saving = 0.0
        self.netted_notional = 0.0
        self._queue: list[tuple[str | None, str | None, float]] = []
        self._bars = 0
        self._fills: list[tuple[Any, Any]] = []
        self._shares, self._share_value = self.p.cash / 100.0, 100.0

    # ------------------------------------------------------------------------------------------------ sub-accounts

    def open_account(self, name: str, cash: float) -> Any:
        """Open a sub-account with money of the fund and return its broker.

        Raises
        ------
        SettingsError
            If the name is taken or the fund has less.
        """
        if name in self.accounts:
            raise SettingsError("FundBroker", [f"there is a sub-account {name!r} already; give every member a name"])
        if not 0.0 < cash <= self.unallocated * (1.0 + 1e-12):
            left = f"{self.unallocated:g} of {self.startingcash:g} is left"
            raise SettingsError(
                "FundBroker", [f"sub-account {name!r} must get more than 0 of what {left}, got {cash:g}"]
            )
        account = self.p.account(**{**(self.p.account_options or {}), "cash": float(cash), "fundmode": True})
        account.cerebro = self.cerebro
        account.comminfo = dict(self.comminfo)
        account.start()
        self.accounts[name] = account
        self.unallocated = max(0.0, self.unallocated - float(cash))
        return account

    def transfer(self, source: str | None, target: str | None, amount: float) -> None:
        """Move money at the end of this bar's broker step or, from a strategy's ``next``, of the next bar's.

        Parameters
        ----------
        source, target
            Names of sub-accounts; None is the fund's own cash.
        amount
            Account currency, above 0. At most what is free in the source then: positions are not touched.

        Raises
        ------
        SettingsError
            If a name is unknown, both are the same or the amount is not above 0.
        """
        faults = Faults("transfer")
        for name in (source, target):
            if name is not None and name not in self.accounts:
                faults.add(f"there is no sub-account {name!r}; known: {', '.join(self.accounts) or 'none'}")
        if source == target:
            faults.add(f"source and target must differ, got {source!r} twice")
        faults.number("amount", amount, above=0.0)
        faults.raise_if_any()
        self._queue.append((source, target, float(amount)))

    def free_cash(self, name: str | None) -> float:
        """What could be withdrawn.

        Free cash, at most 99 % of the account's value; the proceeds of plain shorts and as much again stay, and on
        cross margin what positions have posted.
        """
        if name is None:
            return self.unallocated
        account = self.accounts[name]
        free = min(account.get_cash(), account.get_value() * (1.0 - _STAYS))
        margined = getattr(account, "_accounts", {})
        plain = [(data, p.size) for data, p in account.positions.items() if p.size < 0 and data not in margined]
        free = min(free, account.get_value() + sum(account.get_value([data]) for data, _ in plain))
        if getattr(account.p, "margin_mode", "") == "cross":
            posted = sum(account.position_margin(data) for data in account.positions)
            free = min(free, account.get_value() - posted)
        return max(0.0, float(free))

    # ------------------------------------------------------------------------------------------------ the step

    def next(self) -> None:
        """One bar of every sub-account, then the transfers."""
        self._bars += 1
        for account in self.accounts.values():
            account.next()
        queue, self._queue = self._queue, []
        # Withdrawals first: a deposit may be paid by one.
        for source, target, wanted in queue:
            moved = min(wanted, self.free_cash(source))
            if moved > 0.0:
                self._add(source, -moved)
                self._add(target, moved)
            self.transfers.append(Transfer(bar=self._bars, source=source, target=target, wanted=wanted, moved=moved))
        self._share_value = self.get_value() / self._shares

    def _add(self, name: str | None, amount: float) -> None:
        if name is None:
            self.unallocated += amount
        else:
            account = self.accounts[name]
            account.add_cash(amount)
            account._get_value()  # takes the money in now, at the value of this bar's close

    def get_notification(self) -> Any:
        """Next notice of any sub-account; None when there is none."""
        for account in self.accounts.values():
            order = account.get_notification()
            if order is not None:
                if order.status in (order.Partial, order.Completed):
                    self._fills.append((account, order))
                return order
        if self._fills:
            self._net()
        return None

    def _net(self) -> None:
        """Cross opposite fills of this bar at the same price, and see what commission that spares."""
        fills, self._fills = self._fills, []
        sides: dict[tuple[Any, float], dict[int, list[float]]] = defaultdict(lambda: {1: [0.0, 0.0], -1: [0.0, 0.0]})
        owners: dict[tuple[Any, float], set[int]] = defaultdict(set)
        for account, order in fills:
            if order.info.get("liquidation"):
                continue
            for bit in order.executed.iterpending():
                side = sides[order.data, bit.price][1 if bit.size > 0 else -1]
                scheme = account.getcommissioninfo(order.data)
                side[0] += abs(bit.size)
                side[1] += scheme.getcommission(bit.size, bit.price)
                owners[order.data, bit.price].add(id(account))
        for (data, price), by_side in sides.items():
            crossed = min(by_side[1][0], by_side[-1][0])
            if crossed > 0.0 and len(owners[data, price]) > 1:
                saving = sum(commission * crossed / size for size, commission in by_side.values())
                self.netting_saving += saving
                self.netted_notional += crossed * price
                if self.p.netting:
                    self.unallocated += saving

    # ------------------------------------------------------------------------------------------------ sums

    def get_cash(self) -> float:
        """Cash of the fund and of all sub-accounts."""
        return float(self.unallocated + sum(account.get_cash() for account in self.accounts.values()))

    def get_value(self, datas: Any = None, mkt: bool = False, lever: bool = False) -> float:
        """Value of the fund, or of the positions in some feeds."""
        parts = sum(account.get_value(datas=datas, mkt=mkt, lever=lever) for account in self.accounts.values())
        return float(parts if datas is not None or mkt else self.unallocated + parts)

    getcash, getvalue = get_cash, get_value

    def set_cash(self, cash: float) -> None:
        """Money of the whole fund, before the run."""
        self.p.cash = cash
        self.startingcash = self.unallocated = float(cash)

    setcash = set_cash

    def get_fundvalue(self) -> float:
        """Value of one share of the fund."""
        return float(self._share_value)

    def get_fundshares(self) -> float:
        """Shares of the fund."""
        return float(self._shares)

    fundvalue, fundshares = property(get_fundvalue), property(get_fundshares)

    def getposition(self, data: Any, clone: bool = True) -> Position:
        """Sum of the sub-accounts' positions: net size, at the price that net entry value means."""
        held = [account.positions[data] for account in self.accounts.values() if data in account.positions]
        size = sum(position.size for position in held)
        value = sum(position.size * position.price for position in held)
        return Position(size, value / size if size else 0.0)

    def get_orders_open(self, safe: bool = False) -> list[Any]:
        """Open orders of all sub-accounts."""
        return [order for account in self.accounts.values() for order in account.get_orders_open(safe)]

    def stop(self) -> None:
        """End the run."""
        for account in self.accounts.values():
            account.stop()

    def set_coc(self, coc: bool) -> None:
        """Cheat-on-close for every sub-account, before the run."""
        self.p.account_options = {**(self.p.account_options or {}), "coc": coc}

    def set_coo(self, coo: bool) -> None:
        """Cheat-on-open for every sub-account, before the run."""
        self.p.account_options = {**(self.p.account_options or {}), "coo": coo}

    def _refuse(self, owner: Any, *_: Any, **__: Any) -> NoReturn:
        mend = "add it with PortfolioStrategy.host(cerebro, ...), which gives it a sub-account"
        raise SettingsError("FundBroker", [f"{type(owner).__name__} is not hosted and cannot trade in a fund; {mend}"])

    buy = sell = _refuse

    def submit(self, order: Any) -> None:
        """Refuse: orders go to sub-accounts."""
        self._refuse(order.owner)

    def cancel(self, order: Any) -> bool:
        """Cancel an order in whichever sub-account holds it; True when one did."""
        return any(account.cancel(order) for account in self.accounts.values())
