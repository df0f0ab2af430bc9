"""Evidence on plain arrays: what a result is worth. Pure, no Backtrader.

The ledger is a few plain values, which the learning database needs in every process; the names with kernels behind them
open their file, and Numba, on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ai_backtrader.evidence.ledger import MemoryLedger, SealedOpening, TrialCount, TrialKey, TrialLedger

if TYPE_CHECKING:
    from ai_backtrader.evidence.metrics import annual_volatility as annual_volatility
    from ai_backtrader.evidence.metrics import bar_returns as bar_returns
    from ai_backtrader.evidence.metrics import bars_per_year as bars_per_year
    from ai_backtrader.evidence.metrics import cagr as cagr
    from ai_backtrader.evidence.metrics import calmar_ratio as calmar_ratio
    from ai_backtrader.evidence.metrics import compound_rate as compound_rate
    from ai_backtrader.evidence.metrics import downside_deviation as downside_deviation
    from ai_backtrader.evidence.metrics import drawdowns as drawdowns
    from ai_backtrader.evidence.metrics import expectancy as expectancy
    from ai_backtrader.evidence.metrics import expected_shortfall as expected_shortfall
    from ai_backtrader.evidence.metrics import exposure as exposure
    from ai_backtrader.evidence.metrics import kelly_fraction as kelly_fraction
    from ai_backtrader.evidence.metrics import kurtosis as kurtosis
    from ai_backtrader.evidence.metrics import longest_run as longest_run
    from ai_backtrader.evidence.metrics import max_drawdown as max_drawdown
    from ai_backtrader.evidence.metrics import max_drawdown_bars as max_drawdown_bars
    from ai_backtrader.evidence.metrics import omega_ratio as omega_ratio
    from ai_backtrader.evidence.metrics import profit_factor as profit_factor
    from ai_backtrader.evidence.metrics import sharpe_ratio as sharpe_ratio
    from ai_backtrader.evidence.metrics import skewness as skewness
    from ai_backtrader.evidence.metrics import sortino_ratio as sortino_ratio
    from ai_backtrader.evidence.metrics import system_quality_number as system_quality_number
    from ai_backtrader.evidence.metrics import tail_ratio as tail_ratio
    from ai_backtrader.evidence.metrics import total_return as total_return
    from ai_backtrader.evidence.metrics import turnover as turnover
    from ai_backtrader.evidence.metrics import value_at_risk as value_at_risk
    from ai_backtrader.evidence.metrics import win_rate as win_rate
    from ai_backtrader.evidence.multiple import bonferroni as bonferroni
    from ai_backtrader.evidence.multiple import holm as holm
    from ai_backtrader.evidence.noise import NoiseFloor as NoiseFloor
    from ai_backtrader.evidence.noise import noise_floor as noise_floor
    from ai_backtrader.evidence.overfitting import OverfittingEvidence as OverfittingEvidence
    from ai_backtrader.evidence.overfitting import (
        probability_of_backtest_overfitting as probability_of_backtest_overfitting,
    )
    from ai_backtrader.evidence.resampling import BlockLength as BlockLength
    from ai_backtrader.evidence.resampling import BootstrapEvidence as BootstrapEvidence
    from ai_backtrader.evidence.resampling import TradeOrderEvidence as TradeOrderEvidence
    from ai_backtrader.evidence.resampling import block_bootstrap as block_bootstrap
    from ai_backtrader.evidence.resampling import bootstrap_indices as bootstrap_indices
    from ai_backtrader.evidence.resampling import optimal_block_length as optimal_block_length
    from ai_backtrader.evidence.resampling import shuffle_trades as shuffle_trades
    from ai_backtrader.evidence.sharpe import Convention as Convention
    from ai_backtrader.evidence.sharpe import SharpeEvidence as SharpeEvidence
    from ai_backtrader.evidence.sharpe import deflated_sharpe_ratio as deflated_sharpe_ratio
    from ai_backtrader.evidence.sharpe import expected_maximum_sharpe as expected_maximum_sharpe
    from ai_backtrader.evidence.sharpe import minimum_backtest_length as minimum_backtest_length
    from ai_backtrader.evidence.sharpe import minimum_track_record_length as minimum_track_record_length
    from ai_backtrader.evidence.sharpe import probabilistic_sharpe_ratio as probabilistic_sharpe_ratio
    from ai_backtrader.evidence.sharpe import sharpe_evidence as sharpe_evidence
    from ai_backtrader.evidence.splits import CombinatorialSplit as CombinatorialSplit
    from ai_backtrader.evidence.splits import Split as Split
    from ai_backtrader.evidence.splits import combinatorial_purged_splits as combinatorial_purged_splits
    from ai_backtrader.evidence.splits import purged_k_fold as purged_k_fold
    from ai_backtrader.evidence.splits import purged_walk_forward as purged_walk_forward

__all__ = [
    "BlockLength",
    "BootstrapEvidence",
    "CombinatorialSplit",
    "Convention",
    "MemoryLedger",
    "NoiseFloor",
    "OverfittingEvidence",
    "SealedOpening",
    "SharpeEvidence",
    "Split",
    "TradeOrderEvidence",
    "TrialCount",
    "TrialKey",
    "TrialLedger",
    "annual_volatility",
    "bar_returns",
    "bars_per_year",
    "block_bootstrap",
    "bonferroni",
    "bootstrap_indices",
    "cagr",
    "calmar_ratio",
    "combinatorial_purged_splits",
    "compound_rate",
    "deflated_sharpe_ratio",
    "downside_deviation",
    "drawdowns",
    "expectancy",
    "expected_maximum_sharpe",
    "expected_shortfall",
    "exposure",
    "holm",
    "kelly_fraction",
    "kurtosis",
    "longest_run",
    "max_drawdown",
    "max_drawdown_bars",
    "minimum_backtest_length",
    "minimum_track_record_length",
    "noise_floor",
    "omega_ratio",
    "optimal_block_length",
    "probabilistic_sharpe_ratio",
    "probability_of_backtest_overfitting",
    "profit_factor",
    "purged_k_fold",
    "purged_walk_forward",
    "sharpe_evidence",
    "sharpe_ratio",
    "shuffle_trades",
    "skewness",
    "sortino_ratio",
    "system_quality_number",
    "tail_ratio",
    "total_return",
    "turnover",
    "value_at_risk",
    "win_rate",
]

_FILES = {
    "metrics": (
        "annual_volatility",
        "bar_returns",
        "bars_per_year",
        "cagr",
        "calmar_ratio",
        "compound_rate",
        "downside_deviation",
        "drawdowns",
        "expectancy",
        "expected_shortfall",
        "exposure",
        "kelly_fraction",
        "kurtosis",
        "longest_run",
        "max_drawdown",
        "max_drawdown_bars",
        "omega_ratio",
        "profit_factor",
        "sharpe_ratio",
        "skewness",
        "sortino_ratio",
        "system_quality_number",
        "tail_ratio",
        "total_return",
        "turnover",
        "value_at_risk",
        "win_rate",
    ),
    "multiple": (
        "bonferroni",
        "holm",
    ),
    "noise": (
        "NoiseFloor",
        "noise_floor",
    ),
    "overfitting": (
        "OverfittingEvidence",
        "probability_of_backtest_overfitting",
    ),
    "resampling": (
        "BlockLength",
        "BootstrapEvidence",
        "TradeOrderEvidence",
        "block_bootstrap",
        "bootstrap_indices",
        "optimal_block_length",
        "shuffle_trades",
    ),
    "sharpe": (
        "Convention",
        "SharpeEvidence",
        "deflated_sharpe_ratio",
        "expected_maximum_sharpe",
        "minimum_backtest_length",
        "minimum_track_record_length",
        "probabilistic_sharpe_ratio",
        "sharpe_evidence",
    ),
    "splits": (
        "CombinatorialSplit",
        "Split",
        "combinatorial_purged_splits",
        "purged_k_fold",
        "purged_walk_forward",
    ),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}


def __getattr__(name: str) -> object:
    try:
        file = _FILE_OF[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(importlib.import_module(f"{__name__}.{file}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_FILE_OF))
