"""The page of the study tells what the stored figures say, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ai_backtrader.errors import AIBacktraderError

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "study.md"


@pytest.fixture(scope="module")
def results(study: Any) -> dict[str, pd.DataFrame]:
    found: dict[str, pd.DataFrame] = study("tables").read_results(ROOT / "studies" / "results")
    return found


def test_the_pages_tables_are_those_of_the_stored_figures(study: Any, results: dict[str, pd.DataFrame]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert study("tables").fill(page, results) == page
    asked = set(re.findall(r"<!-- study: ([\w-]+) -->", page))
    assert asked == set(study("tables").tables(results))


def test_another_figure_would_be_another_page(study: Any, results: dict[str, pd.DataFrame]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in ("summary", "switched", "found"):
        changed = {key: frame.copy() for key, frame in results.items()}
        column = {"summary": "total_return", "switched": "gain", "found": "trials"}[name]
        changed[name][column] = changed[name][column] + 7
        assert study("tables").fill(page, changed) != page, name
    with pytest.raises(AIBacktraderError, match="the page asks for weather; there are markets, verdict"):
        study("tables").fill("<!-- study: weather -->\n<!-- end -->", results)


def test_every_market_has_its_folds_and_every_system_was_switched_off(
    study: Any, results: dict[str, pd.DataFrame]
) -> None:
    markets, systems = study("markets").MARKETS, study("walking").SYSTEMS
    assert results["summary"]["market"].unique().tolist() == list(markets)
    for name in markets:
        market = markets[name]
        found = results["found"].query("market == @name")
        assert found["fold"].tolist() == list(range(1, market.folds + 1))
        assert market.folds >= 3
        # Walks follow one another without a gap and without a bar twice.
        assert (found["first"].iloc[1:].to_numpy() == found["last"].iloc[:-1].to_numpy()).all()
        off = results["switched"].query("market == @name and admitted == 'passed' and account == 'ai'")
        assert off["system"].tolist() == list(systems)


def test_the_stored_figures_agree_with_one_another(results: dict[str, pd.DataFrame]) -> None:
    folds, summary = results["folds"], results["summary"].set_index(["market", "strategy"])
    for (market, strategy), rows in folds.groupby(["market", "strategy"]):
        whole = summary.loc[(market, strategy)]
        assert (1.0 + rows["total_return"]).prod() - 1.0 == pytest.approx(whole["total_return"], rel=1e-8, abs=1e-9)
        assert rows["trades"].sum() == whole["trades"]
        assert rows["fees"].sum() == pytest.approx(whole["fees"], rel=1e-8, abs=1e-12)
        assert whole["max_drawdown"] >= rows["max_drawdown"].max() - 1e-9
    holding = summary.xs("buy_and_hold", level="strategy")
    assert (holding["ahead"] == 0).all()
    assert (holding["mean_gap"] == 0.0).all()
    switched = results["switched"]
    assert switched["gain"].to_numpy() == pytest.approx((switched["with"] - switched["without"]).to_numpy(), abs=1e-9)
    assert (switched.query("same")["gain"].abs() < 1e-3).all()
