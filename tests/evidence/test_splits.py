"""Splits over time against skfolio's published ones, a brute-force search for leaks, and what must cover what."""

from __future__ import annotations

import doctest
from math import comb

import numpy as np
import pytest

import ai_backtrader.evidence.splits as splits_module
from ai_backtrader import evidence as ev
from ai_backtrader.errors import SettingsError


def listed(splits: list[ev.Split]) -> list[tuple[list[int], list[int]]]:
    return [(train.tolist(), test.tolist()) for train, test in splits]


def leaks(train: np.ndarray, test: np.ndarray, ends: np.ndarray, embargo: int) -> list[tuple[int, int]]:
    """Pairs of a training and a test sample whose events share a bar or that the embargo forbids, bar by bar."""
    forbidden: dict[int, int] = {}
    for j in test.tolist():
        for bar in range(j, int(ends[j]) + 1):
            forbidden.setdefault(bar, j)
    found = []
    for i in train.tolist():
        found += [(i, forbidden[bar]) for bar in range(i, int(ends[i]) + 1) if bar in forbidden][:1]
        found += [(i, j) for j in test.tolist() if j < i <= ends[j] + embargo][:1]
    return found


def random_setting(rng: np.random.Generator) -> tuple[int, int, int, np.ndarray | None, np.ndarray]:
    n = int(rng.integers(12, 70))
    purge, embargo = int(rng.integers(0, 5)), int(rng.integers(0, 5))
    given = None if rng.random() < 0.3 else np.arange(n) + rng.integers(0, int(rng.integers(1, 12)), n)
    ends = (np.arange(n) if given is None else given) + purge
    return n, purge, embargo, given, ends


def test_the_examples_in_the_docstrings_are_true() -> None:
    outcome = doctest.testmod(splits_module)
    assert outcome.attempted >= 4
    assert outcome.failed == 0


def test_no_sample_leaks_over_a_thousand_random_settings() -> None:
    rng = np.random.default_rng(2024)
    trained = 0
    for _ in range(1000):
        n, purge, embargo, given, ends = random_setting(rng)
        common = {"purge": purge, "embargo": embargo, "event_ends": given}
        folds = int(rng.integers(2, 7))
        for train, test in ev.purged_k_fold(n, folds=folds, **common):
            assert not leaks(train, test, ends, embargo)
            trained += train.size
        for split in ev.combinatorial_purged_splits(n, folds=folds, test_folds=int(rng.integers(1, folds)), **common):
            assert not leaks(split.train, np.concatenate(split.tests), ends, embargo)
        walk = ev.purged_walk_forward(
            n,
            train_size=int(rng.integers(1, 20)),
            test_size=int(rng.integers(1, 10)),
            anchored=bool(rng.integers(2)),
            partial_test=bool(rng.integers(2)),
            **common,
        )
        for train, test in walk:
            assert not leaks(train, test, ends + embargo, 0)
            assert not train.size or train.max() < test.min()
            trained += train.size
    assert trained > 50_000  # not for want of training samples


def test_purging_removes_nothing_that_may_stay() -> None:
    rng = np.random.default_rng(7)
    for _ in range(200):
        n, purge, embargo, given, ends = random_setting(rng)
        for train, test in ev.purged_k_fold(n, folds=4, purge=purge, embargo=embargo, event_ends=given):
            for i in np.setdiff1d(np.arange(n), np.concatenate([train, test])):
                assert leaks(np.array([i]), test, ends, embargo)


def test_the_oracle_finds_a_planted_leak() -> None:
    ends = np.arange(20) + 3
    assert leaks(np.array([5]), np.arange(8, 12), ends, 0)
    assert leaks(np.array([14]), np.arange(8, 12), ends, 0)
    assert not leaks(np.array([4, 15]), np.arange(8, 12), ends, 0)
    assert leaks(np.array([15]), np.arange(8, 12), ends, 1)


# Published in the documentation of skfolio's WalkForward, on 6 observations.
SKFOLIO_WALKS = [
    ({"test_size": 1, "train_size": 2}, [([0, 1], [2]), ([1, 2], [3]), ([2, 3], [4]), ([3, 4], [5])]),
    ({"test_size": 1, "train_size": 2, "purge": 1}, [([0, 1], [3]), ([1, 2], [4]), ([2, 3], [5])]),
    ({"test_size": 2, "train_size": 3}, [([0, 1, 2], [3, 4])]),
    ({"test_size": 2, "train_size": 3, "partial_test": True}, [([0, 1, 2], [3, 4]), ([2, 3, 4], [5])]),
    (
        {"test_size": 2, "train_size": 3, "anchored": True, "partial_test": True},
        [([0, 1, 2], [3, 4]), ([0, 1, 2, 3, 4], [5])],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "expected"), SKFOLIO_WALKS)
