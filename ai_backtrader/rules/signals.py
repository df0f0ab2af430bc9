"""Signals: what the genes say at every bar of one feed, on arrays.

Every series is computed once, in Backtrader's arithmetic (:mod:`ai_backtrader.market.indicators`); the compiled
strategy builds the same series of Backtrader's own indicators, and both agree to the bit. A value at bar ``t`` uses
bars up to ``t`` alone.

Division by zero has one answer each, here and in the compiled strategies: see the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.market import MarketData, indicators
from ai_backtrader.market.indicator_kernels import POWERS
from ai_backtrader.rules.chromosome import StrategyChromosome
from ai_backtrader.rules.genes import Gene, HoldGene, Operator, Series
from ai_backtrader.rules.planning import Planner
from ai_backtrader.rules.rows import NoRowLeftError, Rows
from ai_backtrader.rules.sections import Section
from ai_backtrader.rules.series_kernels import (
    STEP_DTYPE,
    TEST_DTYPE,
    TEST_RECORD,
    compare_rows,
    fill_rows,
)

__all__ = ["SeriesBank", "gene_period", "section_signal", "strategy_period", "unpack_words"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Words = NDArray[np.uint64]

DEFAULT_MEMORY = 512 * 2**20
_CROSSINGS = (Operator.CROSSES_ABOVE, Operator.CROSSES_BELOW)
_FEWEST_ROWS = 32  # one condition needs up to 22
_USUAL_SERIES = 384  # that are kept, or half as many again as conditions are asked for at once


def gene_period(gene: Gene | HoldGene) -> int:
    """Bars until Backtrader first calls a strategy that holds only this gene."""
    if isinstance(gene, HoldGene):
        return 1
    left, right = gene.left, gene.right
    wait, line = left.strategy_period, left.line_period
    if isinstance(right, Series):
        wait, line = max(wait, right.strategy_period), max(line, right.line_period)
    # CrossUp waits for the lines it is built on, and one bar more for the difference before.
    return max(wait, line + 1) if gene.operator in _CROSSINGS else wait


def strategy_period(chromosome: StrategyChromosome) -> int:
    """Bars until Backtrader first calls ``next`` of the compiled strategy: its first decision is at index less one."""
    risk = chromosome.risk
    waits = [gene_period(gene) for section in chromosome.sections.values() for gene in section.genes]
    return max([*waits, indicators.min_period("atr", risk.atr_period).indicator if risk.needs_atr else 1])


class SeriesBank(Planner):
    """Every series and condition of one feed, each computed once and kept while there is room.

    Parameters
    ----------
    data
        The feed.
    memory
        Bytes of arrays kept at most (and room for 32 series at least); the ones used longest ago go first, and are
        computed again when asked for. Of series no more are kept than 384, or half as many again as conditions at once.

    Notes
    -----
    What :meth:`values`, :meth:`atr`, :meth:`words` and :meth:`signal` return is a copy. A bank is for one thread.

    Examples
    --------
    >>> from ai_backtrader.datafeeds import load_sample
    >>> from ai_backtrader.rules import Gene, Series
    >>> bank = SeriesBank(load_sample())
    >>> signal = bank.signal(Gene(Series("rsi", (14,)), "<", 30.0))
    >>> signal.dtype, len(signal) == len(bank.data)
    (dtype('bool'), True)
    """

    def __init__(self, data: MarketData, *, memory: int = DEFAULT_MEMORY) -> None:
        self.data = data
        bars = len(data)
        words = (bars + 63) // 64
        rows = max(_FEWEST_ROWS, memory * 15 // 16 // (8 * bars))
        super().__init__(Rows(rows, bars, np.float64))
        self._keep_series(0)
        self._conditions = Rows(max(_FEWEST_ROWS, memory // 16 // (8 * words)), words, np.uint64)
        self._tests: list[bytes] = []

    @property
    def memory_used(self) -> int:
        """Bytes of arrays kept now."""
        bars = len(self.data)
        return 8 * (len(self._lines) * bars + len(self._conditions) * ((bars + 63) // 64))

    def values(self, series: Series) -> Floats:
        """The series, shape (bars,), NaN before its first value at index ``series.line_period - 1``."""
        return self._row_now(lambda: self._series(series.name, series.params))

    def atr(self, period: int) -> Floats:
        """Average true range in price units: what stops and targets are measured in."""
        return self._row_now(lambda: self._atr(period))

    def signal(self, gene: Gene) -> Bools:
        """Where the gene is true, shape (bars,); false before its series have values."""
        return unpack_words(self.words(gene), len(self.data))

    def words(self, gene: Gene) -> Words:
        """The signal packed, shape (ceil(bars / 64),): bar t is bit ``t % 64`` of word ``t // 64``; the rest is 0."""
        table, (row,), _, _ = self.rows([gene])
        return np.array(table[row])

    def layout(self, wanted: int) -> object:
        """What stands for the rows of the conditions: as long as it is the same, each has the row that it had.

        With ``wanted`` more conditions than there is room for, it is of no use to anyone after the next :meth:`rows`.
        """
        return self._conditions.layout if wanted <= self._conditions.free else object()

    def rows(
        self, genes: Collection[Gene], periods: Collection[int] = ()
    ) -> tuple[NDArray[np.uint64], list[int], Floats, list[int]]:
        """Words of many genes and average true ranges of many periods at once, valid until the bank is asked again.

        What is not known yet is computed in two compiled calls, whatever the number of genes.

        Returns
        -------
        ndarray, list of int
            A table of words, and the row of each gene in it.
        ndarray, list of int
            A table of values, and the row of each period's average true range in it.
        """
        if len(genes) > self._conditions.size:
            self._conditions = Rows(len(genes), (len(self.data) + 63) // 64, np.uint64)
        self._lines.begin()
        self._keep_series(len(genes))
        self._conditions.begin()
        rows: list[int] = []
        for gene, known in zip(genes, self._conditions.find_all(genes), strict=True):
            row = self._conditions.find(gene) if known is None else known  # it may be among the genes before
            if row is None:
                try:
                    test = self._test(gene)
                except NoRowLeftError:
                    self._work()
                    test = self._test(gene)
                row = self._conditions.add_new(gene)
                self._tests.append(TEST_RECORD.pack(*test, row))
            rows.append(row)
        try:
            atr_rows = [self._atr(period) for period in periods]
        except NoRowLeftError:
            self._work()
            try:
                atr_rows = [self._atr(period) for period in periods]
            except NoRowLeftError:
                self._work()
                own = np.array([self.atr(period) for period in periods])
                return self._conditions.table, rows, own, list(range(len(periods)))
        self._work()
        return self._conditions.table, rows, self._lines.table, atr_rows

    def _keep_series(self, conditions: int) -> None:
        """Set how many series are kept, where so many conditions are asked for at once."""
        self._lines.most = min(self._lines.size, max(_USUAL_SERIES, 3 * conditions // 2))

    def _row_now(self, plan: Callable[[], int]) -> Floats:
        self._lines.begin()
        row = plan()
        self._work()
        found: Floats = np.array(self._lines.table[row])
        found.flags.writeable = False
        return found

    def _work(self) -> None:
        """Compute what has been written down; its rows may be taken back afterwards."""
        if self._steps:
            fill_rows(np.frombuffer(bytearray().join(self._steps), STEP_DTYPE), self._lines.table, POWERS)
            self._steps.clear()
        if self._tests:
            tests = np.frombuffer(bytearray().join(self._tests), TEST_DTYPE)
            compare_rows(tests, self._lines.table, self._conditions.table)
            self._tests.clear()
        self._lines.begin()

    def _load(self, row: int, name: str, before: bool) -> None:
        line = self._lines.table[row]
        if before:
            line[0] = np.nan
            line[1:] = getattr(self.data, name)[:-1]
        else:
            line[:] = getattr(self.data, name)


def unpack_words(words: Words, bars: int) -> Bools:
    """Packed bits as booleans, shape (bars,)."""
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), count=bars, bitorder="little")
    return bits.astype(np.bool_)


def section_signal(bank: SeriesBank, section: Section, required: int) -> Bools:
    """Where at least ``required`` genes of a section are true, shape (bars,); a section without genes is false.

    ``hold > n`` depends on the position and counts as false here.
    """
    genes = [gene for gene in section.genes if isinstance(gene, Gene)]
    if not genes:
        return np.zeros(len(bank.data), dtype=np.bool_)
    votes = np.zeros(len(bank.data), dtype=np.int8)
    for gene in genes:
        votes += bank.signal(gene)
    return votes >= required
