"""What a margin broker keeps: parameters, per-run state, instruments, prepared leverage.

``LeverageBroker`` is built in floors, one a file, each using only those below it: state, queries, valuation, charges,
checking, due, fills, liquidating, and at the top the step itself.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import backtrader as bt

from ai_backtrader.brokers.accounts import MarginAccount
from ai_backtrader.brokers.bars import BarPrices
from ai_backtrader.brokers.funding import FundingClock
from ai_backtrader.brokers.instruments import Instrument
from ai_backtrader.brokers.records import Liquidation
from ai_backtrader.checks import Faults
from ai_backtrader.market.margin import MaintenanceTiers

__all__ = ["MarginState", "target_of"]

_log = logging.getLogger("ai_backtrader")


def target_of(data: Any) -> Any:
    """Feed whose position an order on ``data`` changes (Backtrader's compensation)."""
    return data if data._compensate is None else data._compensate


class MarginState(bt.brokers.BackBroker):
    """Ground floor of :class:`~ai_backtrader.brokers.LeverageBroker`: settings and state."""

    # Attributes of BackBroker that are written here and above; Backtrader has no types.
    cash: float
    _fundval: float
    _fundshares: float

    def __init__(self) -> None:
        self._instruments: dict[Any, Instrument] = {}
        super().__init__()

    def init(self) -> None:
        """Begin a run: called on creation and by every ``start()``."""
        self._check_params()
        super().init()
        self.liquidations: list[Liquidation] = []
        self.rejections: Counter[str] = Counter()
        self._accounts: dict[Any, MarginAccount] = {}
        self._prices: dict[Any, BarPrices] = {}
        self._watched: list[BarPrices] = []
        self._clocks: dict[Any, FundingClock] = {}
        self._every_bar: list[FundingClock] = []
        self._prepared: dict[Any, float] = {}
        self._vetoed: dict[Any, str] = {}
        self._funding: dict[Any, float] = {}
        self._unbooked: dict[Any, float] = {}
        self._untold: list[tuple[Any, Liquidation]] = []
        self._uses_margin = False  # no order has asked for margin yet: BackBroker's own step serves
        self._markets: list[Any] = []
        self._late: list[Any] = []
        self._settled_cash: float | None = None
        self._cross = self.p.margin_mode == "cross"
        self._cross_entry = (0.0, 0.0)  # equity and maintenance right after the last change of size
        self._settling: dict[Any, float] = {}  # prices at which the whole account is being closed
        self._fee_rate = float(self.p.liquidation_fee) if self.p.fee_in_maintenance else 0.0
        tiers = self.p.tiers
        self._default_tiers = tiers if isinstance(tiers, MaintenanceTiers) else MaintenanceTiers.flat(0.005)
        self._tiers_by_name: dict[str, MaintenanceTiers] = dict(tiers) if isinstance(tiers, Mapping) else {}

    def start(self) -> None:
        """Begin a run (called by Cerebro)."""
        super().start()
        # One feed of several may stand still while others move: know whether its bar is new before it is traded.
        self._watched = [self._bar(data) for data in self.cerebro.datas] if len(self.cerebro.datas) > 1 else []
        for data in self.cerebro.datas:
            if self._ends(data) and self._clock(data).active:
                # It must see every bar, or it would not know when the bar of an entry began.
                self._every_bar.append(self._clock(data))

    def _check_params(self) -> None:
        faults = Faults("LeverageBroker")
        p = self.p
        faults.number("max_leverage", p.max_leverage, low=1.0)
        if not faults.found:
            faults.number("leverage", p.leverage, low=1.0, high=p.max_leverage)
        faults.one_of("margin_mode", p.margin_mode, ("isolated", "cross"))
        if p.partial_liquidation and p.margin_mode == "cross":
            faults.add("partial_liquidation needs margin_mode='isolated': in cross mode all positions close together")
        faults.one_of("trigger", p.trigger, ("mark", "last"))
        faults.number("liquidation_fee", p.liquidation_fee, low=0.0, high=0.5)
        faults.number("funding_hours", p.funding_hours, above=0.0)
        faults.number("funding_offset", p.funding_offset)
        faults.one_of("bar_label", p.bar_label, ("auto", "start", "end"))
        if not isinstance(p.funding, (str, bool)) and p.funding is not None:
            faults.number("funding", p.funding)
        if p.funding is True:
            faults.add("funding must be a rate, the name of a line, False or None, got True")
        tables = p.tiers.values() if isinstance(p.tiers, Mapping) else () if p.tiers is None else (p.tiers,)
        if any(not isinstance(table, MaintenanceTiers) for table in tables):
            faults.add(f"tiers must be MaintenanceTiers, a dict of them by feed name, or None, got {p.tiers!r}")
        faults.raise_if_any()

    def set_instrument(
        self,
        data: Any,
        *,
        lot_step: float = 0.0,
        min_size: float = 0.0,
        min_notional: float = 0.0,
        tiers: MaintenanceTiers | None = None,
    ) -> None:
        """Trading rules of one feed.

        Parameters
        ----------
        data
            The feed or its name; by name also before it is added.
        lot_step, min_size, min_notional
            Opening orders are rounded down to the step; an order that then opens less than a minimum is rejected.
            A lot step also makes ``order_target_value`` and ``order_target_percent`` size exactly instead of in whole
            units.
        tiers
            Maintenance table of this feed; None keeps the broker's.

        Raises
        ------
        SettingsError
            If a number is negative or not finite.
        """
        rules = Instrument(lot_step=lot_step, min_size=min_size, min_notional=min_notional, tiers=tiers)
        self._instruments[data if isinstance(data, str) else data._name or data] = rules

    def prepare_leverage(self, data: Any, leverage: float) -> None:
        """Leverage of the next order on ``data`` that opens or adds (bracket children and reductions do not take it).

        Raises
        ------
        SettingsError
            If it is below 1 or above ``max_leverage``.
        """
        self._prepared[data] = self._checked_leverage(leverage)

    def prepare_veto(self, data: Any, reason: str) -> None:
        """Have the next order on ``data`` that opens or adds rejected, its bracket children with it.

        A sizer that returns 0 makes ``buy_bracket`` raise; this refuses without a crash.
        """
        self._vetoed[data] = reason

    def tiers_for(self, data: Any) -> MaintenanceTiers:
        """Maintenance table that holds for ``data``."""
        rules = self._rules(data)
        if rules is not None and rules.tiers is not None:
            return rules.tiers
        return self._tiers_by_name.get(data._name, self._default_tiers)

    def max_leverage_for(self, data: Any, notional: float) -> float:
        """Highest leverage at which ``notional`` (quote currency) may be opened on ``data``; 0 if it may not at all."""
        return min(float(self.p.max_leverage), self.tiers_for(data).max_leverage(notional))

    def _checked_leverage(self, leverage: object) -> float:
        faults = Faults("LeverageBroker")
        faults.number("leverage", leverage, low=1.0, high=float(self.p.max_leverage))
        faults.raise_if_any()
        return float(leverage)  # type: ignore[arg-type]  # the check above has seen that it is a number

    def _rules(self, data: Any) -> Instrument | None:
        return self._instruments.get(data._name or data) if self._instruments else None

    def _scheme(self, data: Any) -> Any:
        """Commission scheme as the user set it."""
        return super().getcommissioninfo(data)

    def _default_leverage(self, data: Any) -> float | None:
        """Leverage of an order that names none, None where its position is plain."""
        own = float(self._scheme(data).get_leverage())
        leverage = float(self.p.leverage) if own == 1.0 else own
        if leverage > 1.0 or self.p.margin_always:
            return self._checked_leverage(leverage)
        return None

    def _bar(self, data: Any) -> BarPrices:
        prices = self._prices.get(data)
        if prices is None:
            prices = self._prices[data] = BarPrices(data, self.p.trigger == "mark")
        return prices

    def _clock(self, data: Any) -> FundingClock:
        clock = self._clocks.get(data)
        if clock is None:
            clock = self._clocks[data] = FundingClock(
                data, self.p.funding, float(self.p.funding_hours), float(self.p.funding_offset), self._ends(data)
            )
        return clock

    def _ends(self, data: Any) -> bool:
        """Whether the feed labels its bars by their end."""
        label = self.p.bar_label
        return bool(data.resampling) if label == "auto" else bool(label == "end")

    def _units(self, data: Any) -> float:
        """Signed size of the position times the contract multiplier."""
        return float(self.positions[data].size) * float(self._scheme(data).p.mult)

    def _maintenance(self, tiers: MaintenanceTiers, notional: float) -> float:
        """Maintenance margin of a notional, with the liquidation fee where it counts into it."""
        return tiers.maintenance(notional) + self._fee_rate * notional

    def _note_refusal(self, order: Any, reason: str) -> None:
        order.addinfo(reject_reason=reason)
        self.rejections[reason.split(":")[0]] += 1
        _log.info("order %s on %s refused: %s", order.ref, order.data._name, reason)

    def funding_paid(self, data: Any = None) -> float:
        """Funding paid so far on ``data`` (None: on all feeds); negative when more was received."""
        return math.fsum(self._funding.values()) if data is None else self._funding.get(data, 0.0)

    def position_funding(self, data: Any) -> float:
        """Funding paid on the open position that no closing fill has booked yet."""
        return self._unbooked.get(data, 0.0)
