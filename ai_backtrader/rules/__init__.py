"""Trading rules as values: genes, chromosomes, their JSON and text, their signals on arrays."""

from ai_backtrader.rules.catalogue import CATALOGUE, Constants, Parameter, SeriesKind, Unit
from ai_backtrader.rules.chromosome import Required, StrategyChromosome
from ai_backtrader.rules.encoding import MAX_JSON_BYTES, SCHEMA
from ai_backtrader.rules.genes import MAX_HOLD_BARS, Gene, HoldGene, Operator, Series, nearest_series
from ai_backtrader.rules.sampling import random_gene, random_hold, random_risk, random_section, random_series
from ai_backtrader.rules.sections import (
    MAX_GENES,
    RISK_LIMITS,
    SECTIONS,
    RiskLimits,
    RiskParameters,
    Section,
    section_of,
)
from ai_backtrader.rules.signals import SeriesBank, gene_period, section_signal, strategy_period, unpack_words
from ai_backtrader.rules.streaming import BAR_COLUMNS, EntryStream

__all__ = [
    "BAR_COLUMNS",
    "CATALOGUE",
    "MAX_GENES",
    "MAX_HOLD_BARS",
    "MAX_JSON_BYTES",
    "RISK_LIMITS",
    "SCHEMA",
    "SECTIONS",
    "Constants",
    "EntryStream",
    "Gene",
    "HoldGene",
    "Operator",
    "Parameter",
    "Required",
    "RiskLimits",
    "RiskParameters",
    "Section",
    "Series",
    "SeriesBank",
    "SeriesKind",
    "StrategyChromosome",
    "Unit",
    "gene_period",
    "nearest_series",
    "random_gene",
    "random_hold",
    "random_risk",
    "random_section",
    "random_series",
    "section_of",
    "section_signal",
    "strategy_period",
    "unpack_words",
]
