"""Many rules on one feed: sections from shared conditions, then one run each."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.simulation.bits import combine, keep_from
from ai_backtrader.simulation.compiling import compiled
from ai_backtrader.simulation.curve import add_by_label, sum_up
from ai_backtrader.simulation.kernel import EXIT, LONG, SHORT, run_rule

__all__ = ["run_population"]

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]


def _version_of_sources() -> int:
    """A number of this folder's sources."""
    texts = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    return int.from_bytes(hashlib.sha256(b"".join(texts)).digest()[:6], "big")


def _compiled(version: int) -> Any:
    # Numba renews a cached kernel when its own file changes, not when a function that it calls does: after an upgrade
    # the old machine code would go on running. A closure's variables are part of the cache's key.
    @compiled
    def run_population(
        first: int,
        last: int,
        runs: Any,
        rules: Any,
        conditions: NDArray[np.uint64],
        genes: NDArray[np.int64],
        holds: NDArray[np.int64],
        atrs: Floats,
        bars: Any,
        ahead: Any,
        closes: Floats,
        settings: Any,
        fills: Any,
        equity: Floats,
        cash: Floats,
        labels: NDArray[np.int64],
        sums: NDArray[np.float64],
    ) -> None:
        """Run the rules ``first <= i < last``; each writes its own record of ``runs`` and nothing else.

        Threads may share all arguments as long as their ranges do not overlap. ``fills``, ``equity`` and ``cash`` are
        for one rule alone, and empty for more.

        Parameters
        ----------
        runs, rules
            ``RUN_DTYPE`` and ``RULE_DTYPE``, shape (rules,).
        conditions
            Bits of every condition, shape (conditions, words).
        genes, holds
            Rows of ``conditions`` and bars of the hold genes, of all rules one after the other.
        atrs
            Shape (periods, bars).
        bars, ahead, closes
            ``BAR_DTYPE``, ``AHEAD_DTYPE`` and the closes once more, each of shape (bars,).
        settings
            Record of ``SETTINGS_DTYPE``.
        labels, sums
            Label of each bar, shape (bars,), or empty for none; takes the sums of returns and of their squares over
            the bars of each label, shape (rules, labels, 2).
        """
        _ = version
        labelled = len(labels) > 0
        if labelled:
            equity = np.empty(len(bars))
            cash = np.empty(len(bars))
        words = conditions.shape[1]
        holding = 0
        for i in range(first, last):
            holding = max(holding, rules[i].hold_genes)
        signals = np.empty((EXIT + holding + 1, words), np.uint64)
        filtered = np.empty(words, np.uint64)
        curve = np.empty(len(bars) + 1)
        for i in range(first, last):
            rule = rules[i]
            at = rule.genes
            combine(conditions, genes, at, rule.long_genes, rule.long_need, signals[LONG])
            at += rule.long_genes
            combine(conditions, genes, at, rule.short_genes, rule.short_need, signals[SHORT])
            at += rule.short_genes
            for held in range(rule.hold_genes + 1):
                combine(conditions, genes, at, rule.exit_genes, rule.exit_need - held, signals[EXIT + held])
            at += rule.exit_genes
            if rule.filter_genes > 0:
                combine(conditions, genes, at, rule.filter_genes, rule.filter_need, filtered)
                signals[LONG] &= filtered
                signals[SHORT] &= filtered
            keep_from(signals[LONG], rule.start)
            keep_from(signals[SHORT], rule.start)
            run_rule(runs[i], bars, ahead, closes, atrs, rule, signals, holds, settings, curve, fills, equity, cash)
            sum_up(runs[i], curve)
            if labelled:
                add_by_label(equity, settings.cash, labels, sums[i])

    return run_population


run_population = _compiled(_version_of_sources())
