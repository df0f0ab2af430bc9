"""From chromosomes to what the kernels read: every condition once, rules as records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.market import indicators
from ai_backtrader.rules import Gene, SeriesBank, StrategyChromosome, gene_period
from ai_backtrader.simulation.state import RULE_DTYPE

__all__ = ["Plan", "plan_rules"]


class Plan(NamedTuple):
    """Rules ready to run (see ``run_population``)."""

    rules: NDArray[np.void]
    conditions: NDArray[np.uint64]
    genes: NDArray[np.int64]
    holds: NDArray[np.int64]
    atrs: NDArray[np.float64]


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
                if isinstance(gene, Gene):
                    row = rows.get(gene)
                    if row is None:
                        row = rows[gene] = len(waits)
                        waits.append(gene_period(gene))
                    wait = max(wait, waits[row])
                    genes.append(row)
                else:
                    holds.append(gene.bars)
            counts.append(len(genes) - before)
        holds[first_hold:] = sorted(holds[first_hold:])
        needs = chromosome.required
        atr = 0
        if risk.needs_atr:
            atr = periods.setdefault(risk.atr_period, len(periods) + 1)
            wait = max(wait, indicators.min_period("atr", risk.atr_period).indicator)
        records.append(
            (
                risk.position_size, risk.leverage, risk.stop_atr, risk.take_profit_atr, risk.trailing_atr, atr,
                wait - 1, risk.reverse, first_gene, *counts, *(_never(need) for need in needs[:3]), needs.filters,
                first_hold, len(holds) - first_hold,
            )
        )  # fmt: skip
    bars = len(bank.data)
    conditions = np.empty((max(1, len(rows)), (bars + 63) // 64), np.uint64)
    for gene, row in rows.items():
        conditions[row] = bank.words(gene)
    atrs = np.empty((len(periods) + 1, bars))
    atrs[0] = np.nan  # of rules that need none
    for period, row in periods.items():
        atrs[row] = bank.atr(period)
    return Plan(np.array(records, RULE_DTYPE), conditions, np.array(genes, np.int64), np.array(holds, np.int64), atrs)


def _never(need: int) -> int:
    # A section without genes needs 0 of them, and yet never fires.
    return need or 1_000_000
