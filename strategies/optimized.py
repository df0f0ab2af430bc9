"""optimize any strategy: compiled where it can be, in Cerebro where it must."""

from __future__ import annotations

import functools
import importlib.util
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import backtrader as bt
import numpy as np

from ai_backtrader.brokers import LeverageBroker
from ai_backtrader.checks import Faults
from ai_backtrader.datafeeds import PerpetualData
from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.executors import open_executor
from ai_backtrader.market import MarketData
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.parameter_optimizer import (
    Backtests,
    CompiledBacktests,
    OptimizationResult,
    Space,
    optimize_backtests,
    technical_rules,
)
from ai_backtrader.parameter_optimizer.evaluation import broker_words, content_digest, fingerprint_of
from ai_backtrader.parameter_optimizer.settings import TECHNICAL_SPACE
from ai_backtrader.rules import StrategyChromosome
from ai_backtrader.simulation import FILL_DTYPE, FillReason, SimulationResult, SimulationSettings
from ai_backtrader.strategies.evolved import EvolvedStrategy
from ai_backtrader.strategies.tuning import tunable_params, with_params

__all__ = ["CerebroBacktests", "backtest_strategy", "backtests_of", "optimize"]

MakeCerebro = Callable[[MarketData], bt.Cerebro]


def optimize(
    strategy: Any,
    data: MarketData,
    space: Space | Mapping[str, Any] | None = None,
    *,
    params: Mapping[str, Any] | None = None,
    cerebro: MakeCerebro | None = None,
    jobs: int = 1,
    executor: str = "local",
    cash: float = 10_000.0,
    commission: float = 0.0005,
    slippage: float = 0.0,
    tiers: MaintenanceTiers | None = None,
    funding: float | bool | None = None,
    liquidation_fee: float = 0.0,
    shortcash: bool = True,
    **search: Any,
) -> OptimizationResult:
    """Search the parameters of any strategy and say what the finding is worth.

    Parameters
    ----------
    strategy
        A ``bt.Strategy`` class with its own ``params``, a compiled one (``compile_strategy``), or a family (parameters
        to rules). The last two run in the compiled simulation, which gives what Cerebro gives to the last bit, some
        thousand times as fast; so does nothing else.
    data
        500 bars or more.
    space
        What may be searched; names are the strategy's params. None for the engine's technical strategy alone.
    params
        Params held at other values than their defaults.
    cerebro
        Function from market data to a Cerebro with one feed, broker and sizers, to which the strategy is added; None
        takes :class:`~ai_backtrader.brokers.LeverageBroker` with the costs given here. Costs are then its own.
    jobs, executor
        Threads of compiled runs; processes of runs in Cerebro, here or on a cluster. The result is the same.
    cash, commission, slippage, tiers, funding, liquidation_fee, shortcash
        As in :func:`~ai_backtrader.simulation.simulate`.
    **search
        ``n_trials``, ``objective``, ``regime``, ``seed``, ``surrogate``, ``validation``, ``test``, ``ledger``,
        ``journal``, ``store``, ``checkpoint``, ``resume``, ``on_batch``: as in
        :func:`ai_backtrader.parameter_optimizer.optimize`.

    Returns
    -------
    OptimizationResult
        The same for both ways.

    Raises
    ------
    SettingsError
        If an argument is wrong, or the space names params that the strategy lacks.
    AIBacktraderError
        If no parameter set has a score.
    """
    options = {
        "cash": cash, "commission": commission, "slippage": slippage, "tiers": tiers, "funding": funding,
        "liquidation_fee": liquidation_fee, "shortcash": shortcash,
    }  # fmt: skip
    if space is None and strategy is technical_rules:
        space = TECHNICAL_SPACE
    if space is None:
        raise SettingsError("optimize", ["give the space to search: {'period': (5, 50), …}"])
    known = Space.of(space)
    backtests = backtests_of(
        strategy, options, space=known, params=params, cerebro=cerebro, jobs=jobs, executor=executor
    )
    return optimize_backtests(backtests, data, known, **search)


def backtests_of(
    strategy: Any,
    options: Mapping[str, Any],
    *,
    space: Space,
    params: Mapping[str, Any] | None = None,
    cerebro: MakeCerebro | None = None,
    jobs: int = 1,
    executor: str = "local",
) -> Backtests:
    """What runs a strategy's parameter sets: compiled where it can be; for ``optimize`` and walk-forward.

    Raises
    ------
    SettingsError
        If the strategy is none, or lacks what the space or ``params`` name.
    """
    held = dict(params or {})
    names = [dimension.name for dimension in space.dimensions]
    is_class = isinstance(strategy, type) and issubclass(strategy, bt.Strategy)
    faults = Faults("optimize")
    if is_class:
        known = set(strategy.params._getkeys())
        for word, given in (("space", names), ("params", held)):
            unknown = [name for name in given if name not in known]
            if unknown:
                faults.add(
                    f"{word} names {', '.join(unknown)}, which {strategy.__name__} has not among its params: "
                    f"{', '.join(sorted(known)) or 'none'}"
                )
    elif not callable(strategy):
        faults.add(f"strategy must be a bt.Strategy class or a family (parameters to rules), got {strategy!r}")
    elif held or cerebro is not None:
        faults.add("params and cerebro belong to bt.Strategy classes; a family holds its own, and runs compiled")
    both = sorted(set(names) & set(held))
    if both:
        faults.add(f"{', '.join(both)} are both searched and held; leave them out of params")
    faults.raise_if_any()
    if not is_class:
        return CompiledBacktests(strategy, options, jobs=jobs)
    if issubclass(strategy, EvolvedStrategy) and strategy.chromosome is not None and cerebro is None:
        tunable = tunable_params(strategy.chromosome)
        if set(names) | set(held) <= set(tunable):
            return CompiledBacktests(_Tuned(strategy.chromosome, held), options, jobs=jobs)
    return CerebroBacktests(strategy, options, params=held, cerebro=cerebro, jobs=jobs, executor=executor)


