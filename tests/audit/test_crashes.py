"""The facts that docs/crashes.md tells, from the real perpetuals."""

from __future__ import annotations

import datetime as dt
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MARCH, MAY = dt.date(2020, 3, 12), dt.date(2021, 5, 19)


@pytest.fixture(scope="module")
def crashes() -> Any:
    spec = importlib.util.spec_from_file_location("crashes", ROOT / "examples" / "crashes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["crashes"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found(crashes: Any, shared_csv: Callable[[str], Path]) -> dict[Any, Any]:
    folders = {shared_csv(f"{market}USDT-perp-1h-2020-2023.csv.gz").parent for market in crashes.MARKETS}
    (folder,) = folders
    return {(row.market, row.crash, row.days_before, row.leverage): row for row in crashes.rows(folder)}


def test_the_last_price_of_ether_fell_a_fifth_below_its_mark(found: dict[Any, Any]) -> None:
    row = found["ETH", MAY, 1, 2.0]
    assert row.lowest_last == 1_400.73
    assert row.lowest_mark == pytest.approx(1_764.258181)
    assert 1.0 - row.lowest_last / row.lowest_mark == pytest.approx(0.206, abs=5e-4)


def test_the_last_price_kills_what_the_mark_price_spares(found: dict[Any, Any]) -> None:
    differ = {key for key, row in found.items() if bool(row.by_mark.liquidation) != bool(row.by_last.liquidation)}
    assert differ == {("ETH", MAY, 1, 2.0), ("BTC", MAY, 1, 3.0)}
    for key in differ:
        row = found[key]
        assert row.by_mark.liquidation is None
        assert row.by_last.liquidation.bar_time == dt.datetime(2021, 5, 19, 13)
        assert row.lowest_last < row.by_last.liquidation_price < row.lowest_mark


def test_no_long_survived_march(found: dict[Any, Any]) -> None:
    march = [row for (_, crash, _, _), row in found.items() if crash == MARCH]
    assert len(march) == 16
    assert all(row.by_mark.liquidation and row.by_last.liquidation for row in march)


def test_each_liquidation_price_is_the_formulas(found: dict[Any, Any]) -> None:
    for (_, _, _, leverage), row in found.items():
        outcome = row.by_mark
        # Posted at the fill: entry * (1 - 1 / leverage) / (1 - 0.5 %).
        assert outcome.liquidation_price == pytest.approx(outcome.entry * (1.0 - 1.0 / leverage) / 0.995, rel=1e-9)


def test_a_loss_is_never_more_than_margin_and_funding(found: dict[Any, Any]) -> None:
    for row in found.values():
        for outcome in (row.by_mark, row.by_last):
            if outcome.liquidation is not None:
                assert outcome.liquidation.loss <= outcome.liquidation.margin + 1e-9
                assert outcome.result == pytest.approx(-outcome.liquidation.loss - outcome.funding, abs=1e-6)


def test_the_page_tells_what_the_script_finds(crashes: Any, found: dict[Any, Any]) -> None:
    page = (ROOT / "docs" / "crashes.md").read_text(encoding="utf-8")
    assert crashes.table(list(found.values())) in page
