"""Signals on arrays: against plain loops, packed against unpacked, and blind to the future."""

from __future__ import annotations

import math
from collections.abc import Callable
from math import nan
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ai_backtrader.market import MarketData, indicators
from ai_backtrader.rules import (
    CATALOGUE,
    Gene,
    HoldGene,
    Operator,
    RiskParameters,
    Section,
    Series,
    SeriesBank,
    StrategyChromosome,
    gene_period,
    random_gene,
    random_series,
    section_signal,
    strategy_period,
    unpack_words,
)
from ai_backtrader.rules.signal_kernels import OPERATOR_CODES, compare_words, pack


def _some_of_each(count: int, *, seed: int = 0) -> list[Series]:
    rng = np.random.default_rng(seed)
    return [random_series(rng, name) for name in CATALOGUE for _ in range(count)]


def _true_bars(gene: Gene, left: NDArray[np.float64], right: NDArray[np.float64]) -> list[bool]:
    """The gene by the words of its definition, one bar after the other."""
    signal, last = [], 0.0
    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        if math.isnan(a) or math.isnan(b):
            signal.append(False)
            continue
        if gene.operator == "<":
            signal.append(a < b)
        elif gene.operator == ">":
            signal.append(a > b)
        elif gene.operator == "between":
            assert gene.upper is not None
            signal.append(b <= a <= gene.upper)
        elif gene.operator == "crosses_above":
            signal.append(a > b and last < 0.0)
        else:
            signal.append(a < b and last > 0.0)
        last = a - b if a != b else last
    return signal


@pytest.mark.parametrize("tick", [0.0, 0.5])
def test_genes_are_true_where_their_definition_says(walk: Callable[..., MarketData], tick: float) -> None:
    data = walk(400, seed=3, tick=tick)
    bank = SeriesBank(data)
    rng = np.random.default_rng(5)
    fired = 0
    for _ in range(400):
        gene = random_gene(rng)
        left = bank.values(gene.left)
        right = bank.values(gene.right) if isinstance(gene.right, Series) else np.full(len(data), gene.right)
        expected = _true_bars(gene, left, right)
        assert bank.signal(gene).tolist() == expected, gene.describe()
        fired += any(expected)
    assert fired > 150


@pytest.mark.parametrize(
    ("values", "crossed"),
    [
        ([nan, 40.0, 50.0, 50.0, 60.0], [4]),  # below, equal, equal, above
        ([nan, 60.0, 50.0, 60.0, 40.0], []),  # above, equal, above
        ([nan, 50.0, 60.0, 40.0, 60.0], [4]),  # begins equal: above is no crossing yet
        ([nan, 40.0, 60.0, 50.0, 40.0, 50.0, 60.0], [2, 6]),
    ],
)
def test_a_crossing_remembers_the_last_difference_that_was_not_zero(values: list[float], crossed: list[int]) -> None:
    fifty = np.array([50.0])
    up = compare_words(np.array(values), fifty, nan, OPERATOR_CODES[Operator.CROSSES_ABOVE], 1)
    assert np.flatnonzero(unpack_words(up, len(values))).tolist() == crossed
    down = compare_words(100.0 - np.array(values), fifty, nan, OPERATOR_CODES[Operator.CROSSES_BELOW], 1)
    assert np.flatnonzero(unpack_words(down, len(values))).tolist() == crossed


def test_crossings_equal_those_of_the_market_room(walk: Callable[..., MarketData]) -> None:
    bank = SeriesBank(walk(500, seed=8, tick=0.25))
    close, average = Series("close"), Series("highest", (3,))
    for operator, kernel in (("crosses_above", indicators.cross_up), ("crosses_below", indicators.cross_down)):
        signal = bank.signal(Gene(close, operator, average))  # type: ignore[arg-type]  # the text of an operator
        assert signal.any()
        expected = kernel(bank.values(close), bank.values(average))
        np.testing.assert_array_equal(signal, np.nan_to_num(expected) > 0.0)


def test_series_have_their_first_value_where_the_catalogue_says(
    walk: Callable[..., MarketData], still: MarketData
) -> None:
    for data in (walk(500), still):
        bank = SeriesBank(data)
        for series in _some_of_each(4):
            values = bank.values(series)
            assert values.shape == (len(data),)
            assert np.isnan(values[: series.line_period - 1]).all(), series
            assert np.isfinite(values[series.line_period - 1 :]).all(), series


