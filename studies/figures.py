"""Figures of the study from its accounts: one row a market and strategy, a fold, a system switched off."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from accounts import Account, MarketAccounts
from numpy.typing import NDArray
from walking import VARIANTS

from ai_backtrader.evidence import (
    TrialCount,
    bootstrap_indices,
    max_drawdown,
    optimal_block_length,
    sharpe_evidence,
    sharpe_ratio,
    total_return,
)

__all__ = ["fold_rows", "found_rows", "summary_rows", "switched_rows"]

Floats = NDArray[np.float64]

HOLDING = "buy_and_hold"
_RESAMPLES = 1_000
_SAME = 1e-6  # of a bar's return: other warm-ups move the last digits of the averages
_SEED = 20
_NO_TRIALS = TrialCount()


def summary_rows(markets: Mapping[str, MarketAccounts]) -> pd.DataFrame:
    """One row a market and strategy, over all its folds, beside holding.

    Columns: ``total_return``, ``max_drawdown``, ``fees``, ``funding`` (fractions, over all folds), ``sharpe`` (annual),
    ``deflated`` after ``n_trials``; of the folds ``ahead`` (a higher Sharpe ratio than holding's), ``richer`` (a higher
    return), ``sharpe_low``, ``sharpe_high``; the differences to holding in mean annual return and in the Sharpe ratio,
    each with the 95 % interval of a paired stationary bootstrap.
    """
    rows = []
    for market, held in markets.items():
        holding = held.accounts[HOLDING]
        for name, account in held.accounts.items():
            figures = _figures(account, held.bars_per_year)
            alone = [_fold_figures(fold, held.bars_per_year) for fold in account.folds]
            others = [_fold_figures(fold, held.bars_per_year) for fold in holding.folds]
            pairs = list(zip(alone, others, strict=True))
            evidence = sharpe_evidence(
                account.returns, n_trials=max(1, account.trials.n_trials),
                trials_sharpe_std=account.trials.sharpe_std if account.trials.n_measured > 1 else None,
            )  # fmt: skip
            sharpes = [one["sharpe"] for one in alone]
            rows.append(
                {
                    "market": market, "strategy": name, **figures,
                    "n_trials": account.trials.n_trials, "deflated": evidence.deflated,
                    "folds": len(pairs),
                    "ahead": sum(_or_zero(own["sharpe"]) > _or_zero(other["sharpe"]) for own, other in pairs),
                    "richer": sum(own["total_return"] > other["total_return"] for own, other in pairs),
                    "sharpe_low": _least(sharpes), "sharpe_high": -_least([-one for one in sharpes]),
                    **_difference(account.returns, holding.returns, held.bars_per_year),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def fold_rows(markets: Mapping[str, MarketAccounts]) -> pd.DataFrame:
    """One row a market, fold and strategy."""
    return pd.DataFrame(
        [
            {
                "market": market, "fold": number, "first": found["first"], "last": found["last"], "strategy": name,
                **_fold_figures(account.folds[number - 1], held.bars_per_year),
            }
            for market, held in markets.items()
            for number, found in enumerate(held.found, 1)
            for name, account in held.accounts.items()
        ]
    )  # fmt: skip


def switched_rows(markets: Mapping[str, MarketAccounts]) -> pd.DataFrame:
    """One row a market, system and account (``ai``, ``fund``): what is gained by having the system switched on.

    ``gain`` is the total return with it less that without it, ``sharpe_gain`` the same of the Sharpe ratio; the
    difference in mean annual return has the interval of a paired bootstrap; ``same`` where no bar's return differs.
    """
    rows = []
    for market, held in markets.items():
        for variant, changes in VARIANTS.items():
            if not changes.get("without"):
                continue
            for member in ("ai", "fund"):
                whole = held.accounts[f"best/{member}" if "admit" in changes else member]
                without = held.accounts[f"{variant}/{member}"]
                own, other = (_figures(account, held.bars_per_year) for account in (whole, without))
                rows.append(
                    {
                        "market": market, "admitted": changes.get("admit", "passed"), "system": changes["without"][0],
                        "account": member, "with": own["total_return"], "without": other["total_return"],
                        "gain": own["total_return"] - other["total_return"],
                        "sharpe_gain": _or_zero(own["sharpe"]) - _or_zero(other["sharpe"]),
                        "drawdown_gain": other["max_drawdown"] - own["max_drawdown"],
                        "same": bool(np.max(np.abs(whole.returns - without.returns)) < _SAME),
                        **_difference(whole.returns, without.returns, held.bars_per_year),
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def found_rows(markets: Mapping[str, MarketAccounts]) -> pd.DataFrame:
    """One row a market and fold: what the searches found, and the CPU seconds of it all."""
    return pd.DataFrame(
        [
            {"market": market, "fold": number, **found}
            for market, held in markets.items()
            for number, found in enumerate(held.found, 1)
        ]
    )


def _figures(account: Account, bars_per_year: float) -> dict[str, Any]:
    returns, growth = account.returns, account.growth
    return {
        "total_return": total_return(returns), "sharpe": sharpe_ratio(returns, bars_per_year=bars_per_year),
        "max_drawdown": max_drawdown(growth),
        "trades": sum(fold.trades for fold in account.folds),
        "liquidations": sum(fold.liquidations for fold in account.folds),
        "fees": sum(fold.fees for fold in account.folds), "funding": sum(fold.funding for fold in account.folds),
    }  # fmt: skip


def _fold_figures(fold: Any, bars_per_year: float) -> dict[str, Any]:
    alone = Account(folds=(fold,), trials=_NO_TRIALS)
    return _figures(alone, bars_per_year)


def _difference(own: Floats, other: Floats, bars_per_year: float) -> dict[str, float]:
    """Differences in mean annual return and in the Sharpe ratio, each with the interval of resampled pairs of bars."""
    apart = own - other
    if not np.ptp(apart) > 0.0:
        return dict.fromkeys(
            ("mean_gap", "mean_gap_low", "mean_gap_high", "sharpe_gap", "sharpe_gap_low", "sharpe_gap_high"), 0.0
        )
    rng = np.random.default_rng(_SEED)
    length = optimal_block_length(apart).stationary
    means, ratios = np.empty(_RESAMPLES), np.empty(_RESAMPLES)
    for place in range(_RESAMPLES):
        at = bootstrap_indices(len(apart), block_length=length, rng=rng)
        means[place] = np.mean(apart[at])
        ratios[place] = _sharpe(own[at]) - _sharpe(other[at])
    year = math.sqrt(bars_per_year)
    mean_low, mean_high = np.quantile(means, [0.025, 0.975]) * bars_per_year
    ratio_low, ratio_high = np.quantile(ratios, [0.025, 0.975]) * year
    return {
        "mean_gap": float(np.mean(apart)) * bars_per_year, "mean_gap_low": mean_low, "mean_gap_high": mean_high,
        "sharpe_gap": (_sharpe(own) - _sharpe(other)) * year, "sharpe_gap_low": ratio_low,
        "sharpe_gap_high": ratio_high,
    }  # fmt: skip


def _sharpe(returns: Floats) -> float:
    spread = float(np.std(returns, ddof=1))
    return float(np.mean(returns)) / spread if spread > 0.0 else 0.0


def _or_zero(value: float) -> float:
    """A strategy that never traded has no Sharpe ratio; beside others it stands at 0."""
    return 0.0 if math.isnan(value) else value


def _least(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return min(known) if known else math.nan
