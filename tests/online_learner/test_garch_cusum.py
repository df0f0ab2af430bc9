"""Likelihood ratios for a change of volatility: against SciPy, against the true process, batch and stream."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from ai_backtrader.errors import SettingsError
from ai_backtrader.online_learner import Channel, GarchCusum, PageHinkley
from ai_backtrader.online_learner.garch_kernels import garch_fit

Array = NDArray[np.float64]


def garch(rng: np.random.Generator, n: int) -> Array:
    returns, variance = np.empty(n + 300), 1.0
    for i, shock in enumerate(rng.normal(size=n + 300)):
        returns[i] = np.sqrt(variance) * shock
        variance = 0.05 + 0.10 * returns[i] ** 2 + 0.85 * variance
    return returns[300:]


def changing(seed: int = 4) -> Array:
    """Trebles its volatility, and comes back to a tenth."""
    rng = np.random.default_rng(seed)
    return rng.standard_t(4, 2600) * np.repeat([1.0, 3.0, 0.3], [900, 900, 800])


def test_the_fit_finds_the_process_that_made_the_values() -> None:
    fits = np.array([garch_fit(garch(np.random.default_rng([seed, 1]), 4000) ** 2) for seed in range(6)])
    level, alpha, persistence, nu = np.median(fits, axis=0)
    assert level == pytest.approx(1.0, rel=0.15)
    assert alpha == pytest.approx(0.10, abs=0.03)
    assert persistence == pytest.approx(0.95, abs=0.03)
    assert nu == 1000.0


@pytest.mark.parametrize("freedom", [3.0, 5.0])
def test_the_fit_of_independent_heavy_tails_is_scipys(freedom: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    values = 0.02 * np.random.default_rng(3).standard_t(freedom, 4000)
    level, alpha, persistence, nu = garch_fit(values**2)
    _, _, scale = stats.t.fit(values, fdf=nu, floc=0.0)
    assert (alpha, persistence, nu) == (0.0, 0.0, freedom)
    assert np.sqrt(level) == pytest.approx(scale, rel=1e-3)


def test_independent_values_are_not_often_taken_for_clustered_ones() -> None:
    for draw in (lambda rng: rng.normal(size=500), lambda rng: rng.standard_t(3, 500)):
        found = sum(garch_fit(draw(np.random.default_rng([seed, 5])) ** 2)[1] > 0.0 for seed in range(60))
        assert found <= 12
    found = sum(garch_fit(garch(np.random.default_rng([seed, 6]), 500) ** 2)[1] > 0.0 for seed in range(60))
    assert found >= 54


def test_the_charts_add_up_scipys_likelihood_ratios() -> None:
    stats = pytest.importorskip("scipy.stats")
    detector = GarchCusum(memory=500)  # learns once, from the first 500
    independent = 0
    for seed in range(20):
        values = np.random.default_rng(seed).standard_t(3, 900)
        values[700:] *= 2.0
        level, alpha, _, nu = garch_fit(values[:500] ** 2)
        if alpha > 0.0:  # taken for clustered: its forecasts move with every value
            continue
        independent += 1
        scale, expected = np.sqrt(level), None
        charts = np.zeros(3)
        for t, value in enumerate(values):
            for j, factor in enumerate((2.0, 3.0, 0.5)):
                ratio = stats.t.logpdf(value, nu, scale=factor * scale) - stats.t.logpdf(value, nu, scale=scale)
                charts[j] = max(0.0, charts[j] + ratio)
            # What was learnt from is tested when it is complete.
            if np.max(charts - [0.0, 0.5, 1.5]) > detector.threshold + detector.caution:
                expected = t
                break
        assert expected is not None
        assert Channel([detector]).scan(values)[0] == max(expected, 499)
    assert independent >= 16


def test_a_cluster_is_no_change_where_clusters_are_usual() -> None:
    quiet = sum(len(Channel([GarchCusum()]).scan(garch(np.random.default_rng([seed, 2]), 5000))) for seed in range(20))
    blind = GarchCusum(clustered_threshold=1.0, clustered_caution=0.0)
    loud = sum(len(Channel([blind]).scan(garch(np.random.default_rng([seed, 2]), 5000))) for seed in range(20))
    assert quiet <= 20
    assert loud > 5 * quiet


def test_up_and_down_are_found_and_stream_batch_and_restart_agree_to_the_bit() -> None:
    values = changing()
    batch, stream, first, second = (Channel([GarchCusum(), PageHinkley()], warm_up=100) for _ in range(4))
    alarms = batch.alarms(values)
    assert [batch.names_of(int(alarm)) for alarm in alarms] == [stream.update(value) for value in values]
    found = np.flatnonzero(alarms & 1)
    assert any(900 <= alarm < 930 for alarm in found)
    assert any(1800 <= alarm < 1830 for alarm in found)
    head = first.alarms(values[:1000])
    second.load_state(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    assert np.array_equal(np.concatenate([head, second.alarms(values[1000:])]), alarms)
    assert batch.state_dict() == stream.state_dict() == second.state_dict()


def test_later_values_change_no_earlier_alarm() -> None:
    values = changing()
    alarms = Channel([GarchCusum()]).alarms(values)
    for t in (100, 499, 501, 905, 1000, 1815, 2400):
        other = values.copy()
        other[t:] = 1e200
        assert np.array_equal(Channel([GarchCusum()]).alarms(other)[:t], alarms[:t])


def test_a_false_alarm_does_not_hide_the_change_soon_after_it() -> None:
    # Twelve values of thrice the size, as a rare streak would be; sixty usual ones; then a doubling that stays.
    found = []
    for seed in range(20):
        values = np.random.default_rng([seed, 8]).normal(size=1200)
        values[700:712] *= 3.0
        values[772:] *= 2.0
        alarms = Channel([GarchCusum()]).scan(values)
        assert any(700 <= alarm < 715 for alarm in alarms)
        found += [alarm - 772 for alarm in alarms if alarm >= 772][:1]
    assert len(found) >= 19  # a level learnt anew from the 200 values after the alarm would have the change in it
    assert np.median(found) <= 20


@pytest.mark.parametrize(("streaks", "hidden"), [(1, False), (2, True)])
def test_a_model_with_a_second_false_alarm_is_learnt_anew(streaks: int, hidden: bool) -> None:
    # Each streak ends with the alarm that it raises. After the last one: sixty usual values, then a doubling.
    soon = 0
    for seed in range(10):
        rng, channel = np.random.default_rng([seed, 10]), Channel([GarchCusum()])
        assert not len(channel.scan(rng.normal(size=700)))
        for streak in range(streaks):
            if streak:
                channel.scan(rng.normal(size=80))
            assert any(channel.update(3.0 * value) for value in rng.normal(size=60))
        channel.scan(rng.normal(size=60))
        soon += len(channel.scan(2.0 * rng.normal(size=100))) > 0  # before the level of 200 values is known
    assert soon == 0 if hidden else soon >= 9


def test_a_right_alarm_stands_and_the_new_level_is_learnt() -> None:
    for seed in range(10):
        values = np.random.default_rng([seed, 9]).normal(size=3000)
        values[1000:] *= 2.5
        values[2000:] *= 2.0
        alarms = Channel([GarchCusum()]).scan(values)
        assert any(1000 <= alarm < 1025 for alarm in alarms)
        assert any(2000 <= alarm < 2060 for alarm in alarms)
        assert len(alarms) <= 3


def test_the_sign_the_unit_and_gaps_do_not_matter() -> None:
    values = changing()
    alarms = Channel([GarchCusum()]).scan(values)
    assert np.array_equal(Channel([GarchCusum()]).scan(np.abs(values)), alarms)
    assert np.array_equal(Channel([GarchCusum()]).scan(values * 1e-6), alarms)
    gapped = np.insert(values, [10, 700], [np.nan, np.inf])
    assert np.array_equal(Channel([GarchCusum()]).scan(gapped), alarms + 2)


def test_bars_without_a_trade_are_passed_over() -> None:
    channel, values = Channel([GarchCusum()]), changing()
    assert not len(channel.scan(np.zeros(1300)))
    between = np.zeros(2 * len(values))
    between[1::2] = values
    expected = Channel([GarchCusum()]).scan(values)
    assert np.array_equal(channel.scan(between), 2 * expected + 1)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"learn": 10, "caution": -1.0}, "2 faults"),
        ({"threshold": 0.0}, "threshold must be greater than 0"),
        ({"relearn": 600}, "rising order, got 600, 500, 1000"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, float], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        GarchCusum(**settings)  # type: ignore[arg-type]  # that is the point
