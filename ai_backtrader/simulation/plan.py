"""From chromosomes to what the kernels read: every condition once, rules as records."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ai_backtrader.market import indicators
from ai_backtrader.rules import Gene, HoldGene, Section, SeriesBank, StrategyChromosome, gene_period
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


class _Parts(NamedTuple):
    """What a plan needs of a section: its conditions, the bars of its hold genes, the bars until all have values."""

    genes: tuple[Gene, ...]
    holds: tuple[int, ...]
    wait: int


def _wait_of(gene: Gene) -> int:
    try:
        return gene._plan  # type: ignore[return-value]  # the slot is kept for this
    except AttributeError:
        wait = gene_period(gene)
        object.__setattr__(gene, "_plan", wait)
        return wait


def _parts_of(section: Section) -> _Parts:
    # Sections and genes live on from parents to children, and remember what was found out about them.
    try:
        return section._plan  # type: ignore[return-value]  # the slot is kept for this
    except AttributeError:
        genes = tuple([gene for gene in section.genes if type(gene) is Gene])
        holds = tuple([gene.bars for gene in section.genes if type(gene) is HoldGene])
        parts = _Parts(genes, holds, max(map(_wait_of, genes), default=1))
        object.__setattr__(section, "_plan", parts)
        return parts


_atr_wait = indicators.line_period_rule("atr")  # a strategy that holds an ATR waits for its line alone


def plan_rules(bank: SeriesBank, chromosomes: Sequence[StrategyChromosome]) -> Plan:
    """Plan of some chromosomes on the bank's feed; conditions that they share are there once."""
    # By identity: the same objects come again and again, and equal ones cost no more than a look into the bank.
    places: dict[int, int] = {}
    different: list[Gene] = []
    periods: dict[int, int] = {}
    genes: list[int] = []
    holds: list[int] = []
    records = []
    for chromosome in chromosomes:
        risk = chromosome.risk
        first_gene, first_hold = len(genes), len(holds)
        wait = 1
        counts, needs = [], []
        for section in (chromosome.entry_long, chromosome.entry_short, chromosome.exit, chromosome.filters):
            own, ages, ready = _parts_of(section)
            for gene in own:
                place = places.get(id(gene))
                if place is None:
                    place = places[id(gene)] = len(different)
                    different.append(gene)
                genes.append(place)
            holds += ages
            if ready > wait:
                wait = ready
            counts.append(len(own))
            needs.append(section.need or len(section.genes))
        # Any gene of the exit will do, where no count is given.
        needs[2] = chromosome.exit.need or min(1, needs[2])
        atr = 0
        if risk.needs_atr:
            atr = periods.setdefault(risk.atr_period, len(periods))
            wait = max(wait, _atr_wait(risk.atr_period))
        records.append(
            _RECORD.pack(
                risk.position_size, risk.leverage, risk.stop_atr, risk.take_profit_atr, risk.trailing_atr, atr,
                wait - 1, risk.reverse, first_gene, *counts, needs[0] or _NEVER, needs[1] or _NEVER,
                needs[2] or _NEVER, needs[3], first_hold, len(holds) - first_hold,
            )
        )  # fmt: skip
    conditions, condition_rows = bank.condition_rows(different)
    atrs, atr_rows = bank.atr_rows(periods)
    rules = np.frombuffer(bytearray().join(records), RULE_DTYPE)
    # A rule that needs no ATR is given any.
    rules["atr"] = np.array(atr_rows or [0], np.int64)[rules["atr"]]
    rows = np.array(condition_rows, np.int64)[np.array(genes, np.int64)]
    return Plan(rules, conditions, rows, np.array(holds, np.int64), atrs)