def test_scale_free_series_do_not_see_the_price_level(walk: Callable[..., MarketData]) -> None:
    data = walk(500, seed=2)
    scaled = MarketData(
        symbol="scaled", times=data.times, bar_seconds=data.bar_seconds, open=data.open * 1024.0,
        high=data.high * 1024.0, low=data.low * 1024.0, close=data.close * 1024.0, volume=data.volume * 8.0,
    )  # fmt: skip
    one, other = SeriesBank(data), SeriesBank(scaled)
    rng = np.random.default_rng(6)
    for series in _some_of_each(3, seed=1):
        if series.kind.constants is not None:
            np.testing.assert_allclose(other.values(series), one.values(series), rtol=1e-9, atol=1e-9)
    for _ in range(300):
        gene = random_gene(rng)
        assert other.signal(gene).tolist() == one.signal(gene).tolist(), gene.describe()


def test_the_formulas_on_five_bars_by_hand() -> None:
    close = np.array([10.0, 11.0, 12.0, 11.0, 13.0])
    data = MarketData(
        symbol="hand", times=np.arange("2024-01-01", "2024-01-06", dtype="datetime64[D]"), bar_seconds=86_400,
        open=close, high=close + 1.0, low=close - 1.0, close=close, volume=np.array([1.0, 2.0, 3.0, 0.0, 5.0]),
    )  # fmt: skip
    bank = SeriesBank(data)
    for series, expected in [
        (Series("highest", (2,)), [nan, nan, 12.0, 13.0, 13.0]),  # of the bars before: this bar's 14 is not in it
        (Series("lowest", (2,)), [nan, nan, 9.0, 10.0, 10.0]),
        (Series("stochastic", (3,)), [nan, nan, 75.0, 100.0 / 3.0, 75.0]),
        (Series("momentum", (2,)), [nan, nan, 0.2, 0.0, 1.0 / 12.0]),
        (Series("volume_ratio", (2,)), [nan, 2.0 / 1.5, 3.0 / 2.5, 0.0, 2.0]),
        (Series("atr_pct", (2,)), [nan, nan, 100 * 2 / 12, 100 * 2 / 11, 100 * 2.5 / 13]),
        (Series("sma", (2,)), [nan, 10.5, 11.5, 11.5, 12.0]),
    ]:
        np.testing.assert_allclose(bank.values(series), expected, rtol=1e-12, err_msg=series.describe())


def test_truncating_the_data_changes_no_signal(walk: Callable[..., MarketData]) -> None:
    data = walk(420, seed=4)
    whole = SeriesBank(data)
    rng = np.random.default_rng(7)
    series, genes = _some_of_each(2, seed=3), [random_gene(rng) for _ in range(150)]
    for bars in (1, 63, 64, 65, 150, 299, 419):
        part = SeriesBank(data.head(bars))
        for one in series:
            assert part.values(one).tobytes() == whole.values(one)[:bars].tobytes(), one
        assert part.atr(9).tobytes() == whole.atr(9)[:bars].tobytes()
        for gene in genes:
            assert part.signal(gene).tolist() == whole.signal(gene)[:bars].tolist(), gene.describe()


