"""What came of each adaptation of a run: the account from it to the next, beside the same run without any."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.events import TradeClosed
from ai_backtrader.evidence import bar_returns, sharpe_evidence
from ai_backtrader.strategies.adaptation import AdaptationRecord

__all__ = ["FEWEST_TRADES", "AdaptationWorth", "worths_of"]

FEWEST_TRADES = 10
"""Trades that one run made and the other did not, below which nothing is said of an adaptation."""

_TWO_SIDED = 1.959963984540054  # standard errors of a 95 % interval


@dataclass(frozen=True, kw_only=True)
class AdaptationWorth:
    """What came of one adaptation, beside the same run without any: from its close to that of the next that changed.

    Attributes
    ----------
    at, until
        UTC; the last bar that it saw, and the last that is counted for it.
    place, last
        These bars by their place in the curves.
    reason
        Drift or schedule, in a sentence.
    searches, put_forward, passed
        How many it made, strategies examined on sealed bars, those that passed.
    changed
        What votes from then on, by the rules in words; empty where nothing changed, and then all below is nothing.
    growth, growth_without
        Returns of the two accounts over these bars, fractions.
    gain, low, high
        The first over the second, less 1, as fractions, and the 95 % interval of that (from the spread of the
        difference of the two log returns bar by bar).
    gain_to_end
        The same gain to the end of the run, with all that later adaptations did.
    probability
        That the mean difference, bar by bar, is truly above 0 (probabilistic Sharpe ratio).
    trades
        Closed trades that only one of the two runs made; the interval is worth little where they are few.
    """

    at: dt.datetime
    until: dt.datetime
    place: int
    last: int
    reason: str
    searches: int
    put_forward: int
    passed: int
    changed: tuple[str, ...]
    growth: float = math.nan
    growth_without: float = math.nan
    gain: float = math.nan
    low: float = math.nan
    high: float = math.nan
    gain_to_end: float = math.nan
    probability: float = math.nan
    trades: int = 0

    @property
    def verdict(self) -> str:
        """Whether it paid; where the interval holds 0, that is within luck; below ten trades nothing is said."""
        if not self.changed:
            return "changed nothing"
        if math.isnan(self.probability):
            return "no bar differed"
        if self.trades < FEWEST_TRADES:
            return f"too few trades to say ({self.trades})"
        paid = "paid" if self.gain > 0.0 else "did not pay"
        return paid if self.low > 0.0 or self.high < 0.0 else f"{paid}, within luck"

    def to_dict(self) -> dict[str, Any]:
        """JSON values; what is not known is None."""
        plain = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in vars(self).items()
        }
        times = {"at": self.at.isoformat(), "until": self.until.isoformat()}
        return plain | times | {"changed": list(self.changed), "verdict": self.verdict}


def worths_of(
    records: Sequence[AdaptationRecord],
    times: NDArray[np.datetime64],
    adapted: NDArray[np.float64],
    without: NDArray[np.float64],
    trades: Sequence[TradeClosed] = (),
    trades_without: Sequence[TradeClosed] = (),
) -> tuple[AdaptationWorth, ...]:
    """One an adaptation, in order: searches at the same bar are one.

    Parameters
    ----------
    records
        Of the adapting run.
    times
        Of the bars, shape (bars,), UTC.
    adapted, without
        Equity at each close with adaptation and without, shape (bars,).
    trades, trades_without
        Closed trades of the two.
    """
    groups: dict[dt.datetime, list[AdaptationRecord]] = {}
    for record in records:
        groups.setdefault(record.at, []).append(record)
    stamps = np.array(list(groups), dtype="datetime64[us]").astype(times.dtype)
    places = dict(zip(groups, (np.searchsorted(times, stamps, side="right") - 1).tolist(), strict=True))
    changes = [at for at, group in groups.items() if any(record.changed for record in group)]
    borders = [*(places[at] for at in changes), len(times) - 1]
    ends = dict(zip(changes, borders[1:], strict=True))
    apart = _apart(trades, trades_without)
    return tuple(
        _worth(group, places[at], ends.get(at, places[at]), times, adapted, without, apart)
        for at, group in groups.items()
    )


def _apart(trades: Sequence[TradeClosed], others: Sequence[TradeClosed]) -> list[dt.datetime]:
    """When the trades closed that only one of the two runs made."""
    keys = [{(one.opened_at, one.closed_at, one.direction): one.closed_at for one in side} for side in (trades, others)]
    alone = keys[0].keys() ^ keys[1].keys()
    closed = [(keys[0] | keys[1])[key] for key in alone]
    return [at for at in closed if at is not None]


def _worth(
    group: Sequence[AdaptationRecord], place: int, last: int, times: NDArray[np.datetime64],
    adapted: NDArray[np.float64], without: NDArray[np.float64], apart: Sequence[dt.datetime],
) -> AdaptationWorth:  # fmt: skip
    changed = tuple(words for record in group for words in record.changed)
    worth = AdaptationWorth(
        at=group[0].at, until=_moment(times[last]), place=place, last=last, reason=group[0].reason,
        searches=len(group), put_forward=sum(record.put_forward for record in group),
        passed=sum(record.passed for record in group), changed=changed,
    )  # fmt: skip
    if not changed or last <= place:
        return worth
    own, other = (np.maximum(curve, 0.0) for curve in (adapted[place:], without[place:]))
    span = last - place
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (own / own[0]) / (other / other[0])
        steps = np.diff(np.log(ratio[: span + 1]))  # of the two log returns, bar by bar
    if not np.all(np.isfinite(steps)):  # one of them was used up
        steps = np.zeros(0)
    difference = (bar_returns(own) - bar_returns(other))[:span]
    error = _TWO_SIDED * float(np.std(steps, ddof=1)) * math.sqrt(span) if len(steps) > 1 else math.nan
    middle = float(steps.sum()) if len(steps) else math.nan
    moved = bool(np.any(np.nan_to_num(difference)))
    return dataclasses.replace(
        worth,
        growth=float(own[span] / own[0] - 1.0),
        growth_without=float(other[span] / other[0] - 1.0),
        gain=float(ratio[span] - 1.0),
        low=math.expm1(middle - error),
        high=math.expm1(middle + error),
        gain_to_end=float(ratio[-1] - 1.0),
        probability=sharpe_evidence(difference).probabilistic if moved else math.nan,
        trades=sum(worth.at < at <= worth.until for at in apart),
    )


def _moment(time: np.datetime64) -> dt.datetime:
    moment: dt.datetime = time.astype("datetime64[us]").item()
    return moment
