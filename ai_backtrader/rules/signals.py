"""Signals: what the genes say at every bar of one feed, on arrays.

Every series is computed once, in Backtrader's arithmetic (:mod:`ai_backtrader.market.indicators`); the compiled
strategy builds the same series of Backtrader's own indicators, and both agree to the bit. A value at bar ``t`` uses
bars up to ``t`` alone.

Division by zero has one answer each, here and in the compiled strategies: see the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.market import MarketData, indicators
from ai_backtrader.market.indicator_kernels import POWERS
from ai_backtrader.rules.catalogue import ATR_UNIT_PERIOD
from ai_backtrader.rules.chromosome import StrategyChromosome
from ai_backtrader.rules.genes import Gene, HoldGene, Operator, Series
from ai_backtrader.rules.rows import NoRowLeftError, Rows
from ai_backtrader.rules.sections import Section
from ai_backtrader.rules.series_kernels import (
    STEP_DTYPE,
    STEP_RECORD,
    TEST_DTYPE,
    TEST_RECORD,
    Formula,
    compare_rows,
    fill_rows,
)
from ai_backtrader.rules.signal_kernels import OPERATOR_CODES

__all__ = ["SeriesBank", "gene_period", "section_signal", "strategy_period", "unpack_words"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Words = NDArray[np.uint64]

DEFAULT_MEMORY = 512 * 2**20
_CROSSINGS = (Operator.CROSSES_ABOVE, Operator.CROSSES_BELOW)
_FEWEST_ROWS = 32  # one condition needs up to 17
_AVERAGES = {"ema": Formula.EMA, "smma": Formula.SMMA, "rsi": Formula.RSI}


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


class SeriesBank:
    """Every series and condition of one feed, each computed once and kept while there is room.

    Parameters
    ----------
    data
        The feed.
    memory
        Bytes of arrays kept (and room for 32 series at least); the ones used longest ago go first, and are computed
        again when asked for.

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
        self._lines = Rows(max(_FEWEST_ROWS, memory * 15 // 16 // (8 * bars)), bars, np.float64)
        self._conditions = Rows(max(_FEWEST_ROWS, memory // 16 // (8 * words)), words, np.uint64)
        self._steps: list[bytes] = []
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
        table, (row,) = self.condition_rows([gene])
        return np.array(table[row])

    def condition_rows(self, genes: Collection[Gene]) -> tuple[NDArray[np.uint64], list[int]]:
        """Words of many genes at once, as a table and the row of each gene in it; valid until the bank is asked again.

        What is not known yet is computed in two compiled calls, whatever the number of genes.
        """
        if len(genes) > self._conditions.size:
            self._conditions = Rows(len(genes), (len(self.data) + 63) // 64, np.uint64)
        self._lines.begin()
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
        self._work()
        return self._conditions.table, rows

    def atr_rows(self, periods: Collection[int]) -> tuple[Floats, list[int]]:
        """Average true ranges in the same manner as :meth:`condition_rows`."""
        self._lines.begin()
        try:
            rows = [self._atr(period) for period in periods]
        except NoRowLeftError:
            self._work()
            return np.array([self.atr(period) for period in periods]), list(range(len(periods)))
        self._work()
        return self._lines.table, rows

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

    def _test(self, gene: Gene) -> tuple[float, ...]:
        left, right = gene.left, gene.right
        one = self._series(left.name, left.params)
        first = left.line_period
        upper = np.nan if gene.upper is None else gene.upper
        if isinstance(right, Series):
            other = self._series(right.name, right.params)
            return (one, other, OPERATOR_CODES[gene.operator], max(first, right.line_period) - 1, 0.0, upper)
        return (one, -1, OPERATOR_CODES[gene.operator], first - 1, right, upper)

    # Each of the following gives the row of a line; one that is not there yet is written down as a step. Rows that a
    # step reads are asked for before the one that it writes, so that running out of rows leaves nothing half done.

    def _price(self, name: str, *, before: bool = False) -> int:
        key = (name, before)
        row = self._lines.find(key)
        if row is None:
            (row,) = self._lines.add(key)
            line = self._lines.table[row]
            if before:
                line[0] = np.nan
                line[1:] = getattr(self.data, name)[:-1]
            else:
                line[:] = getattr(self.data, name)
        return row

    def _step(
        self,
        formula: Formula,
        written: Sequence[Hashable],
        read: Sequence[int],
        *,
        period: int = 0,
        number: float = 0.0,
    ) -> int:
        """Write a step down; gives the first row that it writes."""
        # Rows that a formula has no use for are those that it has.
        if len(written) == 1:
            out = out2 = out3 = self._lines.add_new(written[0])
        else:
            rows = self._lines.add(*written)
            out, out2, out3 = (*rows, rows[0], rows[0])[:3]
        a, b, c = (*read, read[0], read[0])[:3]
        self._steps.append(STEP_RECORD.pack(formula, out, out2, out3, a, b, c, period, number))
        return out

    def _average(self, formula: Formula, period: int) -> int:
        key = (formula, period)
        row = self._lines.find(key)
        return self._step(formula, [key], [self._price("close")], period=period) if row is None else row

    def _mean(self, name: str, period: int) -> int:
        """SMA of a price, the volume or the squares of the closes."""
        key = (Formula.SMA, name, period)
        row = self._lines.find(key)
        if row is not None:
            return row
        source = self._squares() if name == "squares" else self._price(name)
        totals = ("totals", name), ("rests", name)
        high, low = map(self._lines.find, totals)
        if high is None or low is None:
            self._step(Formula.TOTALS, totals, [source])
            high, low = self._lines.add(*totals)
        return self._step(Formula.SMA, [key], [source, high, low], period=period)

    def _squares(self) -> int:
        row = self._lines.find("squares")
        return self._step(Formula.SQUARES, ["squares"], [self._price("close")]) if row is None else row

    def _extreme(self, formula: Formula, name: str, period: int, *, before: bool = False) -> int:
        if period == 1:
            return self._price(name, before=before)
        key = (formula, name, period, before)
        row = self._lines.find(key)
        if row is not None:
            return row
        half = 1 << ((period - 1).bit_length() - 1)  # the largest power of two below the period
        shorter = self._extreme(formula, name, half, before=before)
        return self._step(formula, [key], [shorter], period=period - half)

    def _atr(self, period: int) -> int:
        key = ("atr", period)
        row = self._lines.find(key)
        if row is not None:
            return row
        return self._step(Formula.SMMA, [key], [self._true_range()], period=period)

    def _true_range(self) -> int:
        row = self._lines.find("true range")
        if row is not None:
            return row
        return self._step(Formula.TRUE_RANGE, ["true range"], [*map(self._price, ("high", "low", "close"))])

    def _bands(self, period: int) -> tuple[int, int]:
        """Middle and deviation."""
        middle = self._mean("close", period)
        key = ("deviation", period)
        row = self._lines.find(key)
        if row is None:
            row = self._step(Formula.DEVIATION, [key], [middle, self._mean("squares", period)])
        return middle, row

    def _macd(self, fast: int, slow: int) -> int:
        key = ("macd", fast, slow)
        row = self._lines.find(key)
        if row is not None:
            return row
        return self._step(
            Formula.DIFFERENCE, [key], [self._average(Formula.EMA, fast), self._average(Formula.EMA, slow)]
        )

    def _macd_signal(self, fast: int, slow: int, signal: int) -> int:
        key = ("macd signal", fast, slow, signal)
        row = self._lines.find(key)
        return self._step(Formula.EMA, [key], [self._macd(fast, slow)], period=signal) if row is None else row

    def _movement(self, name: str, period: int) -> int:
        row = self._lines.find((name, period))
        if row is not None:
            return row
        keys = [(other, period) for other in ("plus_di", "minus_di", "adx")]
        reads = [self._price("high"), self._price("low"), self._true_range()]
        self._step(Formula.MOVEMENT, keys, reads, period=period)
        return self._lines.add((name, period))[0]

    def _series(self, name: str, params: tuple[Any, ...]) -> int:
        if name in _AVERAGES:
            return self._average(_AVERAGES[name], *params)
        match name:
            case "sma":
                return self._mean("close", *params)
            case "close" | "open" | "high" | "low":
                return self._price(name)
            case "highest":
                return self._extreme(Formula.HIGHEST, "high", *params, before=True)
            case "lowest":
                return self._extreme(Formula.LOWEST, "low", *params, before=True)
            case "macd_line":
                return self._macd(*params[:2])
            case "macd_signal":
                return self._macd_signal(*params)
            case "adx" | "plus_di" | "minus_di":
                return self._movement(name, *params)
        key = (name, *params)
        row = self._lines.find(key)
        return self._derived(key, name, params) if row is None else row

    def _derived(self, key: Hashable, name: str, params: tuple[Any, ...]) -> int:
        match name:
            case "bollinger_upper":
                return self._step(Formula.BAND, [key], [*self._bands(params[0])], number=params[1])
            case "bollinger_lower":
                return self._step(Formula.BAND, [key], [*self._bands(params[0])], number=-params[1])
            case "percent_b":
                bands = self._bands(params[0])
                return self._step(Formula.POSITION, [key], [*bands, self._price("close")], number=params[1])
            case "band_width":
                return self._step(Formula.WIDTH, [key], [*self._bands(params[0])], number=params[1])
            case "stochastic":
                low = self._extreme(Formula.LOWEST, "low", *params)
                high = self._extreme(Formula.HIGHEST, "high", *params)
                return self._step(Formula.STOCHASTIC, [key], [low, high, self._price("close")])
            case "momentum":
                return self._step(Formula.CHANGE, [key], [self._price("close")], period=params[0])
            case "atr_pct":
                return self._step(Formula.PERCENT, [key], [self._atr(*params), self._price("close")])
            case "volume_ratio":
                reads = [self._price("volume"), self._mean("volume", params[0])]
                return self._step(Formula.VOLUME_RATIO, [key], reads)
            case "atr_ratio":
                atr = self._atr(params[0])
                average = self._lines.find(("atr average", *params))
                if average is None:
                    average = self._step(Formula.MEAN, [("atr average", *params)], [atr], period=params[1])
                return self._step(Formula.RATIO, [key], [atr, average], number=1.0)
            case "macd_atr":
                return self._step(Formula.RATIO, [key], [self._macd(*params[:2]), self._atr(ATR_UNIT_PERIOD)])
            case "macd_histogram":
                line, signal = self._macd(*params[:2]), self._macd_signal(*params)
                return self._step(Formula.DISTANCE, [key], [line, signal, self._atr(ATR_UNIT_PERIOD)])
            case "ema_distance":
                average = self._average(Formula.EMA, *params)
                return self._step(Formula.DISTANCE, [key], [self._price("close"), average, self._atr(ATR_UNIT_PERIOD)])
        raise AssertionError(f"{name} is in the catalogue but has no formula")


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
