"""The trial ledger: every evaluation ever made, counted, so that the deflated Sharpe ratio knows what a search cost.

Trials are counted per (data, strategy family), across runs, days and machines. A ledger remembers per batch only the
count and the moments of the trials' Sharpe ratios, merged by Chan, Golub and LeVeque (1979), "Updating Formulae and a
Pairwise Algorithm for Computing Sample Variances"; the sums are exactly rounded, so no order of arrival matters.

**A batch counts once.** It is known by key, run id, batch number and content: a run that is replayed, resumed or merged
from another machine's ledger hands in the same batches and changes nothing. The same number with another content is
other trials, and counts.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from ai_backtrader.checks import Faults
from ai_backtrader.errors import SettingsError

__all__ = ["MemoryLedger", "SealedOpening", "TrialCount", "TrialKey", "TrialLedger", "trials_digest"]


@dataclass(frozen=True)
class TrialKey:
    """What trials are counted for.

    Attributes
    ----------
    data_fingerprint
        Of the market data that the trials were made on (all bars that a choice could see).
    family
        Of strategies among which the search chooses: trials of one family count against each other.
    """

    data_fingerprint: str
    family: str

    def __post_init__(self) -> None:
        faults = Faults("TrialKey")
        for name in ("data_fingerprint", "family"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                faults.add(f"{name} must be a text that is not empty, got {value!r}")
        faults.raise_if_any()


@dataclass(frozen=True, kw_only=True)
class TrialCount:
    """Trials and the moments of their Sharpe ratios.

    Attributes
    ----------
    n_trials
        All trials, failed ones (NaN) too: a trial that came to nothing was a look at the data.
    n_measured
        Those with a Sharpe ratio.
    sharpe_mean
        Mean of the measured ones, per period; NaN without any.
    squares
        Sum of their squared distances from the mean.

    Examples
    --------
    >>> both = TrialCount.of([0.1, 0.3]).merged(TrialCount.of([0.2, float("nan")]))
    >>> both.n_trials, both.n_measured, round(both.sharpe_mean, 12), round(both.sharpe_std, 12)
    (4, 3, 0.2, 0.1)
    """

    n_trials: int = 0
    n_measured: int = 0
    sharpe_mean: float = math.nan
    squares: float = 0.0

    @property
    def sharpe_std(self) -> float:
        """Sample deviation (n - 1) of the Sharpe ratios, per period; NaN with fewer than two of them."""
        return math.sqrt(self.squares / (self.n_measured - 1)) if self.n_measured > 1 else math.nan

    @classmethod
    def of(cls, sharpes: ArrayLike) -> TrialCount:
        """Count of one batch.

        Parameters
        ----------
        sharpes
            Shape (n,): Sharpe ratio per period of each trial; NaN where the trial failed.

        Raises
        ------
        SettingsError
            If they have not one dimension or one is infinite.
        """
        values = _checked(sharpes)
        known = values[~np.isnan(values)]
        if not known.size:
            return cls(n_trials=values.size)
        mean = math.fsum(known) / known.size
        return cls(
            n_trials=values.size,
            n_measured=known.size,
            sharpe_mean=mean,
            squares=math.fsum((known - mean) ** 2),
        )

    @classmethod
    def total(cls, counts: Iterable[TrialCount]) -> TrialCount:
        """Count of all together, whatever their order."""
        every = list(counts)
        n_trials = sum(count.n_trials for count in every)
        measured = [count for count in every if count.n_measured]
        n = sum(count.n_measured for count in measured)
        if not n:
            return cls(n_trials=n_trials)
        mean = math.fsum(count.n_measured * count.sharpe_mean for count in measured) / n
        within = [count.squares for count in measured]
        between = [count.n_measured * (count.sharpe_mean - mean) ** 2 for count in measured]
        return cls(n_trials=n_trials, n_measured=n, sharpe_mean=mean, squares=math.fsum(within + between))

    def merged(self, other: TrialCount) -> TrialCount:
        """Count of both together."""
        return TrialCount.total((self, other))


@dataclass(frozen=True, kw_only=True)
class SealedOpening:
    """One opening of a sealed test window.

    Attributes
    ----------
    key, start, end
        What was opened: first and last bar, both included; UTC, naive.
    by
        Run that opened it.
    number
        1 for the first look at any bar of the window; each earlier opening of a window that shares a bar adds one.
    first_opened_by
        Run of the first such opening.
    """

    key: TrialKey
    start: dt.datetime
    end: dt.datetime
    by: str
    number: int
    first_opened_by: str

    @property
    def sealed(self) -> bool:
        """True when nobody had looked before: only then is the result out of sample."""
        return self.number == 1


class TrialLedger(Protocol):
    """Counts trials and openings for all runs together."""

    def add_trials(self, key: TrialKey, sharpes: ArrayLike, *, run_id: str, batch: int = 0) -> None:
        """Count a batch of trials, once.

        Parameters
        ----------
        key
            What they count for.
        sharpes
            Shape (n,): Sharpe ratio **per period** of each trial; NaN where the trial failed.
        run_id
            Of the run that made them; a run that is resumed or replayed keeps its id.
        batch
            Number of the batch within the run. A run that hands in its trials in parts numbers them, or parts that
            happen to be equal would count once.
        """

    def trials(self, key: TrialKey) -> TrialCount:
        """Every trial ever counted for the key; zero trials for one that is unknown."""

    def open_sealed(
        self, key: TrialKey, *, start: dt.datetime | np.datetime64, end: dt.datetime | np.datetime64, by: str
    ) -> SealedOpening:
        """Record that a run looks at a sealed window; the same run and window again is the same opening."""


class MemoryLedger:
    """A ledger that lasts as long as the process.

    Examples
    --------
    >>> ledger, key = MemoryLedger(), TrialKey("a1b2", "ema_cross")
    >>> for _ in range(2):  # replayed: counts once
    ...     ledger.add_trials(key, [0.05, 0.01, float("nan")], run_id="monday")
    >>> ledger.add_trials(key, [0.03], run_id="tuesday")
    >>> ledger.trials(key).n_trials
    4
    """

    def __init__(self) -> None:
        self._batches: dict[TrialKey, dict[tuple[str, int, str], TrialCount]] = {}
        self._openings: dict[TrialKey, list[SealedOpening]] = {}

    def add_trials(self, key: TrialKey, sharpes: ArrayLike, *, run_id: str, batch: int = 0) -> None:
        """See :meth:`TrialLedger.add_trials`."""
        check_batch(run_id, batch)
        name = (run_id, int(batch), trials_digest(sharpes))
        self._batches.setdefault(key, {})[name] = TrialCount.of(sharpes)

    def trials(self, key: TrialKey) -> TrialCount:
        """See :meth:`TrialLedger.trials`."""
        return TrialCount.total(self._batches.get(key, {}).values())

    def open_sealed(
        self, key: TrialKey, *, start: dt.datetime | np.datetime64, end: dt.datetime | np.datetime64, by: str
    ) -> SealedOpening:
        """See :meth:`TrialLedger.open_sealed`."""
        openings = self._openings.setdefault(key, [])
        opening = next_opening(key, start, end, by, openings)
        if opening not in openings:
            openings.append(opening)
        return opening


def trials_digest(sharpes: ArrayLike) -> str:
    """Digest of a batch's Sharpe ratios, bit for bit: every NaN alike, and -0 like 0."""
    values = _checked(sharpes) + 0.0
    values[np.isnan(values)] = np.nan
    return hashlib.sha256(values.astype("<f8").tobytes()).hexdigest()[:32]


