"""The numbers of a chromosome under readable names: params of the compiled strategy and of the exported file.

``long1_rsi_period``, ``long1_rsi_below``: the first gene of the long entry. A series on the right says ``than``:
``long2_than_ema_period``. Ends of ``between`` are ``from`` and ``to``. The risk parameters keep their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ai_backtrader.rules import RISK_LIMITS, SECTIONS, Gene, HoldGene, Operator, Section, Series, StrategyChromosome

__all__ = ["PREFIXES", "constant_name", "series_names", "tunable_params", "with_params"]

PREFIXES = dict(zip(SECTIONS, ("long", "short", "exit", "filter"), strict=True))
"""How the params of each section begin."""

_RISK = (*RISK_LIMITS, "reverse")

_CONSTANTS = {
    Operator.BELOW: "below",
    Operator.ABOVE: "above",
    Operator.CROSSES_ABOVE: "crosses_above",
    Operator.CROSSES_BELOW: "crosses_below",
    Operator.BETWEEN: "from",
}


def series_names(prefix: str, series: Series) -> tuple[str, ...]:
    """Names of the parameters of a series, in order; ``prefix`` ends in ``_than`` for the right side."""
    return tuple(f"{prefix}_{series.name}_{parameter.name}" for parameter in series.kind.parameters)


def constant_name(prefix: str, gene: Gene) -> str:
    """Name of the constant on the right (the lower end of ``between``)."""
    return f"{prefix}_{gene.left.name}_{_CONSTANTS[gene.operator]}"


def _gene_params(prefix: str, gene: Gene | HoldGene) -> dict[str, float]:
    if isinstance(gene, HoldGene):
        return {f"{prefix}_hold": gene.bars}
    found: dict[str, float] = dict(zip(series_names(prefix, gene.left), gene.left.params, strict=True))
    if isinstance(gene.right, Series):
        return found | dict(zip(series_names(f"{prefix}_than", gene.right), gene.right.params, strict=True))
    found[constant_name(prefix, gene)] = gene.right
    if gene.upper is not None:
        found[f"{prefix}_{gene.left.name}_to"] = gene.upper
    return found


def tunable_params(chromosome: StrategyChromosome) -> dict[str, Any]:
    """Every number of a chromosome by name: the risk parameters, then the genes, section by section."""
    found: dict[str, Any] = {name: getattr(chromosome.risk, name) for name in _RISK}
    for name, section in chromosome.sections.items():
        for position, gene in enumerate(section.genes, start=1):
            found |= _gene_params(f"{PREFIXES[name]}{position}", gene)
    return found


def with_params(chromosome: StrategyChromosome, values: Mapping[str, Any]) -> StrategyChromosome:
    """The same rules with other numbers.

    Parameters
    ----------
    chromosome
        The rules.
    values
        A value for every name of :func:`tunable_params`.

    Raises
    ------
    SettingsError
        If a value is outside the range of its series or risk parameter.
    """
    sections = {
        name: Section(
            tuple(_gene_with(f"{PREFIXES[name]}{i}", gene, values) for i, gene in enumerate(section.genes, start=1)),
            section.need,
        )
        for name, section in chromosome.sections.items()
    }
    return StrategyChromosome(**sections, risk=replace(chromosome.risk, **{name: values[name] for name in _RISK}))


def _gene_with(prefix: str, gene: Gene | HoldGene, values: Mapping[str, Any]) -> Gene | HoldGene:
    if isinstance(gene, HoldGene):
        return HoldGene(values[f"{prefix}_hold"])
    left = _series_with(prefix, gene.left, values)
    if isinstance(gene.right, Series):
        return Gene(left, gene.operator, _series_with(f"{prefix}_than", gene.right, values))
    upper = None if gene.upper is None else values[f"{prefix}_{gene.left.name}_to"]
    return Gene(left, gene.operator, values[constant_name(prefix, gene)], upper)


def _series_with(prefix: str, series: Series, values: Mapping[str, Any]) -> Series:
    return Series(series.name, tuple(values[name] for name in series_names(prefix, series)))
