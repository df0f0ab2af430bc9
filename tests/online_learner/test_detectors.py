"""Drift detectors: against river, against plain NumPy, and batch against stream."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ai_backtrader.errors import SettingsError
from ai_backtrader.online_learner import Adwin, Channel, PageHinkley, WindowedZ

Streams = Callable[[int, int], NDArray[np.float64]]


def river_alarms(detector: Any, values: NDArray[np.float64]) -> list[int]:
    found = []
    for i, value in enumerate(values):
        detector.update(float(value))
        if detector.drift_detected:
            found.append(i)
    return found


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"delta": 0.05, "clock": 1, "max_buckets": 3},
        {"delta": 0.3, "clock": 7, "min_window_length": 2, "grace_period": 40},
    ],
)
def test_adwin_decides_as_river_does(seed: int, settings: dict[str, Any], streams: Streams) -> None:
    river = pytest.importorskip("river.drift")
    values = streams(seed, 1500)
    assert Channel([Adwin(**settings)]).scan(values).tolist() == river_alarms(river.ADWIN(**settings), values)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("settings", [{}, {"threshold": 12.0, "delta": 0.1}, {"threshold": 5.0, "alpha": 0.99}])
def test_page_hinkley_decides_as_river_does(seed: int, settings: dict[str, Any], streams: Streams) -> None:
    river = pytest.importorskip("river.drift")
    values = streams(seed, 1500)
    expected = river_alarms(river.PageHinkley(**settings), values)
    assert Channel([PageHinkley(**settings)]).scan(values).tolist() == expected


def test_the_oracles_streams_raise_alarms_at_all(streams: Streams) -> None:
    for detector in (Adwin(), PageHinkley(threshold=12.0, delta=0.1)):
        assert sum(len(Channel([detector]).scan(streams(seed, 1500))) for seed in range(12)) > 12


def test_windowed_z_is_the_z_of_two_disjoint_windows() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=600)
    values[400:] += 0.9
    reference, test, threshold = 100, 20, 4.0
    expected = None
    for t in range(reference + test - 1, len(values)):
        old, new = values[t - reference - test + 1 : t - test + 1], values[t - test + 1 : t + 1]
        z = abs(new.mean() - old.mean()) / np.sqrt(old.var(ddof=1) * (1 / reference + 1 / test))
        if z > threshold:
            expected = t
            break
    alarms = Channel([WindowedZ(reference=reference, test=test, threshold=threshold)]).scan(values)
    assert expected is not None
    assert alarms[0] == expected


@pytest.mark.parametrize("warm_up", [0, 200])
@pytest.mark.parametrize("seed", range(4))
def test_batch_and_stream_end_in_the_same_alarms_and_the_same_bits(seed: int, warm_up: int, streams: Streams) -> None:
    values = streams(seed, 1200)
    values[17] = np.nan
    detectors = (WindowedZ(threshold=3.0), Adwin(delta=0.05), PageHinkley(threshold=20.0))
    batch, stream, halves = (Channel(detectors, warm_up=warm_up) for _ in range(3))
    alarms = batch.alarms(values)
    named = [stream.update(value) for value in values]
    assert [batch.names_of(int(alarm)) for alarm in alarms] == named
    assert alarms.any()
    first = halves.alarms(values[:501])
    assert np.array_equal(np.concatenate([first, halves.alarms(values[501:])]), alarms)
    assert batch.state_dict() == stream.state_dict() == halves.state_dict()


def test_a_restored_channel_goes_on_as_if_never_stopped(streams: Streams) -> None:
    values = streams(1, 1200)
    whole, first = Channel([WindowedZ(), Adwin()], warm_up=100), Channel([WindowedZ(), Adwin()], warm_up=100)
    expected = whole.alarms(values)
    first.alarms(values[:550])
    second = Channel([WindowedZ(), Adwin()], warm_up=100)
    second.load_state(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    assert np.array_equal(second.alarms(values[550:]), expected[550:])
    assert second.state_dict() == whole.state_dict()


def test_the_unit_of_the_values_does_not_matter_after_a_warm_up(streams: Streams) -> None:
    values = streams(1, 1200)
    alarms = Channel([WindowedZ(), Adwin()], warm_up=200).scan(values)
    assert len(alarms)
    assert np.array_equal(Channel([WindowedZ(), Adwin()], warm_up=200).scan(values * 2.0**-20), alarms)


def test_later_values_change_no_earlier_alarm(streams: Streams) -> None:
    values = streams(2, 1200)
    alarms = Channel([WindowedZ(threshold=3.0), Adwin()], warm_up=100).alarms(values)
    for t in (150, 611, 640, 700, 1000):
        other = values.copy()
        other[t:] = 1e6
        assert np.array_equal(Channel([WindowedZ(threshold=3.0), Adwin()], warm_up=100).alarms(other)[:t], alarms[:t])


def test_values_that_are_not_finite_are_passed_over(streams: Streams) -> None:
    values = streams(1, 1200)
    gaps = np.insert(values, [5, 300, 700], [np.nan, np.inf, -np.inf])
    plain, gapped = Channel([Adwin()], warm_up=100), Channel([Adwin()], warm_up=100)
    assert len(plain.scan(values)) == len(gapped.scan(gaps)) > 0
    assert plain.state_dict() == gapped.state_dict()


def test_a_constant_series_raises_no_alarm_and_is_watched_once_it_moves() -> None:
    channel = Channel([WindowedZ(), Adwin()], warm_up=100)
    rng = np.random.default_rng(0)
    assert not len(channel.scan(np.full(1000, 3.0)))
    assert not len(channel.scan(rng.normal(size=600)))
    assert len(channel.scan(5.0 + rng.normal(size=200))) == 1


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: Channel([]), "at least one"),
        (lambda: Channel([Adwin()], warm_up=5), "0 or at least 30, got 5"),
        (lambda: Channel([Adwin()], clip=0.0), "clip must be greater than 0"),
        (lambda: Adwin(delta=2.0), "delta must be between|delta must be at most"),
        (lambda: Adwin(clock=0), "clock must be at least 1"),
        (lambda: WindowedZ(reference=2, test=1), "2 faults"),
        (lambda: PageHinkley(threshold=float("nan")), "threshold must be finite"),
        (lambda: Channel([Adwin()]).scan([[1.0]]), r"one dimension, got shape \(1, 1\)"),
        (lambda: Channel([Adwin()]).scan(["a"]), "must be numbers"),
        (lambda: Channel([Adwin()]).load_state({}), "settings that it was kept of"),
        (lambda: Channel([Adwin()]).load_state(Channel([PageHinkley()]).state_dict()), r"got .*shape \(11,\)"),
    ],
)
def test_bad_input_is_named(make: Callable[[], object], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        make()
