"""What the account is worth, and exact sizes for target orders."""

from __future__ import annotations

from typing import Any

from ai_backtrader.brokers.queries import MarginQueries
from ai_backtrader.brokers.sizes import with_exact_sizes

__all__ = ["MarginValue"]


class MarginValue(MarginQueries):
    """Third floor of :class:`~ai_backtrader.brokers.LeverageBroker`: account value."""

    def init(self) -> None:
        """Begin a run: called on creation and by every ``start()``."""
        super().init()
        self._exact: dict[Any, tuple[Any, Any]] = {}
        self._plain_scheme: Any = None

    def getcommissioninfo(self, data: Any) -> Any:
        """Commission scheme of ``data``; one with exact sizes where its position is or would be margined."""
        scheme = self._scheme(data)
        if scheme is self._plain_scheme and not (self._accounts or self._prepared or self._instruments):
            return scheme
        rules = self._rules(data)
        default = self._default_leverage(data)
        if default is None:
            self._plain_scheme = scheme  # BackBroker asks several times a bar; kept until the next one
        if (
            default is not None
            or data in self._accounts
            or data in self._prepared
            or (rules is not None and rules.lot_step)
        ):
            kept = self._exact.get(data)
            if kept is None or kept[0] is not scheme:
                kept = self._exact[data] = (scheme, with_exact_sizes(scheme))
            return kept[1]
        return scheme

    def _get_value(self, datas: Any = None, lever: bool = False) -> Any:
        while self._cash_addition:
            addition = self._cash_addition.popleft()
            if self._fundval:
                self._fundshares += addition / self._fundval
            else:
                # The fund has lost everything: what comes in now starts it anew (BackBroker divides by zero).
                self._fundshares = addition / self.p.fundstartval
            self.cash += addition
        if not self._accounts:
            return super()._get_value(datas, lever)
        if datas and len(datas) == 1:
            exposure, own, _ = self._position_value(datas[0])
            return own if lever else exposure
        invested = own = unrealized = 0.0
        for data in datas or list(self.positions):
            exposure, part, gain = self._position_value(data)
            invested += abs(exposure) if data in self._accounts else exposure
            own += part
            unrealized += gain
        if self._fundhist:
            self._fundval, self._value = self._process_fund_history()
            self.cash = self._value - own
            self._fundshares = self._value / self._fundval
            ratio = invested / (own or 1.0)
            own = self._value
            invested = own * ratio
        else:
            self._value = self.cash + own
            self._fundval = self._value / self._fundshares
        self._valuemkt = own
        self._valuelever = self.cash + invested
        self._valuemktlever = invested
        self._leverage = invested / (own or 1.0)
        self._unrealized = unrealized
        return self._valuelever if lever else self._value

    def _position_value(self, data: Any) -> tuple[float, float, float]:
        """Signed value at the close, what of it is the account's own money, unrealised profit."""
        close = data.close[0]
        account = self._accounts.get(data)
        if account is not None:
            gain = account.units * (close - account.entry)
            own = account.margin + gain
            # Reductions never fill beyond the bankruptcy price: an isolated position is never worth less than nothing.
            return account.units * close, own if self._cross else max(0.0, own), gain
        # Plain: as BackBroker counts it.
        position = self.positions[data]
        scheme = self._scheme(data)
        if self.p.shortcash:
            value = scheme.getvaluesize(position.size, close)
        else:
            value = abs(scheme.getvalue(position, close))
        gain = scheme.profitandloss(position.size, position.price, close)
        return value, (value - gain) / scheme.get_leverage() + gain if value > 0 else value, gain