def check_batch(run_id: str, batch: int) -> None:
    """Raise :class:`~ai_backtrader.errors.SettingsError` unless a run id and a batch number can name a batch."""
    faults = Faults("add_trials")
    if not isinstance(run_id, str) or not run_id:
        faults.add(f"run_id must be a text that is not empty, got {run_id!r}")
    faults.whole("batch", batch, low=0)
    faults.raise_if_any()


def next_opening(
    key: TrialKey,
    start: dt.datetime | np.datetime64,
    end: dt.datetime | np.datetime64,
    by: str,
    earlier: Iterable[SealedOpening],
) -> SealedOpening:
    """Opening of a window after those that were made before, oldest first; an earlier one where it is the same."""
    first, last = _utc(start), _utc(end)
    faults = Faults("open_sealed")
    if not first <= last:
        faults.add(f"start must not be after end, got {first} and {last}")
    if not isinstance(by, str) or not by:
        faults.add(f"by must name the run that looks, got {by!r}")
    faults.raise_if_any()
    shared = [opening for opening in earlier if opening.start <= last and first <= opening.end]
    for opening in shared:
        if (opening.start, opening.end, opening.by) == (first, last, by):
            return opening
    return SealedOpening(
        key=key,
        start=first,
        end=last,
        by=by,
        number=len(shared) + 1,
        first_opened_by=shared[0].by if shared else by,
    )


def _checked(sharpes: ArrayLike) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values = np.array(sharpes, dtype=np.float64)
    faults = Faults("trials")
    if values.ndim != 1:
        faults.add(f"sharpes must have one dimension, got shape {values.shape}")
    if np.isinf(values).any():
        faults.add("sharpes must be finite, or NaN where the trial failed; one is infinite")
    faults.raise_if_any()
    return values


def _utc(moment: dt.datetime | np.datetime64) -> dt.datetime:
    # datetime64 in nanoseconds would become an integer; databases and users read microseconds.
    if isinstance(moment, np.datetime64):
        moment = moment.astype("datetime64[us]").item()
    if not isinstance(moment, dt.datetime):
        raise SettingsError("open_sealed", [f"start and end must be times, got {moment!r}"])
    if moment.tzinfo is not None:
        moment = moment.astimezone(dt.UTC).replace(tzinfo=None)
    # A plain one: pandas' Timestamp is a datetime too, and prints and compares otherwise.
    return dt.datetime.fromisoformat(moment.isoformat(timespec="microseconds"))
