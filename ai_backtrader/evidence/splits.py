"""Train and test sets over time that do not see each other: walk-forward, purged k-fold, combinatorial purged splits.

Sample ``i`` stands for bar ``i`` and what was measured from it: its **event** ends at ``event_ends[i]``, the last bar
its outcome depends on (the bar of the trade's exit; for a label of fixed horizon ``i + horizon``; None: ``i`` itself).

- **Purge**: a training sample whose event shares a bar with the event of a test sample is removed. ``purge`` lengthens
  every event by so many bars, so with no ``event_ends`` it removes that many samples on either side of a test set.
- **Embargo**: so many further bars after the last event of a test set are removed, because series remember.

Reference: Lopez de Prado (2018), "Advances in Financial Machine Learning", chapters 7 and 12.
"""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ai_backtrader.checks import Faults

__all__ = [
    "CombinatorialSplit",
    "Split",
    "combinatorial_purged_splits",
    "purged_k_fold",
    "purged_walk_forward",
]

_Indices = NDArray[np.int64]

_MOST_SPLITS = 100_000  # each wants a fit of its own


class Split(NamedTuple):
    """Positions of the training and of the test samples, ascending; the training set may be empty after purging."""

    train: _Indices
    test: _Indices


class CombinatorialSplit(NamedTuple):
    """One choice of test folds.

    Attributes
    ----------
    train
        Positions of the training samples, ascending.
    tests
        Positions of each test fold.
    paths
        For each test fold the backtest path it belongs to: over all splits, the folds of one path number cover every
        sample once.
    """

    train: _Indices
    tests: tuple[_Indices, ...]
    paths: tuple[int, ...]


def _checked(
    subject: str, n_samples: int, purge: int, embargo: int, event_ends: ArrayLike | None, **sizes: tuple[int, int, int]
) -> _Indices:
    """Check the arguments and give the last bar of each event, lengthened by the purge."""
    faults = Faults(subject)
    faults.whole("n_samples", n_samples, low=0)
    faults.whole("purge", purge, low=0)
    faults.whole("embargo", embargo, low=0)
    for name, (value, low, high) in sizes.items():
        faults.whole(name, value, low=low, high=high)
    faults.raise_if_any()
    starts = np.arange(n_samples, dtype=np.int64)
    if event_ends is None:
        return starts + purge
    ends = np.asarray(event_ends)
    if ends.shape != (n_samples,) or ends.dtype.kind not in "iu":
        faults.add(f"event_ends must be {n_samples} whole numbers, got shape {ends.shape} of {ends.dtype}")
    elif (ends < starts).any():
        first = int(np.argmax(ends < starts))
        faults.add(f"event_ends must not lie before the event: sample {first} ends at {int(ends[first])}")
    faults.raise_if_any()
    return ends.astype(np.int64) + purge


def _purged(tests: list[tuple[int, int]], ends: _Indices, embargo: int) -> _Indices:
    """Training samples left beside the test segments ``[start, stop)``."""
    starts = np.arange(ends.size)
    keep = np.ones(ends.size, dtype=np.bool_)
    for start, stop in tests:
        last = int(ends[start:stop].max()) + embargo
        # An event that begins by the last bar and ends from the first bar on shares a bar with the test, or lies in
        # it, or in the embargo.
        keep &= (ends < start) | (starts > last)
    return np.flatnonzero(keep)


def purged_walk_forward(
    n_samples: int,
    *,
    train_size: int,
    test_size: int,
    purge: int = 0,
    embargo: int = 0,
    anchored: bool = False,
    partial_test: bool = False,
    event_ends: ArrayLike | None = None,
) -> list[Split]:
    """Training sets each followed by its test set; the test sets lie end to end.

    Parameters
    ----------
    n_samples
        Number of samples, in the order of time.
    train_size, test_size
        Samples in the first training set and in each test set, at least 1.
    purge, embargo
        Samples left unused between the training set and its test set, ``purge + embargo`` of them. (Training sets lie
        before their tests, so here the embargo is one more gap.)
    anchored
        False: the window rolls, ``train_size`` long. True: every training set begins at sample 0 and grows.
    partial_test
        True: what is left at the end becomes a last, shorter test set.
    event_ends
        Shape (n_samples,): last bar of each sample's event. Training samples whose event, lengthened by the gap,
        reaches the test set are removed. None: each event is its own bar.

    Returns
    -------
    list of Split
        Empty where ``n_samples`` holds no training set with a test set after it.

    Raises
    ------
    SettingsError
        A size is out of range, or ``event_ends`` does not fit.

    Examples
    --------
    >>> for train, test in purged_walk_forward(6, train_size=2, test_size=1, purge=1):
    ...     print(train, test)
    [0 1] [3]
    [1 2] [4]
    [2 3] [5]
    """
    big = 2**62
    ends = _checked(
        "purged_walk_forward",
        n_samples,
        purge,
        embargo,
        event_ends,
        train_size=(train_size, 1, big),
        test_size=(test_size, 1, big),
    )
    gap = purge + embargo
    splits = []
    for start in range(train_size + gap, n_samples, test_size):
        stop = start + test_size
        if stop > n_samples and not partial_test:
            break
        first = 0 if anchored else start - gap - train_size
        train = np.arange(first, start, dtype=np.int64)
        train = train[ends[first:start] + embargo < start]
        splits.append(Split(train, np.arange(start, min(stop, n_samples), dtype=np.int64)))
    return splits


