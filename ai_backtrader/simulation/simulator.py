"""simulate: one chromosome, everything recorded. Simulator: one feed, as many chromosomes as there are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.market.margin import MaintenanceTiers
from ai_backtrader.rules import SeriesBank, StrategyChromosome, strategy_period
from ai_backtrader.simulation.bars import ahead_of, bars_of
from ai_backtrader.simulation.plan import Plan, plan_rules
from ai_backtrader.simulation.population import run_population
from ai_backtrader.simulation.result import FILL_DTYPE, SimulationResult
from ai_backtrader.simulation.settings import SimulationSettings
from ai_backtrader.simulation.state import RUN_DTYPE
from ai_backtrader.simulation.statistics import STATISTICS_DTYPE, sharpe_of_sums, statistics_of

__all__ = ["Simulator", "simulate"]

_NOTHING = np.empty(0)
_NO_FILLS = np.empty(0, FILL_DTYPE)
_NO_LABELS = np.empty(0, np.int64)
_NO_SUMS = np.empty((0, 0, 2))
# Rules that share one condition table: as many as keep it near 64 MiB at five conditions each, within these bounds.
_SMALLEST_BATCH, _LARGEST_BATCH, _TABLE_BITS = 16, 512, 64 * 2**23
_MOST_LABELS = 1_000
# Work (rules times bars) below which a second thread costs more than it brings.
_WORTH_A_THREAD = 500_000


class _Options(TypedDict, total=False):
    cash: float
    commission: float
    slippage: float
    tiers: MaintenanceTiers | None
    funding: float | bool | None
    liquidation_fee: float
    shortcash: bool


class Simulator:
    """The compiled execution model on one feed: series, conditions and bars are prepared once.

    Gives for every chromosome what Cerebro gives for its compiled strategy under ``LeverageBroker``, to the last bit.
    For use from one thread at a time.

    Parameters
    ----------
    data
        The feed.
    bank
        Its series, to share them between simulators (other costs on the same feed); None makes one.
    **options
        See :class:`SimulationSettings`.

    Raises
    ------
    SettingsError
        Naming every fault.
    """

    def __init__(self, data: MarketData, *, bank: SeriesBank | None = None, **options: Unpack[_Options]) -> None:
        self.settings = SimulationSettings(**options)
        faults = Faults("simulate")
        given: object = data
        if not isinstance(given, MarketData):
            faults.add(
                f"data must be MarketData, got {type(given).__name__}; load it with MarketData.from_csv or from_frame"
            )
        elif bank is not None and bank.data is not data:
            faults.add(f"bank holds the series of other data ({bank.data.symbol}), not of these ({data.symbol})")
        faults.raise_if_any()
        self.data = data
        self.bank = SeriesBank(data) if bank is None else bank
        self._bars = bars_of(data, self.settings.funding)
        self._ahead = ahead_of(self._bars)
        self._bars_per_year = data.bars_per_year
        self._record = self.settings.record()[0]

    def run(self, chromosome: StrategyChromosome) -> SimulationResult:
        """Run one chromosome and record every fill and the account at every bar.

        Raises
        ------
        SettingsError
            If it is no chromosome, or its indicators need more bars than there are.
        """
        _check_chromosomes([chromosome])
        bars = len(self.data)
        period = strategy_period(chromosome)
        if period > bars:
            raise SettingsError(
                "simulate",
                [
                    f"the chromosome first decides at bar {period}, but the data have {bars}; "
                    "give more bars or shorter periods"
                ],
            )
        plan = plan_rules(self.bank, [chromosome])
        runs = np.zeros(1, RUN_DTYPE)
        equity, cash = np.empty(bars), np.empty(bars)
        fills = np.empty(256, FILL_DTYPE)
        self._execute(plan, runs, 0, 1, fills, equity, cash)
        count = int(runs["fills"][0])
        if count > len(fills):
            fills = np.empty(count, FILL_DTYPE)
            self._execute(plan, runs, 0, 1, fills, equity, cash)
        return SimulationResult(
            symbol=self.data.symbol,
            times=self.data.times,
            bars_per_year=self.data.bars_per_year,
            start_cash=float(self.settings.cash),
            leverage=chromosome.risk.leverage,
            fills=fills[:count].copy(),
            equity=equity,
            cash=cash,
            rejected=int(runs["rejected"][0]),
            funding_paid=float(runs["funding"][0]),
        )

    def run_many(self, chromosomes: Iterable[StrategyChromosome], *, threads: int | None = None) -> NDArray[np.void]:
        """Statistics of many chromosomes, the same for any number of threads.

        Parameters
        ----------
        chromosomes
            Any number. One whose indicators need more bars than there are never trades.
        threads
            Threads that share the chromosomes; None takes the processors this process may use where that pays.

        Returns
        -------
        ndarray
            Shape (chromosomes,), dtype ``STATISTICS_DTYPE``: the figures of :attr:`SimulationResult.metrics` of the
            same names. Counts, final equity and drawdown are equal to the bit, sums (and so the Sharpe ratio) to 1e-12.

        Raises
        ------
        SettingsError
            If one is no chromosome or ``threads`` is not a whole number above 0.
        """
        faults = Faults("Simulator.run_many")
        if threads is not None:
            faults.whole("threads", threads, low=1)
        faults.raise_if_any()
        parts = [statistics for statistics, _ in self._run_batches(chromosomes, threads, _NO_LABELS, 0)]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, STATISTICS_DTYPE), *parts])

    def run_labelled(
        self, chromosomes: Iterable[StrategyChromosome], labels: ArrayLike, *, threads: int | None = None
    ) -> tuple[NDArray[np.void], NDArray[np.float64]]:
        """Statistics of many chromosomes, and their Sharpe ratios over the bars of each label.

        Parameters
        ----------
        chromosomes, threads
            As in :meth:`run_many`.
        labels
            What each bar is counted under (a regime, a year), whole numbers from 0, shape (bars,).

        Returns
        -------
        ndarray, ndarray
            Statistics as :meth:`run_many` gives them; annual Sharpe ratios, shape (chromosomes, largest label + 1), NaN
            where the account never moved or a label has fewer than two bars. The return of a bar after the account was
            used up counts as 0.

        Raises
        ------
        SettingsError
            If one is no chromosome, the labels are not as above, or ``threads`` is not a whole number above 0.
        """
        faults = Faults("Simulator.run_labelled")
        if threads is not None:
            faults.whole("threads", threads, low=1)
        given = np.asarray(labels)
        if given.shape != (len(self.data),):
            faults.add(f"labels must have one entry a bar, shape ({len(self.data)},), got shape {given.shape}")
        elif given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= _MOST_LABELS:
            faults.add(f"labels must be whole numbers from 0 to {_MOST_LABELS - 1}, got {given.dtype} {given[:5]}…")
        faults.raise_if_any()
        marked = np.ascontiguousarray(given, np.int64)
        counts = np.bincount(marked)
        parts, ratios = [np.empty(0, STATISTICS_DTYPE)], [np.empty((0, len(counts)))]
        for statistics, sums in self._run_batches(chromosomes, threads, marked, len(counts)):
            parts.append(statistics)
            ratios.append(sharpe_of_sums(counts, sums, self._bars_per_year))
        return np.concatenate(parts), np.concatenate(ratios)

    def _run_batches(
        self, chromosomes: Iterable[StrategyChromosome], threads: int | None, labels: NDArray[np.int64], most: int
    ) -> Iterator[tuple[NDArray[np.void], NDArray[np.float64]]]:
        size = min(_LARGEST_BATCH, max(_SMALLEST_BATCH, _TABLE_BITS // (5 * len(self.data))))
        for batch in _batches(chromosomes, size):
            _check_chromosomes(batch)
            plan = plan_rules(self.bank, batch)
            runs = np.zeros(len(batch), RUN_DTYPE)
            sums = np.empty((len(batch), most, 2))
            self._execute_shared(plan, runs, threads, labels, sums)
            yield statistics_of(runs, self.settings.cash, len(self.data), self._bars_per_year), sums

    def _execute_shared(
        self,
        plan: Plan,
        runs: NDArray[np.void],
        threads: int | None,
        labels: NDArray[np.int64],
        sums: NDArray[np.float64],
    ) -> None:
        count = len(runs)
        if threads is None:
            threads = min(len(os.sched_getaffinity(0)), 1 + count * len(self.data) // _WORTH_A_THREAD)
        if threads == 1:
            self._execute(plan, runs, 0, count, labels=labels, sums=sums)
            return
        # More parts than threads: rules differ in how much they trade.
        edges = np.linspace(0, count, min(count, 4 * threads) + 1).astype(int).tolist()
        with ThreadPoolExecutor(threads) as pool:
            jobs = [
                pool.submit(self._execute, plan, runs, first, last, labels=labels, sums=sums)
                for first, last in pairwise(edges)
            ]
            for job in jobs:
                job.result()

    def _execute(
        self,
        plan: Plan,
        runs: NDArray[np.void],
        first: int,
        last: int,
        fills: NDArray[np.void] = _NO_FILLS,
        equity: NDArray[np.float64] = _NOTHING,
        cash: NDArray[np.float64] = _NOTHING,
        labels: NDArray[np.int64] = _NO_LABELS,
        sums: NDArray[np.float64] = _NO_SUMS,
    ) -> None:
        run_population(
            first, last, runs, plan.rules, plan.conditions, plan.genes, plan.holds, plan.atrs, self._bars,
            self._ahead, self.data.close, self._record, fills, equity, cash, labels, sums,
        )  # fmt: skip


def simulate(
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
    """Run one chromosome on one feed, as Cerebro would, compiled.

    Parameters
    ----------
    data
        The feed.
    chromosome
        The rules; leverage, size, stop and target are theirs.
    cash, commission, slippage, tiers, funding, liquidation_fee, shortcash
        See :class:`SimulationSettings`.

    Returns
    -------
    SimulationResult
        Every fill, equity and cash at every bar, trades, metrics: bit for bit those of ``run_in_cerebro``.

    Raises
    ------
    SettingsError
        Naming every fault; also if the chromosome's indicators need more bars than there are.

    Examples
    --------
    >>> from ai_backtrader.datafeeds import load_sample
    >>> from ai_backtrader.rules import Gene, Section, Series, StrategyChromosome
    >>> rules = StrategyChromosome(
    ...     entry_long=Section((Gene(Series("ema", (12,)), "crosses_above", Series("ema", (48,))),)),
    ...     entry_short=Section((Gene(Series("ema", (12,)), "crosses_below", Series("ema", (48,))),)),
    ... )
    >>> result = simulate(load_sample(), rules)
    >>> len(result.equity) == len(load_sample())
    True
    """
    simulator = Simulator(
        data,
        cash=cash,
        commission=commission,
        slippage=slippage,
        tiers=tiers,
        funding=funding,
        liquidation_fee=liquidation_fee,
        shortcash=shortcash,
    )
    return simulator.run(chromosome)


def _check_chromosomes(given: Sequence[object]) -> None:
    faults = Faults("simulate")
    for place, item in enumerate(given):
        if not isinstance(item, StrategyChromosome):
            faults.add(f"chromosome {place} must be a StrategyChromosome, got {type(item).__name__}")
    faults.raise_if_any()


def _batches(items: Iterable[StrategyChromosome], size: int) -> Iterator[list[StrategyChromosome]]:
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch
