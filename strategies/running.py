"""A chromosome in Cerebro, with the same result type as the compiled simulation."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import numpy as np

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.rules import StrategyChromosome, strategy_period
from ai_backtrader.simulation import FILL_DTYPE, FillReason, SimulationResult, SimulationSettings
from ai_backtrader.strategies.evolved import compile_strategy

__all__ = ["run_in_cerebro"]


class _Record(bt.Analyzer):
    """Fills, refused orders, equity and cash of a run."""

    def start(self) -> None:
        self.fills: list[tuple[Any, ...]] = []
        self.refused: set[int] = set()
        self.equity: list[float] = []
        self.cash: list[float] = []

    def notify_order(self, order: Any) -> None:
        # Without a filler an order fills at once: Partial means that its other part was refused, and is told next.
        if order.status in (order.Partial, order.Completed):
            done, info = order.executed, order.info
            reason = FillReason.LIQUIDATION if info.get("liquidation") else FillReason[info["reason"].upper()]
            bar = len(order.data) - 1
            self.fills.append((bar, done.price, done.size, done.comm, info.get("funding", 0.0), done.pnl, reason))
        elif order.status in (order.Margin, order.Rejected):
            self.refused.add(order.ref)

    def next(self) -> None:
        self.equity.append(self.strategy.broker.getvalue())
        self.cash.append(self.strategy.broker.getcash())

    prenext = nextstart = next


def run_in_cerebro(
    data: MarketData,
    chromosome: StrategyChromosome,
    *,
    cash: float = 10_000.0,
    commission: float = 0.0005,
    slippage: float = 0.0,
    tiers: MaintenanceTiers | None = None,
    funding: float | bool | None = None,
    liquidation_fee: float = 0.0,
    shortcash: bool = True,
) -> SimulationResult:
    """Run a chromosome in Backtrader's Cerebro, on :class:`~ai_backtrader.brokers.LeverageBroker`.

    The slow twin of :func:`ai_backtrader.simulation.simulate`: same arguments, same result, by Backtrader's own
    indicators and orders.

    Parameters
    ----------
    data
        The feed.
    chromosome
        The rules; leverage is theirs.
    cash
        Account value before the first bar.
    commission
        Fraction of the notional, charged on every fill.
    slippage
        Fraction by which market and stop orders fill worse, inside the bar's range.
    tiers
        Maintenance table; None is a flat 0.5 %.
    funding
        None: the rates of the data where they have some; False or 0: none; a number: that rate at 00, 08 and 16 UTC.
    liquidation_fee
        Fraction of the notional, on top of the commission.
    shortcash
        Whether a short at leverage 1 is paid its proceeds, as Backtrader does by default (else it needs the cash).

    Returns
    -------
    SimulationResult
        Fills, equity and cash at every bar, trades and metrics.

    Raises
    ------
    SettingsError
        If an argument is wrong, or the indicators need more bars than there are.

    Examples
    --------
    >>> import numpy as np
    >>> from ai_backtrader.datafeeds import load_sample
    >>> rules = StrategyChromosome.random(np.random.default_rng(1))
    >>> result = run_in_cerebro(load_sample().head(500), rules)
    >>> len(result.equity)
    500
    """
    settings = SimulationSettings(
        cash=cash, commission=commission, slippage=slippage, tiers=tiers, funding=funding,
        liquidation_fee=liquidation_fee, shortcash=shortcash,
    )  # fmt: skip
    period = strategy_period(chromosome)
    if period > len(data):
        raise SettingsError(
            "run_in_cerebro",
            [
                f"the chromosome first decides at bar {period}, but the data have {len(data)}; "
                "give more bars or shorter periods"
            ],
        )
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker(tiers=tiers, funding=funding, liquidation_fee=liquidation_fee)
    cerebro.broker.setcash(settings.cash)
    cerebro.broker.setcommission(commission=settings.commission)
    cerebro.broker.set_shortcash(settings.shortcash)
    if settings.slippage:
        cerebro.broker.set_slippage_perc(settings.slippage)
    cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addstrategy(compile_strategy(chromosome))
    cerebro.addanalyzer(_Record, _name="record")
    record = cerebro.run()[0].analyzers.record
    return SimulationResult(
        symbol=data.symbol,
        times=data.times,
        bars_per_year=data.bars_per_year,
        start_cash=float(settings.cash),
        leverage=chromosome.risk.leverage,
        fills=np.array(record.fills, dtype=FILL_DTYPE),
        equity=np.array(record.equity, dtype=np.float64),
        cash=np.array(record.cash, dtype=np.float64),
        rejected=len(record.refused),
        funding_paid=cerebro.broker.funding_paid(),
    )
