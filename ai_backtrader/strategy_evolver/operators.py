"""Crossover and mutation of chromosomes: pure, and valid by construction.

Every step builds from valid parts by functions that hold values inside their ranges, so there is no repair and no
rejection: whatever goes in, a valid chromosome comes out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ai_backtrader.rules import (
    MAX_HOLD_BARS,
    RISK_LIMITS,
    SECTIONS,
    Gene,
    HoldGene,
    Operator,
    RiskParameters,
    Section,
    Series,
    StrategyChromosome,
    nearest_series,
    random_gene,
    random_hold,
    random_risk,
    random_section,
    section_of,
)
from ai_backtrader.rules.drawing import below
from ai_backtrader.strategy_evolver.representation import Representation

__all__ = ["chromosomes", "crossover", "mutate"]

MOST_GENES = 5
"""Genes a section may grow to in the search: longer rules fit the past, and nobody reads them."""

_SHARE_OF_MIXED = 0.3  # of the parts that a child takes from both parents instead of one
_ENTRIES = ("entry_long", "entry_short")
_COMPARISONS = (Operator.BELOW, Operator.ABOVE, Operator.CROSSES_ABOVE, Operator.CROSSES_BELOW)


def chromosomes(*, max_leverage: float = 1.0) -> Representation[StrategyChromosome]:
    """Chromosomes as the search sees them; leverage from 1 to ``max_leverage``."""
    return Representation(
        random=lambda rng: StrategyChromosome.random(rng, max_leverage=max_leverage),
        crossover=crossover,
        mutate=lambda chromosome, rng: mutate(chromosome, rng, max_leverage=max_leverage),
        key=lambda chromosome: chromosome,  # equal and hashed by content: the fingerprint says the same, at more cost
        dump=StrategyChromosome.to_json,
        load=StrategyChromosome.from_json,
    )


# ----------------------------------------------------------------------------------------------------------- crossover


def crossover(first: StrategyChromosome, second: StrategyChromosome, rng: np.random.Generator) -> StrategyChromosome:
    """A child that takes each section, and the risk parameters, from one parent or from both.

    Parameters
    ----------
    first, second
        The parents.
    rng
        Source of every choice.

    Returns
    -------
    StrategyChromosome
        Valid; may be equal to a parent.
    """
    mixes, sides = rng.random((2, len(SECTIONS) + 1)).tolist()
    sections: list[Section] = []
    pairs = zip(_sections(first), _sections(second), mixes, sides, strict=False)  # the last draws are the risk's
    for one, other, mix, side in pairs:
        if mix < _SHARE_OF_MIXED and one is not other and one != other:
            sections.append(_mixed_section(one, other, rng))
        else:
            sections.append(one if side < 0.5 else other)
    entry_long, entry_short, leave, filters = sections
    if not entry_long.genes and not entry_short.genes:
        # Each parent has an entry, so one of the two can give its own.
        giver = first if sides[0] < 0.5 else second
        entry_long, entry_short = giver.entry_long, giver.entry_short
    if mixes[-1] < _SHARE_OF_MIXED and first.risk != second.risk:
        risk = _mixed_risk(first.risk, second.risk, rng)
    else:
        risk = first.risk if sides[-1] < 0.5 else second.risk
    return StrategyChromosome(entry_long=entry_long, entry_short=entry_short, exit=leave, filters=filters, risk=risk)


def _sections(chromosome: StrategyChromosome) -> tuple[Section, Section, Section, Section]:
    return chromosome.entry_long, chromosome.entry_short, chromosome.exit, chromosome.filters


def _mixed_section(first: Section, second: Section, rng: np.random.Generator) -> Section:
    """About half of the genes of both, never none where both have some."""
    pool = tuple(dict.fromkeys(first.genes + second.genes))
    draws = rng.random(len(pool)).tolist()
    genes = [gene for gene, draw in zip(pool, draws, strict=True) if draw < 0.5][:MOST_GENES]
    if not genes and first.genes and second.genes:
        genes = [pool[below(rng, len(pool))]]
    return section_of(genes, first.need if rng.random() < 0.5 else second.need)


def _mixed_risk(first: RiskParameters, second: RiskParameters, rng: np.random.Generator) -> RiskParameters:
    taken = [first if draw < 0.5 else second for draw in rng.random(6).tolist()]
    return RiskParameters(
        position_size=taken[0].position_size,
        leverage=taken[1].leverage,
        stop_atr=taken[2].stop_atr,  # both from one parent: they exclude each other
        trailing_atr=taken[2].trailing_atr,
        take_profit_atr=taken[3].take_profit_atr,
        atr_period=taken[4].atr_period,
        reverse=taken[5].reverse,
    )


# ------------------------------------------------------------------------------------------------------------ mutation


def mutate(
    chromosome: StrategyChromosome, rng: np.random.Generator, *, max_leverage: float = 1.0
) -> StrategyChromosome:
    """A chromosome with one change, or a few.

    A gene's constant, period or operator moves, a gene is added, left out or replaced, a section's count changes, or a
    risk parameter moves.

    Parameters
    ----------
    chromosome
        What is changed; stays as it is.
    rng
        Source of every choice.
    max_leverage
        Leverage stays at or below it.

    Returns
    -------
    StrategyChromosome
        Valid; rarely, by chance, equal to the one given.
    """
    changed = chromosome
    while True:
        if rng.random() < 0.25:
            risk = _moved_risk(changed.risk, rng, max_leverage)
            changed = StrategyChromosome(
                entry_long=changed.entry_long, entry_short=changed.entry_short,
                exit=changed.exit, filters=changed.filters, risk=risk,
            )  # fmt: skip
        else:
            changed = _with_changed_section(changed, rng)
        if rng.random() < 0.7:
            return changed


def _with_changed_section(chromosome: StrategyChromosome, rng: np.random.Generator) -> StrategyChromosome:
    name = SECTIONS[below(rng, len(SECTIONS))]
    section: Section = getattr(chromosome, name)
    leaves = name == "exit"
    if not section.genes:
        return _with_section(chromosome, name, random_section(rng, 1, 1, hold=leaves))
    draw = rng.random()
    if draw < 0.50:
        return _with_section(chromosome, name, _with_moved_gene(section, rng))
    if draw < 0.65:
        return _with_section(chromosome, name, _with_replaced_gene(section, rng, leaves))
    if draw < 0.80 and len(section) < MOST_GENES:
        return _with_section(chromosome, name, section_of((*section.genes, _new_gene(rng, leaves)), section.need))
    if draw < 0.95:
        return _with_gene_less(chromosome, name, rng)
    need = below(rng, len(section) + 1)
    return _with_section(chromosome, name, Section(section.genes, need or None))


def _with_section(chromosome: StrategyChromosome, name: str, section: Section) -> StrategyChromosome:
    sections = chromosome.sections
    sections[name] = section
    return StrategyChromosome(**sections, risk=chromosome.risk)


def _new_gene(rng: np.random.Generator, leaves: bool) -> Gene | HoldGene:
    return random_hold(rng) if leaves and rng.random() < 0.25 else random_gene(rng)


def _with_replaced_gene(section: Section, rng: np.random.Generator, leaves: bool) -> Section:
    genes = list(section.genes)
    genes[below(rng, len(genes))] = _new_gene(rng, leaves)
    return section_of(genes, section.need)


def _with_gene_less(chromosome: StrategyChromosome, name: str, rng: np.random.Generator) -> StrategyChromosome:
    section: Section = getattr(chromosome, name)
    genes = list(section.genes)
    left_out = genes.pop(below(rng, len(genes)))
    others = [other for other in _ENTRIES if other != name]
    if not genes and name in _ENTRIES and not getattr(chromosome, others[0]).genes:
        genes = [_other_than(left_out, rng)]  # the last entry gene is replaced: a strategy must be able to enter
    return _with_section(chromosome, name, section_of(genes, section.need))


def _other_than(gene: Gene | HoldGene, rng: np.random.Generator) -> Gene:
    other = random_gene(rng)
    return other if other != gene else random_gene(rng)


def _with_moved_gene(section: Section, rng: np.random.Generator) -> Section:
    genes = list(section.genes)
    place = below(rng, len(genes))
    gene = genes[place]
    genes[place] = _moved_hold(gene, rng) if isinstance(gene, HoldGene) else _moved_gene(gene, rng)
    return section_of(genes, section.need)


def _moved_hold(gene: HoldGene, rng: np.random.Generator) -> HoldGene:
    return HoldGene(min(max(_moved_whole(gene.bars, rng), 1), MAX_HOLD_BARS))


def _moved_whole(value: int, rng: np.random.Generator) -> int:
    """By a ratio, as periods are felt, and by 1 at least."""
    moved = round(value * math.exp(rng.normal(0.0, 0.3)))
    return moved if moved != value else value + (1 if rng.random() < 0.5 else -1)


def _moved_gene(gene: Gene, rng: np.random.Generator) -> Gene:
    """The gene with another period, constant, operator or right-hand side."""
    moves: list[Callable[[Gene, np.random.Generator], Gene]] = []
    if gene.left.params:
        moves.append(_with_moved_series)
    if isinstance(gene.right, Series):
        moves.append(_with_moved_right if gene.right.params else _with_other_operator)
    else:
        moves += [_with_moved_constant, _with_moved_constant]
    moves.append(_with_other_operator)
    return moves[below(rng, len(moves))](gene, rng)


def _moved_series(series: Series, rng: np.random.Generator) -> Series:
    values: list[Any] = list(series.params)
    place = below(rng, len(values))
    parameter = series.kind.parameters[place]
    if parameter.decimals:
        values[place] += float(rng.normal(0.0, 0.15 * (parameter.high - parameter.low)))
    else:
        values[place] = _moved_whole(values[place], rng)
    return nearest_series(series.name, values)


def _with_moved_series(gene: Gene, rng: np.random.Generator) -> Gene:
    left = _moved_series(gene.left, rng)
    if not isinstance(gene.right, Series):
        return Gene(left, gene.operator, gene.right, gene.upper)
    if gene.left.name != "macd_line" and gene.left.name != "macd_signal":
        return gene if left == gene.right else Gene(left, gene.operator, gene.right)
    # A MACD and its signal share their periods.
    return Gene(left, gene.operator, Series(gene.right.name, left.params))


def _with_moved_right(gene: Gene, rng: np.random.Generator) -> Gene:
    if not isinstance(gene.right, Series) or gene.left.name in ("macd_line", "macd_signal"):
        return _with_moved_series(gene, rng)
    right = _moved_series(gene.right, rng)
    return gene if right == gene.left else Gene(gene.left, gene.operator, right)


def _with_moved_constant(gene: Gene, rng: np.random.Generator) -> Gene:
    constants = gene.left.kind.constants
    if constants is None or isinstance(gene.right, Series):
        raise AssertionError(f"{gene.describe()} has no constant")
    step = 10.0**-constants.decimals

    def moved(value: float) -> float:
        found = constants.nearest(value + float(rng.normal(0.0, 0.5 * constants.spread)))
        return found if found != value else constants.nearest(value + (step if rng.random() < 0.5 else -step))

    if gene.upper is None:
        return Gene(gene.left, gene.operator, moved(gene.right))
    low, high = sorted((moved(gene.right), moved(gene.upper)))
    return Gene(gene.left, gene.operator, low, high) if low < high else gene


def _with_other_operator(gene: Gene, rng: np.random.Generator) -> Gene:
    others = [operator for operator in _COMPARISONS if operator is not gene.operator]
    return Gene(gene.left, others[below(rng, len(others))], gene.right)


# ---------------------------------------------------------------------------------------------------------------- risk


def _moved_risk(risk: RiskParameters, rng: np.random.Generator, max_leverage: float) -> RiskParameters:
    draw = below(rng, 8)
    if draw == 0:
        return random_risk(rng, max_leverage=max_leverage)
    if draw == 1:
        return replace(risk, reverse=not risk.reverse)
    if draw == 2:
        size = _held("position_size", risk.position_size * math.exp(rng.normal(0.0, 0.3)), 3)
        return replace(risk, position_size=size)
    if draw == 3 and max_leverage > 1.0:
        leverage = math.floor(2.0 * risk.leverage * math.exp(rng.normal(0.0, 0.3)) + 0.5) / 2.0
        return replace(risk, leverage=min(max(leverage, 1.0), max_leverage))
    if draw == 4:
        return replace(risk, atr_period=int(_held("atr_period", _moved_whole(risk.atr_period, rng), 0)))
    if draw == 5:
        return replace(risk, take_profit_atr=_moved_distance("take_profit_atr", risk.take_profit_atr, rng))
    distance = _moved_distance("stop_atr", risk.stop_atr or risk.trailing_atr, rng)
    trails = bool(risk.trailing_atr) != (rng.random() < 0.2)
    return replace(risk, stop_atr=0.0 if trails else distance, trailing_atr=distance if trails else 0.0)


def _moved_distance(name: str, distance: float, rng: np.random.Generator) -> float:
    if not distance:
        return round(float(rng.uniform(0.5, 5.0)), 1)
    if rng.random() < 0.1:
        return 0.0
    return _held(name, distance * math.exp(rng.normal(0.0, 0.3)), 1)


def _held(name: str, value: float, decimals: int) -> float:
    limits = RISK_LIMITS[name]
    return round(min(max(value, limits.low), limits.high), decimals)
