"""Entries of bars that come one by one: those of the arrays, to the last bit."""

from __future__ import annotations

import doctest
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

import ai_backtrader.rules.streaming as streaming_module
from ai_backtrader.errors import SettingsError
from ai_backtrader.market import MarketData
from ai_backtrader.rules import (
    BAR_COLUMNS,
    CATALOGUE,
    EntryStream,
    Gene,
    HoldGene,
    Section,
    Series,
    SeriesBank,
    StrategyChromosome,
    random_series,
    section_signal,
)
from ai_backtrader.rules.catalogue import Unit

Walk = Callable[..., MarketData]


def bars_of(data: MarketData) -> NDArray[np.float64]:
    return np.column_stack([getattr(data, name) for name in BAR_COLUMNS])


def expected_sides(data: MarketData, rules: StrategyChromosome) -> NDArray[np.int8]:
    bank, need = SeriesBank(data), rules.required
    allowed = np.ones(len(data), np.bool_)
    if rules.filters.genes:
        allowed = section_signal(bank, rules.filters, need.filters)
    long = section_signal(bank, rules.entry_long, need.entry_long) & allowed
    short = section_signal(bank, rules.entry_short, need.entry_short) & allowed
    return np.where(long, 1, np.where(short, -1, 0)).astype(np.int8)


def streamed(rules: StrategyChromosome, bars: NDArray[np.float64], sizes: tuple[int, ...] = (1,)) -> list[int]:
    stream, sides, start, turn = EntryStream(rules), [], 0, 0
    while start < len(bars):
        size = sizes[turn % len(sizes)]
        sides += stream.take(bars[start : start + size]).tolist()
        start, turn = start + size, turn + 1
    assert stream.seen == len(bars)
    return sides


def of_one(series: Series) -> StrategyChromosome:
    """A strategy that reads one series."""
    kind = CATALOGUE[series.name]
    other: Series | float = kind.constants.centre if kind.constants else Series("close")
    if kind.unit is Unit.PRICE_DIFFERENCE:
        other = Series("macd_signal", (5, 9, 4)) if series.name == "macd_line" else Series("macd_line", (5, 9, 4))
    if series == other:
        other = Series("open")
    return StrategyChromosome(entry_long=Section((Gene(series, ">", other),)))


def test_the_example_in_the_docstring_is_true() -> None:
    outcome = doctest.testmod(streaming_module)
    assert (outcome.attempted > 5, outcome.failed) == (True, 0)


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_series_has_the_bits_of_the_bank_at_every_bar(name: str, walk: Walk, still: MarketData) -> None:
    rng = np.random.default_rng(len(name))
    kind = CATALOGUE[name]
    ends = [tuple(getattr(item, end) for item in kind.parameters) for end in ("low", "high")]
    chosen = {Series(name, ends[0]), Series(name, ends[1]), *(random_series(rng, name) for _ in range(3))}
    for data in (walk(3_000, seed=1), walk(700, seed=2, tick=0.25), still):
        bank, bars = SeriesBank(data), bars_of(data)
        for series in chosen:
            stream = EntryStream(of_one(series))
            row = stream._series(series.name, series.params)
            values = np.empty(len(data))
            for t, bar in enumerate(bars):
                stream.take(bar[np.newaxis])
                values[t] = stream._held[row, stream.seen - 1 - stream._clock[1]]
            known = bank.values(series)
            assert np.array_equal(np.isnan(values), np.isnan(known)), series.describe()
            there = ~np.isnan(known)
            assert values[there].tobytes() == known[there].tobytes(), series.describe()


def test_random_strategies_enter_where_the_arrays_say(
    walk: Walk, still: MarketData, many: Callable[..., list[StrategyChromosome]]
) -> None:
    entries = 0
    for data in (walk(1_500, seed=5), walk(900, seed=6, tick=0.5), still):
        bars = bars_of(data)
        for rules in many(60, seed=len(data)):
            sides = expected_sides(data, rules)
            assert streamed(rules, bars, (1, 7, 400, 64)) == sides.tolist(), rules.describe()
            entries += np.count_nonzero(sides)
    assert entries > 1_000


def test_real_bars_one_by_one(real: MarketData, many: Callable[..., list[StrategyChromosome]]) -> None:
    bars = bars_of(real)
    entries = 0
    for rules in many(40, seed=3):
        sides = expected_sides(real, rules)
        assert streamed(rules, bars) == sides.tolist(), rules.describe()
        entries += np.count_nonzero(sides)
    assert entries > 500


def test_a_bar_that_grows_leaves_what_its_last_form_leaves(
    walk: Walk, many: Callable[..., list[StrategyChromosome]]
) -> None:
    data = walk(1_200, seed=9)
    bars, rng = bars_of(data), np.random.default_rng(1)
    for rules in many(25, seed=4):
        stream, sides = EntryStream(rules), []
        for bar in bars:
            for number in range(int(rng.integers(1, 4))):
                early = bar * rng.uniform(0.98, 1.02, len(bar))
                stream.take(early[np.newaxis], revise=number > 0)
            sides += stream.take(bar[np.newaxis], revise=True).tolist()
        assert sides == expected_sides(data, rules).tolist(), rules.describe()


def test_hold_genes_and_empty_sections_never_enter_by_themselves(walk: Walk) -> None:
    data = walk(300)
    above = Gene(Series("close"), ">", Series("open"))
    for rules in (
        StrategyChromosome(entry_short=Section((above,)), exit=Section((HoldGene(3),))),
        StrategyChromosome(entry_long=Section((above,)), entry_short=Section((above,))),
        StrategyChromosome(entry_long=Section((above,)), filters=Section((Gene(Series("rsi", (5,)), ">", 50.0),))),
    ):
        sides = streamed(rules, bars_of(data))
        assert sides == expected_sides(data, rules).tolist()
        assert any(sides)


def test_memory_stands_still_however_many_bars_come(walk: Walk) -> None:
    stream = EntryStream(StrategyChromosome(entry_long=Section((Gene(Series("close"), ">", Series("sma", (300,))),))))
    bars = bars_of(walk(6_000))
    size = stream._held.nbytes
    for start in range(0, len(bars), 500):
        stream.take(bars[start : start + 500])
        assert stream._held.nbytes == size < 200_000


@pytest.mark.parametrize(
    ("bars", "revise", "match"),
    [
        (np.zeros((3, 4)), False, r"shape \(n, 5\), got shape \(3, 4\)"),
        (np.zeros(5), False, r"got shape \(5,\)"),
        (np.ones((1, 5)), True, "revise needs a bar that was taken"),
    ],
)
def test_bars_of_another_shape_are_refused(bars: NDArray[np.float64], revise: bool, match: str) -> None:
    stream = EntryStream(StrategyChromosome(entry_long=Section((Gene(Series("close"), ">", Series("open")),))))
    with pytest.raises(SettingsError, match=match):
        stream.take(bars, revise=revise)
    assert stream.seen == 0
