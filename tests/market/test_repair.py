# ruff: noqa: E501  (a table: one fault a line reads better than one fault a page)
"""Repairs: each mends its own fault, says what it did, and leaves the rest to the checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_backtrader.errors import DataError
from ai_backtrader.market import MarketData
from ai_backtrader.market.settings import REPAIRS


def frame(bars: int = 30) -> pd.DataFrame:
    """Bar i opens at 100+i, spans 99.5+i to 101+i and closes at 100.5+i; every optional column is there."""
    i = np.arange(float(bars))
    prices = {"open": 100 + i, "high": 101 + i, "low": 99.5 + i, "close": 100.5 + i}
    return pd.DataFrame(
        {
            **prices,
            "volume": np.full(bars, 10.0),
            **{f"mark_{name}": values + 0.25 for name, values in prices.items()},
            "funding_rate": np.zeros(bars),
            "open_interest": np.full(bars, 5.0),
            "long_short_ratio": np.ones(bars),
            "taker_buy_volume": np.full(bars, 4.0),
        },
        index=pd.date_range("2024-01-01", periods=bars, freq="h", tz="UTC"),
    )


def put(row: int, **values: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        for name, value in values.items():
            if isinstance(value, str):
                table[name] = table[name].astype(object)
            table.iloc[row, table.columns.get_loc(name)] = value
        return table

    return change


def order(rows: list[int]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: table.iloc[rows]


def without(*rows: int) -> pd.DataFrame:
    return frame().drop(frame().index[list(rows)])


CASES: list[tuple[str, Callable[[pd.DataFrame], pd.DataFrame], pd.DataFrame, int, str]] = [
    # repair, what is broken, what must come out, how many bars it changed, first row
    ("drop_nan", put(4, close=np.nan), without(4), 1, "4 (2024-01-01 04:00:00)"),
    ("drop_nan", put(4, volume=np.inf), without(4), 1, "4 (2024-01-01 04:00:00)"),
    ("drop_nonpositive", put(5, low=0.0), without(5), 1, "5 (2024-01-01 05:00:00)"),
    ("drop_nonpositive", put(5, open=-1.0, low=-1.0), without(5), 1, "5 (2024-01-01 05:00:00)"),
    ("reverse", order(list(range(29, -1, -1))), frame(), 30, "0 (2024-01-02 05:00:00)"),
    ("sort", order([1, 0, *range(2, 30)]), frame(), 2, "0 (2024-01-01 01:00:00)"),
    ("drop_duplicates", order([*range(9), 8, 8, *range(9, 30)]), frame(), 2, "9 (2024-01-01 08:00:00)"),
    ("clip_ohlc", put(7, high=106.0), put(7, high=107.5)(frame()), 1, "7 (2024-01-01 07:00:00)"),
    ("clip_ohlc", put(7, close=200.0), put(7, close=200.0, high=200.0)(frame()), 1, "7 (2024-01-01 07:00:00)"),
    ("clip_ohlc", put(7, open=90.0), put(7, open=90.0, low=90.0)(frame()), 1, "7 (2024-01-01 07:00:00)"),
    ("clip_ohlc", put(7, mark_low=150.0), put(7, mark_low=107.25)(frame()), 1, "7 (2024-01-01 07:00:00)"),
    ("clip_volume", put(8, volume=-1.0), put(8, volume=0.0, taker_buy_volume=0.0)(frame()), 1, "8 (2024-01-01 08:00:00)"),
    ("clip_volume", put(8, taker_buy_volume=11.0), put(8, taker_buy_volume=10.0)(frame()), 1, "8 (2024-01-01 08:00:00)"),
    ("clip_volume", put(8, taker_buy_volume=-1.0), put(8, taker_buy_volume=0.0)(frame()), 1, "8 (2024-01-01 08:00:00)"),
    ("drop_optional", put(9, funding_rate=1.5), put(9, funding_rate=np.nan)(frame()), 1, "9 (2024-01-01 09:00:00)"),
    ("drop_optional", put(9, open_interest=-1.0), put(9, open_interest=np.nan)(frame()), 1, "9 (2024-01-01 09:00:00)"),
    ("drop_optional", put(9, long_short_ratio=np.inf), put(9, long_short_ratio=np.nan)(frame()), 1, "9 (2024-01-01 09:00:00)"),
    ("drop_optional", put(9, mark_low=0.0), put(9, mark_open=109.0, mark_high=110.0, mark_low=108.5, mark_close=109.5)(frame()), 1, "9 (2024-01-01 09:00:00)"),
    ("drop_spikes", put(10, high=2000.0, close=1500.0), without(10), 1, "10 (2024-01-01 10:00:00)"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "broken", "mended", "count", "first"), CASES)
def test_a_repair_mends_its_fault_and_says_so(
    name: str,
    broken: Callable[[pd.DataFrame], pd.DataFrame],
    mended: pd.DataFrame,
    count: int,
    first: str,
) -> None:
    source = broken(frame())
    with pytest.raises(DataError, match=f"repair='{name}'"):
        MarketData.from_frame(source, symbol="X")
    expected = MarketData.from_frame(mended, symbol="X")
    for asked in (name, (name,), [name], "all"):
        data = MarketData.from_frame(source, symbol="X", repair=asked)
        assert data.same_content(expected)
        (done,) = data.report.repairs
        assert (done.name, done.count, done.first) == (name, count, first)
        assert f"repaired by {name}: {done.detail}" in str(data.report)
    others = tuple(other for other in REPAIRS if other not in (name, "sort"))
    with pytest.raises(DataError, match=r".+\. .+"):
        MarketData.from_frame(source, symbol="X", repair=others)


def test_text_is_emptied_and_the_bar_dropped() -> None:
    source = put(4, close="closed")(frame())
    source = put(6, funding_rate="n.a.")(source)
    with pytest.raises(DataError, match=r"missing value \(NaN\)"):
        MarketData.from_frame(source, symbol="X", repair="text_to_nan")
    data = MarketData.from_frame(source, symbol="X", repair=("drop_nan", "text_to_nan"))
    expected = put(6, funding_rate=np.nan)(frame())
    assert data.same_content(MarketData.from_frame(expected.drop(expected.index[4]), symbol="X"))
    assert [(done.name, done.count) for done in data.report.repairs] == [("text_to_nan", 2), ("drop_nan", 1)]


def test_rows_without_a_time_are_dropped() -> None:
    texts = frame().index.strftime("%Y-%m-%d %H:%M").to_numpy(dtype=object)
    texts[3] = "noon"
    data = MarketData.from_frame(frame().reset_index(drop=True).assign(date=texts), symbol="X", repair="drop_nan")
    assert data.same_content(MarketData.from_frame(without(3), symbol="X"))
    assert data.report.repairs[0].first == "3 (no time)"


def test_faults_after_a_repair_name_the_row_of_the_source() -> None:
    source = put(20, high=1.0)(put(4, close=np.nan)(frame()))
    with pytest.raises(DataError, match="high below low") as caught:
        MarketData.from_frame(source, symbol="X", repair="drop_nan")
    assert caught.value.row == "20 (2024-01-01 20:00:00)"


def test_good_data_are_not_touched_by_any_repair() -> None:
    data = MarketData.from_frame(frame(), symbol="X", repair="all")
    assert data.same_content(MarketData.from_frame(frame(), symbol="X"))
    assert data.report.repairs == ()


def test_many_faults_at_once_are_mended_in_a_fixed_order() -> None:
    source = put(3, close=np.nan)(put(9, volume=-1.0)(put(12, high=1.0)(frame()))).iloc[::-1]
    source = pd.concat([source, source.iloc[[5]]])
    one = MarketData.from_frame(source, symbol="X", repair="all")
    other = MarketData.from_frame(source, symbol="X", repair=REPAIRS[::-1])
    assert one.same_content(other)
    assert len(one) == 29
    assert [done.name for done in one.report.repairs] == [
        "drop_nan",
        "sort",
        "drop_duplicates",
        "clip_ohlc",
        "clip_volume",
    ]


@pytest.mark.parametrize(
    "broken",
    [
        lambda table: table.drop(columns="close"),
        lambda table: table.drop(columns="mark_low"),
        lambda table: table.iloc[:1],
        lambda table: table.assign(close=np.nan),
        lambda table: table.set_axis(table.index - pd.Timedelta(days=30_000), axis=0),
        lambda table: table.assign(**dict.fromkeys(("open", "high", "low", "close"), [1.0] * 15 + [100.0] * 15)),
    ],
)  # fmt: skip
def test_what_no_repair_covers_still_raises(broken: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    with pytest.raises(DataError, match=r".+\. .+"):
        MarketData.from_frame(broken(frame()), symbol="X", repair="all")


BAD_NUMBERS = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -1.0, 1e-300, 1e300, 5.0, 1e6])
EDITS = st.lists(
    st.tuples(st.integers(0, 19), st.sampled_from(sorted(frame().columns)), BAD_NUMBERS), min_size=0, max_size=6
)


@given(edits=EDITS, rows=st.lists(st.integers(0, 19), min_size=1, max_size=24), repair=st.sampled_from([(), "all"]))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_whatever_comes_in_valid_data_or_a_data_error_comes_out(
    edits: list[tuple[int, str, float]], rows: list[int], repair: Any
) -> None:
    source = frame(20)
    for row, name, value in edits:
        source.iloc[row, source.columns.get_loc(name)] = value
    try:
        data = MarketData.from_frame(source.iloc[rows], symbol="X", repair=repair)
    except DataError:
        return
    assert (np.diff(data.times) > np.timedelta64(0, "ns")).all()
    for name in ("", "mark_"):
        open_, high, low, close = (getattr(data, name + part) for part in ("open", "high", "low", "close"))
        assert np.isfinite([open_, high, low, close]).all()
        assert (low > 0).all()
        assert (low <= np.minimum(open_, close)).all()
        assert (high >= np.maximum(open_, close)).all()
    assert (data.volume >= 0).all()
    again = MarketData.from_frame(data.to_frame(), symbol="X", bar_seconds=data.bar_seconds)
    assert again.same_content(data)
