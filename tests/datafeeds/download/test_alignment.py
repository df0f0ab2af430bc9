"""No bar holds what was not known when it closed: the rule by hand, and by cutting the future off."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ai_backtrader import MarketData
from ai_backtrader.datafeeds.download.align import Sources, align, clean_candles, merge
from ai_backtrader.market import compute_features

SECONDS = {"5min": 300, "1h": 3_600, "4h": 14_400, "1D": 86_400}


def made_up(interval: str, days: int = 12) -> Sources:
    rng = np.random.default_rng(11)
    start, end = pd.Timestamp("2026-06-20"), pd.Timestamp("2026-06-20") + pd.Timedelta(days=days)
    bars = pd.date_range(start, end, freq=interval, inclusive="left", unit="ns")
    bars = bars.delete(rng.integers(1, len(bars) - 1, len(bars) // 12))  # outages
    prices = rng.uniform(1.0, 2.0, (len(bars), 5))
    candles = pd.DataFrame(prices, columns=["open", "high", "low", "close", "volume"], index=bars)
    candles["taker_buy_volume"] = candles["volume"] / 2
    mark = pd.DataFrame(
        rng.uniform(1, 2, (len(bars), 4)), columns=[f"mark_{n}" for n in ("open", "high", "low", "close")], index=bars
    )
    settled = pd.date_range(start, end, freq="4h", inclusive="left", unit="ns")
    settled += pd.to_timedelta(rng.integers(0, 900, len(settled)), unit="ms")
    stamps = pd.date_range(start, end, freq="5min", unit="ns")
    stamps = stamps.delete(rng.integers(0, len(stamps), len(stamps) // 8))
    metrics = pd.DataFrame(
        rng.uniform(1, 2, (len(stamps), 2)), columns=["open_interest", "long_short_ratio"], index=stamps
    )
    metrics[rng.random(metrics.shape) < 0.05] = np.nan
    metrics.iloc[rng.integers(0, len(metrics), 20), 0] = 0.0
    return Sources(
        candles=candles,
        mark=mark.drop(mark.index[rng.integers(0, len(mark), len(mark) // 10)]),
        funding=pd.DataFrame({"funding_rate": rng.normal(0, 1e-4, len(settled))}, index=settled),
        funding_known=((start.value, end.value),),
        metrics=metrics,
    )


def known_by(sources: Sources, moment: pd.Timestamp, seconds: int, *, delay: float) -> Sources:
    """What was known at a moment: bars closed, rates settled, metrics published."""
    length = pd.Timedelta(seconds=seconds)
    assert sources.mark is not None
    assert sources.funding is not None
    assert sources.metrics is not None
    return Sources(
        candles=sources.candles[sources.candles.index + length <= moment],
        mark=sources.mark[sources.mark.index + length <= moment],
        funding=sources.funding[sources.funding.index <= moment],
        funding_known=tuple((begin, min(end, moment.value)) for begin, end in sources.funding_known),
        metrics=sources.metrics[sources.metrics.index + pd.Timedelta(seconds=delay) <= moment],
    )


@pytest.mark.parametrize("interval", SECONDS)
def test_cutting_the_future_off_changes_no_bar(interval: str) -> None:
    sources, seconds = made_up(interval), SECONDS[interval]
    whole = align(sources, seconds)
    assert all(np.isfinite(whole[name]).any() for name in whole)
    rng = np.random.default_rng(3)
    for position in {0, 1, len(whole) - 1, *rng.integers(2, len(whole), 25).tolist()}:
        closed = whole.index[position] + pd.Timedelta(seconds=seconds)
        # Even if a row of metrics was out only five minutes after the later of the two moments that its stamp can mean.
        part = align(known_by(sources, closed, seconds, delay=600), seconds)
        pd.testing.assert_frame_equal(part, whole.iloc[: position + 1], check_freq=False)


@pytest.mark.parametrize("interval", SECONDS)
def test_the_test_above_sees_a_row_used_a_moment_early(interval: str) -> None:
    sources, seconds = made_up(interval), SECONDS[interval]
    whole = align(sources, seconds)
    differs = 0
    for position in range(2, len(whole), max(1, len(whole) // 25)):
        closed = whole.index[position] + pd.Timedelta(seconds=seconds)
        part = align(known_by(sources, closed, seconds, delay=601), seconds)
        differs += not part["open_interest"].equals(whole["open_interest"].iloc[: position + 1])
    assert differs > 5


def test_a_row_of_metrics_waits_for_ten_minutes_and_lasts_an_hour() -> None:
    bars = pd.date_range("2026-01-01", periods=30, freq="5min", unit="ns")
    candles = pd.DataFrame(1.0, columns=["open", "high", "low", "close", "volume"], index=bars)
    metrics = pd.DataFrame(
        {"open_interest": [7.0], "long_short_ratio": [1.5]}, index=[pd.Timestamp("2026-01-01 00:05")]
    )
    made = align(Sources(candles=candles, metrics=metrics), 300)
    held = made.index[made["open_interest"] == 7.0]
    # Known at 00:15: the bar that closes then is the first, the last is the one that closes before 01:15.
    assert held[0] == pd.Timestamp("2026-01-01 00:10")
    assert held[-1] == pd.Timestamp("2026-01-01 01:05")
    assert len(held) == 12
    assert made["long_short_ratio"].notna().sum() == 12


def test_empty_cells_and_zeros_of_metrics_leave_the_last_known_value() -> None:
    bars = pd.date_range("2026-01-01", periods=2, freq="h", unit="ns")
    candles = pd.DataFrame(1.0, columns=["open", "high", "low", "close", "volume"], index=bars)
    stamps = pd.DatetimeIndex(["2026-01-01 00:40", "2026-01-01 00:45", "2026-01-01 00:50"])
    metrics = pd.DataFrame({"open_interest": [7.0, 0.0, np.nan], "long_short_ratio": [1.0, 2.0, np.nan]}, index=stamps)
    made = align(Sources(candles=candles, metrics=metrics), 3_600)
    assert made["open_interest"].tolist() == pytest.approx([7.0, np.nan], nan_ok=True)
    assert made["long_short_ratio"].tolist()[0] == 2.0


def test_bars_longer_than_the_interval_carry_the_sum_of_the_rates() -> None:
    bars = pd.DatetimeIndex(["2026-01-01", "2026-01-02", "2026-01-03"])
    candles = pd.DataFrame(1.0, columns=["open", "high", "low", "close", "volume"], index=bars)
    settled = pd.date_range("2025-12-31 16:00", "2026-01-03 08:00", freq="8h", unit="ns") + pd.Timedelta(milliseconds=8)
    funding = pd.DataFrame({"funding_rate": [2.0**-k for k in range(1, len(settled) + 1)]}, index=settled)
    known = ((pd.Timestamp("2026-01-01").value, pd.Timestamp("2026-02-01").value),)
    made = align(Sources(candles=candles, funding=funding, funding_known=known), 86_400)
    # 16:00 and 24:00 of the day before; then three rates a day; the last settlement follows the last bar's start.
    by_day = [2.0**-1 + 2.0**-2, 2.0**-3 + 2.0**-4 + 2.0**-5, 2.0**-6 + 2.0**-7 + 2.0**-8]
    assert made["funding_rate"].tolist() == by_day


def test_a_rate_that_falls_into_an_outage_is_due_at_the_next_bar() -> None:
    bars = pd.DatetimeIndex(["2026-01-01 06:00", "2026-01-01 07:00", "2026-01-01 10:00", "2026-01-01 11:00"])
    candles = pd.DataFrame(1.0, columns=["open", "high", "low", "close", "volume"], index=bars)
    funding = pd.DataFrame({"funding_rate": [0.001]}, index=[pd.Timestamp("2026-01-01 08:00")])
    known = ((pd.Timestamp("2026-01-01").value, pd.Timestamp("2026-01-01 11:00").value),)
    made = align(Sources(candles=candles, funding=funding, funding_known=known), 3_600)
    assert made["funding_rate"].tolist() == pytest.approx([0.0, 0.0, 0.001, np.nan], nan_ok=True)


def test_mark_prices_are_matched_by_their_start_and_stay_empty_where_there_is_none() -> None:
    sources = made_up("1h")
    assert sources.mark is not None
    made = align(sources, 3_600)
    there = made.index.isin(sources.mark.index)
    assert made["mark_close"].notna().equals(pd.Series(there, index=made.index))
    np.testing.assert_array_equal(made["mark_close"][there], sources.mark["mark_close"])


def test_the_first_row_of_a_time_stays() -> None:
    index = pd.DatetimeIndex(["2026-01-02", "2026-01-01"])
    first = pd.DataFrame({"x": [2.0, 1.0]}, index=index)
    again = pd.DataFrame({"x": [9.0]}, index=index[:1])
    rows, left_out = merge([first, again])
    assert rows["x"].tolist() == [1.0, 2.0]
    assert left_out == 1


def test_a_candle_that_ends_after_its_slot_is_left_out() -> None:
    index = pd.DatetimeIndex(["2018-02-11 00:00", "2018-02-11 01:00", "2018-02-11 02:28:14"]).as_unit("ns")
    close = [index[0].value + 3_599 * 10**9, index[1].value + 3_700 * 10**9, index[2].value + 10**9]
    rows, left_out = clean_candles(pd.DataFrame({"open": 1.0, "close_time": close}, index=index), 3_600)
    assert rows.index.tolist() == [index[0]]
    assert left_out == 2
    assert "close_time" not in rows


def test_a_download_cut_off_earlier_has_the_same_features_up_to_there(get: Any, archive: Any) -> None:
    whole = MarketData.from_csv(get(start="2024-02", end="2024-03-04").path)
    # The same market as it was three days before: the later files were not there yet.
    for path in [path for path in archive.files if any(f"2024-03-0{day}" in path for day in (2, 3, 4, 5))]:
        del archive.files[path]
    part = MarketData.from_csv(get(start="2024-02", today=dt.date(2024, 3, 2)).path)
    assert part.report.last == "2024-03-01 23:00:00"
    assert part.same_content(whole.head(len(part)))
    early, late = compute_features(part), compute_features(whole)
    np.testing.assert_array_equal(early.vector, late.vector[: len(part)])
    np.testing.assert_array_equal(early.structure, late.structure[: len(part)])
