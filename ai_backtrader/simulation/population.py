"""Many rules on one feed: sections from shared conditions, then one run each."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.simulation.bits import combine, keep_from
from ai_backtrader.simulation.compiling import compiled
from ai_backtrader.simulation.curve import add_by_label
from ai_backtrader.simulation.kernel import run_rule

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
        bars
            ``BAR_DTYPE``, shape (bars,).
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
        long_words = np.empty(words, np.uint64)
        short_words = np.empty(words, np.uint64)
        filter_words = np.empty(words, np.uint64)
        for i in range(first, last):
            rule = rules[i]
            at = rule.genes
            combine(conditions, genes[at : at + rule.long_genes], rule.long_need, long_words)
            at += rule.long_genes
            combine(conditions, genes[at : at + rule.short_genes], rule.short_need, short_words)
            at += rule.short_genes
            exit_rows = genes[at : at + rule.exit_genes]
            at += rule.exit_genes
            if rule.filter_genes > 0:
                combine(conditions, genes[at : at + rule.filter_genes], rule.filter_need, filter_words)
                long_words &= filter_words
                short_words &= filter_words
            keep_from(long_words, rule.start)
            keep_from(short_words, rule.start)
            exit_words = np.empty((rule.hold_genes + 1, words), np.uint64)
            for held in range(rule.hold_genes + 1):
                combine(conditions, exit_rows, rule.exit_need - held, exit_words[held])
            ages = holds[rule.holds : rule.holds + rule.hold_genes]
            run_rule(
                runs[i], bars, atrs[rule.atr], rule, long_words, short_words, exit_words, ages, settings,
                fills, equity, cash,
            )  # fmt: skip
            if labelled:
                add_by_label(equity, settings.cash, labels, sums[i])

    return run_population


run_population = _compiled(_version_of_sources())
