"""Tables that ship with the package, and the reader of the exchange's bracket files."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MaintenanceTiers, load_tiers, tier_tables


@pytest.mark.parametrize("name", tier_tables())
def test_every_shipped_table_is_sound_and_names_source_and_date(name: str) -> None:
    table = load_tiers(name)
    assert table.name == name
    assert table.symbol in name
    assert "github.com" in table.source or "http" in table.source
    assert dt.date(2019, 1, 1) < table.date
    # The published amounts are exactly those that make the maintenance margin continuous.
    recomputed = MaintenanceTiers([(*row[:3], None, row[4]) for row in table.tiers.rows])
    assert recomputed.amounts == pytest.approx(table.tiers.amounts, rel=1e-12)
    # A position at the highest leverage of its tier is not liquidated at once.
    for row in table.tiers.rows:
        assert 1 / row.max_leverage > row.maintenance_rate


def test_bitcoin_and_ether_of_binance_are_there() -> None:
    assert {"binance-BTCUSDT", "binance-ETHUSDT"} <= set(tier_tables())
    bitcoin = load_tiers("binance-BTCUSDT").tiers
    assert bitcoin.rate_and_amount(1_000_000) == (0.0065, 950.0)
    assert bitcoin.max_leverage(50_000) == 125
    assert bitcoin.max_leverage(2_000_000_000) == 0


def test_an_unknown_table_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(SettingsError, match="binance-BTCUSDT, binance-ETHUSDT, got 'BTC'"):
        load_tiers("BTC")


ANSWER: list[dict[str, Any]] = [
    {
        "symbol": "XUSDT",
        "brackets": [
            {"initialLeverage": "10", "notionalCap": "1e6", "notionalFloor": 5e3, "maintMarginRatio": 0.05, "cum": 200},
            {"initialLeverage": 50, "notionalCap": 5000, "notionalFloor": 0, "maintMarginRatio": "0.01", "cum": 0},
        ],
    },
    {"symbol": "YUSDT", "brackets": []},
]  # fmt: skip


def test_the_exchanges_answer_is_read_from_a_file_or_as_it_came(tmp_path: Path) -> None:
    file = tmp_path / "brackets.json"
    file.write_text(json.dumps(ANSWER), encoding="utf-8")
    expected = MaintenanceTiers([(0, 5000, 0.01, 0, 50), (5000, 1e6, 0.05, 200, 10)])
    for source in (file, str(file), ANSWER, ANSWER[0]):
        assert MaintenanceTiers.from_brackets_json(source, "XUSDT") == expected
    assert MaintenanceTiers.from_brackets_json(ANSWER[0]) == expected


@pytest.mark.parametrize(
    ("source", "symbol", "message"),
    [
        (ANSWER, None, "symbol must be one of the file's"),
        (ANSWER, "ZUSDT", "got 'ZUSDT'"),
        (ANSWER, "YUSDT", "YUSDT has no brackets"),
        ([1], None, "expected a list of"),
        ({"symbol": "X", "brackets": [{"cum": 0}]}, None, "bracket 0 of X lacks notionalFloor"),
        (
            {"symbol": "X", "brackets": [dict.fromkeys(ANSWER[0]["brackets"][0], "much")]},
            None,
            "holds what is no number",
        ),
    ],
)
def test_a_faulty_answer_is_refused(source: Any, symbol: str | None, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        MaintenanceTiers.from_brackets_json(source, symbol)


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "brackets.json"
    file.write_text("<html>", encoding="utf-8")
    with pytest.raises(SettingsError, match="not a readable JSON file"):
        MaintenanceTiers.from_brackets_json(file)
    with pytest.raises(SettingsError, match="not a readable JSON file"):
        MaintenanceTiers.from_brackets_json(tmp_path / "absent.json")
