"""The trial ledger in memory: counts, merges, replays, sealed windows."""

from __future__ import annotations

import datetime as dt
import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ai_backtrader.evidence.ledger as ledger_module
from ai_backtrader.errors import SettingsError
from ai_backtrader.evidence import MemoryLedger, TrialCount, TrialKey, deflated_sharpe_ratio

KEY = TrialKey("a1b2", "ema_cross")
JANUARY, MARCH, JUNE = dt.datetime(2024, 1, 1), dt.datetime(2024, 3, 1), dt.datetime(2024, 6, 1)


def test_the_examples_in_the_docstrings_are_true() -> None:
    outcome = doctest.testmod(ledger_module)
    assert outcome.attempted >= 2
    assert outcome.failed == 0


@given(st.lists(st.lists(st.floats(-3, 3) | st.just(math.nan), max_size=8), max_size=6), st.randoms())
def test_batches_add_up_to_the_moments_of_all_in_any_order(batches: list[list[float]], shuffler: object) -> None:
    ledger, other = MemoryLedger(), MemoryLedger()
    order = list(enumerate(batches))
    for number, batch in order:
        ledger.add_trials(KEY, batch, run_id="run", batch=number)
    shuffler.shuffle(order)  # type: ignore[attr-defined]  # hypothesis' random.Random
    for number, batch in order:
        other.add_trials(KEY, batch, run_id="run", batch=number)
    every = np.array([value for batch in batches for value in batch])
    known = every[~np.isnan(every)] if every.size else every
    count = ledger.trials(KEY)
    assert count == other.trials(KEY) or math.isnan(count.sharpe_mean)
    assert (count.n_trials, count.n_measured) == (every.size, known.size)
    if known.size:
        assert count.sharpe_mean == pytest.approx(known.mean(), abs=1e-12)
    else:
        assert math.isnan(count.sharpe_mean)
    if known.size > 1:
        assert count.sharpe_std == pytest.approx(known.std(ddof=1), abs=1e-12)
    else:
        assert math.isnan(count.sharpe_std)


def test_a_deviation_survives_a_large_mean() -> None:
    values = 1e8 + np.array([1.0, 2.0, 3.0, 4.0])
    assert TrialCount.of(values[:2]).merged(TrialCount.of(values[2:])).sharpe_std == pytest.approx(
        np.std([1.0, 2.0, 3.0, 4.0], ddof=1), rel=1e-9
    )


def test_a_batch_counts_once_however_often_its_run_is_replayed() -> None:
    ledger = MemoryLedger()
    for _ in range(3):
        ledger.add_trials(KEY, [0.1, math.nan], run_id="run", batch=0)
        ledger.add_trials(KEY, np.array([0.1, -math.nan]), run_id="run", batch=1)
    assert ledger.trials(KEY).n_trials == 4


def test_other_runs_other_numbers_and_other_contents_count() -> None:
    ledger = MemoryLedger()
    ledger.add_trials(KEY, [0.1], run_id="monday")
    ledger.add_trials(KEY, [0.1], run_id="tuesday")
    ledger.add_trials(KEY, [0.1], run_id="monday", batch=1)
    ledger.add_trials(KEY, [0.2], run_id="monday")
    assert ledger.trials(KEY).n_trials == 4


def test_keys_count_apart_and_an_unknown_one_counts_nothing() -> None:
    ledger = MemoryLedger()
    ledger.add_trials(KEY, [0.1, 0.2], run_id="run")
    assert ledger.trials(TrialKey("a1b2", "momentum")).n_trials == 0
    assert ledger.trials(TrialKey("ffff", "ema_cross")).n_trials == 0


def test_the_ledgers_count_deflates_more_than_the_last_run_alone() -> None:
    rng = np.random.default_rng(7)
    ledger = MemoryLedger()
    last = rng.normal(0.0, 0.03, 50)
    for day in range(20):
        ledger.add_trials(KEY, rng.normal(0.0, 0.03, 50), run_id=f"day {day}")
    ledger.add_trials(KEY, last, run_id="last")
    alone, every = TrialCount.of(last), ledger.trials(KEY)
    found = {"sharpe": 0.1, "n_obs": 1_000, "skew": 0.0, "kurtosis": 3.0}
    ratios = [
        deflated_sharpe_ratio(**found, n_trials=count.n_trials, trials_sharpe_std=count.sharpe_std)
        for count in (alone, every)
    ]
    assert every.n_trials == 1_050
    assert ratios[1] < ratios[0]


def test_the_first_opening_is_sealed_and_a_second_run_is_told_who_looked() -> None:
    ledger = MemoryLedger()
    first = ledger.open_sealed(KEY, start=MARCH, end=JUNE, by="monday")
    again = ledger.open_sealed(KEY, start=np.datetime64("2024-03-01T00", "ns"), end=JUNE, by="monday")
    second = ledger.open_sealed(KEY, start=MARCH, end=JUNE, by="tuesday")
    assert first.sealed
    assert again == first
    assert (second.number, second.first_opened_by, second.sealed) == (2, "monday", False)


def test_a_window_that_shares_one_bar_is_no_longer_sealed_and_one_beside_it_is() -> None:
    ledger = MemoryLedger()
    ledger.open_sealed(KEY, start=JANUARY, end=MARCH, by="monday")
    assert ledger.open_sealed(KEY, start=MARCH, end=JUNE, by="tuesday").number == 2
    later = ledger.open_sealed(KEY, start=JUNE + dt.timedelta(hours=1), end=dt.datetime(2025, 1, 1), by="wednesday")
    assert later.sealed
    assert ledger.open_sealed(TrialKey("a1b2", "momentum"), start=MARCH, end=JUNE, by="monday").sealed


def test_times_with_a_zone_are_taken_in_utc() -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    opening = MemoryLedger().open_sealed(KEY, start=dt.datetime(2024, 3, 1, 2, tzinfo=zone), end=JUNE, by="run")
    assert opening.start == MARCH


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda ledger: ledger.add_trials(KEY, [[0.1]], run_id="run"), "one dimension"),
        (lambda ledger: ledger.add_trials(KEY, [math.inf], run_id="run"), "infinite"),
        (lambda ledger: ledger.add_trials(KEY, [0.1], run_id=""), "run_id must be a text"),
        (lambda ledger: ledger.add_trials(KEY, [0.1], run_id="run", batch=-1), "batch must be at least 0"),
        (lambda ledger: ledger.open_sealed(KEY, start=JUNE, end=MARCH, by="run"), "start must not be after end"),
        (lambda ledger: ledger.open_sealed(KEY, start="2024", end=MARCH, by="run"), "must be times, got '2024'"),
        (lambda ledger: ledger.open_sealed(KEY, start=MARCH, end=JUNE, by=""), "by must name the run"),
        (lambda _: TrialKey("", "family"), "data_fingerprint must be a text"),
    ],
)
def test_what_cannot_be_counted_is_refused(call: object, match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        call(MemoryLedger())  # type: ignore[operator]  # a lambda of the table above
