"""The main job: AIStrategy on market data, in Cerebro, on a broker with real margin."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import backtrader as bt

from ai_backtrader.analyzers import Decisions, Learning, Liquidations, Performance, Timeline
from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.checks import Faults
from ai_backtrader.cli.progress import Progress
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.engine import Engine, EngineSettings
from ai_backtrader.errors import SettingsError
from ai_backtrader.leverage import LeverageSettings
from ai_backtrader.llm_advisor import Advisor, AdvisorReport
from ai_backtrader.market import MaintenanceTiers, MarketData
from ai_backtrader.strategies import Adaptation, AIStrategy, compared_runs

__all__ = ["BacktestSettings", "advice_words", "run_backtest"]


@dataclass(frozen=True, kw_only=True)
class BacktestSettings:
    """Everything that decides a run besides the data.

    Attributes
    ----------
    cash
        Starting cash in account currency.
    commission, slippage
        Per fill, as fractions of the notional and of the price.
    max_leverage, risk_budget
        Limits of the leverage manager.
    maintenance_rate, liquidation_fee
        Maintenance margin and liquidation fee as fractions of the notional.
    funding
        Rate per 8 hours; None takes the rates in the data, where there are any.
    allow_short
        False only closes on a SELL.
    seed
        Source of every random choice.
    adapt
        Whether AIStrategy searches anew on the way, at drift.
    adapt_every
        Also on schedule, so many bars apart; None for never.
    """

    cash: float = 10_000.0
    commission: float = 0.0005
    slippage: float = 0.0001
    max_leverage: float = 10.0
    risk_budget: float = 0.02
    maintenance_rate: float = 0.005
    liquidation_fee: float = 0.005
    funding: float | None = None
    allow_short: bool = True
    seed: int = 0
    adapt: bool = False
    adapt_every: int | None = None

    def __post_init__(self) -> None:
        faults = Faults("backtest")
        faults.number("cash", self.cash, above=0.0)
        for name in ("commission", "slippage", "liquidation_fee"):
            faults.number(name, getattr(self, name), low=0.0, high=0.1)
        faults.number("maintenance_rate", self.maintenance_rate, low=0.0, high=0.5)
        faults.number("max_leverage", self.max_leverage, low=1.0, high=125.0)
        faults.number("risk_budget", self.risk_budget, above=0.0, high=1.0)
        if self.funding is not None:
            faults.number("funding", self.funding, low=-0.1, high=0.1)
        faults.whole("seed", self.seed, low=0)
        if self.adapt_every is not None:
            faults.whole("adapt_every", self.adapt_every, low=1)
            if not self.adapt:
                faults.add("adapt_every needs adapt: nothing is searched without")
        faults.raise_if_any()

    @property
    def adaptation(self) -> Adaptation | None:
        """When AIStrategy searches anew; None for never."""
        return Adaptation(every_bars=self.adapt_every) if self.adapt else None


def run_backtest(
    data: MarketData,
    settings: BacktestSettings,
    *,
    database: Path | None = None,
    agents: str = "none",
    advisor: Advisor | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Trade ``data`` with AIStrategy and give what the analyzers saw.

    Parameters
    ----------
    data
        Market data.
    settings
        Costs, limits, seed.
    database
        Learning database in which the run, its trades and its regimes are kept; None keeps nothing.
    agents
        ``"pretrained"``: those that ship with the package vote; ``"none"``; or the path of a trained agent's file.
    advisor
        Language model that may object; None asks none.
    on_progress
        Called with the number of bars done, now and then; None for silence.

    Returns
    -------
    dict
        ``run`` (settings, data and versions, so that the run can be repeated), ``strategy`` (the strategy instance)
        and the analyzers ``performance``, ``liquidations``, ``decisions``, ``timeline``, ``learning``. With ``adapt``
        also ``adaptation``, whether each adaptation paid, and, where one changed what votes, ``unadapted``: the
        strategy of the same run without.

    Raises
    ------
    SettingsError
        If ``adapt`` comes with an advisor: the same run without adaptation would ask it all again.
    """
    if advisor is not None and settings.adapt:
        raise SettingsError(
            "backtest", ["adapt needs the same run without adaptation, which would ask the model again: leave one out"]
        )
    card = _run_card(data, settings)
    engine = _engine(settings, database, agents, advisor)
    if engine.database is not None:
        bars = {data.symbol: data.fingerprint}
        engine.database.start_run("backtest", settings=card["settings"], seed=settings.seed, data=bars)
    strategy = _run(data, settings, engine, on_progress, adaptation=settings.adaptation)
    found = strategy.analyzers
    if engine.database is not None:
        engine.database.finish_run(figures=_numbers(found.performance.get_analysis()))
    engine.close()
    if advisor is not None:
        told = advisor.report()
        card["advisor"] = {
            "model": told.model, "mode": told.mode, "training_cutoff": str(told.training_cutoff or "unknown"),
            "consultations": told.consultations, "advised": told.advised, "warnings": list(told.warnings),
        }  # fmt: skip
    result = {
        "run": card,
        "strategy": strategy,
        "performance": found.performance,
        "liquidations": found.liquidations,
        "decisions": found.decisions,
        "timeline": found.timeline,
        "learning": found.learning,
    }
    return result | _without_adaptation(data, settings, strategy, agents)


