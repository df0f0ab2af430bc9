"""What an advisor was worth: the same run with it, without it, and with its advice given at other times."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import backtrader as bt
import numpy as np

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.checks import Faults
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.engine import AdviceSource, Engine, EngineSettings
from ai_backtrader.evidence import metrics
from ai_backtrader.llm_advisor import Advisor
from ai_backtrader.market import MarketData
from ai_backtrader.orchestrator import Abstention, Advice, AdvicePort, Context
from ai_backtrader.strategies.ai_strategy import AIStrategy
from ai_backtrader.values import Action

__all__ = ["AdviceWorth", "RunFigures", "advice_worth"]

Bar = tuple[str, dt.datetime | None]


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """Figures of one run.

    Attributes
    ----------
    total_return, max_drawdown
        Fractions.
    sharpe_ratio
        Annualised; NaN where the equity does not move.
    trades, vetoes
        Closed trades; decisions that the advisor turned into HOLD.
    """

    total_return: float
    max_drawdown: float
    sharpe_ratio: float
    trades: int
    vetoes: int


@dataclass(frozen=True, kw_only=True)
class AdviceWorth:
    """What the advisor was worth.

    Attributes
    ----------
    advised, without
        The run with the advisor, and without.
    shuffled
        Runs in which the same advice is given at other bars of those on which there was some.
    consulted
        Bars on which there was advice.
    gain
        Total return with the advisor less that without, a fraction.
    p_value
        Share of the shuffled runs (and the real one) that did at least as well as the real one: how often advice
        given at random times does so. NaN without shuffled runs, 1 without advice.
    """

    advised: RunFigures
    without: RunFigures
    shuffled: tuple[RunFigures, ...]
    consulted: int
    gain: float
    p_value: float


def advice_worth(
    data: MarketData,
    advisor: Advisor | AdvicePort,
    *,
    n_shuffles: int = 20,
    seed: int = 0,
    settings: EngineSettings | None = None,
    cash: float = 10_000.0,
    commission: float = 0.0005,
    params: Mapping[str, Any] | None = None,
) -> AdviceWorth:
    """Trade the data with the advisor, without it, and with its advice shuffled over the bars on which it gave some.

    The advisor is asked in one run only; the shuffled runs make no request. An advice keeps its relation to the trade
    (agrees, asks for HOLD, wants the other side), its confidence and its risk level, so that as many
    objections are dealt out as in the real run (where a shuffled run wants no trade nothing is objected to): what
    remains is whether it objected at the right time.

    Parameters
    ----------
    data
        Market data.
    advisor
        Whom the orchestrator asks. An ``Advisor`` begins a new run; in its mode ``replay`` the comparison costs no
        request at all.
    n_shuffles
        Permutations.
    seed
        Of the permutations.
    settings
        Of the engine; None takes the defaults.
    cash, commission
        Starting cash; fraction of the notional, per fill.
    params
        Further params of :class:`~ai_backtrader.strategies.AIStrategy`.

    Raises
    ------
    SettingsError
        If a number is out of range.
    """
    faults = Faults("advice_worth")
    faults.whole("n_shuffles", n_shuffles, low=0)
    faults.whole("seed", seed, low=0)
    faults.number("cash", cash, above=0.0)
    faults.number("commission", commission, low=0.0, high=0.1)
    faults.raise_if_any()

    def run(port: AdvicePort | None) -> RunFigures:
        return _run(data, Engine(settings, advisor=port), cash, commission, dict(params or {}))

    if isinstance(advisor, Advisor):
        advisor.start_run()
        advisor = AdviceSource(advisor)
    witness = _Witness(advisor)
    without, advised = run(None), run(witness)
    bars, stances = list(witness.given), list(witness.given.values())
    rng = np.random.default_rng(seed)
    shuffled = []
    for _ in range(n_shuffles if stances else 0):
        order = rng.permutation(len(stances))
        shuffled.append(run(_Retold({bar: stances[place] for bar, place in zip(bars, order, strict=True)})))
    as_good = 1 + sum(figures.total_return >= advised.total_return for figures in shuffled)
    return AdviceWorth(
        advised=advised,
        without=without,
        shuffled=tuple(shuffled),
        consulted=len(stances),
        gain=advised.total_return - without.total_return,
        p_value=as_good / (1 + len(shuffled)) if shuffled else 1.0 if not stances else float("nan"),
    )


@dataclass(frozen=True)
class _Stance:
    """An advice and what it said of the trade: 1 agrees, 0 asks for HOLD, -1 wants the other side."""

    advice: Advice
    agreement: int

    def about(self, wish: Action) -> Advice:
        advice = self.advice
        return Advice(
            action=Action.from_sign(self.agreement * wish.sign),
            confidence=advice.confidence,
            reason=advice.reason,
            risk_level=advice.risk_level,
            warnings=advice.warnings,
        )


class _Witness:
    """Passes the advisor's advice on, and writes it down."""

    def __init__(self, advisor: AdvicePort) -> None:
        self._advisor = advisor
        self.given: dict[Bar, _Stance] = {}

    def advise(self, context: Context, action: Action, confidence: float) -> Advice | Abstention:
        advice = self._advisor.advise(context, action, confidence)
        if isinstance(advice, Advice) and action is not Action.HOLD:
            self.given[context.symbol, context.at] = _Stance(advice, advice.action.sign * action.sign)
        return advice


class _Retold:
    """Gives what is to be given at each bar, whatever the market says."""

    def __init__(self, given: Mapping[Bar, _Stance]) -> None:
        self._given = given

    def advise(self, context: Context, action: Action, confidence: float) -> Advice | Abstention:
        stance = self._given.get((context.symbol, context.at))
        if stance is None or action is Action.HOLD:
            return Abstention("llm", "no advice at this bar")
        return stance.about(action)


class _Equity(bt.Analyzer):
    def start(self) -> None:
        self.values: list[float] = []

    def next(self) -> None:
        self.values.append(self.strategy.broker.getvalue())

    prenext = nextstart = next


def _run(data: MarketData, engine: Engine, cash: float, commission: float, params: dict[str, Any]) -> RunFigures:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker()
    cerebro.broker.setcash(cash)
    cerebro.broker.setcommission(commission=commission)
    cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addstrategy(AIStrategy, engine=engine, **params)
    cerebro.addanalyzer(_Equity, _name="equity")
    strategy = cerebro.run()[0]
    equity = np.array(strategy.analyzers.equity.values)
    returns = metrics.bar_returns(equity, start=cash)
    return RunFigures(
        total_return=metrics.total_return(returns),
        max_drawdown=metrics.max_drawdown(np.concatenate(([cash], equity))),
        sharpe_ratio=metrics.sharpe_ratio(returns, bars_per_year=data.bars_per_year),
        trades=len(strategy.closed_trades),
        vetoes=sum(decision.vetoed_by == "llm" for decision in strategy.decisions),
    )
