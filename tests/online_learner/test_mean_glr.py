"""Likelihood ratios for a change of the mean: against plain NumPy at every place; tails, clusters, restarts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from ai_backtrader.errors import SettingsError
from ai_backtrader.online_learner import Channel, DriftSettings, GarchCusum, MeanGlr, WindowedZ

Array = NDArray[np.float64]


def greatest_ratio(values: Array, limit: float) -> float:
    """Log likelihood ratio of two normal means to one, variance unknown, at its greatest over every place."""
    y = np.clip(values, -limit, limit)
    one = ((y - y.mean()) ** 2).sum()
    two = min(((y[:k] - y[:k].mean()) ** 2).sum() + ((y[k:] - y[k:].mean()) ** 2).sum() for k in range(1, len(y)))
    return float(0.5 * len(y) * np.log(one / two))


@pytest.mark.parametrize("limit", [1.0, 2.5, 50.0])
def test_the_corners_hold_the_greatest_ratio_over_every_place(limit: float) -> None:
    values = np.random.default_rng(5).normal(size=160) + np.where(np.arange(160) < 90, 0.0, 1.2)
    record, records = 0.5, 0
    for n in range(30, len(values) + 1):
        greatest = greatest_ratio(values[:n], limit)
        if greatest <= record:  # it would have raised its alarm before
            continue
        assert not len(Channel([MeanGlr(threshold=greatest * (1.0 + 1e-7), limit=limit)]).scan(values[:n]))
        between = max(record, greatest * (1.0 - 1e-7))
        assert Channel([MeanGlr(threshold=between, limit=limit)]).scan(values[:n]).tolist() == [n - 1]
        record, records = greatest * (1.0 + 1e-7), records + 1
    assert records >= 6


def test_neither_tails_nor_clusters_pass_for_a_change_of_the_mean() -> None:
    def garch(rng: np.random.Generator) -> Array:
        values, variance = np.empty(5000), 1.0
        for i, shock in enumerate(rng.normal(size=5000)):
            values[i] = np.sqrt(variance) * shock
            variance = 0.05 + 0.10 * values[i] ** 2 + 0.85 * variance
        return values

    for draw in (lambda rng: rng.standard_t(3, 5000), lambda rng: rng.standard_t(2, 5000), garch):
        limited, unlimited = (
            sum(
                len(Channel([MeanGlr(limit=limit)], warm_up=500).scan(draw(np.random.default_rng([seed, 3]))))
                for seed in range(20)
            )
            for limit in (1.0, 8.0)
        )
        assert limited <= 4  # in 100,000 values
        assert unlimited > 8 * max(limited, 1)


@pytest.mark.slow
def test_a_steady_mean_hardly_ever_raises_an_alarm_however_long() -> None:
    for seed in range(3):
        values = np.random.default_rng([seed, 4]).normal(size=1_000_000)
        assert len(Channel([MeanGlr()], warm_up=500).scan(values)) <= 12


@pytest.mark.parametrize(("shift", "most"), [(1.0, 30.0), (-1.0, 30.0), (2.0, 16.0)])
def test_a_shift_is_found_in_time(shift: float, most: float) -> None:
    found = []
    for seed in range(60):
        values = np.random.default_rng([seed, 6]).normal(size=2000)
        values[1000:] += shift
        found += [alarm - 1000 for alarm in Channel([MeanGlr()], warm_up=500).scan(values) if alarm >= 1000][:1]
    assert len(found) == 60
    assert np.median(found) <= most


def test_stream_batch_and_restart_agree_to_the_bit() -> None:
    values = np.random.default_rng(8).normal(size=2400) + np.repeat([0.0, 1.5, 0.0], 800)
    batch, stream, first, second = (Channel([MeanGlr(), WindowedZ()], warm_up=300) for _ in range(4))
    alarms = batch.alarms(values)
    assert [batch.names_of(int(alarm)) for alarm in alarms] == [stream.update(value) for value in values]
    assert np.flatnonzero(alarms & 1).size >= 2
    head = first.alarms(values[:810])
    second.load_state(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    assert np.array_equal(np.concatenate([head, second.alarms(values[810:])]), alarms)
    assert batch.state_dict() == stream.state_dict() == second.state_dict()


def test_later_values_change_no_earlier_alarm_and_the_unit_does_not_matter() -> None:
    values = np.random.default_rng(8).normal(size=2000) + np.repeat([0.0, 1.5], 1000)
    alarms = Channel([MeanGlr()], warm_up=300).alarms(values)
    assert alarms.any()
    assert np.array_equal(Channel([MeanGlr()], warm_up=300).alarms(values * 2.0**-20), alarms)
    for t in np.random.default_rng(1).integers(250, 2000, size=30):
        other = values.copy()
        other[t:] = 1e6
        assert np.array_equal(Channel([MeanGlr()], warm_up=300).alarms(other)[:t], alarms[:t])


def test_values_that_hang_together_need_more_evidence() -> None:
    found = 0
    for seed in range(20):
        shocks = np.random.default_rng([seed, 7]).normal(size=3000)
        values = np.empty(3000)
        values[0] = shocks[0]
        for i in range(1, 3000):
            values[i] = 0.6 * values[i - 1] + shocks[i]
        found += len(Channel([MeanGlr()], warm_up=500).scan(values))
    assert found <= 3  # in 60,000 values


def test_a_constant_raises_no_alarm() -> None:
    assert not len(Channel([MeanGlr()]).scan(np.zeros(1000)))
    assert not len(Channel([MeanGlr()]).scan(np.full(1000, 0.3)))


def test_settings_choose_detectors_for_one_series_for_all_or_by_default() -> None:
    own, common = (MeanGlr(threshold=9.0),), (WindowedZ(),)
    settings = DriftSettings(detectors=common, momentum_detectors=own)
    assert settings.detectors_of("momentum") == own
    assert settings.detectors_of("volatility") == settings.detectors_of("volume") == common
    default = DriftSettings()
    assert [detector.name for detector in default.detectors_of("momentum")] == ["mean_glr"]
    assert [detector.name for detector in default.detectors_of("volatility")] == ["garch_cusum", "adwin"]
    assert [detector.name for detector in default.detectors_of("volume")] == ["windowed_z", "adwin"]
    with pytest.raises(SettingsError, match="GarchCusum is for volatility_detectors"):
        DriftSettings(momentum_detectors=(GarchCusum(),))
    with pytest.raises(SettingsError, match="2 faults"):
        MeanGlr(threshold=0.0, limit=-1.0)
