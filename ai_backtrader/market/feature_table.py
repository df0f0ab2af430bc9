"""The window of bars that the feature kernels look back to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.market import feature_kernels as kernels
from ai_backtrader.market.feature_settings import FeatureSettings, FeatureSpans
from ai_backtrader.market.indicator_kernels import POWERS

__all__ = ["FeatureTable"]

Floats = NDArray[np.float64]


class FeatureTable:
    """The bars that the kernels still look back to, and what they carry along; grows in blocks, forgets the oldest.

    Both the batch and the live feed fill their features through it.
    """

    def __init__(self, spans: FeatureSpans, settings: FeatureSettings, *, block: int) -> None:
        self.spans = spans
        self.settings = settings
        self._keep = spans.ready_from + 1
        self._table = np.full((kernels.N_ROWS, self._keep + block), np.nan)
        self._state = np.zeros(kernels.N_STATE)
        self._state[kernels.LAST_FUNDING] = np.nan
        self._before = self._state.copy()
        self._span_bars = np.array(spans, dtype=np.int64)
        self._first = 0  # column of the first bar ever; negative once it was forgotten
        self._end = 0

    @property
    def seen(self) -> int:
        """Bars seen so far."""
        return self._end - self._first

    def extend(self, bars: Floats, raw: Floats, structure: Floats, vector: NDArray[np.float32], extras: Floats) -> None:
        """Take ``bars`` (8 inputs, m bars; m at most a block) and write their m rows of features."""
        count = bars.shape[1]
        if self._end + count > self._table.shape[1]:
            shift = self._end - self._keep
            self._table[:, : self._keep] = self._table[:, shift : self._end].copy()
            self._first -= shift
            self._end = self._keep
        self._before[:] = self._state
        self._fill(bars, self._end, raw, structure, vector, extras)
        self._end += count

    def revise(self, bar: Floats, raw: Floats, structure: Floats, vector: NDArray[np.float32], extras: Floats) -> None:
        """Replace the last bar, which must have come alone."""
        self._state[:] = self._before
        self._fill(bar, self._end - 1, raw, structure, vector, extras)

    def _fill(
        self,
        bars: Floats,
        start: int,
        raw: Floats,
        structure: Floats,
        vector: NDArray[np.float32],
        extras: Floats,
    ) -> None:
        end = start + bars.shape[1]
        self._table[: kernels.N_INPUTS, start:end] = bars
        kernels.fill(
            self._table,
            self._state,
            start,
            end,
            self._first,
            self._span_bars,
            self.settings.high_volatility_ratio,
            POWERS,
            raw,
            structure,
            vector,
            extras,
        )