def _engine(settings: BacktestSettings, database: Path | None, agents: str, advisor: Advisor | None) -> Engine:
    limits = LeverageSettings(risk_budget=settings.risk_budget, max_leverage=settings.max_leverage)
    return Engine(
        EngineSettings(seed=settings.seed, database=database, leverage=limits), agents=_agents(agents), advisor=advisor
    )


def _run(
    data: MarketData,
    settings: BacktestSettings,
    engine: Engine,
    on_progress: Callable[[int], None] | None,
    *,
    adaptation: Adaptation | None,
) -> Any:
    """The strategy as Cerebro ran it."""
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = LeverageBroker(
        max_leverage=settings.max_leverage,
        tiers=MaintenanceTiers.flat(settings.maintenance_rate),
        liquidation_fee=settings.liquidation_fee,
        funding=settings.funding,
    )
    cerebro.broker.setcash(settings.cash)
    cerebro.broker.setcommission(commission=settings.commission)
    cerebro.broker.set_slippage_perc(settings.slippage)
    cerebro.adddata(PerpetualData(dataname=data))
    cerebro.addstrategy(
        AIStrategy,
        engine=engine,
        allow_short=settings.allow_short,
        slippage=settings.slippage,
        adaptation=adaptation,
    )
    for analyzer in (Performance, Liquidations, Decisions, Timeline, Learning):
        cerebro.addanalyzer(analyzer)
    if on_progress is not None:
        cerebro.addanalyzer(Progress, callback=on_progress)
    return cerebro.run()[0]


def _without_adaptation(data: MarketData, settings: BacktestSettings, adapted: Any, agents: str) -> dict[str, Any]:
    """``adaptation``, what came of it, and ``unadapted``, the same run without, where something changed what votes."""
    if settings.adaptation is None:
        return {}
    plain = adapted
    if any(record.changed for record in adapted.adaptations):
        with _engine(settings, None, agents, None) as engine:
            plain = _run(data, settings, engine, None, adaptation=None)
    own, other = (one.analyzers.performance for one in (adapted, plain))
    compared = compared_runs(
        adapted.adaptations, own.times, own.equity, other.equity, adapted.closed_trades, plain.closed_trades
    )
    return {"adaptation": compared.to_dict()} | ({} if plain is adapted else {"unadapted": plain})


def advice_words(report: AdvisorReport) -> str:
    """What the model did in a run, and what to mind, in plain words."""
    cutoff = "an unknown date" if report.training_cutoff is None else f"{report.training_cutoff}"
    asked = (
        f"asked on {report.consultations:,} of {report.bars:,} bars, {report.advised:,} answers, {report.seconds:.0f} s"
    )
    lines = [f"Advisor {report.model} ({report.mode}), which has read until {cutoff}: {asked}.", *report.warnings]
    return "\n".join(lines)


def _agents(which: str) -> list[Any]:
    from ai_backtrader.rl import load_agent, load_pretrained
    from ai_backtrader.rl.shipped import PRETRAINED

    if which == "none":
        return []
    return [load_pretrained(kind) for kind in PRETRAINED] if which == "pretrained" else [load_agent(which)]


def _numbers(analysis: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in analysis.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def _run_card(data: MarketData, settings: BacktestSettings) -> dict[str, Any]:
    return {
        "symbol": data.symbol,
        "bars": len(data),
        "bar_seconds": data.bar_seconds,
        "first_bar": str(data.times[0].astype("datetime64[s]")),
        "last_bar": str(data.times[-1].astype("datetime64[s]")),
        "data_sha256": data.fingerprint,
        "settings": dataclasses.asdict(settings),
        "versions": {
            name: importlib.metadata.version(name) for name in ("ai-backtrader", "backtrader", "numpy", "numba")
        },
    }
