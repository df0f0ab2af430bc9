"""Many tests at once: p-values adjusted so that the chance of any false discovery stays what it says.

Both hold under any dependence of the tests, which is what trials on the same data need.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ai_backtrader.checks import Faults

__all__ = ["bonferroni", "holm"]


def _checked(subject: str, p_values: ArrayLike, n_tests: int | None) -> tuple[NDArray[np.float64], int]:
    values = np.asarray(p_values, dtype=np.float64)
    faults = Faults(subject)
    if values.ndim != 1:
        faults.add(f"p_values must have one dimension, got shape {values.shape}")
    wrong = values[(values < 0.0) | (values > 1.0)]
    if wrong.size:
        faults.add(f"p_values must lie between 0 and 1 (or be NaN), got {float(wrong[0])}")
    count = values.size if n_tests is None else n_tests
    faults.whole("n_tests", count, low=values.size if values.ndim == 1 else 0)
    faults.raise_if_any()
    return values, count


def bonferroni(p_values: ArrayLike, *, n_tests: int | None = None) -> NDArray[np.float64]:
    """P-values times the number of tests, at most 1 (Bonferroni, 1936; Dunn, 1961).

    Parameters
    ----------
    p_values
        Shape (m,), between 0 and 1. NaN stays NaN and is counted: the test was made.
    n_tests
        Tests that were made in all, at least m, where only the best are at hand. None: m.

    Returns
    -------
    ndarray
        Shape (m,); empty for none.
    """
    values, count = _checked("bonferroni", p_values, n_tests)
    return np.minimum(1.0, values * count)


def holm(p_values: ArrayLike, *, n_tests: int | None = None) -> NDArray[np.float64]:
    """Step-down p-values of Holm (1979), "A Simple Sequentially Rejective Multiple Test Procedure".

    The smallest is multiplied by the number of tests, the next by one less, and so on, and none is smaller than the
    one before. Never larger than :func:`bonferroni`, with the same guarantee.

    Parameters
    ----------
    p_values
        Shape (m,), between 0 and 1. NaN stays NaN and is counted as the largest.
    n_tests
        Tests that were made in all, at least m; those not at hand are taken to be the largest. None: m.

    Returns
    -------
    ndarray
        Shape (m,); empty for none.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03, 0.005]).tolist()
    [0.03, 0.06, 0.06, 0.02]
    """
    values, count = _checked("holm", p_values, n_tests)
    order = np.argsort(values, kind="stable")  # NaN last
    stepped = values[order] * (count - np.arange(values.size))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
    return adjusted
