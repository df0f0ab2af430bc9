"""Whether adapting paid: the same run with it and without."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import backtrader as bt
import numpy as np
from numpy.typing import NDArray

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.checks import Faults
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.engine import Engine
from ai_backtrader.events import TradeClosed
from ai_backtrader.evidence import bar_returns, sharpe_evidence
from ai_backtrader.market import MarketData
from ai_backtrader.strategies.adaptation import Adaptation, AdaptationRecord
from ai_backtrader.strategies.adaptation_spans import FEWEST_TRADES, AdaptationWorth, worths_of
from ai_backtrader.strategies.ai_strategy import AIStrategy

__all__ = ["AdaptationComparison", "compare_adaptation", "compared_runs"]


@dataclass(frozen=True, kw_only=True, eq=False)
class AdaptationComparison:
    """A run with adaptation beside the same without.

    Attributes
    ----------
    records
        Every search of the adapting run.
    adapted, without
        (bars,) equity at each close.
    trades_adapted, trades_without
        Closed trades.
    first_bar
        Bars that had closed when something first changed what votes; None when nothing did.
    probability
        That the adapting run's mean return, bar by bar, is truly above the other's, given the bars after the first
        change (probabilistic Sharpe ratio of the difference); NaN where the two do not differ.
    worths
        One an adaptation, in order.
    """

    records: tuple[AdaptationRecord, ...]
    adapted: NDArray[np.float64]
    without: NDArray[np.float64]
    trades_adapted: int
    trades_without: int
    first_bar: int | None
    probability: float
    worths: tuple[AdaptationWorth, ...] = ()

    @property
    def gain(self) -> float:
        """Final equity with adaptation over that without, less 1: a fraction."""
        return float(self.adapted[-1] / self.without[-1] - 1.0) if self.without[-1] > 0.0 else math.nan

    @property
    def paid(self) -> bool:
        """Whether the adapting run ended with more."""
        return bool(self.adapted[-1] > self.without[-1])

    @property
    def verdict(self) -> str:
        """The outcome in words."""
        searches, changed = len(self.records), sum(bool(record.changed) for record in self.records)
        put_forward = sum(record.put_forward for record in self.records)
        passed = sum(record.passed for record in self.records)
        told = f"{searches} searches: {passed} of {put_forward} strategies passed the sealed test"
        if not changed:
            return f"{told}, so nothing changed what votes and the two runs are the same."
        if math.isnan(self.probability):
            return f"{told}, but no bar's result differed."
        apart = sum(worth.trades for worth in self.worths)
        few = ", too few to say" if apart < FEWEST_TRADES else ""
        return (
            f"{told}. Adaptation {'paid' if self.paid else 'did not pay'}: final equity {self.adapted[-1]:,.2f} with "
            f"it, {self.without[-1]:,.2f} without ({self.gain:+.2%}); the probability that the true mean is above that "
            f"without is {self.probability:.0%}, by {apart:,} {'trade' if apart == 1 else 'trades'} that only one of "
            f"the two made{few}."
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values, without the curves."""
        return {
            "verdict": self.verdict,
            "paid": self.paid if any(record.changed for record in self.records) else None,
            "gain": self.gain if math.isfinite(self.gain) else None,
            "probability": None if math.isnan(self.probability) else self.probability,
            "trades": self.trades_adapted,
            "trades_without": self.trades_without,
            "adaptations": [worth.to_dict() for worth in self.worths],
        }


def compared_runs(
    records: Sequence[AdaptationRecord],
    times: NDArray[np.datetime64],
    adapted: NDArray[np.float64],
    without: NDArray[np.float64],
    trades: Sequence[TradeClosed] = (),
    trades_without: Sequence[TradeClosed] = (),
) -> AdaptationComparison:
    """A run with adaptation beside the same without, whoever made them.

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
    worths = worths_of(records, times, adapted, without, trades, trades_without)
    first = next((worth.place for worth in worths if worth.changed), None)
    difference = np.zeros(0) if first is None else (bar_returns(adapted) - bar_returns(without))[first:]
    moved = bool(np.any(np.nan_to_num(difference)))
    return AdaptationComparison(
        records=tuple(records), adapted=adapted, without=without, trades_adapted=len(trades),
        trades_without=len(trades_without), first_bar=None if first is None else first + 1,
        probability=sharpe_evidence(difference).probabilistic if moved else math.nan, worths=worths,
    )  # fmt: skip


def compare_adaptation(
    data: MarketData,
    adaptation: Adaptation | None = None,
    *,
    make_engine: Callable[[], Engine] = Engine,
    cash: float = 10_000.0,
    commission: float = 0.0005,
    slippage: float = 0.0,
    **params: Any,
) -> AdaptationComparison:
    """Trade the data twice, with adaptation and without, and say whether it paid.

    Parameters
    ----------
    data
        The feed.
    adaptation
        Its settings; None takes the defaults.
    make_engine
        Makes the systems of each run, both times alike.
    cash
        Account value before the first bar.
    commission, slippage
        Fractions of the notional.
    **params
        Further params of :class:`~ai_backtrader.strategies.AIStrategy`.

    Raises
    ------
    SettingsError
        If an argument is wrong.
    """
    _check(data, make_engine, cash, commission, slippage)

    def run(chosen: Adaptation | None) -> tuple[Any, NDArray[np.float64]]:
        cerebro = bt.Cerebro(stdstats=False)
        cerebro.broker = LeverageBroker()
        cerebro.broker.setcash(cash)
        cerebro.broker.setcommission(commission=commission)
        if slippage:
            cerebro.broker.set_slippage_perc(slippage)
        cerebro.adddata(PerpetualData(dataname=data))
        with make_engine() as engine:
            cerebro.addstrategy(AIStrategy, engine=engine, adaptation=chosen, slippage=slippage, **params)
            cerebro.addanalyzer(_Equity, _name="equity")
            strategy = cerebro.run()[0]
        return strategy, np.array(strategy.analyzers.equity.values)

    adapting, adapted = run(Adaptation() if adaptation is None else adaptation)
    plain, without = run(None)
    return compared_runs(
        adapting.adaptations, data.times, adapted, without, adapting.closed_trades, plain.closed_trades
    )


def _check(data: object, make_engine: object, cash: float, commission: float, slippage: float) -> None:
    faults = Faults("compare_adaptation")
    if not isinstance(data, MarketData):
        faults.add(f"data must be MarketData, got {type(data).__name__}")
    if not callable(make_engine):
        faults.add(f"make_engine must be a function that makes an Engine, got {make_engine!r}")
    faults.number("cash", cash, above=0.0)
    for name, value in (("commission", commission), ("slippage", slippage)):
        faults.number(name, value, low=0.0, high=0.1)
    faults.raise_if_any()


class _Equity(bt.Analyzer):
    """Value of the account at every close."""

    def start(self) -> None:
        self.values: list[float] = []

    def next(self) -> None:
        self.values.append(self.strategy.broker.getvalue())

    prenext = nextstart = next
