"""How close to liquidation a run came, bar by bar, and every liquidation."""

from __future__ import annotations

import math
from array import array
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ai_backtrader import evidence as ev
from ai_backtrader.analyzers.recording import accounts_of, analysis_of, feed_names, position_reader, times_of
from ai_backtrader.checks import Faults

__all__ = ["Liquidations"]

_EVENT = (
    "bar_time",
    "data_name",
    "side",
    "size",
    "entry_price",
    "price",
    "leverage",
    "margin",
    "loss",
    "fee",
    "funding",
    "reason",
)


class Liquidations(bt.Analyzer):
    """Each liquidation, and the margin ratio and leverage of each feed's position over time.

    Params:

      - ``threshold`` (default: ``0.70``)

        Margin ratio above which a bar counts as dangerous, as a fraction: share of the liquidation buffer that is used
        up, 0 right after entry, 1 at liquidation.

    The margin ratio is read at each bar's **close**; inside the bar it may have been higher. On the bar of a
    liquidation it is 1, although the position is gone at the close. With a broker without margin (``BackBroker``) all
    histories are 0 and there are no events. On the manager of a fund they are the highest of its sub-accounts, and the
    events of all of them.

    ``get_analysis()`` gives ``liquidations`` (count), ``loss``, ``fees``, ``threshold``, ``bars_above_threshold`` and
    ``time_above_threshold`` (share of all bars, fraction; any feed above counts), ``max_margin_ratio``,
    ``max_position_leverage``, ``feeds`` (the same by feed name) and ``events`` (one dictionary each).
    """

    params = (("threshold", 0.70),)

    def __init__(self) -> None:
        faults = Faults("Liquidations")
        faults.number("threshold", self.p.threshold, low=0.0, high=1.0)
        faults.raise_if_any()
        self._numbers = array("d")
        self._events: list[dict[str, object]] = []

    def start(self) -> None:
        """Prepare one history for each feed."""
        self._broker = self.strategy.broker
        self._filed: dict[int, int] = {}
        self._names = feed_names(self.datas)
        self._ratios = [array("d") for _ in self._names]
        self._leverages = [array("d") for _ in self._names]
        self._clock = self.strategy.lines.datetime
        # The broker names a feed by its own name, also where that is empty.
        self._place = {feed._name: place for place, feed in enumerate(self.datas)}

    def next(self) -> None:
        """File one bar."""
        self._numbers.append(self._clock[0])
        for place in range(len(self._names)):
            self._ratios[place].append(0.0)
            self._leverages[place].append(0.0)
        # A fund opens its sub-accounts after the analyzers have started.
        for number, account in enumerate(accounts_of(self._broker)):
            if hasattr(account, "margin_ratio"):
                self._read(account)
                filed = self._filed.get(number, 0)
                for event in account.liquidations[filed:]:
                    self._file(event)
                self._filed[number] = len(account.liquidations)

    def _read(self, account: Any) -> None:
        position_in = position_reader(account)
        for place, feed in enumerate(self.datas):
            if position_in(feed):
                ratios, leverages = self._ratios[place], self._leverages[place]
                ratios[-1] = max(ratios[-1], account.margin_ratio(feed))
                leverages[-1] = max(leverages[-1], account.get_position_leverage(feed))

    def _file(self, event: Any) -> None:
        record = {name: getattr(event, name) for name in _EVENT}
        place = self._place[event.data_name]
        self._events.append(record | {"side": str(event.side), "data_name": self._names[place]})
        self._ratios[place][-1] = 1.0
        self._leverages[place][-1] = event.leverage

    @property
    def times(self) -> NDArray[np.datetime64]:
        """Time of each bar (UTC, datetime64[ns]), shape (n,)."""
        return times_of(self._numbers)

    @property
    def margin_ratio(self) -> dict[str, NDArray[np.float64]]:
        """Margin ratio at each bar's close by feed name, shape (n,); 0 when flat."""
        return self._histories(self._ratios)

    @property
    def position_leverage(self) -> dict[str, NDArray[np.float64]]:
        """Leverage the position was opened with, at each bar's close by feed name, shape (n,); 0 when flat."""
        return self._histories(self._leverages)

    def _histories(self, recorded: list[array[float]]) -> dict[str, NDArray[np.float64]]:
        return {name: np.array(recorded[place]) for place, name in enumerate(self._names)}

    @property
    def events(self) -> tuple[dict[str, object], ...]:
        """Every liquidation so far."""
        return tuple(self._events)

    def curve(self) -> pd.DataFrame:
        """Frame by bar time (UTC) with two columns a feed: margin_ratio and position_leverage."""
        frames = {"margin_ratio": self.margin_ratio, "position_leverage": self.position_leverage}
        columns = {(name, kind): frames[kind][name] for name in self._names for kind in frames}
        return pd.DataFrame(columns, index=pd.DatetimeIndex(self.times, name="time"))

    def stop(self) -> None:
        """Compute the analysis; let go of the run so that the analyzer pickles."""
        del self._broker, self._clock
        ratios, leverages = self.margin_ratio, self.position_leverage
        highest = np.max(np.array(list(ratios.values())), axis=0)
        self.rets = analysis_of(
            {
                "liquidations": len(self._events),
                "loss": _sum(self._events, "loss"),
                "fees": _sum(self._events, "fee"),
                "threshold": self.p.threshold,
                **self._danger(highest),
                "max_position_leverage": max((_max(history) for history in leverages.values()), default=math.nan),
                "feeds": {
                    name: {
                        "liquidations": sum(event["data_name"] == name for event in self._events),
                        **self._danger(ratios[name]),
                        "max_position_leverage": _max(leverages[name]),
                    }
                    for name in self._names
                },
                "events": self._events,
            }
        )

    def _danger(self, ratio: NDArray[np.float64]) -> dict[str, float]:
        above = ratio > self.p.threshold
        return {
            "bars_above_threshold": int(np.count_nonzero(above)),
            "time_above_threshold": ev.exposure(above),
            "max_margin_ratio": _max(ratio),
        }


def _max(history: NDArray[np.float64]) -> float:
    return float(np.max(history)) if history.size else math.nan


def _sum(events: list[dict[str, object]], name: str) -> float:
    return math.fsum(event[name] for event in events)  # type: ignore[misc]  # loss and fee of a Liquidation are floats
