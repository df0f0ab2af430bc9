"""The same rules in Cerebro, decided from ready-made signals: what the kernels are compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.market import MarketData
from ai_backtrader.rules import HoldGene, SeriesBank, StrategyChromosome, strategy_period
from ai_backtrader.simulation import FILL_DTYPE, FillReason, SimulationResult


class _SignalStrategy(bt.Strategy):
    """Reads the genes' signals from arrays; orders, bracket and positions are Backtrader's own."""

    params = (("chromosome", None), ("bank", None))

    def __init__(self) -> None:
        chromosome, bank = self.p.chromosome, self.p.bank
        self.first_decision = strategy_period(chromosome) - 1
        self.sections = {
            name: [gene if isinstance(gene, HoldGene) else bank.signal(gene) for gene in section.genes]
            for name, section in chromosome.sections.items()
        }
        self.need = chromosome.required._asdict()
        self.atr = bank.atr(chromosome.risk.atr_period) if chromosome.risk.needs_atr else None
        self.children: list[Any] = []
        self.kinds: dict[int, FillReason] = {}
        self.entry_bar = -1
        self.fills: list[tuple[Any, ...]] = []
        self.trades: list[tuple[Any, ...]] = []
        self.refused: set[int] = set()
        self.curve: list[tuple[float, float]] = []

    def notify_order(self, order: Any) -> None:
        bar = len(self) - 1
        if order.status == order.Completed:
            kind = self.kinds.get(order.ref, FillReason.LIQUIDATION)
            assert (kind == FillReason.LIQUIDATION) == bool(order.info.get("liquidation"))
            if kind == FillReason.ENTRY:
                self.entry_bar = bar
            done = order.executed
            funding = order.info.get("funding", 0.0)
            self.fills.append((bar, done.price, done.size, done.comm, funding, done.pnl, kind))
        elif order.status in (order.Margin, order.Rejected):
            self.refused.add(order.ref)

    def notify_trade(self, trade: Any) -> None:
        if trade.isclosed:
            self.trades.append((trade.baropen - 1, trade.barclose - 1, trade.price, trade.pnl, trade.pnlcomm))

    def true(self, name: str) -> bool:
        bar = len(self) - 1
        genes = self.sections[name]
        votes = sum(bar - self.entry_bar > g.bars if isinstance(g, HoldGene) else bool(g[bar]) for g in genes)
        return bool(genes) and votes >= self.need[name]

    def entry(self, name: str) -> bool:
        return self.true(name) and (not self.sections["filters"] or self.true("filters"))

    def prenext(self) -> None:
        self.next()

    def next(self) -> None:
        self.curve.append((self.broker.getvalue(), self.broker.getcash()))
        if len(self) - 1 < self.first_decision:
            return
        held = self.position.size
        if not held:
            if self.entry("entry_long"):
                self.enter(1)
            elif self.entry("entry_short"):
                self.enter(-1)
            return
        turn = self.p.chromosome.risk.reverse and self.entry("entry_short" if held > 0 else "entry_long")
        if turn or self.true("exit"):
            for child in self.children:
                self.cancel(child)
            self.kinds[self.close().ref] = FillReason.REVERSAL if turn else FillReason.EXIT
            if turn:
                self.enter(-1 if held > 0 else 1)

    def enter(self, side: int) -> None:
        risk, close = self.p.chromosome.risk, self.data.close[0]
        size = self.broker.getvalue() * risk.position_size * risk.leverage / close
        if not size > 0.0:
            return
        orders: dict[str, Any] = {"exectype": bt.Order.Market, "stopexec": None, "limitexec": None}
        if risk.leverage > 1.0:
            orders["oargs"] = {"leverage": risk.leverage}
        if risk.stop_atr:
            orders |= {"stopexec": bt.Order.Stop, "stopprice": close - side * (risk.stop_atr * self.atr[len(self) - 1])}
        elif risk.trailing_atr:
            amount = risk.trailing_atr * self.atr[len(self) - 1]
            orders |= {"stopexec": bt.Order.StopTrail, "stopargs": {"trailamount": amount}}
        if risk.take_profit_atr:
            target = close + side * (risk.take_profit_atr * self.atr[len(self) - 1])
            orders |= {"limitexec": bt.Order.Limit, "limitprice": target}
        parent, stop, target = (self.buy_bracket if side > 0 else self.sell_bracket)(size=size, **orders)
        self.children = [child for child in (stop, target) if child is not None]
        self.kinds[parent.ref] = FillReason.ENTRY
        if stop is not None:
            self.kinds[stop.ref] = FillReason.TRAILING if risk.trailing_atr else FillReason.STOP
        if target is not None:
            self.kinds[target.ref] = FillReason.TARGET


@pytest.fixture(scope="session")
def cerebro_run() -> Callable[..., tuple[SimulationResult, list[tuple[Any, ...]]]]:
    """Run a chromosome in Cerebro; gives the result and Backtrader's own closed trades."""

    def run(
        data: MarketData,
        chromosome: StrategyChromosome,
        *,
        broker: str = "leverage",
        bank: SeriesBank | None = None,
        cash: float = 10_000.0,
        commission: float = 0.0005,
        slippage: float = 0.0,
        tiers: Any = None,
        funding: float | bool | None = None,
        liquidation_fee: float = 0.0,
        shortcash: bool = True,
    ) -> tuple[SimulationResult, list[tuple[Any, ...]]]:
        cerebro = bt.Cerebro(stdstats=False)
        if broker == "leverage":
            cerebro.broker = LeverageBroker(tiers=tiers, funding=funding, liquidation_fee=liquidation_fee)
        cerebro.adddata(PerpetualData(dataname=data))
        cerebro.broker.setcash(cash)
        cerebro.broker.setcommission(commission=commission)
        cerebro.broker.set_shortcash(shortcash)
        if slippage:
            cerebro.broker.set_slippage_perc(slippage)
        cerebro.addstrategy(_SignalStrategy, chromosome=chromosome, bank=bank or SeriesBank(data))
        strategy = cerebro.run()[0]
        curve = np.array(strategy.curve)
        result = SimulationResult(
            symbol=data.symbol,
            times=data.times,
            bars_per_year=data.bars_per_year,
            start_cash=cash,
            leverage=chromosome.risk.leverage,
            fills=np.array(strategy.fills, dtype=FILL_DTYPE),
            equity=curve[:, 0].copy(),
            cash=curve[:, 1].copy(),
            rejected=len(strategy.refused),
            funding_paid=cerebro.broker.funding_paid() if broker == "leverage" else 0.0,
        )
        return result, strategy.trades

    return run