def test_walk_forward_splits_are_those_skfolio_publishes(
    settings: dict[str, int], expected: list[tuple[list[int], list[int]]]
) -> None:
    assert listed(ev.purged_walk_forward(6, **settings)) == expected


# Published in the documentation of skfolio's CombinatorialPurgedCV, on 12 observations, 2 of 3 folds: training sets.
SKFOLIO_COMBINATIONS = [
    ({}, [[8, 9, 10, 11], [4, 5, 6, 7], [0, 1, 2, 3]]),
    ({"purge": 1}, [[9, 10, 11], [5, 6], [0, 1, 2]]),
    ({"embargo": 1}, [[9, 10, 11], [5, 6, 7], [0, 1, 2, 3]]),
]


@pytest.mark.parametrize(("settings", "expected"), SKFOLIO_COMBINATIONS)
def test_combinatorial_splits_are_those_skfolio_publishes(settings: dict[str, int], expected: list[list[int]]) -> None:
    splits = ev.combinatorial_purged_splits(12, folds=3, test_folds=2, **settings)
    assert [split.train.tolist() for split in splits] == expected
    thirds = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    chosen = [(0, 1), (0, 2), (1, 2)]
    assert [[fold.tolist() for fold in split.tests] for split in splits] == [[thirds[a], thirds[b]] for a, b in chosen]


@pytest.mark.parametrize(("folds", "test_folds"), [(3, 2), (6, 2), (7, 3), (5, 1)])
def test_each_path_covers_every_sample_once(folds: int, test_folds: int) -> None:
    splits = ev.combinatorial_purged_splits(50, folds=folds, test_folds=test_folds)
    assert len(splits) == comb(folds, test_folds)
    paths: dict[int, list[int]] = {}
    for split in splits:
        for fold, path in zip(split.tests, split.paths, strict=True):
            paths.setdefault(path, []).extend(fold.tolist())
    assert len(paths) == comb(folds - 1, test_folds - 1)
    assert all(sorted(covered) == list(range(50)) for covered in paths.values())


def test_k_fold_tests_cover_every_sample_once_and_differ_in_size_by_one() -> None:
    tests = [split.test for split in ev.purged_k_fold(23, folds=5)]
    assert np.concatenate(tests).tolist() == list(range(23))
    assert [test.size for test in tests] == [5, 5, 5, 4, 4]


def test_a_walk_does_not_change_when_later_samples_are_cut_off() -> None:
    rng = np.random.default_rng(3)
    ends = np.arange(60) + rng.integers(0, 9, 60)
    settings = {"train_size": 12, "test_size": 5, "purge": 1, "embargo": 2}
    long = ev.purged_walk_forward(60, event_ends=ends, **settings)
    short = ev.purged_walk_forward(40, event_ends=ends[:40], **settings)
    assert 0 < len(short) < len(long)
    assert listed(short) == listed(long)[: len(short)]


def test_too_few_samples_give_no_walk_and_are_refused_for_folds() -> None:
    assert ev.purged_walk_forward(0, train_size=2, test_size=1) == []
    assert ev.purged_walk_forward(2, train_size=2, test_size=1) == []
    with pytest.raises(SettingsError, match="folds must be between 2 and 3, got 5"):
        ev.purged_k_fold(3)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(SettingsError, match=r"2 faults[\s\S]*purge must be at least 0[\s\S]*train_size must be"):
        ev.purged_walk_forward(10, train_size=0, test_size=1, purge=-1)
    with pytest.raises(SettingsError, match="event_ends must be 10 whole numbers"):
        ev.purged_k_fold(10, event_ends=[1, 2])
    with pytest.raises(SettingsError, match="sample 3 ends at 1"):
        ev.purged_k_fold(5, event_ends=[0, 1, 2, 1, 4])
    with pytest.raises(SettingsError, match="test_folds must be between 1 and 4, got 5"):
        ev.combinatorial_purged_splits(50, folds=5, test_folds=5)
    with pytest.raises(SettingsError, match="155117520 splits, more than 100000"):
        ev.combinatorial_purged_splits(50, folds=30, test_folds=15)