def _fold_bounds(n_samples: int, folds: int) -> list[tuple[int, int]]:
    # The first folds take one sample more each where the samples do not divide, as in scikit-learn.
    sizes = np.full(folds, n_samples // folds)
    sizes[: n_samples % folds] += 1
    stops = np.cumsum(sizes).tolist()
    return list(zip([0, *stops[:-1]], stops, strict=True))


def purged_k_fold(
    n_samples: int, *, folds: int = 5, purge: int = 0, embargo: int = 0, event_ends: ArrayLike | None = None
) -> list[Split]:
    """K contiguous test sets, each with all other samples as its training set, purged and embargoed.

    Parameters
    ----------
    n_samples
        Number of samples, at least ``folds``.
    folds
        At least 2.
    purge, embargo, event_ends
        See the head of the module.

    Examples
    --------
    >>> purged_k_fold(9, folds=3, purge=1, embargo=1)[1].train.tolist()
    [0, 1, 8]
    """
    ends = _checked("purged_k_fold", n_samples, purge, embargo, event_ends, folds=(folds, 2, n_samples))
    return [
        Split(_purged([bounds], ends, embargo), np.arange(*bounds, dtype=np.int64))
        for bounds in _fold_bounds(n_samples, folds)
    ]


def combinatorial_purged_splits(
    n_samples: int,
    *,
    folds: int = 10,
    test_folds: int = 2,
    purge: int = 0,
    embargo: int = 0,
    event_ends: ArrayLike | None = None,
) -> list[CombinatorialSplit]:
    """Every choice of test folds among the folds, with the backtest paths they combine to.

    Parameters
    ----------
    n_samples
        Number of samples, at least ``folds``.
    folds, test_folds
        At least 2, and at least 1 but fewer than the folds.
    purge, embargo, event_ends
        See the head of the module. Neighbouring test folds are one test set.

    Returns
    -------
    list of CombinatorialSplit
        ``comb(folds, test_folds)`` splits in lexical order, with ``comb(folds - 1, test_folds - 1)`` paths.

    Raises
    ------
    SettingsError
        A size is out of range, ``event_ends`` does not fit, or there are more than 100,000 splits.

    Examples
    --------
    >>> split = combinatorial_purged_splits(12, folds=3, test_folds=2, purge=1)[1]
    >>> split.train.tolist(), [fold.tolist() for fold in split.tests], split.paths
    ([5, 6], [[0, 1, 2, 3], [8, 9, 10, 11]], (1, 0))
    """
    subject = "combinatorial_purged_splits"
    ends = _checked(
        subject,
        n_samples,
        purge,
        embargo,
        event_ends,
        folds=(folds, 2, n_samples),
        test_folds=(test_folds, 1, folds - 1),
    )
    faults = Faults(subject)
    count = comb(folds, test_folds)
    if count > _MOST_SPLITS:
        faults.add(f"{test_folds} of {folds} folds give {count} splits, more than {_MOST_SPLITS}; take fewer folds")
    faults.raise_if_any()
    bounds = _fold_bounds(n_samples, folds)
    tested = [0] * folds  # how often each fold was a test so far: its path in this split
    splits = []
    for chosen in combinations(range(folds), test_folds):
        segments: list[tuple[int, int]] = []
        for fold in chosen:
            start, stop = bounds[fold]
            if segments and segments[-1][1] == start:
                start = segments.pop()[0]
            segments.append((start, stop))
        tests = tuple(np.arange(*bounds[fold], dtype=np.int64) for fold in chosen)
        splits.append(CombinatorialSplit(_purged(segments, ends, embargo), tests, tuple(tested[f] for f in chosen)))
        for fold in chosen:
            tested[fold] += 1
    return splits
