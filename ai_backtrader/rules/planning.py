"""Which steps lead to a series, and which tests to a condition: written down here, computed elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from ai_backtrader.rules.catalogue import ATR_UNIT_PERIOD
from ai_backtrader.rules.genes import Gene, Series
from ai_backtrader.rules.rows import Rows
from ai_backtrader.rules.series_kernels import STEP_RECORD, Formula
from ai_backtrader.rules.signal_kernels import OPERATOR_CODES

__all__ = ["Planner"]

_AVERAGES = {"ema": Formula.EMA, "smma": Formula.SMMA}
_MOVES = {
    "true range": (Formula.TRUE_RANGE, ("high", "low", "close")),
    "rises": (Formula.RISES, ("close",)),
    "falls": (Formula.FALLS, ("close",)),
    "upward": (Formula.UPWARD, ("high", "low")),
    "downward": (Formula.DOWNWARD, ("high", "low")),
}
_DIRECTIONS = {"plus_di": "upward", "minus_di": "downward"}


class Planner(ABC):
    """Rows of a table by what they hold, and the steps that fill those that are new.

    Parameters
    ----------
    lines
        The rows.
    """

    def __init__(self, lines: Rows) -> None:
        self._lines = lines
        self._steps: list[bytes] = []

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
            self._load(row, name, before)
        return row

    @abstractmethod
    def _load(self, row: int, name: str, before: bool) -> None:
        """Have a row hold a column of the bars, or that of the bar before."""

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
            out = out2 = self._lines.add_new(written[0])
        else:
            out, out2 = self._lines.add(*written)
        a, b, c = (*read, read[0], read[0])[:3]
        self._steps.append(STEP_RECORD.pack(formula, out, out2, a, b, c, period, number))
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

    def _move(self, name: str) -> int:
        row = self._lines.find(name)
        if row is not None:
            return row
        formula, prices = _MOVES[name]
        return self._step(formula, [name], [*map(self._price, prices)])

    def _wilder(self, name: str, period: int) -> int:
        """Wilder's average of a move."""
        key = (name, period)
        row = self._lines.find(key)
        return self._step(Formula.SMMA, [key], [self._move(name)], period=period) if row is None else row

    def _atr(self, period: int) -> int:
        return self._wilder("true range", period)

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

    def _direction(self, name: str, period: int) -> int:
        key = (name, period)
        row = self._lines.find(key)
        if row is not None:
            return row
        return self._step(Formula.DIRECTION, [key], [self._wilder(_DIRECTIONS[name], period), self._atr(period)])

    def _spread(self, period: int) -> int:
        """Wilder's average of DX, a fraction."""
        key = ("spread average", period)
        row = self._lines.find(key)
        if row is not None:
            return row
        source = self._lines.find(("spread", period))
        if source is None:
            sides = [self._direction(name, period) for name in _DIRECTIONS]
            source = self._step(Formula.SPREAD, [("spread", period)], sides)
        return self._step(Formula.SMMA, [key], [source], period=period)

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
            case "plus_di" | "minus_di":
                return self._direction(name, *params)
        key = (name, *params)
        row = self._lines.find(key)
        return self._derived(key, name, params) if row is None else row

    def _derived(self, key: Hashable, name: str, params: tuple[Any, ...]) -> int:
        match name:
            case "rsi":
                return self._step(
                    Formula.STRENGTH, [key], [self._wilder("rises", *params), self._wilder("falls", *params)]
                )
            case "adx":
                return self._step(Formula.TIMES, [key], [self._spread(*params)], number=100.0)
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