class _Tuned:
    """The family of one compiled strategy: its rules with other numbers."""

    def __init__(self, chromosome: StrategyChromosome, held: Mapping[str, Any]) -> None:
        self._chromosome = chromosome
        self._values = tunable_params(chromosome) | dict(held)
        self.name = f"Evolved_{chromosome.fingerprint[:10]}"
        self.fingerprint = with_params(chromosome, self._values).fingerprint + chromosome.fingerprint

    def __call__(self, parameters: Mapping[str, Any]) -> StrategyChromosome:
        return with_params(self._chromosome, {**self._values, **parameters})


class CerebroBacktests:
    """Runs of a ``bt.Strategy`` class in Cerebro.

    Parameters
    ----------
    strategy
        The class.
    options
        Costs and margin, as in :func:`~ai_backtrader.simulation.simulate`.
    params, cerebro, jobs, executor
        As in :func:`optimize`.
    """

    def __init__(
        self,
        strategy: type[bt.Strategy],
        options: Mapping[str, Any],
        *,
        params: Mapping[str, Any] | None = None,
        cerebro: MakeCerebro | None = None,
        jobs: int = 1,
        executor: str = "local",
    ) -> None:
        self.strategy, self.options, self.params = strategy, dict(options), dict(params or {})
        self.cerebro, self.jobs, self.executor = cerebro, jobs, executor
        self._settings = SimulationSettings(**options)
        if jobs > 1 and executor == "local" and not _importable(strategy):
            # Sent by value a class loses what Backtrader's metaclass knows of it, its params first of all.
            raise SettingsError(
                "optimize",
                [
                    f"jobs={jobs} needs a strategy that worker processes can import; {strategy.__name__} lives in "
                    f"{strategy.__module__}: put it in a module on the path, or take jobs=1"
                ],
            )

    @property
    def name(self) -> str:
        """Of the class."""
        return str(self.strategy.__qualname__)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the class with its bases outside Backtrader, the held params, and the broker."""
        return content_digest(
            {
                "strategy": [_source_of(base) for base in self.strategy.__mro__ if _is_own(base)],
                "params": {name: repr(value) for name, value in sorted(self.params.items())},
                "defaults": repr(sorted(self.strategy.params._getitems())),
                "broker": broker_words(self._settings),
                "cerebro": None if self.cerebro is None else fingerprint_of(self.cerebro),
                "backtrader": bt.__version__,
            }
        )

    @property
    def costs(self) -> float:
        """Commission and slippage given here; those of a Cerebro of the user's own are not known."""
        return self._settings.commission + self._settings.slippage

    def run(self, data: MarketData, batch: Sequence[Mapping[str, Any]]) -> list[SimulationResult | str]:
        """One result for each parameter set; what a run raised is said in words."""
        work = functools.partial(_try_one, data, self.strategy, self.cerebro, self.options)
        with open_executor(self.executor, jobs=min(self.jobs, max(1, len(batch)))) as apply:
            return list(apply(work, [{**self.params, **parameters} for parameters in batch]))


def _importable(strategy: type) -> bool:
    if strategy.__module__ == "__main__" or "<locals>" in strategy.__qualname__:
        return False
    if issubclass(strategy, EvolvedStrategy):
        return True  # travels as its rules
    try:
        return importlib.util.find_spec(strategy.__module__) is not None
    except (ImportError, ValueError):
        return False


def _is_own(base: type) -> bool:
    return base.__module__.split(".")[0] not in ("backtrader", "builtins")


def _source_of(thing: type) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):  # made at a prompt: its code speaks for it
        return fingerprint_of(thing)


def _try_one(
    data: MarketData,
    strategy: type[bt.Strategy],
    cerebro: MakeCerebro | None,
    options: Mapping[str, Any],
    params: Mapping[str, Any],
) -> SimulationResult | str:
    try:
        return backtest_strategy(data, strategy, params=params, cerebro=cerebro, **options)
    except Exception as error:  # a user's strategy: its failure is the trial's, and is told
        return f"{type(error).__name__}: {error}"


