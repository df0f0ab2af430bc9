"""From chromosomes to what the kernels read: every condition once, rules as records."""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.market import indicators
from ai_backtrader.rules import Gene, HoldGene, Series, SeriesBank, StrategyChromosome, gene_period
from ai_backtrader.simulation.state import RULE_DTYPE

__all__ = ["Plan", "plan_rules"]


class Plan(NamedTuple):
    """Rules ready to run (see ``run_population``)."""

    rules: NDArray[np.void]
    conditions: NDArray[np.uint64]
    genes: NDArray[np.int64]
    holds: NDArray[np.int64]
    atrs: NDArray[np.float64]


# A row of RULE_DTYPE as bytes: NumPy takes five times as long to make a record of a tuple.
_RECORD = struct.Struct("@5d2q?7x11q")

# A section without genes needs 0 of them, and yet never fires.
_NEVER = 1_000_000

# Genes wait for their series alone, whatever the constant: one entry serves a whole search.
_WAITS: dict[tuple[object, ...], int] = {}
_MOST_WAITS = 100_000


def _wait_of(gene: Gene) -> int:
    key = (gene.left, gene.operator, gene.right if isinstance(gene.right, Series) else None)
    wait = _WAITS.get(key)
    if wait is None:
        if len(_WAITS) >= _MOST_WAITS:
            _WAITS.clear()
        wait = _WAITS[key] = gene_period(gene)
    return wait


@functools.cache
def _atr_wait(period: int) -> int:
    return indicators.min_period("atr", period).indicator


def plan_rules(bank: SeriesBank, chromosomes: Sequence[StrategyChromosome]) -> Plan:
    """Plan of some chromosomes on the bank's feed; conditions that they share are there once."""
    rows: dict[Gene, int] = {}
    waits: list[int] = []
    periods: dict[int, int] = {}
    genes: list[int] = []
    holds: list[int] = []
    records = []
    for chromosome in chromosomes:
        risk = chromosome.risk
        first_gene, first_hold = len(genes), len(holds)
        wait = 1
        counts = []
        for section in (chromosome.entry_long, chromosome.entry_short, chromosome.exit, chromosome.filters):
            before = len(genes)
            for gene in section.genes:
                if type(gene) is Gene:
                    row = rows.get(gene)
                    if row is None:
                        row = rows[gene] = len(waits)
                        waits.append(_wait_of(gene))
                    if waits[row] > wait:
                        wait = waits[row]
                    genes.append(row)
                elif type(gene) is HoldGene:
                    holds.append(gene.bars)
            counts.append(len(genes) - before)
        if len(holds) > first_hold + 1:
            holds[first_hold:] = sorted(holds[first_hold:])
        needs = chromosome.required
        atr = 0
        if risk.needs_atr:
            atr = periods.setdefault(risk.atr_period, len(periods))
            wait = max(wait, _atr_wait(risk.atr_period))
        records.append(
            _RECORD.pack(
                risk.position_size, risk.leverage, risk.stop_atr, risk.take_profit_atr, risk.trailing_atr, atr,
                wait - 1, risk.reverse, first_gene, *counts, needs.entry_long or _NEVER, needs.entry_short or _NEVER,
                needs.exit or _NEVER, needs.filters, first_hold, len(holds) - first_hold,
            )
        )  # fmt: skip
    conditions, condition_rows = bank.condition_rows(rows)
    atrs, atr_rows = bank.atr_rows(periods)
    rules = np.frombuffer(bytearray().join(records), RULE_DTYPE)
    # A rule that needs no ATR is given any.
    rules["atr"] = np.array(atr_rows or [0], np.int64)[rules["atr"]]
    places = np.array(condition_rows, np.int64)[np.array(genes, np.int64)]
    return Plan(rules, conditions, places, np.array(holds, np.int64), atrs)
