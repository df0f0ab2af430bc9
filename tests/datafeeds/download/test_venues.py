"""Any other venue, through ccxt itself, whose addresses lead to a server of our own."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ai_backtrader import MarketData
from ai_backtrader.datafeeds import DownloadError
from ai_backtrader.datafeeds.download.pages import PageFile, turn_pages

pytest.importorskip("ccxt", reason="other venues need ccxt (extra `exchange`)")

HOUR = 3_600_000
FIRST = int(pd.Timestamp("2024-01-01").value // 10**6)
BARS = 20 * 24
NOW = FIRST + BARS * HOUR + HOUR // 2  # the last candle began half an hour ago
TODAY = dt.date(2024, 1, 21)


def price(position: int) -> float:
    return 100.0 + position % 17


def perpetual(server: Any, *, page: int) -> None:
    """The futures of Binance by its REST interface, which ccxt calls binanceusdm; pages are shorter than asked for."""
    symbol = {
        "symbol": "BTCUSDT", "pair": "BTCUSDT", "contractType": "PERPETUAL", "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000, "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT",
        "marginAsset": "USDT", "pricePrecision": 2, "quantityPrecision": 3, "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN", "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.1", "maxPrice": "1000000", "tickSize": "0.1"},
            {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
        ], "orderTypes": ["LIMIT", "MARKET"], "timeInForce": ["GTC"],
    }  # fmt: skip
    server.answers["/fapi/v1/exchangeInfo"] = lambda query: {
        "timezone": "UTC", "serverTime": NOW, "rateLimits": [], "assets": [], "symbols": [symbol],
    }  # fmt: skip

    def klines(query: dict[str, str]) -> list[list[Any]]:
        since = int(query["startTime"])
        first = max(0, -(-(since - FIRST) // HOUR))
        found = range(first, min(first + page, BARS + 1))
        return [
            [FIRST + n * HOUR, str(price(n)), str(price(n) + 1), str(price(n) - 1), str(price(n) + 0.5), "3.5",
             FIRST + n * HOUR + HOUR - 1, "0", 1, "0", "0", "0"] for n in found
        ]  # fmt: skip

    def rates(query: dict[str, str]) -> list[dict[str, Any]]:
        since = int(query["startTime"])
        every = [FIRST + n * 8 * HOUR + 4 for n in range(BARS // 8)]
        found = [time for time in every if time >= since][:page]
        return [
            {"symbol": "BTCUSDT", "fundingTime": time, "fundingRate": "0.00010000", "markPrice": "1"} for time in found
        ]

    server.answers["/fapi/v1/klines"] = klines
    server.answers["/fapi/v1/fundingRate"] = rates


def kraken(server: Any) -> None:
    """The spot market of Kraken: whatever is asked for, the last 720 candles, the one that is not over among them."""
    server.answers["/0/public/Assets"] = lambda query: {"error": [], "result": {
        name: {"aclass": "currency", "altname": other, "decimals": 8, "display_decimals": 5}
        for name, other in (("XXBT", "XBT"), ("ZUSD", "USD"))
    }}  # fmt: skip
    server.answers["/0/public/AssetPairs"] = lambda query: {"error": [], "result": {"XXBTZUSD": {
        "altname": "XBTUSD", "wsname": "XBT/USD", "aclass_base": "currency", "base": "XXBT", "aclass_quote": "currency",
        "quote": "ZUSD", "lot": "unit", "pair_decimals": 1, "lot_decimals": 8, "lot_multiplier": 1, "leverage_buy": [],
        "leverage_sell": [], "fees": [[0, 0.26]], "fees_maker": [[0, 0.16]], "fee_volume_currency": "ZUSD",
        "margin_call": 80, "margin_stop": 40, "ordermin": "0.0001", "costmin": "0.5", "tick_size": "0.1",
        "status": "online",
    }}}  # fmt: skip

    def candles(query: dict[str, str]) -> dict[str, Any]:
        last = [FIRST + n * HOUR for n in range(BARS + 1)][-100:]
        rows = [[time // 1000, "10", "12", "9", "11", "10.5", "4.25", 3] for time in last]
        return {"error": [], "result": {"XXBTZUSD": rows, "last": last[-2] // 1000}}

    server.answers["/0/public/OHLC"] = candles


@pytest.fixture
def ask(get: Callable[..., Any], server: Any) -> Callable[..., Any]:
    def call(**options: Any) -> Any:
        return get(**({"symbol": "BTC/USDT:USDT", "venue": "binanceusdm", "today": TODAY, "attempts": 2} | options))

    return call


def test_candles_and_rates_come_page_by_page(ask: Any, server: Any) -> None:
    perpetual(server, page=100)
    result = ask()
    data = MarketData.from_csv(result.path)
    assert result.path.name == "BTCUSDT-perp-binanceusdm-1h-2024-01_2024-01-20.csv.gz"
    assert data.symbol == "BTCUSDT-perp-binanceusdm"
    assert len(data) == BARS
    assert data.report.gaps == 0
    np.testing.assert_array_equal(data.open, [price(n) for n in range(BARS)])
    np.testing.assert_array_equal(data.volume, np.full(BARS, 3.5))
    expected = np.where(np.arange(BARS) % 8 == 0, 0.0001, 0.0)
    np.testing.assert_array_equal(data.funding_rate, expected)
    assert result.gaps == ()
    assert len(server.asked("/klines")) == 5
    assert 1 <= len(server.asked("/fundingRate")) <= 3


def test_a_broken_off_download_goes_on_from_the_last_page(ask: Any, server: Any, fault: Any, tmp_path: Path) -> None:
    perpetual(server, page=100)
    reference = ask(folder=tmp_path / "reference").path.read_bytes()
    answer, count = server.answers["/fapi/v1/klines"], [0]

    def twice(query: dict[str, str]) -> Any:
        count[0] += 1
        if count[0] > 2:
            server.always["/fapi/v1/klines"] = fault(status=502)
        return answer(query)

    server.answers["/fapi/v1/klines"] = twice
    with pytest.raises(DownloadError, match=r"given up after 2 attempts: .*502.*the same call goes on from there"):
        ask()
    assert not list((tmp_path / "data").glob("*.csv.gz"))
    kept = next((tmp_path / "data" / ".downloads" / "binanceusdm").glob("BTCUSDT-perp-1h-*.jsonl"))
    with kept.open("ab") as file:
        file.write(b"[1704067200000, 1.0, ")  # what a kill leaves of a line
    server.always.clear()
    server.answers["/fapi/v1/klines"] = answer
    server.requests.clear()
    assert ask().path.read_bytes() == reference
    assert len(server.asked("/klines")) == 2
    server.requests.clear()
    assert ask().path.read_bytes() == reference
    assert server.asked("/klines") == []


def test_a_busy_venue_is_waited_for(ask: Any, server: Any, fault: Any) -> None:
    perpetual(server, page=500)
    server.faults["/fapi/v1/klines"].extend([fault(status=429, headers={"Retry-After": "1"})])
    server.faults["/fapi/v1/exchangeInfo"].extend([fault(status=503)])
    assert len(MarketData.from_csv(ask().path)) == BARS
    assert len(server.asked("/klines")) == 2


def test_a_venue_that_asks_for_too_long_a_pause_ends_the_download(ask: Any, server: Any, fault: Any) -> None:
    perpetual(server, page=500)
    server.always["/fapi/v1/klines"] = fault(status=418, headers={"Retry-After": "600"})
    with pytest.raises(DownloadError, match=r"binanceusdm asks for a pause of 600 s, longer than max_wait \(3 s\)"):
        ask(attempts=3)
    assert len(server.asked("/klines")) == 1


def test_the_last_candle_that_is_not_over_is_left_for_later(ask: Any, server: Any) -> None:
    kraken(server)
    result = ask(symbol="BTC/USD", venue="kraken", interval="1h")
    data = MarketData.from_csv(result.path)
    assert result.path.name == "BTCUSD-kraken-1h-2024-01_2024-01-20.csv.gz"
    # Of 100 candles the last begins at midnight, when the download is made.
    assert len(data) == 99
    assert data.report.last == "2024-01-20 23:00:00"
    assert "funding_rate" not in result.columns
    # What the venue no longer gives is said.
    assert [(str(gap.first), str(gap.last)) for gap in result.gaps] == [("2024-01-01", "2024-01-15")]
    assert "before the venue's first row" in str(result.gaps[0])


@pytest.mark.parametrize(
    ("market", "name"),
    [
        ({"symbol": "BTC/USD", "base": "BTC", "quote": "USD", "spot": True}, "BTCUSD"),
        ({"symbol": "BTC/USDT:USDT", "base": "BTC", "quote": "USDT", "settle": "USDT", "swap": True}, "BTCUSDT-perp"),
        ({"symbol": "BTC/USD:BTC", "base": "BTC", "quote": "USD", "settle": "BTC", "swap": True}, "BTC-USD-BTC-perp"),
        ({"symbol": "BTC/USDT:USDT-261225", "base": "BTC", "quote": "USDT", "settle": "USDT"}, "BTC-USDT-USDT-261225"),
        ({"symbol": "A.B/USD", "base": "A.B", "quote": "USD", "spot": True}, "A-BUSD"),
    ],
)
def test_markets_of_different_kinds_have_different_files(market: dict[str, Any], name: str) -> None:
    from ai_backtrader.datafeeds.download.venues import _file_name

    assert _file_name(market) == name


def test_a_venue_without_volume_gives_bars_of_volume_zero(ask: Any, server: Any) -> None:
    perpetual(server, page=500)
    answer = server.answers["/fapi/v1/klines"]
    server.answers["/fapi/v1/klines"] = lambda query: [[*row[:5], None, *row[6:]] for row in answer(query)]
    data = MarketData.from_csv(ask().path)
    assert len(data) == BARS
    assert not data.volume.any()


def test_a_venue_that_does_not_exist_is_said_with_near_names(ask: Any) -> None:
    with pytest.raises(DownloadError, match=r"knows no venue 'krakenn'.*Near names: kraken, krakenfutures"):
        ask(venue="krakenn")


def test_a_market_that_does_not_exist_is_said_with_near_names(ask: Any, server: Any) -> None:
    kraken(server)
    with pytest.raises(DownloadError, match=r"kraken has no market 'BTC/EUR'. It has BTC/USD"):
        ask(symbol="BTC/EUR", venue="kraken")


def test_an_interval_that_a_venue_lacks_is_said(ask: Any) -> None:
    with pytest.raises(DownloadError, match=r"kraken has no candles of 2h. It has 1m, 5m"):
        ask(symbol="BTC/USD", venue="kraken", interval="2h")


def test_no_candles_at_all_is_said(ask: Any, server: Any) -> None:
    perpetual(server, page=100)
    server.answers["/fapi/v1/klines"] = lambda query: []
    with pytest.raises(DownloadError, match=r"no candles of BTC/USDT:USDT \(1h\) from 2024-01-01 on at binanceusdm"):
        ask()


def test_what_a_venue_refuses_is_said_in_its_words(ask: Any, server: Any) -> None:
    kraken(server)
    server.answers["/0/public/OHLC"] = lambda query: {"error": ["EGeneral:Invalid arguments"]}
    with pytest.raises(DownloadError, match=r"kraken refuses: .*Invalid arguments"):
        ask(symbol="BTC/USD", venue="kraken")


def test_without_ccxt_it_is_said_how_to_have_it(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ccxt", None)
    with pytest.raises(DownloadError, match=r'pip install "ai-backtrader\[exchange\]"'):
        ask()


def test_pages_may_overlap_be_unsorted_empty_or_hold_holes(tmp_path: Path) -> None:
    every = [(float(time), time * 2.0) for time in range(0, 300, 10) if not 100 <= time < 180]
    asked: list[int] = []

    def fetch(since: int) -> list[Any]:
        asked.append(since)
        near = [row for row in every if since - 20 <= row[0] < since + 40]
        return [*near[::-1], near[0], (near[-1][0] + 1, None)] if near else []

    kept = PageFile(tmp_path / "rows.jsonl", width=2)
    told: list[tuple[int, int]] = []
    rows = turn_pages(
        kept, fetch, begin=20, end=250, step=10, span=40, progress=lambda at, count: told.append((at, count))
    )
    assert rows == [row for row in every if 20 <= row[0] < 250]
    assert asked == sorted(set(asked))
    assert told[-1] == (250, len(rows))
    assert kept.read() == rows


@pytest.mark.parametrize(
    "end", [b"[30.0, 1.", b"[30.0, 1.0, 2.0]\n", b"[10.0, 1.0]\n", b"nonsense\n", b'["30", 1.0]\n']
)
def test_a_torn_or_strange_line_is_cut_off(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    good = "".join(json.dumps(row) + "\n" for row in ([10.0, 1.0], [20.0, 2.0])).encode()
    path.write_bytes(good + end)
    assert PageFile(path, width=2).read() == [(10.0, 1.0), (20.0, 2.0)]
    assert path.read_bytes() == good