class _Record(bt.Analyzer):
    """Fills, refused orders, equity and cash of any strategy."""

    def start(self) -> None:
        self.fills: list[tuple[Any, ...]] = []
        self.refused: set[int] = set()
        self.equity: list[float] = []
        self.cash: list[float] = []
        self._held = 0.0

    def notify_order(self, order: Any) -> None:
        funding = order.info.get("funding", 0.0)
        bits = list(order.executed.iterpending())
        for bit in bits:
            reason = self._reason(order, bit.size)
            # An order that filled at once has the price that Backtrader tells, its average, to the last bit.
            done = order.executed if len(bits) == 1 and bit.size == order.executed.size else bit
            self.fills.append((len(order.data) - 1, done.price, bit.size, done.comm, funding, done.pnl, reason))
            self._held += bit.size
            funding = 0.0  # an order's funding is told once
        if order.status in (order.Margin, order.Rejected):
            self.refused.add(order.ref)

    def _reason(self, order: Any, size: float) -> FillReason:
        if order.info.get("liquidation"):
            return FillReason.LIQUIDATION
        said = str(order.info.get("reason", "")).upper()
        if said in FillReason.__members__:
            return FillReason[said]
        if self._held == 0.0 or (self._held > 0.0) == (size > 0.0):
            return FillReason.ENTRY
        kinds = {
            order.Stop: FillReason.STOP, order.StopLimit: FillReason.STOP, order.Limit: FillReason.TARGET,
            order.StopTrail: FillReason.TRAILING, order.StopTrailLimit: FillReason.TRAILING,
        }  # fmt: skip
        return kinds.get(order.exectype, FillReason.REVERSAL if abs(size) > abs(self._held) else FillReason.EXIT)

    def next(self) -> None:
        self.equity.append(self.strategy.broker.getvalue())
        self.cash.append(self.strategy.broker.getcash())

    prenext = nextstart = next


def backtest_strategy(
    data: MarketData,
    strategy: type[bt.Strategy],
    *,
    params: Mapping[str, Any] | None = None,
    cerebro: MakeCerebro | None = None,
    cash: float = 10_000.0,
    commission: float = 0.0005,
    slippage: float = 0.0,
    tiers: MaintenanceTiers | None = None,
    funding: float | bool | None = None,
    liquidation_fee: float = 0.0,
    shortcash: bool = True,
) -> SimulationResult:
    """Run any strategy class in Cerebro on one feed.

    Parameters
    ----------
    data
        The feed.
    strategy, params
        The class, and params with other values than their defaults.
    cerebro
        Function from the data to a Cerebro ready but for the strategy; None takes
        :class:`~ai_backtrader.brokers.LeverageBroker` with the costs given here.
    cash, commission, slippage, tiers, funding, liquidation_fee, shortcash
        As in :func:`~ai_backtrader.simulation.simulate`.

    Returns
    -------
    SimulationResult
        Equity and cash at every bar are the broker's own. Fills carry the ``reason`` their orders were given, else
        what their kind says.

    Raises
    ------
    AIBacktraderError
        If the Cerebro has not exactly one feed, or its run had other bars than the data.
    """
    settings = SimulationSettings(
        cash=cash, commission=commission, slippage=slippage, tiers=tiers, funding=funding,
        liquidation_fee=liquidation_fee, shortcash=shortcash,
    )  # fmt: skip
    engine = _engine(data, settings) if cerebro is None else cerebro(data)
    if len(engine.datas) != 1:
        raise AIBacktraderError(
            f"optimize: the Cerebro must have one feed, it has {len(engine.datas)}; results of several feeds are not "
            "the parts of one account's trades"
        )
    engine.addstrategy(strategy, **(params or {}))
    engine.addanalyzer(_Record, _name="_record_of_optimize")
    start_cash = float(engine.broker.getvalue())
    ran = engine.run()[0]
    record = ran.analyzers.getbyname("_record_of_optimize")
    if len(record.equity) != len(data):
        raise AIBacktraderError(
            f"optimize: the run had {len(record.equity)} bars, the data {len(data)}; build the feed of the data given"
        )
    broker = engine.broker
    return SimulationResult(
        symbol=data.symbol,
        times=data.times,
        bars_per_year=data.bars_per_year,
        start_cash=start_cash,
        leverage=1.0,
        fills=np.array(record.fills, dtype=FILL_DTYPE),
        equity=np.array(record.equity, dtype=np.float64),
        cash=np.array(record.cash, dtype=np.float64),
        rejected=len(record.refused),
        funding_paid=float(broker.funding_paid()) if hasattr(broker, "funding_paid") else 0.0,
    )


def _engine(data: MarketData, settings: SimulationSettings) -> bt.Cerebro:
    engine = bt.Cerebro(stdstats=False)
    engine.broker = LeverageBroker(
        tiers=settings.tiers, funding=settings.funding, liquidation_fee=settings.liquidation_fee
    )
    engine.broker.setcash(settings.cash)
    engine.broker.setcommission(commission=settings.commission)
    engine.broker.set_shortcash(settings.shortcash)
    if settings.slippage:
        engine.broker.set_slippage_perc(settings.slippage)
    engine.adddata(PerpetualData(dataname=data))
    return engine