@pytest.fixture(scope="session")
def jumpy_data() -> MarketData:
    """Hourly synthetic bars with fat tails, gaps, spikes, a mark price of its own and funding; not a real market."""
    rng = np.random.default_rng(2024)
    n = 700
    close = 100.0 * np.exp(np.cumsum(rng.standard_t(3, n) * 0.012))
    gaps = np.where(rng.random(n) < 0.04, rng.normal(0.0, 0.06, n), rng.normal(0.0, 0.002, n))
    opening = np.concatenate(([100.0], close[:-1])) * np.exp(gaps)
    high = np.maximum(opening, close) * np.exp(np.abs(rng.standard_t(3, n)) * 0.006)
    low = np.minimum(opening, close) * np.exp(-np.abs(rng.standard_t(3, n)) * 0.006)
    basis = np.exp(rng.normal(0.0, 0.003, n))
    frame = pd.DataFrame(
        {
            "open": opening, "high": high, "low": low, "close": close, "volume": rng.lognormal(5.0, 1.0, n),
            "mark_open": opening * basis, "mark_high": high * basis, "mark_low": low * basis,
            "mark_close": close * basis,
            "funding_rate": np.where(np.arange(n) % 8 == 0, rng.normal(0.0, 0.001, n), np.nan),
        },
        index=pd.date_range("2024-01-01", periods=n, freq="h", tz="UTC"),
    )  # fmt: skip
    return MarketData.from_frame(frame, symbol="JUMPY", spike_factor=1e9)
