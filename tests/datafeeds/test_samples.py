"""The data that ship with the package."""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ai_backtrader.datafeeds import MarketData, load_sample
from ai_backtrader.datafeeds.samples import SAMPLES
from ai_backtrader.errors import SettingsError


@pytest.mark.parametrize(
    ("name", "bars", "seconds", "first", "last", "per_year"),
    [
        ("EURUSD", 6225, 3600, "2017-01-01T22", "2017-12-29T21", 6280.6),
        ("SP500", 5031, 86_400, "1999-01-04", "2018-12-31", 251.6),
    ],
)
def test_samples_are_what_the_sources_say(
    name: str, bars: int, seconds: int, first: str, last: str, per_year: float
) -> None:
    data = load_sample(name)
    assert (data.symbol, len(data), data.bar_seconds) == (name, bars, seconds)
    assert (data.times[0], data.times[-1]) == (np.datetime64(first), np.datetime64(last))
    assert data.bars_per_year == pytest.approx(per_year, abs=0.1)
    assert data.report.zero_volume_bars == 0
    assert data.report.repairs == ()
    assert load_sample(name.lower()).same_content(data)


@pytest.mark.parametrize(
    ("name", "file"), [("EURUSD", "EURUSD-ask-1h-2017.csv.gz"), ("SP500", "SP500-1d-1999-2018.csv.gz")]
)
def test_samples_equal_the_shared_copies(name: str, file: str, shared_csv: Callable[[str], Path]) -> None:
    sample, copy = load_sample(name), MarketData.from_csv(shared_csv(file))
    np.testing.assert_array_equal(sample.times, copy.times)
    for column in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(getattr(sample, column), getattr(copy, column))
    # The shared copies are rounded to ten digits.
    np.testing.assert_allclose(sample.volume, copy.volume, rtol=1e-9)


def test_an_unknown_sample_lists_the_known_ones() -> None:
    for name in ("BTC", "", None, 3):
        with pytest.raises(SettingsError, match="name must be one of EURUSD, SP500"):
            load_sample(name)  # type: ignore[arg-type]


def test_sources_and_licences_stand_beside_the_files() -> None:
    folder = importlib.resources.files("ai_backtrader.datafeeds") / "samples"
    sources, licences = ((folder / name).read_text("utf-8") for name in ("SOURCES.md", "LICENSES.md"))
    for file in SAMPLES.values():
        assert file in sources
        assert file in licences
    assert "Copyright (c) 2019 Mohammad Amin Haghpanah" in licences
    assert "Copyright (c) 2017 Kevin Sheppard" in licences
