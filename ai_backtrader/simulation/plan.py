"""From chromosomes to what the kernels read: every condition once, rules as records."""

from __future__ import annotations

import struct
from array import array
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


class _Parts:
    """What plans need of a section, which lives on from parents to children.

    Searches make many: few objects that Python's garbage collector must look through, so no lists.

    Attributes
    ----------
    genes, holds
        Its conditions, and the bars of its hold genes.
    wait
        Bars until all have values.
    entry_need, exit_need, filter_need
        How many of them must be true where it stands.
    known
        A layout of a bank's conditions, and the rows of this section's in it, as bytes. One attribute, so that threads
        with banks of their own never see the rows of one with the layout of another.
    """

    __slots__ = ("entry_need", "exit_need", "filter_need", "genes", "holds", "known", "wait")

    genes: tuple[Gene, ...]
    holds: tuple[int, ...]
    known: tuple[object, bytes]

    def __init__(self, section: Section) -> None:
        # Sections keep their hold genes behind the others.
        self.holds = tuple([gene.bars for gene in section.genes if type(gene) is HoldGene])
        self.genes = section.genes[: len(section.genes) - len(self.holds)]  # type: ignore[assignment]  # no others left
        self.wait = max([_wait_of(gene) for gene in self.genes], default=1)
        self.filter_need = section.need or len(section.genes)
        self.entry_need = self.filter_need or _NEVER
        # Any gene of the exit will do, where no count is given.
        self.exit_need = section.need or min(1, self.filter_need) or _NEVER
        self.known = _UNKNOWN


_UNKNOWN: tuple[object, bytes] = (None, b"")


def _wait_of(gene: Gene) -> int:
    try:
        return gene._plan  # type: ignore[return-value]  # the slot is kept for this
    except AttributeError:
        wait = gene_period(gene)
        object.__setattr__(gene, "_plan", wait)
        return wait


def _parts_of(section: Section) -> _Parts:
    try:
        return section._plan  # type: ignore[return-value]  # the slot is kept for this
    except AttributeError:
        parts = _Parts(section)
        object.__setattr__(section, "_plan", parts)
        return parts


_atr_wait = indicators.line_period_rule("atr")  # a strategy that holds an ATR waits for its line alone


def plan_rules(bank: SeriesBank, chromosomes: Sequence[StrategyChromosome]) -> Plan:
    """Plan of some chromosomes on the bank's feed; conditions that they share are there once."""
    parts = [
        _parts_of(section)
        for one in chromosomes
        for section in (one.entry_long, one.entry_short, one.exit, one.filters)
    ]
    different = {id(part): part for part in parts}
    layout = bank.layout(sum([len(part.genes) for part in different.values()]))
    needed = [one.risk.atr_period if one.risk.needs_atr else 0 for one in chromosomes]
    periods = dict.fromkeys(needed)
    periods.pop(0, None)
    rows: dict[int, bytes] = {}
    new: list[_Parts] = []
    for name, part in different.items():
        known, places = part.known
        if known is layout:
            rows[name] = places
        else:
            new.append(part)
    wanted = {id(gene): gene for part in new for gene in part.genes}
    conditions, found, atrs, atr_rows = bank.rows(wanted.values(), periods)
    row_of_gene = dict(zip(wanted, found, strict=True))
    row_of_period = dict(zip(periods, atr_rows, strict=True))
    for part in new:
        places = array("q", [row_of_gene[id(gene)] for gene in part.genes]).tobytes()
        rows[id(part)] = places
        part.known = (layout, places)

    holds: list[int] = []
    records = []
    first_gene = 0
    for one, period, long, short, leave, filters in zip(
        chromosomes, needed, parts[0::4], parts[1::4], parts[2::4], parts[3::4], strict=True
    ):
        risk = one.risk
        wait = max(long.wait, short.wait, leave.wait, filters.wait)
        atr = 0  # a rule that needs no ATR is given any
        if period:
            atr = row_of_period[period]
            wait = max(wait, _atr_wait(period))
        longs, shorts, leaves, filtering = (
            len(long.genes),
            len(short.genes),
            len(leave.genes),
            len(filters.genes),
        )
        records.append(
            _RECORD.pack(
                risk.position_size, risk.leverage, risk.stop_atr, risk.take_profit_atr, risk.trailing_atr, atr,
                wait - 1, risk.reverse, first_gene, longs, shorts, leaves, filtering, long.entry_need,
                short.entry_need, leave.exit_need, filters.filter_need, len(holds), len(leave.holds),
            )
        )  # fmt: skip
        first_gene += longs + shorts + leaves + filtering
        holds += leave.holds
    rules = np.frombuffer(bytearray().join(records), RULE_DTYPE)
    genes = np.frombuffer(bytearray().join([rows[id(part)] for part in parts]), np.int64)
    return Plan(rules, conditions, genes, np.array(holds, np.int64), atrs)
