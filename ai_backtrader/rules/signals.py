"""Signals: what the genes say at every bar of one feed, on arrays.

Every series is computed once, in Backtrader's arithmetic (:mod:`ai_backtrader.market.indicators`); the compiled
strategy builds the same series of Backtrader's own indicators, and both agree to the bit. A value at bar ``t`` uses
bars up to ``t`` alone.

Division by zero has one answer each, here and in the compiled strategies: see the catalogue.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.market import MarketData, indicators
from ai_backtrader.rules.catalogue import ATR_UNIT_PERIOD
from ai_backtrader.rules.chromosome import StrategyChromosome
from ai_backtrader.rules.genes import Gene, HoldGene, Operator, Series
from ai_backtrader.rules.sections import Section
from ai_backtrader.rules.signal_kernels import OPERATOR_CODES, compare_words

__all__ = ["SeriesBank", "gene_period", "section_signal", "strategy_period", "unpack_words"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Words = NDArray[np.uint64]
T = TypeVar("T")

DEFAULT_MEMORY = 512 * 2**20


def gene_period(gene: Gene | HoldGene) -> int:
    """Bars until Backtrader first calls a strategy that holds only this gene."""
    if isinstance(gene, HoldGene):
        return 1
    wait = max(series.strategy_period for series in gene.series)
    if gene.operator in (Operator.CROSSES_ABOVE, Operator.CROSSES_BELOW):
        # CrossUp waits for the lines it is built on, and one bar more for the difference before.
        wait = max(wait, max(series.line_period for series in gene.series) + 1)
    return wait


def strategy_period(chromosome: StrategyChromosome) -> int:
    """Bars until Backtrader first calls ``next`` of the compiled strategy: its first decision is at index less one."""
    risk = chromosome.risk
    waits = [gene_period(gene) for section in chromosome.sections.values() for gene in section.genes]
    return max([*waits, indicators.min_period("atr", risk.atr_period).indicator if risk.needs_atr else 1])


def _ratio(top: Floats, bottom: Floats, zero: float) -> Floats:
    """``top / bottom``, ``zero`` where bottom is zero, as ``bt.DivByZero`` has it; NaN stays NaN."""
    out = np.where(np.isnan(top) | np.isnan(bottom), np.nan, zero)
    np.divide(top, bottom, out=out, where=bottom != 0.0)
    return out


class SeriesBank:
    """Every series and signal of one feed, each computed once and kept while there is room.

    Parameters
    ----------
    data
        The feed.
    memory
        Bytes of arrays kept; the ones used longest ago go first, and are computed again when asked for.

    Notes
    -----
    All arrays are read-only. A bank is for one thread.

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
        self._memory = memory
        self._used = 0
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    @property
    def memory_used(self) -> int:
        """Bytes of arrays kept now."""
        return self._used

    def values(self, series: Series) -> Floats:
        """The series, shape (bars,), NaN before its first value at index ``series.line_period - 1``."""
        return self._once(("values", series), lambda: self._compute(series.name, *series.params))

    def atr(self, period: int) -> Floats:
        """Average true range in price units: what stops and targets are measured in."""
        data = self.data
        return self._once(("atr", period), lambda: indicators.atr(data.high, data.low, data.close, period))

    def signal(self, gene: Gene) -> Bools:
        """Where the gene is true, shape (bars,); false before its series have values."""
        return self._once(("signal", gene), lambda: unpack_words(self.words(gene), len(self.data)))

    def words(self, gene: Gene) -> Words:
        """The signal packed, shape (ceil(bars / 64),): bar t is bit ``t % 64`` of word ``t // 64``; the rest is 0."""
        return self._once(("words", gene), lambda: self._compare(gene))

    def _compare(self, gene: Gene) -> Words:
        left = self.values(gene.left)
        right = self.values(gene.right) if isinstance(gene.right, Series) else np.array([gene.right])
        first = gene.left.line_period - 1
        if isinstance(gene.right, Series):
            first = max(first, gene.right.line_period - 1)
        upper = np.nan if gene.upper is None else gene.upper
        return np.asarray(compare_words(left, _read_only(right), upper, OPERATOR_CODES[gene.operator], first))

    def _once(self, key: Hashable, compute: Callable[[], T]) -> T:
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found[0]  # type: ignore[no-any-return]  # what compute gave under this key
        made = compute()
        parts: tuple[Any, ...] = made if isinstance(made, tuple) else (made,)
        size = 0
        for part in parts:
            part.flags.writeable = False
            size += part.nbytes
        self._kept[key] = (made, size)
        self._used += size
        while self._used > self._memory and len(self._kept) > 1:
            self._used -= self._kept.popitem(last=False)[1][1]
        return made

    def _bands(self, period: int, width: float) -> indicators.Bollinger:
        close = self.data.close
        squared = self._once(("squares",), lambda: indicators.squares(close))
        return self._once(("bands", period, width), lambda: indicators.bollinger(close, period, width, squared=squared))

    def _macd(self, fast: int, slow: int, signal: int) -> indicators.Macd:
        return self._once(("macd", fast, slow, signal), lambda: indicators.macd(self.data.close, fast, slow, signal))

    def _movement(self, period: int) -> indicators.DirectionalMovement:
        data = self.data
        return self._once(
            ("movement", period),
            lambda: indicators.directional_movement(data.high, data.low, data.close, period),
        )

    def _compute(self, name: str, *params: Any) -> Floats:
        data = self.data
        close = data.close
        match name:
            case "close" | "open" | "high" | "low":
                return np.asarray(getattr(data, name))
            case "sma" | "ema" | "smma" | "rsi":
                average: Callable[..., Floats] = getattr(indicators, name)
                return average(close, *params)
            case "bollinger_upper":
                return self._bands(*params).upper
            case "bollinger_lower":
                return self._bands(*params).lower
            case "highest":
                return indicators.highest(_bar_before(data.high), *params)
            case "lowest":
                return indicators.lowest(_bar_before(data.low), *params)
            case "macd_line":
                return self._macd(*params).line
            case "macd_signal":
                return self._macd(*params).signal
            case "stochastic":
                low = indicators.lowest(data.low, *params)
                return 100.0 * _ratio(close - low, indicators.highest(data.high, *params) - low, 0.5)
            case "adx" | "plus_di" | "minus_di":
                return np.asarray(getattr(self._movement(*params), name))
            case "percent_b":
                bands = self._bands(*params)
                return _ratio(close - bands.lower, bands.upper - bands.lower, 0.5)
            case "momentum":
                return indicators.rate_of_change(close, *params)
            case "band_width":
                bands = self._bands(*params)
                return (bands.upper - bands.lower) / bands.middle
            case "atr_pct":
                return 100.0 * self.atr(*params) / close
            case "volume_ratio":
                return indicators.volume_ratio(data.volume, *params)
            case "atr_ratio":
                period, average_period = params
                return _ratio(self.atr(period), indicators.sma(self.atr(period), average_period), 1.0)
            case "macd_atr":
                return _ratio(self._macd(*params).line, self.atr(ATR_UNIT_PERIOD), 0.0)
            case "macd_histogram":
                macd = self._macd(*params)
                return _ratio(macd.line - macd.signal, self.atr(ATR_UNIT_PERIOD), 0.0)
            case "ema_distance":
                return _ratio(close - indicators.ema(close, *params), self.atr(ATR_UNIT_PERIOD), 0.0)
        raise AssertionError(f"{name} is in the catalogue but has no formula")


def _bar_before(values: Floats) -> Floats:
    return np.concatenate(([np.nan], values[:-1]))


def _read_only(values: Floats) -> Floats:
    view = values.view()
    view.flags.writeable = False
    return view


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
