"""Likelihood ratios for a change of a win rate: against SciPy at every place, long quiet streams, batch and stream."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from ai_backtrader.errors import SettingsError
from ai_backtrader.online_learner import Adwin, BernoulliGlr, Channel, DriftSettings, OnlineLearner

Array = NDArray[np.float64]


def trades(rates: list[float], each: int, seed: int) -> Array:
    return (np.random.default_rng(seed).random(each * len(rates)) < np.repeat(rates, each)).astype(float)


def greatest_ratio(wins: Array) -> float:
    """Greatest log likelihood ratio over every place of a change: half of SciPy's G statistic."""
    stats = pytest.importorskip("scipy.stats")
    n, won, found = len(wins), wins.sum(), 0.0
    if not 0 < won < n:
        return found
    for k in range(1, n):
        before = wins[:k].sum()
        table = np.array([[before, k - before], [won - before, n - k - won + before]])
        found = max(found, stats.chi2_contingency(table, correction=False, lambda_="log-likelihood").statistic / 2.0)
    return found


@pytest.mark.parametrize("rates", [[0.5, 0.5], [0.55, 0.35], [0.1, 0.3], [0.97, 0.9], [0.3, 0.7]])
def test_the_corners_hold_the_greatest_ratio_over_every_place(rates: list[float]) -> None:
    wins = trades(rates, 40, seed=8)
    record, records = 0.01, 0
    for n in range(2, len(wins) + 1):
        greatest = greatest_ratio(wins[:n])
        if greatest <= record:  # it would have raised its alarm before
            continue
        assert not len(Channel([BernoulliGlr(threshold=greatest * (1.0 + 1e-9))]).scan(wins[:n]))
        between = max(record, greatest * (1.0 - 1e-9))
        assert Channel([BernoulliGlr(threshold=between)]).scan(wins[:n]).tolist() == [n - 1]
        record, records = greatest * (1.0 + 1e-9), records + 1
    assert records >= 4


def test_a_path_with_more_corners_than_are_kept_is_still_watched() -> None:
    # A rate that falls ever so slowly bends the path one way: every bend is a corner.
    wins = np.diff(np.floor(np.sqrt(np.arange(200_001)) * 447.0)) > 0.0
    channel = Channel([BernoulliGlr(threshold=1e6)])
    assert not len(channel.scan(wins[:200_000].astype(float)))
    lively = Channel([BernoulliGlr()])
    assert len(lively.scan(wins.astype(float)))


@pytest.mark.parametrize("rate", [0.3, 0.55, 0.7])
def test_a_steady_rate_hardly_ever_raises_an_alarm(rate: float) -> None:
    n = 400_000
    found = len(Channel([BernoulliGlr()]).scan(trades([rate], n, seed=91)))
    assert 1000.0 * found / n <= 0.03  # 0.02 over many streams; 0.05 is what is allowed


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9])
def test_false_alarms_stay_as_rare_over_millions_of_trades_as_over_thousands(rate: float) -> None:
    long = 1000.0 * len(Channel([BernoulliGlr()]).scan(trades([rate], 3_000_000, seed=92))) / 3_000_000
    short = sum(len(Channel([BernoulliGlr()]).scan(trades([rate], 2000, seed=seed))) for seed in range(1500)) / 3_000
    assert 0.005 < long < 0.03
    assert short < 0.03


@pytest.mark.parametrize(
    ("before", "after", "most"), [(0.55, 0.35, 135.0), (0.6, 0.2, 32.0), (0.35, 0.55, 135.0), (0.2, 0.6, 32.0)]
)
def test_a_changed_rate_is_found_in_little_more_than_threshold_over_divergence(
    before: float, after: float, most: float
) -> None:
    # 11 over the Kullback-Leibler divergence is 136 and 33 trades on average; half the runs are faster.
    found = []
    for seed in range(60):
        alarms = Channel([BernoulliGlr()]).scan(trades([before, after], 1500, seed=seed + 500))
        found += [alarm - 1500 for alarm in alarms if alarm >= 1500][:1]
    assert len(found) == 60
    assert np.median(found) <= most


def test_up_and_down_are_found_and_stream_batch_and_restart_agree_to_the_bit() -> None:
    values = trades([0.6, 0.3, 0.6], 700, seed=3)
    batch, stream, first, second = (Channel([BernoulliGlr(), Adwin(clock=4)]) for _ in range(4))
    alarms = batch.alarms(values)
    assert [batch.names_of(int(alarm)) for alarm in alarms] == [stream.update(value) for value in values]
    found = np.flatnonzero(alarms & 1)
    assert any(700 <= alarm < 800 for alarm in found)
    assert any(1400 <= alarm < 1500 for alarm in found)
    head = first.alarms(values[:730])
    second.load_state(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    assert np.array_equal(np.concatenate([head, second.alarms(values[730:])]), alarms)
    assert batch.state_dict() == stream.state_dict() == second.state_dict()


def test_later_trades_change_no_earlier_alarm() -> None:
    values = trades([0.6, 0.2], 500, seed=4)
    alarms = Channel([BernoulliGlr()]).alarms(values)
    assert alarms.any()
    for t in np.random.default_rng(1).integers(20, 1000, size=50):
        other = values.copy()
        other[t:] = 1.0 - other[t:]
        assert np.array_equal(Channel([BernoulliGlr()]).alarms(other)[:t], alarms[:t])


def test_a_profit_counts_by_its_sign_alone_and_gaps_are_passed_over() -> None:
    values = trades([0.6, 0.2], 500, seed=4)
    expected = Channel([BernoulliGlr()]).scan(values)
    sizes = np.random.default_rng(0).lognormal(size=1000)
    assert np.array_equal(Channel([BernoulliGlr()]).scan(sizes * (2.0 * values - 1.0)), expected)
    assert np.array_equal(Channel([BernoulliGlr()], warm_up=50).scan(values), expected)
    assert np.array_equal(Channel([BernoulliGlr()]).scan(np.insert(values, 10, np.nan)), expected + 1)


def test_bad_settings_are_named() -> None:
    with pytest.raises(SettingsError, match="threshold must be greater than 0"):
        BernoulliGlr(threshold=0.0)
    with pytest.raises(SettingsError, match="BernoulliGlr is for win_rate_detectors"):
        DriftSettings(detectors=(BernoulliGlr(),))
    with pytest.raises(
        SettingsError, match="detectors must hold BernoulliGlr, MeanGlr, WindowedZ, Adwin or PageHinkley"
    ):
        DriftSettings(win_rate_detectors=("glr",))  # type: ignore[arg-type]  # that is the point
    assert isinstance(OnlineLearner().settings.drift.win_rate_detectors[0], BernoulliGlr)