@pytest.mark.parametrize("bars", [1, 7, 63, 64, 65, 127, 128, 500])
def test_packing_and_unpacking_are_inverse(bars: int) -> None:
    signal = np.random.default_rng(bars).random(bars) < 0.4
    words = pack(signal)
    assert words.dtype == np.uint64
    assert len(words) == -(-bars // 64)
    assert unpack_words(words, bars).tolist() == signal.tolist()
    for t in range(bars):
        assert bool(words[t // 64] >> np.uint64(t % 64) & np.uint64(1)) == signal[t]
    assert int(words[-1]) >> (bars - 64 * (len(words) - 1)) == 0  # nothing behind the last bar


def test_the_words_of_a_gene_are_its_signal(walk: Callable[..., MarketData]) -> None:
    bank = SeriesBank(walk(333))
    rng = np.random.default_rng(9)
    for _ in range(100):
        gene = random_gene(rng)
        assert bank.words(gene).tobytes() == pack(bank.signal(gene)).tobytes()


def test_a_bank_keeps_to_its_memory_and_gives_copies(walk: Callable[..., MarketData]) -> None:
    data = walk(400)
    bank = SeriesBank(data)
    series = Series("macd_histogram", (12, 26, 9))
    with pytest.raises(ValueError, match="read-only"):
        bank.values(series)[0] = 1.0
    used = bank.memory_used
    bank.values(series)
    assert bank.memory_used == used > 0
    wanted = _some_of_each(3, seed=8)
    for memory in (150_000, 0):  # 32 rows of either kind are the least
        small = SeriesBank(data, memory=memory)
        for one in [*wanted, *wanted]:
            assert small.values(one).tobytes() == bank.values(one).tobytes()
            assert small.memory_used <= max(memory, 32 * 8 * 400)


def test_many_conditions_at_once_are_those_asked_for_one_by_one(walk: Callable[..., MarketData]) -> None:
    data = walk(300, seed=2)
    rng = np.random.default_rng(3)
    genes = list(dict.fromkeys(random_gene(rng) for _ in range(300)))
    one_by_one = SeriesBank(data)
    for memory in (0, 200_000, 2**24):  # rows are taken back midway, now and then, never
        bank = SeriesBank(data, memory=memory)
        for part in (genes[:7], genes, genes[100:250]):
            table, rows, _, _ = bank.rows(part)
            for gene, row in zip(part, rows, strict=True):
                assert table[row].tobytes() == one_by_one.words(gene).tobytes(), gene.describe()
        periods = list(range(2, 60))
        for some in (periods, periods[:9]):
            words, rows, table, atr_rows = bank.rows(genes[50:90], some)
            for gene, row in zip(genes[50:90], rows, strict=True):
                assert words[row].tobytes() == one_by_one.words(gene).tobytes(), gene.describe()
            for period, row in zip(some, atr_rows, strict=True):
                assert table[row].tobytes() == one_by_one.atr(period).tobytes()


def test_no_more_series_are_kept_than_a_generation_needs(walk: Callable[..., MarketData]) -> None:
    data = walk(200, seed=4)
    rng = np.random.default_rng(6)
    bank, one_by_one = SeriesBank(data), SeriesBank(data)
    bars, few = 8 * len(data), 40
    for _ in range(60):
        genes = list(dict.fromkeys(random_gene(rng) for _ in range(few)))
        words, rows, _, _ = bank.rows(genes)
        for gene, row in zip(genes, rows, strict=True):
            assert words[row].tobytes() == one_by_one.words(gene).tobytes(), gene.describe()
    assert bank.memory_used < 400 * bars + 60 * few * 8 * 4  # words of 200 bars are four
    many = list(dict.fromkeys(random_gene(rng) for _ in range(1_000)))
    bank.rows(many)
    assert bank.memory_used > 1_000 * bars


def _by_the_market_room(data: MarketData, name: str, params: tuple[Any, ...]) -> NDArray[np.float64]:
    """The series put together from the functions of the market room."""
    close = data.close

    def atr(period: int) -> NDArray[np.float64]:
        return indicators.atr(data.high, data.low, close, period)

    def ratio(top: NDArray[np.float64], bottom: NDArray[np.float64], zero: float) -> NDArray[np.float64]:
        out = np.where(np.isnan(top) | np.isnan(bottom), np.nan, zero)
        return np.divide(top, bottom, out=out, where=bottom != 0.0)

    def before(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate(([np.nan], values[:-1]))

    match name:
        case "close" | "open" | "high" | "low":
            return np.asarray(getattr(data, name))
        case "sma" | "ema" | "smma" | "rsi":
            average: Callable[..., NDArray[np.float64]] = getattr(indicators, name)
            return average(close, *params)
        case "bollinger_upper" | "bollinger_lower":
            return np.asarray(getattr(indicators.bollinger(close, *params), name.removeprefix("bollinger_")))
        case "highest" | "lowest":
            extreme: Callable[..., NDArray[np.float64]] = getattr(indicators, name)
            return extreme(before(data.high if name == "highest" else data.low), *params)
        case "macd_line" | "macd_signal":
            return np.asarray(getattr(indicators.macd(close, *params), name.removeprefix("macd_")))
        case "stochastic":
            low = indicators.lowest(data.low, *params)
            return 100.0 * ratio(close - low, indicators.highest(data.high, *params) - low, 0.5)
        case "adx" | "plus_di" | "minus_di":
            return np.asarray(getattr(indicators.directional_movement(data.high, data.low, close, *params), name))
        case "percent_b":
            bands = indicators.bollinger(close, *params)
            return ratio(close - bands.lower, bands.upper - bands.lower, 0.5)
        case "band_width":
            bands = indicators.bollinger(close, *params)
            return (bands.upper - bands.lower) / bands.middle
        case "momentum":
            return indicators.rate_of_change(close, *params)
        case "atr_pct":
            return 100.0 * atr(*params) / close
        case "volume_ratio":
            return indicators.volume_ratio(data.volume, *params)
        case "atr_ratio":
            return ratio(atr(params[0]), indicators.sma(atr(params[0]), params[1]), 1.0)
        case "macd_atr":
            return ratio(indicators.macd(close, *params).line, atr(14), 0.0)
        case "macd_histogram":
            macd = indicators.macd(close, *params)
            return ratio(macd.line - macd.signal, atr(14), 0.0)
        case "ema_distance":
            return ratio(close - indicators.ema(close, *params), atr(14), 0.0)
    raise AssertionError(name)


def test_series_equal_those_of_the_market_room_bit_for_bit(walk: Callable[..., MarketData], still: MarketData) -> None:
    for data in (walk(700, seed=6), walk(700, seed=6, tick=0.5), still):
        for memory in (0, 2**24):
            bank = SeriesBank(data, memory=memory)
            for series in _some_of_each(6, seed=9):
                expected = _by_the_market_room(data, series.name, series.params)
                np.testing.assert_array_equal(bank.values(series), expected, err_msg=series.describe())


def test_sections_count_their_true_genes(walk: Callable[..., MarketData]) -> None:
    bank = SeriesBank(walk(300, seed=1))
    genes = (
        Gene(Series("rsi", (7,)), "<", 50.0),
        Gene(Series("close"), ">", Series("sma", (20,))),
        Gene(Series("volume_ratio", (10,)), ">", 1.0),
    )
    votes = np.sum([bank.signal(gene) for gene in genes], axis=0)
    for required in (1, 2, 3):
        signal = section_signal(bank, Section((*genes, HoldGene(5))), required)
        assert signal.tolist() == (votes >= required).tolist()
        assert signal.any()
    assert not section_signal(bank, Section(), 0).any()
    assert not section_signal(bank, Section((HoldGene(1),)), 1).any()


MACD = ("macd_line", (12, 26, 9))


@pytest.mark.parametrize(
    ("gene", "bars"),
    [
        (Gene(Series("rsi", (14,)), "<", 30.0), 15),
        (Gene(Series("close"), ">", Series("open")), 1),
        (Gene(Series("close"), "crosses_above", Series("open")), 2),
        (Gene(Series("ema", (12,)), "<", Series("ema", (26,))), 26),
        (Gene(Series("ema", (12,)), "crosses_above", Series("ema", (26,))), 27),
        (Gene(Series(*MACD), ">", Series("macd_signal", MACD[1])), 34),
        (Gene(Series(*MACD), "crosses_above", Series("macd_signal", MACD[1])), 35),
        # The crossing is ready with the line, at 27; the strategy waits for the signal that MACD also holds.
        (Gene(Series(*MACD), "crosses_above", Series("macd_line", (5, 10, 9))), 34),
        (Gene(Series("adx", (14,)), ">", 25.0), 28),
        (Gene(Series("ema_distance", (5,)), ">", 0.0), 15),
        (Gene(Series("highest", (20,)), "<", Series("close")), 21),
        (HoldGene(400), 1),
    ],
)
def test_a_gene_waits_as_long_as_backtrader_does(gene: Any, bars: int) -> None:
    assert gene_period(gene) == bars


def test_a_strategy_waits_for_its_slowest_gene_and_for_its_atr() -> None:
    fast = Section((Gene(Series("close"), ">", Series("open")),))
    slow = Section((Gene(Series("sma", (200,)), "<", Series("close")),))
    assert strategy_period(StrategyChromosome(entry_long=fast, risk=RiskParameters(stop_atr=0.0))) == 1
    assert strategy_period(StrategyChromosome(entry_long=fast, risk=RiskParameters(atr_period=30))) == 31
    assert strategy_period(StrategyChromosome(entry_long=fast, exit=slow)) == 200
    assert strategy_period(StrategyChromosome(entry_long=fast, filters=slow)) == 200
