"""Genes and series: what is valid, how they read, that a rule means the same on every market."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from ai_backtrader.errors import SettingsError
from ai_backtrader.rules import (
    CATALOGUE,
    MAX_HOLD_BARS,
    Gene,
    HoldGene,
    Operator,
    Series,
    Unit,
    nearest_series,
    random_series,
)

RSI = Series("rsi", (14,))
EMA12, EMA26 = Series("ema", (12,)), Series("ema", (26,))


@pytest.mark.parametrize(
    ("gene", "text"),
    [
        (Gene(RSI, "<", 30.0), "RSI(14) < 30"),
        (Gene(RSI, Operator.ABOVE, 62.5), "RSI(14) > 62.5"),
        (Gene(EMA12, "crosses_above", EMA26), "EMA(12) crosses above EMA(26)"),
        (Gene(RSI, "crosses_below", 70), "RSI(14) crosses below 70"),
        (Gene(RSI, "between", 40.0, 60.0), "RSI(14) between 40 and 60"),
        (Gene(Series("close"), ">", Series("bollinger_upper", (20, 2.0))), "close > BollingerUpper(20, 2)"),
        (
            Gene(Series("macd_line", (12, 26, 9)), "crosses_above", Series("macd_signal", (12, 26, 9))),
            "MACD(12, 26, 9) crosses above MACDSignal(12, 26, 9)",
        ),
        (Gene(Series("momentum", (24,)), ">", 0.0125), "Momentum(24) > 0.0125"),
        (Gene(Series("volume_ratio", (20,)), ">", 1.5), "VolumeRatio(20) > 1.5"),
        (HoldGene(50), "hold > 50"),
    ],
)
def test_a_gene_reads_as_a_person_would_write_it(gene: Gene | HoldGene, text: str) -> None:
    assert gene.describe() == text


def test_every_series_of_the_catalogue_reads_with_its_label_and_parameters() -> None:
    rng = np.random.default_rng(0)
    labels = {kind.label for kind in CATALOGUE.values()}
    assert len(labels) == len(CATALOGUE)
    for name, kind in CATALOGUE.items():
        series = random_series(rng, name)
        text = series.describe()
        assert text.startswith(kind.label)
        shown = text.removeprefix(kind.label).strip("()")
        assert [float(part) for part in shown.split(",") if part] == [float(value) for value in series.params]


def test_the_constants_of_a_series_lie_around_its_centre_and_inside_its_range() -> None:
    for kind in CATALOGUE.values():
        assert (kind.constants is None) == (kind.unit in (Unit.PRICE, Unit.PRICE_DIFFERENCE))
        if kind.constants is not None:
            assert kind.constants.low <= kind.constants.centre <= kind.constants.high
            assert kind.constants.nearest(-1e9) == kind.constants.low
            assert kind.constants.nearest(1e9) == kind.constants.high


@pytest.mark.parametrize(
    ("name", "params", "fault"),
    [
        ("rsi", (), r"params must be a tuple of \(period\), got \(\)"),
        ("rsi", (14, 3), r"params must be a tuple of \(period\)"),
        ("rsi", [14], r"params must be a tuple of \(period\), got \[14\]"),
        ("rsi", (1,), "period must be between 2 and 50, got 1"),
        ("rsi", (51,), "period must be between 2 and 50, got 51"),
        ("rsi", (14.0,), "period must be a whole number, got 14.0"),
        ("rsi", (True,), "period must be a whole number, got True"),
        ("rsi", ("14",), "period must be a whole number, got '14'"),
        ("rsi", (None,), "period must be a whole number, got None"),
        ("bollinger_upper", (20, float("nan")), "width must be finite, got nan"),
        ("bollinger_upper", (20, float("inf")), "width must be finite, got inf"),
        ("bollinger_upper", (20, 4.01), "width must be between 0.5 and 4, got 4.01"),
        ("macd_line", (26, 12, 9), "fast must be smaller than slow, got 26 and 12"),
        ("macd_line", (12, 12, 9), "fast must be smaller than slow, got 12 and 12"),
        ("bollinger", (20, 2.0), "name must be one of 'close', .*got 'bollinger'"),
        (None, (), "name must be one of .*got None"),
        (["rsi"], (14,), r"name must be one of .*got \['rsi'\]"),
    ],
)
def test_a_series_outside_the_catalogue_is_refused(name: str, params: tuple[float, ...], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        Series(name, params)


def test_all_faults_of_a_series_are_told_together() -> None:
    with pytest.raises(SettingsError) as caught:
        Series("macd_line", (1, 500, "x"))
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        ((Series("close"), "<", 30_000.0), "close is measured in price and takes no constant, got 30000.0"),
        ((Series("macd_line", (12, 26, 9)), ">", 0.0), "price difference and takes no constant"),
        ((Series("close"), "<", RSI), "close .price. cannot be compared with RSI"),
        ((Series("close"), ">", Series("macd_line", (12, 26, 9))), "cannot be compared"),
        ((EMA12, ">", EMA12), "EMA.12. is compared with itself"),
        ((RSI, "<", 101.0), "right must be between 0 and 100, got 101"),
        ((RSI, "<", float("nan")), "right must be finite, got nan"),
        ((RSI, "<", True), "right must be a number, got True"),
        ((RSI, "<", "30"), "right must be a number, got '30'"),
        ((RSI, "<", None), "right must be a number, got None"),
        ((RSI, "<=", 30.0), "operator must be one of '<', '>'"),
        ((RSI, [], 30.0), "operator must be one of"),
        ((RSI, "<", 30.0, 40.0), "upper belongs to 'between' only, got 40.0"),
        ((RSI, "between", 30.0), "upper must be a number, got None"),
        ((RSI, "between", 60.0, 40.0), "upper must be greater than right, got 60.0 and 40.0"),
        ((RSI, "between", 40.0, 40.0), "upper must be greater than right"),
        ((RSI, "between", 40.0, 140.0), "upper must be between 0 and 100"),
        ((RSI, "between", Series("rsi", (7,)), 40.0), "'between' needs two constants, got a series"),
        ((EMA12, "between", EMA26), "'between' needs two constants, got a series"),
        (("rsi", "<", 30.0), "left must be a Series, got 'rsi'"),
    ],
)
def test_a_gene_that_makes_no_sense_is_refused(args: tuple[object, ...], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        Gene(*args)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("bars", [0, -1, MAX_HOLD_BARS + 1, 2.5, True, "5", None])
def test_a_hold_that_is_no_number_of_bars_is_refused(bars: object) -> None:
    with pytest.raises(SettingsError, match="bars must be"):
        HoldGene(bars)  # type: ignore[arg-type]  # that is the point


def test_numpy_numbers_become_plain_ones_and_equal_genes_hash_alike() -> None:
    series = Series("bollinger_upper", (np.int64(20), 2))
    assert [type(value) for value in series.params] == [int, float]
    plain = Gene(RSI, Operator.BELOW, 30.0)
    for same in (Gene(RSI, "<", 30), Gene(Series("rsi", (np.int32(14),)), "<", np.float32(30.0))):
        assert same == plain
        assert hash(same) == hash(plain)
        assert same.right.__class__ is float
    assert type(HoldGene(np.int64(5)).bars) is int
    minus = Gene(Series("momentum", (5,)), ">", -0.0)
    assert str(minus.right) == "0.0"


def test_genes_cannot_be_changed_and_travel_by_pickle() -> None:
    for value in (RSI, Gene(EMA12, "<", EMA26), Gene(RSI, "between", 1.0, 2.0), HoldGene(3)):
        assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301  # our own bytes
        name = dataclasses.fields(value)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{name}'"):
            setattr(value, name, 5)


def test_the_nearest_series_is_valid_whatever_is_asked() -> None:
    rng = np.random.default_rng(1)
    for name, kind in CATALOGUE.items():
        for scale in (0.0, 1.0, 30.0, 1e6):
            for _ in range(20):
                wild = (rng.normal(0.0, 1.0, len(kind.parameters)) * scale).tolist()
                series = nearest_series(name, wild)
                assert series == Series(name, series.params)
    assert nearest_series("macd_line", (50, 50, 9)).params == (50, 51, 9)
    assert nearest_series("macd_line", (26.4, 12.2, 9)).params == (12, 26, 9)
    assert nearest_series("bollinger_upper", (20.6, 2.04)).params == (21, 2.0)
    with pytest.raises(SettingsError, match=r"name must be one of .*got 'supertrend'"):
        nearest_series("supertrend", (10, 3.0))
    with pytest.raises(SettingsError, match=r"params must be a tuple of .fast, slow, signal."):
        nearest_series("macd_line", (12, 26))
