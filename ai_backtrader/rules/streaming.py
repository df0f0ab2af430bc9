"""Entries of a strategy on bars that come one by one: the bits of the arrays, in constant time and memory a bar."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.checks import Faults
from ai_backtrader.market.indicator_kernels import POWERS
from ai_backtrader.rules.chromosome import StrategyChromosome
from ai_backtrader.rules.genes import Gene
from ai_backtrader.rules.planning import Planner
from ai_backtrader.rules.rows import Rows
from ai_backtrader.rules.series_kernels import STEP_DTYPE, TEST_DTYPE, TEST_RECORD
from ai_backtrader.rules.stream_kernels import SEEN, STATE, UNKNOWN, take_bars

__all__ = ["BAR_COLUMNS", "EntryStream"]

BAR_COLUMNS = ("open", "high", "low", "close", "volume")
"""Columns of the bars that a stream takes, in order."""

_MOST_ROWS = 2_048  # all sections full of conditions of 22 rows
_FRESH = 1_024  # bars between two moves of the table's last bars to its front


class EntryStream(Planner):
    """Which side's entry conditions and filters hold, bar by bar.

    Parameters
    ----------
    chromosome
        The strategy.

    Attributes
    ----------
    seen
        Bars taken.

    Notes
    -----
    What it says of a bar is what :func:`~ai_backtrader.rules.section_signal` says of it on the arrays of all bars, to
    the bit: the same steps are written down, and computed by the same operations in the same order.

    Examples
    --------
    >>> import numpy as np
    >>> from ai_backtrader.datafeeds import load_sample
    >>> from ai_backtrader.rules import BAR_COLUMNS, EntryStream, Gene, Section, Series, StrategyChromosome
    >>> rules = StrategyChromosome(entry_long=Section((Gene(Series("rsi", (14,)), "<", 30.0),)))
    >>> stream, data = EntryStream(rules), load_sample()
    >>> bars = np.column_stack([getattr(data, name) for name in BAR_COLUMNS])
    >>> for bar in bars[:200]:
    ...     (side,) = stream.take(bar[np.newaxis])
    >>> stream.seen, int(side) in {-1, 0, 1}
    (200, True)
    """

    def __init__(self, chromosome: StrategyChromosome) -> None:
        super().__init__(Rows(_MOST_ROWS, 1, np.float64))
        self._prices: list[tuple[int, int, int]] = []
        tests = bytearray()
        sections = (chromosome.entry_long, chromosome.entry_short, chromosome.filters)
        for number, section in enumerate(sections):
            for gene in section.genes:
                if isinstance(gene, Gene):
                    tests += TEST_RECORD.pack(*self._test(gene), number)
        need = chromosome.required
        steps = np.frombuffer(bytearray().join(self._steps), STEP_DTYPE) if self._steps else np.zeros(0, STEP_DTYPE)
        rows, longest = len(self._lines), int(steps["period"].max(initial=1))
        self._plan = (
            np.array(self._prices, dtype=np.int64).reshape(-1, 3),
            steps,
            np.frombuffer(tests, TEST_DTYPE) if tests else np.zeros(0, TEST_DTYPE),
            np.array([need.entry_long, need.entry_short, need.filters], dtype=np.int64),
        )
        self._held = np.full((rows, longest + 1 + _FRESH), np.nan)
        self._keep = longest + 1
        self._clock = np.zeros(2, dtype=np.int64)
        self._state = (
            np.full(rows, UNKNOWN, dtype=np.int64),
            np.zeros((2, len(self._plan[1]), STATE)),
            np.zeros((2, len(self._plan[2]), 1)),
        )

    @property
    def seen(self) -> int:
        """Bars taken."""
        return int(self._clock[SEEN])

    def take(self, bars: NDArray[np.float64], *, revise: bool = False) -> NDArray[np.int8]:
        """Take bars; gives +1, -1 or 0 at each: where both sides hold the long one goes first, as in a run.

        Parameters
        ----------
        bars
            (n, 5) in the order of :data:`BAR_COLUMNS`.
        revise
            Whether the first of them takes the place of the last one taken, which has changed since.

        Raises
        ------
        SettingsError
            If the bars have another shape, or there is none to revise.
        """
        taken = np.ascontiguousarray(bars, dtype=np.float64)
        if taken.ndim != 2 or taken.shape[1] != len(BAR_COLUMNS) or (revise and not (self.seen and len(taken))):
            faults = Faults("EntryStream.take")
            faults.add(f"bars must be an array of shape (n, {len(BAR_COLUMNS)}), got shape {taken.shape}")
            if revise:
                faults.add(f"revise needs a bar that was taken and one in its place, after {self.seen} bars")
            faults.raise_if_any()
        sides = np.empty(len(taken), dtype=np.int8)
        take_bars(taken, revise, *self._plan, self._held, self._keep, self._clock, *self._state, sides, POWERS)
        return sides

    def _load(self, row: int, name: str, before: bool) -> None:
        now = self._price(name) if before else -1  # taken before this one
        self._prices.append((row, BAR_COLUMNS.index(name), now))
